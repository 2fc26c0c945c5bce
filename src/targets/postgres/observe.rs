//! Owns looking before planning: what our record and the catalogs say about one grant, its login and its shared role. Never changes anything.

use super::error::Trouble;
use super::mark::{self, MarkedBy, RoleKind};
use super::pool::Conn;
use super::render::{lit, texts, utc};
use super::rows::{Line, Rows};
use super::settings::Home;
use crate::domain::{EndReason, GrantId};
use jiff::Timestamp;

/// All that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Observed {
    pub(super) grant: Option<GrantRow>,
    /// The grant was ended so long ago that it is in the history.
    pub(super) in_history: bool,
    /// Login rows with one of the names, or of this principal.
    pub(super) logins: Vec<LoginRow>,
    /// Roles with one of the names.
    pub(super) roles: Vec<Role>,
    /// Live grants of these logins, the one in question left out.
    pub(super) others: Vec<OtherGrant>,
    /// Memberships of these roles.
    pub(super) memberships: Vec<Membership>,
    pub(super) access_role: AccessRole,
}

/// The grant's own row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GrantRow {
    pub(super) connector: String,
    pub(super) login: String,
    pub(super) access_role: String,
    pub(super) principal: String,
    pub(super) expiry: Timestamp,
    pub(super) is_over: bool,
    pub(super) attempt: i64,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended: Option<EndReason>,
}

/// A login's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginRow {
    pub(super) name: String,
    pub(super) connector: String,
    pub(super) principal: String,
    pub(super) version: i64,
    pub(super) password_grant: Option<String>,
}

/// A role of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) marked_by: MarkedBy,
    pub(super) elevated: bool,
    /// Whether we may change it: on 16 and later only with ADMIN.
    pub(super) administered: bool,
    pub(super) can_login: bool,
}

/// Another live grant of the same login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtherGrant {
    pub(super) login: String,
    pub(super) access_role: String,
    pub(super) expiry: Timestamp,
}

/// A role the login is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) login: String,
    pub(super) role: String,
    /// Whether the role is a shared role of ours.
    pub(super) ours: bool,
}

/// The shared role, as row and as role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AccessRole {
    pub(super) row: bool,
    pub(super) role: Option<Role>,
    /// Whether its privileges were seen complete within the last minute.
    pub(super) fresh: bool,
    /// Whether its privileges were ever complete.
    pub(super) complete: bool,
}

/// What to look for.
pub(super) struct Question<'a> {
    pub(super) home: &'a Home,
    pub(super) grant: GrantId,
    pub(super) principal: &'a str,
    /// Names the login may have.
    pub(super) logins: &'a [&'a str],
    pub(super) access_role: &'a str,
}

const DOING: &str = "look at the grant and its login";

/// Looks, in one message.
pub(super) async fn look(conn: &Conn<'_>, question: &Question<'_>) -> Result<Observed, Trouble> {
    let sql = sql(question, conn.version());
    let rows = Rows::of(DOING, conn.batch(DOING, &sql).await?);
    let home = question.home;
    let collect = |tag, kind| -> Result<Vec<Role>, Trouble> {
        rows.tagged(tag)
            .map(|line| role(line, home, kind))
            .collect()
    };
    let access = rows.tagged("access").next();
    Ok(Observed {
        grant: rows.tagged("grant").next().map(grant_row).transpose()?,
        in_history: rows.tagged("history").next().is_some(),
        logins: rows
            .tagged("login")
            .map(login_row)
            .collect::<Result<_, _>>()?,
        roles: collect("role", RoleKind::Login)?,
        others: rows.tagged("other").map(other).collect::<Result<_, _>>()?,
        memberships: rows
            .tagged("member")
            .map(membership)
            .collect::<Result<_, _>>()?,
        access_role: AccessRole {
            row: access.is_some(),
            role: collect("access_role", RoleKind::Access)?.into_iter().next(),
            fresh: access.map_or(Ok(false), |line| line.yes(0))?,
            complete: access.map_or(Ok(false), |line| line.yes(1))?,
        },
    })
}

fn sql(question: &Question<'_>, server_version: u32) -> String {
    let id = question.grant.as_uuid();
    let names = texts(question.logins.iter().copied());
    format!(
        "SELECT 'grant', connector, login, access_role, principal, {expiry}, (expiry <= pg_catalog.clock_timestamp())::text,\n\
         attempt, {started}, reason FROM apono.\"grant\" WHERE id = '{id}';\n\
         SELECT 'history' FROM apono.history WHERE id = '{id}';\n\
         SELECT 'login', name, connector, principal, version, password_grant FROM apono.login\n\
         WHERE name = ANY({names}) OR (connector = {connector} AND principal = {principal});\n\
         {roles} WHERE r.rolname = ANY({names});\n\
         SELECT 'other', login, access_role, {expiry} FROM apono.\"grant\" WHERE login = ANY({names}) AND ended_at IS NULL AND id <> '{id}';\n\
         SELECT DISTINCT 'member', {member}, {role}, EXISTS (SELECT FROM apono.access_role a WHERE a.name = {role})::text\n\
         FROM pg_catalog.pg_auth_members m\n\
         WHERE m.member = ANY(ARRAY(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ANY({names})));\n\
         SELECT 'access', (COALESCE(complete_at > pg_catalog.clock_timestamp() - interval '1 minute', false))::text,\n\
         (complete_at IS NOT NULL)::text FROM apono.access_role WHERE name = {access};\n\
         {access_roles} WHERE r.rolname = {access};\n",
        expiry = utc("expiry"),
        started = utc("started_at"),
        connector = lit(question.home.connector.as_str()),
        principal = lit(question.principal),
        roles = select_role("role", server_version),
        access_roles = select_role("access_role", server_version),
        access = lit(question.access_role),
        member = "pg_catalog.pg_get_userbyid(m.member)",
        role = "pg_catalog.pg_get_userbyid(m.roleid)",
    )
}

/// Selects what decides whether a role is ours; the caller adds the `WHERE` over `r`.
pub(super) fn select_role(tag: &str, server_version: u32) -> String {
    // Whoever makes a role is given ADMIN on it, so the membership itself is looked for first: the general question walks every
    // role we administer, and with thousands of logins that takes longer than all the rest.
    let administered = if server_version >= 160_000 {
        "CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_auth_members a WHERE a.roleid = r.oid AND a.admin_option\n\
          AND a.member = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)) THEN true\n\
          ELSE pg_catalog.pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION') END"
    } else {
        "true"
    };
    format!(
        "SELECT '{tag}', r.rolname, (SELECT description FROM pg_catalog.pg_shdescription\n\
          WHERE objoid = r.oid AND classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass),\n\
         (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls)::text,\n\
         ({administered})::text, r.rolcanlogin::text FROM pg_catalog.pg_roles r"
    )
}

/// Reads a line of [`select_role`].
pub(super) fn role(line: Line<'_>, home: &Home, kind: RoleKind) -> Result<Role, Trouble> {
    let name = line.text(0)?;
    Ok(Role {
        name: name.to_owned(),
        marked_by: mark::read(line.maybe(1), home, name, kind),
        elevated: line.yes(2)?,
        administered: line.yes(3)?,
        can_login: line.yes(4)?,
    })
}

fn grant_row(line: Line<'_>) -> Result<GrantRow, Trouble> {
    Ok(GrantRow {
        connector: line.text(0)?.to_owned(),
        login: line.text(1)?.to_owned(),
        access_role: line.text(2)?.to_owned(),
        principal: line.text(3)?.to_owned(),
        expiry: line.time(4)?,
        is_over: line.yes(5)?,
        attempt: line.number(6)?,
        started_at: line.maybe_time(7)?,
        // A reason written by a later version is still an end.
        ended: line
            .maybe(8)
            .map(|text| EndReason::parse(text).unwrap_or(EndReason::Revoked)),
    })
}

fn login_row(line: Line<'_>) -> Result<LoginRow, Trouble> {
    Ok(LoginRow {
        name: line.text(0)?.to_owned(),
        connector: line.text(1)?.to_owned(),
        principal: line.text(2)?.to_owned(),
        version: line.number(3)?,
        password_grant: line.maybe(4).map(str::to_owned),
    })
}

fn other(line: Line<'_>) -> Result<OtherGrant, Trouble> {
    Ok(OtherGrant {
        login: line.text(0)?.to_owned(),
        access_role: line.text(1)?.to_owned(),
        expiry: line.time(2)?,
    })
}

fn membership(line: Line<'_>) -> Result<Membership, Trouble> {
    Ok(Membership {
        login: line.text(0)?.to_owned(),
        role: line.text(1)?.to_owned(),
        ours: line.yes(2)?,
    })
}
