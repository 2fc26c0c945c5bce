//! `close-all --sql`: what an administrator runs on a copy that no connector manages.

use super::world::{CONNECTOR_PASSWORD, World, person};
use crate::support::cluster::{Cluster, SUPERUSER_PASSWORD, on_every_server};
use crate::support::replica::Pair;
use apono_connector::domain::Permission;
use apono_connector::pg::Session;
use std::io::Write;
use std::process::{Command, Stdio};

/// A connector nobody else in these tests is: what is closed is everything of one connector.
const CONNECTOR: &str = "c-of-a-copy";

/// What the command prints.
fn printed() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_apono-connector"))
        .args(["close-all", "--sql"])
        .env_clear()
        .env("APONO_URL", "https://plane.example")
        .env("APONO_CONNECTOR_ID", CONNECTOR)
        .env("APONO_TOKEN", "token-of-a-test")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs SQL as an administrator would; returns what is left by its last statement.
fn run(server: &Cluster, user: &str, password: &str, role: Option<&str>, sql: &str) -> String {
    let mut command = server.psql_command(user, password, "postgres");
    if let Some(role) = role {
        command.env("PGOPTIONS", format!("-c role={role}"));
    }
    let mut psql = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    psql.stdin
        .take()
        .unwrap()
        .write_all(sql.as_bytes())
        .unwrap();
    let output = psql.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

on_every_server! {
    async fn close_all_closes_everything_of_ours_on_a_copy_outside_management(cluster: &Cluster) {
        let pair = Pair::shared(cluster.version).await;
        let world = World::new(pair.primary).await;
        let ours = world.another(CONNECTOR);
        let mut people = Vec::new();
        for (name, schema) in [("alice", "shop"), ("bob", "other")] {
            let grant = world.grant(&person(name), world.schema(schema), Permission::ReadWrite);
            people.push(world.opened(&world.run(&ours, &world.order(&grant)).await.unwrap()));
        }
        let others = world.grant(&person("carol"), world.schema("shop"), Permission::ReadOnly);
        let others = world.open(&others).await;
        let copy = pair.primary.clone_of_now().await;
        let mut sessions = Vec::new();
        for her in people.iter().chain([&others]) {
            sessions.push(Session::connect(&copy.options(&her.login, &her.password, &world.database)).await.unwrap());
        }
        // She holds a lock on her own role, which stands in the way of an ALTER ROLE.
        sessions[0].batch("fight", "BEGIN; ALTER ROLE CURRENT_USER SET work_mem = '1MB'; ALTER ROLE CURRENT_USER PASSWORD 'x'").await.unwrap();

        let sql = printed();
        let left = run(&copy, &world.user, CONNECTOR_PASSWORD, Some(&world.admin), &sql);
        assert_eq!(left, "");
        let root = copy.superuser(&world.database).await;
        for her in &people {
            let state = root.batch("look", &format!(
                "SELECT rolcanlogin, (SELECT count(*) FROM pg_auth_members WHERE member = r.oid), \
                 (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid), \
                 (SELECT count(*) FROM pg_auth_members WHERE roleid = r.oid AND grantor = member) FROM pg_roles r WHERE rolname = '{}'",
                her.login
            )).await.unwrap();
            let cells: Vec<_> = state.rows[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
            assert_eq!(cells, ["f", "0", "0", "0"], "{}", her.login);
            assert!(Session::connect(&copy.options(&her.login, &her.password, &world.database)).await.is_err());
        }
        assert!(sessions[0].batch("go on", "SELECT 1").await.is_err());
        assert!(sessions[2].batch("go on", "SELECT * FROM shop.orders").await.is_ok(), "another connector's stays");
        // Again, and as a superuser.
        assert_eq!(run(&copy, "postgres", SUPERUSER_PASSWORD, None, &sql), "");
    }
}
