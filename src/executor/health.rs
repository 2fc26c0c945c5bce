//! Owns heartbeats: what the control plane is told of this instance. Never waits for anything else.

use super::Executor;
use crate::control::{Heartbeat, IntegrationHealth, IntegrationStatus};
use crate::domain::IntegrationId;
use sha2::{Digest, Sha256};
use std::sync::PoisonError;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Shortest time between two heartbeats, whatever the control plane asks for.
const SHORTEST: Duration = Duration::from_millis(500);

/// How long news wait for others before they are told.
const GATHER: Duration = Duration::from_secs(1);

impl Executor {
    /// Notes how an integration is; a change is told soon.
    pub(super) fn set_health(
        &self,
        integration: IntegrationId,
        status: IntegrationStatus,
        message: String,
    ) {
        let health = IntegrationHealth {
            integration,
            status,
            message,
        };
        let before = self
            .shared
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(integration, health);
        if before.is_none_or(|before| before.status != status) {
            self.shared.news.notify_one();
        }
    }

    /// Keeps what an inventory could not look at until the next one.
    pub(super) fn set_unlisted(&self, integration: IntegrationId, troubles: Vec<String>) {
        let mut all = self
            .shared
            .unlisted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if troubles.is_empty() {
            all.remove(&integration);
        } else {
            all.insert(integration, troubles);
        }
    }

    pub(super) fn unlisted(&self, integration: IntegrationId) -> Vec<String> {
        let all = self
            .shared
            .unlisted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(&integration).cloned().unwrap_or_default()
    }

    /// Sends heartbeats while there is a session, until `stop`.
    pub(super) async fn send_heartbeats(&self, stop: &CancellationToken) {
        let mut sessions = self.shared.session.subscribe();
        loop {
            let session = sessions.borrow_and_update().clone();
            let every = session
                .as_ref()
                .map_or(Duration::from_secs(5), |session| session.heartbeat_every)
                .max(SHORTEST);
            if let Some(session) = session {
                match self
                    .parts
                    .control
                    .heartbeat(session.id, &self.heartbeat())
                    .await
                {
                    Ok(header) => self.note_header(&header),
                    Err(error) => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "a heartbeat was not taken"
                        );
                    }
                }
            }
            let news = async {
                self.shared.news.notified().await;
                tokio::time::sleep(GATHER).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
                () = news => {}
                // A new session is greeted at once.
                Ok(()) = sessions.changed() => {}
            }
        }
    }

    pub(super) fn heartbeat(&self) -> Heartbeat {
        let (frozen, outbox) = self
            .parts
            .ledger
            .read(|state| (state.frozen, state.outbox.len()));
        Heartbeat {
            frozen,
            running: self.running(|running| u32::try_from(running.len()).unwrap_or(u32::MAX)),
            oldest_overdue_end: self.oldest_overdue(),
            outbox: u32::try_from(outbox).unwrap_or(u32::MAX),
            ledger_ok: self.parts.ledger.is_healthy(),
            guardrails_digest: self.guardrails_digest(),
            integrations: self
                .shared
                .health
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .cloned()
                .collect(),
        }
    }

    /// Names the rules in force: the first 16 hexadecimal digits of a hash over them.
    fn guardrails_digest(&self) -> String {
        let rules = &self.shared.options.guardrails;
        let text = format!(
            "longest_grant_s={} largest_skew_s={}",
            rules.longest_grant.as_secs(),
            rules.largest_skew.as_secs()
        );
        let digest = Sha256::digest(text);
        digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}
