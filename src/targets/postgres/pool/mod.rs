//! Owns the connections of one target. Never lets an end wait behind a start, nor a person who takes all connections lock us out.

mod conn;
mod opening;

pub(super) use conn::Conn;

use super::credential::{CredentialSource, Credentials};
use super::error::Trouble;
use super::identity::Identity;
use super::server::ServerSource;
use super::settings::Settings;
use crate::pg::Session;
use conn::Held;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
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
}
