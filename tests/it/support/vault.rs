//! Owns a Vault that knows two key-value engines and three ways to log in, and refuses whatever its interface does not say.

use super::strict_http::{Answer, Heard, StrictServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// The mounts: name, and version.
const MOUNTS: [(&str, &str); 2] = [("kv", "1"), ("team/kv2", "2")];

pub(crate) struct Vault {
    pub(crate) server: StrictServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Secrets by mount and path.
    pub(crate) secrets: BTreeMap<String, Value>,
    /// Tokens that are good.
    pub(crate) tokens: Vec<String>,
    /// The service-account token that may log in.
    pub(crate) jwt: String,
    /// The lease of the next token, in seconds.
    pub(crate) lease: u64,
    pub(crate) renewals: u32,
    pub(crate) log_ins: u32,
    /// Renewals are refused.
    pub(crate) no_renewal: bool,
    /// A status for every question about secrets.
    pub(crate) instead: Option<u16>,
    pub(crate) namespace: Option<String>,
    /// Mounts may not be asked for.
    pub(crate) no_mounts: bool,
    /// The headers of the last signed question to AWS.
    pub(crate) aws: Value,
}

impl Vault {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            lease: 3600,
            ..State::default()
        }));
        let seen = Arc::clone(&state);
        let server = StrictServer::start(None, move |heard| seen.lock().unwrap().answer(heard));
        Self { server, state }
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub(crate) fn store(&self, place: &str, data: Value) {
        self.with(|state| state.secrets.insert(place.to_owned(), data));
    }
}

impl State {
    fn answer(&mut self, heard: &Heard) -> Answer {
        let fits = heard.header("x-vault-request") == "true"
            && self.namespace.as_deref().unwrap_or_default() == heard.header("x-vault-namespace")
            && !heard.path.contains('?');
        let path = heard.path.strip_prefix("/v1/").filter(|_| fits)?;
        match (heard.method.as_str(), path) {
            ("POST", "auth/kubernetes/login") => self.kubernetes(heard),
            ("POST", "auth/aws/login") => self.aws(heard),
            ("POST", "auth/token/renew-self") => self.renew(heard),
            ("GET", _) if heard.body.is_empty() => self.read(heard, path),
            _ => None,
        }
    }

    fn kubernetes(&mut self, heard: &Heard) -> Answer {
        let body = heard.json();
        if body.as_object()?.len() != 2 || !heard.header("x-vault-token").is_empty() {
            return None;
        }
        if body["role"] != "connector" || body["jwt"] != self.jwt.as_str() {
            return Some((403, errors("permission denied")));
        }
        Some(self.log_in())
    }

    fn aws(&mut self, heard: &Heard) -> Answer {
        let body = heard.json();
        let decoded = |key: &str| {
            let bytes = STANDARD.decode(body[key].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let fits = body["iam_http_request_method"] == "POST"
            && decoded("iam_request_body")? == "Action=GetCallerIdentity&Version=2011-06-15"
            && decoded("iam_request_url")? == "https://sts.eu-west-1.amazonaws.com/";
        if !fits {
            return None;
        }
        self.aws = serde_json::from_str(&decoded("iam_request_headers")?).ok()?;
        if body["role"] != "connector" {
            return Some((400, errors("entry for role not found")));
        }
        Some(self.log_in())
    }

    fn log_in(&mut self) -> (u16, String) {
        self.log_ins += 1;
        let token = format!("hvs.token-{}", self.log_ins);
        self.tokens.push(token.clone());
        let auth = json!({"client_token": token, "lease_duration": self.lease, "renewable": true});
        (200, json!({ "auth": auth }).to_string())
    }

    fn renew(&mut self, heard: &Heard) -> Answer {
        let token = heard.header("x-vault-token").to_owned();
        if heard.json() != json!({}) {
            return None;
        }
        if self.no_renewal || !self.tokens.contains(&token) {
            return Some((403, errors("permission denied")));
        }
        self.renewals += 1;
        let auth = json!({"client_token": token, "lease_duration": self.lease, "renewable": true});
        Some((200, json!({ "auth": auth }).to_string()))
    }

    fn read(&self, heard: &Heard, path: &str) -> Answer {
        if let Some(status) = self.instead {
            return Some((status, errors("hunter2")));
        }
        let token = heard.header("x-vault-token");
        if !self.tokens.iter().any(|one| one == token) {
            return Some((403, errors("permission denied")));
        }
        if let Some(path) = path.strip_prefix("sys/internal/ui/mounts/") {
            return self.mount(path);
        }
        for (mount, version) in MOUNTS {
            let Some(rest) = path
                .strip_prefix(mount)
                .and_then(|rest| rest.strip_prefix('/'))
            else {
                continue;
            };
            let rest = match version {
                "2" => rest.strip_prefix("data/")?,
                _ => rest,
            };
            let Some(data) = self.secrets.get(&format!("{mount}/{rest}")) else {
                return Some((404, errors("")));
            };
            if data.get("destroyed").is_some() {
                let body = json!({"data": {"data": null, "metadata": data}});
                return Some((404, body.to_string()));
            }
            let data = match version {
                "2" => {
                    json!({"data": data, "metadata": {"version": 3, "destroyed": false, "deletion_time": ""}})
                }
                _ => data.clone(),
            };
            return Some((200, json!({ "data": data }).to_string()));
        }
        None
    }

    fn mount(&self, path: &str) -> Answer {
        if self.no_mounts {
            return Some((403, errors("preflight capability check returned 403")));
        }
        let of = |(mount, _): &(&str, &str)| path.starts_with(&format!("{mount}/"));
        let Some((mount, version)) = MOUNTS.into_iter().find(of) else {
            return Some((403, errors("preflight capability check returned 403")));
        };
        let options = if version == "2" {
            json!({"version": "2"})
        } else {
            json!(null)
        };
        let data = json!({"path": format!("{mount}/"), "type": "kv", "options": options});
        Some((200, json!({ "data": data }).to_string()))
    }
}

fn errors(text: &str) -> String {
    json!({ "errors": [text] }).to_string()
}
