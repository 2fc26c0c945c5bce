//! Owns the local listener: `/healthz`, `/readyz`, `/metrics`. Never changes anything and never shows a name from outside.
//!
//! `/healthz` says that the process lives, whatever the control plane does: restarting a connector because its control
//! plane is away would help nobody. `/readyz` says whether it can take orders.

use super::bounded::Bounded;
use super::health::Health;
use super::metrics::Metrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the listener shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Ready or not.
    pub health: Arc<Health>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
}

/// Serves until told to stop; connections that are open then are dropped.
///
/// At most 32 connections at once, each for at most 15 s. The caller binds, so that a taken port is found at start.
pub async fn serve(listener: TcpListener, shown: Shown, stop: CancellationToken) {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(shown);
    let served = axum::serve(Bounded::new(listener), routes).into_future();
    tokio::select! {
        () = stop.cancelled() => {}
        ended = served => {
            if let Err(error) = ended {
                tracing::error!(%error, "the local listener stopped");
            }
        }
    }
}

async fn healthz() -> Json<serde_json::Value> {
    std::future::ready(Json(json!({ "alive": true }))).await
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let missing: Vec<_> = shown
        .health
        .missing()
        .iter()
        .map(ToString::to_string)
        .collect();
    let status = if missing.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "ready": missing.is_empty(), "missing": missing });
    std::future::ready((status, Json(body)).into_response()).await
}

async fn metrics(State(shown): State<Shown>) -> Response {
    let health = &shown.health;
    shown
        .metrics
        .set_health(health.missing().is_empty(), health.control_plane_age());
    let answer = match shown.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    std::future::ready(answer).await
}

#[cfg(test)]
mod tests {
    use super::super::bounded::{LONGEST_CONNECTION, MAX_CONNECTIONS};
    use super::super::probe::{ProbeError, probe};
    use super::*;
    use crate::clock::FakeClock;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::Instant;
    use tokio_util::task::TaskTracker;

    async fn serving() -> (SocketAddr, Shown, CancellationToken) {
        let clock = Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let shown = Shown {
            health: Arc::new(Health::new(clock)),
            metrics: Arc::new(Metrics::new()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        drop(TaskTracker::new().spawn(serve(listener, shown.clone(), stop.clone())));
        (address, shown, stop)
    }

    async fn unwell(address: SocketAddr, path: &str) -> String {
        let error = probe(address, path).await.unwrap_err();
        assert!(matches!(error, ProbeError::Unwell { .. }), "{error}");
        error.to_string()
    }

    #[tokio::test]
    async fn the_process_is_alive_and_healthy_without_a_control_plane() {
        let (address, shown, _stop) = serving().await;
        shown.health.ledger(false);
        assert_eq!(
            probe(address, "/healthz").await.unwrap(),
            r#"{"alive":true}"#
        );
        let missing = unwell(address, "/readyz").await;
        assert!(missing.contains("the control plane was not reached yet"));
        assert!(missing.contains("the ledger cannot be written"));
    }

    #[tokio::test]
    async fn it_is_ready_after_a_round_trip() {
        let (address, shown, _stop) = serving().await;
        shown.health.round_trip();
        assert_eq!(
            probe(address, "/readyz").await.unwrap(),
            r#"{"missing":[],"ready":true}"#
        );
        let metrics = probe(address, "/metrics").await.unwrap();
        assert!(metrics.contains("apono_connector_ready 1\n"), "{metrics}");
        assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    }

    #[tokio::test]
    async fn there_is_nothing_else() {
        let (address, _shown, _stop) = serving().await;
        for path in ["/", "/debug", "/metrics/x", "/healthz?../../etc/passwd%00"] {
            let found = probe(address, path).await;
            assert_eq!(found.is_ok(), path.starts_with("/healthz?"), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_cannot_keep_others_out() {
        let (address, _shown, _stop) = serving().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HT").await.unwrap();
            silent.push(stream);
        }
        let start = Instant::now();
        let mut late = TcpStream::connect(address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        late.write_all(request).await.unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("alive"), "{answer}");
        assert!(start.elapsed() <= LONGEST_CONNECTION + std::time::Duration::from_secs(1));
        drop(silent);
    }

    #[tokio::test]
    async fn it_stops_when_told() {
        let (address, _shown, stop) = serving().await;
        assert!(probe(address, "/healthz").await.is_ok());
        stop.cancel();
        let gone = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(5);
        tokio::time::timeout(limit, gone).await.unwrap();
        let error = probe(address, "/healthz").await.unwrap_err();
        assert!(matches!(error, ProbeError::Unreachable { .. }), "{error}");
    }
}
