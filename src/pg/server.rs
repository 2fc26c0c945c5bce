//! Owns what a session knows about its server. Never decides anything from it.

use super::{PgError, Session};

/// What was true when the session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As in `server_version_num`: 150018 is 15.18.
    pub version_num: u32,
    /// Whether this is a replica.
    pub in_recovery: bool,
    /// Who we logged in as.
    pub session_user: String,
    /// Which database we are in.
    pub database: String,
    /// The process that serves us.
    pub backend_pid: i32,
    /// Whether our own side of the connection speaks TLS.
    pub encrypted: bool,
    /// Whether a connection pooler is in between, which then is one that keeps the process for the whole session.
    pub pooled: bool,
}

impl Server {
    /// Returns the major version: 13, 14 and so on.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Asks for everything in one row of five columns.
    pub(super) const QUESTION: &'static str = "SELECT pg_catalog.current_setting('server_version_num'), \
         pg_catalog.pg_is_in_recovery(), session_user, \
         pg_catalog.current_database(), pg_catalog.pg_backend_pid()";

    pub(super) fn from_answer(row: &[Option<String>]) -> Option<Self> {
        let [version, recovery, user, database, pid] = row else {
            return None;
        };
        Some(Self {
            version_num: version.as_deref()?.parse().ok()?,
            in_recovery: recovery.as_deref()? == "t",
            session_user: user.clone()?,
            database: database.clone()?,
            backend_pid: pid.as_deref()?.parse().ok()?,
            encrypted: false,
            pooled: false,
        })
    }
}

impl Session {
    /// Returns the number that names the cluster for its whole life, or nothing where the server does not let us read it.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn system_identifier(&self) -> Result<Option<String>, PgError> {
        let answer = self
            .query_opt(
                "read the system identifier",
                "SELECT system_identifier::text FROM pg_catalog.pg_control_system()",
                &[],
            )
            .await;
        match answer {
            Ok(row) => row.map(|row| row.get(0)).transpose(),
            Err(error) if error.sqlstate() == Some("42501") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns who we act as at the moment, which `SET ROLE` changes.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn current_user(&self) -> Result<String, PgError> {
        let rows = self
            .batch("read the current role", "SELECT current_user")
            .await?;
        Ok(rows.text().unwrap_or_default().to_owned())
    }
}
