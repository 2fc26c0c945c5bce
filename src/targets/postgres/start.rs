//! Owns the steps that give access: the start itself, extension, password, reading back. Never acts without a permit for this very grant.

use super::PostgresTarget;
use super::access_role::always_checked;
use super::error::Trouble;
use super::observe::{self, Observed, Question};
use super::password::{Access, NewPassword, recipient};
use super::plan;
use super::pool::{Conn, For};
use super::rds_iam::{self, RDS_IAM};
use super::render::{
    self, CredentialFacts, StartFacts, access_role_name, move_expiry, move_expiry_commit,
};
use super::rows::Rows;
use super::settings::EndUsers;
use crate::domain::{CredentialChange, Detail, Evidence, Grant, GrantId, Start, StartGrant};
use crate::policy::Permit;
use crate::targets::Applied;
use jiff::Timestamp;

impl PostgresTarget {
    /// Looks at everything a plan for this grant depends on.
    pub(super) async fn look(&self, conn: &Conn<'_>, grant: &Grant) -> Result<Observed, Trouble> {
        let names = plan::candidates(&self.settings.home, &grant.principal);
        let access_role = access_role_name(&self.settings.home, &grant.resource, grant.permission);
        let mut seen = observe::look(
            conn,
            &Question {
                home: &self.settings.home,
                grant: grant.id,
                principal: grant.principal.as_str(),
                logins: &[names[0].as_str(), names[1].as_str()],
                access_role: &access_role,
            },
        )
        .await?;
        if always_checked(grant.resource.kind()) {
            seen.access_role.fresh = false;
        }
        Ok(seen)
    }

    /// The start: record and effect in one transaction, refused after the permit's deadline.
    pub(super) async fn start_grant(
        &self,
        permit: &Permit,
        start: &Start,
        planned: &StartGrant,
    ) -> Result<Applied, Trouble> {
        // Before anything else: a start whose credential nobody could open must not begin.
        let recipient = recipient(&start.recipient)?;
        let password = planned
            .set_password
            .then(|| self.password(start, &planned.login))
            .transpose()?;
        let sealed = match &password {
            Some((password, access)) => {
                let server = self.pool.find().await.map_err(Trouble::undone)?;
                Some(password.seal(&recipient, &self.settings, &server, access)?)
            }
            None => None,
        };
        let conn = self.home(For::Start).await.map_err(Trouble::undone)?;
        rds_iam::must_be_there(&conn, self.settings.home.end_users)
            .await
            .map_err(Trouble::undone)?;
        let sql = render::start(&StartFacts {
            home: &self.settings.home,
            start,
            planned,
            verifier: password.as_ref().map(|(password, _)| password.verifier()),
            deadline: permit.deadline().min(start.lease_deadline),
            server_version: conn.version(),
        });
        const DOING: &str = "start the grant";
        let outcome = match conn.batch_of_start(DOING, sql.expose()).await {
            Ok(outcome) => outcome,
            Err(error) if is_unplanned(&error) => {
                // Perhaps it was this very grant that changed things: an earlier delivery whose answer was lost.
                let seen = self.look(&conn, &start.grant).await?;
                // Nobody holds one connection while waiting for another.
                self.pool.put(conn);
                return if seen.grant.is_some() || seen.in_history {
                    self.already_started(permit, start, planned, &seen).await
                } else {
                    Err(Trouble::changed())
                };
            }
            Err(error) => return Err(error.undone()),
        };
        let started_at = Rows::of(DOING, outcome).one("started")?.time(0)?;
        self.pool.put_to_hold(conn);
        Ok(Applied {
            evidence: Evidence::default()
                .with("login", &planned.login)
                .with("access_role", &planned.access_role)
                .with("login_made", planned.make_login)
                .with("stray_memberships_removed", planned.strays.len()),
            credential: Some(sealed.map_or(self.no_new_password(), CredentialChange::New)),
            login: Some(planned.login.clone()),
            started_at: Some(started_at),
            ..Applied::default()
        })
    }

    /// The step happened before, but its outcome was lost: only a lost password is made anew.
    async fn already_started(
        &self,
        permit: &Permit,
        start: &Start,
        planned: &StartGrant,
        seen: &Observed,
    ) -> Result<Applied, Trouble> {
        let row = plan::live(&self.settings.home, &start.grant, seen)?;
        let rest = plan::start(&self.settings.home, start, seen)?;
        let owes_password = rest.steps.len() > 1;
        let mut applied = Applied {
            evidence: Evidence::default().with("already_started", true),
            credential: Some(self.no_new_password()),
            login: Some(row.login.clone()),
            started_at: row.started_at,
            ..Applied::default()
        };
        if planned.set_password && owes_password {
            let set = self.set_credential(permit, start, &row.login).await?;
            applied.credential = set.credential;
        }
        Ok(applied)
    }

    /// What a start that sets no password did to it.
    fn no_new_password(&self) -> CredentialChange {
        match self.settings.home.end_users {
            EndUsers::Password | EndUsers::PasswordOnRds => CredentialChange::Unchanged,
            EndUsers::RdsIam => CredentialChange::None,
        }
    }

    /// What a person needs to log in without a password.
    async fn how_to_log_in(&self, login: &str, order: &Grant) -> Result<Vec<Detail>, Trouble> {
        if self.settings.home.end_users != EndUsers::RdsIam {
            return Ok(Vec::new());
        }
        let database = order.resource.database();
        let database = database.unwrap_or(&self.settings.home.database);
        let told = self.server.how_to_log_in(login, database).await;
        told.map_err(Trouble::Server)
    }

    fn password<'a>(
        &'a self,
        start: &'a Start,
        login: &'a str,
    ) -> Result<(NewPassword, Access<'a>), Trouble> {
        Ok((
            NewPassword::draw()?,
            Access {
                login,
                database: start
                    .grant
                    .resource
                    .database()
                    .unwrap_or(&self.settings.home.database),
                expiry: start.grant.expiry,
            },
        ))
    }

    /// A new password for the login of a live grant.
    pub(super) async fn set_credential(
        &self,
        permit: &Permit,
        start: &Start,
        login: &str,
    ) -> Result<Applied, Trouble> {
        let recipient = recipient(&start.recipient)?;
        let (password, access) = self.password(start, login)?;
        let server = self.pool.find().await?;
        let sealed = password.seal(&recipient, &self.settings, &server, &access)?;
        let sql = render::set_credential(&CredentialFacts {
            start,
            login,
            verifier: password.verifier(),
            deadline: permit.deadline().min(start.lease_deadline),
        });
        let conn = self.home(For::Start).await?;
        conn.batch("set a new password", sql.expose())
            .await
            .map_err(as_planned)?;
        self.pool.put(conn);
        Ok(Applied {
            evidence: Evidence::default().with("login", login),
            credential: Some(CredentialChange::New(sealed)),
            login: Some(login.to_owned()),
            ..Applied::default()
        })
    }

    /// Moves the expiry of a live grant; moving it to where it is changes nothing.
    pub(super) async fn extend_grant(
        &self,
        permit: &Permit,
        grant: GrantId,
        order: &Grant,
        expiry: Timestamp,
    ) -> Result<Applied, Trouble> {
        const DOING: &str = "move the expiry";
        let conn = self.home(For::Start).await?;
        let seen = self.look(&conn, order).await?;
        let row = plan::live(&self.settings.home, order, &seen)?;
        let deadline = permit.deadline().min(expiry);
        let rows = Rows::of(
            DOING,
            conn.batch(DOING, &move_expiry(grant, expiry, &row.login))
                .await
                .map_err(as_planned)?,
        );
        let latest = rows.one("latest")?.text(0)?;
        conn.batch(DOING, &move_expiry_commit(&row.login, latest, deadline))
            .await
            .map_err(as_planned)?;
        let applied = Applied {
            evidence: Evidence::default()
                .with("expiry_before", row.expiry)
                .with("expiry", expiry),
            credential: Some(self.no_new_password()),
            login: Some(row.login.clone()),
            started_at: row.started_at,
            ..Applied::default()
        };
        self.pool.put(conn);
        Ok(applied)
    }

    /// Reads back: the row is live, the role may log in, the membership is there.
    pub(super) async fn verify(&self, order: &Grant) -> Result<Applied, Trouble> {
        let conn = self.home(For::Work).await?;
        let seen = self.look(&conn, order).await?;
        let row = plan::live(&self.settings.home, order, &seen)?;
        rds_iam::check_login(&conn, self.settings.home.end_users, &row.login).await?;
        self.pool.put(conn);
        let role = seen.roles.iter().find(|role| role.name == row.login);
        let member = seen
            .memberships
            .iter()
            .any(|m| m.login == row.login && m.role == row.access_role);
        let problem = match role {
            None => Some("does not exist any more"),
            Some(role) if !role.can_login => Some("may not log in"),
            Some(_) if !member => Some("is not a member of its access role"),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            return Err(Trouble::operator(
                "access_missing",
                format!(
                    "login `{}` {problem}, although grant `{}` is live",
                    row.login, order.id
                ),
                "someone changed the role by hand: revoke the grant and order a new one",
            ));
        }
        let foreign = seen
            .memberships
            .iter()
            .filter(|m| m.login == row.login && !m.ours && m.role != RDS_IAM)
            .map(|m| m.role.as_str())
            .collect::<Vec<_>>();
        let mut evidence = Evidence::default()
            .with("login", &row.login)
            .with("access_role", &row.access_role)
            .with("expiry", row.expiry);
        if !foreign.is_empty() {
            evidence = evidence.with("memberships_not_ours", foreign.join(", "));
        }
        let details = self.how_to_log_in(&row.login, order).await?;
        Ok(Applied {
            details,
            evidence,
            login: Some(row.login.clone()),
            started_at: row.started_at,
            ..Applied::default()
        })
    }
}

/// 22003 is our own "no longer as planned"; another creator of the same login or row, or a role that is gone, means the same.
fn is_unplanned(error: &Trouble) -> bool {
    matches!(
        error.sqlstate(),
        Some("22003" | "42710" | "23505" | "42704")
    )
}

fn as_planned(error: Trouble) -> Trouble {
    if is_unplanned(&error) {
        Trouble::changed()
    } else {
        error
    }
}
