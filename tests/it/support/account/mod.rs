//! Owns a whole product beside one AWS account: an emulator that checks signatures and policies, the fault proxy before it, the control
//! plane, the connector with exactly the documented rights, and an integration `account`.

mod hands;

use super::aws::emulators::{Emulator, Program, ROOT_SECRET, sdk};
use super::aws::front::REGION;
use super::aws::proxy::Proxy;
use super::cluster::{Cluster, Version};
use super::world::{World, http_client, now};
use apono_connector::aws::actions::Layer;
use apono_connector::aws::{Sessions, SessionsOptions};
use apono_connector::clock::{SharedClock, SystemClock};
use apono_connector::domain::{ConnectorId, Integration, IntegrationId, IntegrationState};
use apono_connector::targets::aws_account::{AccountTargets, KIND};
use apono_connector::targets::{Memory, Remembered, Target, TargetFactory};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_iam::Client as Iam;
use aws_sdk_iam::error::ProvideErrorMetadata;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long after its signature a request may still land, as the connector is told.
const LATEST_LANDING_S: u64 = 6;
/// Longest time something may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the integration is called.
const NAME: &str = "account";
/// The connector's own IAM user, which may do nothing but assume the role.
const CONNECTOR: &str = "connector";
/// The role the connector works with.
const ROLE: &str = "apono-account";
/// The boundary of the users it makes.
const BOUNDARY: &str = "people-at-most";

/// Knows of no grant.
struct Nothing;

impl Memory for Nothing {
    fn grants(&self, _integration: IntegrationId) -> Vec<Remembered> {
        Vec::new()
    }

    fn listed_at(&self) -> Option<jiff::Timestamp> {
        None
    }
}

/// The pieces; ends with the test.
pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) proxy: Proxy,
    pub(crate) account: String,
    /// IAM, as somebody who may do everything.
    pub(crate) iam: Iam,
}

/// What a person was given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) grant: String,
    pub(crate) login: String,
    /// The whole answer.
    pub(crate) answer: Value,
}

impl Given {
    fn of(answer: Value) -> Self {
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Self {
            grant: text("grant"),
            login: text("login"),
            answer,
        }
    }

    fn text(&self, key: &str) -> &str {
        self.answer[key].as_str().unwrap_or_default()
    }

    /// Returns the value of a detail.
    pub(crate) fn detail(&self, name: &str) -> &str {
        let details = self.answer["details"].as_array().unwrap();
        let found = details.iter().find(|detail| detail["name"] == name);
        found
            .and_then(|one| one["value"].as_str())
            .unwrap_or_default()
    }

    /// Returns the key the person got.
    pub(crate) fn key(&self) -> Credentials {
        Credentials::new(
            self.text("access_key_id"),
            self.text("secret_access_key"),
            None,
            None,
            "test",
        )
    }

    /// Returns what an SDK client is made of with it.
    pub(crate) fn sdk(&self) -> SdkConfig {
        sdk(&Emulator::ministack().url(), REGION, self.key())
    }
}

impl House {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_landing(settings, LATEST_LANDING_S).await
    }

    /// Starts everything, with a connector that counts on requests landing so many seconds after their signature at most.
    pub(crate) async fn start_landing(settings: &[(&str, &str)], landing_s: u64) -> Self {
        let mut house = Self::prepare_landing(settings, landing_s).await;
        house.begin();
        house
    }

    /// Starts all but the connector.
    pub(crate) async fn prepare(settings: &[(&str, &str)]) -> Self {
        Self::prepare_landing(settings, LATEST_LANDING_S).await
    }

    /// Starts everything beside the other emulator, which refuses nobody anything.
    pub(crate) async fn start_on_moto() -> Self {
        let mut house = Self::prepare_on(Program::Moto, &[], LATEST_LANDING_S).await;
        house.begin();
        house
    }

    async fn prepare_landing(settings: &[(&str, &str)], landing_s: u64) -> Self {
        Self::prepare_on(Program::MiniStack, settings, landing_s).await
    }

    async fn prepare_on(program: Program, settings: &[(&str, &str)], landing_s: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(650_000_000_000);
        let account = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let emulator = match program {
            Program::Moto => Emulator::moto(),
            Program::MiniStack => Emulator::ministack(),
        };
        let iam = Iam::new(&root(emulator, program, &account).await);
        let (key, secret) = connector_key(&iam, &account).await;
        if settings.iter().any(|(name, _)| *name == "user_tag") {
            allow_peoples_own_users(&iam).await;
        }
        let proxy = Proxy::before(emulator.port).await;
        let url = proxy.url();
        let environment = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", secret.as_str()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let cluster = Cluster::shared(Version::Pg15);
        let world = World::prepare(cluster, &environment, &[]).await;
        let configuration = fs::read_to_string(world.path("connector.toml")).unwrap();
        let landing = format!("[aws]\nlatest_landing_s = {landing_s}\n");
        world.write("connector.toml", &(configuration + &landing));
        let role = format!("arn:aws:iam::{account}:role/{ROLE}");
        let boundary = boundary(&account);
        let mut all = vec![
            ("region", REGION),
            ("role_arn", role.as_str()),
            ("permissions_boundary_arn", boundary.as_str()),
        ];
        all.extend_from_slice(settings);
        world.add_integration_of(NAME, "aws-account", &all);
        Self {
            world,
            proxy,
            account,
            iam,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.world.start_connector();
        self.world.until("the account can be used", |world| {
            let check = ["integration", "check", NAME, "--wait", "30s"];
            world.command(&check).is_ok()
        });
    }

    /// Asks for access and waits for it.
    pub(crate) fn ask(
        &self,
        [kind, name, permission]: [&str; 3],
        who: &str,
        lasts: &str,
    ) -> Result<Given, String> {
        let path = format!("--path={name}");
        let args = [
            "grant",
            "--integration",
            NAME,
            "--to",
            who,
            "--type",
            kind,
            &path,
            "--permission",
            permission,
            "--for",
            lasts,
            "--wait",
            "60s",
            "--format",
            "json",
        ];
        let printed = self.world.command(&args)?;
        let answer: Value = serde_json::from_str(&printed).map_err(|_| printed.clone())?;
        Ok(Given::of(answer))
    }

    /// Asks for access and does not wait; returns the grant.
    pub(crate) fn ask_and_leave(&self, kind: &str, name: &str, permission: &str) -> String {
        let path = format!("--path={name}");
        let who = ["grant", "--integration", NAME, "--to", "alice@example.com"];
        let what = ["--type", kind, &path, "--permission", permission];
        let how = ["--for", "1h", "--wait", "0s"];
        let args: Vec<&str> = [&who[..], &what, &how].concat();
        // It says that the start has not finished yet.
        drop(self.world.command(&args));
        let all = self.world.json(&["grants", "--all", "--format", "json"]);
        all[0]["grant"]["id"].as_str().unwrap().to_owned()
    }

    /// Asks for a new credential.
    pub(crate) fn reset(&self, given: &Given) -> Given {
        let args = ["reset-credentials", &given.grant, "--format", "json"];
        Given::of(self.world.json(&args))
    }

    /// Waits until something in the account is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(
                Instant::now() < deadline,
                "{what}: not in time\n{}",
                self.world.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes a target of the integration that knows nothing but its settings.
    pub(crate) fn target(&self) -> Arc<dyn Target> {
        let clock: SharedClock = Arc::new(SystemClock);
        let connector = ConnectorId::parse("test-connector").unwrap();
        let base = Credentials::new(&self.account, ROOT_SECRET, None, None, "test");
        let sessions = Sessions::new(SessionsOptions {
            connector: connector.clone(),
            profile: None,
            clock: Arc::clone(&clock),
            base: Some(SharedCredentialsProvider::new(base)),
            endpoint_url: Some(self.proxy.url()),
        });
        let id = self.world.integration(NAME)["id"].clone();
        let integration = Integration {
            id: IntegrationId::parse(id.as_str().unwrap()).unwrap(),
            name: NAME.to_owned(),
            kind: KIND.to_owned(),
            settings: [("region".to_owned(), REGION.to_owned())].into(),
            secret: None,
            state: IntegrationState::Active,
        };
        let targets = AccountTargets {
            connector,
            sessions,
            memory: Arc::new(Nothing),
            clock,
            late: SignedDuration::from_secs(6),
        };
        targets.make(&integration).unwrap()
    }

    /// Asks for a role.
    pub(crate) fn role(&self, name: &str, lasts: &str) -> Result<Given, String> {
        self.ask(["aws-iam-role", name, "ASSUME"], "alice@example.com", lasts)
    }

    pub(crate) fn revoke(&self, given: &Given) {
        self.world.command(&["revoke", &given.grant]).unwrap();
    }

    pub(crate) fn state(&self, given: &Given) -> Value {
        self.world.seen(&given.grant)["state"].clone()
    }

    pub(crate) fn until_ended(&self, given: &Given) {
        self.world.until("the grant is over and clean", |_| {
            self.state(given) == "ended"
        });
    }
}

/// Tries to assume a role; the error is its code.
pub(crate) async fn assume(person: &Given, role: &str) -> Result<(), String> {
    let sts = aws_sdk_sts::Client::new(&person.sdk());
    let call = sts.assume_role().role_arn(role);
    let asked = call.role_session_name("test").send().await;
    asked
        .map(drop)
        .map_err(|error| error.code().unwrap_or("no answer").to_owned())
}

/// Tries to list users; the error is its code.
pub(crate) async fn list_users(person: &Given) -> Result<(), String> {
    let asked = Iam::new(&person.sdk()).list_users().send().await;
    asked
        .map(drop)
        .map_err(|error| error.code().unwrap_or("no answer").to_owned())
}

/// What AWS says to whom it does not let do something.
pub(crate) fn denied() -> Result<(), String> {
    Err("AccessDenied".to_owned())
}

/// Returns what an SDK client is made of, for somebody who may do everything in an account.
async fn root(emulator: &Emulator, program: Program, account: &str) -> SdkConfig {
    if program == Program::MiniStack {
        return emulator.sdk(REGION, account, ROOT_SECRET);
    }
    // The session of any role of an account is in it.
    let sts = aws_sdk_sts::Client::new(&emulator.sdk(REGION, "AKIATEST", "any"));
    let role = format!("arn:aws:iam::{account}:role/anything");
    let call = sts.assume_role().role_arn(role).role_session_name("test");
    let session = call.send().await.unwrap();
    let keys = session.credentials().unwrap();
    let token = Some(keys.session_token().to_owned());
    let keys = Credentials::new(
        keys.access_key_id(),
        keys.secret_access_key(),
        token,
        None,
        "test",
    );
    sdk(&emulator.url(), REGION, keys)
}

/// Makes the connector's user, and the role in the account it may assume: the role may do exactly what the templates let it do.
async fn connector_key(iam: &Iam, account: &str) -> (String, String) {
    let how = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"];
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": how,
            "Condition": {"StringEquals": {"sts:ExternalId": "test-connector"}},
        }],
    });
    let call = iam.create_role().role_name(ROLE);
    let made = call.assume_role_policy_document(trust.to_string()).send();
    made.await.unwrap();
    let call = iam.create_policy().policy_name(BOUNDARY);
    let call = call.policy_document(allowing(&json!("*")));
    call.send().await.unwrap();
    allow_all_but(iam, account, "").await;
    iam.create_user().user_name(CONNECTOR).send().await.unwrap();
    let call = iam
        .put_user_policy()
        .user_name(CONNECTOR)
        .policy_name("may");
    let call = call.policy_document(allowing(&json!(how)));
    call.send().await.unwrap();
    let key = iam.create_access_key().user_name(CONNECTOR).send().await;
    let key = key.unwrap();
    let key = key.access_key().unwrap();
    (
        key.access_key_id().to_owned(),
        key.secret_access_key().to_owned(),
    )
}

/// Lets the connector's role do what the templates let it, as far as an emulator can judge, but for one action.
pub(crate) async fn allow_all_but(iam: &Iam, account: &str, missing: &str) {
    for layer in [Layer::AccountInventory, Layer::AccountAccess] {
        let filled = [
            ("${partition}", "aws"),
            ("${account}", account),
            ("${connector_id}", "test-connector"),
            // The emulators name users and groups without their path; a membership they judge by its user.
            ("user/apono/", "user/*_apono"),
            ("group/apono/", "user/*_apono"),
        ]
        .iter()
        .fold(layer.document().to_string(), |text, (name, value)| {
            text.replace(name, value)
        });
        let mut policy: Value = serde_json::from_str(&filled).unwrap();
        let statements = policy["Statement"].as_array_mut().unwrap();
        for statement in &mut *statements {
            forget_what_emulators_do_not_know(statement);
            let actions = statement["Action"].as_array_mut().unwrap();
            actions.retain(|action| action != missing);
        }
        statements.retain(|statement| statement["Action"] != json!([]));
        allow(iam, layer.as_str(), &policy.to_string()).await;
    }
}

/// Lets the connector's role do with people's own users what `docs/aws-account.md` says.
async fn allow_peoples_own_users(iam: &Iam) {
    let actions = [
        "iam:PutUserPolicy",
        "iam:DeleteUserPolicy",
        "iam:TagUser",
        "iam:UntagUser",
    ];
    allow(iam, "people", &allowing(&json!(actions))).await;
}

async fn allow(iam: &Iam, name: &str, policy: &str) {
    let call = iam.put_role_policy().role_name(ROLE).policy_name(name);
    call.policy_document(policy).send().await.unwrap();
}

/// No emulator judges by a user's boundary or tags, nor names what a list of databases is about.
fn forget_what_emulators_do_not_know(statement: &mut Value) {
    let conditions = statement.get_mut("Condition");
    if let Some(conditions) = conditions.and_then(Value::as_object_mut) {
        for keys in conditions.values_mut() {
            let unknown =
                |key: &str| key == "iam:PermissionsBoundary" || key.starts_with("aws:ResourceTag/");
            keys.as_object_mut().unwrap().retain(|key, _| !unknown(key));
        }
        conditions.retain(|_, keys| *keys != json!({}));
    }
    if statement["Sid"] == "Databases" {
        statement["Resource"] = json!("*");
    }
}

/// Returns the ARN of the boundary every user of ours must have.
fn boundary(account: &str) -> String {
    format!("arn:aws:iam::{account}:policy/{BOUNDARY}")
}

fn allowing(actions: &Value) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    })
    .to_string()
}

/// Asks S3 something with a key, without a body; returns the status.
pub(crate) async fn s3(key: &Credentials, method: &str, target: &str) -> u16 {
    let address = Emulator::ministack().url();
    let host = address.strip_prefix("http://").unwrap();
    let url = format!("{address}{target}");
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    let identity = key.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        // Where a bucket is that was made without saying where.
        .region("us-east-1")
        .name("s3")
        .time(now().into())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let headers = [("host", host)].into_iter();
    let question = SignableRequest::new(method, &url, headers, SignableBody::Bytes(&[])).unwrap();
    let (instructions, _) = sign(question, &params).unwrap().into_parts();
    let mut request = http_client().request(method.parse().unwrap(), &url);
    for (name, value) in instructions.headers() {
        request = request.header(name, value);
    }
    request.send().await.unwrap().status().as_u16()
}
