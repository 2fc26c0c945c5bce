//! Owns which server stands behind an integration, and whether what it holds was compared with what we know. Never compares by itself.
//!
//! A server is told apart by its system identifier, its timeline and the moment its process began. The last of them changes with every
//! restart, and so also when an older copy with the same identifier and timeline takes the place of the server we knew.

use super::PostgresTarget;
use super::error::Trouble;
use super::pool::{Conn, For};
use super::render::lit;
use crate::domain::ErrorClass;
use crate::pg::Session;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Servers remembered per connector in the record, the latest ones.
const REMEMBERED: usize = 100;

/// Asks when the server's process began; no two begin in the same microsecond.
pub(super) const BEGAN: &str = "SELECT pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

/// One server, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    system: String,
    timeline: String,
    pub(super) began: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |text: &str| {
            let known = Some(text).filter(|text| !text.is_empty());
            known.unwrap_or("unknown").to_owned()
        };
        write!(
            f,
            "system {}, timeline {}, running since {}",
            or_unknown(&self.system),
            or_unknown(&self.timeline),
            self.began
        )
    }
}

impl Identity {
    /// Reads who answers. What a managed server does not let us read stays empty.
    pub(super) async fn read(session: &Session, began: String) -> Result<Self, Trouble> {
        const DOING: &str = "read the timeline";
        let system = session.system_identifier().await;
        let timeline = session
            .batch(
                DOING,
                "SELECT pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)",
            )
            .await;
        let system = unless_refused(system)?.flatten();
        let timeline =
            unless_refused(timeline)?.and_then(|answer| answer.text().map(str::to_owned));
        Ok(Self {
            system: system.unwrap_or_default(),
            timeline: timeline.unwrap_or_default(),
            began,
        })
    }

    fn values(&self, connector: &str) -> String {
        format!(
            "{}, {}, {}, {}",
            lit(connector),
            lit(&self.system),
            lit(&self.timeline),
            lit(&self.began)
        )
    }
}

/// An answer that says no is an answer; a lost connection is not.
fn unless_refused<T>(answer: Result<T, crate::pg::PgError>) -> Result<Option<T>, Trouble> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.sqlstate().is_some() && error.class() != ErrorClass::Transient => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which servers are in order.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Compared by this process.
    compared: Mutex<Option<Identity>>,
    /// Compared by another process, or before this one began; enough until the server changes under our eyes.
    trusted: Mutex<Option<Identity>>,
}

const COLUMNS: &str = "connector, system_identifier, timeline, began";

impl PostgresTarget {
    /// Names the server that was not compared by this process.
    pub(super) fn not_compared(&self) -> Option<Identity> {
        let server = self.pool.server()?;
        let compared = held(&self.comparison.compared);
        (compared.as_ref() != Some(&server)).then_some(server)
    }

    /// Tells whether the server changed under our eyes, or since the record says it was compared last.
    pub(super) async fn saw_another_server(&self, conn: &Conn<'_>) -> Result<bool, Trouble> {
        const DOING: &str = "look whether this server was compared";
        let Some(server) = self.not_compared() else {
            return Ok(false);
        };
        if held(&self.comparison.compared).is_some() {
            return Ok(true);
        }
        if held(&self.comparison.trusted).as_ref() == Some(&server) {
            return Ok(false);
        }
        let connector = self.settings.home.connector.as_str();
        // A record this connector never compared holds nothing it could have forgotten.
        let sql = format!(
            "SELECT 1 WHERE EXISTS (SELECT FROM apono.server WHERE ({COLUMNS}) = ({}))\n\
             OR NOT EXISTS (SELECT FROM apono.server WHERE connector = {})",
            server.values(connector),
            lit(connector)
        );
        let known = conn.batch(DOING, &sql).await?.text().is_some();
        if known {
            *held(&self.comparison.trusted) = Some(server);
        }
        Ok(!known)
    }

    /// Refuses a start on a server that may know less than we do: an end we acknowledged may be missing there.
    pub(super) async fn admit(&self, conn: &Conn<'_>) -> Result<(), Trouble> {
        if !self.saw_another_server(conn).await? {
            return Ok(());
        }
        let server = self.pool.server().map(|server| server.to_string());
        Err(Trouble::refused(
            ErrorClass::Conflict,
            "server_changed",
            format!(
                "another server answers than before ({}); what it holds is compared with the ledger first",
                server.unwrap_or_default()
            ),
        ))
    }

    /// Notes that nothing is owed for the server of this name any more, if it still answers.
    pub(super) async fn note_compared_if(&self, name: &str) -> Result<(), Trouble> {
        let conn = self.home(For::Work).await?;
        if let Some(server) = self
            .not_compared()
            .filter(|server| server.to_string() == name)
        {
            self.record(&conn, &server).await?;
            *held(&self.comparison.compared) = Some(server);
        }
        self.pool.put(conn);
        Ok(())
    }

    /// Takes a server as compared until it changes.
    pub(super) async fn trust(&self, conn: &Conn<'_>, server: Identity) -> Result<(), Trouble> {
        self.record(conn, &server).await?;
        *held(&self.comparison.trusted) = Some(server);
        Ok(())
    }

    async fn record(&self, conn: &Conn<'_>, server: &Identity) -> Result<(), Trouble> {
        let connector = self.settings.home.connector.as_str();
        let sql = format!(
            "BEGIN READ WRITE;\nINSERT INTO apono.server ({COLUMNS}) VALUES ({})\n\
             ON CONFLICT ({COLUMNS}) DO UPDATE SET compared_at = pg_catalog.clock_timestamp();\n\
             DELETE FROM apono.server WHERE connector = {connector} AND compared_at <\n\
             (SELECT compared_at FROM apono.server WHERE connector = {connector} ORDER BY compared_at DESC OFFSET {REMEMBERED} LIMIT 1);\nCOMMIT;\n",
            server.values(connector),
            connector = lit(connector),
        );
        conn.batch("note that this server was compared", &sql)
            .await
            .map(drop)
    }
}
