//! Owns every metric: name, unit, labels, meaning. Never takes a label from outside: values come from enums only.
//!
//! `docs/metrics.md` is the same list for people; a test compares the two.

use crate::domain::{EndReason, ErrorClass, TaskKind};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type OneLabel = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];
type Seconds = Gauge<f64, AtomicU64>;

/// Buckets for how long a start takes, in seconds: an order is served in well under a second, a lease lasts 60 s.
const START_BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// Buckets for how late an end is, in seconds: the promise is 1 s; beyond a minute something is broken.
const END_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0];

/// How a task ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskResult {
    /// Done as ordered.
    Succeeded,
    /// The access is gone, clean-up goes on.
    Closed,
    /// Not done.
    Failed,
    /// Handed back before anything was done.
    Released,
}

impl TaskResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Closed, Self::Failed, Self::Released];

    /// Returns the label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Released => "released",
        }
    }
}

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    tasks: Family<TwoLabels, Counter>,
    failures: Family<TwoLabels, Counter>,
    running: Gauge,
    start_duration: Histogram,
    end_delay: Histogram,
    ends: Family<OneLabel, Counter>,
    live_grants: Gauge,
    overdue_ends: Gauge,
    oldest_overdue: Seconds,
    leftover_grants: Gauge,
    outbox: Gauge,
    ledger_errors: Counter,
    control_errors: Family<OneLabel, Counter>,
    control_age: Seconds,
    drift_mended: Counter,
    frozen: Gauge,
    ready: Gauge,
    unreadable_folders: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Declares every metric, each series at zero from the start.
    #[must_use]
    pub fn new() -> Self {
        let mut list = Declared(Registry::with_prefix("apono"));
        let up: Gauge = Gauge::default();
        up.set(1);
        list.add("connector_up", "Always 1 while the process runs", up);
        let metrics = Self {
            ready: list.add(
                "connector_ready",
                "Whether the process is ready, as `/readyz` says",
                Gauge::default(),
            ),
            unreadable_folders: list.add(
                "unreadable_state_folders",
                "Folders of instances that are gone whose ledger cannot be read, in a shared state folder",
                Gauge::default(),
            ),
            tasks: list.add("tasks", "Tasks that ended, by kind and outcome", Family::default()),
            failures: list.add(
                "task_failures",
                "Tasks that failed, by kind and class of error",
                Family::default(),
            ),
            running: list.add("tasks_running", "Tasks being worked on", Gauge::default()),
            start_duration: list.seconds(
                "start_duration",
                "From receiving the order of a start to usable access",
                Histogram::new(START_BUCKETS),
            ),
            end_delay: list.seconds(
                "end_delay",
                "From a grant's expiry to the moment its access was gone",
                Histogram::new(END_BUCKETS),
            ),
            ends: list.add("ends", "Grants whose access was taken away, by reason", Family::default()),
            live_grants: list.add("live_grants", "Grants whose access is in force", Gauge::default()),
            overdue_ends: list.add(
                "overdue_ends",
                "Grants past their expiry whose access is not verified gone",
                Gauge::default(),
            ),
            oldest_overdue: list.seconds(
                "oldest_overdue_end",
                "How long the oldest overdue end is overdue; 0 when none is",
                Seconds::default(),
            ),
            leftover_grants: list.add(
                "leftover_grants",
                "Grants whose access is gone and whose clean-up is not complete",
                Gauge::default(),
            ),
            outbox: list.add(
                "outbox_reports",
                "Reports the control plane has not acknowledged",
                Gauge::default(),
            ),
            ledger_errors: list.add("ledger_errors", "Failed writes to the ledger", Counter::default()),
            control_errors: list.add(
                "control_plane_errors",
                "Failed calls to the control plane, by class of error",
                Family::default(),
            ),
            control_age: list.seconds(
                "control_plane_age",
                "Since the last completed round trip to the control plane, or since the start without one",
                Seconds::default(),
            ),
            drift_mended: list.add(
                "drift_mended",
                "Objects of ours without a live record that were mended",
                Counter::default(),
            ),
            frozen: list.add("starts_frozen", "Whether an operator froze starts", Gauge::default()),
            registry: list.0,
        };
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for kind in TaskKind::ALL {
            for result in TaskResult::ALL {
                drop(self.tasks.get_or_create(&task_labels(kind, result)));
            }
            for class in ErrorClass::ALL {
                drop(self.failures.get_or_create(&failure_labels(kind, class)));
            }
        }
        for class in ErrorClass::ALL {
            drop(
                self.control_errors
                    .get_or_create(&[("class", class.as_str())]),
            );
        }
        for reason in EndReason::ALL {
            drop(self.ends.get_or_create(&[("reason", reason.as_str())]));
        }
    }

    /// Counts a task that ended.
    pub fn task_ended(&self, kind: TaskKind, result: TaskResult) {
        self.tasks.get_or_create(&task_labels(kind, result)).inc();
    }

    /// Counts the class of a failure; the task itself is counted by [`Self::task_ended`].
    pub fn task_failed(&self, kind: TaskKind, class: ErrorClass) {
        self.failures
            .get_or_create(&failure_labels(kind, class))
            .inc();
    }

    /// Notes how long a start took.
    pub fn start_took(&self, time: Duration) {
        self.start_duration.observe(time.as_secs_f64());
    }

    /// Counts an end; `late` is the time since the expiry, for ends at expiry only.
    pub fn ended(&self, reason: EndReason, late: Option<Duration>) {
        self.ends
            .get_or_create(&[("reason", reason.as_str())])
            .inc();
        if let Some(late) = late {
            self.end_delay.observe(late.as_secs_f64());
        }
    }

    /// Says how many tasks are being worked on.
    pub fn set_running(&self, count: usize) {
        self.running.set(whole(count));
    }

    /// Says how many grants are in force, and for how many the clean-up goes on.
    pub fn set_grants(&self, live: usize, leftover: usize) {
        self.live_grants.set(whole(live));
        self.leftover_grants.set(whole(leftover));
    }

    /// Says how many ends are overdue, and by how long the oldest.
    pub fn set_overdue(&self, count: usize, oldest: Duration) {
        self.overdue_ends.set(whole(count));
        self.oldest_overdue.set(oldest.as_secs_f64());
    }

    /// Says how many reports wait.
    pub fn set_outbox(&self, count: usize) {
        self.outbox.set(whole(count));
    }

    /// Says whether starts are frozen.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.set(frozen.into());
    }

    /// Says how many folders of others cannot be read in a shared state folder.
    pub fn set_unreadable_folders(&self, count: usize) {
        self.unreadable_folders
            .set(count.try_into().unwrap_or(i64::MAX));
    }

    /// Counts a failed write to the ledger.
    pub fn ledger_failed(&self) {
        self.ledger_errors.inc();
    }

    /// Counts a failed call to the control plane.
    pub fn control_plane_failed(&self, class: ErrorClass) {
        self.control_errors
            .get_or_create(&[("class", class.as_str())])
            .inc();
    }

    /// Counts objects of ours that were mended.
    pub fn mended(&self, count: usize) {
        self.drift_mended
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn set_health(&self, ready: bool, control_plane_age: Duration) {
        self.ready.set(ready.into());
        self.control_age.set(control_plane_age.as_secs_f64());
    }

    /// Writes all metrics in the OpenMetrics text format.
    pub(crate) fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn task_labels(kind: TaskKind, result: TaskResult) -> TwoLabels {
    [("kind", kind.as_str()), ("outcome", result.as_str())]
}

fn failure_labels(kind: TaskKind, class: ErrorClass) -> TwoLabels {
    [("kind", kind.as_str()), ("class", class.as_str())]
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

struct Declared(Registry);

impl Declared {
    fn add<M: Metric + Clone>(&mut self, name: &str, meaning: &str, metric: M) -> M {
        self.0.register(name, meaning, metric.clone());
        metric
    }

    fn seconds<M: Metric + Clone>(&mut self, name: &str, meaning: &str, metric: M) -> M {
        self.0
            .register_with_unit(name, meaning, Unit::Seconds, metric.clone());
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, type and meaning of everything in the text format, as rows of a table.
    fn declared() -> Vec<String> {
        let text = Metrics::new().render().unwrap();
        let after = |line: &str, word: &str| {
            line.strip_prefix(word)
                .and_then(|rest| rest.split_once(' '))
                .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        let helps = text.lines().filter_map(|line| after(line, "# HELP "));
        let types = text.lines().filter_map(|line| after(line, "# TYPE "));
        helps
            .zip(types)
            .map(|((name, meaning), (of, kind))| {
                assert_eq!(name, of);
                let end = if kind == "counter" { "_total" } else { "" };
                format!("| `{name}{end}` | {kind} | {meaning} |")
            })
            .collect()
    }

    #[test]
    fn the_documentation_lists_exactly_the_metrics_there_are() {
        let document = include_str!("../../docs/metrics.md");
        let documented: Vec<_> = document
            .lines()
            .filter(|line| line.starts_with("| `apono_"))
            .collect();
        let declared = declared();
        assert_eq!(documented, declared, "{}", declared.join("\n"));
    }

    #[test]
    fn names_hold_their_unit_and_labels_come_from_enums() {
        let metrics = Metrics::new();
        metrics.task_ended(TaskKind::GrantAccess, TaskResult::Failed);
        metrics.task_failed(TaskKind::GrantAccess, ErrorClass::Transient);
        metrics.start_took(Duration::from_millis(30));
        metrics.ended(EndReason::Expired, Some(Duration::from_millis(300)));
        metrics.ended(EndReason::Revoked, None);
        metrics.set_overdue(2, Duration::from_secs(90));
        metrics.set_health(true, Duration::from_millis(1500));
        let text = metrics.render().unwrap();
        for line in [
            "apono_tasks_total{kind=\"grant-access\",outcome=\"failed\"} 1",
            "apono_tasks_total{kind=\"revoke-access\",outcome=\"closed\"} 0",
            "apono_task_failures_total{kind=\"grant-access\",class=\"transient\"} 1",
            "apono_start_duration_seconds_bucket{le=\"0.05\"} 1",
            "apono_end_delay_seconds_bucket{le=\"0.25\"} 0",
            "apono_end_delay_seconds_bucket{le=\"0.5\"} 1",
            "apono_end_delay_seconds_count 1",
            "apono_ends_total{reason=\"revoked\"} 1",
            "apono_overdue_ends 2",
            "apono_oldest_overdue_end_seconds 90.0",
            "apono_control_plane_age_seconds 1.5",
            "apono_connector_ready 1",
            "apono_connector_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
