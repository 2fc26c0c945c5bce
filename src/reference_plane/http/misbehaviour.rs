//! Owns playing the script of misbehaviour around the calls of connectors. Never part of a normal build.

use super::{Bounded, Shared};
use crate::reference_plane::PlaneError;
use crate::reference_plane::plane::Plane;
use crate::reference_plane::script::{Fault, Misbehaviour};
use crate::reference_plane::store::Store;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;

/// Longest body that can be played twice.
const MAX_REPLAYED: usize = 64 << 20;
/// Longest time an answer is held back for another to overtake it.
const HELD_AT_MOST: Duration = Duration::from_secs(30);

/// Adds one thing to do wrong.
pub(super) async fn add(State(plane): Shared, Bounded(scene): Bounded<Misbehaviour>) -> StatusCode {
    plane.script.add(scene);
    StatusCode::NO_CONTENT
}

/// Ends every lease now.
pub(super) async fn expire_leases(State(plane): Shared) -> Result<StatusCode, PlaneError> {
    plane.change(Store::expire_leases).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Plays the script in one call.
pub(super) async fn play(State(plane): Shared, request: Request, next: Next) -> Response {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(fault) = plane.script.take(call) else {
        let response = next.run(request).await;
        plane.script.answered.notify_waiters();
        return response;
    };
    match misbehave(&plane, fault, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn misbehave(
    plane: &Arc<Plane>,
    fault: Fault,
    request: Request,
    next: Next,
) -> Result<Response, PlaneError> {
    match fault {
        Fault::DropRequest => Ok(broken(Bytes::new())),
        Fault::DropAnswer => {
            let answer = next.run(request).await;
            let body = axum::body::to_bytes(answer.into_body(), MAX_REPLAYED).await;
            let body = body.unwrap_or_default();
            Ok(broken(body.slice(..body.len() / 2)))
        }
        Fault::Delay { ms } => {
            let answer = next.run(request).await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(answer)
        }
        Fault::Duplicate => {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, MAX_REPLAYED)
                .await
                .map_err(|_| PlaneError::refuse(413, "body_too_large", "the body is too large"))?;
            let first = Request::from_parts(parts.clone(), Body::from(body.clone()));
            drop(next.clone().run(first).await);
            Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
        }
        Fault::Reorder => {
            let overtaken = plane.script.answered.notified();
            let answer = next.run(request).await;
            if tokio::time::timeout(HELD_AT_MOST, overtaken).await.is_err() {
                tracing::warn!("no other answer overtook the one held back");
            }
            Ok(answer)
        }
        Fault::ExpireLeases => {
            let answer = next.run(request).await;
            plane.change(Store::expire_leases).await?;
            Ok(answer)
        }
        Fault::Status {
            status,
            retry_after_s,
        } => {
            let refusal = PlaneError::refuse(status, "scripted", "the script says so");
            Err(match retry_after_s {
                Some(seconds) => refusal.retry_after(seconds),
                None => refusal,
            })
        }
        Fault::Garbage { text } => Ok(text.into_response()),
    }
}

/// Sends a part of an answer, then breaks the connection.
fn broken(part: Bytes) -> Response {
    let parts: [Result<Bytes, std::io::Error>; 2] =
        [Ok(part), Err(std::io::ErrorKind::ConnectionReset.into())];
    Body::from_stream(futures_util::stream::iter(parts)).into_response()
}
