//! Owns the door: routes, tokens, the size of bodies, and how trouble is answered. Never decides anything about tasks.

mod admin;
mod connector;
mod inventory;
#[cfg(feature = "test-util")]
mod misbehaviour;

pub(super) use admin::Paths as AdminPaths;
pub(super) use connector::Paths as ConnectorPaths;

use super::error::Refusal;
use super::plane::Plane;
use super::{PlaneError, token};
use crate::control::protocol::{ErrorReply, ErrorSpec};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Largest body, inventories apart: 1 MiB.
const MAX_BODY: usize = 1 << 20;
/// How much of a body that is too large is still read, so that its sender reads the answer and not a broken connection.
const MAX_DRAINED: usize = 16 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What every handler gets.
pub(super) type Shared = State<Arc<Plane>>;

/// Which token a part of the API wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Connector,
    Admin,
}

/// Builds the routes.
pub(super) fn router(plane: Arc<Plane>) -> Router {
    let connectors = Router::new()
        .route("/sessions", post(connector::open_session))
        .route("/heartbeat", post(connector::heartbeat))
        .route("/ends", post(connector::ends))
        .route("/grants", get(connector::grants))
        .route("/integrations", get(connector::integrations))
        .route(
            "/integrations/{integration}/inventory",
            post(inventory::upload),
        )
        .route("/tasks/lease", post(connector::lease))
        .route("/tasks/{task}/renew", post(connector::renew))
        .route("/tasks/{task}/release", post(connector::release))
        .route("/tasks/{task}/result", post(connector::result));
    #[cfg(feature = "test-util")]
    let connectors = connectors.layer(middleware::from_fn_with_state(
        Arc::clone(&plane),
        misbehaviour::play,
    ));
    let admin = Router::new()
        .route(
            "/integrations",
            get(admin::integrations).post(admin::add_integration),
        )
        .route("/integrations/{integration}/retire", post(admin::retire))
        .route("/integrations/{integration}/check", post(admin::check))
        .route("/integrations/{integration}/sync", post(admin::sync))
        .route(
            "/integrations/{integration}/inventory",
            get(admin::inventory),
        )
        .route("/integrations/{integration}/access", get(admin::access))
        .route(
            "/integrations/{integration}/discovered",
            get(admin::discovered).post(admin::add_discovered),
        )
        .route("/grants", get(admin::grants).post(admin::grant))
        .route("/grants/{grant}", get(admin::grant_by_id))
        .route("/grants/{grant}/extend", post(admin::extend))
        .route("/grants/{grant}/revoke", post(admin::revoke))
        .route(
            "/grants/{grant}/reset-credentials",
            post(admin::reset_credentials),
        )
        .route("/tasks/{task}", get(admin::task))
        .route("/connectors", get(admin::connectors));
    #[cfg(feature = "test-util")]
    let admin = admin
        .route("/misbehave", post(misbehaviour::add))
        .route("/expire-leases", post(misbehaviour::expire_leases));
    let guard = |side: Side, plane: &Arc<Plane>| {
        middleware::from_fn_with_state((side, Arc::clone(plane)), check_token)
    };
    Router::new()
        .nest(
            "/v1/connectors/{connector}",
            connectors.layer(guard(Side::Connector, &plane)),
        )
        .nest("/admin/v1", admin.layer(guard(Side::Admin, &plane)))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(plane)
}

async fn check_token(
    State((side, plane)): State<(Side, Arc<Plane>)>,
    request: Request,
    next: Next,
) -> Response {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let (wanted, other) = match side {
        Side::Connector => (&plane.connector_token, &plane.admin_token),
        Side::Admin => (&plane.admin_token, &plane.connector_token),
    };
    // Both are compared, always, so that the time tells nothing.
    let (right, foreign) = (
        token::matches(presented, wanted),
        token::matches(presented, other),
    );
    if right {
        return next.run(request).await;
    }
    let refusal = if foreign {
        PlaneError::refuse(
            403,
            "wrong_token",
            "the token is for another part of the API",
        )
    } else {
        PlaneError::refuse(401, "unauthorised", "the bearer token is missing or wrong")
    };
    // The sender may still be sending; it must be able to read the answer.
    drain(request.into_body(), 0).await;
    refusal.into_response()
}

async fn unknown_path() -> PlaneError {
    PlaneError::not_found("unknown_path", "there is no such path")
}

async fn wrong_method() -> PlaneError {
    PlaneError::refuse(405, "wrong_method", "the path has no such method")
}

/// A JSON body of bounded size.
pub(super) struct Bounded<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Bounded<T> {
    type Rejection = PlaneError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, PlaneError> {
        let bytes = read_body(request.into_body()).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let problem = format!("the body cannot be understood: {error}");
            if error.is_data() {
                PlaneError::invalid("invalid_body", problem)
            } else {
                PlaneError::refuse(400, "invalid_json", problem)
            }
        })
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>, PlaneError> {
    let read = async {
        let mut stream = body.into_data_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|_| {
                PlaneError::refuse(400, "broken_body", "the body ended before its time")
            })?;
            if bytes.len() + chunk.len() > MAX_BODY {
                let seen = bytes.len() + chunk.len();
                drain(Body::from_stream(stream), seen).await;
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIME, read).await.map_err(|_| {
        PlaneError::refuse(408, "slow_body", "the body took longer than 30 s to arrive")
    })?
}

fn too_large() -> PlaneError {
    PlaneError::refuse(
        413,
        "body_too_large",
        format!("the body is larger than {MAX_BODY} bytes"),
    )
}

/// Reads the rest of a body, up to a limit, and forgets it.
async fn drain(body: Body, mut seen: usize) {
    let rest = async {
        let mut stream = body.into_data_stream();
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > MAX_DRAINED {
                break;
            }
        }
    };
    if tokio::time::timeout(BODY_TIME, rest).await.is_err() {
        tracing::debug!("a refused body took too long to arrive");
    }
}

impl IntoResponse for PlaneError {
    fn into_response(self) -> Response {
        let refusal = match self {
            Self::Refused(refusal) => refusal,
            Self::Stopping => Refusal {
                status: 503,
                error: ErrorSpec {
                    reason: "stopping".to_owned(),
                    message: "the control plane is going down".to_owned(),
                    hint: None,
                },
                retry_after_s: Some(1),
            },
            error @ (Self::Store(_)
            | Self::Damaged(_)
            | Self::InUse(_)
            | Self::File { .. }
            | Self::WeakToken { .. }
            | Self::Listen { .. }
            | Self::Exposed(_)
            | Self::Random) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a call failed");
                Refusal {
                    status: 500,
                    error: ErrorSpec {
                        reason: "internal".to_owned(),
                        message: "the control plane could not carry the call out".to_owned(),
                        hint: Some("see the control plane's log".to_owned()),
                    },
                    retry_after_s: None,
                }
            }
        };
        let status =
            StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Json(ErrorReply {
            error: refusal.error,
        });
        let mut response = (status, body).into_response();
        if let Some(seconds) = refusal.retry_after_s {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// The answers with an error status, for the description of the API.
#[expect(
    dead_code,
    reason = "describes answers; the code makes them from `PlaneError`"
)]
#[derive(utoipa::IntoResponses)]
pub(super) enum Refusals {
    /// The body is no JSON, or it broke off.
    #[response(status = 400)]
    Malformed(ErrorReply),
    /// The token is missing or wrong.
    #[response(status = 401)]
    Unauthorised(ErrorReply),
    /// The token is for another part of the API.
    #[response(status = 403)]
    Forbidden(ErrorReply),
    /// The object named does not exist.
    #[response(status = 404)]
    Unknown(ErrorReply),
    /// The object's state does not allow it.
    #[response(status = 409)]
    Conflict(ErrorReply),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorReply),
    /// The body is JSON, but a value does not fit.
    #[response(status = 422)]
    Invalid(ErrorReply),
    /// Too much at a time; `Retry-After` says when to come back.
    #[response(status = 429)]
    Throttled(ErrorReply),
}
