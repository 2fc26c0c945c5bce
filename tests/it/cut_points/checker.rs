//! Owns the independent checker: its own SQL against the catalogs and against the control plane's file. Never asks our code.

use crate::support::cluster::{Cluster, SUPERUSER_PASSWORD};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What can be wrong at a moment when nothing is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A login of ours is a member of a role, and no row of the grant table that has not ended says why.
    MembershipWithoutRow,
    /// The grant table says live, the control plane does not.
    AccessWithoutRecord,
    /// The control plane says active, and the access cannot be used.
    RecordWithoutAccess,
    /// The two records name different moments for the end.
    ExpiryDiffers,
    /// Past its expiry, and still there.
    AccessPastExpiry,
    /// Nothing is live, and the login may log in or has a password.
    LoginLeftOpen,
    /// Nothing is live, and a session is open.
    SessionLeft,
    /// A login of ours holds a privilege of its own instead of a membership.
    DirectPrivilege,
    /// The end has begun, and was never completed.
    EndNotClosed,
    /// A task is queued or leased.
    TaskUnended,
    /// The control plane waits for something about a grant.
    GrantInBetween,
    /// Ended, and nobody knows when.
    EndWithoutTime,
}

/// One fault, with the object it was seen on.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.fault, self.what)
    }
}

pub(super) struct Checker {
    cluster: &'static Cluster,
    /// Where schema `apono` is.
    database: String,
    /// The control plane's file.
    plane: PathBuf,
    /// What the names of all logins in question begin with.
    people: String,
}

/// A row of the grant table, as a DBA sees it.
struct Row {
    id: String,
    login: String,
    role: String,
    expiry: f64,
    ended: bool,
    closed: bool,
}

/// A grant, as the control plane has it.
struct Record {
    id: String,
    state: String,
    expiry: f64,
    ended_at: Option<i64>,
}

/// All that was seen.
pub(super) struct Sight {
    now: f64,
    roles: Vec<Value>,
    /// Login and role.
    members: Vec<(String, String)>,
    sessions: BTreeSet<String>,
    direct: Vec<String>,
    rows: Vec<Row>,
    records: Vec<Record>,
    /// Open tasks.
    tasks: Vec<String>,
}

impl Checker {
    pub(super) fn new(
        cluster: &'static Cluster,
        database: &str,
        plane: &Path,
        people: &str,
    ) -> Self {
        Self {
            cluster,
            database: database.to_owned(),
            plane: plane.to_owned(),
            people: people.to_owned(),
        }
    }

    /// Returns a checker of the same server beside another copy of the control plane's file.
    pub(super) fn with_record(&self, plane: &Path) -> Self {
        Self::new(self.cluster, &self.database, plane, &self.people)
    }

    /// Tells how many tasks of the control plane are open, and grants in between.
    pub(super) fn is_settled(&self) -> bool {
        let file = open(&self.plane);
        let open: i64 = file
            .query_row(
                "SELECT (SELECT count(*) FROM tasks WHERE finished_at IS NULL)
                      + (SELECT count(*) FROM grants WHERE state IN ('requested', 'starting', 'ending'))",
                [],
                |row| row.get(0),
            )
            .unwrap();
        open == 0
    }

    /// Returns the state of a grant at the control plane, its expiry in microseconds, and whether its end is clean.
    pub(super) fn record(&self, grant: &str) -> (String, i64, bool) {
        open(&self.plane)
            .query_row(
                "SELECT state, expiry, clean FROM grants WHERE id = ?1",
                [grant],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap()
    }

    pub(super) fn look(&self) -> Sight {
        let seen = self.catalogs();
        let list = |key: &str| seen[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let file = open(&self.plane);
        let mut records = file
            .prepare("SELECT id, state, expiry, ended_at FROM grants")
            .unwrap();
        let records = records
            .query_map([], |row| {
                let micros: i64 = row.get(2)?;
                Ok(Record {
                    id: row.get(0)?,
                    state: row.get(1)?,
                    expiry: std::time::Duration::from_micros(micros.unsigned_abs()).as_secs_f64(),
                    ended_at: row.get(3)?,
                })
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut tasks = file
            .prepare("SELECT kind || ' ' || id || ' is ' || state FROM tasks WHERE state IN ('queued', 'leased')")
            .unwrap();
        let tasks = tasks
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        Sight {
            now: seen["now"].as_f64().unwrap(),
            roles: list("roles"),
            members: list("members")
                .iter()
                .map(|m| (text(m, "login"), text(m, "role")))
                .collect(),
            sessions: list("sessions")
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            direct: list("direct").iter().map(ToString::to_string).collect(),
            rows: list("rows")
                .iter()
                .map(|row| Row {
                    id: text(row, "id"),
                    login: text(row, "login"),
                    role: text(row, "role"),
                    expiry: row["expiry"].as_f64().unwrap(),
                    ended: row["ended"] == Value::Bool(true),
                    closed: row["closed"] == Value::Bool(true),
                })
                .collect(),
            records,
            tasks,
        }
    }

    fn catalogs(&self) -> Value {
        let list = |what: &str, from: &str| format!("(SELECT json_agg({what}) FROM {from})");
        let ours = |name: &str| format!("starts_with({name}, '{}')", self.people);
        let sql = format!(
            "SELECT json_build_object('now', extract(epoch FROM clock_timestamp()),\n\
             'roles', {roles}, 'members', {members}, 'sessions', {sessions}, 'direct', {direct}, 'rows', {rows})",
            roles = list(
                "json_build_object('name', rolname, 'login', rolcanlogin, 'password', rolpassword IS NOT NULL)",
                &format!("pg_authid WHERE {}", ours("rolname"))
            ),
            members = list(
                "json_build_object('login', l.rolname, 'role', r.rolname)",
                &format!(
                    "pg_auth_members m JOIN pg_roles l ON l.oid = m.member JOIN pg_roles r ON r.oid = m.roleid WHERE {}",
                    ours("l.rolname")
                )
            ),
            sessions = list(
                "usename",
                &format!("pg_stat_activity WHERE {}", ours("usename::text"))
            ),
            direct = list(
                "r.rolname || ' on ' || s.classid::regclass || ' ' || s.objid",
                &format!(
                    "pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'a' AND {}",
                    ours("r.rolname")
                )
            ),
            rows = list(
                "json_build_object('id', id, 'login', login, 'role', access_role, 'expiry', extract(epoch FROM expiry), \
                 'ended', ended_at IS NOT NULL, 'closed', closed_at IS NOT NULL)",
                "apono.\"grant\""
            ),
        );
        let answer = self
            .cluster
            .psql("postgres", SUPERUSER_PASSWORD, &self.database, &sql);
        assert!(answer.ok, "{}", answer.err);
        serde_json::from_str(&answer.out).unwrap()
    }
}

impl Sight {
    /// Returns everything that is wrong.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.judge_memberships(&mut found);
        self.judge_rows(&mut found);
        self.judge_logins(&mut found);
        self.judge_records(&mut found);
        found
    }

    /// Returns one line per thing that exists, each with the name of whom it is about.
    pub(super) fn lines(&self) -> BTreeSet<String> {
        let mut lines: BTreeSet<String> = self.roles.iter().map(|r| format!("role {r}")).collect();
        lines.extend(
            self.members
                .iter()
                .map(|(login, role)| format!("{login} is a member of {role}")),
        );
        lines.extend(self.rows.iter().map(|row| {
            format!(
                "row {} {} {} until {} ended {} closed {}",
                row.id, row.login, row.role, row.expiry, row.ended, row.closed
            )
        }));
        lines
    }

    fn judge_memberships(&self, found: &mut Vec<Finding>) {
        for (login, role) in &self.members {
            let backing = |row: &&Row| row.login == *login && row.role == *role && !row.ended;
            if !self.rows.iter().any(|row| backing(&row)) {
                let what = format!("`{login}` is a member of `{role}`");
                found.push(Fault::MembershipWithoutRow.on(what));
            }
        }
        for what in &self.direct {
            found.push(Fault::DirectPrivilege.on(what.clone()));
        }
    }

    fn judge_rows(&self, found: &mut Vec<Finding>) {
        for row in &self.rows {
            let what = format!("grant `{}` of `{}`", row.id, row.login);
            let record = self.records.iter().find(|record| record.id == row.id);
            let is_member = self
                .members
                .iter()
                .any(|(login, role)| *login == row.login && *role == row.role);
            let may_log_in = self
                .roles
                .iter()
                .any(|role| role["name"] == row.login.as_str() && role["login"] == true);
            match (row.ended, record) {
                (true, _) if !row.closed => found.push(Fault::EndNotClosed.on(what)),
                (true, _) => {}
                (false, _) if row.expiry <= self.now => {
                    found.push(Fault::AccessPastExpiry.on(what));
                }
                (false, Some(record)) if record.state == "active" => {
                    if !is_member || !may_log_in {
                        found.push(Fault::RecordWithoutAccess.on(what.clone()));
                    }
                    if (record.expiry - row.expiry).abs() > 0.001 {
                        found.push(Fault::ExpiryDiffers.on(what));
                    }
                }
                (false, _) => found.push(Fault::AccessWithoutRecord.on(what)),
            }
        }
    }

    fn judge_logins(&self, found: &mut Vec<Finding>) {
        let is_live = |login: &str| {
            self.rows
                .iter()
                .any(|row| row.login == login && !row.ended && row.expiry > self.now)
        };
        for role in &self.roles {
            let name = role["name"].as_str().unwrap_or_default();
            if !is_live(name) && (role["login"] == true || role["password"] == true) {
                found.push(Fault::LoginLeftOpen.on(format!("`{name}`")));
            }
        }
        for login in self.sessions.iter().filter(|login| !is_live(login)) {
            found.push(Fault::SessionLeft.on(format!("of `{login}`")));
        }
    }

    fn judge_records(&self, found: &mut Vec<Finding>) {
        for record in &self.records {
            let what = format!("grant `{}` is {}", record.id, record.state);
            let on_server = || {
                self.rows
                    .iter()
                    .any(|row| row.id == record.id && !row.ended)
            };
            match record.state.as_str() {
                "active" if !on_server() => found.push(Fault::RecordWithoutAccess.on(what)),
                "active" | "failed" => {}
                "closed" | "ended" if record.ended_at.is_none() => {
                    found.push(Fault::EndWithoutTime.on(what));
                }
                "closed" | "ended" => {}
                _ => found.push(Fault::GrantInBetween.on(what)),
            }
        }
        for task in &self.tasks {
            found.push(Fault::TaskUnended.on(task.clone()));
        }
    }
}

impl Fault {
    fn on(self, what: String) -> Finding {
        Finding { fault: self, what }
    }
}

fn open(path: &Path) -> Connection {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    file.busy_timeout(std::time::Duration::from_secs(5))
        .unwrap();
    file
}
