//! Owns how access is made and taken away in a PostgreSQL server: logins, shared access roles, and the grant table that counts them.
//! Never touches a role without our mark, and never waits in an end for anything a person can hold.

mod access_role;
mod blockers;
mod cleanup;
mod close_all;
mod compare;
mod credential;
mod door;
mod end;
mod error;
mod given;
mod identity;
mod leftovers;
mod levels;
mod makeshift;
mod mark;
mod mend;
mod observe;
mod password;
mod plan;
mod pool;
mod probe;
mod rds_iam;
mod record;
mod render;
mod replicas;
mod rest;
mod rows;
mod schema;
mod scope;
mod server;
mod sessions;
mod settings;
mod start;
mod tls_files;
mod together;

pub use close_all::close_all_sql;
pub use credential::{CredentialSource, DatabaseCredential};
pub use levels::published_table;
pub use server::{LookupError, ServerAddress, ServerSource};
pub use settings::{EndUsers, SETTINGS, Words};

use super::{
    Applied, CheckReport, CleanedUp, Ended, EndedTogether, Mended, MissingEnd, RecordedGrant,
    Target, TargetError,
};
use crate::domain::{
    Change, ConnectorId, ErrorClass, Grant, GrantId, Integration, IntegrationId, InvalidValue,
    LoginName, Plan, SettingsDigest, Start, Step,
};
use crate::pg::ConnectOptions;
use crate::policy::{EndWarrant, Permit};
use access_role::Hurry;
use async_trait::async_trait;
use error::Trouble;
use pool::{Conn, For, Pool};
use replicas::Replicas;
use settings::Settings;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The kind of integration this target is for.
pub const KIND: &str = "postgresql";

/// A server that is looked up, and what is decided about it elsewhere.
pub struct ManagedServer {
    /// What the integration calls its settings.
    pub words: &'static Words,
    /// How the server is called before it was found: the same for whoever manages it.
    pub label: String,
    /// Where it is.
    pub server: Arc<dyn ServerSource>,
    /// How we log in.
    pub source: Arc<dyn CredentialSource>,
    /// How people log in.
    pub end_users: EndUsers,
    /// The certificate authorities where the settings name none.
    pub root_ca: Option<std::path::PathBuf>,
}

/// One PostgreSQL server, seen from one home database.
pub struct PostgresTarget {
    settings: Settings,
    server: Arc<dyn ServerSource>,
    pool: Pool,
    replicas: Replicas,
    comparison: identity::Comparison,
    /// On which of the servers seen so far our record was found to be there and of this version; 0 for none.
    ready: AtomicU64,
    /// One filler of access lists per database: the server answers concurrent ones with errors.
    filling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl PostgresTarget {
    /// Checks the settings of an integration and makes its target. Connects only when used.
    ///
    /// # Errors
    /// Lists every setting that is wrong.
    pub fn new(
        connector: ConnectorId,
        integration: &Integration,
        source: Arc<dyn CredentialSource>,
    ) -> Result<Self, Vec<InvalidValue>> {
        let (settings, server) = Settings::parse_named(connector, integration)?;
        Ok(Self::with(
            settings,
            Arc::new(server::Fixed(server)),
            source,
        ))
    }

    /// The same for a server that is looked up.
    ///
    /// # Errors
    /// Lists every setting that is wrong.
    pub fn found(
        connector: ConnectorId,
        integration: &Integration,
        managed: ManagedServer,
    ) -> Result<Self, Vec<InvalidValue>> {
        let decided = settings::Managed {
            words: managed.words,
            label: managed.label,
            end_users: managed.end_users,
            root_ca: managed.root_ca,
        };
        let settings = Settings::parse(connector, integration, &decided)?;
        Ok(Self::with(settings, managed.server, managed.source))
    }

    fn with(
        settings: Settings,
        server: Arc<dyn ServerSource>,
        source: Arc<dyn CredentialSource>,
    ) -> Self {
        Self {
            pool: Pool::new(settings.clone(), Arc::clone(&server), source),
            server,
            replicas: Replicas::new(&settings.replicas),
            settings,
            comparison: identity::Comparison::default(),
            ready: AtomicU64::new(0),
            filling: Mutex::default(),
        }
    }

    /// Returns how others that only read may connect to the home database, and the role to act as where one is set. The
    /// server has let us in this way just now.
    ///
    /// # Errors
    /// When the secret or the certificate authority cannot be read, or the server does not let us in.
    pub async fn connection(&self) -> Result<(ConnectOptions, Option<String>), TargetError> {
        let options = self.pool.proven_options().await?;
        Ok((options, self.settings.admin_role.clone()))
    }

    /// Lends a connection to the home database, with our record in place.
    async fn home(&self, purpose: For) -> Result<Conn<'_>, Trouble> {
        let conn = self.pool.home(purpose).await?;
        if self.ready.load(Ordering::Relaxed) != conn.server() {
            if schema::ensure(&conn).await? == schema::Made::New
                && let Some(server) = self.pool.server()
            {
                // Nothing of ours can be older than this record; what is, carries our mark and is mended.
                self.trust(&conn, server).await?;
            }
            self.ready.store(conn.server(), Ordering::Relaxed);
        }
        if purpose == For::Start {
            self.admit(&conn).await?;
        }
        Ok(conn)
    }

    fn fill_lock(&self, database: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(filling.entry(database.to_owned()).or_default())
    }

    /// Our record may have gone with a restored database: look again before the next use.
    fn failed(&self, error: Trouble) -> TargetError {
        if matches!(error.sqlstate(), Some("42P01" | "3F000")) {
            self.ready.store(0, Ordering::Relaxed);
        }
        TargetError::from(error)
    }

    /// Says who was in the way, where something was.
    async fn explained<T>(&self, outcome: Result<T, Trouble>) -> Result<T, TargetError> {
        match outcome {
            Ok(done) => Ok(done),
            Err(error) => Err(self.failed(self.with_blockers(For::Work, error).await)),
        }
    }

    fn same_order(&self, permit: &Permit, grant: &Grant) -> Result<(), Trouble> {
        let (integration, settings) = (self.settings.home.integration, self.settings.digest);
        if !permit.covers(grant.id, integration, settings) {
            return Err(Trouble::refused(
                ErrorClass::Conflict,
                "settings_changed",
                "the permit was given for other settings or another grant, judge again",
            ));
        }
        Ok(())
    }

    async fn plan_with(
        &self,
        permit: &Permit,
        grant: &Grant,
        decide: impl FnOnce(&observe::Observed) -> Result<Plan, Trouble> + Send,
    ) -> Result<Plan, Trouble> {
        self.same_order(permit, grant)?;
        let conn = self.home(For::Start).await?;
        let seen = self.look(&conn, grant).await?;
        self.pool.put(conn);
        decide(&seen)
    }

    async fn apply_step(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, Trouble> {
        self.same_order(permit, &start.grant)?;
        match &step.change {
            Change::PrepareAccessRole { access_role } => {
                let grant = &start.grant;
                let evidence = self
                    .prepare(access_role, &grant.resource, grant.permission, Hurry::Start)
                    .await?;
                Ok(Applied {
                    evidence,
                    ..Applied::default()
                })
            }
            Change::StartGrant(planned) => self.start_grant(permit, start, planned).await,
            Change::MoveExpiry { grant, expiry } => {
                self.extend_grant(permit, *grant, &start.grant, *expiry)
                    .await
            }
            Change::SetCredential { login } => self.set_credential(permit, start, login).await,
            Change::Verify => self.verify(&start.grant).await,
            Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp
            | Change::Remember(_)
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::PrepareUser { .. }
            | Change::GiveRights => Err(wrong_step("a start")),
        }
    }

    async fn end_step(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, Trouble> {
        let conn = self.home(For::End).await?;
        let reused = conn.reused;
        match self.end_step_with(&conn, warrant, step).await {
            Ok(ended) => {
                self.pool.put(conn);
                Ok(ended)
            }
            // An idle connection may have died unseen, and any may die on the way; every step of an end may be repeated.
            Err(error)
                if error.is_lost_connection()
                    || (reused && error.class() == ErrorClass::Transient && !error.is_full()) =>
            {
                drop(conn);
                self.pool.forget_idle();
                let conn = self.home(For::End).await?;
                let ended = self.end_step_with(&conn, warrant, step).await?;
                self.pool.put(conn);
                Ok(ended)
            }
            Err(error) => {
                drop(conn);
                Err(self.with_blockers(For::End, error).await)
            }
        }
    }

    async fn end_step_with(
        &self,
        conn: &Conn<'_>,
        warrant: &EndWarrant,
        step: &Step,
    ) -> Result<Ended, Trouble> {
        match &step.change {
            Change::CloseDoor => self.close_door(conn, warrant).await,
            Change::EndSessions => self.end_sessions(conn, warrant).await,
            Change::BlockLogin => self.block_login(conn, warrant).await,
            Change::PrepareAccessRole { .. }
            | Change::Remember(_)
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::PrepareUser { .. }
            | Change::GiveRights
            | Change::StartGrant(_)
            | Change::MoveExpiry { .. }
            | Change::SetCredential { .. }
            | Change::Verify
            | Change::CleanUp => Err(wrong_step("an end")),
        }
    }
}

/// Refuses what is in no PostgreSQL server.
fn check_kind(grant: &Grant) -> Result<(), Trouble> {
    let kind = grant.resource.kind();
    if kind.is_postgresql() {
        return Ok(());
    }
    Err(Trouble::refused(
        ErrorClass::Bug,
        "wrong_resource_type",
        format!("a PostgreSQL server has no resources of type `{kind}`"),
    ))
}

fn wrong_step(of: &str) -> Trouble {
    Trouble::refused(
        ErrorClass::Bug,
        "step_unknown",
        format!("this is not a step of {of}"),
    )
}

#[async_trait]
impl Target for PostgresTarget {
    fn integration(&self) -> IntegrationId {
        self.settings.home.integration
    }

    fn settings(&self) -> SettingsDigest {
        self.settings.digest
    }

    fn lane(&self, grant: &Grant) -> String {
        // The plain name also when a distinct one is in use: too wide a lane is harmless.
        format!(
            "{}/{}",
            self.settings.label,
            LoginName::derive(&grant.principal)
        )
    }

    async fn check(&self) -> Result<CheckReport, TargetError> {
        let checked = record::check(self).await;
        self.explained(checked).await
    }

    async fn plan_start(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        let planned = async {
            check_kind(&start.grant)?;
            password::recipient(&start.recipient)?;
            self.plan_with(permit, &start.grant, |seen| {
                plan::start(&self.settings.home, start, seen)
            })
            .await
        };
        self.explained(planned.await).await
    }

    async fn plan_extend(&self, permit: &Permit, grant: &Grant) -> Result<Plan, TargetError> {
        let planned = self
            .plan_with(permit, grant, |seen| {
                plan::extend(&self.settings.home, grant, seen)
            })
            .await;
        self.explained(planned).await
    }

    async fn plan_reset(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        let planned = async {
            password::recipient(&start.recipient)?;
            self.plan_with(permit, &start.grant, |seen| {
                plan::reset(&self.settings.home, &start.grant, seen)
            })
            .await
        };
        self.explained(planned.await).await
    }

    async fn apply(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, TargetError> {
        let applied = self.apply_step(permit, start, step).await;
        self.explained(applied).await
    }

    fn plan_end(&self, warrant: &EndWarrant) -> Plan {
        let who = &warrant.grant.principal;
        let step = |note: String, change| Step { note, change };
        Plan {
            steps: vec![
                step(
                    format!(
                        "take {} on {} from {who}",
                        warrant.grant.permission, warrant.grant.resource
                    ),
                    Change::CloseDoor,
                ),
                step(format!("end every session of {who}"), Change::EndSessions),
                step(
                    format!("block the login of {who} unless another grant is live"),
                    Change::BlockLogin,
                ),
            ],
        }
    }

    async fn end(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, TargetError> {
        self.end_step(warrant, step)
            .await
            .map_err(|e| self.failed(e))
    }

    async fn end_together(
        &self,
        warrants: &[EndWarrant],
    ) -> Result<Vec<EndedTogether>, TargetError> {
        self.end_many(warrants).await.map_err(|e| self.failed(e))
    }

    async fn clean_up(&self) -> Result<Vec<CleanedUp>, TargetError> {
        self.clean_up_pass().await.map_err(|e| self.failed(e))
    }

    async fn recorded(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        let read = record::read(self).await;
        self.explained(read).await
    }

    async fn mend(&self) -> Result<Vec<Mended>, TargetError> {
        self.mend_pass().await.map_err(|e| self.failed(e))
    }

    fn owes_comparison(&self) -> Option<String> {
        self.not_compared().map(|server| server.to_string())
    }

    async fn compare(&self, ended: &[GrantId]) -> Result<Vec<MissingEnd>, TargetError> {
        self.compare_with(ended).await.map_err(|e| self.failed(e))
    }

    async fn compared(&self, server: &str) -> Result<(), TargetError> {
        self.note_compared_if(server)
            .await
            .map_err(|e| self.failed(e))
    }

    async fn hold(&self, wanted: bool) {
        self.pool.hold(wanted).await;
    }
}

impl std::fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "PostgresTarget({}/{})",
            self.settings.label, self.settings.home.database
        )
    }
}
