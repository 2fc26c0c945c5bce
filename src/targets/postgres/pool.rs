//! Owns the connections of one target. Never lets an end wait behind a start, nor a person who takes all connections lock us out.

use super::credential::{CredentialSource, Credentials, DatabaseCredential};
use super::error::Trouble;
use super::identity::{BEGAN, Identity};
use super::render::{id, lit};
use super::server::{ServerAddress, ServerSource};
use super::settings::{DEFAULT_ADMIN_ROLE, Place, Settings};
use crate::cut;
use crate::pg::{BatchOutcome, ConnectOptions, Session};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Connections for starts, checks, clean-up and reads together.
const WORK_SLOTS: usize = 4;
/// Connections for ends, which have slots of their own: 50 ends in one second need about 8 at a time.
const END_SLOTS: usize = 8;
/// Longest wait for a slot; every holder is bounded in time, so a longer one means that the server hardly answers.
const SLOT_WAIT: Duration = Duration::from_secs(30);
/// Idle connections kept per database.
const IDLE_PER_DATABASE: usize = 8;
/// An idle connection is closed after this time.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A connection is not used again after this time, so that a name that leads elsewhere now is followed.
const LIFE: Duration = Duration::from_secs(60);
/// Idle time after which a connection is asked whether it still answers before it is lent: one that a firewall or a fail-over
/// cut takes every question without a word.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for that answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Longest call of an end. Its calls are short; a longer one means that the connection is dead, or that a lock will not come.
const END_CALL: Duration = Duration::from_secs(8);
/// Longest call of a start's own transaction, which can wait for two locks of 5 s each; filling an access role has more.
const START_CALL: Duration = Duration::from_secs(12);
/// Shown in `pg_stat_activity`.
const APPLICATION_NAME: &str = "apono-connector";

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Work,
    /// Work that gives access: only on a server that was compared.
    Start,
    End,
}

/// The connections of one target.
pub(super) struct Pool {
    settings: Settings,
    place: Arc<dyn ServerSource>,
    credentials: Credentials,
    idle: Mutex<HashMap<String, Vec<(Opened, Instant)>>>,
    work: Semaphore,
    ends: Semaphore,
    holding: AtomicBool,
    reserve: Arc<AsyncMutex<Option<Opened>>>,
    server: Mutex<Standing>,
}

/// The server connections lead to now.
#[derive(Default)]
struct Standing {
    identity: Option<Identity>,
    /// How often it was another one than before.
    changes: u64,
}

/// A connection, and which server it leads to.
struct Opened {
    session: Session,
    /// The number of changes at the time.
    server: u64,
    at: Instant,
}

/// A borrowed connection. Closed when dropped, unless it is put back: only who knows that no transaction is open does that.
pub(super) struct Conn<'a> {
    held: Held,
    slot: Option<SemaphorePermit<'a>>,
    purpose: For,
    /// Whether it had been idle before, so that it may turn out to be dead.
    pub(super) reused: bool,
}

enum Held {
    Own(Box<Opened>),
    /// The held one, empty only between two uses.
    Reserve(OwnedMutexGuard<Option<Opened>>),
}

impl Conn<'_> {
    fn opened(&self) -> Result<&Opened, Trouble> {
        match &self.held {
            Held::Own(opened) => Ok(opened),
            Held::Reserve(guard) => guard.as_ref().ok_or(Trouble::Busy),
        }
    }

    fn session(&self) -> Result<&Session, Trouble> {
        self.opened().map(|opened| &opened.session)
    }

    /// Which of the servers seen so far this leads to.
    pub(super) fn server(&self) -> u64 {
        self.opened().map_or(0, |opened| opened.server)
    }

    /// The server's version, as in `server_version_num`.
    pub(super) fn version(&self) -> u32 {
        self.session().map_or(0, |s| s.server().version_num)
    }

    /// Whether it speaks TLS.
    pub(super) fn encrypted(&self) -> bool {
        self.session().is_ok_and(|s| s.server().encrypted)
    }

    pub(super) async fn batch(
        &self,
        note: &'static str,
        sql: &str,
    ) -> Result<BatchOutcome, Trouble> {
        match self.purpose {
            For::Work | For::Start => self.run(note, sql, None).await,
            For::End => self.run(note, sql, Some(END_CALL)).await,
        }
    }

    /// Like `batch`, for a start's own transaction.
    pub(super) async fn batch_of_start(
        &self,
        note: &'static str,
        sql: &str,
    ) -> Result<BatchOutcome, Trouble> {
        self.run(note, sql, Some(START_CALL)).await
    }

    async fn run(
        &self,
        note: &'static str,
        sql: &str,
        limit: Option<Duration>,
    ) -> Result<BatchOutcome, Trouble> {
        let session = self.session()?;
        cut::point(format_args!("postgres.{note}.before"));
        let outcome = match limit {
            Some(limit) => session.batch_within(limit, note, sql).await,
            None => session.batch(note, sql).await,
        };
        cut::point(format_args!("postgres.{note}.after"));
        Ok(outcome?)
    }

    /// Whether a connection pooler is in between.
    pub(super) fn pooled(&self) -> bool {
        self.session().is_ok_and(|s| s.server().pooled)
    }

    /// Leaves a transaction that was opened by an earlier message.
    pub(super) async fn roll_back(&self) {
        if let Ok(session) = self.session() {
            session.roll_back().await;
        }
    }
}

impl Pool {
    pub(super) fn new(
        settings: Settings,
        place: Arc<dyn ServerSource>,
        source: Arc<dyn CredentialSource>,
    ) -> Self {
        Self {
            settings,
            place,
            credentials: Credentials::new(source),
            idle: Mutex::default(),
            work: Semaphore::new(WORK_SLOTS),
            ends: Semaphore::new(END_SLOTS),
            holding: AtomicBool::new(false),
            reserve: Arc::default(),
            server: Mutex::default(),
        }
    }

    /// Lends a connection to the home database.
    pub(super) async fn home(&self, purpose: For) -> Result<Conn<'_>, Trouble> {
        self.get(purpose, &self.settings.home.database).await
    }

    /// Lends a connection to a database.
    pub(super) async fn get(&self, purpose: For, database: &str) -> Result<Conn<'_>, Trouble> {
        let slots = match purpose {
            For::Work | For::Start => &self.work,
            For::End => &self.ends,
        };
        let slot = tokio::time::timeout(SLOT_WAIT, slots.acquire())
            .await
            .map_err(|_| Trouble::Busy)?
            .map_err(|_| Trouble::Busy)?;
        let (held, reused) = match self.take_idle(database).await {
            Some(opened) => (Held::Own(Box::new(opened)), true),
            None => match self.connect(database).await {
                Ok(opened) => (Held::Own(Box::new(opened)), false),
                Err(error) if purpose == For::End && database == self.settings.home.database => {
                    (self.borrow_reserve().await.ok_or(error)?, true)
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Conn {
            held,
            slot: Some(slot),
            purpose,
            reused,
        })
    }

    /// Takes a connection back. Only for one without an open transaction.
    pub(super) fn put(&self, conn: Conn<'_>) {
        if let Held::Own(opened) = conn.held {
            if !self.is_good(&opened) {
                return;
            }
            let database = opened.session.server().database.clone();
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let list = idle.entry(database).or_default();
            if list.len() < IDLE_PER_DATABASE {
                list.push((*opened, Instant::now()));
            }
        }
        drop(conn.slot);
    }

    /// Takes a connection back after it gave access: with a live grant one is held for ends, from the first moment on.
    pub(super) fn put_to_hold(&self, conn: Conn<'_>) {
        self.holding.store(true, Ordering::Relaxed);
        match (self.reserve.try_lock(), conn.held) {
            (Ok(mut reserve), Held::Own(opened)) if reserve.is_none() => *reserve = Some(*opened),
            (_, held) => self.put(Conn { held, ..conn }),
        }
    }

    /// Closes every idle connection, for example after one turned out to be dead.
    pub(super) fn forget_idle(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    async fn take_idle(&self, database: &str) -> Option<Opened> {
        let (opened, since) = self.pop_idle(database)?;
        if since.elapsed() < ASK_AFTER || opened.session.answers_within(ANSWER_LIMIT).await {
            return Some(opened);
        }
        // What cut this one has cut the others too.
        self.forget_idle();
        None
    }

    fn pop_idle(&self, database: &str) -> Option<(Opened, Instant)> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain(|(opened, since)| self.is_good(opened) && since.elapsed() < IDLE_TIME);
            !list.is_empty()
        });
        idle.get_mut(database)?.pop()
    }

    fn is_good(&self, opened: &Opened) -> bool {
        let now = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .changes;
        !opened.session.is_closed() && opened.server == now && opened.at.elapsed() < LIFE
    }

    /// Returns which server connections lead to; nothing before the first one.
    pub(super) fn server(&self) -> Option<Identity> {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .identity
            .clone()
    }

    /// Finds out which server a new connection leads to.
    async fn recognise(&self, session: &Session, began: String) -> Result<u64, Trouble> {
        {
            let known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
            if known
                .identity
                .as_ref()
                .is_some_and(|known| known.began == began)
            {
                return Ok(known.changes);
            }
        }
        let identity = Identity::read(session, began).await?;
        let mut known = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if known.identity.as_ref() != Some(&identity) {
            if let Some(before) = &known.identity {
                tracing::warn!(
                    "another server answers at `{}`: {identity}; before: {before}",
                    self.settings.label
                );
            }
            known.identity = Some(identity);
            known.changes += 1;
        }
        Ok(known.changes)
    }

    async fn borrow_reserve(&self) -> Option<Held> {
        let guard = tokio::time::timeout(SLOT_WAIT, Arc::clone(&self.reserve).lock_owned())
            .await
            .ok()?;
        let opened = guard
            .as_ref()
            .filter(|opened| !opened.session.is_closed())?;
        // Whoever had it before may have left in the middle of a transaction.
        tokio::time::timeout(ANSWER_LIMIT, opened.session.roll_back())
            .await
            .ok()?;
        (!opened.session.is_closed()).then_some(Held::Reserve(guard))
    }

    /// Opens or closes the held connection; called again, it replaces one that died.
    pub(super) async fn hold(&self, wanted: bool) {
        self.holding.store(wanted, Ordering::Relaxed);
        self.refresh_reserve().await;
    }

    /// Looks after the held connection.
    pub(super) async fn refresh_reserve(&self) {
        let mut reserve = self.reserve.lock().await;
        if !self.holding.load(Ordering::Relaxed) {
            *reserve = None;
            return;
        }
        let alive = match reserve.as_ref() {
            Some(opened) => opened.session.answers_within(ANSWER_LIMIT).await,
            None => false,
        };
        if !alive {
            *reserve = match self.connect(&self.settings.home.database).await {
                Ok(opened) => Some(opened),
                Err(error) => {
                    tracing::warn!(error.class = %error.class(), "no connection could be held for ends");
                    None
                }
            };
        }
    }

    /// Returns how to connect to the home database, in a way the server let us in just now.
    pub(super) async fn proven_options(&self) -> Result<ConnectOptions, Trouble> {
        let server = self.find().await?;
        let (_, options) = self
            .log_in(&server, true, &self.settings.home.database)
            .await?;
        Ok(options)
    }

    /// Opens a connection to a replica, which is not counted among ours.
    pub(super) async fn replica(&self, place: &Place) -> Result<Session, Trouble> {
        let server = ServerAddress::new(&place.host, place.port);
        let (session, _) = self
            .log_in(&server, false, &self.settings.home.database)
            .await?;
        self.become_admin(&session).await?;
        Ok(session)
    }

    /// Returns where the server is.
    pub(super) async fn find(&self) -> Result<ServerAddress, Trouble> {
        self.place.find().await.map_err(Trouble::Server)
    }

    /// Logs in with the present credential; if that one is refused, with those it may have been rotated to or from.
    async fn log_in(
        &self,
        server: &ServerAddress,
        is_home: bool,
        database: &str,
    ) -> Result<(Session, ConnectOptions), Trouble> {
        let holding = self.holding.load(Ordering::Relaxed);
        let mut credential = self.credentials.present(server, holding).await?;
        let mut tried = Vec::new();
        let mut refusal = None;
        loop {
            if is_home {
                fits(&credential, &server.host)?;
            }
            let mut options = self.options(server, database, &credential).await?;
            options.pass_over_replicas = is_home;
            match Session::connect(&options).await.map_err(Trouble::from) {
                Ok(session) => {
                    self.credentials.worked(credential);
                    return Ok((session, options));
                }
                Err(error) if error.is_refused_login() => {
                    tracing::info!(error = %error, "the login was refused, looking for another version of the secret");
                    let first = refusal.unwrap_or(error);
                    tried.push(credential);
                    match self.credentials.next(&tried, holding).await {
                        Some(next) => credential = next,
                        None => return Err(first),
                    }
                    refusal = Some(first);
                }
                Err(error) => {
                    if is_home {
                        // It may have moved.
                        self.place.look_again();
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn options(
        &self,
        server: &ServerAddress,
        database: &str,
        credential: &DatabaseCredential,
    ) -> Result<ConnectOptions, Trouble> {
        Ok(ConnectOptions {
            host: server.host.clone(),
            port: server.port,
            database: database.to_owned(),
            user: credential.username.clone(),
            password: credential.password.clone(),
            ssl_mode: self.settings.tls,
            root_ca_pem: self.settings.tls_files.root_ca().await?,
            client: self.settings.tls_files.client().await?,
            application_name: APPLICATION_NAME.to_owned(),
            pass_over_replicas: false,
            names: server.names(),
        })
    }

    async fn connect(&self, database: &str) -> Result<Opened, Trouble> {
        let server = self.find().await?;
        let (session, _) = self.log_in(&server, true, database).await?;
        if session.server().in_recovery {
            self.place.look_again();
            return Err(Trouble::Replica { host: server.host });
        }
        // A primary may be set to read-only by default, and to answer a commit before it is on disk; our transactions say what they are.
        let set_up = session
            .batch(
                "allow writing",
                &format!(
                    "SET default_transaction_read_only = off;\n\
                     SELECT pg_catalog.set_config('synchronous_commit', 'local', false) WHERE pg_catalog.current_setting('synchronous_commit') = 'off';\n{BEGAN}"
                ),
            )
            .await?;
        let began = set_up
            .rows
            .last()
            .and_then(|row| row.first())
            .cloned()
            .flatten();
        let server = self.recognise(&session, began.unwrap_or_default()).await?;
        self.become_admin(&session).await?;
        Ok(Opened {
            session,
            server,
            at: Instant::now(),
        })
    }

    /// Acts as the admin role from here on, and reads back that it is so: some servers ignore a setting without a word.
    async fn become_admin(&self, session: &Session) -> Result<(), Trouble> {
        let role = match &self.settings.admin_role {
            Some(role) => role.clone(),
            None => {
                let right = if session.server().major() >= 16 {
                    "SET"
                } else {
                    "MEMBER"
                };
                let known = session
                    .batch(
                        "look for the admin role",
                        &format!(
                            "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = {} AND pg_catalog.pg_has_role(session_user, oid, '{right}')",
                            lit(DEFAULT_ADMIN_ROLE)
                        ),
                    )
                    .await?;
                match known.text() {
                    Some(role) => role.to_owned(),
                    None => return Ok(()),
                }
            }
        };
        let me = session
            .batch(
                "act as the admin role",
                &format!("SET ROLE {}; SELECT current_user", id(&role)),
            )
            .await;
        let user = &session.server().session_user;
        match me {
            Ok(me) if me.text() == Some(role.as_str()) => Ok(()),
            Ok(_) => Err(Trouble::admin_role_refused(&role, user)),
            Err(error) => Err(match error.sqlstate() {
                Some("42501") => Trouble::admin_role_refused(&role, user),
                Some("22023" | "42704") => Trouble::admin_role_missing(&role, user),
                _ => error.into(),
            }),
        }
    }
}

/// A secret that says its host goes to no other one.
fn fits(credential: &DatabaseCredential, host: &str) -> Result<(), Trouble> {
    match &credential.host {
        Some(bound) if bound != host => Err(Trouble::operator(
            "secret_for_another_host",
            format!(
                "the secret is for host `{}`, the integration says `{host}`",
                crate::domain::shown(bound)
            ),
            "correct `hostname`, or point the integration at the secret of this server",
        )),
        _ => Ok(()),
    }
}
