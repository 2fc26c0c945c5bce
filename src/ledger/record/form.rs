//! Owns version 1 of the form on disk, and the way there and back. Never a domain type with serde on it.

use super::super::event::Event;
use super::report::{EndV1, EntryV1, end_reason, known_name};
use crate::domain::{
    Checkpoint, Evidence, Grant, GrantId, InstanceId, Integration, IntegrationId, IntegrationState,
    InvalidValue, Permission, Principal, ResourceKind, ResourceRef, SecretRef, TaskId,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum EventV1 {
    InstanceNamed(Uuid),
    EpochSeen(Uuid),
    IntegrationKnown(IntegrationV1),
    IntegrationGone(Uuid),
    StartIntended {
        grant: GrantV1,
        task: Uuid,
        attempt: u32,
    },
    GrantLearned {
        grant: GrantV1,
        started_at: Option<Timestamp>,
    },
    CheckpointKept {
        grant: Uuid,
        checkpoint: String,
    },
    StepBegan {
        grant: Uuid,
        note: String,
    },
    StepDone {
        grant: Uuid,
        note: String,
        seen: Option<Vec<(String, String)>>,
        reason: Option<String>,
    },
    Started {
        grant: Uuid,
        at: Timestamp,
    },
    StartAbandoned(Uuid),
    ExpiryMoved {
        grant: Uuid,
        expiry: Timestamp,
    },
    EndIntended {
        grant: GrantV1,
        reason: String,
    },
    EndCalledOff {
        grant: Uuid,
        expiry: Timestamp,
    },
    Closed(EndV1),
    Clean(Uuid),
    Queued {
        id: u64,
        entry: EntryV1,
    },
    Delivered(u64),
    Frozen(bool),
    ReportsFrom(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantV1 {
    id: Uuid,
    integration: Uuid,
    principal: String,
    resource: String,
    path: Vec<String>,
    permission: String,
    expiry: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntegrationV1 {
    id: Uuid,
    name: String,
    kind: String,
    settings: BTreeMap<String, String>,
    secret: Option<String>,
    retiring: bool,
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        match event {
            Event::InstanceNamed(id) => Self::InstanceNamed(id.as_uuid()),
            Event::EpochSeen(epoch) => Self::EpochSeen(*epoch),
            Event::IntegrationKnown(integration) => Self::IntegrationKnown(integration.into()),
            Event::IntegrationGone(id) => Self::IntegrationGone(id.as_uuid()),
            Event::StartIntended {
                grant,
                task,
                attempt,
            } => Self::StartIntended {
                grant: grant.into(),
                task: task.as_uuid(),
                attempt: *attempt,
            },
            Event::GrantLearned { grant, started_at } => Self::GrantLearned {
                grant: grant.into(),
                started_at: *started_at,
            },
            Event::CheckpointKept { grant, checkpoint } => Self::CheckpointKept {
                grant: grant.as_uuid(),
                checkpoint: checkpoint.as_str().to_owned(),
            },
            Event::StepBegan { grant, note } => Self::StepBegan {
                grant: grant.as_uuid(),
                note: note.clone(),
            },
            Event::StepDone {
                grant,
                note,
                outcome,
            } => Self::StepDone {
                grant: grant.as_uuid(),
                note: note.clone(),
                seen: outcome.as_ref().ok().map(facts),
                reason: outcome.as_ref().err().cloned(),
            },
            Event::Started { grant, at } => Self::Started {
                grant: grant.as_uuid(),
                at: *at,
            },
            Event::StartAbandoned(grant) => Self::StartAbandoned(grant.as_uuid()),
            Event::ExpiryMoved { grant, expiry } => Self::ExpiryMoved {
                grant: grant.as_uuid(),
                expiry: *expiry,
            },
            Event::EndIntended { grant, reason } => Self::EndIntended {
                grant: grant.into(),
                reason: reason.as_str().to_owned(),
            },
            Event::EndCalledOff { grant, expiry } => Self::EndCalledOff {
                grant: grant.as_uuid(),
                expiry: *expiry,
            },
            Event::Closed(end) => Self::Closed(end.into()),
            Event::Clean(grant) => Self::Clean(grant.as_uuid()),
            Event::Queued { id, entry } => Self::Queued {
                id: *id,
                entry: entry.into(),
            },
            Event::Delivered(id) => Self::Delivered(*id),
            Event::Frozen(frozen) => Self::Frozen(*frozen),
            Event::ReportsFrom(next) => Self::ReportsFrom(*next),
        }
    }
}

impl TryFrom<EventV1> for Event {
    type Error = InvalidValue;

    fn try_from(form: EventV1) -> Result<Self, InvalidValue> {
        Ok(match form {
            EventV1::InstanceNamed(id) => Self::InstanceNamed(InstanceId::new(id)),
            EventV1::EpochSeen(epoch) => Self::EpochSeen(epoch),
            EventV1::IntegrationKnown(form) => Self::IntegrationKnown(form.try_into()?),
            EventV1::IntegrationGone(id) => Self::IntegrationGone(IntegrationId::new(id)),
            EventV1::StartIntended {
                grant,
                task,
                attempt,
            } => Self::StartIntended {
                grant: grant.try_into()?,
                task: TaskId::new(task),
                attempt,
            },
            EventV1::GrantLearned { grant, started_at } => Self::GrantLearned {
                grant: grant.try_into()?,
                started_at,
            },
            EventV1::CheckpointKept { grant, checkpoint } => Self::CheckpointKept {
                grant: GrantId::new(grant),
                checkpoint: Checkpoint::new(checkpoint)?,
            },
            EventV1::StepBegan { grant, note } => Self::StepBegan {
                grant: GrantId::new(grant),
                note,
            },
            EventV1::StepDone {
                grant,
                note,
                seen,
                reason,
            } => Self::StepDone {
                grant: GrantId::new(grant),
                note,
                outcome: step_outcome(seen, reason)?,
            },
            EventV1::Started { grant, at } => Self::Started {
                grant: GrantId::new(grant),
                at,
            },
            EventV1::StartAbandoned(grant) => Self::StartAbandoned(GrantId::new(grant)),
            EventV1::ExpiryMoved { grant, expiry } => Self::ExpiryMoved {
                grant: GrantId::new(grant),
                expiry,
            },
            EventV1::EndIntended { grant, reason } => Self::EndIntended {
                grant: grant.try_into()?,
                reason: end_reason(&reason)?,
            },
            EventV1::EndCalledOff { grant, expiry } => Self::EndCalledOff {
                grant: GrantId::new(grant),
                expiry,
            },
            EventV1::Closed(end) => Self::Closed(end.try_into()?),
            EventV1::Clean(grant) => Self::Clean(GrantId::new(grant)),
            EventV1::Queued { id, entry } => Self::Queued {
                id,
                entry: entry.try_into()?,
            },
            EventV1::Delivered(id) => Self::Delivered(id),
            EventV1::Frozen(frozen) => Self::Frozen(frozen),
            EventV1::ReportsFrom(next) => Self::ReportsFrom(next),
        })
    }
}

fn facts(evidence: &Evidence) -> Vec<(String, String)> {
    let owned = |(name, value): &(&'static str, String)| ((*name).to_owned(), value.clone());
    evidence.facts.iter().map(owned).collect()
}

fn step_outcome(
    seen: Option<Vec<(String, String)>>,
    reason: Option<String>,
) -> Result<Result<Evidence, String>, InvalidValue> {
    match (seen, reason) {
        (Some(seen), None) => Ok(Ok(Evidence {
            facts: seen
                .into_iter()
                .map(|(name, value)| (known_name(&name), value))
                .collect(),
        })),
        (None, Some(reason)) => Ok(Err(reason)),
        (Some(_), Some(_)) | (None, None) => Err(InvalidValue::new(
            "`step_done`",
            "must have either `seen` or `reason`",
        )),
    }
}

impl From<&Grant> for GrantV1 {
    fn from(grant: &Grant) -> Self {
        Self {
            id: grant.id.as_uuid(),
            integration: grant.integration.as_uuid(),
            principal: grant.principal.to_string(),
            resource: grant.resource.kind().as_str().to_owned(),
            path: grant.resource.path().to_vec(),
            permission: grant.permission.as_str().to_owned(),
            expiry: grant.expiry,
        }
    }
}

impl TryFrom<GrantV1> for Grant {
    type Error = InvalidValue;

    fn try_from(form: GrantV1) -> Result<Self, InvalidValue> {
        Ok(Self {
            id: GrantId::new(form.id),
            integration: IntegrationId::new(form.integration),
            principal: Principal::parse_text(&form.principal)?,
            resource: ResourceRef::new(ResourceKind::parse(&form.resource)?, form.path)?,
            permission: Permission::parse(&form.permission)?,
            expiry: form.expiry,
        })
    }
}

impl From<&Integration> for IntegrationV1 {
    fn from(integration: &Integration) -> Self {
        Self {
            id: integration.id.as_uuid(),
            name: integration.name.clone(),
            kind: integration.kind.clone(),
            settings: integration.settings.clone(),
            secret: integration.secret.as_ref().map(|s| s.as_str().to_owned()),
            retiring: integration.state == IntegrationState::Retiring,
        }
    }
}

impl TryFrom<IntegrationV1> for Integration {
    type Error = InvalidValue;

    fn try_from(form: IntegrationV1) -> Result<Self, InvalidValue> {
        Ok(Self {
            id: IntegrationId::new(form.id),
            name: form.name,
            kind: form.kind,
            settings: form.settings,
            secret: form.secret.as_deref().map(SecretRef::parse).transpose()?,
            state: if form.retiring {
                IntegrationState::Retiring
            } else {
                IntegrationState::Active
            },
        })
    }
}
