//! A server of RDS: found by name, entered by tokens that the server checks as RDS does. The emulator finds it, a real server is behind it.

use super::world::{CONNECTOR_PASSWORD, World, apply, connector, end, permit, person, warrant};
use crate::support::aws::emulators::{Emulator, sdk};
use crate::support::cluster::{Cluster, Psql, Version, fresh};
use crate::support::ldap::{Directory, Expected};
use crate::support::strict_http::StrictServer;
use apono_connector::aws::AwsError;
use apono_connector::domain::{
    CredentialChange, EndReason, ErrorClass, Integration, Permission, ResourceKind, ResourceRef,
};
use apono_connector::secret::Secret;
use apono_connector::targets::postgres::{
    CredentialSource, DatabaseCredential, LookupError, PostgresTarget,
};
use apono_connector::targets::rds::{self, RdsAccess, RdsParts};
use apono_connector::targets::{Applied, Target, TargetError};
use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_rds::Client;
use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config};
use aws_types::SdkConfig;
use aws_types::region::Region;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const REGION: &str = "eu-west-1";
const KEY: &str = "AKIAEXAMPLE";
const SECRET: &str = "a-key-that-signs";

struct Fixed(SdkConfig);

#[async_trait]
impl RdsAccess for Fixed {
    async fn config(&self) -> Result<SdkConfig, AwsError> {
        Ok(self.0.clone())
    }
}

struct Password(String);

#[async_trait]
impl CredentialSource for Password {
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
        Ok(DatabaseCredential {
            username: self.0.clone(),
            password: Secret::new(CONNECTOR_PASSWORD.to_owned()),
            host: None,
        })
    }
}

/// With a clock, which signing needs.
async fn config(url: &str, region: &'static str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::from_static(region))
        .credentials_provider(Credentials::new(KEY, SECRET, None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await
}

/// A server of RDS as an integration sees it.
struct Rds {
    world: World,
    aws: SdkConfig,
    /// Name and port in RDS.
    host: String,
    port: u16,
    resource_id: String,
}

impl Rds {
    /// The address in RDS leads nowhere; the real server is named besides.
    fn integration(&self, id: &str, changes: &[(&str, &str)]) -> Integration {
        let mut integration = self.world.integration.clone();
        integration.kind = rds::KIND.to_owned();
        integration.secret = None;
        let old = std::mem::take(&mut integration.settings);
        let mut set = |key: &str, value: &str| {
            integration
                .settings
                .insert(key.to_owned(), value.to_owned());
        };
        set("region", REGION);
        set("instance_id", id);
        set("auth_type", "iam");
        set("end_user_auth", "iam");
        set("username", &self.world.user);
        set("database_name", &old["dbname"]);
        set("ssl_root_ca", &old["ssl_root_ca"]);
        set("admin_role", &old["admin_role"]);
        set("clean_up_delay_s", "1");
        set("address", "127.0.0.1");
        set("port", &self.world.cluster.port.to_string());
        for (key, value) in changes {
            set(key, value);
        }
        integration
    }

    fn target(&self, integration: &Integration) -> PostgresTarget {
        target(integration, &self.aws, &self.world.user)
    }

    /// A token for a person, by the command line's way.
    async fn token(&self, user: &str, host: &str, region: &'static str) -> String {
        let wanted = Config::builder()
            .hostname(host)
            .port(u64::from(self.port))
            .region(Region::from_static(region))
            .username(user)
            .build()
            .unwrap();
        let made = AuthTokenGenerator::new(wanted).auth_token(&self.aws).await;
        made.unwrap().as_str().to_owned()
    }

    fn enter(&self, user: &str, token: &str) -> Psql {
        let database = &self.world.database;
        self.world.cluster.psql(user, token, database, "SELECT 1")
    }
}

fn target(integration: &Integration, aws: &SdkConfig, user: &str) -> PostgresTarget {
    let parts = RdsParts {
        access: Arc::new(Fixed(aws.clone())),
        passwords: Arc::new(Password(user.to_owned())),
        ca_file: None,
    };
    rds::target(connector("c-1"), integration, parts).unwrap()
}

async fn start(
    rds: &Rds,
    target: &PostgresTarget,
    integration: &Integration,
    (on, level): (ResourceRef, Permission),
) -> Result<Vec<Applied>, TargetError> {
    let grant = rds.world.grant(&person("alice"), on, level);
    let order = rds.world.order(&grant);
    let permit = permit(integration, &grant, Some(order.lease_deadline));
    let plan = target.plan_start(&permit, &order).await?;
    apply(target, &permit, &order, &plan).await
}

/// Makes an instance in the emulator.
async fn make_instance(client: &Client, id: &str, engine: &str, by_token: bool) {
    let call = client.create_db_instance().db_instance_identifier(id);
    let call = call.db_instance_class("db.t3.micro").engine(engine);
    let call = call.port(5432).enable_iam_database_authentication(by_token);
    let call = call.allocated_storage(20).master_username("root");
    call.master_user_password("a-password-of-a-master")
        .send()
        .await
        .unwrap();
}

/// A real server that checks tokens, under the names the emulator gives to an instance and to a cluster.
async fn world(id: &str, cluster_id: &str) -> (Rds, Directory, String) {
    let aws = config(&Emulator::moto().url(), REGION).await;
    let client = Client::new(&aws);
    make_instance(&client, id, "postgres", true).await;
    let found = client.describe_db_instances().db_instance_identifier(id);
    let found = found.send().await.unwrap();
    let instance = &found.db_instances()[0];
    let host = instance.endpoint().unwrap().address().unwrap().to_owned();
    let call = client.create_db_cluster().db_cluster_identifier(cluster_id);
    let call = call.engine("aurora-postgresql").master_username("root");
    let call = call.master_user_password("a-password-of-a-master");
    let call = call.port(5432).enable_iam_database_authentication(true);
    let made = call.send().await.unwrap();
    let writer = made.db_cluster().unwrap().endpoint().unwrap().to_owned();
    let directory = Directory::start(Expected {
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
        region: REGION.to_owned(),
        places: vec![format!("{host}:5432"), format!("{writer}:5432")],
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
    let names = ["localhost", "127.0.0.1", &host, &writer];
    cluster.replace_certificate(&cluster.certificates.for_hosts(&names));
    cluster.ask_first(&format!(
        "hostssl all +rds_iam 127.0.0.0/8 ldap ldapserver=127.0.0.1 ldapport={} ldapprefix=\"uid=\"\n\
         hostnossl all +rds_iam 127.0.0.0/8 reject\n",
        directory.port
    ));
    root.batch("take them over", "SELECT pg_reload_conf()")
        .await
        .unwrap();
    let world = World::new(cluster).await;
    world
        .root()
        .await
        .batch(
            "let the connector in",
            &format!("GRANT rds_iam TO {}", world.user),
        )
        .await
        .unwrap();
    let rds = Rds {
        world,
        aws,
        host,
        port: 5432,
        resource_id: instance.dbi_resource_id().unwrap().to_owned(),
    };
    (rds, directory, writer)
}

/// Until the server has taken over what was changed under it.
async fn check_until_good(target: &PostgresTarget) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = target.check().await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::too_many_lines,
    reason = "one story on one server, which takes long to make"
)]
async fn connector_and_people_enter_rds_by_tokens_and_leave_at_the_end() {
    let (rds, directory, writer) = Box::pin(world("orders-by-token", "orders-cluster")).await;
    let integration = rds.integration("orders-by-token", &[]);
    let target = rds.target(&integration);
    check_until_good(&target).await;
    assert_eq!(
        directory.last(&rds.world.user),
        format!("{}:5432", rds.host)
    );

    let grant = rds.world.grant(
        &person("alice"),
        rds.world.schema("shop"),
        Permission::ReadOnly,
    );
    let order = rds.world.order(&grant);
    let permit = permit(&integration, &grant, Some(order.lease_deadline));
    let plan = target.plan_start(&permit, &order).await.unwrap();
    let applied = apply(&target, &permit, &order, &plan).await.unwrap();
    let credentials: Vec<_> = applied
        .iter()
        .filter_map(|a| a.credential.as_ref())
        .collect();
    assert!(matches!(credentials.as_slice(), [CredentialChange::None]));
    let login = applied.iter().find_map(|a| a.login.clone()).unwrap();
    let details = &applied.last().unwrap().details;
    let detail = |name: &str| {
        let mut found = details.iter().filter(|detail| detail.name == name);
        found
            .next()
            .unwrap_or_else(|| panic!("no {name}"))
            .value
            .clone()
    };
    let host = &rds.host;
    assert_eq!(
        (detail("host"), detail("port")),
        (host.clone(), "5432".to_owned())
    );
    assert_eq!(
        (detail("user"), detail("region")),
        (login.clone(), REGION.to_owned())
    );
    assert_eq!(detail("database"), rds.world.database);
    let command = format!(
        "aws rds generate-db-auth-token --hostname {host} --port 5432 --region eu-west-1 --username {login}"
    );
    assert_eq!(detail("token_command"), command);
    let policy: serde_json::Value = serde_json::from_str(&detail("policy")).unwrap();
    let resource = format!(
        "arn:aws:rds-db:eu-west-1:123456789012:dbuser:{}/{login}",
        rds.resource_id
    );
    assert_eq!(policy["Statement"][0]["Resource"], resource);
    assert_eq!(policy["Statement"][0]["Action"], "rds-db:connect");

    let good = rds.token(&login, host, REGION).await;
    let entered = rds.enter(&login, &good);
    assert!(entered.ok, "{} {}", entered.err, directory.last(&login));
    for (token, why) in [
        (rds.token(&login, host, "eu-west-2").await, "wrong region"),
        (
            rds.token(&login, "other.rds.amazonaws.com", REGION).await,
            "wrong place",
        ),
        (rds.token("somebody", host, REGION).await, "wrong user"),
        (
            good.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
            "wrong signature",
        ),
    ] {
        assert!(!rds.enter(&login, &token).ok, "{why}");
        assert_eq!(directory.last(&login), why);
    }
    directory.change(|expected| expected.ahead = Duration::from_secs(1000));
    assert!(!rds.enter(&login, &good).ok);
    assert_eq!(directory.last(&login), "too old");
    directory.change(|expected| expected.ahead = Duration::ZERO);
    assert!(rds.enter(&login, &good).ok);

    let reset = target.plan_reset(&permit, &order).await.unwrap_err();
    assert_eq!(reset.failure().reason, "no_password");
    end(&target, &warrant(&grant, EndReason::Revoked))
        .await
        .unwrap();
    assert!(!rds.enter(&login, &good).ok, "the login is blocked");

    // A cluster is entered where it is written, and its token is for that name.
    let cluster = rds.target(&rds.integration("orders-cluster", &[]));
    check_until_good(&cluster).await;
    assert_eq!(directory.last(&rds.world.user), format!("{writer}:5432"));

    // Whatever way leads to rds_iam takes the force of a password.
    let readers = fresh("readers");
    let sql = format!(
        "CREATE ROLE {readers}; GRANT rds_iam TO {readers}; REVOKE rds_iam FROM {}",
        rds.world.user
    );
    rds.world
        .root()
        .await
        .batch("make a trap", &sql)
        .await
        .unwrap();
    let mut by_password = rds.integration(
        "orders-by-token",
        &[("auth_type", "password"), ("end_user_auth", "password")],
    );
    by_password.secret = rds.world.integration.secret.clone();
    let target = rds.target(&by_password);
    let role = ResourceRef::new(ResourceKind::PostgresRole, vec![readers]).unwrap();
    let trapped = start(&rds, &target, &by_password, (role, Permission::Member))
        .await
        .unwrap_err();
    assert_eq!(trapped.failure().reason, "reaches_rds_iam", "{trapped}");
    let fine = start(
        &rds,
        &target,
        &by_password,
        (rds.world.schema("shop"), Permission::ReadOnly),
    )
    .await;
    rds.world.opened(&fine.unwrap());
}

#[tokio::test]
async fn what_rds_says_of_a_server_is_told_by_name() {
    let aws = config(&Emulator::moto().url(), REGION).await;
    let client = Client::new(&aws);
    make_instance(&client, "a-mysql", "mysql", true).await;
    make_instance(&client, "a-main", "postgres", false).await;
    let call = client.create_db_instance_read_replica();
    let call = call.db_instance_identifier("a-replica");
    call.source_db_instance_identifier("a-main")
        .send()
        .await
        .unwrap();
    let stopped = client
        .stop_db_instance()
        .db_instance_identifier("a-stopped");
    make_instance(&client, "a-stopped", "postgres", true).await;
    stopped.send().await.unwrap();
    for (id, auth, expected) in [
        (
            "absent",
            "iam",
            "the server could not be found: RDS knows no instance and no cluster `absent` in eu-west-1",
        ),
        (
            "a-mysql",
            "iam",
            "the server could not be found: `a-mysql` runs `mysql`, not PostgreSQL",
        ),
        (
            "a-replica",
            "iam",
            "the server could not be found: `a-replica` is a read replica of `a-main`",
        ),
        (
            "a-stopped",
            "iam",
            "the server could not be found: `a-stopped` is `stopped`",
        ),
        (
            "a-main",
            "iam",
            "the database credential could not be read: IAM database authentication is off on `a-main`",
        ),
    ] {
        let cluster = Cluster::shared(Version::Pg15);
        let mut integration = super::world::integration(cluster, "app", "admin");
        integration.kind = rds::KIND.to_owned();
        integration.secret = None;
        integration.settings = [
            ("region", REGION),
            ("instance_id", id),
            ("auth_type", auth),
            ("database_name", "app"),
            ("ssl_root_ca", "/nowhere"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let error = target(&integration, &aws, "u").check().await.unwrap_err();
        assert_eq!(error.failure().message, expected);
        assert_eq!(error.class(), ErrorClass::NeedsOperator);
        assert!(error.failure().hint.is_some(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_remembered_and_asked_for_again_when_nobody_answers_there() {
    let cluster = Cluster::shared(Version::Pg15);
    let world = World::new(cluster).await;
    let port = Arc::new(AtomicU16::new(crate::support::ports::free_port()));
    let told = Arc::clone(&port);
    let server = StrictServer::start(None, move |heard| {
        let asked = String::from_utf8_lossy(&heard.body).into_owned();
        let fits = heard.method == "POST"
            && asked.contains("Action=DescribeDBInstances")
            && asked.contains("DBInstanceIdentifier=orders");
        let port = told.load(Ordering::SeqCst);
        let body = format!(
            "<DescribeDBInstancesResponse xmlns=\"http://rds.amazonaws.com/doc/2014-10-31/\"><DescribeDBInstancesResult><DBInstances><DBInstance>\
             <DBInstanceIdentifier>orders</DBInstanceIdentifier><Engine>postgres</Engine><DBInstanceStatus>available</DBInstanceStatus>\
             <Endpoint><Address>localhost</Address><Port>{port}</Port></Endpoint></DBInstance></DBInstances></DescribeDBInstancesResult></DescribeDBInstancesResponse>"
        );
        fits.then_some((200, body))
    });
    let aws = sdk(
        &server.url(),
        REGION,
        Credentials::new(KEY, SECRET, None, None, "test"),
    );
    let mut integration = world.integration.clone();
    integration.kind = rds::KIND.to_owned();
    let old = std::mem::take(&mut integration.settings);
    integration.settings = [
        ("region", REGION),
        ("instance_id", "orders"),
        ("auth_type", "password"),
        ("database_name", &old["dbname"]),
        ("ssl_root_ca", &old["ssl_root_ca"]),
        ("admin_role", &old["admin_role"]),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let target = target(&integration, &aws, &world.user);
    let error = target.check().await.unwrap_err();
    assert_eq!(error.failure().reason, "unreachable", "{error}");
    port.store(cluster.port, Ordering::SeqCst);
    check_until_good(&target).await;
    for _ in 0..5 {
        target.check().await.unwrap();
    }
    assert_eq!(server.heard().len(), 2, "asked twice in all");
    server.no_surprises();
}
