//! Owns version 1 of the form on disk of reports: how a grant ended, how a task ended. Never holds a credential in clear.

use super::super::event::OutboxEntry;
use crate::domain::{
    CredentialChange, Detail, EndReason, EndReport, ErrorClass, Failure, GrantId, IntegrationId,
    InvalidValue, SealedCredential, StartReport, TaskId, TaskOutcome, shown,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Most different names (reason codes, names of facts) one process reads back: all are written by this program, which
/// has a few dozen.
const MAX_NAMES: usize = 1024;

/// What stands in for a name beyond that limit.
const NAME_BEYOND_LIMIT: &str = "other";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndV1 {
    grant: Uuid,
    integration: Uuid,
    ended_at: Timestamp,
    reason: String,
    sessions_before: u32,
    sessions_after: u32,
    clean: bool,
    leftovers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartV1 {
    login: String,
    started_at: Timestamp,
    expiry: Timestamp,
    credential: CredentialV1,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailureV1 {
    class: String,
    reason: String,
    message: String,
    hint: Option<String>,
    retry_after_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum EntryV1 {
    Result {
        task: Uuid,
        attempt: u32,
        outcome: OutcomeV1,
    },
    End(EndV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum OutcomeV1 {
    Succeeded {
        start: Option<StartV1>,
        end: Option<EndV1>,
    },
    Closed(EndV1),
    Failed(FailureV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum CredentialV1 {
    /// Ciphertext; the domain has no other kind to give.
    Sealed(String),
    Unchanged,
    None,
}

pub(super) fn end_reason(text: &str) -> Result<EndReason, InvalidValue> {
    EndReason::parse(text)
        .ok_or_else(|| InvalidValue::new("`reason`", format!("is `{}`, unknown", shown(text))))
}

/// Gives a stored name the life of the program, as names in code have.
pub(super) fn known_name(text: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.get(text) {
        return name;
    }
    if names.len() >= MAX_NAMES {
        return NAME_BEYOND_LIMIT;
    }
    let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(name);
    name
}

fn pairs(details: &[Detail]) -> Vec<(String, String)> {
    let pair = |detail: &Detail| (detail.name.clone(), detail.value.clone());
    details.iter().map(pair).collect()
}

fn details(pairs: Vec<(String, String)>) -> Vec<Detail> {
    let detail = |(name, value)| Detail { name, value };
    pairs.into_iter().map(detail).collect()
}

impl From<&EndReport> for EndV1 {
    fn from(end: &EndReport) -> Self {
        Self {
            grant: end.grant.as_uuid(),
            integration: end.integration.as_uuid(),
            ended_at: end.ended_at,
            reason: end.reason.as_str().to_owned(),
            sessions_before: end.sessions_before,
            sessions_after: end.sessions_after,
            clean: end.clean,
            leftovers: end.leftovers.clone(),
            details: pairs(&end.details),
        }
    }
}

impl TryFrom<EndV1> for EndReport {
    type Error = InvalidValue;

    fn try_from(form: EndV1) -> Result<Self, InvalidValue> {
        Ok(Self {
            grant: GrantId::new(form.grant),
            integration: IntegrationId::new(form.integration),
            ended_at: form.ended_at,
            reason: end_reason(&form.reason)?,
            sessions_before: form.sessions_before,
            sessions_after: form.sessions_after,
            clean: form.clean,
            leftovers: form.leftovers,
            details: details(form.details),
        })
    }
}

impl From<&OutboxEntry> for EntryV1 {
    fn from(entry: &OutboxEntry) -> Self {
        match entry {
            OutboxEntry::Result {
                task,
                attempt,
                outcome,
            } => Self::Result {
                task: task.as_uuid(),
                attempt: *attempt,
                outcome: outcome.into(),
            },
            OutboxEntry::End(end) => Self::End(end.into()),
        }
    }
}

impl TryFrom<EntryV1> for OutboxEntry {
    type Error = InvalidValue;

    fn try_from(form: EntryV1) -> Result<Self, InvalidValue> {
        Ok(match form {
            EntryV1::Result {
                task,
                attempt,
                outcome,
            } => Self::Result {
                task: TaskId::new(task),
                attempt,
                outcome: outcome.try_into()?,
            },
            EntryV1::End(end) => Self::End(end.try_into()?),
        })
    }
}

impl From<&TaskOutcome> for OutcomeV1 {
    fn from(outcome: &TaskOutcome) -> Self {
        match outcome {
            TaskOutcome::Succeeded { start, end } => Self::Succeeded {
                start: start.as_ref().map(Into::into),
                end: end.as_ref().map(Into::into),
            },
            TaskOutcome::Closed { end } => Self::Closed(end.into()),
            TaskOutcome::Failed(failure) => Self::Failed(failure.into()),
        }
    }
}

impl TryFrom<OutcomeV1> for TaskOutcome {
    type Error = InvalidValue;

    fn try_from(form: OutcomeV1) -> Result<Self, InvalidValue> {
        Ok(match form {
            OutcomeV1::Succeeded { start, end } => Self::Succeeded {
                start: start.map(Into::into),
                end: end.map(TryInto::try_into).transpose()?,
            },
            OutcomeV1::Closed(end) => Self::Closed {
                end: end.try_into()?,
            },
            OutcomeV1::Failed(failure) => Self::Failed(failure.try_into()?),
        })
    }
}

impl From<&StartReport> for StartV1 {
    fn from(start: &StartReport) -> Self {
        Self {
            login: start.login.clone(),
            started_at: start.started_at,
            expiry: start.expiry,
            credential: match &start.credential {
                CredentialChange::New(sealed) => CredentialV1::Sealed(sealed.as_str().to_owned()),
                CredentialChange::Unchanged => CredentialV1::Unchanged,
                CredentialChange::None => CredentialV1::None,
            },
            details: pairs(&start.details),
        }
    }
}

impl From<StartV1> for StartReport {
    fn from(form: StartV1) -> Self {
        Self {
            login: form.login,
            started_at: form.started_at,
            expiry: form.expiry,
            credential: match form.credential {
                CredentialV1::Sealed(text) => {
                    CredentialChange::New(SealedCredential::from_ciphertext(text))
                }
                CredentialV1::Unchanged => CredentialChange::Unchanged,
                CredentialV1::None => CredentialChange::None,
            },
            details: details(form.details),
        }
    }
}

impl From<&Failure> for FailureV1 {
    fn from(failure: &Failure) -> Self {
        Self {
            class: failure.class.as_str().to_owned(),
            reason: failure.reason.to_owned(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            retry_after_ms: failure
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl TryFrom<FailureV1> for Failure {
    type Error = InvalidValue;

    fn try_from(form: FailureV1) -> Result<Self, InvalidValue> {
        let class = ErrorClass::ALL
            .into_iter()
            .find(|class| class.as_str() == form.class)
            .ok_or_else(|| {
                InvalidValue::new("`class`", format!("is `{}`, unknown", shown(&form.class)))
            })?;
        Ok(Self {
            class,
            reason: known_name(&form.reason),
            message: form.message,
            hint: form.hint,
            retry_after: form.retry_after_ms.map(Duration::from_millis),
        })
    }
}
