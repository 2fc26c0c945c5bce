//! Owns where an RDS server is: asked of RDS, remembered, asked again when the server is not there any more. Never changes anything.

use super::settings::RdsSettings;
use crate::aws::{AwsError, Chain, Purpose, Sessions, refused};
use crate::domain::{Detail, ErrorClass, shown};
use crate::targets::postgres::{LookupError, ServerAddress, ServerSource};
use async_trait::async_trait;
use aws_sdk_rds::Client;
use aws_sdk_rds::error::ProvideErrorMetadata;
use aws_sdk_rds::types::{DbCluster, DbInstance};
use aws_types::SdkConfig;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of RDS counts: endpoints stay for years, and a server that moved is noticed by the failed connection.
const FRESH: Duration = Duration::from_secs(600);
/// Time between two questions after failed connections.
const ANEW_EVERY: Duration = Duration::from_secs(5);
/// How long RDS is waited for while an earlier answer is at hand: an end must not wait for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time for a look-up.
const LIMIT: Duration = Duration::from_secs(10);
/// States in which a server takes no connection and will not by itself.
const DOWN: [&str; 6] = [
    "deleting",
    "failed",
    "stopped",
    "stopping",
    "incompatible-network",
    "incompatible-restore",
];
/// States in which a server takes no connection yet.
const COMING: [&str; 2] = ["creating", "starting"];

/// The way to AWS, in one region and by the roles of one integration.
#[async_trait]
pub trait RdsAccess: Send + Sync {
    /// Returns credentials, region, clock and limits. Calls made with it are sent once: trying again is decided elsewhere.
    ///
    /// # Errors
    /// When a role cannot be taken on.
    async fn config(&self) -> Result<SdkConfig, AwsError>;
}

/// One chain of roles.
pub struct RdsRoad {
    /// The sessions of the process.
    pub sessions: Sessions,
    /// Region and roles.
    pub chain: Chain,
}

#[async_trait]
impl RdsAccess for RdsRoad {
    async fn config(&self) -> Result<SdkConfig, AwsError> {
        self.sessions.config(&self.chain, &Purpose::Connector).await
    }
}

/// Looks for one server.
pub(super) struct Finder {
    settings: RdsSettings,
    access: Arc<dyn RdsAccess>,
    known: Mutex<Option<Known>>,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Known {
    found: Found,
    at: Instant,
    /// The server was not there.
    doubted: bool,
}

/// What RDS says of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    host: String,
    port: u16,
    /// What `rds-db:connect` names: of the cluster, where there is one.
    resource_id: String,
    arn: String,
    is_cluster: bool,
    by_token: bool,
}

impl Finder {
    pub(super) fn new(settings: RdsSettings, access: Arc<dyn RdsAccess>) -> Self {
        Self {
            settings,
            access,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Refuses where RDS would refuse the token.
    pub(super) async fn check_iam(&self) -> Result<(), LookupError> {
        let found = self.found().await?;
        if found.by_token {
            return Ok(());
        }
        let id = &self.settings.instance_id;
        // Somebody may just be turning it on.
        self.look_again();
        let command = if found.is_cluster {
            format!("aws rds modify-db-cluster --db-cluster-identifier {id}")
        } else {
            format!("aws rds modify-db-instance --db-instance-identifier {id}")
        };
        Err(operator(
            format!("IAM database authentication is off on `{id}`"),
            format!(
                "{command} --region {} --enable-iam-database-authentication --apply-immediately",
                self.settings.region
            ),
        ))
    }

    async fn found(&self) -> Result<Found, LookupError> {
        let fresh = |known: &Known| {
            let age = known.at.elapsed();
            age < ANEW_EVERY || age < FRESH && !known.doubted
        };
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known.found);
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known().filter(fresh) {
            return Ok(known.found);
        }
        let limit = match self.known() {
            Some(_) => PATIENCE,
            None => LIMIT,
        };
        let asked = tokio::time::timeout(limit, self.ask()).await;
        let asked = asked.unwrap_or_else(|_| {
            let problem = format!("RDS does not answer within {limit:?}");
            Err(LookupError::new(ErrorClass::Transient, problem))
        });
        match asked {
            Ok(found) => {
                let known = Known {
                    found: found.clone(),
                    at: Instant::now(),
                    doubted: false,
                };
                self.remember(known);
                Ok(found)
            }
            Err(error) => match self.known() {
                // An end must not fail because RDS is away.
                Some(known) if passes(&error) => {
                    let at = Instant::now();
                    let found = known.found.clone();
                    self.remember(Known { at, ..known });
                    Ok(found)
                }
                _ => Err(error),
            },
        }
    }

    fn known(&self) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn remember(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    async fn ask(&self) -> Result<Found, LookupError> {
        let client = Client::new(&self.access.config().await.map_err(unanswered)?);
        let id = &self.settings.instance_id;
        let call = client.describe_db_instances().db_instance_identifier(id);
        match call.send().await {
            Ok(answer) => match answer.db_instances() {
                [instance] => match instance.db_cluster_identifier() {
                    Some(cluster) => self.cluster(&client, cluster).await,
                    None => self.instance(instance),
                },
                _ => Err(self.absent()),
            },
            Err(error) if is_absent(error.code()) => self.cluster(&client, id).await,
            Err(error) => Err(unanswered(refused("rds:DescribeDBInstances", error))),
        }
    }

    async fn cluster(&self, client: &Client, id: &str) -> Result<Found, LookupError> {
        let call = client.describe_db_clusters().db_cluster_identifier(id);
        match call.send().await {
            Ok(answer) => match answer.db_clusters() {
                [cluster] => self.writer(cluster),
                _ => Err(self.absent()),
            },
            Err(error) if is_absent(error.code()) => Err(self.absent()),
            Err(error) => Err(unanswered(refused("rds:DescribeDBClusters", error))),
        }
    }

    fn absent(&self) -> LookupError {
        let RdsSettings {
            region,
            instance_id,
            ..
        } = &self.settings;
        operator(
            format!("RDS knows no instance and no cluster `{instance_id}` in {region}"),
            "correct `instance_id` and `region`, and `role_arn` where the server is in another account",
        )
    }

    fn instance(&self, instance: &DbInstance) -> Result<Found, LookupError> {
        let source = instance
            .read_replica_source_db_instance_identifier()
            .or(instance.read_replica_source_db_cluster_identifier());
        self.check(instance.engine(), instance.db_instance_status(), source)?;
        let endpoint = instance.endpoint();
        self.put_together(Parts {
            host: endpoint.and_then(|one| one.address()),
            port: endpoint.and_then(|one| one.port()),
            resource_id: instance.dbi_resource_id(),
            arn: instance.db_instance_arn(),
            is_cluster: false,
            by_token: instance.iam_database_authentication_enabled(),
        })
    }

    /// The endpoint that follows a fail-over, not the one of a member.
    fn writer(&self, cluster: &DbCluster) -> Result<Found, LookupError> {
        let source = cluster.replication_source_identifier();
        self.check(cluster.engine(), cluster.status(), source)?;
        self.put_together(Parts {
            host: cluster.endpoint(),
            port: cluster.port(),
            resource_id: cluster.db_cluster_resource_id(),
            arn: cluster.db_cluster_arn(),
            is_cluster: true,
            by_token: cluster.iam_database_authentication_enabled(),
        })
    }

    fn check(
        &self,
        engine: Option<&str>,
        status: Option<&str>,
        source: Option<&str>,
    ) -> Result<(), LookupError> {
        let id = &self.settings.instance_id;
        let engine = engine.unwrap_or_default();
        // The lists of RDS hold Neptune and DocumentDB too.
        if !matches!(engine, "postgres" | "aurora-postgresql") {
            return Err(operator(
                format!("`{id}` runs `{}`, not PostgreSQL", shown(engine)),
                "point the integration at a PostgreSQL or Aurora PostgreSQL server",
            ));
        }
        if let Some(source) = source.filter(|source| !source.is_empty()) {
            return Err(operator(
                format!("`{id}` is a read replica of `{}`", shown(source)),
                "set `instance_id` to the source, where access is made; name the replica in `replicas`",
            ));
        }
        let status = status.unwrap_or_default();
        let problem = || format!("`{id}` is `{}`", shown(status));
        if COMING.contains(&status) {
            return Err(LookupError::new(ErrorClass::Transient, problem()));
        }
        if DOWN.contains(&status) || status.starts_with("inaccessible-") {
            return Err(operator(
                problem(),
                "bring the server back, or retire the integration",
            ));
        }
        Ok(())
    }

    fn put_together(&self, parts: Parts<'_>) -> Result<Found, LookupError> {
        let port = parts.port.and_then(|port| u16::try_from(port).ok());
        let (Some(host), Some(port)) = (parts.host, port.filter(|port| *port > 0)) else {
            let problem = format!(
                "RDS gives no endpoint for `{}` yet",
                self.settings.instance_id
            );
            return Err(LookupError::new(ErrorClass::Transient, problem));
        };
        Ok(Found {
            host: host.to_owned(),
            port,
            resource_id: parts.resource_id.unwrap_or_default().to_owned(),
            arn: parts.arn.unwrap_or_default().to_owned(),
            is_cluster: parts.is_cluster,
            by_token: parts.by_token.unwrap_or(false),
        })
    }
}

/// What an instance and a cluster have in common.
struct Parts<'a> {
    host: Option<&'a str>,
    port: Option<i32>,
    resource_id: Option<&'a str>,
    arn: Option<&'a str>,
    is_cluster: bool,
    by_token: Option<bool>,
}

#[async_trait]
impl ServerSource for Finder {
    async fn find(&self) -> Result<ServerAddress, LookupError> {
        let found = self.found().await?;
        Ok(ServerAddress {
            host: found.host,
            port: found.port,
            via: self.settings.via.clone(),
        })
    }

    fn look_again(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut() {
            known.doubted = true;
        }
    }

    async fn how_to_log_in(&self, login: &str, database: &str) -> Result<Vec<Detail>, LookupError> {
        let found = self.found().await?;
        let region = &self.settings.region;
        let (host, port) = (&found.host, found.port);
        Ok(vec![
            Detail::new("host", host),
            Detail::new("port", port.to_string()),
            Detail::new("database", database),
            Detail::new("user", login),
            Detail::new("region", region),
            Detail::new(
                "token_command",
                format!(
                    "aws rds generate-db-auth-token --hostname {host} --port {port} --region {region} --username {login}"
                ),
            ),
            Detail::new("policy", policy(&found, region, login)),
        ])
    }
}

/// What the person's own role needs: this very user on this very server.
fn policy(found: &Found, region: &str, login: &str) -> String {
    let mut parts = found.arn.split(':').skip(1);
    let partition = parts.next().unwrap_or("aws");
    let account = parts.nth(2).unwrap_or_default();
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": "rds-db:connect",
            "Resource": format!(
                "arn:{partition}:rds-db:{region}:{account}:dbuser:{}/{login}",
                found.resource_id
            ),
        }],
    })
    .to_string()
}

fn operator(problem: String, hint: impl Into<String>) -> LookupError {
    LookupError::new(ErrorClass::NeedsOperator, problem).with_hint(hint)
}

fn passes(error: &LookupError) -> bool {
    matches!(error.class(), ErrorClass::Transient | ErrorClass::Throttled)
}

fn is_absent(code: Option<&str>) -> bool {
    matches!(
        code,
        Some("DBInstanceNotFound" | "DBInstanceNotFoundFault" | "DBClusterNotFoundFault")
    )
}

/// What AWS refused; the fix goes with it.
pub(super) fn unanswered(error: AwsError) -> LookupError {
    let class = match error.class() {
        passing @ (ErrorClass::Transient | ErrorClass::Throttled) => passing,
        ErrorClass::Unauthorised
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::NeedsOperator
        | ErrorClass::Bug => ErrorClass::NeedsOperator,
    };
    let hint = error.hint().map(str::to_owned);
    let lookup = LookupError::new(class, error);
    match hint {
        Some(hint) => lookup.with_hint(hint),
        None => lookup,
    }
}
