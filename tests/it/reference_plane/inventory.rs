//! Uploads of inventories: all or nothing.

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
    let based = json!({"op": "begin", "upload": Uuid::now_v7(), "base": 7});
    let mut long = upsert("long");
    long["resource"]["comment"] = json!("x".repeat(70_000));
    let half = lines(&[begin(), upsert("a"), commit(1)]);
    for (body, status, reason) in [
        (gzip(&lines(&[begin(), upsert("a")])), 400, "broken_upload"),
        (gzip(&half[..half.len() - 1]), 400, "broken_upload"),
        (good[..good.len() - 9].to_vec(), 400, "broken_upload"),
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
            gzip(&lines(&[begin(), upsert("a"), upsert("a"), commit(2)])),
            422,
            "duplicate_resource",
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
