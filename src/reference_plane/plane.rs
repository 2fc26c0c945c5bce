//! Owns the running server: the store behind a lock, who waits for what, the timer, starting and stopping.

use super::http;
#[cfg(feature = "test-util")]
use super::script::Script;
use super::store::{Store, Work};
use super::{PlaneError, rules};
use crate::clock::SharedClock;
use crate::control::protocol::{LeaseRequest, MAX_WAIT_S};
use crate::reference_plane::admin::TaskView;
use crate::secret::Secret;
use jiff::SignedDuration;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Most calls that wait at the same time, leases and watchers together.
const MAX_WAITING: usize = 256;
/// How long running calls may take to finish once the server is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Shortest pause of the timer.
const MIN_PAUSE: Duration = Duration::from_millis(1);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Allows an address other than loopback, because a proxy in front speaks TLS.
    pub behind_tls_proxy: bool,
    /// The SQLite file.
    pub store: PathBuf,
    /// What connectors must present.
    pub connector_token: Secret,
    /// What administrators must present.
    pub admin_token: Secret,
    /// How long a lease lasts, 1 s and more.
    pub lease: Duration,
    /// Longest pause between two looks at what is due.
    pub tick: Duration,
    /// Begins a new epoch, as after a restore of the file.
    pub new_epoch: bool,
    /// Where the time comes from.
    pub clock: SharedClock,
}

/// The intervals told to every connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    pub(super) poll_wait_s: u32,
    pub(super) heartbeat_s: u32,
    pub(super) renew_s: u32,
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    plane: Arc<Plane>,
    addr: SocketAddr,
    tasks: TaskTracker,
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Plane {
    store: Mutex<Store>,
    pub(super) connector_token: Secret,
    pub(super) admin_token: Secret,
    pub(super) intervals: Intervals,
    changed: watch::Sender<u64>,
    waiting: Semaphore,
    stop: CancellationToken,
    tick: Duration,
    #[cfg(feature = "test-util")]
    pub(super) script: Script,
}

/// Opens the store and starts to serve.
///
/// # Errors
/// When the store is damaged or in use, or the address cannot be listened on.
pub async fn start(options: Options) -> Result<Running, PlaneError> {
    if !options.listen.ip().is_loopback() && !options.behind_tls_proxy {
        return Err(PlaneError::Exposed(options.listen));
    }
    let tracker = TaskTracker::new();
    let listen = options.listen;
    let opened = tokio::task::spawn_blocking(move || open(options)).await;
    let plane = Arc::new(opened.map_err(|_| PlaneError::Stopping)??);
    let failed = |source| PlaneError::Listen {
        address: listen.to_string(),
        source,
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    tracker.spawn(keep_up(Arc::clone(&plane)));
    tracker.spawn(serve(Arc::clone(&plane), listener));
    tracker.close();
    Ok(Running {
        plane,
        addr,
        tasks: tracker,
    })
}

impl Running {
    /// Returns where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops: waiting calls are answered, running ones get 5 s, then the store is closed.
    pub async fn stop(self) {
        self.plane.stop.cancel();
        if tokio::time::timeout(STOP_GRACE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some calls were still running when the server stopped");
        }
    }

    /// Returns the misbehaviour to be played.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.plane.script
    }

    /// Ends every lease now, as if no holder had answered.
    ///
    /// # Errors
    /// When the store cannot be written.
    #[cfg(feature = "test-util")]
    pub async fn expire_leases(&self) -> Result<(), PlaneError> {
        self.plane.change(Store::expire_leases).await
    }

    /// Begins a new epoch, as after a restore.
    ///
    /// # Errors
    /// When the store cannot be written.
    #[cfg(feature = "test-util")]
    pub async fn renew_epoch(&self) -> Result<(), PlaneError> {
        self.plane.change(Store::renew_epoch).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.plane.stop.cancel();
    }
}

impl Plane {
    /// Runs blocking work on the store.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Store) -> Result<T, PlaneError> + Send + 'static,
    ) -> Result<T, PlaneError> {
        let plane = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let mut store = plane.store.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut store)
        });
        done.await.map_err(|_| PlaneError::Stopping)?
    }

    /// Runs blocking work on the store, and wakes whoever waits for a change.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Store) -> Result<T, PlaneError> + Send + 'static,
    ) -> Result<T, PlaneError> {
        let done = self.read(work).await?;
        self.wake();
        Ok(done)
    }

    /// Answers a lease call: at once when there is work or a list changed, else when that happens or the wait is over.
    pub(super) async fn lease(
        self: &Arc<Self>,
        connector: String,
        ask: LeaseRequest,
    ) -> Result<Work, PlaneError> {
        let wait = Duration::from_secs(ask.wait_s.min(MAX_WAIT_S).into());
        let ask = Arc::new(ask);
        let mut changed = self.changed.subscribe();
        let known = (ask.grants_revision, ask.integrations_revision);
        let look = async || {
            let (connector, ask) = (connector.clone(), Arc::clone(&ask));
            self.read(move |store| store.lease(&connector, &ask)).await
        };
        let deadline = tokio::time::Instant::now() + wait;
        let _place = self.waiting_place(wait)?;
        loop {
            changed.mark_unchanged();
            let work = look().await?;
            if !work.tasks.is_empty() {
                self.wake();
                return Ok(work);
            }
            let lists = (
                work.header.grants_revision,
                work.header.integrations_revision,
            );
            if lists != known || !self.wait_for_change(&mut changed, deadline).await {
                return Ok(work);
            }
        }
    }

    /// Watches a task until it is finished or the wait is over.
    pub(super) async fn watch_task(
        self: &Arc<Self>,
        task: Uuid,
        wait: Duration,
    ) -> Result<TaskView, PlaneError> {
        let mut changed = self.changed.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        let _place = self.waiting_place(wait)?;
        loop {
            changed.mark_unchanged();
            let view = self.read(move |store| store.task_by_id(task)).await?;
            let open = matches!(view.state.as_str(), "queued" | "leased");
            if !open || !self.wait_for_change(&mut changed, deadline).await {
                return Ok(view);
            }
        }
    }

    fn wake(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits; says no when the time is over or the server stops.
    async fn wait_for_change(
        &self,
        changed: &mut watch::Receiver<u64>,
        deadline: tokio::time::Instant,
    ) -> bool {
        tokio::select! {
            change = changed.changed() => change.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = self.stop.cancelled() => false,
        }
    }

    fn waiting_place(
        &self,
        wait: Duration,
    ) -> Result<Option<tokio::sync::SemaphorePermit<'_>>, PlaneError> {
        if wait.is_zero() {
            return Ok(None);
        }
        let busy = |_| {
            PlaneError::refuse(
                429,
                "too_many_waiting",
                format!("{MAX_WAITING} calls are waiting, which is the limit"),
            )
            .retry_after(1)
        };
        self.waiting.try_acquire().map(Some).map_err(busy)
    }
}

fn open(options: Options) -> Result<Plane, PlaneError> {
    let lease = SignedDuration::try_from(options.lease).unwrap_or(rules::MAX_BACKOFF);
    let mut store = Store::open(&options.store, options.clock, lease)?;
    if options.new_epoch {
        store.renew_epoch()?;
    }
    let lease_s = u32::try_from(options.lease.as_secs()).unwrap_or(u32::MAX);
    Ok(Plane {
        store: Mutex::new(store),
        connector_token: options.connector_token,
        admin_token: options.admin_token,
        intervals: Intervals {
            poll_wait_s: 25,
            heartbeat_s: 30,
            renew_s: (lease_s / 6).max(1),
        },
        changed: watch::Sender::new(0),
        waiting: Semaphore::new(MAX_WAITING),
        stop: CancellationToken::new(),
        tick: options.tick.max(MIN_PAUSE),
        #[cfg(feature = "test-util")]
        script: Script::default(),
    })
}

/// Does what is due, until the server stops.
async fn keep_up(plane: Arc<Plane>) {
    let mut changed = plane.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let round = plane
            .read(|store| {
                store.sweep_uploads()?;
                let round = store.upkeep()?;
                let pause = round.next.map(|next| store.until(next));
                Ok((round.woke, pause))
            })
            .await;
        let pause = match round {
            Ok((woke, pause)) => {
                if woke {
                    plane.wake();
                }
                pause.unwrap_or(plane.tick).clamp(MIN_PAUSE, plane.tick)
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "upkeep failed");
                plane.tick
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = changed.changed() => {}
            () = plane.stop.cancelled() => return,
        }
    }
}

async fn serve(plane: Arc<Plane>, listener: TcpListener) {
    let stop = plane.stop.clone();
    let router = http::router(plane);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(error = &error as &dyn std::error::Error, "serving failed");
    }
}
