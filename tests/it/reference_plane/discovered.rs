//! What inventories found that asks to be managed: becoming an integration by consent, and what is said when it asks no more.

use super::harness::{CONNECTOR_TOKEN, Plane, text};
use serde_json::{Value, json};
use uuid::Uuid;

/// A database with a name, in a region, as it asks.
fn database(name: &str, region: &str, settings: Value) -> Value {
    let arn = format!("arn:aws:rds:{region}:123456789012:db:{name}");
    json!({"op": "upsert", "resource": {"id": format!("{region}-{name}"), "native_id": "db-1", "name": name, "path": [arn],
        "type": "aws-rds-instance", "permissions": [], "status": "active", "part": format!("rds {region}"),
        "discovered": {"name": name, "type": "aws-rds-postgresql", "settings": settings}}})
}

fn asking(name: &str) -> Value {
    let settings = json!({"region": "eu-west-1", "instance_id": name, "auth_type": "iam"});
    database(name, "eu-west-1", settings)
}

fn incomplete(name: &str) -> Value {
    let mut line = asking(name);
    line["resource"]["status"] = json!("error");
    line["resource"]["problem"] = json!("tag `apono-secret` is missing");
    line
}

async fn account(plane: &Plane, more: Value) -> String {
    let mut settings = json!({"region": "eu-west-1"});
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let new =
        json!({"connector": "c1", "name": "account", "type": "aws-account", "settings": settings});
    text(&plane.order("integrations", new).await["id"])
}

/// Uploads a whole inventory.
async fn upload(plane: &Plane, integration: &str, found: &[Value]) {
    let mut lines = vec![json!({"op": "begin", "upload": Uuid::now_v7()})];
    lines.extend_from_slice(found);
    lines.push(json!({"op": "commit", "count": found.len()}));
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("/v1/connectors/c1/integrations/{integration}/inventory");
    let sent = plane
        .http
        .post(plane.url(&path))
        .bearer_auth(CONNECTOR_TOKEN);
    let answer = sent.body(body).send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{}", answer.text().await.unwrap());
}

async fn integration(plane: &Plane, name: &str) -> Value {
    let all = plane.look("integrations").await;
    let all = all["integrations"].as_array().unwrap();
    let mut found = all.iter().filter(|one| one["name"] == name);
    found.next_back().cloned().unwrap_or_default()
}

/// Name and status of everything that asks.
async fn discovered(plane: &Plane) -> Vec<(String, String)> {
    let page = plane.look("integrations/account/discovered").await;
    let all = page["discovered"].as_array().unwrap().iter();
    all.map(|one| (text(&one["name"]), text(&one["status"])))
        .collect()
}

fn pair(name: &str, status: &str) -> (String, String) {
    (name.to_owned(), status.to_owned())
}

#[tokio::test]
async fn what_asks_to_be_managed_becomes_an_integration_only_when_somebody_says_so() {
    let plane = Plane::start().await;
    let id = account(&plane, json!({})).await;
    let mut plain = asking("plain");
    plain["resource"]
        .as_object_mut()
        .unwrap()
        .remove("discovered");
    let twin = database("twin", "eu-west-2", json!({"region": "eu-west-2"}));
    let found = [
        asking("orders"),
        incomplete("half"),
        plain,
        asking("twin"),
        twin,
    ];
    upload(&plane, &id, &found).await;
    let expected = [
        pair("half", "incomplete"),
        pair("orders", "ready"),
        pair("twin", "ready"),
        pair("twin", "ready"),
    ];
    assert_eq!(discovered(&plane).await, expected);
    assert_eq!(integration(&plane, "orders").await, Value::Null);
    let path = "integrations/account/discovered";
    for (which, status, reason) in [
        ("half", 409, "incomplete"),
        ("plain", 404, "unknown_resource"),
        ("twin", 409, "ambiguous"),
    ] {
        let (got, body) = plane.admin(path, json!({"resource": which})).await;
        assert_eq!(
            (got, text(&body["error"]["reason"])),
            (status, reason.to_owned())
        );
    }
    let new = json!({"resource": "orders", "name": "shop",
        "settings": {"admin_role": "apono_admin", "auth_type": "password"}});
    let made = plane.order(path, new).await;
    assert_eq!(made["found_in"], "account");
    assert_eq!(made["connector"], "c1");
    assert_eq!(made["type"], "aws-rds-postgresql");
    let settings = json!({"region": "eu-west-1", "instance_id": "orders", "auth_type": "password", "admin_role": "apono_admin"});
    assert_eq!(made["settings"], settings);
    let (status, again) = plane.admin(path, json!({"resource": "orders"})).await;
    assert_eq!(
        (status, text(&again["error"]["reason"])),
        (409, "added_already".to_owned())
    );
    let arn = "arn:aws:rds:eu-west-2:123456789012:db:twin";
    plane.order(path, json!({"resource": arn})).await;
    assert_eq!(
        integration(&plane, "twin").await["settings"]["region"],
        "eu-west-2"
    );
    // The connector has it in its list at once.
    let list = plane.read("integrations?since=0").await;
    let names: Vec<_> = list["integrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(&one["name"]))
        .collect();
    assert!(names.contains(&"shop".to_owned()), "{names:?}");
}

#[tokio::test]
async fn an_integration_whose_server_asks_no_more_or_for_something_else_says_so_and_stays() {
    let plane = Plane::start().await;
    let id = account(&plane, json!({})).await;
    upload(&plane, &id, &[asking("orders")]).await;
    let path = "integrations/account/discovered";
    plane.order(path, json!({"resource": "orders"})).await;
    let settings = integration(&plane, "orders").await["settings"].clone();
    let mut changed = asking("orders");
    changed["resource"]["discovered"]["settings"]["database_name"] = json!("other");
    changed["resource"]["discovered"]["secret"] = json!("aws-secretsmanager:another");
    for (found, expected) in [
        (vec![], "what it was found as is gone or asks no more"),
        (vec![incomplete("orders")], "tag `apono-secret` is missing"),
        (
            vec![changed],
            "it asks for something else now (`database_name`, the secret)",
        ),
    ] {
        upload(&plane, &id, &found).await;
        let seen = integration(&plane, "orders").await;
        let message = text(&seen["message"]);
        assert!(message.contains(expected), "{message}");
        assert_eq!(seen["state"], "active");
        assert_eq!(seen["settings"], settings, "never pointed elsewhere");
    }
    // What could not be looked at is no sign of anything.
    upload(&plane, &id, &[asking("orders")]).await;
    assert_eq!(integration(&plane, "orders").await["message"], "");
    let unseen = json!({"op": "unseen", "under": ["rds eu-west-1"]});
    upload(&plane, &id, &[unseen]).await;
    assert_eq!(integration(&plane, "orders").await["message"], "");
    assert_eq!(discovered(&plane).await, [pair("orders", "added")]);
    let elsewhere = json!({"op": "unseen", "under": ["rds eu-west-2"]});
    upload(&plane, &id, &[elsewhere]).await;
    assert_ne!(integration(&plane, "orders").await["message"], "");
}

#[tokio::test]
async fn with_connect_discovered_they_become_integrations_by_themselves_and_retired_ones_stay_retired()
 {
    let plane = Plane::start().await;
    plane.add_integration("taken").await;
    let id = account(&plane, json!({"connect_discovered": "true"})).await;
    let mut hostile = asking("hostile");
    hostile["resource"]["discovered"]["secret"] = json!("ftp:nowhere");
    let found = [
        asking("orders"),
        incomplete("half"),
        asking("taken"),
        hostile,
    ];
    upload(&plane, &id, &found).await;
    let expected = [
        pair("half", "incomplete"),
        pair("hostile", "ready"),
        pair("orders", "added"),
        pair("taken", "added"),
    ];
    assert_eq!(discovered(&plane).await, expected);
    assert_eq!(integration(&plane, "orders").await["found_in"], "account");
    assert_eq!(
        integration(&plane, "account-taken").await["found_in"],
        "account"
    );
    plane.order("integrations/orders/retire", json!({})).await;
    upload(&plane, &id, &found).await;
    assert_eq!(integration(&plane, "orders").await["state"], "retired");
    assert_eq!(discovered(&plane).await[2], pair("orders", "ready"));
    plane
        .order(
            "integrations/account/discovered",
            json!({"resource": "orders"}),
        )
        .await;
    assert_eq!(discovered(&plane).await[2], pair("orders", "added"));
    // Where it was found is not looked at any more; it stays in use.
    plane.order("integrations/account/retire", json!({})).await;
    let (status, refused) = plane
        .admin(
            "integrations/account/discovered",
            json!({"resource": "hostile"}),
        )
        .await;
    let reason = text(&refused["error"]["reason"]);
    assert_eq!((status, reason), (409, "integration_retiring".to_owned()));
    assert_eq!(integration(&plane, "orders").await["state"], "active");
}
