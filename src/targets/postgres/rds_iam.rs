//! Owns what `rds_iam` means for a login: who is a member of it, by whatever way, logs in by a token of AWS IAM and by nothing
//! else. Never changes a membership.

use super::error::Trouble;
use super::pool::Conn;
use super::render::lit;
use super::settings::EndUsers;

/// The role whose members log in by tokens. The service makes it when IAM authentication is turned on.
pub(super) const RDS_IAM: &str = "rds_iam";

/// Refuses a start by token on a server where there is no such thing.
pub(super) async fn must_be_there(conn: &Conn<'_>, end_users: EndUsers) -> Result<(), Trouble> {
    if end_users != EndUsers::RdsIam {
        return Ok(());
    }
    let sql = format!(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_roles WHERE rolname = {}",
        lit(RDS_IAM)
    );
    let answer = conn.batch("look for rds_iam", &sql).await?;
    if answer.text() == Some("1") {
        return Ok(());
    }
    Err(Trouble::operator(
        "rds_iam_missing",
        "the server has no role `rds_iam`, so nobody can log in by a token of AWS IAM",
        "turn on IAM database authentication for the RDS instance or cluster, or set `end_user_auth` to `password`",
    ))
}

/// Reads back that a login can log in as it was told. Any way to `rds_iam`, through whatever groups, takes a password's force.
pub(super) async fn check_login(
    conn: &Conn<'_>,
    end_users: EndUsers,
    login: &str,
) -> Result<(), Trouble> {
    if end_users == EndUsers::Password {
        return Ok(());
    }
    let sql = format!(
        "SELECT CASE WHEN pg_catalog.pg_has_role(person.oid, iam.oid, 'MEMBER') THEN 'yes' ELSE 'no' END\n\
         FROM pg_catalog.pg_roles person, pg_catalog.pg_roles iam WHERE person.rolname = {} AND iam.rolname = {}",
        lit(login),
        lit(RDS_IAM)
    );
    let answer = conn.batch("look for a way to rds_iam", &sql).await?;
    let reaches = answer.text() == Some("yes");
    match end_users {
        EndUsers::PasswordOnRds if reaches => Err(Trouble::operator(
            "reaches_rds_iam",
            format!(
                "login `{login}` reaches `rds_iam` through a role it was given, so its password is of no use"
            ),
            "take `rds_iam` from that role, or set `end_user_auth` to `iam`",
        )),
        EndUsers::RdsIam if !reaches => Err(Trouble::operator(
            "access_missing",
            format!("login `{login}` is no member of `rds_iam`, so it cannot log in by a token"),
            "someone changed the role by hand: revoke the grant and order a new one",
        )),
        EndUsers::Password | EndUsers::PasswordOnRds | EndUsers::RdsIam => Ok(()),
    }
}
