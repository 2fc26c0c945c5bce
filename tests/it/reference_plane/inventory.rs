//! Uploads of inventories: all or nothing, part by part, changes on top of what is there.

use super::harness::{CONNECTOR_TOKEN, Plane, text};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use uuid::Uuid;

fn begin() -> Value {
    json!({"op": "begin", "upload": Uuid::now_v7()})
}

fn upsert(name: &str) -> Value {
    json!({"op": "upsert", "resource": {"id": name, "native_id": "1", "name": name, "path": [name],
        "type": "postgresql-database", "permissions": ["READ_ONLY"], "status": "active"}})
}

fn commit(count: usize) -> Value {
    json!({"op": "commit", "count": count})
}

fn lines(lines: &[Value]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| format!("{line}\n").into_bytes())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn send(plane: &Plane, integration: &str, body: Vec<u8>) -> (u16, Value) {
    let url = plane.url(&format!(
        "/v1/connectors/c1/integrations/{integration}/inventory"
    ));
    let request = plane.http.post(url).bearer_auth(CONNECTOR_TOKEN);
    let answer = request
        .header("content-encoding", "gzip")
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn names(plane: &Plane) -> Vec<String> {
    let page = plane.look("integrations/orders/inventory").await;
    page["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| text(&record["name"]))
        .collect()
}

#[tokio::test]
async fn an_upload_replaces_the_inventory_at_once() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let body = lines(&[begin(), upsert("b"), upsert("a"), commit(2)]);
    let (status, first) = send(&plane, &id, gzip(&body)).await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(names(&plane).await, ["a", "b"]);
    let body = lines(&[begin(), upsert("c"), commit(1)]);
    let (_, second) = send(&plane, &id, gzip(&body)).await;
    assert!(second["revision"].as_u64() > first["revision"].as_u64());
    assert_eq!(names(&plane).await, ["c"]);
    assert_eq!(
        plane.look("integrations").await["integrations"][0]["resources"],
        1
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_or_makes_no_sense_changes_nothing() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let good = gzip(&lines(&[begin(), upsert("kept"), commit(1)]));
    assert_eq!(send(&plane, &id, good.clone()).await.0, 200);
    let based = json!({"op": "begin", "upload": Uuid::now_v7(), "base": {"epoch": Uuid::now_v7(), "revision": 7}});
    let delete = json!({"op": "delete", "id": "kept"});
    let mut nameless = upsert("x");
    nameless["resource"]["id"] = json!("x".repeat(65));
    let mut long = upsert("long");
    long["resource"]["comment"] = json!("x".repeat(70_000));
    let cut = gzip(&lines(&[begin(), upsert("cut"), commit(1)]));
    let half = lines(&[begin(), upsert("a"), commit(1)]);
    for (body, status, reason) in [
        (gzip(&lines(&[begin(), upsert("a")])), 400, "broken_upload"),
        (gzip(&half[..half.len() - 1]), 400, "broken_upload"),
        (cut[..cut.len() - 9].to_vec(), 400, "broken_upload"),
        (b"not gzip at all".to_vec(), 400, "broken_upload"),
        (
            gzip(&lines(&[begin(), upsert("a"), commit(2)])),
            422,
            "wrong_count",
        ),
        (
            gzip(&lines(&[upsert("a"), commit(1)])),
            422,
            "invalid_upload",
        ),
        (
            gzip(&lines(&[begin(), begin(), commit(0)])),
            422,
            "invalid_upload",
        ),
        (
            gzip(&lines(&[begin(), commit(0), upsert("a")])),
            422,
            "invalid_upload",
        ),
        (
            gzip(&lines(&[begin(), delete, commit(1)])),
            422,
            "invalid_upload",
        ),
        (
            gzip(&lines(&[begin(), nameless, commit(1)])),
            422,
            "invalid_line",
        ),
        (
            gzip(&lines(&[
                begin(),
                upsert("a"),
                json!({"op": "more", "count": 2}),
            ])),
            422,
            "wrong_count",
        ),
        (
            gzip(&lines(&[begin(), json!({"op": "explode"}), commit(1)])),
            422,
            "invalid_line",
        ),
        (gzip(&lines(&[based, commit(0)])), 409, "unknown_base"),
        (
            gzip(&lines(&[begin(), long, commit(1)])),
            413,
            "line_too_long",
        ),
        (gzip(&vec![b' '; 50 << 20]), 413, "line_too_long"),
    ] {
        let (answered, reply) = send(&plane, &id, body).await;
        assert_eq!(
            (answered, &reply["error"]["reason"]),
            (status, &json!(reason)),
            "{reply}"
        );
        assert_eq!(names(&plane).await, ["kept"]);
    }
    let (status, _) = send(&plane, &Uuid::now_v7().to_string(), good).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_large_upload_is_read_page_by_page() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let mut all = vec![begin()];
    all.extend((0..2500).map(|n| upsert(&format!("d{n:04}"))));
    all.push(commit(2500));
    let (status, reply) = send(&plane, &id, gzip(&lines(&all))).await;
    assert_eq!(status, 200, "{reply}");
    let mut seen = 0;
    let mut from = json!(0);
    while !from.is_null() {
        let page = plane
            .look(&format!("integrations/orders/inventory?from={from}"))
            .await;
        seen += page["resources"].as_array().unwrap().len();
        from = page["next"].clone();
    }
    assert_eq!(seen, 2500);
}

/// Sends one part of an upload and returns the answer.
async fn part(plane: &Plane, id: &str, head: &Value, rest: &[Value]) -> (u16, Value) {
    let mut all = vec![head.clone()];
    all.extend_from_slice(rest);
    send(plane, id, gzip(&lines(&all))).await
}

fn more(count: usize) -> Value {
    json!({"op": "more", "count": count})
}

fn head(upload: Uuid, part: u32, base: Option<&Value>) -> Value {
    let mut head = json!({"op": "begin", "upload": upload, "part": part});
    if let Some(reply) = base {
        head["base"] = json!({"epoch": reply["header"]["epoch"], "revision": reply["revision"]});
    }
    head
}

/// Uploads in one part and returns what was answered.
async fn all(plane: &Plane, id: &str, base: Option<&Value>, rest: &[Value]) -> Value {
    let mut rest = rest.to_vec();
    rest.push(commit(rest.len()));
    let (status, reply) = part(plane, id, &head(Uuid::now_v7(), 0, base), &rest).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

fn table(path: &[&str]) -> Value {
    let mut line = upsert(&path.join("/"));
    line["resource"]["path"] = json!(path);
    line
}

fn access(holder: &str, path: &[&str]) -> Value {
    json!({"op": "access", "access": {"id": format!("{holder} {}", path.join("/")), "holder": holder,
        "type": "postgresql-table", "path": path, "privileges": ["SELECT"]}})
}

fn delete(name: &str) -> Value {
    json!({"op": "delete", "id": name})
}

fn under(op: &str, path: &[&str]) -> Value {
    json!({"op": op, "under": path})
}

async fn deleted(plane: &Plane) -> Vec<String> {
    let page = plane
        .look("integrations/orders/inventory?deleted=true")
        .await;
    let resources = page["resources"].as_array().unwrap();
    assert!(resources.iter().all(|record| record["status"] == "deleted"));
    resources
        .iter()
        .map(|record| text(&record["name"]))
        .collect()
}

#[tokio::test]
async fn changes_on_a_base_change_only_what_they_name() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let first = all(
        &plane,
        &id,
        None,
        &[upsert("a"), upsert("b"), access("u", &["a", "s", "t"])],
    )
    .await;
    plane.pass(60);
    // A delete of what the same upload brings counts for nothing, whatever the order.
    let lines = [delete("c"), upsert("c"), delete("b"), delete("never there")];
    let second = all(&plane, &id, Some(&first), &lines).await;
    assert_eq!(names(&plane).await, ["a", "c"]);
    assert_eq!(deleted(&plane).await, ["b"]);
    let page = plane.look("integrations/orders/access").await;
    assert_eq!(page["access"][0]["holder"], "u");
    // What changes are based on must be what is there.
    for base in [
        &first,
        &json!({"header": {"epoch": Uuid::now_v7()}, "revision": second["revision"]}),
    ] {
        let (status, reply) = part(
            &plane,
            &id,
            &head(Uuid::now_v7(), 0, Some(base)),
            &[commit(0)],
        )
        .await;
        assert_eq!(
            (status, &reply["error"]["reason"]),
            (409, &json!("unknown_base"))
        );
    }
    let listed = plane.look("integrations").await;
    assert_eq!(listed["integrations"][0]["resources"], 2);
}

/// Rounded, as the store keeps whole microseconds.
fn seconds_after(begun: jiff::Timestamp, at: &Value) -> i64 {
    let at: jiff::Timestamp = text(at).parse().unwrap();
    at.duration_since(begun)
        .as_secs_f64()
        .round()
        .to_string()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn every_line_of_an_inventory_has_its_age() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let begun = plane.now();
    let both = [table(&["a", "s", "one"]), table(&["b", "s", "two"])];
    let first = all(&plane, &id, None, &both).await;
    plane.pass(3600);
    let mut changed = table(&["a", "s", "one"]);
    changed["resource"]["comment"] = json!("new");
    let lines = [changed, under("unseen", &["b"])];
    let second = all(&plane, &id, Some(&first), &lines).await;
    let page = plane.look("integrations/orders/inventory").await;
    let age = |nth: usize, key: &str| seconds_after(begun, &page["resources"][nth]["age"][key]);
    let ages = |nth| ["first_seen_at", "changed_at", "seen_at"].map(|key| age(nth, key));
    assert_eq!((ages(0), ages(1)), ([0, 3600, 3600], [0, 0, 0]));
    // Also after a full upload that cannot look either, and one that can.
    plane.pass(3600);
    all(
        &plane,
        &id,
        None,
        &[table(&["a", "s", "one"]), under("unseen", &["b"])],
    )
    .await;
    let page = plane.look("integrations/orders/inventory").await;
    let seen = |nth: usize| seconds_after(begun, &page["resources"][nth]["age"]["seen_at"]);
    assert_eq!((seen(0), seen(1)), (7200, 0));
    assert!(second["revision"].as_u64() > first["revision"].as_u64());
}

#[tokio::test]
async fn what_could_not_be_looked_at_stays_until_it_is_replaced() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let old = [
        table(&["a"]),
        table(&["a", "s"]),
        table(&["ab"]),
        table(&["b"]),
        table(&["b", "t"]),
    ];
    all(&plane, &id, None, &old).await;
    let full = all(&plane, &id, None, &[table(&["b"]), under("unseen", &["a"])]).await;
    assert_eq!(names(&plane).await, ["a/s", "b"]);
    let lines = [
        table(&["a"]),
        table(&["a", "new"]),
        under("replace", &["a"]),
    ];
    all(&plane, &id, Some(&full), &lines).await;
    assert_eq!(names(&plane).await, ["a", "a/new", "b"]);
    // What was replaced whole is brought over as gone by the sweep.
    let begun = std::time::Instant::now();
    while deleted(&plane).await != ["a/s", "ab", "b/t"] {
        assert!(
            begun.elapsed() < super::harness::PATIENCE,
            "{:?}",
            deleted(&plane).await
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    plane.pass(24 * 3600 * 31);
    while !deleted(&plane).await.is_empty() {
        assert!(begun.elapsed() < super::harness::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_part_counts_once_and_an_upload_goes_on_after_a_restart() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let upload = Uuid::now_v7();
    let first = [upsert("a"), more(1)];
    let (status, reply) = part(&plane, &id, &head(upload, 0, None), &first).await;
    assert_eq!((status, &reply["next"]), (200, &json!(1)), "{reply}");
    // Its answer was lost; then it broke off in the middle; then the control plane was restarted.
    part(&plane, &id, &head(upload, 0, None), &first).await;
    let (status, _) = part(&plane, &id, &head(upload, 1, None), &[upsert("b")]).await;
    assert_eq!(status, 400);
    let plane = plane.stop_and_start(false).await;
    let (status, _) = part(&plane, &id, &head(upload, 2, None), &[commit(2)]).await;
    assert_eq!(status, 409, "a part is missing");
    assert!(names(&plane).await.is_empty());
    let last = [upsert("b"), commit(2)];
    let (status, done) = part(&plane, &id, &head(upload, 1, None), &last).await;
    assert_eq!(status, 200, "{done}");
    let (status, again) = part(&plane, &id, &head(upload, 1, None), &last).await;
    assert_eq!(
        (status, &again["revision"]),
        (200, &done["revision"]),
        "{again}"
    );
    assert_eq!(names(&plane).await, ["a", "b"]);
}

#[tokio::test]
async fn an_upload_that_stands_still_or_is_overtaken_is_lost() {
    let plane = Plane::start().await;
    let id = plane.add_integration("orders").await;
    let (slow, still) = (Uuid::now_v7(), Uuid::now_v7());
    for upload in [slow, still] {
        part(
            &plane,
            &id,
            &head(upload, 0, None),
            &[upsert("old"), more(1)],
        )
        .await;
    }
    plane.pass(60);
    let newer = all(&plane, &id, None, &[upsert("new")]).await;
    let (status, reply) = part(&plane, &id, &head(slow, 1, None), &[commit(1)]).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("overtaken"))
    );
    let based = Uuid::now_v7();
    part(
        &plane,
        &id,
        &head(based, 0, Some(&newer)),
        &[upsert("more"), more(1)],
    )
    .await;
    let newest = all(&plane, &id, Some(&newer), &[upsert("newest")]).await;
    let (status, reply) = part(&plane, &id, &head(based, 1, Some(&newer)), &[commit(1)]).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("unknown_base"))
    );
    plane.pass(601);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let (status, reply) = part(&plane, &id, &head(still, 1, None), &[commit(1)]).await;
    assert_eq!(
        (status, &reply["error"]["reason"]),
        (409, &json!("upload_lost"))
    );
    assert_eq!(names(&plane).await, ["new", "newest"]);
    let plane = plane.stop_and_start(true).await;
    let (status, _) = part(
        &plane,
        &id,
        &head(Uuid::now_v7(), 0, Some(&newest)),
        &[commit(0)],
    )
    .await;
    assert_eq!(status, 409, "the base is of another epoch");
    assert_eq!(names(&plane).await, ["new", "newest"]);
}
