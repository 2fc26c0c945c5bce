//! Owns inventories: staged batch by batch, and counted only once the whole upload is in.

use super::row::{At, Id, from_json, json};
use super::{Store, Tx};
use crate::control::protocol::{InventoryReply, MAX_PAGE, ResourceRecord};
use crate::reference_plane::admin::InventoryPage;
use crate::reference_plane::{PlaneError, rules};
use jiff::SignedDuration;
use rusqlite::params;
use uuid::Uuid;

/// Rows of a replaced inventory removed in one transaction, so that nobody waits long.
const SWEEP: u32 = 5000;
/// How long an upload may stand still before its rows are removed.
const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Parts the names of a path in the sort key; no name we report holds it first.
const PART: &str = "\u{1}";

/// An upload under way.
#[derive(Debug, Clone)]
pub(in crate::reference_plane) struct Upload {
    id: Id,
    integration: Id,
    connector: String,
}

impl Store {
    /// Begins an upload. Rows of it count for nothing until it is committed.
    pub(in crate::reference_plane) fn begin_upload(
        &mut self,
        connector: &str,
        integration: Uuid,
    ) -> Result<Upload, PlaneError> {
        self.write(|tx| {
            let row = tx.integration_named(&integration.to_string())?;
            if row.connector != connector || row.state == "retired" {
                return Err(PlaneError::not_found(
                    "unknown_integration",
                    format!(
                        "integration `{integration}` is not assigned to connector `{connector}`"
                    ),
                ));
            }
            let id = Id(Uuid::now_v7());
            tx.exec(
                "INSERT INTO uploads (id, state, touched_at) VALUES (?1, 'open', ?2)",
                params![id, tx.now()],
            )?;
            Ok(Upload {
                id,
                integration: row.id,
                connector: row.connector,
            })
        })
    }

    /// Stages a batch.
    pub(in crate::reference_plane) fn stage(
        &mut self,
        upload: &Upload,
        batch: &[ResourceRecord],
    ) -> Result<(), PlaneError> {
        self.write(|tx| {
            tx.touch_upload(upload, "open")?;
            for record in batch {
                let place = format!("{}{PART}{PART}{}", record.path.join(PART), record.kind);
                let staged = tx.exec(
                    "INSERT INTO inventory (upload, id, place, record) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                    params![upload.id, record.id, place, json(record)?],
                )?;
                if staged == 0 {
                    return Err(PlaneError::invalid(
                        "duplicate_resource",
                        format!("resource `{}` comes twice in one upload", crate::domain::shown(&record.id)),
                    ));
                }
            }
            Ok(())
        })
    }

    /// Replaces the inventory with the upload, all at once.
    pub(in crate::reference_plane) fn commit_upload(
        &mut self,
        upload: &Upload,
        count: u64,
    ) -> Result<InventoryReply, PlaneError> {
        self.write(|tx| {
            tx.exec(
                "UPDATE uploads SET state = 'dropped'
                 WHERE id = (SELECT inventory_upload FROM integrations WHERE id = ?1)",
                params![upload.integration],
            )?;
            tx.touch_upload(upload, "current")?;
            let revision = tx.next_revision()?;
            tx.exec(
                "UPDATE integrations SET inventory_upload = ?2, inventory_revision = ?3, inventory_at = ?4,
                     inventory_count = ?5 WHERE id = ?1",
                params![upload.integration, upload.id, revision, tx.now(), count],
            )?;
            Ok(InventoryReply {
                header: tx.header(&upload.connector)?,
                revision: u64::try_from(revision).unwrap_or_default(),
            })
        })
    }

    /// Forgets an upload that broke off.
    pub(in crate::reference_plane) fn drop_upload(
        &mut self,
        upload: &Upload,
    ) -> Result<(), PlaneError> {
        self.write(|tx| {
            tx.exec(
                "UPDATE uploads SET state = 'dropped' WHERE id = ?1 AND state = 'open'",
                params![upload.id],
            )?;
            Ok(())
        })
    }

    /// Forgets what was under way when the process ended.
    pub(super) fn drop_open_uploads(&mut self) -> Result<(), PlaneError> {
        self.write(|tx| {
            tx.exec(
                "UPDATE uploads SET state = 'dropped' WHERE state = 'open'",
                params![],
            )?;
            Ok(())
        })
    }

    /// Removes some rows that count for nothing any more.
    pub(in crate::reference_plane) fn sweep_uploads(&mut self) -> Result<(), PlaneError> {
        self.write(|tx| {
            let silent = At(rules::later(tx.now, -SILENT_AFTER));
            let stale = tx.one(
                "SELECT id FROM uploads WHERE state = 'dropped' OR (state = 'open' AND touched_at < ?1) LIMIT 1",
                params![silent],
                |row| row.get::<_, Id>(0),
            )?;
            let Some(upload) = stale else { return Ok(()) };
            let removed = tx.exec(
                "DELETE FROM inventory WHERE upload = ?1 AND id IN
                     (SELECT id FROM inventory WHERE upload = ?1 LIMIT ?2)",
                params![upload, SWEEP],
            )?;
            if removed == 0 {
                tx.exec("DELETE FROM uploads WHERE id = ?1", params![upload])?;
            }
            Ok(())
        })
    }

    /// Reads a page of an inventory.
    pub(in crate::reference_plane) fn inventory_page(
        &mut self,
        integration: &str,
        offset: u64,
    ) -> Result<InventoryPage, PlaneError> {
        self.write(|tx| {
            let id = tx.integration_named(integration)?.id;
            let revision = tx.one(
                "SELECT inventory_revision FROM integrations WHERE id = ?1",
                params![id],
                |row| row.get(0),
            )?;
            let resources = tx.all(
                "SELECT record FROM inventory WHERE upload = (SELECT inventory_upload FROM integrations WHERE id = ?1)
                 ORDER BY upload, place, id LIMIT ?2 OFFSET ?3",
                params![id, MAX_PAGE, offset],
                |row| from_json(row, "record"),
            )?;
            let full = resources.len() == MAX_PAGE;
            Ok(InventoryPage {
                revision: revision.unwrap_or_default(),
                next: full.then_some(offset + MAX_PAGE as u64),
                resources,
            })
        })
    }
}

impl Tx<'_> {
    /// Notes that an upload goes on, unless it was dropped meanwhile.
    fn touch_upload(&self, upload: &Upload, state: &str) -> Result<(), PlaneError> {
        let touched = self.exec(
            "UPDATE uploads SET state = ?2, touched_at = ?3 WHERE id = ?1 AND state = 'open'",
            params![upload.id, state, self.now()],
        )?;
        if touched == 1 {
            return Ok(());
        }
        Err(PlaneError::conflict(
            "upload_dropped",
            "the upload stood still for too long and was dropped",
        ))
    }
}
