//! Owns what inventories found that asks by itself to be managed: becoming an integration, and what is said when it asks no more. Never changes
//! the settings of an integration, never takes one out of use.

use super::integrations::check_integration;
use super::row::{Id, from_json, json};
use super::{Store, Tx};
use crate::control::protocol::{DiscoveredSpec, MAX_PAGE, ResourceRecord};
use crate::domain::shown;
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{
    DiscoveredPage, DiscoveredView, IntegrationView, NewDiscovered, NewIntegration,
};
use rusqlite::{Row, params};
use std::collections::BTreeMap;

/// Setting of an integration: what is found in it becomes an integration without anybody's asking.
const CONNECT: &str = "connect_discovered";
/// Most that become integrations with one inventory; the next ones follow with the next.
const MOST_AT_ONCE: u32 = 1000;

/// Whoever finds.
struct Parent {
    id: Id,
    connector: String,
    name: String,
    state: String,
    settings: BTreeMap<String, String>,
    upload: Option<Id>,
}

/// What is found.
struct Found {
    resource: ResourceRecord,
    asks: DiscoveredSpec,
}

impl Store {
    /// Reads a page of what asks to be managed in the inventory of an integration.
    pub(in crate::reference_plane) fn discovered(
        &mut self,
        integration: &str,
        offset: u64,
    ) -> Result<DiscoveredPage, PlaneError> {
        self.write(|tx| {
            let parent = tx.parent(tx.integration_named(integration)?.id)?;
            let rows = tx.all(
                "SELECT record FROM inventory WHERE upload = ?1 AND gone_at IS NULL
                   AND json_extract(record, '$.discovered') IS NOT NULL ORDER BY place LIMIT ?2 OFFSET ?3",
                params![parent.upload, MAX_PAGE, offset],
                Found::read,
            )?;
            let full = rows.len() == MAX_PAGE;
            let discovered = rows.into_iter().flatten();
            let discovered: Result<_, PlaneError> = discovered
                .map(|found| tx.discovered_view(&parent, found))
                .collect();
            Ok(DiscoveredPage {
                discovered: discovered?,
                next: full.then_some(offset + MAX_PAGE as u64),
            })
        })
    }

    /// Makes an integration of something that was found.
    pub(in crate::reference_plane) fn add_discovered(
        &mut self,
        integration: &str,
        new: &NewDiscovered,
    ) -> Result<IntegrationView, PlaneError> {
        self.write(|tx| {
            let parent = tx.parent(tx.integration_named(integration)?.id)?;
            if parent.state != "active" {
                return Err(PlaneError::conflict(
                    "integration_retiring",
                    format!("integration `{}` is not looked at any more", parent.name),
                ));
            }
            let found = tx.found(&parent, &new.resource)?;
            if let Some(problem) = found.problem() {
                return Err(PlaneError::conflict(
                    "incomplete",
                    format!(
                        "`{}` cannot be added: {problem}",
                        shown(&found.resource.name)
                    ),
                )
                .hint("correct what is said of it, and order an inventory"));
            }
            if let Some((name, state)) = tx.integration_of(&parent, &found)?
                && state != "retired"
            {
                return Err(PlaneError::conflict(
                    "added_already",
                    format!("it is integration `{}` already", shown(&name)),
                ));
            }
            let name = new.name.as_ref().unwrap_or(&found.asks.name);
            let id = tx.add_found(&parent, &found, name, &new.settings)?;
            tx.integration_view(id)
        })
    }
}

impl Tx<'_> {
    /// Does what a new inventory asks for: says which integrations found in it ask no more, or for something else, and adds new ones where
    /// its settings say so.
    pub(super) fn follow_discovered(&self, integration: Id, upload: Id) -> Result<(), PlaneError> {
        let children = self.all(
            "SELECT id, found_as, found_asking FROM integrations
             WHERE found_in = ?1 AND state <> 'retired'",
            params![integration],
            |row| {
                let asked: DiscoveredSpec = from_json(row, "found_asking")?;
                Ok((row.get::<_, Id>(0)?, row.get::<_, String>(1)?, asked))
            },
        )?;
        for (child, found_as, asked) in children {
            let row = self.one(
                "SELECT record FROM inventory WHERE upload = ?1 AND id = ?2 AND gone_at IS NULL",
                params![upload, found_as],
                Found::read,
            )?;
            self.exec(
                "UPDATE integrations SET found_problem = ?2 WHERE id = ?1",
                params![child, trouble(row.flatten().as_ref(), &asked)],
            )?;
        }
        let parent = self.parent(integration)?;
        let wanted = parent.settings.get(CONNECT).map(String::as_str) == Some("true");
        if wanted && parent.state == "active" {
            self.add_all(&parent, upload)?;
        }
        Ok(())
    }

    fn add_all(&self, parent: &Parent, upload: Id) -> Result<(), PlaneError> {
        // One that was retired is not made again behind whoever retired it.
        let rows = self.all(
            "SELECT record FROM inventory AS r WHERE upload = ?1 AND gone_at IS NULL
               AND json_extract(record, '$.discovered') IS NOT NULL
               AND json_extract(record, '$.status') = 'active'
               AND NOT EXISTS (SELECT 1 FROM integrations WHERE found_in = ?2 AND found_as = r.id)
             ORDER BY place LIMIT ?3",
            params![upload, parent.id, MOST_AT_ONCE],
            Found::read,
        )?;
        for found in rows.into_iter().flatten() {
            let plain = found.asks.name.clone();
            let longer = format!("{}-{plain}", parent.name);
            let name = if self.is_taken(&plain)? {
                longer
            } else {
                plain
            };
            match self.add_found(parent, &found, &name, &BTreeMap::new()) {
                Ok(_) => {}
                // What one asks for must not keep the inventory from being taken.
                Err(PlaneError::Refused(refusal)) => tracing::warn!(
                    integration = parent.name,
                    resource = shown(&found.resource.name),
                    problem = refusal.error.message,
                    "what was found could not be added"
                ),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add_found(
        &self,
        parent: &Parent,
        found: &Found,
        name: &str,
        more: &BTreeMap<String, String>,
    ) -> Result<Id, PlaneError> {
        let mut settings = found.asks.settings.clone();
        settings.extend(more.clone());
        let new = NewIntegration {
            connector: parent.connector.clone(),
            name: name.to_owned(),
            kind: found.asks.kind.clone(),
            settings,
            secret: found.asks.secret.clone(),
        };
        check_integration(&new)?;
        let id = self.insert_integration(&new)?;
        self.exec(
            "UPDATE integrations SET found_in = ?2, found_as = ?3, found_asking = ?4 WHERE id = ?1",
            params![id, parent.id, found.resource.id, json(&found.asks)?],
        )?;
        Ok(id)
    }

    fn parent(&self, integration: Id) -> Result<Parent, PlaneError> {
        let parent = self.one(
            "SELECT * FROM integrations WHERE id = ?1",
            params![integration],
            |row| {
                Ok(Parent {
                    id: row.get("id")?,
                    connector: row.get("connector")?,
                    name: row.get("name")?,
                    state: row.get("state")?,
                    settings: from_json(row, "settings")?,
                    upload: row.get("inventory_upload")?,
                })
            },
        )?;
        parent.ok_or_else(|| PlaneError::Damaged("an integration is missing".to_owned()))
    }

    /// Finds one by id, name or path.
    fn found(&self, parent: &Parent, which: &str) -> Result<Found, PlaneError> {
        let mut rows = self.all(
            "SELECT record FROM inventory WHERE upload = ?1 AND gone_at IS NULL
               AND json_extract(record, '$.discovered') IS NOT NULL
               AND (id = ?2 OR json_extract(record, '$.name') = ?2
                 OR (SELECT group_concat(value, '/') FROM json_each(record, '$.path')) = ?2)
             LIMIT 2",
            params![parent.upload, which],
            Found::read,
        )?;
        match (rows.pop().flatten(), rows.pop()) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(PlaneError::conflict(
                "ambiguous",
                format!("several resources are called `{}`", shown(which)),
            )
            .hint("say its id or path, as `integration discovered` shows them")),
            (None, _) => Err(PlaneError::not_found(
                "unknown_resource",
                format!(
                    "nothing that asks to be managed in `{}` has the name, id or path `{}`",
                    shown(&parent.name),
                    shown(which)
                ),
            )
            .hint("`integration discovered` lists what does; `integration sync` looks again")),
        }
    }

    /// Returns name and state of the integration something became last.
    fn integration_of(
        &self,
        parent: &Parent,
        found: &Found,
    ) -> Result<Option<(String, String)>, PlaneError> {
        self.one(
            "SELECT name, state FROM integrations WHERE found_in = ?1 AND found_as = ?2
             ORDER BY state = 'retired', revision DESC LIMIT 1",
            params![parent.id, found.resource.id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    fn discovered_view(&self, parent: &Parent, found: Found) -> Result<DiscoveredView, PlaneError> {
        let integration = self.integration_of(parent, &found)?;
        let problem = found.problem().map(str::to_owned);
        let added = integration
            .as_ref()
            .is_some_and(|(_, state)| state != "retired");
        let status = match (added, &problem) {
            (true, _) => "added",
            (false, None) => "ready",
            (false, Some(_)) => "incomplete",
        };
        Ok(DiscoveredView {
            id: found.resource.id,
            kind: found.resource.kind,
            name: found.resource.name,
            path: found.resource.path,
            status: status.to_owned(),
            problem,
            integration: integration.map(|(name, _)| name),
            asks: found.asks,
        })
    }
}

impl Found {
    /// Nothing for what does not ask.
    fn read(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let resource: ResourceRecord = from_json(row, "record")?;
        let asks = resource.discovered.clone();
        Ok(asks.map(|asks| Self {
            resource,
            asks: *asks,
        }))
    }

    fn problem(&self) -> Option<&str> {
        let said = self.resource.problem.as_deref();
        let problem = said.unwrap_or("it does not say what is missing");
        (self.resource.status != "active").then_some(problem)
    }
}

/// Says what is wrong with an integration by what it asks for now; nothing is wrong where it asks for the same.
fn trouble(found: Option<&Found>, asked: &DiscoveredSpec) -> String {
    let Some(found) = found else {
        return "what it was found as is gone or asks no more to be managed; access in it goes on: retire the integration, or let it ask again"
            .to_owned();
    };
    if let Some(problem) = found.problem() {
        return format!(
            "what it was found as can no longer be managed as it asks; access in it goes on: {problem}"
        );
    }
    let now = &found.asks;
    if now == asked {
        return String::new();
    }
    let keys = asked.settings.keys().chain(now.settings.keys());
    let mut changed: Vec<String> = keys
        .filter(|key| asked.settings.get(*key) != now.settings.get(*key))
        .map(|key| format!("`{}`", shown(key)))
        .collect();
    if now.secret != asked.secret {
        changed.push("the secret".to_owned());
    }
    if now.kind != asked.kind || now.name != asked.name {
        changed.push("type or name".to_owned());
    }
    changed.sort();
    changed.dedup();
    format!(
        "it asks for something else now ({}), and is used as it was added: retire it and add it again to follow",
        changed.join(", ")
    )
}
