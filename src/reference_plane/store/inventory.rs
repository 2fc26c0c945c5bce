//! Owns inventories: a complete upload changes one all at once; what is gone is kept for a while, with its age. Never shows half an upload.

use super::row::{At, Id, from_json};
use super::uploads::Upload;
use super::{Store, Tx};
use crate::control::protocol::{AccessSpec, InventoryBase, MAX_PAGE};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{
    AccessPage, Age, InventoryEntry, InventoryPage, StandingAccess,
};
use rusqlite::{Row, params};

/// The first place of a span, and the first after it.
type Span = (String, String);

impl Tx<'_> {
    /// Makes an upload count.
    pub(super) fn commit_upload(&self, upload: &Upload) -> Result<(), PlaneError> {
        let current = self.current_upload(upload.integration)?;
        self.date_unseen(upload, current)?;
        let into = match current {
            Some(current) if upload.based => {
                self.check_base(upload.integration, self.base_of(upload)?)?;
                self.merge(upload, current)?;
                current
            }
            _ => {
                self.replace(upload, current)?;
                upload.id
            }
        };
        let revision = self.next_revision()?;
        let state = if into == upload.id {
            "current"
        } else {
            "merged"
        };
        self.exec(
            "UPDATE uploads SET state = ?2, revision = ?3 WHERE id = ?1",
            params![upload.id, state, revision],
        )?;
        self.exec(
            "UPDATE integrations SET inventory_upload = ?2, inventory_revision = ?3, inventory_at = ?4,
                 inventory_count = (SELECT count(*) FROM inventory
                     WHERE upload = ?2 AND kind = 'resource' AND gone_at IS NULL)
             WHERE id = ?1",
            params![upload.integration, into, revision, upload.begun_at],
        )?;
        self.follow_discovered(upload.integration, into)
    }

    fn base_of(&self, upload: &Upload) -> Result<InventoryBase, PlaneError> {
        let base = self.one(
            "SELECT base_epoch, base_revision FROM uploads WHERE id = ?1",
            params![upload.id],
            |row| {
                Ok(InventoryBase {
                    epoch: row.get::<_, Id>(0)?.0,
                    revision: row.get(1)?,
                })
            },
        )?;
        base.ok_or_else(|| PlaneError::Damaged("an upload has no base".to_owned()))
    }

    /// Notes when that was last looked at which could not be looked at now.
    fn date_unseen(&self, upload: &Upload, current: Option<Id>) -> Result<(), PlaneError> {
        self.exec(
            "UPDATE inventory_spans AS now SET seen_at = coalesce(
                 (SELECT seen_at FROM inventory_spans AS before
                     WHERE before.upload = ?2 AND before.kind = 'unseen' AND before.low = now.low),
                 (SELECT inventory_at FROM integrations WHERE id = ?3))
             WHERE upload = ?1 AND kind = 'unseen'",
            params![upload.id, current, upload.integration],
        )?;
        Ok(())
    }

    /// Changes the inventory by what the upload holds.
    fn merge(&self, upload: &Upload, current: Id) -> Result<(), PlaneError> {
        const GONE: &str = "UPDATE inventory SET gone_at = ?3 WHERE upload = ?1 AND gone_at IS NULL
             AND id NOT IN (SELECT id FROM inventory WHERE upload = ?2)
             AND NOT EXISTS (SELECT 1 FROM inventory_spans AS s
                 WHERE s.upload = ?2 AND s.kind = 'unseen' AND place >= s.low AND place < s.high)";
        self.exec(
            &format!("{GONE} AND id IN (SELECT id FROM inventory_deletes WHERE upload = ?2)"),
            params![current, upload.id, upload.begun_at],
        )?;
        for (low, high) in self.spans(upload.id, "replaced")? {
            self.exec(
                &format!(
                    "{GONE} AND kind IN ('resource', 'access') AND place >= ?4 AND place < ?5"
                ),
                params![current, upload.id, upload.begun_at, low, high],
            )?;
        }
        self.exec(
            "INSERT OR REPLACE INTO inventory (upload, id, kind, place, record, first_seen_at, changed_at)
             SELECT ?1, id, kind, place, record, first_seen_at, changed_at FROM inventory WHERE upload = ?2",
            params![current, upload.id],
        )?;
        for sql in [
            "DELETE FROM inventory WHERE upload = ?1",
            "DELETE FROM inventory_deletes WHERE upload = ?1",
            "DELETE FROM inventory_spans WHERE upload = ?1 AND kind <> 'unseen'",
        ] {
            self.exec(sql, params![upload.id])?;
        }
        self.exec(
            "DELETE FROM inventory_spans WHERE upload = ?1",
            params![current],
        )?;
        self.exec(
            "UPDATE inventory_spans SET upload = ?1 WHERE upload = ?2",
            params![current, upload.id],
        )?;
        Ok(())
    }

    /// Puts the upload in the inventory's place, with what it could not look at taken over. What else was there is gone; the sweep
    /// brings it over as such.
    fn replace(&self, upload: &Upload, current: Option<Id>) -> Result<(), PlaneError> {
        let newer = self.one(
            "SELECT 1 FROM integrations WHERE id = ?1 AND inventory_at > ?2",
            params![upload.integration, upload.begun_at],
            |_| Ok(()),
        )?;
        if newer.is_some() {
            return Err(PlaneError::conflict(
                "overtaken",
                "an upload that was begun later was committed already",
            ));
        }
        let Some(current) = current else {
            return Ok(());
        };
        for (low, high) in self.spans(upload.id, "unseen")? {
            self.exec(
                "INSERT OR IGNORE INTO inventory (upload, id, kind, place, record, first_seen_at, changed_at)
                 SELECT ?2, id, kind, place, record, first_seen_at, changed_at FROM inventory
                 WHERE upload = ?1 AND gone_at IS NULL AND kind IN ('resource', 'access')
                     AND place >= ?3 AND place < ?4",
                params![current, upload.id, low, high],
            )?;
        }
        self.exec(
            "UPDATE uploads SET state = 'replaced', touched_at = ?2 WHERE id = ?1",
            params![current, upload.begun_at],
        )?;
        Ok(())
    }

    fn spans(&self, upload: Id, kind: &str) -> Result<Vec<Span>, PlaneError> {
        self.all(
            "SELECT low, high FROM inventory_spans WHERE upload = ?1 AND kind = ?2",
            params![upload, kind],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    fn page<T>(
        &self,
        sql: &str,
        integration: &str,
        offset: u64,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<(u64, Vec<T>, Option<u64>), PlaneError> {
        let id = self.integration_named(integration)?.id;
        let inventory = self.one(
            "SELECT inventory_revision, inventory_upload, inventory_at FROM integrations WHERE id = ?1",
            params![id],
            |row| Ok((row.get(0)?, row.get::<_, Option<Id>>(1)?, row.get::<_, Option<At>>(2)?)),
        )?;
        let Some((revision, Some(upload), at)) = inventory else {
            return Ok((0, Vec::new(), None));
        };
        let rows = self.all(sql, params![upload, at, MAX_PAGE, offset], read)?;
        let full = rows.len() == MAX_PAGE;
        Ok((revision, rows, full.then_some(offset + MAX_PAGE as u64)))
    }
}

/// What the pages say of each row: ?1 upload, ?2 when the last walk began, ?3 size, ?4 how many to pass over.
macro_rules! page_sql {
    ($which:literal) => {
        concat!(
            "SELECT record, first_seen_at, changed_at, gone_at,
                 coalesce(gone_at, (SELECT coalesce(s.seen_at, 0) FROM inventory_spans AS s WHERE s.upload = i.upload
                     AND s.kind = 'unseen' AND i.place >= s.low AND i.place < s.high), ?2) AS seen_at
             FROM inventory AS i WHERE upload = ?1 AND ",
            $which,
            " LIMIT ?3 OFFSET ?4"
        )
    };
}

impl Store {
    /// Reads a page of an inventory, of what exists or of what is gone.
    pub(in crate::reference_plane) fn inventory_page(
        &mut self,
        integration: &str,
        offset: u64,
        gone: bool,
    ) -> Result<InventoryPage, PlaneError> {
        let sql = if gone {
            page_sql!("kind = 'resource' AND gone_at IS NOT NULL ORDER BY place, id")
        } else {
            page_sql!("kind = 'resource' AND gone_at IS NULL ORDER BY place, id")
        };
        self.write(|tx| {
            let (revision, resources, next) = tx.page(sql, integration, offset, |row| {
                let mut entry = InventoryEntry {
                    resource: from_json(row, "record")?,
                    age: age(row)?,
                };
                if gone {
                    "deleted".clone_into(&mut entry.resource.status);
                }
                Ok(entry)
            })?;
            Ok(InventoryPage {
                revision,
                resources,
                next,
            })
        })
    }

    /// Reads a page of who has access already.
    pub(in crate::reference_plane) fn access_page(
        &mut self,
        integration: &str,
        offset: u64,
    ) -> Result<AccessPage, PlaneError> {
        let sql = page_sql!("kind = 'access' AND gone_at IS NULL ORDER BY place, id");
        self.write(|tx| {
            let (revision, access, next) = tx.page(sql, integration, offset, |row| {
                Ok(StandingAccess {
                    access: from_json::<AccessSpec>(row, "record")?,
                    age: age(row)?,
                })
            })?;
            Ok(AccessPage {
                revision,
                access,
                next,
            })
        })
    }
}

fn age(row: &Row<'_>) -> rusqlite::Result<Age> {
    let at = |column| row.get::<_, At>(column).map(|at| at.0);
    Ok(Age {
        first_seen_at: at("first_seen_at")?,
        changed_at: at("changed_at")?,
        seen_at: at("seen_at")?,
        gone_at: row.get::<_, Option<At>>("gone_at")?.map(|at| at.0),
    })
}
