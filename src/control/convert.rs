//! Owns the door from wire to domain. Never lets a value through that does not fit its domain type.

use super::fields::Fields;
use super::{ListedGrant, ListedIntegration};
use crate::domain::{
    Checkpoint, ErrorClass, Failure, Grant, GrantId, Integration, IntegrationId, IntegrationState,
    InvalidValue, Lease, Order, Permission, Principal, ResourceKind, ResourceRef, SecretRef, Task,
    TaskId, TaskKind, shown,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest recipient: 4 KiB, far above an age or ssh-ed25519 key.
const MAX_RECIPIENT_BYTES: usize = 4 << 10;
/// Longest name of an integration: 256 bytes.
const MAX_NAME_BYTES: usize = 256;
/// Most settings of one integration.
const MAX_SETTINGS: usize = 100;
/// Longest value of a setting: 4 KiB.
const MAX_SETTING_BYTES: usize = 4 << 10;

/// One task of an answer, understood for itself.
#[derive(Debug)]
pub enum ParsedTask {
    /// An order this version can judge.
    Order(Lease),
    /// An order that names itself but cannot be understood or is of an unknown kind: it is answered with this failure.
    Refused {
        /// Which task.
        task: TaskId,
        /// Which delivery of it.
        attempt: u32,
        /// What to answer.
        failure: Failure,
    },
    /// Not even an id could be read; logged, and left to the control plane's own limits.
    Unreadable(String),
}

/// Why an order cannot be carried out by this version.
enum Refusal {
    /// It is not in the form the protocol gives it.
    Malformed(InvalidValue),
    /// It is in order, and newer than this version.
    Unsupported(String),
}

impl From<InvalidValue> for Refusal {
    fn from(invalid: InvalidValue) -> Self {
        Self::Malformed(invalid)
    }
}

impl Refusal {
    fn into_failure(self) -> Failure {
        let (reason, message, hint) = match self {
            Self::Malformed(invalid) => ("malformed_task", invalid.to_string(), None),
            Self::Unsupported(message) => (
                "unsupported",
                message,
                Some("update the connector, or order what this version knows".to_owned()),
            ),
        };
        Failure {
            class: ErrorClass::Bug,
            reason,
            message,
            hint,
            retry_after: None,
        }
    }
}

/// Understands one task of a lease answer. Every task gets an answer, however malformed, as long as it names itself.
#[must_use]
pub fn parse_task(value: &Value) -> ParsedTask {
    let named = Fields::open("", value).and_then(|fields| {
        let task = TaskId::new(fields.uuid("id")?);
        Ok((fields, task, fields.count("attempt")?))
    });
    let (fields, task, attempt) = match named {
        Ok(named) => named,
        Err(invalid) => return ParsedTask::Unreadable(invalid.to_string()),
    };
    match parse_lease(fields, task, attempt) {
        Ok(lease) => ParsedTask::Order(lease),
        Err(refusal) => ParsedTask::Refused {
            task,
            attempt,
            failure: refusal.into_failure(),
        },
    }
}

fn parse_lease(fields: Fields<'_>, id: TaskId, attempt: u32) -> Result<Lease, Refusal> {
    // The kind comes first: the rest of a newer kind may have any shape.
    let kind = fields.text("kind")?;
    let kind = TaskKind::parse(kind).ok_or_else(|| {
        let known: Vec<_> = TaskKind::ALL
            .iter()
            .map(|kind| format!("`{}`", kind.as_str()))
            .collect();
        Refusal::Unsupported(format!(
            "`kind` is `{}`, this version knows {}",
            shown(kind),
            known.join(", ")
        ))
    })?;
    if attempt == 0 {
        return Err(fields.invalid("attempt", "is 0, must count from 1").into());
    }
    let integration = IntegrationId::new(fields.uuid("integration")?);
    Ok(Lease {
        deadline: fields.time("lease_deadline")?,
        checkpoint: parse_checkpoint(fields, kind)?,
        task: Task {
            id,
            attempt,
            issued_at: fields.time("issued_at")?,
            integration,
            order: parse_order(fields, kind, integration)?,
        },
    })
}

fn parse_checkpoint(fields: Fields<'_>, kind: TaskKind) -> Result<Option<Checkpoint>, Refusal> {
    let invalid = match read_checkpoint(fields) {
        Ok(checkpoint) => return Ok(checkpoint),
        Err(invalid) => invalid,
    };
    // Nothing may stand in the way of an end; the target looks for itself then.
    if kind == TaskKind::RevokeAccess {
        tracing::warn!(problem = %invalid, "ignoring the checkpoint of an end");
        return Ok(None);
    }
    Err(invalid.into())
}

fn read_checkpoint(fields: Fields<'_>) -> Result<Option<Checkpoint>, InvalidValue> {
    let text = fields.optional_text("checkpoint")?;
    text.map(|text| Checkpoint::new(text.to_owned()))
        .transpose()
}

fn parse_order(
    fields: Fields<'_>,
    kind: TaskKind,
    integration: IntegrationId,
) -> Result<Order, Refusal> {
    let grant = || -> Result<Grant, Refusal> {
        let grant = parse_grant("grant.", fields.required("grant")?)?;
        if grant.integration == integration {
            Ok(grant)
        } else {
            Err(fields
                .invalid("grant.integration", "differs from the task's `integration`")
                .into())
        }
    };
    Ok(match kind {
        TaskKind::CheckIntegration => Order::CheckIntegration,
        TaskKind::SyncIntegration => Order::SyncIntegration,
        TaskKind::GrantAccess => Order::Start {
            grant: grant()?,
            recipient: parse_recipient(fields)?,
        },
        TaskKind::ExtendAccess => Order::Extend { grant: grant()? },
        TaskKind::RevokeAccess => Order::Revoke { grant: grant()? },
        TaskKind::ResetCredentials => Order::ResetCredentials {
            grant: grant()?,
            recipient: parse_recipient(fields)?,
        },
    })
}

fn parse_recipient(fields: Fields<'_>) -> Result<String, InvalidValue> {
    let text = fields.text("recipient")?.trim();
    if text.is_empty() || text.len() > MAX_RECIPIENT_BYTES {
        return Err(fields.invalid(
            "recipient",
            format!(
                "has {} bytes, must have 1 to {MAX_RECIPIENT_BYTES}",
                text.len()
            ),
        ));
    }
    Ok(text.to_owned())
}

fn parse_grant(path: &str, value: &Value) -> Result<Grant, Refusal> {
    let fields = Fields::open(path, value)?;
    let principal_path = format!("{path}principal.");
    let principal = Fields::open(&principal_path, fields.required("principal")?)?;
    let resource_path = format!("{path}resource.");
    let resource = Fields::open(&resource_path, fields.required("resource")?)?;
    let newer = |invalid: InvalidValue| Refusal::Unsupported(invalid.to_string());
    let kind = ResourceKind::parse(resource.text("type")?).map_err(newer)?;
    let grant = Grant {
        id: GrantId::new(fields.uuid("id")?),
        integration: IntegrationId::new(fields.uuid("integration")?),
        principal: parse_principal(principal)?,
        resource: ResourceRef::new(kind, resource.texts("path")?)?,
        permission: Permission::parse(fields.text("permission")?).map_err(newer)?,
        expiry: fields.time("expiry")?,
    };
    grant.check_permission().map_err(newer)?;
    Ok(grant)
}

fn parse_principal(fields: Fields<'_>) -> Result<Principal, InvalidValue> {
    let given = (
        fields.optional_text("email")?,
        fields.optional_text("user_name")?,
        fields.optional_text("group")?,
    );
    match given {
        (Some(email), None, None) => Principal::parse(email),
        (None, Some(name), None) => Principal::user_name(name),
        (None, None, Some(group)) => Principal::group(group),
        (None, None, None) => Err(fields.invalid("email", "is missing")),
        (Some(_), _, _) | (None, Some(_), Some(_)) => {
            Err(fields.invalid("email", "must stand alone, without `user_name` and `group`"))
        }
    }
}

/// Understands a page of the list of grants; an entry that cannot be understood is left out and logged.
pub(super) fn parse_grants(entries: &[Value]) -> Vec<ListedGrant> {
    let parse = |entry: &Value| -> Result<ListedGrant, String> {
        let fields = Fields::open("", entry).map_err(|invalid| invalid.to_string())?;
        let grant = fields.required("grant").map_err(Refusal::from);
        Ok(ListedGrant {
            grant: grant
                .and_then(|grant| parse_grant("grant.", grant))
                .map_err(|refusal| refusal.into_failure().message)?,
            ended: fields
                .flag("ended")
                .map_err(|invalid| invalid.to_string())?,
            checkpoint: read_checkpoint(fields).map_err(|invalid| invalid.to_string())?,
        })
    };
    entries
        .iter()
        .filter_map(|entry| {
            parse(entry)
                .inspect_err(|problem| {
                    let id = entry.pointer("/grant/id").and_then(Value::as_str);
                    tracing::warn!(
                        grant.id = shown(id.unwrap_or("")),
                        problem,
                        "left out a grant of the list"
                    );
                })
                .ok()
        })
        .collect()
}

/// Understands a page of the list of integrations; an entry that cannot be understood is left out and logged.
pub(super) fn parse_integrations(entries: &[Value]) -> Vec<ListedIntegration> {
    entries
        .iter()
        .filter_map(|entry| {
            parse_integration(entry)
                .inspect_err(|problem| {
                    let id = entry.get("id").and_then(Value::as_str);
                    tracing::warn!(
                        integration.id = shown(id.unwrap_or("")),
                        %problem,
                        "left out an integration of the list"
                    );
                })
                .ok()
        })
        .collect()
}

fn parse_integration(entry: &Value) -> Result<ListedIntegration, InvalidValue> {
    let fields = Fields::open("", entry)?;
    let state = fields.text("state")?;
    let (state, retired) = match state {
        "active" => (IntegrationState::Active, false),
        "retiring" => (IntegrationState::Retiring, false),
        "retired" => (IntegrationState::Retiring, true),
        other => {
            return Err(fields.invalid(
                "state",
                format!(
                    "is `{}`, must be `active`, `retiring` or `retired`",
                    shown(other)
                ),
            ));
        }
    };
    let name = fields.text("name")?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(fields.invalid(
            "name",
            format!("has {} bytes, must have 1 to {MAX_NAME_BYTES}", name.len()),
        ));
    }
    Ok(ListedIntegration {
        integration: Integration {
            id: IntegrationId::new(fields.uuid("id")?),
            name: name.to_owned(),
            kind: fields.text("type")?.to_owned(),
            settings: parse_settings(fields)?,
            secret: fields
                .optional_text("secret")?
                .map(SecretRef::parse)
                .transpose()?,
            state,
        },
        retired,
    })
}

fn parse_settings(fields: Fields<'_>) -> Result<BTreeMap<String, String>, InvalidValue> {
    let Some(value) = fields.get("settings") else {
        return Ok(BTreeMap::new());
    };
    let settings = value
        .as_object()
        .filter(|settings| settings.len() <= MAX_SETTINGS)
        .ok_or_else(|| {
            fields.invalid(
                "settings",
                format!("must be an object of at most {MAX_SETTINGS} texts"),
            )
        })?;
    settings
        .iter()
        .map(|(key, value)| {
            value
                .as_str()
                .filter(|text| text.len() <= MAX_SETTING_BYTES)
                .map(|text| (key.clone(), text.to_owned()))
                .ok_or_else(|| {
                    fields.invalid(
                        &format!("settings.{}", shown(key)),
                        format!("must be a text of at most {MAX_SETTING_BYTES} bytes"),
                    )
                })
        })
        .collect()
}

#[cfg(test)]
mod tests;
