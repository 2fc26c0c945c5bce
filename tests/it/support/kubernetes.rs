//! Owns a Kubernetes API that knows secrets only, and of those only the one question the connector may ask.

use super::certificate::Certificates;
use super::strict_http::{Answer, Heard, StrictServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

pub(crate) struct Kubernetes {
    pub(crate) server: StrictServer,
    pub(crate) certificates: Certificates,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    token: String,
    /// By namespace and name.
    secrets: BTreeMap<String, Value>,
    /// A status for every question.
    instead: Option<u16>,
}

impl Kubernetes {
    pub(crate) fn start(token: &str) -> Self {
        let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
        let state = Arc::new(Mutex::new(State {
            token: token.to_owned(),
            ..State::default()
        }));
        let seen = Arc::clone(&state);
        let server = StrictServer::start(Some(&certificates), move |heard| {
            seen.lock().unwrap().answer(heard)
        });
        Self {
            server,
            certificates,
            state,
        }
    }

    /// Stores a secret under `namespace/name`, with the mark of the connector.
    pub(crate) fn store(&self, place: &str, data: &[(&str, &str)]) {
        self.store_marked(place, "true", data);
    }

    pub(crate) fn store_marked(&self, place: &str, mark: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data
            .iter()
            .map(|(key, value)| (*key, STANDARD.encode(value)))
            .collect();
        self.store_raw(place, mark, json!(data));
    }

    pub(crate) fn store_raw(&self, place: &str, mark: &str, data: Value) {
        let (namespace, name) = place.split_once('/').unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"namespace": namespace, "name": name, "labels": {"apono-connector-read": mark}},
            "data": data,
        });
        let mut state = self.state.lock().unwrap();
        state.secrets.insert(place.to_owned(), secret);
    }

    pub(crate) fn accept_token(&self, token: &str) {
        self.state.lock().unwrap().token = token.to_owned();
    }

    pub(crate) fn answer_instead(&self, status: Option<u16>) {
        self.state.lock().unwrap().instead = status;
    }
}

impl State {
    fn answer(&self, heard: &Heard) -> Answer {
        let path = heard.path.strip_prefix("/api/v1/namespaces/")?;
        let (namespace, name) = path.split_once("/secrets/")?;
        let accept = heard.header("accept");
        let whole = match accept {
            "application/json" => true,
            METADATA => false,
            _ => return None,
        };
        let fits = heard.method == "GET"
            && heard.body.is_empty()
            && !name.contains(['/', '?'])
            && heard.header("user-agent").starts_with("apono-connector/");
        if !fits {
            return None;
        }
        if let Some(status) = self.instead {
            return Some((status, failure(status)));
        }
        if heard.header("authorization") != format!("Bearer {}", self.token) {
            return Some((401, failure(401)));
        }
        let Some(found) = self.secrets.get(&format!("{namespace}/{name}")) else {
            return Some((404, failure(404)));
        };
        let mut found = found.clone();
        if !whole {
            let fields = found.as_object_mut().unwrap();
            fields.remove("data");
            fields["kind"] = json!("PartialObjectMetadata");
        }
        Some((200, found.to_string()))
    }
}

fn failure(code: u16) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "hunter2"})
        .to_string()
}
