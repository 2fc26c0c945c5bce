//! Owns what instances that share a state folder do for each other: what one left that is gone is taken over, and a freeze holds for all. Never
//! touches a folder somebody holds.

use super::Executor;
use super::sweep::Due;
use crate::ledger::{Event, Household, Kept, LedgerError, Left, OutboxEntry};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often is looked whether somebody froze starts through another instance.
const FREEZE_LOOK: Duration = Duration::from_secs(2);

impl Executor {
    /// Looks after the shared folder until `stop`.
    pub(super) async fn look_after_household(&self, stop: &CancellationToken) {
        if self.parts.household.is_none() {
            return;
        }
        let mut looking = Due::every(self.shared.options.inherit_every);
        loop {
            let looks = async {
                self.follow_freeze().await;
                if looking.is_due() {
                    self.inherit().await;
                }
                tokio::time::sleep(FREEZE_LOOK.min(self.shared.options.inherit_every)).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = looks => {}
            }
        }
    }

    /// Takes over what instances left that are gone; returns how many folders were emptied.
    pub async fn inherit(&self) -> usize {
        let Some(household) = &self.parts.household else {
            return 0;
        };
        let mut emptied = 0;
        while let Some(left) = blocking(household, Household::next_left).await.flatten() {
            if !self.take_over(left).await {
                break;
            }
            emptied += 1;
        }
        let unreadable = blocking(household, Household::unreadable_folders).await;
        self.parts
            .metrics
            .set_unreadable_folders(unreadable.unwrap_or_default());
        emptied
    }

    /// Brings what was left into our own ledger, and only then empties the one it was in.
    async fn take_over(&self, left: Left) -> bool {
        let path = left.path().display().to_string();
        let taken = self.parts.ledger.read(|state| state.inherit(left.state()));
        let (grants, ends) = (taken.grants, taken.ends.len());
        let mut events = taken.events;
        events.extend(taken.ends.into_iter().map(|end| Event::Queued {
            id: self.parts.ledger.reserve_report(),
            entry: OutboxEntry::End(end),
        }));
        if left.state().frozen {
            self.keep_freeze().await;
        }
        match self.parts.ledger.append(events).await {
            Ok(Kept::OnDisk) => {}
            // What works on what is in memory alone would lose it with the process.
            Ok(Kept::InMemory) => return false,
            Err(error) => {
                let source: &dyn std::error::Error = &error;
                tracing::warn!(error = source, folder = %path, "what an instance left could not be taken over yet");
                return false;
            }
        }
        tracing::info!(folder = %path, grants, ends, "what an instance left that is gone was taken over");
        self.end_overdue();
        self.resume_ends();
        self.shared.outbox_changed.notify_one();
        self.shared.timer_changed.notify_one();
        self.shared.sweep_now.notify_one();
        let cleared = tokio::task::spawn_blocking(move || left.clear()).await;
        if let Ok(Err(error)) = &cleared {
            let source: &dyn std::error::Error = error;
            tracing::warn!(error = source, folder = %path, "a ledger that was taken over could not be emptied, it is taken over again");
        }
        matches!(cleared, Ok(Ok(())))
    }

    /// Freezes or frees starts, durably, for all instances that share the state folder.
    ///
    /// # Errors
    /// When it cannot be written down. A freeze then holds here until the process ends, and starts that were to be freed stay frozen.
    pub async fn freeze(&self, frozen: bool) -> Result<(), LedgerError> {
        let _turn = self.shared.freezing.lock().await;
        let told = match &self.parts.household {
            Some(household) => blocking(household, move |household| household.set_frozen(frozen))
                .await
                .unwrap_or(Err(LedgerError::Closed)),
            None => Ok(()),
        };
        if !frozen {
            told.clone()?;
        }
        let noted = self.parts.ledger.append_one(Event::Frozen(frozen)).await;
        self.shared.news.notify_one();
        told.and(noted.map(drop))
    }

    /// Does here what an operator said to another instance.
    pub(super) async fn follow_freeze(&self) {
        let Some(household) = &self.parts.household else {
            return;
        };
        let _turn = self.shared.freezing.lock().await;
        let frozen = self.parts.ledger.read(|state| state.frozen);
        let said = blocking(household, Household::frozen).await;
        match said {
            Some(Ok(Some(said))) if said != frozen => {
                tracing::warn!(
                    frozen = said,
                    "starts were frozen or allowed through the shared folder"
                );
                self.journal(vec![Event::Frozen(said)]).await;
                self.shared.news.notify_one();
            }
            Some(Ok(None)) if frozen => self.share_freeze(household).await,
            Some(Err(error)) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the shared folder does not say whether starts are frozen"
            ),
            Some(Ok(_)) | None => {}
        }
    }

    /// Keeps a freeze from before the folder was shared.
    async fn keep_freeze(&self) {
        let Some(household) = &self.parts.household else {
            return;
        };
        let _turn = self.shared.freezing.lock().await;
        if let Some(Ok(None)) = blocking(household, Household::frozen).await {
            self.share_freeze(household).await;
        }
    }

    async fn share_freeze(&self, household: &Arc<Household>) {
        let told = blocking(household, |household| household.set_frozen(true)).await;
        if let Some(Err(error)) = told {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the freeze could not be shared with the other instances"
            );
        }
    }
}

/// Does what waits for the disk where it holds nothing else up; nothing when the process ends.
async fn blocking<R: Send + 'static>(
    household: &Arc<Household>,
    look: impl FnOnce(&Household) -> R + Send + 'static,
) -> Option<R> {
    let household = Arc::clone(household);
    tokio::task::spawn_blocking(move || look(&household))
        .await
        .ok()
}
