//! Owns the life of operations: accepted, under way, ended at their time with an effect or a reason. What has ended never changes.

use super::chance::digest;
use super::clock::{Moment, milliseconds, seconds};
use super::faults::{Fault, Moment as Stage};
use super::knobs::{LockScope, Order};
use super::pages::SHORT;
use super::refusal::Refusal;
use super::rows::Principal;
use super::shapes::text;
use super::state::World;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Create,
    Delete,
    Provision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    InProgress,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    /// None for all accounts the permission set is provisioned in.
    pub(super) account: Option<Arc<str>>,
    pub(super) set: Arc<str>,
    pub(super) principal: Option<Principal>,
    created: Moment,
    /// None if it never ends.
    due: Option<Moment>,
    status: Status,
    reason: Option<String>,
    ended: Option<Moment>,
    pub(super) fault: Option<Fault>,
    /// Whether its caller has the IAM rights a role in the management account takes.
    pub(super) rights: bool,
    /// Revision of the permission set when it was accepted.
    pub(super) revision: u64,
    pub(super) prolonged: bool,
}

/// All operations there ever were.
#[derive(Debug, Default)]
pub(super) struct Operations {
    all: HashMap<String, Operation>,
    order: Vec<String>,
    running: Vec<String>,
    /// Those whose lock may outlive them.
    recent: Vec<String>,
}

/// An operation as its call asks for it.
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) account: Option<Arc<str>>,
    pub(super) set: Arc<str>,
    pub(super) principal: Option<Principal>,
    pub(super) rights: bool,
}

impl Kind {
    fn call(self) -> &'static str {
        match self {
            Self::Create => "CreateAccountAssignment",
            Self::Delete => "DeleteAccountAssignment",
            Self::Provision => "ProvisionPermissionSet",
        }
    }

    /// Names of the status object, of the request id asked for, and of the bulk list.
    fn members(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Create => (
                "AccountAssignmentCreationStatus",
                "AccountAssignmentCreationRequestId",
                "AccountAssignmentsCreationStatus",
            ),
            Self::Delete => (
                "AccountAssignmentDeletionStatus",
                "AccountAssignmentDeletionRequestId",
                "AccountAssignmentsDeletionStatus",
            ),
            Self::Provision => (
                "PermissionSetProvisioningStatus",
                "ProvisionPermissionSetRequestId",
                "PermissionSetsProvisioningStatus",
            ),
        }
    }
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

impl World {
    /// Refuses what a running operation keeps away, and one too many; then takes the operation in.
    pub(super) fn accept(&mut self, draft: Draft, now: Moment) -> Result<Value, Refusal> {
        if self.is_locked(&draft, now) {
            return Err(Refusal::running());
        }
        let running = self.operations.count(|kind| kind == draft.kind);
        let counted = match draft.kind {
            Kind::Provision => running,
            _ if self.knobs.deletes_count => self.operations.count(|kind| kind != Kind::Provision),
            Kind::Create | Kind::Delete => running,
        };
        let full = match draft.kind {
            Kind::Provision => counted >= self.knobs.most_provisions,
            Kind::Delete if !self.knobs.deletes_count => false,
            Kind::Create | Kind::Delete => {
                counted + self.knobs.creates_of_others >= self.knobs.most_creates
            }
        };
        if full {
            return Err(Refusal::outstanding());
        }
        let fault = self.faults.take(draft.kind.call(), Stage::Accepting);
        let drawn = self.chance.between(self.knobs.due);
        let due = match &fault {
            Some(Fault::NeverEnds) => None,
            Some(Fault::Takes(time)) => Some(now + milliseconds(*time)),
            _ => Some(now + drawn),
        };
        let id = self.chance.uuid();
        let revision = self.sets.get(&draft.set).map_or(0, |set| set.revision);
        let operation = Operation {
            kind: draft.kind,
            account: draft.account,
            set: draft.set,
            principal: draft.principal,
            created: now,
            due,
            status: Status::InProgress,
            reason: None,
            ended: None,
            fault,
            rights: draft.rights,
            revision,
            prolonged: false,
        };
        let answer = json!({operation.kind.members().0: operation.describe(&id)});
        let kind = operation.kind;
        self.operations.all.insert(id.clone(), operation);
        self.operations.order.push(id.clone());
        self.operations.running.push(id);
        self.seen.outstanding(kind, running + 1);
        Ok(answer)
    }

    fn is_locked(&self, draft: &Draft, now: Moment) -> bool {
        let after = milliseconds(self.knobs.conflict_after);
        let held = |id: &String| {
            let one = &self.operations.all[id];
            let lasts = one.ended.is_none_or(|ended| ended + after > now);
            lasts && self.overlap(one, draft)
        };
        self.operations.running.iter().any(held) || self.operations.recent.iter().any(held)
    }

    fn overlap(&self, one: &Operation, draft: &Draft) -> bool {
        if one.set == draft.set {
            let covers = |account: &Arc<str>| {
                self.sets
                    .get(&one.set)
                    .is_some_and(|set| set.accounts.contains_key(account))
            };
            return match (&one.account, &draft.account) {
                (Some(one), Some(other)) => one == other,
                (Some(one), None) => covers(one),
                (None, Some(other)) => covers(other),
                (None, None) => true,
            };
        }
        self.knobs.lock_scope == LockScope::Account
            && one.account.is_some()
            && one.account == draft.account
    }

    /// Tells whether a permission set is being provisioned right now.
    pub(super) fn is_being_provisioned(&self, set: &str) -> bool {
        self.operations
            .running
            .iter()
            .map(|id| &self.operations.all[id])
            .any(|one| one.kind == Kind::Provision && &*one.set == set)
    }

    /// Tells whether anything is under way for a permission set.
    pub(super) fn has_running(&self, set: &str) -> bool {
        self.operations
            .running
            .iter()
            .any(|id| &*self.operations.all[id].set == set)
    }

    /// Brings every operation to its end whose time has come, in the order of their times.
    pub(super) fn settle(&mut self, now: Moment) {
        loop {
            let next = self
                .operations
                .running
                .iter()
                .enumerate()
                .filter_map(|(at, id)| Some((self.operations.all[id].due?, at)))
                .filter(|(due, _)| *due <= now)
                .min();
            let Some((due, at)) = next else {
                break;
            };
            let id = self.operations.running[at].clone();
            let operation = self.operations.all[&id].clone();
            if self.waits_for_account(&operation) {
                let operation = self.operations.all.get_mut(&id).unwrap();
                operation.prolonged = true;
                operation.due = Some(
                    operation.created
                        + milliseconds(self.knobs.suspended_due).max(due - operation.created + 1),
                );
                continue;
            }
            self.operations.running.remove(at);
            let outcome = self.run(&operation, due);
            let operation = self.operations.all.get_mut(&id).unwrap();
            operation.ended = Some(due);
            operation.status = if outcome.is_ok() {
                Status::Succeeded
            } else {
                Status::Failed
            };
            operation.reason = outcome.err();
            self.operations.recent.push(id);
        }
        let after = milliseconds(self.knobs.conflict_after);
        let all = &self.operations.all;
        self.operations
            .recent
            .retain(|id| all[id].ended.is_some_and(|ended| ended + after > now));
    }

    /// Answers the three calls that describe one operation.
    pub(super) fn describe_status(
        &self,
        kind: Kind,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let (member, asked, _) = kind.members();
        let id = text(input, asked);
        let operation = self
            .operations
            .all
            .get(id)
            .filter(|one| one.kind == kind && self.is_readable(one, now));
        let operation = operation
            .ok_or_else(|| Refusal::not_found(format!("Could not find request with id {id}")))?;
        Ok(json!({member: operation.describe(id)}))
    }

    fn is_readable(&self, operation: &Operation, now: Moment) -> bool {
        let age = now - operation.created;
        age >= milliseconds(self.knobs.status_visible_after)
            && age < milliseconds(self.knobs.status_kept)
    }

    /// Answers the three bulk lists: status, id and date, and nothing else.
    pub(super) fn list_status(
        &self,
        kind: Kind,
        input: &Value,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let wanted = input["Filter"]["Status"].as_str();
        let rows = self
            .operations
            .order
            .iter()
            .enumerate()
            .filter_map(|(number, id)| {
                let one = &self.operations.all[id];
                let fits = one.kind == kind && self.is_readable(one, now) && wanted.is_none_or(|wanted| wanted == one.status.word());
                let key = match self.knobs.status_order {
                    Order::NewestFirst => format!("{:020}", usize::MAX - number),
                    Order::Random => digest(&[id, &self.seed.to_string()]),
                };
                fits.then(|| (key, json!({"Status": one.status.word(), "RequestId": id, "CreatedDate": seconds(one.created)})))
            })
            .collect();
        let (page, next) = self.page(kind.members().2, input, rows, SHORT)?;
        Ok(json!({kind.members().2: page, "NextToken": next}))
    }

    pub(super) fn running(&self, kind: Kind) -> usize {
        self.operations.count(|one| one == kind)
    }
}

impl Operations {
    fn count(&self, fits: impl Fn(Kind) -> bool) -> usize {
        self.running
            .iter()
            .filter(|id| fits(self.all[*id].kind))
            .count()
    }
}

impl Operation {
    fn describe(&self, id: &str) -> Value {
        let mut status = json!({
            "Status": self.status.word(),
            "RequestId": id,
            "PermissionSetArn": &*self.set,
            "CreatedDate": seconds(self.created),
        });
        if let Some(reason) = &self.reason {
            status["FailureReason"] = json!(reason);
        }
        match (&self.account, &self.principal) {
            (Some(account), Some(principal)) => {
                status["TargetId"] = json!(&**account);
                status["TargetType"] = json!("AWS_ACCOUNT");
                status["PrincipalType"] = json!(&*principal.kind);
                status["PrincipalId"] = json!(&*principal.id);
            }
            (Some(account), None) => status["AccountId"] = json!(&**account),
            (None, _) => {}
        }
        status
    }
}
