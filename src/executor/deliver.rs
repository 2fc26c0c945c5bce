//! Owns the way of reports: sent until acknowledged or refused for good. Never drops one because of a silence.

use super::Executor;
use crate::control::{ControlError, TaskReport};
use crate::cut;
use crate::domain::{EndReport, ErrorClass, SessionId, TaskId};
use crate::ledger::{Event, OutboxEntry};
use crate::retry::{Backoff, Jitter};
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Deliveries remembered after their result was accepted: 1,024, far more than are on their way at once.
const ACCEPTED_KEPT: usize = 1024;
/// Reports on their way at once.
const AT_ONCE: usize = 8;
/// Most reports looked at in one round.
const ROUND: usize = 64;
/// How long the last reports may take at shutdown.
const LAST_ROUND: Duration = Duration::from_secs(3);

impl Executor {
    /// Sends reports until `stop`, then once more.
    pub(super) async fn deliver_reports(&self, stop: &CancellationToken) {
        let mut pauses = Backoff::poll(Jitter::Random);
        loop {
            let complete = tokio::select! {
                () = stop.cancelled() => break,
                complete = self.deliver_round() => complete,
            };
            let wait = match complete {
                Ok(0) => None,
                Ok(_) => {
                    pauses.reset();
                    continue;
                }
                Err(pause) => Some(pauses.next_wait_at_least(pause)),
            };
            let pause = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => self.shared.outbox_changed.notified().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = pause => {}
            }
        }
        let _unsent = tokio::time::timeout(LAST_ROUND, self.deliver_round()).await;
    }

    /// Sends what waits; returns how much left the outbox, or how long to wait.
    async fn deliver_round(&self) -> Result<usize, Option<Duration>> {
        let waiting: Vec<(u64, OutboxEntry)> = self.parts.ledger.read(|state| {
            state
                .outbox
                .iter()
                .take(ROUND)
                .map(|(id, entry)| (*id, entry.clone()))
                .collect()
        });
        self.parts.metrics.set_outbox(waiting.len());
        if waiting.is_empty() {
            return Ok(0);
        }
        let Some(session) = self.wait_for_session().await else {
            return Err(None);
        };
        let sent: Vec<_> = futures_util::stream::iter(waiting)
            .map(|(id, entry)| async move { (id, self.send(session, entry).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut delivered = Vec::new();
        let mut pause = None;
        for (id, outcome) in sent {
            match outcome {
                Ok(()) => delivered.push(Event::Delivered(id)),
                Err(error) => {
                    pause = Some(error.retry_after());
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "a report could not be delivered yet"
                    );
                }
            }
        }
        let count = delivered.len();
        if count > 0 {
            self.journal(delivered).await;
        }
        match pause {
            Some(wait) => Err(wait),
            None => Ok(count),
        }
    }

    async fn wait_for_session(&self) -> Option<SessionId> {
        let mut sessions = self.shared.session.subscribe();
        let session = sessions.wait_for(Option::is_some).await.ok()?;
        session.as_ref().map(|session| session.id)
    }

    /// Sends one report. A refusal for good counts as delivered: sending it again could never help.
    async fn send(&self, session: SessionId, entry: OutboxEntry) -> Result<(), ControlError> {
        let name = point_of(&entry);
        cut::point(format_args!("{name}.before"));
        let sent = match entry {
            OutboxEntry::Result {
                task,
                attempt,
                outcome,
            } => {
                let report = TaskReport {
                    task,
                    attempt,
                    outcome,
                };
                let sent = self.parts.control.report(session, &report).await;
                if sent.is_ok() {
                    self.note_accepted(task, attempt);
                }
                sent
            }
            OutboxEntry::End(end) => self.send_end(session, end).await,
        };
        cut::point(format_args!("{name}.after"));
        match sent {
            // The control plane lost its sessions: the report goes out again in a new one.
            Err(error) if error.class() == ErrorClass::NotFound && !self.is_open(session).await => {
                Err(error)
            }
            Err(error) if refused_for_good(error.class()) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a report was refused for good"
                );
                Ok(())
            }
            other => other,
        }
    }

    /// Remembers a delivery that is over: the same one may still be on its way once more.
    fn note_accepted(&self, task: TaskId, attempt: u32) {
        self.accepted(|accepted| {
            accepted.push_back((task, attempt));
            if accepted.len() > ACCEPTED_KEPT {
                accepted.pop_front();
            }
        });
    }

    pub(super) fn accepted<R>(&self, change: impl FnOnce(&mut VecDeque<(TaskId, u32)>) -> R) -> R {
        change(
            &mut self
                .shared
                .accepted
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Asks whether the control plane knows a session; one it does not know is given up.
    async fn is_open(&self, session: SessionId) -> bool {
        match self
            .parts
            .control
            .heartbeat(session, &self.heartbeat())
            .await
        {
            Ok(header) => {
                self.note_header(&header);
                true
            }
            Err(error) => {
                if error.class() == ErrorClass::NotFound {
                    self.shared.session.send_if_modified(|known| {
                        let is_it = known.as_ref().is_some_and(|known| known.id == session);
                        known.take_if(|_| is_it).is_some()
                    });
                }
                false
            }
        }
    }

    async fn send_end(&self, session: SessionId, end: EndReport) -> Result<(), ControlError> {
        self.parts.control.report_ends(session, &[end]).await
    }
}

/// Names the cut points around a report.
fn point_of(entry: &OutboxEntry) -> &'static str {
    match entry {
        OutboxEntry::Result { .. } => "deliver.result",
        OutboxEntry::End(_) => "deliver.end",
    }
}

fn refused_for_good(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Conflict | ErrorClass::NotFound | ErrorClass::Bug => true,
        ErrorClass::Transient
        | ErrorClass::Throttled
        | ErrorClass::Unauthorised
        | ErrorClass::NeedsOperator => false,
    }
}
