//! Uploads of inventories: packed into parts, each a call of its own.

use super::scripted::{Reply, Scripted};
use super::{header, id, options, plane};
use apono_connector::control::{
    ControlPlane, InventoryBase, InventoryChange, InventoryParcel, InventoryPart,
};
use apono_connector::domain::{
    AccessRecord, ErrorClass, IntegrationId, InventoryId, InventoryRecord, Permission,
    RecordStatus, ResourceKind,
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::io::Read;

fn number(nth: u64) -> InventoryId {
    InventoryId::parse(&format!("{nth:032x}")).unwrap()
}

fn resource(nth: u64) -> InventoryChange {
    InventoryChange::Resource(Box::new(InventoryRecord {
        id: number(nth),
        native_id: nth.to_string(),
        name: format!("schema \"{nth}\"\n"),
        path: vec!["app".to_owned(), format!("schema \"{nth}\"\n")],
        kind: ResourceKind::PostgresSchema,
        flavour: String::new(),
        owner: Some("owner".to_owned()),
        comment: None,
        tags: [("env".to_owned(), "prod".to_owned())].into(),
        context: [("state".to_owned(), "ACTIVE".to_owned())].into(),
        permissions: vec![Permission::ReadOnly, Permission::ReadWrite],
        status: RecordStatus::Error("no right".to_owned()),
        part: None,
        discovered: None,
    }))
}

fn access() -> InventoryChange {
    InventoryChange::Access(Box::new(AccessRecord {
        id: number(77),
        holder: None,
        kind: ResourceKind::PostgresDatabase,
        path: vec!["app".to_owned()],
        privileges: vec!["CONNECT".to_owned()],
        may_pass_on: Vec::new(),
    }))
}

fn lines(part: &InventoryPart) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(&part.body()[..])
        .read_to_string(&mut text)
        .unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[test]
fn an_upload_is_packed_into_parts_that_each_stand_alone() {
    let base = InventoryBase {
        epoch: id(1),
        revision: 7,
    };
    let mut parcel = InventoryParcel::new(id(40), Some(base)).unwrap();
    let mut parts = Vec::new();
    let mut added = 0;
    while parts.len() < 3 {
        parcel.add(&resource(added)).unwrap();
        added += 1;
        if parcel.is_full() {
            parts.push(parcel.close().unwrap());
        }
    }
    let under = vec!["shut".to_owned()];
    let rest = [
        access(),
        InventoryChange::Gone(number(99)),
        InventoryChange::Unseen(under.clone()),
        InventoryChange::Replace(under),
    ];
    for change in &rest {
        parcel.add(change).unwrap();
    }
    parts.push(parcel.commit().unwrap());
    let mut total = 0;
    for (nth, part) in parts.iter().enumerate() {
        let lines = lines(part);
        let begin = json!({"op": "begin", "upload": id(40), "part": nth, "base": {"epoch": id(1), "revision": 7}});
        assert_eq!(lines[0], begin);
        assert!(part.bytes() < 400 << 10, "{} bytes", part.bytes());
        let count = lines.len() - 2;
        total += count;
        let last = match nth {
            3 => json!({"op": "commit", "count": total}),
            _ => json!({"op": "more", "count": count}),
        };
        assert_eq!(lines[count + 1], last);
        assert_eq!((part.number as usize, part.last), (nth, nth == 3));
    }
    assert_eq!(total as u64, added + 4);
    insta::assert_snapshot!(lines(&parts[0])[1], @r#"
    {"op":"upsert","resource":{"context":{"state":"ACTIVE"},"flavour":"","id":"00000000000000000000000000000000","name":"schema \"0\"\n","native_id":"0","owner":"owner","path":["app","schema \"0\"\n"],"permissions":["READ_ONLY","READ_WRITE"],"problem":"no right","status":"error","tags":{"env":"prod"},"type":"postgresql-schema"}}
    "#);
    let rest: Vec<String> = lines(&parts[3])[1..5]
        .iter()
        .map(Value::to_string)
        .collect();
    insta::assert_snapshot!(rest.join("\n"), @r#"
    {"access":{"id":"0000000000000000000000000000004d","path":["app"],"privileges":["CONNECT"],"type":"postgresql-database"},"op":"access"}
    {"id":"00000000000000000000000000000063","op":"delete"}
    {"op":"unseen","under":["shut"]}
    {"op":"replace","under":["shut"]}
    "#);
}

#[tokio::test]
async fn a_part_is_sent_whole_and_the_last_one_brings_the_base_of_the_next_upload() {
    let integration = IntegrationId::new(id(30));
    let mut parcel = InventoryParcel::new(id(40), None).unwrap();
    let first = parcel.close().unwrap();
    let last = parcel.commit().unwrap();
    let server = Scripted::start([
        Reply::json(200, &json!({ "header": header(), "next": 1 })),
        Reply::json(
            200,
            &json!({ "header": header(), "next": 2, "revision": 8 }),
        ),
        Reply::json(200, &json!({ "header": header(), "next": 2 })),
    ])
    .await;
    let plane = plane(options(&server.url()));
    let receipt = plane.send_inventory(integration, &first).await.unwrap();
    assert_eq!(receipt.committed, None);
    let receipt = plane.send_inventory(integration, &last).await.unwrap();
    let base = receipt.committed.unwrap();
    assert_eq!((base.epoch, base.revision), (receipt.header.epoch, 8));
    // Without a revision nobody knows whether it was committed.
    let error = plane.send_inventory(integration, &last).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    let request = &server.received()[0];
    assert!(request.complete);
    assert_eq!(request.body, first.body());
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
    let line = format!(
        "POST /v1/connectors/c1/integrations/{}/inventory HTTP/1.1",
        id(30)
    );
    assert_eq!(request.request_line(), line);
}
