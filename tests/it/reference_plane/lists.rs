//! The connector's two lists.

use super::harness::{Plane, text};
use serde_json::json;

#[tokio::test]
async fn a_grant_is_listed_from_its_first_delivery_until_its_end_is_reported() {
    let (plane, instance) = Plane::with_orders().await;
    let id = plane.ask("alice@example.com", 600).await;
    assert_eq!(plane.read("grants?since=0").await["grants"], json!([]));
    let task = plane.lease(&instance, 1, 0).await.remove(0);
    let page = plane.read("grants?since=0").await;
    assert_eq!(page["grants"][0]["grant"]["id"], json!(id));
    assert_eq!(page["grants"][0]["ended"], false);
    let seen = page["through"].as_u64().unwrap();
    assert_eq!(page["header"]["grants_revision"], seen);

    plane.order(&format!("grants/{id}/revoke"), json!({})).await;
    let end = plane.lease_new(&instance, &[&task]).await.remove(0);
    plane
        .succeed(&instance, &end, json!({"end": plane.end(&end, true)}))
        .await;
    let page = plane.read(&format!("grants?since={seen}")).await;
    assert_eq!(page["grants"][0]["ended"], true);
    assert!(page["through"].as_u64().unwrap() > seen);
    assert_eq!(plane.read("grants?since=0").await["grants"], json!([]));
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let plane = Plane::start().await;
    for n in 0..1003 {
        plane.add_integration(&format!("i{n}")).await;
    }
    let mut seen = Vec::new();
    let mut since = 0;
    let mut pages = 0;
    loop {
        let page = plane.read(&format!("integrations?since={since}")).await;
        let entries = page["integrations"].as_array().unwrap();
        seen.extend(entries.iter().map(|entry| text(&entry["name"])));
        since = page["through"].as_u64().unwrap();
        pages += 1;
        if page["through"] == page["header"]["integrations_revision"] {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (2, 1003));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1003);
}

#[tokio::test]
async fn a_connector_sees_only_its_own() {
    let (plane, instance) = Plane::with_orders().await;
    plane.active(&instance, "alice@example.com", 600).await;
    let token = super::harness::CONNECTOR_TOKEN;
    for list in ["grants", "integrations"] {
        let path = format!("/v1/connectors/c2/{list}?since=0");
        let (status, page) = plane.call(token, &path, None).await;
        assert_eq!((status, &page[list]), (200, &json!([])));
        assert_eq!(page["header"][format!("{list}_revision")], 0);
    }
    let path = "/v1/connectors/c2/tasks/lease";
    let ask = json!({"session": instance.session, "free_any": 1, "free_end": 1, "wait_s": 0});
    assert_eq!(plane.call(token, path, Some(ask)).await.0, 404);
}
