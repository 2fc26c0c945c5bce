//! Owns the door from domain to wire. Never sends more than the limits of the protocol.

use super::protocol as wire;
use super::{Heartbeat, IntegrationHealth, InventoryChange};
use crate::domain::{
    AccessRecord, CredentialChange, Detail, Discovered, EndReport, Failure, InventoryRecord,
    RecordStatus, StartReport, TaskOutcome,
};
use std::time::Duration;
use uuid::Uuid;

/// Longest sentence that is reported: 1000 characters.
const MAX_SENTENCE_CHARS: usize = 1000;
/// Longest list of statements to run, and longest value of a context, that is reported, 4000 characters: half a statement helps nobody, and a heartbeat carries one
/// for each integration within 1 MiB.
const MAX_REMEDY_CHARS: usize = 4000;
/// Most lines of details in one report.
const MAX_DETAILS: usize = 20;
/// Most leftovers named in one report.
const MAX_LEFTOVERS: usize = 100;

pub(super) fn outcome(outcome: &TaskOutcome) -> wire::Outcome {
    match outcome {
        TaskOutcome::Succeeded { start, end } => wire::Outcome::Succeeded {
            start: start.as_ref().map(start_spec),
            end: end.as_ref().map(end_spec),
        },
        TaskOutcome::Closed { end } => wire::Outcome::Closed { end: end_spec(end) },
        TaskOutcome::Failed(failure) => failed(failure),
    }
}

fn failed(failure: &Failure) -> wire::Outcome {
    wire::Outcome::Failed {
        class: failure.class.as_str().to_owned(),
        reason: failure.reason.to_owned(),
        message: cut(&failure.message),
        hint: failure.hint.as_deref().map(cut_remedy),
        retry_after_s: failure.retry_after.map(whole_seconds),
    }
}

fn start_spec(start: &StartReport) -> wire::StartSpec {
    let (credential, sealed) = match &start.credential {
        CredentialChange::New(sealed) => ("new", Some(sealed.as_str().to_owned())),
        CredentialChange::Unchanged => ("unchanged", None),
        CredentialChange::None => ("none", None),
    };
    wire::StartSpec {
        login: start.login.clone(),
        started_at: start.started_at,
        expiry: start.expiry,
        credential: credential.to_owned(),
        sealed_credential: sealed,
        details: details(&start.details),
    }
}

pub(super) fn end_spec(end: &EndReport) -> wire::EndSpec {
    wire::EndSpec {
        grant: end.grant.as_uuid(),
        integration: end.integration.as_uuid(),
        ended_at: end.ended_at,
        reason: end.reason.as_str().to_owned(),
        sessions_before: end.sessions_before,
        sessions_after: end.sessions_after,
        clean: end.clean,
        leftovers: end
            .leftovers
            .iter()
            .take(MAX_LEFTOVERS)
            .map(|text| cut(text))
            .collect(),
        details: details(&end.details),
    }
}

fn details(details: &[Detail]) -> Vec<wire::DetailSpec> {
    let spec = |detail: &Detail| wire::DetailSpec {
        name: detail.name.clone(),
        value: cut_remedy(&detail.value),
    };
    details.iter().take(MAX_DETAILS).map(spec).collect()
}

pub(super) fn heartbeat(session: Uuid, heartbeat: &Heartbeat) -> wire::HeartbeatRequest {
    wire::HeartbeatRequest {
        session,
        frozen: heartbeat.frozen,
        running: heartbeat.running,
        oldest_overdue_end: heartbeat.oldest_overdue_end,
        outbox: heartbeat.outbox,
        ledger_ok: heartbeat.ledger_ok,
        guardrails_digest: heartbeat.guardrails_digest.clone(),
        integrations: heartbeat
            .integrations
            .iter()
            .take(wire::MAX_PAGE)
            .map(health)
            .collect(),
    }
}

fn health(health: &IntegrationHealth) -> wire::IntegrationHealthSpec {
    wire::IntegrationHealthSpec {
        integration: health.integration.as_uuid(),
        status: health.status.as_str().to_owned(),
        message: cut_remedy(&health.message),
    }
}

pub(super) fn inventory_line(change: &InventoryChange) -> wire::InventoryLine {
    match change {
        InventoryChange::Resource(record) => wire::InventoryLine::Upsert {
            resource: resource(record),
        },
        InventoryChange::Access(record) => wire::InventoryLine::Access {
            access: access(record),
        },
        InventoryChange::Gone(id) => wire::InventoryLine::Delete { id: id.to_string() },
        InventoryChange::Unseen(under) => wire::InventoryLine::Unseen {
            under: under.clone(),
        },
        InventoryChange::Replace(under) => wire::InventoryLine::Replace {
            under: under.clone(),
        },
    }
}

fn resource(record: &InventoryRecord) -> wire::ResourceRecord {
    let (status, problem) = match &record.status {
        RecordStatus::Active => ("active", None),
        RecordStatus::Error(problem) => ("error", Some(cut(problem))),
    };
    wire::ResourceRecord {
        id: record.id.to_string(),
        native_id: record.native_id.clone(),
        name: record.name.clone(),
        path: record.path.clone(),
        kind: record.kind.as_str().to_owned(),
        flavour: record.flavour.clone(),
        owner: record.owner.clone(),
        comment: record.comment.as_deref().map(cut),
        tags: record.tags.clone(),
        context: record
            .context
            .iter()
            .map(|(name, value)| (name.clone(), cut_remedy(value)))
            .collect(),
        permissions: record
            .permissions
            .iter()
            .map(|permission| permission.as_str().to_owned())
            .collect(),
        status: status.to_owned(),
        problem,
        part: record.part.clone(),
        discovered: record
            .discovered
            .as_deref()
            .map(|found| Box::new(discovered(found))),
    }
}

fn discovered(found: &Discovered) -> wire::DiscoveredSpec {
    wire::DiscoveredSpec {
        name: found.name.clone(),
        kind: found.kind.clone(),
        settings: found.settings.clone(),
        secret: found
            .secret
            .as_ref()
            .map(|secret| secret.as_str().to_owned()),
    }
}

fn access(record: &AccessRecord) -> wire::AccessSpec {
    wire::AccessSpec {
        id: record.id.to_string(),
        holder: record.holder.clone(),
        kind: record.kind.as_str().to_owned(),
        path: record.path.clone(),
        privileges: record.privileges.clone(),
        may_pass_on: record.may_pass_on.clone(),
    }
}

/// Cuts a sentence to what may be reported.
pub(super) fn cut(text: &str) -> String {
    cut_to(MAX_SENTENCE_CHARS, text)
}

fn cut_remedy(text: &str) -> String {
    cut_to(MAX_REMEDY_CHARS, text)
}

fn cut_to(limit: usize, text: &str) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit - 1).collect();
    cut.push('…');
    cut
}

/// Rounds up: a wait is never cut short.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
