//! Owns how a connection is opened: where, with which credential, and as whom. Never keeps one.

use super::{Opened, Pool};
use crate::pg::{ConnectOptions, Session};
use crate::targets::postgres::credential::DatabaseCredential;
use crate::targets::postgres::error::Trouble;
use crate::targets::postgres::identity::BEGAN;
use crate::targets::postgres::render::{id, lit};
use crate::targets::postgres::server::ServerAddress;
use crate::targets::postgres::settings::{DEFAULT_ADMIN_ROLE, Place};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Shown in `pg_stat_activity`.
const APPLICATION_NAME: &str = "apono-connector";

impl Pool {
    /// Returns how to connect to the home database, in a way the server let us in just now.
    pub(in crate::targets::postgres) async fn proven_options(
        &self,
    ) -> Result<ConnectOptions, Trouble> {
        let server = self.find().await?;
        let (_, options) = self
            .log_in(&server, true, &self.settings.home.database)
            .await?;
        Ok(options)
    }

    /// Opens a connection to a replica, which is not counted among ours.
    pub(in crate::targets::postgres) async fn replica(
        &self,
        place: &Place,
    ) -> Result<Session, Trouble> {
        let server = ServerAddress::new(&place.host, place.port);
        let (session, _) = self
            .log_in(&server, false, &self.settings.home.database)
            .await?;
        self.become_admin(&session).await?;
        Ok(session)
    }

    /// Returns where the server is.
    pub(in crate::targets::postgres) async fn find(&self) -> Result<ServerAddress, Trouble> {
        self.place.find().await.map_err(Trouble::Server)
    }

    /// Logs in with the present credential; if that one is refused, with those it may have been rotated to or from.
    async fn log_in(
        &self,
        server: &ServerAddress,
        is_home: bool,
        database: &str,
    ) -> Result<(Session, ConnectOptions), Trouble> {
        let holding = self.holding.load(Ordering::Relaxed);
        let mut credential = self.credentials.present(server, holding).await?;
        let mut tried = Vec::new();
        let mut refusal = None;
        loop {
            if is_home {
                fits(&credential, &server.host)?;
            }
            let mut options = self.options(server, database, &credential).await?;
            options.pass_over_replicas = is_home;
            match Session::connect(&options).await.map_err(Trouble::from) {
                Ok(session) => {
                    self.credentials.worked(credential);
                    return Ok((session, options));
                }
                Err(error) if error.is_refused_login() => {
                    tracing::info!(error = %error, "the login was refused, looking for another version of the secret");
                    let first = refusal.unwrap_or(error);
                    tried.push(credential);
                    match self.credentials.next(&tried, holding).await {
                        Some(next) => credential = next,
                        None => return Err(first),
                    }
                    refusal = Some(first);
                }
                Err(error) => {
                    if is_home {
                        // It may have moved.
                        self.place.look_again();
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn options(
        &self,
        server: &ServerAddress,
        database: &str,
        credential: &DatabaseCredential,
    ) -> Result<ConnectOptions, Trouble> {
        Ok(ConnectOptions {
            host: server.host.clone(),
            port: server.port,
            database: database.to_owned(),
            user: credential.username.clone(),
            password: credential.password.clone(),
            ssl_mode: self.settings.tls,
            root_ca_pem: self.settings.tls_files.root_ca().await?,
            client: self.settings.tls_files.client().await?,
            application_name: APPLICATION_NAME.to_owned(),
            pass_over_replicas: false,
            names: server.names(),
        })
    }

    pub(super) async fn connect(&self, database: &str) -> Result<Opened, Trouble> {
        let server = self.find().await?;
        let (session, _) = self.log_in(&server, true, database).await?;
        if session.server().in_recovery {
            self.place.look_again();
            return Err(Trouble::Replica { host: server.host });
        }
        // A primary may be set to read-only by default, and to answer a commit before it is on disk; our transactions say what they are.
        let set_up = session
            .batch(
                "allow writing",
                &format!(
                    "SET default_transaction_read_only = off;\n\
                     SELECT pg_catalog.set_config('synchronous_commit', 'local', false) WHERE pg_catalog.current_setting('synchronous_commit') = 'off';\n{BEGAN}"
                ),
            )
            .await?;
        let began = set_up
            .rows
            .last()
            .and_then(|row| row.first())
            .cloned()
            .flatten();
        let server = self.recognise(&session, began.unwrap_or_default()).await?;
        self.become_admin(&session).await?;
        Ok(Opened {
            session,
            server,
            at: Instant::now(),
        })
    }

    /// Acts as the admin role from here on, and reads back that it is so: some servers ignore a setting without a word.
    async fn become_admin(&self, session: &Session) -> Result<(), Trouble> {
        let role = match &self.settings.admin_role {
            Some(role) => role.clone(),
            None => {
                let right = if session.server().major() >= 16 {
                    "SET"
                } else {
                    "MEMBER"
                };
                let known = session
                    .batch(
                        "look for the admin role",
                        &format!(
                            "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = {} AND pg_catalog.pg_has_role(session_user, oid, '{right}')",
                            lit(DEFAULT_ADMIN_ROLE)
                        ),
                    )
                    .await?;
                match known.text() {
                    Some(role) => role.to_owned(),
                    None => return Ok(()),
                }
            }
        };
        let me = session
            .batch(
                "act as the admin role",
                &format!("SET ROLE {}; SELECT current_user", id(&role)),
            )
            .await;
        let user = &session.server().session_user;
        match me {
            Ok(me) if me.text() == Some(role.as_str()) => Ok(()),
            Ok(_) => Err(Trouble::admin_role_refused(&role, user)),
            Err(error) => Err(match error.sqlstate() {
                Some("42501") => Trouble::admin_role_refused(&role, user),
                Some("22023" | "42704") => Trouble::admin_role_missing(&role, user),
                _ => error.into(),
            }),
        }
    }
}

/// A secret that says its host goes to no other one.
fn fits(credential: &DatabaseCredential, host: &str) -> Result<(), Trouble> {
    match &credential.host {
        Some(bound) if bound != host => Err(Trouble::operator(
            "secret_for_another_host",
            format!(
                "the secret is for host `{}`, the integration says `{host}`",
                crate::domain::shown(bound)
            ),
            "correct `hostname`, or point the integration at the secret of this server",
        )),
        _ => Ok(()),
    }
}
