//! The command line, against a running server and a connector made of bare calls.

use super::harness::{ADMIN_TOKEN, Instance, Plane, text};
use apono_connector::reference_plane::answer;
use serde_json::{Value, json};
use std::path::PathBuf;

fn token_file(plane: &Plane) -> PathBuf {
    let path = plane.folder.path().join("admin-token");
    std::fs::write(&path, ADMIN_TOKEN).unwrap();
    path
}

async fn run(plane: &Plane, line: &str) -> Result<String, String> {
    let (url, file) = (plane.running.url(), token_file(plane));
    let mut args = vec!["--url", &url, "--admin-token-file", file.to_str().unwrap()];
    args.extend(line.split_whitespace());
    answer(&args).await
}

const GRANT: &str = "grant --integration orders --to alice@example.com --type postgresql-schema \
    --resource app/public --permission READ_ONLY --for 1h";

/// Carries the next order out, and seals the credential as a connector would.
async fn serve_one(plane: &Plane, instance: &Instance) -> Value {
    let task = plane.lease_when_ready(instance).await;
    let mut start = plane.started(&task);
    let clear = json!({"login": "alice_apono", "password": "s3cret-Password", "host": "127.0.0.1", "port": 5432,
        "database": "app", "sslmode": "disable", "expiry": task["grant"]["expiry"]});
    let recipient: age::x25519::Recipient = text(&task["recipient"]).parse().unwrap();
    let sealed = age::encrypt_and_armor(&recipient, clear.to_string().as_bytes()).unwrap();
    start["sealed_credential"] = json!(sealed);
    plane
        .succeed(instance, &task, json!({"start": start}))
        .await;
    task
}

#[tokio::test]
async fn a_grant_prints_the_credential_a_shell_can_use_and_the_store_never_sees_it() {
    let (plane, instance) = Plane::with_orders().await;
    let line = format!("{GRANT} --format env");
    let (printed, task) = tokio::join!(run(&plane, &line), serve_one(&plane, &instance));
    let printed = printed.unwrap();
    assert!(
        printed.contains("PGPASSWORD='s3cret-Password'\n"),
        "{printed}"
    );
    assert!(printed.contains("PGPORT='5432'\n"), "{printed}");
    let grant = text(&task["grant"]["id"]);
    assert!(
        printed.contains(&format!("APONO_GRANT='{grant}'\n")),
        "{printed}"
    );
    for name in ["plane.db", "plane.db-wal"] {
        let bytes = std::fs::read(plane.folder.path().join(name)).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!holds(b"s3cret-Password"), "{name}");
        assert!(holds(b"alice@example.com") || name == "plane.db", "{name}");
    }
}

#[tokio::test]
async fn a_reset_prints_a_new_credential() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    let line = format!("reset-credentials {id} --format uri");
    let (printed, _) = tokio::join!(run(&plane, &line), serve_one(&plane, &instance));
    let uri = "postgresql://alice_apono:s3cret-Password@127.0.0.1:5432/app?sslmode=disable\n";
    assert_eq!(printed.unwrap(), uri);
}

#[tokio::test]
async fn a_failed_grant_says_why_and_what_to_do() {
    let (plane, instance) = Plane::with_orders().await;
    let (printed, ()) = tokio::join!(run(&plane, GRANT), async {
        let task = plane.lease_when_ready(&instance).await;
        plane.fail(&instance, &task, "needs_operator").await;
    });
    let trouble = printed.unwrap_err();
    assert!(
        trouble.contains("failed: it did not work\nhint: mend it"),
        "{trouble}"
    );
    let refused = run(&plane, &GRANT.replace("orders", "nope"))
        .await
        .unwrap_err();
    assert!(
        refused.contains("`nope`\nhint: list the integrations"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_login_with_another_grant_keeps_its_password() {
    let (plane, instance) = Plane::with_orders().await;
    let (printed, ()) = tokio::join!(run(&plane, GRANT), async {
        let task = plane.lease_when_ready(&instance).await;
        let mut start = plane.started(&task);
        start["credential"] = json!("unchanged");
        start["sealed_credential"] = json!(null);
        plane
            .succeed(&instance, &task, json!({"start": start}))
            .await;
    });
    let printed = printed.unwrap();
    assert!(printed.contains("login    alice_apono\n"), "{printed}");
    assert!(printed.contains("the password in use stays"), "{printed}");
}

#[tokio::test]
async fn an_extension_a_revoke_and_the_table_of_grants_tell_the_times() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.active(&instance, "alice@example.com", 600).await;
    let line = format!("extend {id} --for 2h");
    let (printed, ()) = tokio::join!(run(&plane, &line), async {
        let task = plane.lease_when_ready(&instance).await;
        plane
            .succeed(&instance, &task, json!({"start": plane.started(&task)}))
            .await;
    });
    assert!(
        printed
            .unwrap()
            .starts_with(&format!("grant {id} ends at 20"))
    );
    let line = format!("revoke {id}");
    let (printed, ()) = tokio::join!(run(&plane, &line), async {
        let task = plane.lease_when_ready(&instance).await;
        plane
            .succeed(&instance, &task, json!({"end": plane.end(&task, true)}))
            .await;
    });
    let printed = printed.unwrap();
    assert!(
        printed.starts_with(&format!("grant {id} is ended at 20")),
        "{printed}"
    );
    let table = run(&plane, "grants --all").await.unwrap();
    let row = table.lines().nth(1).unwrap();
    assert!(
        row.contains("orders: postgresql-schema app/public"),
        "{row}"
    );
    assert!(row.trim_end().ends_with("Z  revoked"), "{row}");
    assert_eq!(run(&plane, "grants").await.unwrap().lines().count(), 1);
    let json = run(&plane, "grants --all --format json").await.unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["grant"]["id"], json!(id));
}

#[tokio::test]
async fn integrations_are_added_listed_and_retired() {
    let plane = Plane::start().await;
    let added = run(&plane, "integration add --connector c1 --name orders --type postgresql --setting hostname=db --setting port=5432 --secret file:/run/secrets/orders").await.unwrap();
    let listed = run(&plane, "integration list").await.unwrap();
    assert!(listed.contains(added.trim()), "{listed}");
    assert!(listed.contains("initializing"), "{listed}");
    let ordered = run(&plane, "integration sync orders --wait 0s")
        .await
        .unwrap();
    assert!(ordered.starts_with("ordered: task "), "{ordered}");
    let retired = run(&plane, "integration retire orders").await.unwrap();
    assert_eq!(retired, "orders is retired\n");
    assert!(
        run(&plane, "connectors")
            .await
            .unwrap()
            .starts_with("CONNECTOR")
    );
}

#[tokio::test]
async fn an_inventory_is_printed_as_a_tree() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let record = |kind: &str, path: Value| {
        let name = path.as_array().unwrap().last().unwrap().clone();
        json!({"op": "upsert", "resource": {"id": path.to_string(), "native_id": "1", "name": name, "path": path,
            "type": kind, "permissions": ["READ_ONLY"], "status": "active", "owner": "o"}})
    };
    let lines = [
        json!({"op": "begin", "upload": uuid::Uuid::now_v7()}),
        record("postgresql-table", json!(["app", "public", "t"])),
        record("postgresql-database", json!(["app"])),
        record("postgresql-schema", json!(["app", "public"])),
        record("postgresql-database", json!(["app-two"])),
        json!({"op": "commit", "count": 4}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let url = plane.url(&format!("/v1/connectors/c1/integrations/{id}/inventory"));
    let request = plane
        .http
        .post(url)
        .bearer_auth(super::harness::CONNECTOR_TOKEN)
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let tree = run(&plane, "inventory orders --tree").await.unwrap();
    let names: Vec<_> = tree
        .lines()
        .map(|line| line.split("  postgresql").next().unwrap().trim_end())
        .collect();
    assert_eq!(names, ["app", "  public", "    t", "app-two"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let plane = Plane::start().await;
    let file = token_file(&plane);
    let args = [
        "--url",
        "http://127.0.0.1:1",
        "--admin-token-file",
        file.to_str().unwrap(),
        "grants",
    ];
    let trouble = answer(&args).await.unwrap_err();
    assert!(trouble.contains("http://127.0.0.1:1"), "{trouble}");
    assert!(trouble.contains("hint: "), "{trouble}");
    let args = [
        "--url",
        "http://example.com",
        "--admin-token-file",
        file.to_str().unwrap(),
        "grants",
    ];
    assert!(answer(&args).await.unwrap_err().contains("https"));
}
