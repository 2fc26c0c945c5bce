//! Owns ends: the order to remove, its end, the look whether it is gone, and whether it can come back. Never takes away what stood before.

use super::OrganizationTarget;
use super::desk::Center;
use super::note::{Note, Triple};
use super::service::Service;
use super::start::{LONGEST_OPERATION, account_id, not_taken, residual};
use super::trouble::failed;
use crate::aws::Purpose;
use crate::aws::budget::{OperationTurn, Turn};
use crate::aws::operations::{Finished, OperationKind, OperationReader, Watched};
use crate::domain::{Detail, EndReason, ErrorClass, Evidence, Grant};
use crate::policy::{EndWarrant, WarrantSource};
use crate::targets::refusal::refused;
use crate::targets::{Ended, Phase, TargetError};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Until when a list of the control plane counts as current.
const CURRENT: SignedDuration = SignedDuration::from_secs(60);
/// Time between the end of a creation and the look at what it left.
const SETTLE: Duration = Duration::from_secs(1);

/// Whether the access of a grant is needed by somebody else.
enum Kept {
    StoodBefore,
    Needed,
    No,
}

impl OrganizationTarget {
    /// Takes the assignment away, unless it stood before or another grant needs it.
    pub(super) async fn close_door(&self, warrant: &EndWarrant) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        if let Some(until) = self.extended_until(warrant) {
            return Ok(Ended {
                extended_until: Some(until),
                ..Ended::default()
            });
        }
        match self.remembered(grant)? {
            Some(note) => self.close_noted(warrant, &note).await,
            None => self.close_unnoted(warrant).await,
        }
    }

    /// An extension that came while the end was on its way moves it.
    fn extended_until(&self, warrant: &EndWarrant) -> Option<Timestamp> {
        let known = self.memory.grants(self.desk.settings.integration);
        let known = known
            .into_iter()
            .find(|known| known.grant.id == warrant.grant.id)?;
        let by_time = warrant.reason == EndReason::Expired;
        (by_time && known.grant.expiry > self.clock.now()).then_some(known.grant.expiry)
    }

    fn remembered(&self, grant: &Grant) -> Result<Option<Note>, TargetError> {
        let known = self.memory.grants(self.desk.settings.integration);
        let known = known.into_iter().find(|known| known.grant.id == grant.id);
        let checkpoint = known.and_then(|known| known.checkpoint);
        Note::demand(grant.id, checkpoint.as_ref())
    }

    async fn close_noted(&self, warrant: &EndWarrant, note: &Note) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        if !note.has_set() {
            return Ok(self.close_unassigned(warrant, note));
        }
        let triple = &note.triple;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let center = self.desk.center().await?;
        let account = account_id(&triple.account)?;
        let turn = center.budget.assignment(Turn::End, &account).await;
        let lands_until = self.lands_until(grant, note);
        if self.is_unsettled(grant, note) {
            self.wait_for_creation(&service, &center, triple).await?;
        }
        let stands = self.stands(&service, triple, Turn::End).await?;
        let mut evidence = Evidence::default().with("stood", stands);
        let mut details = vec![residual(note)];
        match self.kept(grant, note) {
            Kept::StoodBefore => {
                turn.finished();
                evidence = evidence.with("kept", "it stood before");
                details.push(Detail::new(
                    "kept",
                    "the assignment stood before this grant and was left",
                ));
            }
            Kept::Needed => {
                turn.finished();
                evidence = evidence.with("kept", "another grant needs it");
                details.push(Detail::new(
                    "kept",
                    "another grant needs the same assignment",
                ));
            }
            Kept::No if stands => {
                let id = self.take_away(&service, &center, triple, turn).await?;
                evidence = evidence.with("request", id);
                details.push(self.role(&service, &center, triple).await?);
            }
            Kept::No => turn.finished(),
        }
        Ok(Ended {
            evidence,
            ended_at: Some(self.clock.now()),
            reason: Some(warrant.reason),
            provisional_until: lands_until,
            details,
            ..Ended::default()
        })
    }

    /// Ends a grant whose permission set was not made, or is not known to be: an assignment is ordered only after its set was noted.
    fn close_unassigned(&self, warrant: &EndWarrant, note: &Note) -> Ended {
        Ended {
            evidence: Evidence::default().with("never_ordered", &note.set_name),
            ended_at: Some(self.clock.now()),
            reason: Some(warrant.reason),
            // Another process may have noted it since.
            provisional_until: self.lands_until(&warrant.grant, note),
            ..Ended::default()
        }
    }

    /// Orders the removal of an assignment, follows it to its end and looks whether it is gone. Returns the id of the order.
    pub(super) async fn take_away(
        &self,
        service: &Service,
        center: &Center,
        triple: &Triple,
        mut turn: OperationTurn,
    ) -> Result<String, TargetError> {
        let ordered = service.delete(&center.instance, triple, &mut turn).await;
        let id = match ordered {
            Ok(id) => id,
            Err(error) => return Err(not_taken(error, turn)),
        };
        let watched = Watched {
            kind: OperationKind::Deletion,
            id: &id,
            turn: Turn::End,
        };
        let deadline = Instant::now() + LONGEST_OPERATION;
        let finished = center.operations.watch(watched, deadline).await;
        self.check_gone(service, triple, finished).await?;
        turn.finished();
        Ok(id)
    }

    /// Whatever AWS said of the order, the list decides.
    async fn check_gone(
        &self,
        service: &Service,
        triple: &Triple,
        finished: Finished,
    ) -> Result<(), TargetError> {
        if !self.stands(service, triple, Turn::End).await? {
            return Ok(());
        }
        Err(match finished {
            Finished::Failed { reason } => failed("remove the assignment", &reason),
            Finished::Succeeded => TargetError::new(
                ErrorClass::Transient,
                "assignment_still_listed",
                format!(
                    "AWS says that the assignment in account {} is removed, and still lists it",
                    triple.account
                ),
            ),
            Finished::Lost { trouble } => {
                let why = trouble.map_or_else(String::new, |error| format!(": {error}"));
                TargetError::new(
                    ErrorClass::Transient,
                    "removal_unclear",
                    format!(
                        "the removal of the assignment in account {} did not end in time{why}",
                        triple.account
                    ),
                )
            }
        })
    }

    /// Tells what became of the role behind the set: AWS deletes it with its last assignment, and open sessions with it.
    async fn role(
        &self,
        service: &Service,
        center: &Center,
        triple: &Triple,
    ) -> Result<Detail, TargetError> {
        let left = service
            .holders(center.asking(Turn::End), triple.place())
            .await?;
        let fate = if left.is_empty() {
            "deleted with its last assignment"
        } else {
            "still used by others, open sessions go on for their duration"
        };
        Ok(Detail::new("role", fate))
    }

    fn kept(&self, grant: &Grant, note: &Note) -> Kept {
        let needs = |phase| matches!(phase, Phase::Starting | Phase::Live | Phase::Listed);
        let now = self.clock.now();
        let beside = self.beside(grant, &note.triple);
        if note.stood_before {
            Kept::StoodBefore
        } else if beside
            .iter()
            .any(|(other, _)| needs(other.phase) && !other.grant.is_over(now))
        {
            Kept::Needed
        } else {
            Kept::No
        }
    }

    /// Waits until no creation of this assignment is under way: a removal before its end would be undone by it.
    async fn wait_for_creation(
        &self,
        service: &Service,
        center: &Center,
        triple: &Triple,
    ) -> Result<(), TargetError> {
        let reader = service.operations(&center.instance);
        center.budget.request(Turn::End).await;
        let running = reader.running(OperationKind::Creation, None).await?;
        for id in running.ids {
            center.budget.request(Turn::End).await;
            if service.creation(&center.instance, &id).await?.as_ref() != Some(triple) {
                continue;
            }
            let watched = Watched {
                kind: OperationKind::Creation,
                id: &id,
                turn: Turn::End,
            };
            let deadline = Instant::now() + LONGEST_OPERATION;
            let finished = center.operations.watch(watched, deadline).await;
            if let Finished::Lost { .. } = finished {
                let message = format!(
                    "the assignment in account {} is still being made, it is removed afterwards",
                    triple.account
                );
                return Err(refused(
                    ErrorClass::Conflict,
                    "creation_running",
                    message,
                    "",
                ));
            }
            // How it ended does not matter: the list is looked at next.
            tokio::time::sleep(SETTLE).await;
        }
        Ok(())
    }

    /// Ends a grant of which nothing is noted here. Nothing was ordered, if the control plane does not know better.
    async fn close_unnoted(&self, warrant: &EndWarrant) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        let nothing = |why: &'static str| Ended {
            evidence: Evidence::default().with("never_begun", why),
            ended_at: Some(self.clock.now()),
            reason: Some(warrant.reason),
            ..Ended::default()
        };
        let now = self.clock.now();
        let listed = self.memory.listed_at();
        let is_told = warrant.source == WarrantSource::Task
            || listed.is_some_and(|at| at > grant.expiry || now.duration_since(at) < CURRENT);
        if is_told {
            return Ok(nothing("the control plane has no checkpoint of it"));
        }
        if !self.may_stand(grant).await? {
            let lands = grant.expiry.checked_add(self.late).unwrap_or(grant.expiry);
            return Ok(Ended {
                provisional_until: (lands > now).then_some(lands),
                ..nothing("the assignment is not there")
            });
        }
        let message = format!(
            "the assignment of grant `{}` is there, and whether it stood before is known to the control plane alone, which was not reached since",
            grant.id
        );
        Err(refused(
            ErrorClass::Transient,
            "checkpoint_unknown",
            message,
            "bring the way to the control plane back, or remove the assignment by hand",
        ))
    }

    async fn may_stand(&self, grant: &Grant) -> Result<bool, TargetError> {
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let found = match self.desk.look_up(&service, grant, None).await {
            Ok(found) => found,
            // What does not exist has no assignment.
            Err(error) if error.class() == ErrorClass::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        self.stands(&service, &found.triple, Turn::End).await
    }
}
