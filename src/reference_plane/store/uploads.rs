//! Owns uploads of inventories under way: part by part, each taken once, staged until the last one is in. Never shows what is staged.

use super::row::{At, Id, json};
use super::{Store, Tx};
use crate::control::protocol::{InventoryBase, InventoryLine, InventoryReply};
use crate::domain::{ResourceKind, shown};
use crate::reference_plane::PlaneError;
use rusqlite::params;
use uuid::Uuid;

/// Most uploads of one integration that may be under way.
const MAX_OPEN: u32 = 8;
/// Longest id of a record, in bytes.
const MAX_ID: usize = 64;
/// Most paths an upload may name as unseen or replaced.
const MAX_SPANS: u32 = 10_000;
/// Parts the names of a path in the sort key; no name we report holds it first.
const PART: &str = "\u{1}";
/// Comes right after it.
const AFTER_PART: &str = "\u{2}";

/// An upload under way.
#[derive(Debug, Clone)]
pub(in crate::reference_plane) struct Upload {
    pub(super) id: Id,
    pub(super) integration: Id,
    pub(super) connector: String,
    /// Whether it holds only changes.
    pub(in crate::reference_plane) based: bool,
    /// How many lines came in the parts before.
    pub(in crate::reference_plane) lines: u64,
    part: u32,
    pub(super) begun_at: At,
}

/// What there is to do with a part.
#[derive(Debug)]
pub(in crate::reference_plane) enum Opened {
    /// It is awaited.
    Go(Upload),
    /// It arrived before; its lines need not be read again.
    Again(InventoryReply),
}

/// How a part ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reference_plane) enum PartEnd {
    /// Another part follows.
    More,
    /// The upload is complete.
    Commit,
}

impl Store {
    /// Begins an upload with its first part, or goes on with it.
    pub(in crate::reference_plane) fn open_part(
        &mut self,
        connector: &str,
        integration: Uuid,
        begin: (Uuid, u32, Option<InventoryBase>),
    ) -> Result<Opened, PlaneError> {
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
            let (id, part, base) = begin;
            let known = tx.one(
                "SELECT 1 FROM uploads WHERE id = ?1",
                params![Id(id)],
                |_| Ok(()),
            )?;
            if known.is_none() && part == 0 {
                tx.begin_upload(Id(id), row.id, connector, base)?;
            }
            tx.resume_upload(Id(id), row.id, connector, part)
        })
    }

    /// Stages lines.
    pub(in crate::reference_plane) fn stage(
        &mut self,
        upload: &Upload,
        batch: &[InventoryLine],
    ) -> Result<(), PlaneError> {
        self.write(|tx| {
            tx.touch_upload(upload)?;
            let current = tx.current_upload(upload.integration)?;
            for line in batch {
                tx.stage_line(upload, current, line)?;
            }
            Ok(())
        })
    }

    /// Takes note that a part has arrived, and commits the upload with its last one.
    pub(in crate::reference_plane) fn close_part(
        &mut self,
        upload: &Upload,
        lines: u64,
        end: PartEnd,
    ) -> Result<InventoryReply, PlaneError> {
        self.write(|tx| {
            let taken = tx.exec(
                "UPDATE uploads SET next = next + 1, lines = lines + ?3, touched_at = ?4
                 WHERE id = ?1 AND next = ?2 AND state = 'open'",
                params![upload.id, upload.part, lines, tx.now()],
            )?;
            if taken == 1 && end == PartEnd::Commit {
                tx.commit_upload(upload)?;
            }
            // It may have arrived twice at the same time.
            match tx.resume_upload(
                upload.id,
                upload.integration,
                &upload.connector,
                upload.part,
            )? {
                Opened::Again(reply) => Ok(reply),
                Opened::Go(_) => Err(lost()),
            }
        })
    }

    /// Forgets an upload that makes no sense.
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
}

impl Tx<'_> {
    fn begin_upload(
        &self,
        id: Id,
        integration: Id,
        connector: &str,
        base: Option<InventoryBase>,
    ) -> Result<(), PlaneError> {
        if let Some(base) = base {
            self.check_base(integration, base)?;
        }
        // The oldest make room; whoever sends them begins again.
        self.exec(
            "UPDATE uploads SET state = 'dropped' WHERE id IN
                 (SELECT id FROM uploads WHERE integration = ?1 AND state = 'open' ORDER BY touched_at DESC LIMIT -1 OFFSET ?2)",
            params![integration, MAX_OPEN - 1],
        )?;
        self.exec(
            "INSERT INTO uploads (id, integration, connector, state, base_epoch, base_revision, begun_at, touched_at)
             VALUES (?1, ?2, ?3, 'open', ?4, ?5, ?6, ?6)",
            params![
                id,
                integration,
                connector,
                base.map(|base| Id(base.epoch)),
                base.map(|base| base.revision),
                self.now()
            ],
        )?;
        Ok(())
    }

    fn resume_upload(
        &self,
        id: Id,
        integration: Id,
        connector: &str,
        part: u32,
    ) -> Result<Opened, PlaneError> {
        let row = self.one(
            "SELECT state, base_revision IS NOT NULL, lines, next, revision, begun_at FROM uploads
             WHERE id = ?1 AND integration = ?2 AND connector = ?3",
            params![id, integration, connector],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(3)?,
                    row.get(4)?,
                    Upload {
                        id,
                        integration,
                        connector: connector.to_owned(),
                        based: row.get(1)?,
                        lines: row.get(2)?,
                        part,
                        begun_at: row.get(5)?,
                    },
                ))
            },
        )?;
        match row {
            Some((state, next, _, upload)) if state == "open" && part == next => {
                Ok(Opened::Go(upload))
            }
            Some((state, next, revision, _)) if state != "dropped" && part < next => {
                Ok(Opened::Again(InventoryReply {
                    header: self.header(connector)?,
                    next,
                    revision: if part + 1 == next { revision } else { None },
                }))
            }
            _ => Err(lost()),
        }
    }

    /// Notes that an upload goes on, unless it was dropped meanwhile.
    fn touch_upload(&self, upload: &Upload) -> Result<(), PlaneError> {
        let touched = self.exec(
            "UPDATE uploads SET touched_at = ?2 WHERE id = ?1 AND state = 'open'",
            params![upload.id, self.now()],
        )?;
        if touched == 1 { Ok(()) } else { Err(lost()) }
    }

    fn stage_line(
        &self,
        upload: &Upload,
        current: Option<Id>,
        line: &InventoryLine,
    ) -> Result<(), PlaneError> {
        let (kind, id, place, record) = match line {
            InventoryLine::Upsert { resource } => {
                let path = resource.part.iter().chain(&resource.path);
                let path: Vec<_> = path.map(String::as_str).collect();
                let place = format!("{}{PART}{PART}{}", path.join(PART), resource.kind);
                ("resource", &resource.id, place, json(resource)?)
            }
            InventoryLine::Access { access } => {
                let holder = access.holder.as_deref().unwrap_or_default();
                let path = access.path.join(PART);
                // What is within a thing has one part more than the thing, and comes after it.
                let depth = if is_found_within(&access.kind) {
                    ""
                } else {
                    PART
                };
                let place = format!("{path}{PART}{depth}{}{PART}{holder}", access.kind);
                ("access", &access.id, place, json(access)?)
            }
            InventoryLine::Delete { id } => {
                self.exec(
                    "INSERT INTO inventory_deletes (upload, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    params![upload.id, check_id(id)?],
                )?;
                return Ok(());
            }
            InventoryLine::Unseen { under } => return self.stage_span(upload, "unseen", under),
            InventoryLine::Replace { under } => return self.stage_span(upload, "replaced", under),
            InventoryLine::Begin { .. }
            | InventoryLine::More { .. }
            | InventoryLine::Commit { .. } => return Ok(()),
        };
        self.exec(
            "INSERT INTO inventory (upload, id, kind, place, record, first_seen_at, changed_at)
             VALUES (?1, ?2, ?3, ?4, ?5,
                 coalesce((SELECT first_seen_at FROM inventory WHERE upload = ?7 AND id = ?2), ?6),
                 coalesce((SELECT changed_at FROM inventory
                     WHERE upload = ?7 AND id = ?2 AND record = ?5 AND gone_at IS NULL), ?6))
             ON CONFLICT DO UPDATE SET kind = excluded.kind, place = excluded.place, record = excluded.record,
                 first_seen_at = excluded.first_seen_at, changed_at = excluded.changed_at",
            params![upload.id, check_id(id)?, kind, place, record, upload.begun_at, current],
        )?;
        Ok(())
    }

    fn stage_span(&self, upload: &Upload, kind: &str, under: &[String]) -> Result<(), PlaneError> {
        if under.is_empty() {
            let problem = "`under` is empty, must name what it is about";
            return Err(PlaneError::invalid("invalid_upload", problem));
        }
        let count = self.one(
            "SELECT count(*) FROM inventory_spans WHERE upload = ?1",
            params![upload.id],
            |row| row.get(0),
        )?;
        if count.unwrap_or(0_u32) >= MAX_SPANS {
            return Err(PlaneError::refuse(
                413,
                "too_many_spans",
                format!("an upload names at most {MAX_SPANS} paths as unseen or replaced"),
            ));
        }
        // What lies within comes after the first part that is no end of a path, and before the next sibling.
        let path = under.join(PART);
        self.exec(
            "INSERT INTO inventory_spans (upload, kind, low, high) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![
                upload.id,
                kind,
                format!("{path}{PART}{AFTER_PART}"),
                format!("{path}{AFTER_PART}")
            ],
        )?;
        Ok(())
    }

    /// Finds the upload whose rows are the inventory.
    pub(super) fn current_upload(&self, integration: Id) -> Result<Option<Id>, PlaneError> {
        let current = self.one(
            "SELECT inventory_upload FROM integrations WHERE id = ?1",
            params![integration],
            |row| row.get(0),
        )?;
        Ok(current.flatten())
    }

    /// Refuses changes to anything but the inventory as it is.
    pub(super) fn check_base(
        &self,
        integration: Id,
        base: InventoryBase,
    ) -> Result<(), PlaneError> {
        let revision = self.one(
            "SELECT inventory_revision FROM integrations WHERE id = ?1 AND inventory_upload IS NOT NULL",
            params![integration],
            |row| row.get(0),
        )?;
        if base.epoch == self.epoch && revision == Some(base.revision) {
            return Ok(());
        }
        Err(PlaneError::conflict(
            "unknown_base",
            "the inventory is not, or no longer, the one the changes are based on",
        )
        .hint("send a full upload, without `base`"))
    }
}

fn check_id(id: &str) -> Result<&str, PlaneError> {
    if (1..=MAX_ID).contains(&id.len()) {
        return Ok(id);
    }
    Err(PlaneError::invalid(
        "invalid_line",
        format!("an id is `{}`, must have 1 to {MAX_ID} bytes", shown(id)),
    ))
}

fn lost() -> PlaneError {
    PlaneError::conflict(
        "upload_lost",
        "the upload is not known, stood still for too long, or misses a part",
    )
    .hint("begin a new upload")
}

/// Tells whether those who have access to a thing of a type are found by looking into it.
fn is_found_within(kind: &str) -> bool {
    ResourceKind::parse(kind).is_ok_and(ResourceKind::has_access_within)
}
