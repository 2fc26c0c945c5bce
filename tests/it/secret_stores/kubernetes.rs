//! Secrets of the cluster the connector runs in.

use super::{fetch, told};
use crate::support::kubernetes::Kubernetes;
use apono_connector::secrets::{KubernetesOptions, KubernetesSecrets};
use serde_json::json;

const SECRET: &str = "kubernetes:apono/orders";
const WHOLE: &str = "kubernetes:apono/orders/all.json";

struct Cluster {
    api: Kubernetes,
    store: KubernetesSecrets,
    folder: tempfile::TempDir,
}

fn cluster() -> Cluster {
    let api = Kubernetes::start("token-1");
    let folder = tempfile::tempdir().unwrap();
    let (token_file, ca_file) = (folder.path().join("token"), folder.path().join("ca.crt"));
    std::fs::write(&token_file, "token-1\n").unwrap();
    std::fs::write(&ca_file, &*api.certificates.ca).unwrap();
    let store = KubernetesSecrets::new(KubernetesOptions {
        url: api.server.url().parse().unwrap(),
        token_file,
        ca_file,
    });
    Cluster { api, store, folder }
}

#[tokio::test]
async fn a_kubernetes_secret_is_read_by_its_keys_or_from_one_key_as_json() {
    let Cluster {
        api,
        store,
        folder: _kept,
    } = cluster();
    api.store("apono/orders", &[("username", "u"), ("password", "p")]);
    let found = fetch(&store, SECRET).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.password.expose()),
        ("u", "p")
    );
    assert_eq!(found.host, None);
    let body = r#"{"username":"u2","password":"p2","host":"db","port":5432}"#;
    api.store("apono/orders", &[("all.json", body), ("other", "x")]);
    let found = fetch(&store, WHOLE).await.unwrap();
    assert_eq!(
        (found.username.as_str(), found.password.expose()),
        ("u2", "p2")
    );
    assert_eq!(found.host.as_deref(), Some("db"));
    api.server.no_surprises();
}

#[tokio::test]
async fn a_kubernetes_secret_without_the_label_is_not_even_transferred() {
    let Cluster {
        api,
        store,
        folder: _kept,
    } = cluster();
    api.store_marked(
        "apono/orders",
        "yes",
        &[("username", "u"), ("password", "hunter2")],
    );
    let expected = "S has no label `apono-connector-read=true`, without which the connector does not read it | needs_operator | kubectl label secret -n apono orders apono-connector-read=true";
    assert_eq!(told(fetch(&store, SECRET).await, SECRET), expected);
    let heard = api.server.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].header("accept").contains("PartialObjectMetadata"));
}

#[tokio::test]
async fn a_service_account_token_that_was_replaced_is_used_at_once() {
    let Cluster { api, store, folder } = cluster();
    api.store("apono/orders", &[("username", "u"), ("password", "p")]);
    fetch(&store, SECRET).await.unwrap();
    api.accept_token("token-2");
    let expected = "S cannot be read: the log-in to its store was refused (the service account's token) | needs_operator | give the connector's pod a service account of this cluster, and mount its token";
    assert_eq!(told(fetch(&store, SECRET).await, SECRET), expected);
    std::fs::write(folder.path().join("token"), "token-2\n").unwrap();
    fetch(&store, SECRET).await.unwrap();
    for token in ["", "two words", "line\nbreak"] {
        std::fs::write(folder.path().join("token"), token).unwrap();
        let text = told(fetch(&store, SECRET).await, SECRET);
        assert!(text.contains("(the token in `"), "{text}");
    }
    api.server.no_surprises();
}

#[tokio::test]
async fn each_refusal_of_the_cluster_has_its_words_and_its_fix() {
    let Cluster {
        api,
        store,
        folder: _kept,
    } = cluster();
    for (status, expected) in [
        (
            403,
            "S may not be read by the connector: `get secrets` was refused | needs_operator | kubectl create role apono-connector-read -n apono --verb=get --resource=secrets --resource-name=orders, and bind it to the connector's service account",
        ),
        (
            404,
            "S does not exist | unauthorised | create the secret `orders` in the namespace `apono`",
        ),
        (
            429,
            "S was not read: the store asks to slow down | throttled | raise `secrets.keep_s`",
        ),
        (
            500,
            "S cannot be read: the store answers `500` | transient | check that `secrets.kubernetes.url` is the API server of the cluster",
        ),
        (
            302,
            "S cannot be read: the store answers `302` | needs_operator | check that `secrets.kubernetes.url` is the API server of the cluster",
        ),
    ] {
        api.answer_instead(Some(status));
        assert_eq!(told(fetch(&store, SECRET).await, SECRET), expected);
    }
    api.server.no_surprises();
}

#[tokio::test]
async fn bad_content_of_a_kubernetes_secret_is_named_and_never_shown() {
    let Cluster {
        api,
        store,
        folder: _kept,
    } = cluster();
    let long = format!(
        r#"{{"username":"u","password":"hunter2","x":"{}"}}"#,
        "x".repeat(60 << 10)
    );
    api.store("apono/orders", &[("all.json", &long)]);
    fetch(&store, WHOLE).await.unwrap();
    let longer = format!(
        r#"{{"username":"hunter2","password":"{}"}}"#,
        "hunter2".repeat(10_000)
    );
    for (data, reference, expected) in [
        (
            json!({"username": "aHVudGVyMg=="}),
            SECRET,
            "S: `password` is missing",
        ),
        (json!({}), SECRET, "S: `username` is missing"),
        (json!(null), SECRET, "S: `username` is missing"),
        (
            json!({"username": "!hunter2"}),
            SECRET,
            "S: `username` is not base64",
        ),
        (
            json!({"username": 7}),
            SECRET,
            "S: `username` is not base64",
        ),
        (
            json!({"username": "/w==", "password": "/w=="}),
            SECRET,
            "S: `username` is not a text",
        ),
        (
            json!({"username": "aA==", "password": ""}),
            SECRET,
            "S: `password` is empty",
        ),
        (
            json!({"username": "aA=="}),
            WHOLE,
            "S: `all.json` is missing",
        ),
        (
            json!({"all.json": "aHVudGVyMg=="}),
            WHOLE,
            "S is not a JSON object, trouble at line 1 column 1",
        ),
        (
            json!({"all.json": "/w=="}),
            WHOLE,
            "S is not a JSON object, trouble at line 1 column 1",
        ),
    ] {
        api.store_raw("apono/orders", "true", data);
        let text = told(fetch(&store, reference).await, reference);
        assert_eq!(text.split(" | ").next(), Some(expected));
    }
    api.store("apono/orders", &[("all.json", &longer)]);
    let text = told(fetch(&store, WHOLE).await, WHOLE);
    assert!(text.starts_with("S is larger than 65536 bytes"), "{text}");
}

#[tokio::test]
async fn a_cluster_with_another_authority_gets_no_token() {
    let Cluster { api, store, folder } = cluster();
    let other = crate::support::certificate::Certificates::for_names(&["localhost"]);
    std::fs::write(folder.path().join("ca.crt"), &*other.ca).unwrap();
    let text = told(fetch(&store, SECRET).await, SECRET);
    assert!(
        text.starts_with("S cannot be read: its store cannot be reached | transient"),
        "{text}"
    );
    std::fs::write(folder.path().join("ca.crt"), "hunter2").unwrap();
    let text = told(fetch(&store, SECRET).await, SECRET);
    assert!(text.contains("(the authorities in `"), "{text}");
    assert!(api.server.heard().is_empty());
}
