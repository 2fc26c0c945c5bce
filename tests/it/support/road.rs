//! Owns the recommended set-up of a server for the connector, which `docs/postgresql.md` asks an administrator to run once, and logins for tests.

use super::cluster::{Cluster, fresh};
use apono_connector::pg::ConnectOptions;

/// One connector's place on a server that tests share.
pub(crate) struct Road {
    /// Owns nothing, makes every role of ours: NOLOGIN CREATEROLE.
    pub(crate) admin: String,
    /// Owns the database; the admin is a member.
    pub(crate) owner: String,
    /// A database of the owner's.
    pub(crate) database: String,
    /// How the connector logs in to that database.
    pub(crate) connector: ConnectOptions,
}

/// Makes a database and the roles of the recommended set-up, all with names nobody else uses.
pub(crate) async fn set_up_admin_road(cluster: &Cluster) -> Road {
    let owner = fresh("owner");
    let admin = fresh("apono_admin");
    let connector = fresh("apono_connector");
    let password = "connector-of-a-test";
    let superuser = cluster.superuser("postgres").await;
    let inherit_only = if superuser.server().major() >= 16 {
        " WITH INHERIT TRUE, SET FALSE"
    } else {
        ""
    };
    superuser
        .batch(
            "set up the admin road",
            &format!(
                "CREATE ROLE {owner} NOLOGIN; \
                 CREATE ROLE {admin} NOLOGIN CREATEROLE; \
                 CREATE ROLE {connector} LOGIN PASSWORD '{password}'; \
                 GRANT {admin} TO {connector}; \
                 GRANT {owner} TO {admin}{inherit_only}"
            ),
        )
        .await
        .unwrap();
    let database = cluster.fresh_database(&owner).await;
    Road {
        connector: cluster.options(&connector, password, &database),
        admin,
        owner,
        database,
    }
}

/// Makes a login nobody else uses, with password `good`, and returns how it connects.
pub(crate) async fn fresh_login(cluster: &Cluster, attributes: &str) -> ConnectOptions {
    let user = fresh("person");
    cluster
        .superuser("postgres")
        .await
        .batch(
            "make a login",
            &format!("CREATE ROLE {user} PASSWORD 'good' {attributes}"),
        )
        .await
        .unwrap();
    cluster.options(&user, "good", "postgres")
}
