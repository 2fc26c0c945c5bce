//! Owns running the server from the command line, until a signal.

use super::{CommandError, Serve, screen};
use crate::clock::SystemClock;
use crate::reference_plane::plane::{Options, start};
use crate::reference_plane::token;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Longest pause between two looks at what is due.
const TICK: Duration = Duration::from_millis(250);

pub(super) async fn serve(options: Serve, admin_token_file: &Path) -> Result<(), CommandError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let running = start(Options {
        listen: options.listen,
        behind_tls_proxy: options.behind_tls_proxy,
        store: options.store,
        connector_token: token::read_or_make(&options.connector_token_file)?,
        admin_token: token::read_or_make(admin_token_file)?,
        lease: Duration::from_secs(options.lease_s),
        tick: TICK,
        new_epoch: options.new_epoch,
        clock: Arc::new(SystemClock),
    })
    .await?;
    screen::say(&format!("listening on {}\n", running.url()))?;
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    running.stop().await;
    Ok(())
}
