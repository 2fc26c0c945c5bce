//! Owns the life of the process: starting tasks, noticing those that die, stopping in order. Never does any of the tasks' work.

use futures_util::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time for work in hand after the first signal: 25 s, under the 30 s after which container platforms kill.
pub const SOFT_STOP: Duration = Duration::from_secs(25);
/// Time for tasks to drop what they do after the second signal: 3 s, so that both together stay under 30 s.
pub const HARD_STOP: Duration = Duration::from_secs(3);

/// The life of the process. A clone is another handle on the same life.
///
/// Two tokens: *soft* means take no new work and finish what runs, *hard* means stop now. Hard implies soft.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tracker: TaskTracker,
    failure: Arc<Mutex<Option<String>>>,
}

/// How the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// It was asked to stop and every task ended.
    Clean,
    /// Something that must not end ended, or a task did not stop in time; says which.
    Failed(String),
}

impl Lifecycle {
    /// Returns the token that says: take no new work.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Returns the token that says: stop now.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Tells whether no new work may be taken.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Starts a task the process cannot live without. It ends after [`Self::soft`], or at once on [`Self::hard`]; when it
    /// ends earlier, or panics at any time, the whole process stops and fails.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let life = self.clone();
        drop(self.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            match ended {
                Err(_) => life.fail(format!("task `{name}` panicked")),
                Ok(()) if !life.is_stopping() => {
                    life.fail(format!("task `{name}` ended by itself"))
                }
                Ok(()) => tracing::debug!(task = name, "task ended"),
            }
        }));
    }

    /// Starts a piece of work that ends by itself. The process waits for it when it stops; a panic is the
    /// caller's to handle, through the handle.
    pub fn spawn_work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn(work)
    }

    /// Asks the process to stop because it cannot go on; the first reason is kept.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "the process stops");
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(reason);
        self.soft.cancel();
    }

    /// Asks the process to stop, as the first signal does.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits for the end of the process. The first signal, or a failure, stops softly; a second signal, or
    /// [`SOFT_STOP`] later, stops hard; [`HARD_STOP`] later it is over in any case.
    pub async fn run_until_stopped(&self, mut next_signal: impl AsyncFnMut()) -> Ending {
        tokio::select! {
            () = next_signal() => tracing::info!("stopping: work in hand is finished"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => return self.ending(),
            () = next_signal() => tracing::warn!("stopping now: second signal"),
            () = tokio::time::sleep(SOFT_STOP) => {
                tracing::warn!(left = self.tracker.len(), "stopping now: work took too long");
            }
        }
        self.hard.cancel();
        if tokio::time::timeout(HARD_STOP, self.tracker.wait())
            .await
            .is_err()
        {
            self.fail(format!("{} tasks did not stop", self.tracker.len()));
        }
        self.ending()
    }

    fn ending(&self) -> Ending {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone().map_or(Ending::Clean, Ending::Failed)
    }
}

/// The signals that ask the process to stop: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts listening; from here on the signals no longer kill the process by themselves.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// Runs a life to its end with signals after the given seconds; returns the ending and how long it took.
    async fn end_of(life: &Lifecycle, signals: &[u64]) -> (Ending, Duration) {
        let (send, mut receive) = mpsc::channel(4);
        let start = Instant::now();
        let at: Vec<_> = signals
            .iter()
            .map(|second| start + Duration::from_secs(*second))
            .collect();
        let sender = async move {
            for time in at {
                tokio::time::sleep_until(time).await;
                send.send(()).await.unwrap();
            }
            pending::<()>().await;
        };
        let ending = life.run_until_stopped(async || {
            receive.recv().await;
        });
        tokio::select! {
            () = sender => panic!("the sender never ends"),
            ending = ending => (ending, start.elapsed()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_hand_is_finished_after_the_first_signal() {
        let life = Lifecycle::default();
        let hard = life.hard();
        let work = life.spawn_work(async move {
            tokio::time::sleep(Duration::from_secs(11)).await;
            hard.is_cancelled()
        });
        let soft = life.soft();
        life.spawn("poll", async move { soft.cancelled().await });
        let (ending, took) = end_of(&life, &[1]).await;
        assert_eq!(ending, Ending::Clean);
        assert_eq!(took, Duration::from_secs(11));
        assert!(!work.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_stops_at_once() {
        let life = Lifecycle::default();
        let hard = life.hard();
        life.spawn("stubborn", async move { hard.cancelled().await });
        let (ending, took) = end_of(&life, &[1, 3]).await;
        assert_eq!((ending, took), (Ending::Clean, Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_too_long_is_stopped_25_seconds_after_the_signal() {
        let life = Lifecycle::default();
        let hard = life.hard();
        life.spawn("stubborn", async move { hard.cancelled().await });
        let (ending, took) = end_of(&life, &[1]).await;
        assert_eq!((ending, took), (Ending::Clean, Duration::from_secs(26)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_never_stops_cannot_hold_the_process() {
        let life = Lifecycle::default();
        life.spawn("deaf", pending());
        let (ending, took) = end_of(&life, &[1]).await;
        assert_eq!(ending, Ending::Failed("1 tasks did not stop".to_owned()));
        assert_eq!(took, Duration::from_secs(1) + SOFT_STOP + HARD_STOP);
    }

    #[tokio::test(start_paused = true)]
    async fn an_essential_task_that_ends_by_itself_stops_the_process_with_a_failure() {
        let life = Lifecycle::default();
        let soft = life.soft();
        life.spawn("other", async move { soft.cancelled().await });
        life.spawn("expiry", async {});
        let (ending, _) = end_of(&life, &[]).await;
        assert_eq!(
            ending,
            Ending::Failed("task `expiry` ended by itself".to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_essential_task_that_panics_stops_the_process_with_a_failure() {
        let life = Lifecycle::default();
        life.spawn("expiry", async { panic!("boom") });
        let (ending, _) = end_of(&life, &[]).await;
        assert_eq!(ending, Ending::Failed("task `expiry` panicked".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_is_the_callers_to_handle() {
        let life = Lifecycle::default();
        let work = life.spawn_work(async { panic!("boom") });
        assert!(work.await.unwrap_err().is_panic());
        assert!(!life.is_stopping());
        life.stop();
        assert_eq!(end_of(&life, &[]).await.0, Ending::Clean);
    }
}
