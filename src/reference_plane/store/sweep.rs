//! Owns the removal of what uploads of inventories leave behind, a little at a time. Never removes what counts.

use super::row::{At, Id};
use super::{Store, Tx};
use crate::reference_plane::{PlaneError, rules};
use jiff::SignedDuration;
use rusqlite::params;

/// Rows dealt with in one transaction, so that nobody waits long.
const SOME: u32 = 5000;
/// How long an upload may stand still, and how long one that was merged can still be asked about.
const SILENT_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// How long what is gone is shown.
const GONE_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

impl Store {
    /// Removes some rows that count for nothing any more.
    pub(in crate::reference_plane) fn sweep_uploads(&mut self) -> Result<(), PlaneError> {
        self.write(|tx| {
            tx.exec(
                "UPDATE uploads SET state = 'dropped' WHERE state IN ('open', 'merged') AND touched_at < ?1",
                params![At(rules::later(tx.now, -SILENT_AFTER))],
            )?;
            tx.bring_over_what_is_gone()?;
            tx.remove_dropped()?;
            tx.exec(
                "DELETE FROM inventory WHERE (upload, id) IN
                     (SELECT i.upload, i.id FROM inventory AS i JOIN uploads AS u ON u.id = i.upload
                      WHERE u.state = 'current' AND i.gone_at < ?1 LIMIT ?2)",
                params![At(rules::later(tx.now, -GONE_KEPT)), SOME],
            )?;
            Ok(())
        })
    }
}

impl Tx<'_> {
    /// Takes rows of an inventory that was replaced into the one in its place, as gone, where that does not have them.
    fn bring_over_what_is_gone(&self) -> Result<(), PlaneError> {
        let replaced = self.one(
            "SELECT u.id, u.touched_at, i.inventory_upload FROM uploads AS u JOIN integrations AS i ON i.id = u.integration
             WHERE u.state = 'replaced' LIMIT 1",
            params![],
            |row| Ok((row.get::<_, Id>(0)?, row.get::<_, At>(1)?, row.get::<_, Option<Id>>(2)?)),
        )?;
        let Some((old, at, current)) = replaced else {
            return Ok(());
        };
        self.exec(
            "INSERT OR IGNORE INTO inventory (upload, id, kind, place, record, first_seen_at, changed_at, gone_at)
             SELECT ?2, id, kind, place, record, first_seen_at, changed_at, coalesce(gone_at, ?3) FROM inventory
             WHERE upload = ?1 AND ?2 IS NOT NULL ORDER BY id LIMIT ?4",
            params![old, current, at, SOME],
        )?;
        self.remove_some(old)
    }

    fn remove_dropped(&self) -> Result<(), PlaneError> {
        let dropped = self.one(
            "SELECT id FROM uploads WHERE state = 'dropped' LIMIT 1",
            params![],
            |row| row.get::<_, Id>(0),
        )?;
        dropped.map_or(Ok(()), |upload| self.remove_some(upload))
    }

    /// Removes the first rows of an upload; with the last ones the upload itself.
    fn remove_some(&self, upload: Id) -> Result<(), PlaneError> {
        let mut removed = 0;
        for sql in [
            "DELETE FROM inventory WHERE upload = ?1 AND id IN
                 (SELECT id FROM inventory WHERE upload = ?1 ORDER BY id LIMIT ?2)",
            "DELETE FROM inventory_deletes WHERE upload = ?1 AND id IN
                 (SELECT id FROM inventory_deletes WHERE upload = ?1 ORDER BY id LIMIT ?2)",
            "DELETE FROM inventory_spans WHERE upload = ?1 AND (kind, low) IN
                 (SELECT kind, low FROM inventory_spans WHERE upload = ?1 LIMIT ?2)",
        ] {
            removed += self.exec(sql, params![upload, SOME])?;
        }
        if removed == 0 {
            self.exec("DELETE FROM uploads WHERE id = ?1", params![upload])?;
        }
        Ok(())
    }
}
