//! Owns what forbids lending an existing role out. Never gives one.

use super::page::{Found, Name};
use crate::domain::shown;
use crate::pg::{Ident, PgError, Row, Session};

/// The admin role of the recommended set-up.
const USUAL_ADMIN_ROLE: &str = "apono_admin";

/// Finds the role that would give memberships.
pub(super) async fn acting_role(
    home: &Session,
    admin_role: Option<&str>,
) -> Result<(u32, String), PgError> {
    let row = home
        .query_opt(
            "find the role we act as",
            "SELECT r.oid, r.rolname::text FROM pg_catalog.pg_roles r \
             WHERE r.rolname = session_user \
                OR (r.rolname = $1 AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')) \
             ORDER BY r.rolname = session_user LIMIT 1",
            &[&admin_role.unwrap_or(USUAL_ADMIN_ROLE)],
        )
        .await?;
    match row {
        Some(row) => Ok((row.get(0)?, row.get(1)?)),
        // Dropped while logged in; nothing can be lent then.
        None => Ok((0, home.place().user.clone())),
    }
}

/// Returns why membership of an existing role cannot be given, if so.
pub(super) fn cannot_lend(
    row: &Row,
    found: &Found,
    acting: &str,
) -> Result<Option<String>, PgError> {
    let blocked: Option<bool> = row.get(4)?;
    let Some(itself) = blocked else {
        let may_give: bool = row.get(7)?;
        let role = quoted(&found.name.text);
        return Ok((!may_give).then(|| {
            format!(
                "the connector may not give membership of it: GRANT {role} TO {} WITH ADMIN OPTION",
                quoted(acting)
            )
        }));
    };
    let power: &str = row.get(6)?;
    if itself {
        return Ok(Some(format!("it {power}")));
    }
    let through = Name::read(row, 5)?.unwrap_or_default();
    Ok(Some(format!(
        "it is a member of `{}`, which {power}",
        shown(&through.text)
    )))
}

/// A name in a statement for people; one that cannot be a name is shown instead.
pub(super) fn quoted(name: &str) -> String {
    Ident::new(name).map_or_else(|_| shown(name), |ident| ident.to_string())
}
