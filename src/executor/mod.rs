//! Owns the life of a task: judge, plan, journal, act, verify, journal, report; and every end. Never knows a concrete target or the wire.
//!
//! | file | what it does |
//! |---|---|
//! | `intake` | asks for work, renews leases, hands back |
//! | `task` | runs one leased task to its result |
//! | `start` | starts, extensions, credential resets: retries and what a failure leaves |
//! | `attempt` | one attempt: plan, journal, act, journal |
//! | `end` | ends: one driver per grant, never gives up |
//! | `timer` | ends by the local clock |
//! | `sweep` | compares the ledger with the record inside each target |
//! | `compare` | compares a server that is new to us with the ledger |
//! | `mirror` | keeps the control plane's lists |
//! | `inheritance` | takes over what instances left that are gone, and freezes with all |
//! | `recall` | answers what is known of a grant |
//! | `deliver` | reports until acknowledged |
//! | `health` | heartbeats |

mod attempt;
mod compare;
mod deliver;
mod end;
mod health;
mod inheritance;
mod intake;
mod lanes;
mod mirror;
mod recall;
mod slots;
mod start;
mod sweep;
mod task;
mod timer;
mod together;

use crate::clock::SharedClock;
pub use recall::Recall;

use crate::control::{ControlPlane, Header, IntegrationHealth};
use crate::domain::{EndReason, Failure, Grant, Integration, IntegrationId, SessionId, TaskId};
use crate::ledger::{Event, GrantPhase, Household, Ledger, OutboxEntry};
use crate::policy::{EndWarrant, Guardrails, WarrantSource};
use crate::targets::{Registry, Target, TargetError};
use crate::telemetry::Health;
use crate::telemetry::metrics::Metrics;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often [`Executor::wait_for_ends`] looks.
const ENDS_LOOK: Duration = Duration::from_millis(50);

/// How the executor works; filled by `agent`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names this state folder.
    pub instance: uuid::Uuid,
    /// The program's version.
    pub version: String,
    /// Where this runs, for people.
    pub host: String,
    /// Places for work, 4 to 256; a quarter is kept for ends.
    pub slots: usize,
    /// Most starts of one integration at once.
    pub starts_per_integration: usize,
    /// How often the record inside each target is compared with the ledger.
    pub sweep_every: Duration,
    /// How often what no live record backs is looked for.
    pub mend_every: Duration,
    /// How often what ended grants left behind is looked at.
    pub clean_up_every: Duration,
    /// How often what instances left that are gone is looked for.
    pub inherit_every: Duration,
    /// The local rules, without what changes while running.
    pub guardrails: Guardrails,
}

/// An inventory that was reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synchronised {
    /// Records the walk came by.
    pub records: u64,
    /// Parts that could not be looked at and stay as they were, each with the fix.
    pub troubles: Vec<String>,
}

/// Reports what exists in an integration; answered by `agent` from `inventory`.
#[async_trait]
pub trait Synchroniser: Send + Sync {
    /// Walks the integration and uploads what changed.
    async fn synchronise(&self, integration: &Integration) -> Result<Synchronised, Failure>;

    /// Forgets what is kept of an integration that is gone.
    fn forget(&self, integration: IntegrationId);
}

/// What the executor is made of.
pub struct Parts {
    /// Time.
    pub clock: SharedClock,
    /// Durable memory.
    pub ledger: Ledger,
    /// The folder this instance shares with others, if it does.
    pub household: Option<Arc<Household>>,
    /// The same and the control plane's list, for targets that keep no record.
    pub recall: Arc<Recall>,
    /// The control plane.
    pub control: Arc<dyn ControlPlane>,
    /// The systems under management.
    pub registry: Arc<Registry>,
    /// Inventory.
    pub synchroniser: Arc<dyn Synchroniser>,
    /// Numbers for operators.
    pub metrics: Arc<Metrics>,
    /// Whether this process is ready.
    pub health: Arc<Health>,
}

/// Runs tasks and ends access. Cheap to clone.
#[derive(Clone)]
pub struct Executor {
    parts: Arc<Parts>,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    slots: slots::Slots,
    lanes: lanes::Lanes,
    ends: end::EndBook,
    running: Mutex<HashMap<TaskId, task::Running>>,
    session: watch::Sender<Option<crate::control::Session>>,
    channel: Mutex<Channel>,
    health: Mutex<BTreeMap<IntegrationId, IntegrationHealth>>,
    /// What the last inventory of each integration could not look at.
    unlisted: Mutex<BTreeMap<IntegrationId, Vec<String>>>,
    /// Deliveries whose result was accepted lately, oldest first.
    accepted: Mutex<VecDeque<(TaskId, u32)>>,
    /// Integrations whose own record could not be read at the last look.
    unread: Mutex<BTreeSet<IntegrationId>>,
    /// Integrations retired while something of ours was left there.
    retired: Mutex<BTreeSet<IntegrationId>>,
    outbox_changed: Notify,
    timer_changed: Notify,
    sweep_now: Notify,
    /// One change of the freeze at a time.
    freezing: tokio::sync::Mutex<()>,
    /// Rings when the next heartbeat should not wait.
    news: Notify,
    /// Work that is finished before the process ends.
    tasks: TaskTracker,
    /// Set when no new outside effect may begin.
    stopping: CancellationToken,
}

/// What is known of the conversation.
#[derive(Debug, Default, Clone, Copy)]
struct Channel {
    skew: SignedDuration,
    grants_revision: u64,
    integrations_revision: u64,
}

/// What an operator sees of one grant.
#[derive(Debug, Clone)]
pub struct GrantLine {
    /// The grant with the expiry in force.
    pub grant: Grant,
    /// `starting`, `live`, `ending` or `closed`.
    pub phase: &'static str,
    /// When the access became usable.
    pub started_at: Option<Timestamp>,
}

impl Executor {
    /// Puts an executor together; nothing runs until [`Executor::run`].
    #[must_use]
    pub fn new(parts: Parts, options: Options) -> Self {
        let slots = slots::Slots::new(
            options.slots,
            options.starts_per_integration,
            Arc::clone(&parts.clock),
        );
        Self {
            parts: Arc::new(parts),
            shared: Arc::new(Shared {
                options,
                slots,
                lanes: lanes::Lanes::default(),
                ends: end::EndBook::default(),
                running: Mutex::default(),
                session: watch::Sender::new(None),
                channel: Mutex::default(),
                health: Mutex::default(),
                unlisted: Mutex::default(),
                accepted: Mutex::default(),
                unread: Mutex::default(),
                retired: Mutex::default(),
                outbox_changed: Notify::new(),
                timer_changed: Notify::new(),
                sweep_now: Notify::new(),
                freezing: tokio::sync::Mutex::default(),
                news: Notify::new(),
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
            }),
        }
    }

    /// Runs until `stop`: overdue ends first, then everything else. Returns when what had begun is finished.
    pub async fn run(&self, stop: CancellationToken) {
        self.recover().await;
        self.follow_freeze().await;
        let until_stopped = async {
            tokio::join!(
                self.take_orders(&stop),
                self.watch_expiries(&stop),
                self.sweep_targets(&stop),
                self.send_heartbeats(&stop),
                self.look_after_household(&stop),
            );
        };
        let delivering = CancellationToken::new();
        tokio::join!(
            async {
                until_stopped.await;
                self.shared.stopping.cancel();
                self.shared.tasks.close();
                self.shared.tasks.wait().await;
                delivering.cancel();
            },
            self.deliver_reports(&delivering),
        );
        self.say_goodbye().await;
    }

    /// Freezes starts and ends every grant this instance or a target's record knows; returns how many ends were begun.
    ///
    /// # Errors
    /// When the freeze cannot be recorded; the ends go on all the same.
    pub async fn revoke_all(&self) -> (usize, Result<(), crate::ledger::LedgerError>) {
        let frozen = self.freeze(true).await;
        self.learn_records().await;
        let grants: Vec<Grant> = self.parts.ledger.read(|state| {
            let open = |record: &&crate::ledger::GrantRecord| {
                !matches!(record.phase, GrantPhase::Closed(_))
            };
            state
                .grants
                .values()
                .filter(open)
                .map(|record| record.grant.clone())
                .collect()
        });
        let count = grants.len();
        let warrants = grants.into_iter().map(|grant| EndWarrant {
            grant,
            reason: EndReason::RevokeAll,
            source: WarrantSource::Operator,
        });
        self.ensure_ends(warrants.collect());
        (count, frozen)
    }

    /// Lists what the ledger knows.
    #[must_use]
    pub fn grants(&self) -> Vec<GrantLine> {
        self.parts.ledger.read(|state| {
            let line = |record: &crate::ledger::GrantRecord| GrantLine {
                grant: record.grant.clone(),
                phase: match record.phase {
                    GrantPhase::Starting { .. } => "starting",
                    GrantPhase::Live => "live",
                    GrantPhase::Ending(_) => "ending",
                    GrantPhase::Closed(_) => "closed",
                },
                started_at: record.started_at,
            };
            state.grants.values().map(line).collect()
        })
    }

    /// Waits until no grant is open any more, at most for `patience`; returns how many are left.
    pub async fn wait_for_ends(&self, patience: Duration) -> usize {
        let open = || {
            self.grants()
                .iter()
                .filter(|line| line.phase != "closed")
                .count()
        };
        let waiting = async {
            while open() > 0 {
                tokio::time::sleep(ENDS_LOOK).await;
            }
        };
        // What is left when patience ends is counted below.
        tokio::time::timeout(patience, waiting)
            .await
            .unwrap_or_default();
        open()
    }

    /// Brings the ledger in line with each target and ends what is overdue, before any start.
    async fn recover(&self) {
        self.end_overdue();
        self.learn_records().await;
        self.end_overdue();
        self.resume_ends();
    }

    fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    fn channel(&self) -> Channel {
        *self
            .shared
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what comes with every answer.
    fn note_header(&self, header: &Header) {
        self.parts.health.round_trip();
        let now = self.now();
        let mut channel = self
            .shared
            .channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        channel.skew = now.duration_since(header.server_time);
        if channel.grants_revision == header.grants_revision {
            self.parts.recall.complete(now);
        }
    }

    fn session(&self) -> Option<SessionId> {
        self.shared
            .session
            .borrow()
            .as_ref()
            .map(|session| session.id)
    }

    fn guardrails(&self) -> Guardrails {
        Guardrails {
            frozen: self.parts.ledger.read(|state| state.frozen),
            clock_skew: self.channel().skew,
            ..self.shared.options.guardrails.clone()
        }
    }

    fn integration(&self, id: IntegrationId) -> Option<Integration> {
        self.parts
            .ledger
            .read(|state| state.integrations.get(&id).cloned())
    }

    fn target(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        self.parts.registry.target(integration)
    }

    /// Journals what happened. A disk that refuses must not stop an end: memory goes on, the failure is logged and counted.
    async fn journal(&self, events: Vec<Event>) {
        if let Err(error) = self.parts.ledger.append(events).await {
            self.parts.metrics.ledger_failed();
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger could not be written"
            );
        }
    }

    /// Puts a report on its way, together with the events it belongs to.
    async fn journal_and_report(&self, mut events: Vec<Event>, entries: Vec<OutboxEntry>) {
        events.extend(entries.into_iter().map(|entry| Event::Queued {
            id: self.parts.ledger.reserve_report(),
            entry,
        }));
        self.journal(events).await;
        self.shared.outbox_changed.notify_one();
        self.shared.timer_changed.notify_one();
    }
}
