//! Owns a server that plays STS and IAM, and remembers every request: what the emulators do not look at.

use apono_connector::clock::{Clock, SystemClock};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// One request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) headers: HashMap<String, String>,
    pub(super) form: HashMap<String, String>,
}

impl Request {
    pub(super) fn field(&self, name: &str) -> &str {
        self.form.get(name).map_or("", String::as_str)
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// The server, gone when dropped.
pub(super) struct Recorder {
    pub(super) url: String,
    requests: Requests,
    _server: JoinSet<()>,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&requests));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            requests,
            _server: server,
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn answer(State(requests): State<Requests>, headers: HeaderMap, body: Bytes) -> Response {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let request = Request { headers, form };
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len()
    };
    let end = SystemClock.now() + Duration::from_secs(3600);
    match request.field("Action") {
        "AssumeRole" => format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret-{number}</SecretAccessKey><SessionToken>token-{number}</SessionToken><Expiration>{end}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
        .into_response(),
        "GetCallerIdentity" => "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::650000000099:assumed-role/x/y</Arn><Account>650000000099</Account></GetCallerIdentityResult></GetCallerIdentityResponse>".into_response(),
        _ => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "<ErrorResponse><Error><Code>ServiceFailure</Code><Message>broken</Message></Error></ErrorResponse>",
        )
            .into_response(),
    }
}
