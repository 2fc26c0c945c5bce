//! Owns the full comparison of a server with what is known of ended grants: what carries our mark and is not live is closed, ends that
//! are missing are named. Never gives a person anything.

use super::PostgresTarget;
use super::error::Trouble;
use super::pool::{Conn, For};
use super::render::{lit, texts};
use super::rows::Rows;
use super::sessions::{self, Which};
use crate::domain::{ErrorClass, GrantId};
use crate::targets::MissingEnd;

/// Ended grants asked for in one message.
const IDS_PER_MESSAGE: usize = 1_000;
/// Rounds of mending; each is bounded, and a server where this is not enough is gone on with at the next call.
const ROUNDS: usize = 40;
/// Logins whose old sessions are ended in one comparison.
const LOGINS: usize = 1_000;

impl PostgresTarget {
    /// Closes what is ours and not live, and names the ends that are not on record.
    pub(super) async fn compare_with(&self, ended: &[GrantId]) -> Result<Vec<MissingEnd>, Trouble> {
        let home = self.home(For::Work).await?;
        let mut notes = Vec::new();
        let mut rounds = 0;
        loop {
            let before = notes.len();
            self.close_unbacked(&home, &mut notes).await?;
            if notes.len() == before {
                break;
            }
            rounds += 1;
            if rounds > ROUNDS {
                return Err(Trouble::refused(
                    ErrorClass::Conflict,
                    "comparison_goes_on",
                    "more than one comparison can close carries our mark without a live grant, it goes on with the next",
                ));
            }
        }
        for note in notes {
            tracing::warn!("found in the comparison with the record: {note}");
        }
        if self.saw_another_server(&home).await? {
            self.end_old_sessions(&home).await?;
        }
        let mut missing = Vec::new();
        for ids in ended.chunks(IDS_PER_MESSAGE) {
            missing.append(&mut missing_ends(&home, ids).await?);
        }
        self.pool.put(home);
        Ok(missing)
    }

    /// A session of a replica lives on when the replica becomes the primary: those that began before an end keep what it took.
    async fn end_old_sessions(&self, home: &Conn<'_>) -> Result<(), Trouble> {
        const DOING: &str = "look for sessions older than an end";
        let sql = format!(
            "SELECT DISTINCT 'login', l.name FROM pg_catalog.pg_stat_activity a JOIN apono.login l ON l.name = a.usename AND l.connector = {}\n\
             WHERE EXISTS (SELECT FROM apono.\"grant\" g WHERE g.login = l.name AND g.ended_at > COALESCE(a.backend_start, '-infinity'))\n\
             LIMIT {LOGINS}",
            lit(self.settings.home.connector.as_str())
        );
        let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
        for line in rows.tagged("login") {
            sessions::end(home, line.text(0)?, Which::Present).await?;
        }
        Ok(())
    }
}

async fn missing_ends(home: &Conn<'_>, ids: &[GrantId]) -> Result<Vec<MissingEnd>, Trouble> {
    const DOING: &str = "look for ends that are not on record";
    let ids: Vec<String> = ids.iter().map(|id| id.as_uuid().to_string()).collect();
    let sql = format!(
        "SELECT 'missing', asked.id, (g.ended_at IS NULL)::text FROM pg_catalog.unnest({}::uuid[]) AS asked (id)\n\
         LEFT JOIN apono.\"grant\" g ON g.id = asked.id\n\
         WHERE (g.ended_at IS NULL OR g.closed_at IS NULL) AND NOT EXISTS (SELECT FROM apono.history h WHERE h.id = asked.id)",
        texts(ids.iter().map(String::as_str))
    );
    let rows = Rows::of(DOING, home.batch(DOING, &sql).await?);
    rows.tagged("missing")
        .map(|line| {
            Ok(MissingEnd {
                grant: GrantId::parse(line.text(0)?)
                    .map_err(|_| Trouble::Answer { doing: DOING })?,
                is_open: line.yes(1)?,
            })
        })
        .collect()
}
