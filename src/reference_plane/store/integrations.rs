//! Owns integrations: adding, listing, retiring them, and the connector's two lists.

use super::orders::NewTask;
use super::row::{At, Id, from_json, grant_spec, json};
use super::{Store, Tx};
use crate::control::protocol::{GrantEntry, Header, IntegrationSpec, MAX_PAGE};
use crate::domain::{ConnectorId, SecretRef, TaskKind, shown};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{IntegrationView, IntegrationViews, NewIntegration, Ordered};
use rusqlite::params;
use uuid::Uuid;

/// Most settings of an integration.
const MAX_SETTINGS: usize = 50;
/// Longest setting, in bytes.
const MAX_SETTING: usize = 4096;
/// Longest name, in bytes.
const MAX_NAME: usize = 100;

/// A page of a list.
#[derive(Debug)]
pub(in crate::reference_plane) struct Page<T> {
    pub(in crate::reference_plane) header: Header,
    pub(in crate::reference_plane) through: u64,
    pub(in crate::reference_plane) entries: Vec<T>,
}

/// What decides whether an integration may be used.
#[derive(Debug)]
pub(super) struct IntegrationRow {
    pub(super) id: Id,
    pub(super) connector: String,
    pub(super) name: String,
    pub(super) state: String,
}

/// What `view` reads.
macro_rules! view_sql {
    ($which:literal) => {
        concat!(
            "SELECT i.*, p.name AS found_in_name FROM integrations AS i
             LEFT JOIN integrations AS p ON p.id = i.found_in ",
            $which
        )
    };
}

impl Store {
    /// Adds an integration, and orders a check and an inventory of it.
    pub(in crate::reference_plane) fn add_integration(
        &mut self,
        new: &NewIntegration,
    ) -> Result<IntegrationView, PlaneError> {
        check_integration(new)?;
        self.write(|tx| {
            tx.know_connector(&new.connector)?;
            let id = tx.insert_integration(new)?;
            tx.integration_view(id)
        })
    }

    /// Orders a check or an inventory; one that is queued already is not queued twice.
    pub(in crate::reference_plane) fn order_integration(
        &mut self,
        name: &str,
        kind: TaskKind,
    ) -> Result<Ordered, PlaneError> {
        self.write(|tx| {
            let integration = tx.integration_named(name)?;
            if integration.state == "retired" {
                return Err(PlaneError::conflict(
                    "integration_retired",
                    format!("integration `{}` is retired", integration.name),
                ));
            }
            let queued = tx.one(
                "SELECT id FROM tasks WHERE integration = ?1 AND kind = ?2 AND state = 'queued'",
                params![integration.id, kind.as_str()],
                |row| row.get::<_, Id>(0),
            )?;
            let task = match queued {
                Some(id) => id.0,
                None => tx.order_about(integration.id, &integration.connector, kind)?,
            };
            Ok(Ordered { task: Some(task) })
        })
    }

    /// Takes an integration out of use: no new access, and retired for good once nothing of ours is left.
    pub(in crate::reference_plane) fn retire(
        &mut self,
        name: &str,
    ) -> Result<IntegrationView, PlaneError> {
        self.write(|tx| {
            let integration = tx.integration_named(name)?;
            if integration.state == "active" {
                tx.exec(
                    "UPDATE integrations SET state = 'retiring', status = 'disabled' WHERE id = ?1",
                    params![integration.id],
                )?;
                tx.touch_integration(integration.id, &integration.connector)?;
                tx.refuse_waiting_starts(integration.id)?;
                tx.retire_if_empty(integration.id, &integration.connector)?;
            }
            tx.integration_view(integration.id)
        })
    }

    /// Lists every integration.
    pub(in crate::reference_plane) fn integrations(
        &mut self,
    ) -> Result<IntegrationViews, PlaneError> {
        self.write(|tx| {
            let integrations = tx.all(view_sql!("ORDER BY i.name, i.revision"), params![], view)?;
            Ok(IntegrationViews { integrations })
        })
    }

    /// Reads a page of the connector's integrations that changed since a revision.
    pub(in crate::reference_plane) fn integrations_since(
        &mut self,
        connector: &str,
        since: u64,
    ) -> Result<Page<IntegrationSpec>, PlaneError> {
        self.write(|tx| {
            let rows = tx.all(
                "SELECT * FROM integrations WHERE connector = ?1 AND revision > ?2
                   AND (?2 > 0 OR state <> 'retired') ORDER BY revision LIMIT ?3",
                params![connector, since, MAX_PAGE],
                |row| {
                    let spec = IntegrationSpec {
                        id: row.get::<_, Id>("id")?.0,
                        name: row.get("name")?,
                        kind: row.get("kind")?,
                        settings: from_json(row, "settings")?,
                        secret: row.get("secret")?,
                        state: row.get("state")?,
                    };
                    Ok((row.get("revision")?, spec))
                },
            )?;
            let header = tx.header(connector)?;
            Ok(page(header.integrations_revision, header, rows))
        })
    }

    /// Reads a page of the connector's grants that changed since a revision: from the first lease on, until the end is reported.
    pub(in crate::reference_plane) fn grants_since(
        &mut self,
        connector: &str,
        since: u64,
    ) -> Result<Page<GrantEntry>, PlaneError> {
        self.write(|tx| {
            let rows = tx.all(
                "SELECT * FROM grants WHERE connector = ?1 AND revision > ?2 AND listed = 1
                   AND (?2 > 0 OR state NOT IN ('ended', 'failed')) ORDER BY revision LIMIT ?3",
                params![connector, since, MAX_PAGE],
                |row| {
                    let state: String = row.get("state")?;
                    let entry = GrantEntry {
                        grant: grant_spec(row)?,
                        ended: matches!(state.as_str(), "closed" | "ended" | "failed"),
                        checkpoint: row.get("checkpoint")?,
                    };
                    Ok((row.get("revision")?, entry))
                },
            )?;
            let header = tx.header(connector)?;
            Ok(page(header.grants_revision, header, rows))
        })
    }
}

impl Tx<'_> {
    /// Adds a checked integration, and orders a check and an inventory of it.
    pub(super) fn insert_integration(&self, new: &NewIntegration) -> Result<Id, PlaneError> {
        if self.is_taken(&new.name)? {
            return Err(PlaneError::conflict(
                "name_taken",
                format!("an integration named `{}` exists", shown(&new.name)),
            ));
        }
        let id = Id(Uuid::now_v7());
        self.exec(
            "INSERT INTO integrations (id, connector, name, kind, settings, secret, state, status, message, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'active', 'initializing', '', 0)",
            params![id, new.connector, new.name, new.kind, json(&new.settings)?, new.secret],
        )?;
        self.touch_integration(id, &new.connector)?;
        self.order_about(id, &new.connector, TaskKind::CheckIntegration)?;
        self.order_about(id, &new.connector, TaskKind::SyncIntegration)?;
        Ok(id)
    }

    /// Tells whether an integration in use has a name.
    pub(super) fn is_taken(&self, name: &str) -> Result<bool, PlaneError> {
        let taken = self.one(
            "SELECT 1 FROM integrations WHERE name = ?1 AND state <> 'retired'",
            params![name],
            |_| Ok(()),
        )?;
        Ok(taken.is_some())
    }

    /// Finds an integration by id or by name.
    pub(super) fn integration_named(&self, name: &str) -> Result<IntegrationRow, PlaneError> {
        self.one(
            "SELECT id, connector, name, state FROM integrations WHERE id = ?1 OR name = ?1
             ORDER BY id = ?1 DESC, state = 'retired', revision DESC LIMIT 1",
            params![name],
            |row| {
                Ok(IntegrationRow {
                    id: row.get(0)?,
                    connector: row.get(1)?,
                    name: row.get(2)?,
                    state: row.get(3)?,
                })
            },
        )?
        .ok_or_else(|| {
            PlaneError::not_found(
                "unknown_integration",
                format!("no integration has the id or name `{}`", shown(name)),
            )
            .hint("list the integrations to see their names")
        })
    }

    pub(super) fn integration_view(&self, id: Id) -> Result<IntegrationView, PlaneError> {
        self.one(view_sql!("WHERE i.id = ?1"), params![id], view)?
            .ok_or_else(|| PlaneError::Damaged(format!("integration `{}` is missing", id.0)))
    }

    fn order_about(
        &self,
        integration: Id,
        connector: &str,
        kind: TaskKind,
    ) -> Result<Uuid, PlaneError> {
        self.order(&NewTask {
            kind,
            connector,
            integration,
            grant: None,
            recipient: None,
            expiry: None,
        })
    }

    fn refuse_waiting_starts(&self, integration: Id) -> Result<(), PlaneError> {
        let waiting = self.all(
            "SELECT * FROM tasks WHERE integration = ?1 AND state = 'queued'
               AND kind IN ('grant-access', 'extend-access', 'reset-credentials')",
            params![integration],
            super::row::TaskRow::read,
        )?;
        for task in &waiting {
            self.fail_unanswered(
                task,
                "integration_retiring",
                "the integration was retired before the order was carried out".to_owned(),
            )?;
        }
        Ok(())
    }
}

/// Closes a page: a full one goes as far as its last entry, any other to the end of the list.
fn page<T>(revision: u64, header: Header, rows: Vec<(u64, T)>) -> Page<T> {
    let through = match rows.last() {
        Some((last, _)) if rows.len() == MAX_PAGE => *last,
        _ => revision,
    };
    Page {
        header,
        through,
        entries: rows.into_iter().map(|(_, entry)| entry).collect(),
    }
}

fn view(row: &rusqlite::Row<'_>) -> rusqlite::Result<IntegrationView> {
    let mut status: String = row.get("status")?;
    let mut message: String = row.get("message")?;
    let problem: String = row.get("found_problem")?;
    if !problem.is_empty() {
        if status == "active" {
            "warning".clone_into(&mut status);
        }
        let both = [problem, message].map(|text| text.trim().to_owned());
        message = both.join("\n").trim_end().to_owned();
    }
    Ok(IntegrationView {
        id: row.get::<_, Id>("id")?.0,
        connector: row.get("connector")?,
        name: row.get("name")?,
        kind: row.get("kind")?,
        settings: from_json(row, "settings")?,
        secret: row.get("secret")?,
        state: row.get("state")?,
        status,
        message,
        found_in: row.get("found_in_name")?,
        resources: row.get("inventory_count")?,
        inventory_at: row.get::<_, Option<At>>("inventory_at")?.map(|at| at.0),
    })
}

pub(super) fn check_integration(new: &NewIntegration) -> Result<(), PlaneError> {
    ConnectorId::parse(&new.connector)?;
    if let Some(secret) = &new.secret {
        SecretRef::parse(secret)?;
    }
    let named =
        |text: &str| (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control);
    let problem = if !named(&new.name) || Uuid::try_parse(&new.name).is_ok() {
        format!(
            "`name` is `{}`, must be 1 to {MAX_NAME} bytes and not look like an id",
            shown(&new.name)
        )
    } else if !named(&new.kind) {
        format!(
            "`type` is `{}`, must be 1 to {MAX_NAME} bytes",
            shown(&new.kind)
        )
    } else if new.settings.len() > MAX_SETTINGS {
        format!(
            "`settings` has {} entries, at most {MAX_SETTINGS} fit",
            new.settings.len()
        )
    } else if let Some((key, _)) = new
        .settings
        .iter()
        .find(|(key, value)| !named(key) || value.len() > MAX_SETTING)
    {
        format!(
            "`settings.{}` is longer than {MAX_SETTING} bytes or has no proper name",
            shown(key)
        )
    } else {
        return Ok(());
    };
    Err(PlaneError::invalid("invalid_integration", problem))
}
