//! Owns requests in volume: what the command line of the control plane does, over HTTP and without a process for each.

use super::world::World;
use apono_connector::pg::ConnectOptions;
use apono_connector::secret::Secret;
use serde_json::{Value, json};
use std::fs;

/// How long the control plane may hold a question about a task, in seconds.
const WATCH_S: u32 = 30;

/// An administrator, and every person she asks for: all credentials are sealed to one throw-away key.
#[derive(Clone)]
pub(crate) struct Admin {
    http: reqwest::Client,
    url: String,
    token: String,
    resource: Value,
    key: age::x25519::Identity,
}

/// A request that was recorded.
#[derive(Debug, Clone)]
pub(crate) struct Requested {
    pub(crate) grant: String,
    pub(crate) task: String,
}

impl Admin {
    /// Asks for READ_ONLY on one schema of the world's database, whoever it is for.
    pub(crate) fn of(world: &World, schema: &str) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: format!("{}/admin/v1", world.url()),
            token: fs::read_to_string(world.path("admin.token"))
                .unwrap()
                .trim()
                .to_owned(),
            resource: json!({"type": "postgresql-schema", "path": [world.road.database, schema]}),
            key: age::x25519::Identity::generate(),
        }
    }

    /// Asks for access until a time, and returns at once.
    pub(crate) async fn request(&self, who: &str, expiry: jiff::Timestamp) -> Requested {
        let body = json!({
            "integration": "orders",
            "principal": {"email": who},
            "resource": self.resource,
            "permission": "READ_ONLY",
            "expiry": expiry,
            "recipient": self.key.to_public().to_string(),
        });
        let answer = self.post("grants", &body).await;
        Requested {
            grant: text(&answer["grant"]["grant"]["id"]),
            task: text(&answer["task"]),
        }
    }

    /// Asks for access and waits until it is there; returns the grant and the sealed credential.
    pub(crate) async fn start(&self, who: &str, expiry: jiff::Timestamp) -> (String, String) {
        let requested = self.request(who, expiry).await;
        let done = self.finished(&requested.task).await;
        (requested.grant, text(&done["start"]["sealed_credential"]))
    }

    /// Waits until a task has succeeded.
    pub(crate) async fn finished(&self, task: &str) -> Value {
        let seen = self.get(&format!("tasks/{task}?wait_s={WATCH_S}")).await;
        assert_eq!(seen["state"], "succeeded", "{seen:#}");
        seen
    }

    /// Opens a credential, as the requester would, and returns how to log in with it.
    pub(crate) fn open(&self, sealed: &str, world: &World) -> ConnectOptions {
        let clear = age::decrypt(&self.key, sealed.as_bytes()).unwrap();
        let credential: Value = serde_json::from_slice(&clear).unwrap();
        ConnectOptions {
            user: text(&credential["login"]),
            password: Secret::new(text(&credential["password"])),
            ..world.road.connector.clone()
        }
    }

    /// Reads something of the control plane.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}/{path}", self.url));
        self.send(request).await
    }

    /// Orders something of the control plane.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}/{path}", self.url));
        self.send(request.json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.token).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{status}: {body:#}");
        body
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value:#}"))
        .to_owned()
}
