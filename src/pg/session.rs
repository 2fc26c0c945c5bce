//! Owns one logged-in connection. Never sends a statement without a note, a time limit and a fixed search path.

use super::driver::{Shared, Warning, start};
use super::error::of_call;
use super::options::Limits;
use super::{
    ConnectOptions, Ident, Literal, PgError, Place, Row, Server, addresses, connect, pooler,
};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Longest time from nothing to a session that is ready.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A logged-in connection.
///
/// # Contract
/// - Calls run one after another; each is bounded by [`Limits::call`].
/// - A call that is not waited for to its end closes the session, because nobody knows then what state it is in.
/// - Dropping the session closes the connection; an open transaction is rolled back by the server.
pub struct Session {
    client: Client,
    shared: Arc<Shared>,
    place: Arc<Place>,
    limits: Limits,
    server: Server,
    /// One call at a time, so that warnings belong to it.
    turn: Mutex<()>,
}

/// What came back from several statements in one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// The rows of all statements, in order, as text.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows each statement changed or returned.
    pub affected: Vec<u64>,
    /// What the server said besides.
    pub warnings: Vec<Warning>,
}

impl BatchOutcome {
    /// Returns the first column of the first row.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

impl Session {
    /// Connects with the usual limits.
    ///
    /// # Errors
    /// See [`PgError`]; bounded by 5 s.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, PgError> {
        Self::connect_within(options, Limits::default()).await
    }

    /// Connects with limits of the caller's.
    ///
    /// # Errors
    /// See [`PgError`]; bounded by 5 s.
    pub async fn connect_within(options: &ConnectOptions, limits: Limits) -> Result<Self, PgError> {
        let place = Arc::new(Place {
            host: options.host.clone(),
            port: options.port,
            database: options.database.clone(),
            user: options.user.clone(),
        });
        check_names(options, &place)?;
        let opened = Box::pin(addresses::first_that_serves(
            options,
            limits,
            &place,
            CONNECT_LIMIT,
        ));
        match tokio::time::timeout(CONNECT_LIMIT, opened).await {
            Ok(session) => session,
            Err(_) => Err(PgError::Timeout {
                place,
                note: "connect",
                limit: CONNECT_LIMIT,
            }),
        }
    }

    /// Opens a session at one address. The caller bounds the time and has checked the names.
    pub(super) async fn open(
        options: &ConnectOptions,
        limits: Limits,
        place: &Arc<Place>,
        address: SocketAddr,
    ) -> Result<Self, PgError> {
        let (mut session, announced) = Self::bare(options, limits, place, address).await?;
        let encrypted = session.server.encrypted;
        session.server = session.set_up(announced).await?;
        let pid = session.server.backend_pid;
        if announced != Some(pid) {
            let (other, _) = Self::bare(options, limits, place, address).await?;
            if pooler::shares_processes(&session, &other).await? {
                return Err(PgError::TransactionPooler {
                    place: Arc::clone(place),
                });
            }
            session.server = session.set_up(Some(pid)).await?;
            session.server.pooled = true;
        }
        session.server.encrypted = encrypted;
        Ok(session)
    }

    /// Logs in and no more. Also says which process the other side calls its own.
    async fn bare(
        options: &ConnectOptions,
        limits: Limits,
        place: &Arc<Place>,
        address: SocketAddr,
    ) -> Result<(Self, Option<i32>), PgError> {
        let opened = connect::open(options, address, place).await?;
        let shared = Arc::new(Shared::default());
        start(opened.connection, Arc::clone(&shared));
        let session = Self {
            client: opened.client,
            shared,
            place: Arc::clone(place),
            limits,
            server: Server {
                version_num: 0,
                in_recovery: false,
                session_user: options.user.clone(),
                database: options.database.clone(),
                backend_pid: 0,
                encrypted: opened.encrypted,
                pooled: false,
            },
            turn: Mutex::new(()),
        };
        Ok((session, opened.announced_pid))
    }

    /// Makes the session ours, if it is with this process.
    async fn set_up(&self, with: Option<i32>) -> Result<Server, PgError> {
        const DOING: &str = "set up the session";
        let answer = self.batch(DOING, &set_up(self.limits, with)).await?;
        answer
            .rows
            .last()
            .and_then(|row| Server::from_answer(row))
            .ok_or_else(|| PgError::Mismatch {
                place: Arc::clone(&self.place),
                note: DOING,
                source: "the server did not describe itself".into(),
            })
    }

    /// Returns what was true of the server when the session began.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns where this session is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Tells whether the connection is known to be gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.shared.cut.is_cancelled()
    }

    /// Runs one statement with parameters and returns its rows. A failure leaves an open transaction as it is: failed.
    ///
    /// # Errors
    /// See [`PgError`].
    pub async fn query(
        &self,
        note: &'static str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PgError> {
        let rows = self.call(note, self.client.query(sql, params)).await?;
        Ok(rows
            .into_iter()
            .map(|row| Row {
                row,
                place: Arc::clone(&self.place),
                note,
            })
            .collect())
    }

    /// Runs one statement with parameters and returns its first row, if there is one.
    ///
    /// # Errors
    /// See [`PgError`].
    pub async fn query_opt(
        &self,
        note: &'static str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, PgError> {
        Ok(self.query(note, sql, params).await?.into_iter().next())
    }

    /// Runs one statement with parameters and returns how many rows it touched.
    ///
    /// # Errors
    /// See [`PgError`].
    pub async fn execute(
        &self,
        note: &'static str,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, PgError> {
        self.call(note, self.client.execute(sql, params)).await
    }

    /// Runs several statements sent as one message. A failing one ends the message; if the message opened a transaction, it
    /// is rolled back before this returns.
    ///
    /// # Errors
    /// See [`PgError`].
    pub async fn batch(&self, note: &'static str, sql: &str) -> Result<BatchOutcome, PgError> {
        self.batch_within(self.limits.call, note, sql).await
    }

    /// Like [`Session::batch`], with a limit of its own for the call.
    ///
    /// # Errors
    /// See [`PgError`].
    pub async fn batch_within(
        &self,
        limit: Duration,
        note: &'static str,
        sql: &str,
    ) -> Result<BatchOutcome, PgError> {
        let _turn = self.turn.lock().await;
        match self.run(limit, note, self.client.simple_query(sql)).await {
            Ok((messages, warnings)) => Ok(outcome(messages, warnings)),
            Err(error) => {
                if matches!(error, PgError::Statement { .. }) {
                    self.leave_transaction().await;
                }
                Err(error)
            }
        }
    }

    /// Tells whether the other side answers in time; if not, the session is closed. Only without an open transaction.
    pub async fn answers_within(&self, limit: Duration) -> bool {
        self.batch_within(limit, "see whether the server answers", "SELECT 1")
            .await
            .is_ok()
    }

    /// Leaves whatever transaction is open. The session is closed if that does not work.
    pub async fn roll_back(&self) {
        let _turn = self.turn.lock().await;
        self.leave_transaction().await;
    }

    async fn leave_transaction(&self) {
        let done = self
            .run(
                self.limits.call,
                "roll back",
                self.client.simple_query("ROLLBACK"),
            )
            .await;
        if done.is_err() {
            self.shared.cut.cancel();
        }
    }

    async fn call<T>(
        &self,
        note: &'static str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PgError> {
        let _turn = self.turn.lock().await;
        Ok(self.run(self.limits.call, note, work).await?.0)
    }

    /// Runs one call with its limit and its warnings; the caller has the turn.
    async fn run<T>(
        &self,
        limit: Duration,
        note: &'static str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<(T, Vec<Warning>), PgError> {
        if self.is_closed() {
            return Err(self.closed(note));
        }
        // Left over from a call before, or said by the server between two calls.
        drop(self.shared.take_warnings());
        let begun = Instant::now();
        let unfinished = CutOnDrop(Some(&self.shared));
        let result = tokio::time::timeout(limit, work).await;
        let Ok(result) = result else {
            return Err(PgError::Timeout {
                place: Arc::clone(&self.place),
                note,
                limit,
            });
        };
        unfinished.disarm();
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(answer) => {
                tracing::debug!(note, elapsed_ms, database = %self.place.database, "statement done");
                Ok((answer, self.shared.take_warnings()))
            }
            Err(error) => {
                let mut error = of_call(&self.place, note, error);
                if let PgError::Closed { code, .. } = &mut error {
                    *code = self.shared.last_words();
                }
                tracing::debug!(note, elapsed_ms, database = %self.place.database, sqlstate = error.sqlstate(), "statement failed");
                Err(error)
            }
        }
    }

    fn closed(&self, note: &'static str) -> PgError {
        PgError::Closed {
            place: Arc::clone(&self.place),
            note,
            code: self.shared.last_words(),
            source: None,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.let_go.cancel();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.place)
    }
}

/// Closes the connection unless the call came to its end.
struct CutOnDrop<'a>(Option<&'a Shared>);

impl CutOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.cut.cancel();
        }
    }
}

/// The server cuts a longer name without a word, and so would let us in as, or into, something else.
fn check_names(options: &ConnectOptions, place: &Arc<Place>) -> Result<(), PgError> {
    let named = |what: &str, text: &str| {
        Ident::new(text)
            .map(|_| ())
            .map_err(|problem| format!("{what}: {problem}"))
    };
    let whole = |what: &str, text: &str| {
        Literal::new(text)
            .map(|_| ())
            .map_err(|problem| format!("{what}: {problem}"))
    };
    named("user", &options.user)
        .and_then(|()| named("database", &options.database))
        .and_then(|()| whole("password", options.password.expose()))
        .and_then(|()| whole("application name", &options.application_name))
        .map_err(|problem| PgError::Mismatch {
            place: Arc::clone(place),
            note: "connect",
            source: problem.into(),
        })
}

/// Makes the session independent of what was set for the role, the database or the server.
///
/// Behind a pooler, where another process answers than the one announced, the settings last for this message only: they must not
/// stay with a process that serves others next.
fn set_up(limits: Limits, with: Option<i32>) -> String {
    let settings = [
        ("search_path", "pg_catalog, pg_temp".to_owned()),
        (
            "statement_timeout",
            limits.statement.as_millis().to_string(),
        ),
        ("lock_timeout", limits.lock.as_millis().to_string()),
        (
            "idle_in_transaction_session_timeout",
            IDLE_IN_TRANSACTION.as_millis().to_string(),
        ),
        ("standard_conforming_strings", "on".to_owned()),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("DateStyle", "ISO, YMD".to_owned()),
        ("TimeZone", "UTC".to_owned()),
        ("bytea_output", "hex".to_owned()),
        ("client_min_messages", "notice".to_owned()),
        ("extra_float_digits", "1".to_owned()),
    ];
    let is_local = format!(
        "pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.<>) {}",
        with.unwrap_or_default()
    );
    let set: Vec<_> = settings
        .iter()
        .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', {is_local})"))
        .collect();
    let not_limited: Vec<_> = OVERALL_LIMITS
        .iter()
        .map(|name| format!("('{name}')"))
        .collect();
    // The first statement is short enough for any time-out that was set, which until then is in force here too.
    format!(
        "SET LOCAL statement_timeout = {}; SELECT {}; \
         SELECT pg_catalog.set_config(name, '0', {is_local}) FROM (VALUES {}) AS known (name) \
         WHERE pg_catalog.current_setting(name, true) IS NOT NULL; {}",
        limits.statement.as_millis(),
        set.join(", "),
        not_limited.join(", "),
        Server::QUESTION
    )
}

/// Time-outs we have no use for, where the server knows them (since 14 and 17): between calls our sessions may be idle for long, and
/// each call of a transaction has its limit.
const OVERALL_LIMITS: [&str; 2] = ["idle_session_timeout", "transaction_timeout"];

/// Longest silence inside a transaction: a stuck instance must not hold locks others wait for.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(5);

fn outcome(messages: Vec<SimpleQueryMessage>, warnings: Vec<Warning>) -> BatchOutcome {
    let mut outcome = BatchOutcome {
        warnings,
        ..BatchOutcome::default()
    };
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => outcome.rows.push(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            ),
            SimpleQueryMessage::CommandComplete(count) => outcome.affected.push(count),
            // The enum is open; nothing else carries data.
            SimpleQueryMessage::RowDescription(_) | _ => {}
        }
    }
    outcome
}
