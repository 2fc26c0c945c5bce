//! Databases that ask by their tags to be managed: the whole product beside an AWS that finds them, and a real server behind one of them.

use crate::support::aws::front::{Front, Knobs, MANAGEMENT, Organization};
use crate::support::cluster::{Cluster, Version};
use crate::support::ldap::{Directory, Expected};
use crate::support::world::{Login, World};
use aws_sdk_rds::Client;
use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config};
use aws_sdk_rds::types::Tag;
use aws_smithy_async::time::SystemTimeSource;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Of this test alone: the emulator is everybody's.
const REGION: &str = "eu-north-1";
const ASKS: [(&str, &str); 2] = [("apono-connect", "true"), ("apono-auth-type", "iam")];

fn tags(pairs: &[(&str, &str)]) -> Vec<Tag> {
    let tag = |(key, value): &(&str, &str)| Tag::builder().key(*key).value(*value).build();
    pairs.iter().map(tag).collect()
}

/// Makes an instance, and returns its name in RDS and its ARN.
async fn make(client: &Client, id: &str, tags: Vec<Tag>) -> (String, String) {
    let call = client.create_db_instance().db_instance_identifier(id);
    let call = call.db_instance_class("db.t3.micro").engine("postgres");
    let call = call.port(5432).enable_iam_database_authentication(true);
    let call = call.allocated_storage(20).master_username("root");
    let call = call.master_user_password("a-password-of-a-master");
    call.set_tags(Some(tags)).send().await.unwrap();
    let found = client.describe_db_instances().db_instance_identifier(id);
    let found = found.send().await.unwrap();
    let instance = &found.db_instances()[0];
    let host = instance.endpoint().unwrap().address().unwrap().to_owned();
    (host, instance.db_instance_arn().unwrap().to_owned())
}

/// The product beside an AWS, and a server that checks tokens.
struct Stage {
    world: World,
    aws: SdkConfig,
    client: Client,
    host: String,
    arn: String,
    _directory: Directory,
    _front: Front,
}

impl Stage {
    /// Makes the instance `found-by-tag` and a real server that has its name.
    async fn set() -> Self {
        let front = Front::start(Organization::new().knobs(Knobs::quick())).await;
        let key = front.key(MANAGEMENT);
        let aws = front.sdk(MANAGEMENT, REGION);
        let client = Client::new(&aws);
        let (host, arn) = make(&client, "found-by-tag", tags(&ASKS)).await;
        let directory = Directory::start(Expected {
            access_key: key.access_key_id().to_owned(),
            secret_key: key.secret_access_key().to_owned(),
            region: REGION.to_owned(),
            places: vec![format!("{host}:5432")],
            ahead: Duration::ZERO,
        });
        // Goes with the process, as the shared ones do.
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::private(Version::Pg15, "")));
        let root = cluster.superuser("postgres").await;
        root.batch(
            "make the role of the service",
            "CREATE ROLE rds_iam NOLOGIN",
        )
        .await
        .unwrap();
        cluster.replace_certificate(&cluster.certificates.for_hosts(&[
            "localhost",
            "127.0.0.1",
            &host,
        ]));
        cluster.ask_first(&format!(
            "hostssl all +rds_iam 127.0.0.0/8 ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"uid=\"\n\
             hostnossl all +rds_iam 127.0.0.0/8 reject\n",
            directory.port
        ));
        root.batch("take them over", "SELECT pg_reload_conf()")
            .await
            .unwrap();
        let url = front.url();
        let environment = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", key.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", key.secret_access_key()),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let world = World::prepare(cluster, &environment, &[]).await;
        // The same server under a password would be in the way: `rds_iam` outranks it.
        world.command(&["integration", "retire", "orders"]).unwrap();
        let user = &world.road.connector.user;
        root.batch("let the connector in", &format!("GRANT rds_iam TO {user}"))
            .await
            .unwrap();
        let configuration = fs::read_to_string(world.path("connector.toml")).unwrap();
        let authorities = format!(
            "[aws]\nrds_ca_file = \"{}\"\n",
            world.path("ca.pem").display()
        );
        world.write("connector.toml", &(configuration + &authorities));
        Self {
            world,
            aws,
            client,
            host,
            arn,
            _directory: directory,
            _front: front,
        }
    }

    /// Adds the account; whatever is found in it is reached at the real server, as through a tunnel.
    fn add_account(&self, more: &[(&str, &str)]) {
        let port = self.world.cluster.port.to_string();
        let mut settings = vec![
            ("region", REGION),
            ("database.username", self.world.road.connector.user.as_str()),
            ("database.admin_role", self.world.road.admin.as_str()),
            ("database.clean_up_delay_s", "1"),
            ("database.address", "127.0.0.1"),
            ("database.port", port.as_str()),
        ];
        settings.extend_from_slice(more);
        self.world
            .add_integration_of("account", "aws-account", &settings);
    }

    async fn tag(&self, pairs: &[(&str, &str)]) {
        let call = self.client.add_tags_to_resource();
        let call = call.resource_name(&self.arn).set_tags(Some(tags(pairs)));
        call.send().await.unwrap();
    }

    async fn untag(&self, key: &str) {
        let call = self.client.remove_tags_from_resource();
        let call = call.resource_name(&self.arn).tag_keys(key);
        call.send().await.unwrap();
    }

    fn sync(&self) {
        let sync = ["integration", "sync", "account", "--wait", "60s"];
        self.world.command(&sync).unwrap();
    }

    fn discovered(&self, name: &str) -> Value {
        let list = ["integration", "discovered", "account", "--format", "json"];
        let all = self.world.json(&list);
        let found = all.as_array().unwrap().iter();
        found
            .into_iter()
            .find(|one| one["name"] == name)
            .cloned()
            .unwrap_or_default()
    }

    /// A token for a person, by the command line's way.
    async fn token(&self, user: &str) -> String {
        let wanted = Config::builder()
            .hostname(&self.host)
            .port(5432)
            .region(Region::from_static(REGION))
            .username(user)
            .build()
            .unwrap();
        // Signing needs a clock.
        let signing = self.aws.clone().into_builder();
        let signing = signing.time_source(SystemTimeSource::new()).build();
        let made = AuthTokenGenerator::new(wanted).auth_token(&signing).await;
        made.unwrap().as_str().to_owned()
    }

    fn enter(&self, user: &str, token: &str) -> bool {
        let (world, cluster) = (&self.world, self.world.cluster);
        let entered = cluster.psql(user, token, &world.road.database, "SELECT 1");
        entered.ok
    }

    fn grant(&self, integration: &str) -> Login {
        let database = self.world.road.database.as_str();
        let how = ["--permission", "READ_ONLY", "--for", "1h"];
        let on = ["postgresql-schema", database, "public"];
        let granted = self
            .world
            .grant_in(integration, &on, "alice@example.com", &how);
        granted.unwrap_or_else(|problem| panic!("{problem}\n{}", self.world.logs()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_found_by_its_tags_becomes_an_integration_that_lets_people_in_by_token() {
    let mut stage = Box::pin(Stage::set()).await;
    let half = [("apono-connect", "true"), ("apono-auth-type", "password")];
    make(&stage.client, "half-tagged", tags(&half)).await;
    stage.add_account(&[]);
    stage.world.start_connector();
    stage.world.until("the account is listed", |world| {
        let shown = world.command(&["integration", "discovered", "account"]);
        shown.is_ok_and(|shown| shown.contains("found-by-tag"))
    });
    // The database was made without a name, and no tag says which it is.
    let shown = stage.discovered("found-by-tag");
    assert_eq!(shown["status"], "incomplete");
    let problem = shown["problem"].as_str().unwrap();
    assert!(
        problem.starts_with("tag `apono-database` is missing"),
        "{problem}"
    );
    let add = ["integration", "add-discovered", "account", "found-by-tag"];
    let refused = stage.world.command(&add).unwrap_err();
    assert!(
        refused.contains("tag `apono-database` is missing"),
        "{refused}"
    );
    let secret = stage.discovered("half-tagged")["problem"].to_string();
    assert!(secret.contains("tag `apono-secret` is missing"), "{secret}");

    let database = stage.world.road.database.clone();
    stage.tag(&[("apono-database", &database)]).await;
    stage.sync();
    assert_eq!(stage.discovered("found-by-tag")["status"], "ready");
    // Nothing becomes an integration unless somebody says so.
    assert_eq!(stage.world.integration("found-by-tag"), Value::Null);
    stage.world.command(&add).unwrap();
    let made = stage.world.integration("found-by-tag");
    assert_eq!(made["found_in"], "account");
    assert_eq!(made["settings"]["instance_id"], "found-by-tag");
    assert_eq!(made["settings"]["region"], REGION);
    stage.world.until("the database can be used", |world| {
        world.integration("found-by-tag")["status"] == "active"
    });
    assert_eq!(stage.discovered("found-by-tag")["status"], "added");

    let alice = stage.grant("found-by-tag");
    let token = stage.token(&alice.user).await;
    assert!(stage.enter(&alice.user, &token), "{}", stage.world.logs());
    let seen = stage.world.seen(&alice.grant);
    let details = seen["details"].to_string();
    assert!(details.contains("generate-db-auth-token"), "{details}");

    // Who takes the tag away is told, and nobody is cut off by it.
    stage.untag("apono-connect").await;
    stage.sync();
    let flagged = stage.world.integration("found-by-tag");
    assert_eq!(flagged["status"], "warning");
    let message = flagged["message"].as_str().unwrap();
    assert!(message.contains("asks no more to be managed"), "{message}");
    assert_eq!(flagged["state"], "active");
    assert_eq!(stage.world.seen(&alice.grant)["state"], "active");
    let token = stage.token(&alice.user).await;
    assert!(stage.enter(&alice.user, &token));
    stage.tag(&[("apono-connect", "true")]).await;
    stage.sync();
    assert_eq!(stage.world.integration("found-by-tag")["message"], "");

    let end = ["revoke", &alice.grant, "--wait", "30s"];
    stage.world.command(&end).unwrap();
    assert!(!stage.enter(&alice.user, &token), "the login is blocked");
}
