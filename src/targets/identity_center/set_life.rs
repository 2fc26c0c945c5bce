//! Owns the making of permission sets of declared permissions: made and marked, completed, brought to the accounts that have them. Never
//! touches a set without our marks.

use super::OrganizationTarget;
use super::asking::Asking;
use super::declaration::Declaration;
use super::declared::owner;
use super::definition::Definition;
use super::desk::Center;
use super::marks::{Marks, Owner};
use super::note::Note;
use super::service::{PermissionSet, Service};
use super::start::{LONGEST_OPERATION, account_id, give_back};
use super::trouble::{failed, half_done};
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::aws::operations::{Finished, OperationKind, Watched};
use crate::domain::{ErrorClass, Evidence, Grant, Start};
use crate::retry::{Jitter, spread};
use crate::targets::refusal::refused;
use crate::targets::{Applied, TargetError};
use std::time::Duration;
use tokio::time::Instant;

/// How often a set is read and edited until it holds what it should. AWS refuses an edit while another one spreads.
const ROUNDS: u32 = 12;
/// Longest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// AWS's words for an account whose last assignment of the set went meanwhile: nothing to bring there.
const NOTHING_THERE: &str = "Assignment not found";

/// A set to work on, and how it is asked.
pub(super) struct Bench<'a> {
    pub(super) service: &'a Service,
    pub(super) center: &'a Center,
    pub(super) turn: Turn,
}

impl<'a> Bench<'a> {
    pub(super) fn by(&self) -> Asking<'a> {
        self.center.asking(self.turn)
    }
}

impl OrganizationTarget {
    /// Makes the set of a grant, or completes it, and marks it. Nobody is given anything by that.
    pub(super) async fn prepare(&self, start: &Start) -> Result<Applied, TargetError> {
        let note = self.noted(start)?;
        let prepared = self.prepare_noted(&start.grant, &note).await;
        if prepared.is_err() {
            // No assignment was ordered.
            self.landings.answered(start.grant.id);
        }
        prepared
    }

    async fn prepare_noted(&self, grant: &Grant, note: &Note) -> Result<Applied, TargetError> {
        let (declaration, mut marks) = self.declared_for(grant, note)?;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let center = self.desk.center().await?;
        let bench = Bench {
            service: &service,
            center: &center,
            turn: Turn::Start,
        };
        let mut set = PermissionSet {
            arn: note.triple.set.clone(),
            name: note.set_name.clone(),
            description: None,
            session: None,
        };
        let mut holds = None;
        if set.arn.is_empty() {
            self.upkeep.begin(grant.id);
            (set.arn, holds) = self
                .make(&bench, (grant, note), declaration, &marks)
                .await?;
        }
        let is_new = holds.is_some();
        let edits = complete(&bench, &set, &declaration.definition, holds).await?;
        let mut behind = Vec::new();
        if !is_new {
            let listed = service.accounts_of_set(bench.by(), &set.arn, true).await;
            behind = listed.map_err(half_done)?;
        }
        let account = &note.triple.account;
        if behind.contains(account) {
            bring_to(&bench, account, &set.arn).await?;
            behind.retain(|other| other != account);
        }
        // The other accounts come in the background; until then the set is not called complete.
        if behind.is_empty() {
            marks.declaration.clone_from(&declaration.digest);
        }
        let marked = service.tag(bench.by(), &set.arn, &marks.write()).await;
        marked.map_err(half_done)?;
        let mut noted = note.clone();
        noted.triple.set.clone_from(&set.arn);
        let checkpoint = (!note.has_set()).then(|| noted.write()).transpose()?;
        Ok(Applied {
            evidence: Evidence::default()
                .with("permission_set", &set.arn)
                .with("made", is_new)
                .with("edits", edits),
            checkpoint,
            ..Applied::default()
        })
    }

    /// Returns what a set is to hold, and its marks while it does not hold it yet.
    fn declared_for(
        &self,
        grant: &Grant,
        note: &Note,
    ) -> Result<(&Declaration, Marks), TargetError> {
        let settings = &self.desk.settings;
        let made = note.made.as_ref();
        let declared = made.and_then(|made| Some((made, settings.declared.get(&made.permission)?)));
        let (made, declaration) = declared.ok_or_else(|| {
            let message = format!(
                "the permission of set `{}` is not declared any more",
                note.set_name
            );
            let hint = "declare it again, or ask for another permission";
            refused(
                ErrorClass::NeedsOperator,
                "permission_undeclared",
                message,
                hint,
            )
        })?;
        let person = (
            note.triple.principal_type.as_str(),
            note.triple.principal.as_str(),
        );
        let owner = owner(made.per, grant, person);
        let marks = Marks {
            connector: settings.connector.as_str().to_owned(),
            integration: settings.integration.to_string(),
            permission: made.permission.clone(),
            expiry: matches!(owner, Owner::Grant(_)).then_some(grant.expiry),
            owner,
            declaration: String::new(),
            unused_since: None,
        };
        Ok((declaration, marks))
    }

    /// Makes a set, or finds the one a try before this made; only for a new one it is known what it holds.
    async fn make(
        &self,
        bench: &Bench<'_>,
        (grant, note): (&Grant, &Note),
        declaration: &Declaration,
        marks: &Marks,
    ) -> Result<(String, Option<Definition>), TargetError> {
        let by = bench.by();
        let new = (
            note.set_name.as_str(),
            &declaration.definition,
            &marks.write(),
        );
        let until = self.may_sign_until(grant, note);
        let error = match bench.service.create_set(by, new, until).await {
            Ok(arn) => {
                self.making.answered(grant.id);
                self.desk.sets.keep(PermissionSet {
                    arn: arn.clone(),
                    name: note.set_name.clone(),
                    description: None,
                    session: declaration.definition.session.clone(),
                });
                return Ok((arn, Some(declaration.definition.just_made())));
            }
            Err(error) if error.outcome_unknown() => return Err(error.into()),
            Err(error) => error,
        };
        self.making.answered(grant.id);
        if error.class() != ErrorClass::Conflict {
            return Err(error.into());
        }
        let name = Some(note.set_name.as_str());
        self.desk.sets.look(bench.service, by, name).await?;
        // Whoever took the name and lost it since is no trouble of the next try.
        let Some(set) = self.desk.sets.named(&note.set_name) else {
            return Err(error.into());
        };
        let own = self.desk.own_marks(bench.service, by, &set, &marks.owner);
        match own.await? {
            Some(_) => Ok((set.arn, None)),
            None => Err(error.into()),
        }
    }

    /// Writes the expiry of a grant on the set that was made for it alone.
    pub(super) async fn mark_expiry(
        &self,
        service: &Service,
        grant: &Grant,
        note: &Note,
    ) -> Result<(), TargetError> {
        let center = self.desk.center().await?;
        let by = center.asking(Turn::Start);
        let set = PermissionSet {
            arn: note.triple.set.clone(),
            name: note.set_name.clone(),
            description: None,
            session: None,
        };
        let own = Owner::Grant(grant.id);
        if let Some(mut marks) = self.desk.own_marks(service, by, &set, &own).await? {
            marks.expiry = Some(grant.expiry);
            service.tag(by, &set.arn, &marks.write()).await?;
        }
        Ok(())
    }
}

/// Edits a set until it holds what it should, and says how many edits that took. What it holds is read where it is not known.
pub(super) async fn complete(
    bench: &Bench<'_>,
    set: &PermissionSet,
    wanted: &Definition,
    mut holds: Option<Definition>,
) -> Result<usize, TargetError> {
    let mut done = 0;
    let mut last = None;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(spread(PAUSE, Jitter::Random)).await;
        }
        let holding = match holds.take() {
            Some(holding) => holding,
            None => {
                let read = read(bench, &set.arn).await;
                read.map_err(half_done)?
            }
        };
        last = None;
        for edit in wanted.edits_from(&holding) {
            match bench.service.edit(bench.by(), &set.arn, &edit).await {
                Ok(()) => done += 1,
                // Done by a call whose answer was lost, or not yet possible: what the set holds tells.
                Err(error)
                    if matches!(error.class(), ErrorClass::Conflict | ErrorClass::NotFound) =>
                {
                    last = Some(error);
                    break;
                }
                Err(error) => return Err(half_done(error)),
            }
        }
        if last.is_none() {
            return Ok(done);
        }
    }
    match last {
        Some(error) => Err(half_done(error)),
        None => Ok(done),
    }
}

async fn read(bench: &Bench<'_>, arn: &str) -> Result<Definition, crate::aws::AwsError> {
    let set = bench.service.permission_set(bench.by(), arn).await?;
    bench.service.definition(bench.by(), &set).await
}

/// Brings a set's definition to an account that has an older one.
pub(super) async fn bring_to(
    bench: &Bench<'_>,
    account: &str,
    arn: &str,
) -> Result<(), TargetError> {
    let center = bench.center;
    let id = account_id(account)?;
    let mut turn = center.budget.provisioning(bench.turn, &id).await;
    let by = bench.by();
    let ordered = bench.service.provision(by, (account, arn), &mut turn).await;
    let request = match ordered {
        Ok(request) => request,
        Err(error) => {
            give_back(&error, turn);
            return Err(half_done(error));
        }
    };
    let watched = Watched {
        kind: OperationKind::Provisioning,
        id: &request,
        turn: bench.turn,
    };
    let deadline = Instant::now() + LONGEST_OPERATION;
    let unclear = |why: String| {
        let message = format!(
            "it is not known whether account {account} has the new definition of its permission set: {why}"
        );
        TargetError::new(ErrorClass::Transient, "provisioning_unclear", message)
    };
    match center.operations.watch(watched, deadline).await {
        Finished::Succeeded => {}
        Finished::Failed { reason } if reason.contains(NOTHING_THERE) => {}
        Finished::Failed { reason } => {
            turn.finished();
            return Err(failed("bring the permission set to the account", &reason));
        }
        Finished::Lost { trouble } => {
            let why =
                trouble.map_or_else(|| "it did not end in time".to_owned(), |e| e.to_string());
            return Err(unclear(why));
        }
    }
    turn.finished();
    Ok(())
}
