//! Owns starts: what stood before, the order, its end, the look whether it is there. Never orders anything that is not noted.

use super::OrganizationTarget;
use super::note::{Note, Triple};
use super::service::Service;
use super::trouble::failed;
use crate::aws::budget::{OperationTurn, Turn};
use crate::aws::operations::{Finished, OperationKind, Watched};
use crate::aws::{AccountId, AwsError, Purpose};
use crate::domain::{
    Change, Checkpoint, CredentialChange, Detail, ErrorClass, Evidence, Grant, Plan, Start, Step,
};
use crate::policy::Permit;
use crate::targets::refusal::{check_permit, refused};
use crate::targets::{Applied, Phase, Remembered, TargetError};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for an order to end. AWS takes seconds, for an account that is not ready some minutes.
pub(super) const LONGEST_OPERATION: Duration = Duration::from_secs(300);
/// How long after its plan an order may still be signed: enough for its turn in the budget; then it is planned anew.
const SIGNING_WINDOW: SignedDuration = SignedDuration::from_mins(5);

impl OrganizationTarget {
    /// Decides from what is there, what is noted and what other grants need.
    pub(super) async fn plan(&self, start: &Start) -> Result<Plan, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let earlier = Note::demand(grant.id, start.checkpoint.as_ref())?;
        let found = self.desk.find(&service, grant, earlier.as_ref()).await?;
        if let Some(note) = earlier
            .as_ref()
            .filter(|note| !note.is_about(&found.triple))
        {
            let message = format!(
                "grant `{}` was begun for {} `{}` and permission set `{}`, which have other ids by now",
                grant.id, note.triple.principal_type, note.principal_name, note.set_name
            );
            let hint = "ask for a new grant";
            return Err(refused(
                ErrorClass::NeedsOperator,
                "made_anew_meanwhile",
                message,
                hint,
            ));
        }
        let stands = self.stands(&service, &found.triple, Turn::Start).await?;
        let stood_before = match &earlier {
            // What stood when this grant was first begun still counts, unless somebody took it away since.
            Some(note) => note.stood_before && stands,
            None => stands && self.stood_before_others(grant, &found.triple)?,
        };
        // Whatever stands in a set of ours is there because of us.
        let stood_before = stood_before && found.wanted.is_none();
        let pending = earlier
            .as_ref()
            .and_then(|note| self.lands_until(grant, note));
        let note = Note {
            triple: found.triple.clone(),
            set_name: found.set.name.clone(),
            principal_name: found.principal_name.clone(),
            stood_before,
            lands_until: pending,
            session: found.set.session.clone(),
            made: found.wanted.as_ref().map(|wanted| wanted.made.clone()),
        };
        let prepare = found
            .wanted
            .filter(|wanted| wanted.is_unready)
            .map(|_| Step {
                note: format!("make or complete permission set `{}`", note.set_name),
                change: Change::PreparePermissionSet {
                    name: note.set_name.clone(),
                },
            });
        Ok(Plan {
            steps: self.steps(grant, note, (stands, prepare), earlier.as_ref())?,
        })
    }

    fn steps(
        &self,
        grant: &Grant,
        note: Note,
        (stands, prepare): (bool, Option<Step>),
        earlier: Option<&Note>,
    ) -> Result<Vec<Step>, TargetError> {
        let mut steps = Vec::new();
        if stands {
            // Nothing is ordered, so nothing new can be on its way.
            if earlier != Some(&note) {
                steps.push(remember(&note, "note what is there already")?);
            }
            steps.extend(prepare);
        } else {
            let before = note.lands_until;
            let lands = self.signed_by(grant).checked_add(self.late);
            let lands = before.max(Some(lands.unwrap_or(Timestamp::MAX)));
            if let Some(lands) = lands {
                self.landings.begin(grant.id, lands, before);
                if !note.has_set() {
                    self.making.begin(grant.id, lands, before);
                }
            }
            let ordered = Note {
                lands_until: lands,
                ..note.clone()
            };
            steps.push(remember(&ordered, "note what is about to be ordered")?);
            steps.extend(prepare);
            steps.push(Step {
                note: format!(
                    "assign permission set `{}` to {} `{}` in account {} until {}",
                    note.set_name,
                    note.triple.principal_type,
                    note.principal_name,
                    note.triple.account,
                    grant.expiry
                ),
                change: Change::Assign,
            });
        }
        steps.push(Step {
            note: "read back what was assigned".to_owned(),
            change: Change::Verify,
        });
        Ok(steps)
    }

    /// Returns until when an order of a grant that was not answered may take effect; nothing when none can.
    pub(super) fn lands_until(&self, grant: &Grant, note: &Note) -> Option<Timestamp> {
        let until = self.landings.of(grant.id, note.lands_until);
        until.filter(|until| self.clock.now() < *until)
    }

    /// Tells whether some order of a grant was never seen to end.
    pub(super) fn is_unsettled(&self, grant: &Grant, note: &Note) -> bool {
        self.landings.of(grant.id, note.lands_until).is_some()
    }

    /// Returns the last moment an order of this plan may be signed.
    fn signed_by(&self, grant: &Grant) -> Timestamp {
        let window = self.clock.now().checked_add(SIGNING_WINDOW);
        window.map_or(grant.expiry, |window| window.min(grant.expiry))
    }

    /// Tells whether what stands now stood before any grant of ours. Refuses while that cannot be told.
    fn stood_before_others(&self, grant: &Grant, triple: &Triple) -> Result<bool, TargetError> {
        let beside = self.beside(grant, triple);
        let ending = |other: &&(Remembered, Note)| other.0.phase == Phase::Ending;
        if let Some((other, _)) = beside.iter().find(ending) {
            let message = format!(
                "the end of grant `{}` to the same access is not finished",
                other.grant.id
            );
            return Err(refused(ErrorClass::Conflict, "end_running", message, ""));
        }
        // Whoever of them came first saw what stood before.
        Ok(beside.first().is_none_or(|(_, note)| note.stood_before))
    }

    /// Returns the other grants of the same assignment that are not over, as far as anything is noted of them.
    pub(super) fn beside(&self, grant: &Grant, triple: &Triple) -> Vec<(Remembered, Note)> {
        let mut beside: Vec<_> = self
            .memory
            .grants(self.desk.settings.integration)
            .into_iter()
            .filter(|other| other.grant.id != grant.id && other.phase != Phase::Closed)
            .filter_map(|other| {
                let note = other.checkpoint.as_ref().and_then(Note::read)?;
                (note.triple == *triple).then_some((other, note))
            })
            .collect();
        beside.sort_by_key(|(other, _)| other.grant.id);
        beside
    }

    /// Orders the assignment, follows the order to its end and looks whether it is there.
    pub(super) async fn assign(&self, start: &Start) -> Result<Applied, TargetError> {
        let note = self.noted(start)?;
        let triple = &note.triple;
        let service = self.desk.service(Purpose::Grant(start.grant.id)).await?;
        let center = self.desk.center().await?;
        let account = account_id(&triple.account)?;
        let mut turn = center.budget.assignment(Turn::Start, &account).await;
        // The wait for a turn may have been long, and a second look costs one request.
        if self.stands(&service, triple, Turn::Start).await? {
            turn.finished();
            self.landings.answered(start.grant.id);
            return Ok(Applied {
                evidence: Evidence::default().with("stood_already", true),
                checkpoint: self.settled(&start.grant, &note)?,
                ..Applied::default()
            });
        }
        let signed_by = self.may_sign_until(&start.grant, &note);
        let ordered = service
            .create(&center.instance, triple, signed_by, &mut turn)
            .await;
        let request = match ordered {
            Ok(request) => request,
            Err(error) if error.outcome_unknown() => {
                self.is_on_its_way(&start.grant);
                return Err(not_taken(error, turn));
            }
            Err(error) => {
                self.landings.answered(start.grant.id);
                return Err(not_taken(error, turn));
            }
        };
        let watched = Watched {
            kind: OperationKind::Creation,
            id: &request,
            turn: Turn::Start,
        };
        let deadline = Instant::now() + LONGEST_OPERATION;
        let finished = center.operations.watch(watched, deadline).await;
        if let Finished::Lost { .. } = finished {
            self.is_on_its_way(&start.grant);
            drop(turn);
        } else {
            self.landings.answered(start.grant.id);
            turn.finished();
        }
        let stands = self.stands(&service, triple, Turn::Start).await?;
        conclude(triple, finished, stands)?;
        Ok(Applied {
            evidence: Evidence::default()
                .with("request", request)
                .with("account", &triple.account)
                .with("permission_set", &triple.set),
            checkpoint: self.settled(&start.grant, &note)?,
            ..Applied::default()
        })
    }

    /// Returns the last moment what was noted allows an order to be signed.
    pub(super) fn may_sign_until(&self, grant: &Grant, note: &Note) -> Timestamp {
        let lands = note.lands_until;
        let until = lands.and_then(|lands| lands.checked_sub(self.late).ok());
        until.unwrap_or(Timestamp::MIN).min(grant.expiry)
    }

    /// Returns a note that every order was answered; nothing while an earlier one was not.
    fn settled(&self, grant: &Grant, note: &Note) -> Result<Option<Checkpoint>, TargetError> {
        if self.is_unsettled(grant, note) {
            return Ok(None);
        }
        note.settled().write().map(Some)
    }

    /// Notes that an order left and what became of it is not known: nothing was signed after now.
    fn is_on_its_way(&self, grant: &Grant) {
        let until = self.clock.now().checked_add(self.late);
        let until = until.unwrap_or(Timestamp::MAX);
        self.landings.unanswered(grant.id, until);
    }

    /// Looks whether the assignment is there, and tells the requester how to use it.
    pub(super) async fn verify(&self, start: &Start) -> Result<Applied, TargetError> {
        let note = self.noted(start)?;
        let service = self.desk.service(Purpose::Grant(start.grant.id)).await?;
        if !self.stands(&service, &note.triple, Turn::Start).await? {
            return Err(not_seen(&note.triple, "it is not listed"));
        }
        self.seen.begin(start.grant.id);
        Ok(Applied {
            evidence: Evidence::default().with("stood_before", note.stood_before),
            credential: Some(CredentialChange::None),
            login: Some(note.principal_name.clone()),
            started_at: Some(self.clock.now()),
            details: self.details(&note),
            checkpoint: None,
        })
    }

    /// Looks whether an access whose end is moved is there. The expiry itself is kept by the executor: AWS has no place for it.
    pub(super) async fn extend(&self, start: &Start) -> Result<Applied, TargetError> {
        let note = self.noted(start)?;
        let service = self.desk.service(Purpose::Grant(start.grant.id)).await?;
        if !self.stands(&service, &note.triple, Turn::Start).await? {
            let message = format!("grant `{}` has no assignment any more", start.grant.id);
            return Err(refused(
                ErrorClass::Bug,
                "grant_not_live",
                message,
                "ask for a new grant",
            ));
        }
        if note.is_own() {
            self.mark_expiry(&service, &start.grant, &note).await?;
        }
        Ok(Applied {
            evidence: Evidence::default().with("expiry", start.grant.expiry),
            credential: Some(CredentialChange::None),
            login: Some(note.principal_name.clone()),
            details: self.details(&note),
            ..Applied::default()
        })
    }

    fn details(&self, note: &Note) -> Vec<Detail> {
        let mut details = vec![
            Detail::new("account", &note.triple.account),
            Detail::new("permission_set", &note.set_name),
        ];
        if let Some(portal) = &self.desk.settings.portal {
            let mut link = format!("{portal}/#/console?account_id={}", note.triple.account);
            let encoded: String =
                url::form_urlencoded::byte_serialize(note.set_name.as_bytes()).collect();
            link.push_str(&format!("&role_name={encoded}"));
            details.push(Detail::new("sign_in_url", link));
        }
        details.push(residual(note));
        details
    }

    /// Returns what was noted for this order; the executor kept it before.
    pub(super) fn noted(&self, start: &Start) -> Result<Note, TargetError> {
        let kept = self.memory.grants(self.desk.settings.integration);
        let kept = kept
            .into_iter()
            .find(|known| known.grant.id == start.grant.id)
            .and_then(|known| known.checkpoint);
        let note = kept.or_else(|| start.checkpoint.clone());
        Note::demand(start.grant.id, note.as_ref())?.ok_or_else(|| {
            let message = format!(
                "nothing is noted of grant `{}`, so nothing is ordered",
                start.grant.id
            );
            refused(ErrorClass::Bug, "checkpoint_missing", message, "")
        })
    }

    /// Tells whether an assignment is there, by the list, which is the truth.
    pub(super) async fn stands(
        &self,
        service: &Service,
        triple: &Triple,
        turn: Turn,
    ) -> Result<bool, TargetError> {
        // A set nobody made yet is assigned to nobody.
        if triple.set.is_empty() {
            return Ok(false);
        }
        let center = self.desk.center().await?;
        let holders = service.holders(center.asking(turn), triple.place());
        Ok(holders.await?.contains(triple))
    }

    pub(super) fn same_order(&self, permit: &Permit, grant: &Grant) -> Result<(), TargetError> {
        check_permit(self, permit, grant)?;
        let kind = grant.resource.kind();
        if kind != crate::domain::ResourceKind::AwsOrganizationAccount {
            let message = format!("an organization has no resources of type `{kind}`");
            return Err(refused(ErrorClass::Bug, "wrong_resource_type", message, ""));
        }
        Ok(())
    }
}

/// Says how long a session that is open goes on after its assignment is gone.
pub(super) fn residual(note: &Note) -> Detail {
    let session = note.session.as_deref().unwrap_or("PT1H");
    Detail::new("residual_session", session)
}

pub(super) fn account_id(account: &str) -> Result<AccountId, TargetError> {
    AccountId::parse(account)
        .map_err(|invalid| refused(ErrorClass::Bug, "account_invalid", invalid.to_string(), ""))
}

/// Gives a turn back after an order AWS did not take, as far as that is known.
pub(super) fn not_taken(error: AwsError, turn: OperationTurn) -> TargetError {
    give_back(&error, turn);
    error.into()
}

pub(super) fn give_back(error: &AwsError, turn: OperationTurn) {
    if let Some(throttle) = error.throttle() {
        turn.throttled(throttle);
    } else if error.outcome_unknown() {
        drop(turn);
    } else {
        turn.finished();
    }
}

/// Weighs what AWS says against what it lists. Neither done nor undone is an error of its own.
fn conclude(triple: &Triple, finished: Finished, stands: bool) -> Result<(), TargetError> {
    Err(match finished {
        Finished::Succeeded if stands => return Ok(()),
        Finished::Succeeded => not_seen(triple, "AWS says it is done, and does not list it yet"),
        Finished::Failed { reason } if stands => not_seen(triple, &reason),
        Finished::Failed { reason } => failed("create the assignment", &reason).undone(),
        Finished::Lost { trouble } => {
            let late = || "it did not end in time".to_owned();
            not_seen(
                triple,
                &trouble.map_or_else(late, |error| error.to_string()),
            )
        }
    })
}

/// Neither done nor undone: the next attempt looks first.
fn not_seen(triple: &Triple, why: &str) -> TargetError {
    let message = format!(
        "it is not known yet whether the assignment in account {} was made: {why}",
        triple.account
    );
    TargetError::new(ErrorClass::Transient, "assignment_unclear", message)
}

fn remember(note: &Note, what: &str) -> Result<Step, TargetError> {
    Ok(Step {
        note: what.to_owned(),
        change: Change::Remember(note.write()?),
    })
}
