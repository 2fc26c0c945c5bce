//! Owns a control plane in this process, with a clock that moves only when told to, and a connector made of bare calls.

use apono_connector::clock::{Clock, FakeClock, SystemClock};
use apono_connector::reference_plane::{Options, Running, start};
use apono_connector::secret::Secret;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

pub(super) const CONNECTOR_TOKEN: &str = "connector-token-0123456789";
pub(super) const ADMIN_TOKEN: &str = "admin-token-0123456789abc";
/// Longest time anything may take on a busy machine before a test gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Plane {
    pub(super) running: Running,
    pub(super) folder: TempDir,
    pub(super) clock: Arc<FakeClock>,
    pub(super) http: reqwest::Client,
}

/// A registered instance.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) id: Uuid,
    pub(super) session: String,
}

pub(super) fn options(folder: &TempDir, clock: &Arc<FakeClock>) -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        behind_tls_proxy: false,
        store: folder.path().join("plane.db"),
        connector_token: Secret::new(CONNECTOR_TOKEN.to_owned()),
        admin_token: Secret::new(ADMIN_TOKEN.to_owned()),
        lease: Duration::from_secs(60),
        tick: Duration::from_millis(5),
        new_epoch: false,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
    }
}

impl Plane {
    pub(super) async fn start() -> Self {
        let now = SystemClock.now();
        let clock = Arc::new(FakeClock::at(now));
        let folder = tempfile::tempdir().unwrap();
        let running = start(options(&folder, &clock)).await.unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        Self {
            running,
            folder,
            clock,
            http,
        }
    }

    /// A control plane with the integration `orders`, whose first check and inventory are done with.
    pub(super) async fn with_orders() -> (Self, Instance) {
        let plane = Self::start().await;
        plane.add_integration("orders").await;
        let instance = plane.register(Uuid::now_v7()).await;
        for task in plane.lease(&instance, 9, 0).await {
            plane.succeed(&instance, &task, json!({})).await;
        }
        (plane, instance)
    }

    pub(super) async fn stop_and_start(self, new_epoch: bool) -> Self {
        let Self {
            running,
            folder,
            clock,
            http,
        } = self;
        running.stop().await;
        let options = Options {
            new_epoch,
            ..options(&folder, &clock)
        };
        let running = start(options).await.unwrap();
        Self {
            running,
            folder,
            clock,
            http,
        }
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url())
    }

    /// Makes a call and returns status and body.
    pub(super) async fn call(&self, token: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = match body {
            Some(body) => self.http.post(self.url(path)).json(&body),
            None => self.http.get(self.url(path)),
        };
        let answer = request.bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(super) async fn connector(&self, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/connectors/c1/{path}");
        self.call(CONNECTOR_TOKEN, &path, Some(body)).await
    }

    pub(super) async fn read(&self, path: &str) -> Value {
        let path = format!("/v1/connectors/c1/{path}");
        let (status, body) = self.call(CONNECTOR_TOKEN, &path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn admin(&self, path: &str, body: Value) -> (u16, Value) {
        let path = format!("/admin/v1/{path}");
        self.call(ADMIN_TOKEN, &path, Some(body)).await
    }

    pub(super) async fn order(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.admin(path, body).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn look(&self, path: &str) -> Value {
        let path = format!("/admin/v1/{path}");
        let (status, body) = self.call(ADMIN_TOKEN, &path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(super) async fn add_integration(&self, name: &str) -> String {
        let new = json!({"connector": "c1", "name": name, "type": "postgresql",
            "settings": {"hostname": "localhost"}, "secret": "file:/run/secrets/orders"});
        text(&self.order("integrations", new).await["id"])
    }

    pub(super) async fn register(&self, instance: Uuid) -> Instance {
        let hello = json!({"instance": instance, "version": "0.1.0", "protocol_min": 1,
            "protocol_max": 3, "host": "here", "not_known_yet": true});
        let (status, reply) = self.connector("sessions", hello).await;
        assert_eq!(status, 200, "{reply}");
        Instance {
            id: instance,
            session: text(&reply["session"]),
        }
    }

    pub(super) async fn lease_reply(
        &self,
        instance: &Instance,
        any: u32,
        end: u32,
        more: Value,
    ) -> Value {
        let mut ask =
            json!({"session": instance.session, "free_any": any, "free_end": end, "wait_s": 0});
        for (key, value) in more.as_object().unwrap() {
            ask[key] = value.clone();
        }
        let (status, reply) = self.connector("tasks/lease", ask).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    /// Leases without waiting, holding nothing.
    pub(super) async fn lease(&self, instance: &Instance, any: u32, end: u32) -> Vec<Value> {
        let reply = self.lease_reply(instance, any, end, json!({})).await;
        reply["tasks"].as_array().unwrap().clone()
    }

    /// Leases without waiting; everything leased before is in hand.
    pub(super) async fn lease_new(&self, instance: &Instance, held: &[&Value]) -> Vec<Value> {
        let held: Vec<_> = held.iter().map(|task| task["id"].clone()).collect();
        let reply = self
            .lease_reply(instance, 9, 9, json!({"held": held}))
            .await;
        reply["tasks"].as_array().unwrap().clone()
    }

    /// Waits, in real time, until there is a task.
    pub(super) async fn lease_when_ready(&self, instance: &Instance) -> Value {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let revisions = self.lease_reply(instance, 0, 0, json!({})).await["header"].clone();
            let more = json!({"wait_s": 10, "grants_revision": revisions["grants_revision"],
                "integrations_revision": revisions["integrations_revision"]});
            let reply = self.lease_reply(instance, 9, 9, more).await;
            if let Some(task) = reply["tasks"].get(0) {
                return task.clone();
            }
            assert!(tokio::time::Instant::now() < until, "no task came");
        }
    }

    pub(super) async fn report(
        &self,
        instance: &Instance,
        task: &Value,
        outcome: Value,
    ) -> (u16, Value) {
        let path = format!("tasks/{}/result", text(&task["id"]));
        let report =
            json!({"session": instance.session, "attempt": task["attempt"], "outcome": outcome});
        self.connector(&path, report).await
    }

    pub(super) async fn succeed(&self, instance: &Instance, task: &Value, more: Value) {
        let mut outcome = json!({"status": "succeeded"});
        for (key, value) in more.as_object().unwrap() {
            outcome[key] = value.clone();
        }
        let (status, reply) = self.report(instance, task, outcome).await;
        assert_eq!(status, 200, "{reply}");
    }

    pub(super) async fn fail(&self, instance: &Instance, task: &Value, class: &str) {
        let outcome = json!({"status": "failed", "class": class, "reason": "because",
            "message": "it did not work", "hint": "mend it"});
        let (status, reply) = self.report(instance, task, outcome).await;
        assert_eq!(status, 200, "{reply}");
    }

    /// Asks for access to `orders` and returns the grant's id.
    pub(super) async fn ask(&self, email: &str, duration_s: u64) -> String {
        let granted = self.order("grants", request(email, duration_s)).await;
        text(&granted["grant"]["grant"]["id"])
    }

    pub(super) async fn grant(&self, id: &str) -> Value {
        self.look(&format!("grants/{id}")).await
    }

    /// Asks for access, and starts it.
    pub(super) async fn active(&self, instance: &Instance, email: &str, duration_s: u64) -> String {
        let id = self.ask(email, duration_s).await;
        let tasks = self.lease(instance, 1, 0).await;
        assert_eq!(tasks[0]["grant"]["id"], json!(id));
        let start = self.started(&tasks[0]);
        self.succeed(instance, &tasks[0], json!({"start": start}))
            .await;
        assert_eq!(self.grant(&id).await["state"], "active");
        id
    }

    pub(super) fn started(&self, task: &Value) -> Value {
        json!({"login": "alice_apono", "started_at": self.now(), "expiry": task["grant"]["expiry"],
            "credential": "new", "sealed_credential": "-----BEGIN AGE ENCRYPTED FILE-----"})
    }

    pub(super) fn end(&self, task_or_entry: &Value, clean: bool) -> Value {
        let grant = &task_or_entry["grant"];
        json!({"grant": grant["id"], "integration": grant["integration"], "ended_at": self.now(),
            "reason": "revoked", "sessions_before": 2, "sessions_after": 0, "clean": clean,
            "leftovers": if clean { json!([]) } else { json!(["a table"]) }})
    }

    /// Waits, in real time, until a grant is in a state.
    pub(super) async fn until_state(&self, id: &str, state: &str) -> Value {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let grant = self.grant(id).await;
            if grant["state"] == state {
                return grant;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "the grant never became {state}: {grant}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(super) fn request(email: &str, duration_s: u64) -> Value {
    json!({"integration": "orders", "principal": {"email": email},
        "resource": {"type": "postgresql-schema", "path": ["app", "public"]},
        "permission": "READ_ONLY", "duration_s": duration_s, "recipient": "age1recipient"})
}

pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

pub(super) fn kinds(tasks: &[Value]) -> Vec<String> {
    tasks.iter().map(|task| text(&task["kind"])).collect()
}
