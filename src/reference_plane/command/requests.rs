//! Owns what each verb asks of the control plane, and what is told of the answer.

use super::client::Client;
use super::credential::{ThrowAwayKey, variables};
use super::span::Span;
use super::{CommandError, Delivery, End, Form, Grant, Integration, ListForm, screen};
use crate::control::protocol::{DetailSpec, PrincipalSpec, ResourceSpec, StartSpec};
use crate::reference_plane::admin::{
    AccessPage, ChangedSettings, DiscoveredPage, DiscoveredView, GrantView, GrantViews, Granted,
    InstanceViews, IntegrationView, IntegrationViews, InventoryEntry, InventoryPage, NewCredential,
    NewDiscovered, NewExpiry, NewGrant, NewIntegration, Ordered, StandingAccess, TaskView,
};
use serde_json::json;
use uuid::Uuid;

pub(super) async fn integration(
    client: &Client,
    verb: Integration,
) -> Result<String, CommandError> {
    match verb {
        Integration::Add {
            connector,
            name,
            kind,
            settings,
            secret,
        } => {
            let new = NewIntegration {
                connector,
                name,
                kind,
                settings: settings.into_iter().collect(),
                secret,
            };
            let view: IntegrationView = client.post(&["integrations"], &new).await?;
            Ok(format!("{}\n", view.id))
        }
        Integration::List { format } => {
            let views: IntegrationViews = client.get(&["integrations"], &[]).await?;
            match format {
                ListForm::Json => screen::json(&views.integrations),
                ListForm::Text => Ok(screen::integrations(&views.integrations)),
            }
        }
        Integration::Change {
            integration,
            settings,
        } => {
            let path = ["integrations", &integration, "settings"];
            let changed = ChangedSettings {
                settings: settings.into_iter().collect(),
            };
            let view: IntegrationView = client.post(&path, &changed).await?;
            Ok(format!("{} is changed\n", view.name))
        }
        Integration::Discovered {
            integration,
            format,
        } => discovered(client, &integration, format).await,
        Integration::AddDiscovered {
            integration,
            resource,
            name,
            settings,
        } => {
            let new = NewDiscovered {
                resource,
                name,
                settings: settings.into_iter().collect(),
            };
            let path = ["integrations", &integration, "discovered"];
            let view: IntegrationView = client.post(&path, &new).await?;
            Ok(format!("{}\n", view.id))
        }
        Integration::Retire { integration } => {
            let path = ["integrations", &integration, "retire"];
            let view: IntegrationView = client.post(&path, &json!({})).await?;
            Ok(format!("{} is {}\n", view.name, view.state))
        }
        Integration::Sync { integration, wait } => {
            order(client, &["integrations", &integration, "sync"], wait.time).await
        }
        Integration::Check { integration, wait } => {
            order(client, &["integrations", &integration, "check"], wait.time).await
        }
    }
}

pub(super) async fn grant(client: &Client, ask: Grant) -> Result<String, CommandError> {
    let path = match ask.resource {
        Some(whole) => whole.split('/').map(str::to_owned).collect(),
        None => ask.path,
    };
    let (recipient, key) = recipient(ask.delivery.recipient);
    let new = NewGrant {
        integration: ask.integration,
        principal: principal(ask.to),
        resource: ResourceSpec {
            kind: ask.kind,
            path,
        },
        permission: ask.permission,
        expiry: ask.end.until,
        duration_s: ask.end.duration.map(Span::seconds),
        recipient,
        idempotency_key: ask.idempotency_key,
    };
    let granted: Granted = client.post(&["grants"], &new).await?;
    let grant = granted.grant.grant.id;
    let start = finished(client, granted.task, ask.wait.time, Some(grant)).await?;
    deliver(grant, start.start, key, ask.delivery.format)
}

pub(super) async fn extend(
    client: &Client,
    grant: Uuid,
    end: &End,
    wait: Span,
) -> Result<String, CommandError> {
    let new = NewExpiry {
        expiry: end.until,
        duration_s: end.duration.map(Span::seconds),
    };
    let id = grant.to_string();
    let ordered: Ordered = client.post(&["grants", &id, "extend"], &new).await?;
    if let Some(task) = ordered.task {
        finished(client, task, wait, Some(grant)).await?;
    }
    let view: GrantView = client.get(&["grants", &id], &[]).await?;
    Ok(format!("grant {grant} ends at {:.3}\n", view.grant.expiry))
}

pub(super) async fn revoke(
    client: &Client,
    grant: Uuid,
    wait: Span,
) -> Result<String, CommandError> {
    let id = grant.to_string();
    let ordered: Ordered = client.post(&["grants", &id, "revoke"], &json!({})).await?;
    if let Some(task) = ordered.task {
        match finished(client, task, wait, Some(grant)).await {
            Ok(_) => {}
            // The local timer of the connector was faster, so the order was not needed any more.
            Err(error) => {
                let view: GrantView = client.get(&["grants", &id], &[]).await?;
                if view.ended_at.is_none() {
                    return Err(error);
                }
            }
        }
    }
    let view: GrantView = client.get(&["grants", &id], &[]).await?;
    let ended = view.ended_at.map(|at| format!(" at {at:.3}"));
    Ok(format!(
        "grant {grant} is {}{}\n",
        view.state,
        ended.unwrap_or_default()
    ))
}

pub(super) async fn reset_credentials(
    client: &Client,
    grant: Uuid,
    delivery: Delivery,
    wait: Span,
) -> Result<String, CommandError> {
    let (recipient, key) = recipient(delivery.recipient);
    let path = ["grants", &grant.to_string(), "reset-credentials"];
    let ordered: Ordered = client.post(&path, &NewCredential { recipient }).await?;
    let Some(task) = ordered.task else {
        return Err(CommandError::Garbled("no task was ordered".to_owned()));
    };
    let start = finished(client, task, wait, Some(grant)).await?;
    deliver(grant, start.start, key, delivery.format)
}

pub(super) async fn grants(
    client: &Client,
    all: bool,
    format: ListForm,
) -> Result<String, CommandError> {
    let mut views: Vec<GrantView> = Vec::new();
    let mut after = None;
    loop {
        let mut query = vec![("all", all.to_string())];
        query.extend(after.map(|id: Uuid| ("after", id.to_string())));
        let page: GrantViews = client.get(&["grants"], &query).await?;
        views.extend(page.grants);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match format {
        ListForm::Json => screen::json(&views),
        ListForm::Text => Ok(screen::grants(&views)),
    }
}

pub(super) async fn connectors(client: &Client, format: ListForm) -> Result<String, CommandError> {
    let views: InstanceViews = client.get(&["connectors"], &[]).await?;
    match format {
        ListForm::Json => screen::json(&views.instances),
        ListForm::Text => Ok(screen::instances(&views.instances)),
    }
}

pub(super) async fn inventory(
    client: &Client,
    integration: &str,
    shape: (bool, bool),
    format: ListForm,
) -> Result<String, CommandError> {
    let (tree, deleted) = shape;
    let mut records: Vec<InventoryEntry> = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from {
        let query = [
            ("from", start.to_string()),
            ("deleted", deleted.to_string()),
        ];
        let path = ["integrations", integration, "inventory"];
        let page: InventoryPage = client.get(&path, &query).await?;
        records.extend(page.resources);
        from = page.next;
    }
    match format {
        ListForm::Json => screen::json(&records),
        ListForm::Text => Ok(screen::resources(records, tree)),
    }
}

async fn discovered(
    client: &Client,
    integration: &str,
    format: ListForm,
) -> Result<String, CommandError> {
    let mut found: Vec<DiscoveredView> = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from {
        let query = [("from", start.to_string())];
        let path = ["integrations", integration, "discovered"];
        let page: DiscoveredPage = client.get(&path, &query).await?;
        found.extend(page.discovered);
        from = page.next;
    }
    match format {
        ListForm::Json => screen::json(&found),
        ListForm::Text => Ok(screen::discovered(&found)),
    }
}

pub(super) async fn access(
    client: &Client,
    integration: &str,
    format: ListForm,
) -> Result<String, CommandError> {
    let mut records: Vec<StandingAccess> = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from {
        let query = [("from", start.to_string())];
        let path = ["integrations", integration, "access"];
        let page: AccessPage = client.get(&path, &query).await?;
        records.extend(page.access);
        from = page.next;
    }
    match format {
        ListForm::Json => screen::json(&records),
        ListForm::Text => Ok(screen::access(&records)),
    }
}

async fn order(client: &Client, path: &[&str], wait: Span) -> Result<String, CommandError> {
    let ordered: Ordered = client.post(path, &json!({})).await?;
    let Some(task) = ordered.task else {
        return Ok(String::new());
    };
    if wait.seconds() > 0 {
        finished(client, task, wait, None).await?;
        return Ok("done\n".to_owned());
    }
    Ok(format!("ordered: task {task}\n"))
}

/// Waits for a task; anything but its success is an error.
async fn finished(
    client: &Client,
    task: Uuid,
    wait: Span,
    grant: Option<Uuid>,
) -> Result<TaskView, CommandError> {
    let view = client.wait_for(task, wait.duration()).await?;
    let of_grant = grant.map(|grant| format!(" of grant {grant}"));
    let what = format!("{}{}", view.kind, of_grant.unwrap_or_default());
    let refused = |message, hint| Err(CommandError::Refused { message, hint });
    match (view.state.as_str(), &view.failure) {
        ("succeeded", _) => Ok(view),
        ("failed", Some(failure)) => refused(
            format!("{what} failed: {}", failure.message),
            failure.hint.clone(),
        ),
        (state @ ("queued" | "leased"), Some(failure)) => refused(
            format!("{what} is still {state}, it failed so far: {}", failure.message),
            failure.hint.clone(),
        ),
        (state @ ("queued" | "leased"), None) => refused(
            format!("{what} is still {state} after {} s", wait.seconds()),
            Some("see `apono-control-plane connectors`; once the grant is active, `reset-credentials` gives a credential".to_owned()),
        ),
        (state, _) => refused(format!("{what} is {state}"), None),
    }
}

fn recipient(given: Option<String>) -> (String, Option<ThrowAwayKey>) {
    match given {
        Some(recipient) => (recipient, None),
        None => {
            let key = ThrowAwayKey::generate();
            (key.recipient(), Some(key))
        }
    }
}

/// Prints the credential, or why there is none.
fn deliver(
    grant: Uuid,
    start: Option<StartSpec>,
    key: Option<ThrowAwayKey>,
    form: Form,
) -> Result<String, CommandError> {
    let Some(start) = start else {
        return Err(CommandError::Garbled("the result has no login".to_owned()));
    };
    match (&start.sealed_credential, key) {
        (Some(sealed), Some(key)) => Ok(key.open(sealed)?.show(form, grant, &start.details)),
        (Some(sealed), None) if form == Form::Text => Ok(sealed.clone()),
        (sealed, _) => tell(grant, &start, sealed.as_deref(), form),
    }
}

/// Understands an e-mail address, `user:NAME` or `group:NAME`.
fn principal(text: String) -> PrincipalSpec {
    let mut spec = PrincipalSpec::default();
    if let Some(name) = text.strip_prefix("user:") {
        spec.user_name = Some(name.to_owned());
    } else if let Some(name) = text.strip_prefix("group:") {
        spec.group = Some(name.to_owned());
    } else {
        spec.email = Some(text);
    }
    spec
}

fn tell(
    grant: Uuid,
    start: &StartSpec,
    sealed: Option<&str>,
    form: Form,
) -> Result<String, CommandError> {
    match form {
        Form::Json => screen::json(&json!({
            "grant": grant, "login": start.login, "expiry": start.expiry,
            "credential": start.credential, "sealed_credential": sealed, "details": start.details,
        })),
        Form::Env => Ok(variables(&[
            ("PGUSER", &start.login),
            ("APONO_GRANT", &grant.to_string()),
        ])),
        Form::Text | Form::Uri | Form::Pgpass => {
            let note = match start.credential.as_str() {
                "unchanged" => "the password in use stays",
                _ => "no password is needed",
            };
            let mut told = format!(
                "grant    {grant}\nlogin    {}\nexpires  {:.3}\nnote     {note}\n",
                start.login, start.expiry
            );
            for DetailSpec { name, value } in &start.details {
                told.push_str(&format!("\n{name}:\n{value}\n"));
            }
            Ok(told)
        }
    }
}
