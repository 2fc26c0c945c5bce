//! Owns reading catalogs in pages, and names that may be anything. Never keeps more than one page.

use super::failed;
use crate::inventory::SourceError;
use crate::inventory::tags::parse_tags;
use crate::pg::{PgError, Row, Session, ToSql};
use std::collections::BTreeMap;

/// Longest comment that is reported, in characters.
const MAX_COMMENT: usize = 1_000;
/// Bytes of a comment the queries read, for its tags.
const READ_OF_COMMENT: usize = 4_000;

/// A long answer, read page by page in the order of oids. No transaction and no cursor stay open while somebody else is slow.
pub(super) struct Pages<'a> {
    session: &'a Session,
    note: &'static str,
    sql: &'static str,
    size: i64,
    after: Option<u32>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(
        size: i64,
        session: &'a Session,
        note: &'static str,
        sql: &'static str,
    ) -> Self {
        Self {
            session,
            note,
            sql,
            size,
            after: Some(0),
        }
    }

    pub(super) async fn next(
        &mut self,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Vec<Row>>, SourceError> {
        let Some(after) = self.after else {
            return Ok(None);
        };
        let database = &self.session.place().database;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&after, &self.size];
        params.extend_from_slice(more);
        let rows = self
            .session
            .query(self.note, self.sql, &params)
            .await
            .map_err(|source| failed(database, source))?;
        let full = i64::try_from(rows.len()).is_ok_and(|count| count >= self.size);
        self.after = match rows.last() {
            Some(last) if full => Some(last.get(0).map_err(|source| failed(database, source))?),
            _ => None,
        };
        Ok(Some(rows))
    }
}

/// What every one of the queries says first: oid, name, owner, comment.
pub(super) struct Found {
    pub(super) oid: u32,
    pub(super) name: Name,
    pub(super) owner: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
}

impl Found {
    pub(super) fn read(row: &Row) -> Result<Self, PgError> {
        let comment: Option<&[u8]> = row.get(3)?;
        let cut = comment.is_some_and(|bytes| bytes.len() >= READ_OF_COMMENT);
        let comment = comment.map(|bytes| String::from_utf8_lossy(bytes));
        Ok(Self {
            oid: row.get(0)?,
            name: Name::read(row, 1)?.unwrap_or_default(),
            owner: Name::read(row, 2)?.map(|owner| owner.text),
            tags: comment
                .as_deref()
                .map(|comment| parse_tags(comment, cut))
                .unwrap_or_default(),
            comment: comment.map(|comment| comment.chars().take(MAX_COMMENT).collect()),
        })
    }
}

/// A text as the server has it. Catalogs that all databases share have no encoding, so it may be anything.
#[derive(Default)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) exact: bool,
}

impl Name {
    pub(super) fn read(row: &Row, column: usize) -> Result<Option<Self>, PgError> {
        let bytes: Option<&[u8]> = row.get(column)?;
        Ok(bytes.map(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                exact: true,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                exact: false,
            },
        }))
    }
}
