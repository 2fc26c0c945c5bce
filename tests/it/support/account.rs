//! Owns a whole product beside one AWS account: an emulator that checks signatures and policies, the fault proxy before it, the control
//! plane, the connector with exactly the documented rights, and an integration `account`.

use super::aws::emulators::{Emulator, ROOT_SECRET, sdk};
use super::aws::front::REGION;
use super::aws::proxy::Proxy;
use super::cluster::{Cluster, Version};
use super::world::World;
use apono_connector::aws::actions::{Feature, all};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_iam::Client as Iam;
use aws_sdk_iam::error::ProvideErrorMetadata;
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long after its signature a request may still land, as the connector is told.
pub(crate) const LATEST_LANDING_S: u64 = 6;
/// What the integration is called.
const NAME: &str = "account";
/// The connector's own IAM user.
const CONNECTOR: &str = "connector";

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

    /// Returns what an SDK client is made of with the key the person got.
    pub(crate) fn sdk(&self) -> SdkConfig {
        let key = Credentials::new(
            self.text("access_key_id"),
            self.text("secret_access_key"),
            None,
            None,
            "test",
        );
        sdk(&Emulator::ministack().url(), REGION, key)
    }
}

impl House {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let mut house = Self::prepare(settings).await;
        house.begin();
        house
    }

    /// Starts all but the connector.
    pub(crate) async fn prepare(settings: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(650_000_000_000);
        let account = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let ministack = Emulator::ministack();
        let root = ministack.sdk(REGION, &account, ROOT_SECRET);
        let iam = Iam::new(&root);
        let (key, secret) = connector_key(&iam).await;
        let proxy = Proxy::before(ministack.port).await;
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
        let landing = format!("[aws]\nlatest_landing_s = {LATEST_LANDING_S}\n");
        world.write("connector.toml", &(configuration + &landing));
        let mut all = vec![("region", REGION)];
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
        kind: &str,
        name: &str,
        permission: &str,
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
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Ok(Given {
            grant: text("grant"),
            login: text("login"),
            answer,
        })
    }

    /// Asks for a role.
    pub(crate) fn role(&self, name: &str, lasts: &str) -> Result<Given, String> {
        self.ask("aws-iam-role", name, "ASSUME", "alice@example.com", lasts)
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

    /// Makes a role that trusts the account.
    pub(crate) async fn make_role(&self, name: &str) -> String {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.account)},
                "Action": "sts:AssumeRole",
            }],
        });
        let call = self.iam.create_role().role_name(name);
        let made = call.assume_role_policy_document(trust.to_string()).send();
        made.await.unwrap().role().unwrap().arn().to_owned()
    }

    /// Makes a managed policy that allows one action on everything, with so many characters besides.
    pub(crate) async fn make_policy(&self, name: &str, action: &str, padding: usize) -> String {
        let document = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": [action, format!("s3:{}", "x".repeat(padding))],
                "Resource": "*",
            }],
        });
        let call = self.iam.create_policy().policy_name(name);
        let made = call.policy_document(document.to_string()).send();
        made.await
            .unwrap()
            .policy()
            .unwrap()
            .arn()
            .unwrap()
            .to_owned()
    }

    /// Returns the names of a user's inline policies; nothing when there is no such user.
    pub(crate) async fn policies(&self, user: &str) -> Option<Vec<String>> {
        let listed = self.iam.list_user_policies().user_name(user).send().await;
        Some(listed.ok()?.policy_names().to_vec())
    }

    /// Returns the text of an inline policy, as it is stored.
    pub(crate) async fn document(&self, user: &str, policy: &str) -> Value {
        let call = self.iam.get_user_policy().user_name(user);
        let read = call.policy_name(policy).send().await.unwrap();
        let decoded: String = url::form_urlencoded::parse(read.policy_document().as_bytes())
            .map(|(key, value)| {
                let sign = if value.is_empty() { "" } else { "=" };
                format!("{key}{sign}{value}")
            })
            .collect();
        serde_json::from_str(&decoded).unwrap()
    }

    pub(crate) async fn has_user(&self, user: &str) -> bool {
        self.iam.get_user().user_name(user).send().await.is_ok()
    }

    pub(crate) async fn tags(&self, user: &str) -> Vec<(String, String)> {
        let listed = self.iam.list_user_tags().user_name(user).send().await;
        let tags = listed.unwrap().tags().to_vec();
        let pair = |tag: &aws_sdk_iam::types::Tag| (tag.key().to_owned(), tag.value().to_owned());
        tags.iter().map(pair).collect()
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

/// Makes the connector's user, which may do exactly what the documentation lists.
async fn connector_key(iam: &Iam) -> (String, String) {
    let actions: Vec<&str> = all()
        .filter(|action| action.features.contains(&Feature::AccountAccess))
        .map(|action| action.name)
        .collect();
    iam.create_user().user_name(CONNECTOR).send().await.unwrap();
    allow(iam, &actions).await;
    let key = iam.create_access_key().user_name(CONNECTOR).send().await;
    let key = key.unwrap();
    let key = key.access_key().unwrap();
    (
        key.access_key_id().to_owned(),
        key.secret_access_key().to_owned(),
    )
}

/// Lets the connector do these actions and no others.
pub(crate) async fn allow(iam: &Iam, actions: &[&str]) {
    let may = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}],
    });
    iam.put_user_policy()
        .user_name(CONNECTOR)
        .policy_name("may")
        .policy_document(may.to_string())
        .send()
        .await
        .unwrap();
}
