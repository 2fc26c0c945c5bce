//! Owns naming who may hold what one of our statements waited for in vain. Never waits itself, and never changes what went wrong.

use super::PostgresTarget;
use super::error::Trouble;
use super::pool::For;
use super::rows::{Line, Rows};
use crate::domain::shown;

/// Holders named in one error.
const NAMED: usize = 3;
/// Longest list of one holder's locks, in characters.
const MAX_LOCKS: usize = 200;

impl PostgresTarget {
    /// Adds who was in the way to a lock that did not come. The error stays as it is where nobody can be named.
    pub(super) async fn with_blockers(&self, purpose: For, error: Trouble) -> Trouble {
        if !error.is_lock() {
            return error;
        }
        match self.blockers(purpose).await {
            Ok(holders) if !holders.is_empty() => {
                let who: Vec<_> = holders.iter().map(|holder| holder.who.as_str()).collect();
                let ends: Vec<_> = holders.iter().map(|holder| holder.fix.as_str()).collect();
                Trouble::InTheWay {
                    source: Box::new(error),
                    who: who.join(", and "),
                    fix: format!(
                        "wait for the end of that transaction, or end it as a superuser: {}",
                        ends.join(" ")
                    ),
                }
            }
            Ok(_) => error,
            Err(unknown) => {
                tracing::debug!(
                    error = &unknown as &dyn std::error::Error,
                    "who was in the way is not known"
                );
                error
            }
        }
    }

    async fn blockers(&self, purpose: For) -> Result<Vec<Holder>, Trouble> {
        const DOING: &str = "look who is in the way";
        // The record itself may be what is locked, so it is not looked at first.
        let conn = self.pool.home(purpose).await?;
        let rows = Rows::of(DOING, conn.batch(DOING, &question()).await?);
        self.pool.put(conn);
        rows.tagged("holder").map(Holder::read).collect()
    }
}

/// One session that holds locks on what we work with.
struct Holder {
    who: String,
    fix: String,
}

impl Holder {
    fn read(line: Line<'_>) -> Result<Self, Trouble> {
        let pid = line.number(0)?;
        let user = line.maybe(1).unwrap_or("nobody");
        // Names in it are quoted by the server.
        let locks = line.text(3)?.chars().filter(|c| !c.is_control());
        let locks: String = locks.take(MAX_LOCKS).collect();
        Ok(Self {
            who: format!(
                "process {pid} of `{}` (application `{}`), which holds {locks}",
                shown(user),
                shown(line.text(2)?),
            ),
            fix: format!("SELECT pg_terminate_backend({pid});"),
        })
    }
}

/// Sessions with a lock on our record or on the catalogs of roles that can be in somebody's way, and that do not wait themselves. Row
/// locks show as the lock on their table that comes before them.
fn question() -> String {
    format!(
        "SELECT 'holder', l.pid, a.usename, COALESCE(a.application_name, ''), pg_catalog.string_agg(DISTINCT l.mode || ' on ' || l.what, ', ')\n\
         FROM (SELECT pid, mode, relation::pg_catalog.regclass::text AS what FROM pg_catalog.pg_locks\n\
          WHERE granted AND locktype = 'relation' AND mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')\n\
          AND database IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))\n\
          AND (relation IN ('pg_catalog.pg_authid'::pg_catalog.regclass, 'pg_catalog.pg_auth_members'::pg_catalog.regclass)\n\
           OR relation IN (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace\n\
            WHERE n.nspname = 'apono' AND c.relkind = 'r'))\n\
          UNION ALL SELECT pid, mode, 'role ' || objid::pg_catalog.regrole::text FROM pg_catalog.pg_locks\n\
          WHERE granted AND locktype = 'object' AND classid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND mode <> 'AccessShareLock') l\n\
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.pid <> pg_catalog.pg_backend_pid()\n\
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks w WHERE w.pid = l.pid AND NOT w.granted)\n\
         GROUP BY l.pid, a.usename, a.application_name ORDER BY l.pid LIMIT {NAMED};\n"
    )
}
