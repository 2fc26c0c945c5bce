//! Owns a small company on a real server: a database, its owner, a connector with least rights, and people who want access.

use crate::support::cluster::{Cluster, Psql, fresh};
use apono_connector::clock::{Clock, SystemClock};
use apono_connector::domain::{
    Change, ConnectorId, CredentialChange, EndReason, Grant, GrantId, Integration, IntegrationId,
    IntegrationState, LoginName, Permission, Plan, Principal, ResourceKind, ResourceRef,
    SealedCredential, SecretRef, Start, Step,
};
use apono_connector::pg::Session;
use apono_connector::policy::{
    Authorization, EndWarrant, Guardrails, Judged, Permit, WarrantSource, judge,
};
use apono_connector::secret::Secret;
use apono_connector::targets::postgres::{
    CredentialSource, DatabaseCredential, LookupError, PostgresTarget,
};
use apono_connector::targets::{Applied, Ended, Target, TargetError};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) const CONNECTOR_PASSWORD: &str = "password-of-a-test-connector";

pub(super) struct World {
    pub(super) cluster: &'static Cluster,
    pub(super) database: String,
    pub(super) owner: String,
    /// An owner the connector may not act for.
    pub(super) stranger: String,
    pub(super) admin: String,
    pub(super) user: String,
    pub(super) integration: Integration,
    pub(super) target: PostgresTarget,
    pub(super) identity: age::x25519::Identity,
}

/// What a person gets.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) login: String,
    pub(super) password: String,
}

struct Fixed(DatabaseCredential);

#[async_trait]
impl CredentialSource for Fixed {
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
        Ok(self.0.clone())
    }
}

pub(super) fn connector(name: &str) -> ConnectorId {
    ConnectorId::parse(name).unwrap()
}

impl World {
    pub(super) async fn new(cluster: &'static Cluster) -> Self {
        let (owner, stranger, admin, user) = (
            fresh("owner"),
            fresh("stranger"),
            fresh("admin"),
            fresh("connector"),
        );
        let root = cluster.superuser("postgres").await;
        let old = root.server().major() < 16;
        let inherit = if old {
            ""
        } else {
            " WITH INHERIT TRUE, SET FALSE"
        };
        root.batch(
            "make the roles",
            &format!(
                "CREATE ROLE {owner} NOLOGIN; CREATE ROLE {stranger} NOLOGIN;
                 CREATE ROLE {admin} NOLOGIN CREATEROLE;
                 CREATE ROLE {user} LOGIN PASSWORD '{CONNECTOR_PASSWORD}';
                 GRANT {admin} TO {user}; GRANT {owner} TO {admin}{inherit};"
            ),
        )
        .await
        .unwrap();
        let database = cluster.fresh_database(&owner).await;
        let world_root = cluster.superuser(&database).await;
        world_root
            .batch(
                "make the tables",
                &format!(
                    "SET ROLE {owner};
                     CREATE SCHEMA shop; CREATE TABLE shop.orders (id serial PRIMARY KEY, note text);
                     INSERT INTO shop.orders (note) VALUES ('first');
                     CREATE VIEW shop.recent AS SELECT * FROM shop.orders;
                     CREATE SCHEMA other; CREATE TABLE other.secrets (id int); INSERT INTO other.secrets VALUES (1);"
                ),
            )
            .await
            .unwrap();
        let integration = integration(cluster, &database, &admin);
        let target = target("c-1", &integration, &user);
        Self {
            cluster,
            database,
            owner,
            stranger,
            admin,
            user,
            integration,
            target,
            identity: age::x25519::Identity::generate(),
        }
    }

    /// Another connector, or a second instance, over the same server and home database.
    pub(super) fn another(&self, connector_name: &str) -> PostgresTarget {
        target(connector_name, &self.integration, &self.user)
    }

    pub(super) async fn root(&self) -> Session {
        self.cluster.superuser(&self.database).await
    }

    /// Runs statements as the owner of everything.
    pub(super) async fn as_owner(&self, sql: &str) {
        let sql = format!("SET ROLE {}; {sql}", self.owner);
        self.root()
            .await
            .batch("work as the owner", &sql)
            .await
            .unwrap();
    }

    /// The first cell of an answer to the superuser.
    pub(super) async fn ask(&self, sql: &str) -> String {
        let answer = self.root().await.batch("ask", sql).await.unwrap();
        answer.text().unwrap_or_default().to_owned()
    }

    pub(super) fn psql(&self, who: &Opened, sql: &str) -> Psql {
        self.cluster
            .psql(&who.login, &who.password, &self.database, sql)
    }

    pub(super) async fn session(&self, who: &Opened) -> Session {
        Session::connect(
            &self
                .cluster
                .options(&who.login, &who.password, &self.database),
        )
        .await
        .unwrap()
    }

    pub(super) fn schema(&self, name: &str) -> ResourceRef {
        let path = vec![self.database.clone(), name.to_owned()];
        ResourceRef::new(ResourceKind::PostgresSchema, path).unwrap()
    }

    pub(super) fn table(&self, schema: &str, name: &str) -> ResourceRef {
        let path = vec![self.database.clone(), schema.to_owned(), name.to_owned()];
        ResourceRef::new(ResourceKind::PostgresTable, path).unwrap()
    }

    pub(super) fn whole(&self) -> ResourceRef {
        ResourceRef::new(ResourceKind::PostgresDatabase, vec![self.database.clone()]).unwrap()
    }

    pub(super) fn grant(&self, who: &Principal, on: ResourceRef, level: Permission) -> Grant {
        Grant {
            id: GrantId::generate(),
            integration: self.integration.id,
            principal: who.clone(),
            resource: on,
            permission: level,
            expiry: now() + Duration::from_secs(3600),
        }
    }

    pub(super) fn order(&self, grant: &Grant) -> Start {
        Start {
            grant: grant.clone(),
            recipient: self.identity.to_public().to_string(),
            attempt: 1,
            checkpoint: None,
            lease_deadline: now() + Duration::from_secs(60),
        }
    }

    pub(super) fn permit(&self, order: &Start) -> Permit {
        permit(&self.integration, &order.grant, Some(order.lease_deadline))
    }

    /// Starts a grant, all steps; returns the outcome of each.
    pub(super) async fn run(
        &self,
        target: &PostgresTarget,
        order: &Start,
    ) -> Result<Vec<Applied>, TargetError> {
        let permit = self.permit(order);
        let plan = target.plan_start(&permit, order).await?;
        apply(target, &permit, order, &plan).await
    }

    /// Starts a grant that must succeed with a new password.
    pub(super) async fn open(&self, grant: &Grant) -> Opened {
        let applied = self.run(&self.target, &self.order(grant)).await.unwrap();
        self.opened(&applied)
    }

    /// Starts a grant that must succeed and leave the password alone.
    pub(super) async fn open_more(&self, grant: &Grant) {
        let applied = self.run(&self.target, &self.order(grant)).await.unwrap();
        assert!(
            applied
                .iter()
                .any(|a| a.credential == Some(CredentialChange::Unchanged))
        );
    }

    pub(super) fn opened(&self, applied: &[Applied]) -> Opened {
        let sealed = applied
            .iter()
            .find_map(|a| match &a.credential {
                Some(CredentialChange::New(sealed)) => Some(sealed),
                _ => None,
            })
            .expect("a new password");
        let body = unseal(&self.identity, sealed);
        Opened {
            login: body["login"].as_str().unwrap().to_owned(),
            password: body["password"].as_str().unwrap().to_owned(),
        }
    }

    /// Ends a grant, all steps; returns the outcome of each.
    pub(super) async fn end(&self, grant: &Grant) -> Vec<Ended> {
        end(&self.target, &warrant(grant, EndReason::Revoked))
            .await
            .unwrap()
    }
}

pub(super) fn integration(cluster: &Cluster, database: &str, admin: &str) -> Integration {
    let settings = [
        ("hostname", "localhost".to_owned()),
        ("port", cluster.port.to_string()),
        ("dbname", database.to_owned()),
        ("sslmode", "verify-full".to_owned()),
        ("ssl_root_ca", cluster.ca_file().display().to_string()),
        ("admin_role", admin.to_owned()),
        ("clean_up_delay_s", "1".to_owned()),
    ];
    Integration {
        id: IntegrationId::generate(),
        name: database.to_owned(),
        kind: "postgresql".to_owned(),
        settings: settings
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        secret: Some(SecretRef::parse("file:/nowhere").unwrap()),
        state: IntegrationState::Active,
    }
}

pub(super) fn target(connector_name: &str, of: &Integration, user: &str) -> PostgresTarget {
    let source = Fixed(DatabaseCredential {
        username: user.to_owned(),
        password: Secret::new(CONNECTOR_PASSWORD.to_owned()),
        host: None,
    });
    PostgresTarget::new(connector(connector_name), of, Arc::new(source)).unwrap()
}

pub(super) async fn apply(
    target: &PostgresTarget,
    permit: &Permit,
    order: &Start,
    plan: &Plan,
) -> Result<Vec<Applied>, TargetError> {
    let mut applied = Vec::new();
    for step in &plan.steps {
        applied.push(target.apply(permit, order, step).await?);
    }
    Ok(applied)
}

pub(super) async fn end(
    target: &PostgresTarget,
    warrant: &EndWarrant,
) -> Result<Vec<Ended>, TargetError> {
    let mut ended = Vec::new();
    for step in &target.plan_end(warrant).steps {
        ended.push(target.end(warrant, step).await?);
    }
    Ok(ended)
}

pub(super) fn permit(of: &Integration, grant: &Grant, lease: Option<Timestamp>) -> Permit {
    let judged = Judged {
        grant,
        integration: Some(of),
        issued_at: None,
        first_started: None,
        lease_deadline: lease,
    };
    match judge(&Guardrails::default(), judged, now()) {
        Authorization::Permitted(permit) => permit,
        Authorization::Denied(denial) => panic!("denied: {denial:?}"),
    }
}

pub(super) fn warrant(grant: &Grant, reason: EndReason) -> EndWarrant {
    EndWarrant {
        grant: grant.clone(),
        reason,
        source: WarrantSource::Task,
    }
}

pub(super) fn step(change: Change) -> Step {
    Step {
        note: "a step of a test".to_owned(),
        change,
    }
}

pub(super) fn unseal(
    identity: &age::x25519::Identity,
    sealed: &SealedCredential,
) -> serde_json::Value {
    use std::io::Read;
    let armored = age::armor::ArmoredReader::new(sealed.as_str().as_bytes());
    let mut text = String::new();
    age::Decryptor::new(armored)
        .unwrap()
        .decrypt(std::iter::once(identity as &dyn age::Identity))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A person nobody else in this process is.
pub(super) fn person(name: &str) -> Principal {
    Principal::parse(&format!("{}@example.com", fresh(name))).unwrap()
}

pub(super) fn login_of(who: &Principal) -> String {
    LoginName::derive(who).as_str().to_owned()
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}
