//! Owns the comparison of a server that is new to us with the ledger, and the ends done again because of it. Never starts access.

use super::Executor;
use super::end::EndProgress;
use super::task::log_failure;
use crate::domain::{EndReason, Grant, GrantId, Integration};
use crate::ledger::GrantPhase;
use crate::policy::{EndWarrant, WarrantSource};
use crate::targets::Target;
use std::collections::BTreeMap;

/// Rounds of ending what is missing before the next sweep goes on with it.
const ROUNDS: usize = 3;

/// Grants that are over by the ledger.
type Over = BTreeMap<GrantId, (Grant, EndReason)>;

impl Executor {
    /// Compares a server that is not the one compared before; starts on it wait for that.
    pub(super) async fn compare(&self, integration: &Integration, target: &dyn Target) {
        let Some(server) = target.owes_comparison() else {
            return;
        };
        let over = self.over(integration);
        let ids: Vec<GrantId> = over.keys().copied().collect();
        for _ in 0..ROUNDS {
            let missing = match target.compare(&ids).await {
                Ok(missing) => missing,
                Err(error) => {
                    return log_failure("a server could not be compared with the ledger", &error);
                }
            };
            let mut open = 0_usize;
            let mut ends = Vec::new();
            for missing in missing {
                if let Some((grant, reason)) = over.get(&missing.grant) {
                    open += usize::from(missing.is_open);
                    ends.push(self.end_anew(grant, *reason));
                }
            }
            let again = ends.len();
            let settling = ends.iter_mut().map(EndProgress::settled);
            futures_util::future::join_all(settling).await;
            // What is open only for its sessions, or for a replica, is ended beside the starts.
            if open == 0 {
                if let Err(error) = target.compared(&server).await {
                    return log_failure("a comparison could not be noted", &error);
                }
                tracing::info!(integration.id = %integration.id, ends = ids.len(), again, "`{}` was compared with the ledger: {server}", integration.name);
                return;
            }
            tracing::warn!(integration.id = %integration.id, missing = open, "`{}` does not know of ends it acknowledged, they are done again: {server}", integration.name);
        }
    }

    /// Ends a grant once more that is over by the ledger.
    pub(super) fn end_anew(
        &self,
        grant: &Grant,
        reason: EndReason,
    ) -> tokio::sync::watch::Receiver<EndProgress> {
        // The expiry on record may be a later one; what is over stays over.
        let reason = if reason == EndReason::Expired {
            EndReason::Drift
        } else {
            reason
        };
        self.ensure_end(EndWarrant {
            grant: grant.clone(),
            reason,
            source: WarrantSource::Ledger,
        })
    }

    /// Returns the reason for which a grant is over by the ledger, if it is.
    pub(super) fn over_since(&self, grant: GrantId) -> Option<EndReason> {
        self.parts.ledger.read(
            |state| match state.grants.get(&grant).map(|record| &record.phase) {
                Some(GrantPhase::Closed(report)) => Some(report.reason),
                Some(_) => None,
                None => state.ends.get(grant).map(|ended| ended.reason),
            },
        )
    }

    fn over(&self, integration: &Integration) -> Over {
        self.parts.ledger.read(|state| {
            let mut over: Over = state
                .ends
                .of(integration.id)
                .map(|ended| (ended.grant.id, (ended.grant.clone(), ended.reason)))
                .collect();
            for (id, record) in &state.grants {
                if record.grant.integration == integration.id
                    && let GrantPhase::Closed(report) = &record.phase
                {
                    over.insert(*id, (record.grant.clone(), report.reason));
                }
            }
            over
        })
    }
}
