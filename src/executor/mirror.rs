//! Owns what this instance keeps of the control plane's lists. Absence from a list never ends a grant, and no list can strand one.

use super::Executor;
use crate::control::{ControlError, Header, IntegrationStatus, ListedGrant, ListedIntegration};
use crate::domain::{Integration, IntegrationId, IntegrationState};
use crate::ledger::{Event, GrantPhase};
use std::collections::BTreeSet;
use std::sync::PoisonError;

/// Most pages read in one go; with 1,000 entries a page, a list of 100,000.
const MOST_PAGES: usize = 100;

impl Executor {
    /// Reads which integrations changed; a new epoch means reading all of them again.
    pub(super) async fn fetch_integrations(&self) -> Result<(), ControlError> {
        for _page in 0..MOST_PAGES {
            let since = self.channel().integrations_revision;
            let list = self.parts.control.integrations(since).await?;
            if self.is_new_epoch(&list.header).await && since > 0 {
                continue;
            }
            for listed in list.integrations {
                self.take_integration(listed).await;
            }
            self.change_channel(|channel| channel.integrations_revision = list.through);
            if list.through >= list.header.integrations_revision {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads which grants changed; a new epoch means reading all of them again.
    pub(super) async fn fetch_grants(&self) -> Result<(), ControlError> {
        for _page in 0..MOST_PAGES {
            let since = self.channel().grants_revision;
            let list = self.parts.control.grants(since).await?;
            if self.is_new_epoch(&list.header).await && since > 0 {
                continue;
            }
            for listed in &list.grants {
                self.take_expiry(listed).await;
            }
            self.parts.recall.take(list.grants, list.through);
            self.change_channel(|channel| channel.grants_revision = list.through);
            if list.through >= list.header.grants_revision {
                self.parts.recall.complete(self.now());
                break;
            }
        }
        self.shared.timer_changed.notify_one();
        Ok(())
    }

    /// Takes over an expiry another instance moved, where the target keeps none: earlier as it is, later only when it is allowed here.
    async fn take_expiry(&self, listed: &ListedGrant) {
        let ListedGrant { grant, ended, .. } = listed;
        let known = self.parts.ledger.read(|state| {
            let record = state.grants.get(&grant.id)?;
            (record.phase == GrantPhase::Live).then_some(record.grant.expiry)
        });
        let Some(known) = known.filter(|known| *known != grant.expiry && !ended) else {
            return;
        };
        let keeps_record = self
            .integration(grant.integration)
            .and_then(|integration| self.target(&integration).ok())
            .is_none_or(|target| target.keeps_record());
        if keeps_record || (grant.expiry > known && !self.may_last_until(grant)) {
            return;
        }
        let moved = Event::ExpiryMoved {
            grant: grant.id,
            expiry: grant.expiry,
        };
        self.journal(vec![moved]).await;
    }

    /// Notices that the control plane was restored: its lists are read anew, live grants it does not know run to their own expiry.
    pub(super) async fn is_new_epoch(&self, header: &Header) -> bool {
        let known = self.parts.ledger.read(|state| state.epoch);
        if known == Some(header.epoch) {
            return false;
        }
        if known.is_some() {
            tracing::warn!(
                "the control plane's store is a new one; its lists are read from the start"
            );
        }
        self.journal(vec![Event::EpochSeen(header.epoch)]).await;
        self.parts.recall.forget_list();
        self.change_channel(|channel| {
            channel.grants_revision = 0;
            channel.integrations_revision = 0;
        });
        true
    }

    async fn take_integration(&self, listed: ListedIntegration) {
        let ListedIntegration {
            integration,
            retired,
        } = listed;
        if retired {
            self.forget_integration(&integration).await;
            return;
        }
        self.retired(|retired| retired.remove(&integration.id));
        let known = self.integration(integration.id);
        let open = self.open_grants(&integration);
        if known.as_ref() == Some(&integration) {
            return;
        }
        if let Some(known) = known.filter(|known| points_elsewhere(known, &integration) && open > 0)
        {
            self.keep_settings(known, &integration, open).await;
            return;
        }
        let id = integration.id;
        let status = match integration.state {
            IntegrationState::Active => IntegrationStatus::Initializing,
            IntegrationState::Retiring => IntegrationStatus::Disabled,
        };
        tracing::info!(integration.id = %id, "integration `{}` taken over", integration.name);
        self.journal(vec![Event::IntegrationKnown(integration)])
            .await;
        self.set_health(id, status, String::new());
        self.shared.sweep_now.notify_one();
    }

    /// Keeps the old settings while grants are live there: their ends must find the server they started on.
    async fn keep_settings(&self, known: Integration, ordered: &Integration, open: usize) {
        let message = format!(
            "integration `{}` was pointed elsewhere while {open} grants are open; the settings in force are kept until they have ended",
            ordered.id
        );
        tracing::error!(integration.id = %ordered.id, "{message}");
        self.set_health(ordered.id, IntegrationStatus::Error, message);
        self.keep_retiring(known).await;
    }

    /// Keeps settings for the ends alone: nothing starts any more, whatever is ordered.
    async fn keep_retiring(&self, known: Integration) {
        if known.state != IntegrationState::Retiring {
            let kept = Integration {
                state: IntegrationState::Retiring,
                ..known
            };
            self.journal(vec![Event::IntegrationKnown(kept)]).await;
        }
    }

    /// Forgets an integration once nothing of ours is left there; the next sweeps look again until then.
    async fn forget_integration(&self, integration: &Integration) {
        let Some(known) = self.integration(integration.id) else {
            return;
        };
        let left = self.parts.ledger.read(|state| {
            let grants = state.grants.values();
            grants
                .filter(|record| record.grant.integration == integration.id)
                .count()
        });
        if left > 0 {
            if self.retired(|retired| retired.insert(integration.id)) {
                tracing::error!(
                    integration.id = %integration.id,
                    "integration `{}` was retired while {left} grants are not ended and clean; its settings are kept until they are",
                    integration.name
                );
                self.keep_retiring(known).await;
            }
            return;
        }
        self.journal(vec![Event::IntegrationGone(integration.id)])
            .await;
        self.parts.registry.forget(integration.id);
        self.parts.synchroniser.forget(integration.id);
        self.retired(|retired| retired.remove(&integration.id));
        self.set_unlisted(integration.id, Vec::new());
        self.shared
            .health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&integration.id);
    }

    /// Forgets an integration that was retired too early, if it can go by now.
    pub(super) async fn forget_if_retired(&self, integration: &Integration) {
        if self.retired(|retired| retired.contains(&integration.id)) {
            self.forget_integration(integration).await;
        }
    }

    fn retired<R>(&self, with: impl FnOnce(&mut BTreeSet<IntegrationId>) -> R) -> R {
        let mut retired = self
            .shared
            .retired
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        with(&mut retired)
    }

    pub(super) fn open_grants(&self, integration: &Integration) -> usize {
        self.parts.ledger.read(|state| {
            state
                .grants
                .values()
                .filter(|record| record.grant.integration == integration.id)
                .filter(|record| !matches!(record.phase, GrantPhase::Closed(_)))
                .count()
        })
    }

    fn change_channel(&self, change: impl FnOnce(&mut super::Channel)) {
        change(
            &mut self
                .shared
                .channel
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// Tells whether new settings lead to another system; a new secret reference or name does not.
fn points_elsewhere(known: &Integration, ordered: &Integration) -> bool {
    known.kind != ordered.kind || known.settings != ordered.settings
}
