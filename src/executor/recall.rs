//! Owns what is known of grants beyond one target's own record: the ledger, and the control plane's list. Never ends a grant.

use crate::control::ListedGrant;
use crate::domain::{Checkpoint, Grant, GrantId, IntegrationId};
use crate::ledger::{GrantPhase, GrantRecord, Ledger};
use crate::targets::{Memory, Phase, Remembered};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The ledger and the list. The list is kept in memory only: it is read anew from the control plane, and a restart without one knows the
/// ledger.
pub struct Recall {
    ledger: Ledger,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    open: HashMap<GrantId, Listed>,
    complete_at: Option<Timestamp>,
}

struct Listed {
    grant: Grant,
    checkpoint: Option<Checkpoint>,
    /// The revision of the list from which on it has this checkpoint; 0 when that is not known.
    as_of: u64,
}

impl Recall {
    /// Starts with the ledger and an empty list.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            list: Mutex::default(),
        }
    }

    /// Takes a page of the list, which is as it was at revision `through`.
    pub(super) fn take(&self, page: Vec<ListedGrant>, through: u64) {
        self.list(|list| {
            for listed in page {
                let id = listed.grant.id;
                if listed.ended {
                    list.open.remove(&id);
                } else {
                    let mut listed = Listed {
                        grant: listed.grant,
                        checkpoint: listed.checkpoint,
                        as_of: 0,
                    };
                    // A page that was on its way while a checkpoint was kept must not hide it.
                    if let Some(newer) = list.open.remove(&id).filter(|old| old.as_of > through) {
                        listed.checkpoint = newer.checkpoint;
                        listed.as_of = newer.as_of;
                    }
                    list.open.insert(id, listed);
                }
            }
        });
    }

    /// Notes that the list was complete at this time.
    pub(super) fn complete(&self, at: Timestamp) {
        self.list(|list| list.complete_at = Some(at));
    }

    /// Forgets the list: it is another store's.
    pub(super) fn forget_list(&self) {
        self.list(|list| *list = List::default());
    }

    /// Returns the listed grants whose time is over for longer than `grace`.
    pub(super) fn listed_over(&self, over: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        self.list(|list| {
            let open = list.open.values().map(|listed| &listed.grant);
            open.filter(|grant| over(grant)).cloned().collect()
        })
    }

    /// Notes a checkpoint the control plane has from a revision of the list on; 0 for one that came with an order, which does not say.
    pub(super) fn told(&self, grant: &Grant, checkpoint: &Checkpoint, as_of: u64) {
        self.list(|list| {
            let listed = list.open.entry(grant.id).or_insert_with(|| Listed {
                grant: grant.clone(),
                checkpoint: None,
                as_of: 0,
            });
            if as_of >= listed.as_of {
                listed.checkpoint = Some(checkpoint.clone());
                listed.as_of = as_of;
            }
        });
    }

    /// Returns the last checkpoint known of a grant.
    pub(super) fn checkpoint(&self, grant: GrantId) -> Option<Checkpoint> {
        let listed = self.list(|list| {
            let listed = list.open.get(&grant);
            listed.and_then(|listed| listed.checkpoint.clone())
        });
        // Both are written before the effect; whoever went on with the grant elsewhere told the control plane.
        listed.or_else(|| {
            self.ledger.read(|state| {
                let record = state.grants.get(&grant);
                record.and_then(|record| record.checkpoint.clone())
            })
        })
    }

    fn list<R>(&self, with: impl FnOnce(&mut List) -> R) -> R {
        with(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Memory for Recall {
    fn grants(&self, integration: IntegrationId) -> Vec<Remembered> {
        let mut known: HashMap<GrantId, Remembered> = self.ledger.read(|state| {
            let here = state.grants.values();
            here.filter(|record| record.grant.integration == integration)
                .map(|record| (record.grant.id, remembered(record)))
                .collect()
        });
        self.list(|list| {
            for (id, listed) in &list.open {
                if let Some(known) = known.get_mut(id) {
                    known.checkpoint = listed.checkpoint.clone().or(known.checkpoint.take());
                } else if listed.grant.integration == integration {
                    let remembered = Remembered {
                        grant: listed.grant.clone(),
                        checkpoint: listed.checkpoint.clone(),
                        phase: Phase::Listed,
                    };
                    known.insert(*id, remembered);
                }
            }
        });
        known.into_values().collect()
    }

    fn listed_at(&self) -> Option<Timestamp> {
        self.list(|list| list.complete_at)
    }
}

fn remembered(record: &GrantRecord) -> Remembered {
    Remembered {
        grant: record.grant.clone(),
        checkpoint: record.checkpoint.clone(),
        phase: match record.phase {
            GrantPhase::Starting { .. } => Phase::Starting,
            GrantPhase::Live => Phase::Live,
            GrantPhase::Ending(_) => Phase::Ending,
            GrantPhase::Closed(_) => Phase::Closed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Faults, LedgerOptions};

    fn grant() -> Grant {
        use crate::domain::{Permission, Principal, ResourceKind, ResourceRef};
        let kind = ResourceKind::AwsOrganizationAccount;
        Grant {
            id: GrantId::generate(),
            integration: IntegrationId::generate(),
            principal: Principal::parse("alice@example.com").unwrap(),
            resource: ResourceRef::new(kind, vec!["123456789012".into()]).unwrap(),
            permission: Permission::parse("ReadOnly").unwrap(),
            expiry: Timestamp::MAX,
        }
    }

    #[test]
    fn a_page_that_was_on_its_way_hides_no_newer_checkpoint() {
        let ledger = Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap();
        let recall = Recall::new(ledger);
        let grant = grant();
        let note = |text: &str| Checkpoint::new(text.to_owned()).unwrap();
        let page = |text: &str| {
            vec![ListedGrant {
                grant: grant.clone(),
                ended: false,
                checkpoint: Some(note(text)),
            }]
        };
        recall.take(page("first"), 4);
        recall.told(&grant, &note("second"), 6);
        assert_eq!(recall.checkpoint(grant.id), Some(note("second")));
        recall.take(page("first"), 5);
        // What came with an order was written before that.
        recall.told(&grant, &note("first"), 0);
        assert_eq!(recall.checkpoint(grant.id), Some(note("second")));
        recall.take(page("third"), 6);
        assert_eq!(recall.checkpoint(grant.id), Some(note("third")));
        let known = recall.grants(grant.integration);
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].checkpoint, Some(note("third")));
    }
}
