//! Owns the task that moves a session's bytes, and what the server says besides answers. Never outlives the session by
//! more than a second.

use super::wire::Wire;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Connection};
use tokio_util::sync::CancellationToken;

/// Most warnings kept of one call; a message that grants on 1,000 objects can earn 1,000 of them.
const MAX_WARNINGS: usize = 2_000;
/// How long a session that is let go may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Something the server said about a statement that succeeded.
///
/// `GRANT` (01007), `REVOKE` (01000) and `DROP OWNED` (01006) say only here that they did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The SQLSTATE.
    pub code: String,
    /// Whether the server calls it a warning; otherwise it is a notice.
    pub warning: bool,
    /// The server's words, for the local log only.
    pub message: String,
}

/// What the task and the session share.
#[derive(Default)]
pub(super) struct Shared {
    warnings: Mutex<VecDeque<Warning>>,
    /// The SQLSTATE the connection ended with.
    last_words: Mutex<Option<String>>,
    /// Ends the task at once.
    pub(super) cut: CancellationToken,
    /// Lets the task say goodbye.
    pub(super) let_go: CancellationToken,
}

impl Shared {
    pub(super) fn take_warnings(&self) -> Vec<Warning> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings).into()
    }

    pub(super) fn last_words(&self) -> Option<String> {
        self.last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn heard(&self, notice: &tokio_postgres::error::DbError) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MAX_WARNINGS {
            warnings.push_back(Warning {
                code: notice.code().code().to_owned(),
                warning: notice.parsed_severity() == Some(tokio_postgres::error::Severity::Warning),
                message: notice.message().to_owned(),
            });
        }
    }
}

/// Starts the task. It ends when the session is dropped, when `cut` is called, or when the connection ends.
#[expect(
    clippy::disallowed_methods,
    reason = "the task belongs to its session, which ends it; no one has to wait for it"
)]
pub(super) fn start(connection: Connection<Wire, Wire>, shared: Arc<Shared>) {
    tokio::spawn(async move {
        let goodbye = async {
            shared.let_go.cancelled().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            () = drive(connection, &shared) => {}
            () = shared.cut.cancelled() => {}
            () = goodbye => {}
        }
    });
}

async fn drive(mut connection: Connection<Wire, Wire>, shared: &Shared) {
    loop {
        let message = std::future::poll_fn(|cx| connection.poll_message(cx)).await;
        match message {
            Some(Ok(AsyncMessage::Notice(notice))) => shared.heard(&notice),
            // Notifications, which we never ask for.
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                if let Some(code) = error.code() {
                    *shared
                        .last_words
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner) = Some(code.code().to_owned());
                }
                tracing::debug!(error = %error, "connection ended");
                return;
            }
            None => return,
        }
    }
}
