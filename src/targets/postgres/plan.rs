//! Owns the decision what a start, an extension and a reset consist of. Pure: what was observed goes in, a plan or a refusal comes out.

use super::error::Trouble;
use super::mark::MarkedBy;
use super::observe::{GrantRow, LoginRow, Observed, Role};
use super::render::{access_role_name, id};
use super::settings::{EndUsers, Home};
use crate::domain::{
    Change, ErrorClass, Grant, LoginName, Plan, Principal, Start, StartGrant, Step,
};

/// The names a principal's login may have, in order of preference.
pub(super) fn candidates(home: &Home, principal: &Principal) -> [LoginName; 2] {
    [
        LoginName::derive(principal),
        LoginName::derive_distinct(principal, &home.salt()),
    ]
}

/// Plans a start.
pub(super) fn start(home: &Home, start: &Start, seen: &Observed) -> Result<Plan, Trouble> {
    let grant = &start.grant;
    if seen.in_history {
        return Err(ended(grant));
    }
    if let Some(row) = &seen.grant {
        return redelivered(home, start, seen, row);
    }
    let name = login_name(home, &grant.principal, seen)?;
    let row = seen.logins.iter().find(|row| row.name == name);
    let role = seen.roles.iter().find(|role| role.name == name);
    let others: Vec<_> = seen.others.iter().filter(|o| o.login == name).collect();
    let make_login = role.is_none();
    let usable = role.is_some_and(|role| role.can_login);
    let access_role = access_role_name(home, &grant.resource, grant.permission);
    let mut steps = Vec::new();
    let shared = &seen.access_role;
    if !(shared.row && shared.fresh && shared.role.is_some()) {
        steps.push(prepare(&access_role, grant));
    }
    let planned = StartGrant {
        login: name.clone(),
        access_role: access_role.clone(),
        make_login,
        set_password: home.end_users != EndUsers::RdsIam && (others.is_empty() || !usable),
        valid_until: others
            .iter()
            .map(|other| other.expiry)
            .fold(grant.expiry, jiff::Timestamp::max),
        login_version: row.map_or(0, |row| row.version),
        strays: strays(seen, &name, &access_role),
    };
    steps.push(Step {
        note: format!(
            "{}grant `{access_role}` to `{name}` until {}",
            if make_login {
                "make the login and "
            } else {
                ""
            },
            grant.expiry
        ),
        change: Change::StartGrant(planned),
    });
    steps.push(verify(&name));
    Ok(Plan { steps })
}

/// Memberships of the login in shared roles of ours that no live grant backs.
fn strays(seen: &Observed, login: &str, wanted: &str) -> Vec<String> {
    let backed = |role: &str| {
        let mut others = seen.others.iter();
        others.any(|other| other.login == login && other.access_role == role)
    };
    let of_login = seen.memberships.iter().filter(|m| m.login == login);
    of_login
        .filter(|m| m.ours && m.role != wanted && !backed(&m.role))
        .map(|m| m.role.clone())
        .collect()
}

fn prepare(access_role: &str, grant: &Grant) -> Step {
    Step {
        note: format!(
            "make `{access_role}` hold `{}` on {}",
            grant.permission, grant.resource
        ),
        change: Change::PrepareAccessRole {
            access_role: access_role.to_owned(),
        },
    }
}

fn verify(login: &str) -> Step {
    Step {
        note: format!("read back the access of `{login}`"),
        change: Change::Verify,
    }
}

fn credential(login: &str) -> Step {
    Step {
        note: format!("give `{login}` a new password"),
        change: Change::SetCredential {
            login: login.to_owned(),
        },
    }
}

/// The grant is known: only what is missing is still to do.
fn redelivered(
    home: &Home,
    start: &Start,
    seen: &Observed,
    row: &GrantRow,
) -> Result<Plan, Trouble> {
    same_order(home, &start.grant, row)?;
    if row.ended.is_some() || row.is_over {
        return Err(ended(&start.grant));
    }
    if row.attempt > i64::from(start.attempt) {
        return Err(Trouble::refused(
            ErrorClass::Bug,
            "stale_attempt",
            format!(
                "grant `{}` was already worked on by delivery {}, this is delivery {}",
                start.grant.id, row.attempt, start.attempt
            ),
        ));
    }
    let owed = seen
        .logins
        .iter()
        .find(|login| login.name == row.login)
        .and_then(|login| login.password_grant.as_deref())
        .is_some_and(|id| id == start.grant.id.to_string());
    let mut steps = Vec::new();
    if owed {
        steps.push(credential(&row.login));
    }
    steps.push(verify(&row.login));
    Ok(Plan { steps })
}

/// Plans a move of the expiry.
pub(super) fn extend(home: &Home, grant: &Grant, seen: &Observed) -> Result<Plan, Trouble> {
    let row = live(home, grant, seen)?;
    Ok(Plan {
        steps: vec![
            Step {
                note: format!(
                    "move the end of `{}`'s grant from {} to {}",
                    row.login, row.expiry, grant.expiry
                ),
                change: Change::MoveExpiry {
                    grant: grant.id,
                    expiry: grant.expiry,
                },
            },
            verify(&row.login),
        ],
    })
}

/// Plans a new password.
pub(super) fn reset(home: &Home, grant: &Grant, seen: &Observed) -> Result<Plan, Trouble> {
    if home.end_users == EndUsers::RdsIam {
        return Err(Trouble::refused(
            ErrorClass::Bug,
            "no_password",
            "people log in to this server by a token of AWS IAM, there is no password to reset",
        ));
    }
    let row = live(home, grant, seen)?;
    Ok(Plan {
        steps: vec![credential(&row.login), verify(&row.login)],
    })
}

/// Returns the row of a grant that is live and is the one meant.
pub(super) fn live<'a>(
    home: &Home,
    grant: &Grant,
    seen: &'a Observed,
) -> Result<&'a GrantRow, Trouble> {
    let Some(row) = &seen.grant else {
        return if seen.in_history {
            Err(ended(grant))
        } else {
            Err(Trouble::refused(
                ErrorClass::NotFound,
                "grant_unknown",
                format!("grant `{}` was never started here", grant.id),
            ))
        };
    };
    same_order(home, grant, row)?;
    if row.ended.is_some() || row.is_over {
        return Err(ended(grant));
    }
    Ok(row)
}

fn ended(grant: &Grant) -> Trouble {
    Trouble::refused(
        ErrorClass::Bug,
        "grant_ended",
        format!("grant `{}` is ended, it never starts again", grant.id),
    )
}

fn same_order(home: &Home, grant: &Grant, row: &GrantRow) -> Result<(), Trouble> {
    let access_role = access_role_name(home, &grant.resource, grant.permission);
    let same = row.connector == home.connector.as_str()
        && row.principal == grant.principal.as_str()
        && row.access_role == access_role;
    // A tombstone of another connector's answers for itself; anything else is a mix-up of ids.
    if same {
        Ok(())
    } else {
        Err(Trouble::refused(
            ErrorClass::Bug,
            "grant_mismatch",
            format!(
                "grant `{}` is on record with another principal, resource, permission or connector",
                grant.id
            ),
        ))
    }
}

/// Chooses the login's name, or refuses one that someone else holds.
fn login_name(home: &Home, principal: &Principal, seen: &Observed) -> Result<String, Trouble> {
    let is_ours = |row: &LoginRow| {
        row.connector == home.connector.as_str() && row.principal == principal.as_str()
    };
    let [plain, distinct] = candidates(home, principal);
    let chosen = match seen.logins.iter().find(|row| is_ours(row)) {
        Some(row) => row.name.clone(),
        None => {
            let taken = seen.logins.iter().any(|row| row.name == plain.as_str())
                || seen.roles.iter().any(|role| {
                    role.name == plain.as_str() && role.marked_by == MarkedBy::OurOtherHome
                });
            let name = if taken { distinct } else { plain };
            name.as_str().to_owned()
        }
    };
    if let Some(row) = seen
        .logins
        .iter()
        .find(|row| row.name == chosen && !is_ours(row))
    {
        return Err(Trouble::operator(
            "login_not_ours",
            format!(
                "login `{chosen}` is on record for another principal or connector (`{}`)",
                row.connector
            ),
            "end the grants of that login first",
        ));
    }
    if let Some(role) = seen.roles.iter().find(|role| role.name == chosen) {
        check_ours(role)?;
    }
    Ok(chosen)
}

/// Refuses a role that is not ours to change, and says how to get it out of the way.
pub(super) fn check_ours(role: &Role) -> Result<(), Trouble> {
    let name = &role.name;
    let (problem, hint) = match role.marked_by {
        MarkedBy::Nobody => (
            "does not carry our mark",
            format!(
                "rename it, or drop it if nobody needs it: ALTER ROLE {} RENAME TO …;",
                id(name)
            ),
        ),
        MarkedBy::Another | MarkedBy::OurOtherHome => (
            "carries the mark of another connector",
            "end its grants there and let that connector clean up, or rename the role".to_owned(),
        ),
        MarkedBy::Us if role.elevated => (
            "carries our mark, but has attributes we never give",
            format!(
                "ALTER ROLE {} NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS;",
                id(name)
            ),
        ),
        MarkedBy::Us if !role.administered => (
            "carries our mark, but we lack ADMIN OPTION on it",
            format!(
                "as a superuser: GRANT {} TO <the connector's admin role> WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;",
                id(name)
            ),
        ),
        MarkedBy::Us => return Ok(()),
    };
    Err(Trouble::operator(
        "login_not_ours",
        format!("role `{name}` {problem}, it is not touched"),
        hint,
    ))
}

#[cfg(test)]
mod tests;
