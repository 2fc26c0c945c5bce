//! Owns ends that come at the same moment: as many as the target can in one go, the rest one by one. Never lets one grant hold up another.

use super::Executor;
use super::end::{Driver, EndProgress, Taken};
use super::task::log_failure;
use crate::cut;
use crate::domain::{EndReport, IntegrationId};
use crate::ledger::Event;
use crate::policy::EndWarrant;
use crate::targets::EndedTogether;
use std::collections::HashMap;

/// Most grants ended in one go: their statements fit in one message of about 30 KiB, and a transaction stays short.
const TOGETHER: usize = 64;

impl Executor {
    /// Makes sure that these grants' ends are being driven: together, as far as the target can.
    pub(super) fn ensure_ends(&self, warrants: Vec<EndWarrant>) {
        let mut taken: HashMap<IntegrationId, Vec<Driver>> = HashMap::new();
        for warrant in warrants {
            if let Taken::Now(progress, _) = self.shared.ends.take(warrant.grant.id) {
                let of_integration = taken.entry(warrant.grant.integration).or_default();
                of_integration.push(Driver { warrant, progress });
            }
        }
        for mut drivers in taken.into_values() {
            while drivers.len() > 1 {
                let together = drivers.split_off(drivers.len().saturating_sub(TOGETHER));
                let executor = self.clone();
                let ending = async move { executor.end_together(together).await };
                self.shared.tasks.spawn(ending);
            }
            drivers
                .into_iter()
                .for_each(|driver| self.spawn_end(driver));
        }
    }

    /// Tries to end several grants of one integration at once; each one that is left goes on alone.
    async fn end_together(&self, drivers: Vec<Driver>) {
        let warrants: Vec<EndWarrant> = drivers.iter().map(|d| d.warrant.clone()).collect();
        let intents = warrants.iter().map(|warrant| Event::EndIntended {
            grant: warrant.grant.clone(),
            reason: warrant.reason,
        });
        self.parts.ledger.note(intents.collect());
        let ended = self.try_together(&warrants).await;
        let finishing = drivers.into_iter().map(|driver| {
            let ended = ended.iter().find(|e| e.grant == driver.warrant.grant.id);
            async move {
                match ended {
                    Some(ended) => self.finish_together(driver, ended).await,
                    None => self.spawn_end(driver),
                }
            }
        });
        futures_util::future::join_all(finishing).await;
    }

    async fn finish_together(&self, driver: Driver, ended: &EndedTogether) {
        self.parts.ledger.note(vec![Event::StepDone {
            grant: ended.grant,
            note: "end it together with others".to_owned(),
            outcome: Ok(ended.evidence.clone()),
        }]);
        let report = EndReport {
            grant: ended.grant,
            integration: driver.warrant.grant.integration,
            ended_at: ended.ended_at,
            reason: ended.reason,
            sessions_before: ended.sessions,
            sessions_after: 0,
            clean: false,
            leftovers: Vec::new(),
            details: Vec::new(),
        };
        self.finish_end(&driver.warrant, &report).await;
        driver.progress.send_replace(EndProgress::Closed(report));
        self.shared.ends.remove(ended.grant);
    }

    async fn try_together(&self, warrants: &[EndWarrant]) -> Vec<EndedTogether> {
        let Some(first) = warrants.first() else {
            return Vec::new();
        };
        let id = first.grant.integration;
        let target = self
            .integration(id)
            .and_then(|integration| self.target(&integration).ok());
        let Some(target) = target else {
            return Vec::new();
        };
        let _slot = self.shared.slots.end(id).await;
        cut::point("end.together.before");
        let outcome = target.end_together(warrants).await;
        cut::point("end.together.after");
        outcome.unwrap_or_else(|error| {
            log_failure("several ends go on one by one", &error);
            Vec::new()
        })
    }
}
