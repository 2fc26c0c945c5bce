//! Owns a borrowed connection. Never gives it back: that is for whoever knows that no transaction is open.

use super::{For, Opened};
use crate::cut;
use crate::pg::{BatchOutcome, Session};
use crate::targets::postgres::error::Trouble;
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, SemaphorePermit};

/// Longest call of an end. Its calls are short; a longer one means that the connection is dead, or that a lock will not come.
const END_CALL: Duration = Duration::from_secs(8);
/// Longest call of a start's own transaction, which can wait for two locks of 5 s each; filling an access role has more.
const START_CALL: Duration = Duration::from_secs(12);
/// A borrowed connection. Closed when dropped, unless it is put back: only who knows that no transaction is open does that.
pub(in crate::targets::postgres) struct Conn<'a> {
    pub(super) held: Held,
    pub(super) slot: Option<SemaphorePermit<'a>>,
    pub(super) purpose: For,
    /// Whether it had been idle before, so that it may turn out to be dead.
    pub(in crate::targets::postgres) reused: bool,
}

pub(super) enum Held {
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
    pub(in crate::targets::postgres) fn server(&self) -> u64 {
        self.opened().map_or(0, |opened| opened.server)
    }

    /// The server's version, as in `server_version_num`.
    pub(in crate::targets::postgres) fn version(&self) -> u32 {
        self.session().map_or(0, |s| s.server().version_num)
    }

    /// Whether it speaks TLS.
    pub(in crate::targets::postgres) fn encrypted(&self) -> bool {
        self.session().is_ok_and(|s| s.server().encrypted)
    }

    pub(in crate::targets::postgres) async fn batch(
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
    pub(in crate::targets::postgres) async fn batch_of_start(
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
    pub(in crate::targets::postgres) fn pooled(&self) -> bool {
        self.session().is_ok_and(|s| s.server().pooled)
    }

    /// Leaves a transaction that was opened by an earlier message.
    pub(in crate::targets::postgres) async fn roll_back(&self) {
        if let Ok(session) = self.session() {
            session.roll_back().await;
        }
    }
}
