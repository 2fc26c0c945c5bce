//! Owns asking for work: the session, the long poll, and what is handed back at shutdown. Never takes work without a free place.

use super::Executor;
use crate::control::{ControlError, HeldLease, Hello, LeaseAsk, Leased, ParsedTask, Session};
use crate::cut;
use crate::domain::{ErrorClass, TaskId};
use crate::ledger::OutboxEntry;
use crate::retry::{self, Backoff, Jitter};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The first poll comes at a random moment within this time.
const FIRST_POLL_WITHIN: Duration = Duration::from_millis(500);
/// How long the last word to the control plane may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// Most tasks named as held, in about 40 KiB; more reports than that wait only after an outage, and no task of theirs is leased to us any more.
const MAX_HELD: usize = 1024;

impl Executor {
    /// Asks for work until `stop`; every failure is followed by a jittered pause.
    pub(super) async fn take_orders(&self, stop: &CancellationToken) {
        let mut pauses = Backoff::poll(Jitter::Random);
        // A first, random pause keeps a fleet that restarts together from asking together.
        let mut pause = Some(retry::spread(FIRST_POLL_WITHIN, Jitter::Random));
        loop {
            if let Some(pause) = pause.take() {
                tokio::select! {
                    () = stop.cancelled() => return self.stop_unbegun(),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            let round = tokio::select! {
                () = stop.cancelled() => return self.stop_unbegun(),
                round = self.one_round() => round,
            };
            match round {
                Ok(()) => pauses.reset(),
                Err(error) => {
                    self.note_refusal(&error);
                    pause = Some(pauses.next_wait_at_least(error.retry_after()));
                }
            }
        }
    }

    async fn one_round(&self) -> Result<(), ControlError> {
        let session = self.open_session().await?;
        let channel = self.channel();
        let (free_any, free_end) = self.shared.slots.free();
        let ask = LeaseAsk {
            free_any,
            free_end,
            held: self.held(),
            wait: session.poll_wait,
            grants_revision: channel.grants_revision,
            integrations_revision: channel.integrations_revision,
        };
        let mut sessions = self.shared.session.subscribe();
        let lost = sessions.wait_for(|now| now.as_ref().is_none_or(|now| now.id != session.id));
        let Leased { header, tasks } = tokio::select! {
            leased = self.parts.control.lease(session.id, &ask) => leased?,
            // What was handed out meanwhile is handed out again in the next session.
            _ = lost => return Ok(()),
        };
        self.note_header(&header);
        if self.is_new_epoch(&header).await
            || header.integrations_revision != channel.integrations_revision
        {
            // An order may be about an integration that is new.
            self.fetch_integrations().await?;
        }
        for task in tasks {
            match task {
                ParsedTask::Order(lease) => self.accept(HeldLease {
                    lease,
                    session: session.id,
                }),
                ParsedTask::Refused {
                    task,
                    attempt,
                    failure,
                } => self.refuse(task, attempt, failure).await,
                ParsedTask::Unreadable(problem) => {
                    tracing::warn!("an order of the control plane cannot be read: {problem}");
                }
            }
        }
        if header.grants_revision != self.channel().grants_revision {
            self.fetch_grants().await?;
        }
        Ok(())
    }

    /// Names the tasks that need not be sent again: those at work, and those whose report is still on its way. A task that
    /// was missing here between its work and its report would be done twice.
    fn held(&self) -> Vec<TaskId> {
        // In this order: a task is in the outbox before it stops being at work.
        let mut held: Vec<TaskId> = self.running(|running| running.keys().copied().collect());
        self.parts.ledger.read(|state| {
            held.extend(state.outbox.values().filter_map(|entry| match entry {
                OutboxEntry::Result { task, .. } => Some(*task),
                OutboxEntry::End(_) => None,
            }));
        });
        held.truncate(MAX_HELD);
        held
    }

    /// Returns the session, registering first when there is none.
    async fn open_session(&self) -> Result<Session, ControlError> {
        let known = self.shared.session.borrow().clone();
        if let Some(session) = known {
            return Ok(session);
        }
        cut::point("session.before");
        let session = self.parts.control.open_session(&self.hello()).await?;
        cut::point("session.after");
        self.note_header(&session.header);
        tracing::info!(session.id = %session.id, "registered with the control plane");
        self.shared.session.send_replace(Some(session.clone()));
        Ok(session)
    }

    fn hello(&self) -> Hello {
        let options = &self.shared.options;
        Hello {
            instance: options.instance,
            version: options.version.clone(),
            host: options.host.clone(),
        }
    }

    /// Opens a session nobody polls in, as the last thing before the process ends: what was handed out to the poll that the stop cut off is
    /// queued again at once, instead of waiting for its lease to run out.
    pub(super) async fn say_goodbye(&self) {
        if self.session().is_none() {
            return;
        }
        let hello = self.hello();
        let word = self.parts.control.open_session(&hello);
        match tokio::time::timeout(GOODBYE, word).await {
            Ok(Ok(_nobody_polls)) => {}
            Ok(Err(error)) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the last session could not be closed"
            ),
            Err(_) => tracing::debug!("the last session could not be closed in time"),
        }
    }

    fn note_refusal(&self, error: &ControlError) {
        let source: &dyn std::error::Error = error;
        match error.class() {
            ErrorClass::Unauthorised => tracing::error!(
                error = source,
                hint = "check APONO_TOKEN or the token file, and that the connector id is the one the token was made for",
                "the control plane refuses this instance; access still ends on time"
            ),
            ErrorClass::NotFound | ErrorClass::Conflict => {
                tracing::info!(
                    error = source,
                    "the session is not known any more, registering again"
                );
                self.shared.session.send_replace(None);
            }
            ErrorClass::Transient
            | ErrorClass::Throttled
            | ErrorClass::NeedsOperator
            | ErrorClass::Bug => {
                tracing::warn!(
                    error = source,
                    "the control plane could not be asked for work"
                );
            }
        }
    }

    /// Hands back what has not begun; what has begun is finished.
    fn stop_unbegun(&self) {
        self.shared.stopping.cancel();
    }
}
