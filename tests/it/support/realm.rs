//! Owns a whole product beside an organization: a strict AWS, the control plane, the connector, and an integration `organization`.

use super::aws::front::{Front, MANAGEMENT, Organization, REGION, Role};
use super::cluster::{Cluster, Version};
use super::world::{Login, World};
use serde_json::Value;
use std::fs;

/// How long after its signature a request may still land: as short as the front is told to be.
pub(crate) const LATEST_LANDING_S: u64 = 6;
/// What `aws-organization` resources are called in the settings of a grant.
const ACCOUNT: &str = "aws-organization-account";

/// The pieces; ends with the test.
pub(crate) struct Realm {
    pub(crate) world: World,
    pub(crate) front: Front,
}

impl Realm {
    /// Starts everything, with a role in the management account that asks for the connector's id.
    pub(crate) async fn start(organization: Organization, settings: &[(&str, &str)]) -> Self {
        let mut realm = Self::prepare(organization, settings).await;
        realm.begin();
        realm
    }

    /// Starts all but the connector.
    pub(crate) async fn prepare(organization: Organization, settings: &[(&str, &str)]) -> Self {
        Self::prepare_landing(organization, settings, LATEST_LANDING_S).await
    }

    /// Starts all but the connector, which counts on requests landing so many seconds after their signature at most.
    pub(crate) async fn prepare_landing(
        organization: Organization,
        settings: &[(&str, &str)],
        landing_s: u64,
    ) -> Self {
        let role =
            Role::new(MANAGEMENT, "apono-management", MANAGEMENT).external_id("test-connector");
        let role_arn = role.arn().to_owned();
        let front = Front::start(organization.role(role)).await;
        let key = front.key(MANAGEMENT);
        let url = front.url();
        let environment = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", key.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", key.secret_access_key()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let cluster = Cluster::shared(Version::Pg15);
        let world = World::prepare(cluster, &environment, &[]).await;
        let configuration = fs::read_to_string(world.path("connector.toml")).unwrap();
        let landing = format!("[aws]\nlatest_landing_s = {landing_s}\n");
        world.write("connector.toml", &(configuration + &landing));
        let mut all = vec![
            ("sso_region", REGION),
            ("sso_portal", "https://d-1234567890.awsapps.com/start"),
            ("management_role_arn", role_arn.as_str()),
        ];
        all.extend_from_slice(settings);
        world.add_integration_of("organization", "aws-organization", &all);
        Self { world, front }
    }

    pub(crate) fn begin(&mut self) {
        self.world.start_connector();
        self.world.until("the organization can be used", |world| {
            let check = ["integration", "check", "organization", "--wait", "30s"];
            world.command(&check).is_ok()
        });
    }

    /// Asks for a permission set in an account.
    pub(crate) fn grant(
        &self,
        account: &str,
        set: &str,
        who: &str,
        lasts: &str,
    ) -> Result<Login, String> {
        let how = ["--permission", set, "--for", lasts];
        self.world
            .grant_in("organization", &[ACCOUNT, account], who, &how)
    }

    /// Asks for a permission set in an account and waits for no answer.
    pub(crate) fn ask(&self, account: &str, set: &str, who: &str, lasts: &str) {
        let path = format!("--path={account}");
        let mut args = vec!["grant", "--integration", "organization", "--to", who];
        args.extend([
            "--type",
            ACCOUNT,
            &path,
            "--permission",
            set,
            "--for",
            lasts,
        ]);
        args.extend(["--wait", "0s"]);
        // It says that the start has not finished yet.
        drop(self.world.command(&args));
    }

    /// Lets the connector reach AWS another way, from its next start on.
    pub(crate) fn go_through(&mut self, url: &str) {
        let environment = self.world.environment.iter_mut();
        for (name, value) in environment {
            if name == "AWS_ENDPOINT_URL" {
                url.clone_into(value);
            }
        }
    }

    /// Returns what people see of all grants.
    pub(crate) fn listed(&self) -> Vec<Value> {
        let all = self.world.json(&["grants", "--all", "--format", "json"]);
        all.as_array().unwrap().clone()
    }

    /// Returns one line of what a grant's start told.
    pub(crate) fn detail(&self, grant: &str, which: &str, name: &str) -> Option<String> {
        let seen = self.world.seen(grant);
        let lines = seen[which].as_array()?;
        let line = lines.iter().find(|line| line["name"] == name)?;
        line["value"].as_str().map(str::to_owned)
    }

    pub(crate) fn state(&self, grant: &str) -> Value {
        self.world.seen(grant)["state"].clone()
    }
}
