//! An executor in this process, between a control plane and a target in memory, under a clock the test moves.

use apono_connector::clock::{Clock, FakeClock, SharedClock};
use apono_connector::control::fake::FakeControl;
use apono_connector::domain::{
    Failure, Grant, GrantId, Integration, IntegrationId, Order, Permission, Principal,
    ResourceKind, ResourceRef, TaskId, TaskOutcome,
};
use apono_connector::executor::{Executor, Options, Parts, Recall, Synchronised, Synchroniser};
use apono_connector::ledger::{Faults, Household, Ledger, LedgerOptions};
use apono_connector::policy::Guardrails;
use apono_connector::targets::Registry;
use apono_connector::targets::fake::FakeSystem;
use apono_connector::telemetry::Health;
use apono_connector::telemetry::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest time a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    /// The connector's clock.
    pub(crate) clock: Arc<FakeClock>,
    /// The target's clock.
    pub(crate) system_clock: Arc<FakeClock>,
    pub(crate) control: FakeControl,
    pub(crate) system: FakeSystem,
    pub(crate) integration: Integration,
    pub(crate) ledger: Ledger,
    pub(crate) executor: Executor,
    household: Option<Arc<Household>>,
    running: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

/// Nothing is ever listed.
pub(crate) struct NoInventory;

#[async_trait::async_trait]
impl Synchroniser for NoInventory {
    async fn synchronise(&self, _integration: &Integration) -> Result<Synchronised, Failure> {
        Ok(Synchronised::default())
    }

    fn forget(&self, _integration: IntegrationId) {}
}

impl Rig {
    /// Puts everything together and starts it.
    pub(crate) fn start() -> Self {
        let mut rig =
            Self::assemble(Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap());
        rig.run();
        rig
    }

    /// Puts everything together around a ledger; nothing runs yet.
    pub(crate) fn assemble(ledger: Ledger) -> Self {
        Self::assemble_in(ledger, None)
    }

    /// The same, for an instance that shares its state folder with others.
    pub(crate) fn assemble_in(ledger: Ledger, household: Option<Arc<Household>>) -> Self {
        let clock = Arc::new(FakeClock::at(at("2030-01-01T00:00:00Z")));
        let shared: SharedClock = Arc::<FakeClock>::clone(&clock);
        let control = FakeControl::new(Arc::clone(&shared));
        let system_clock = Arc::new(FakeClock::at(clock.now()));
        let system = FakeSystem::new(Arc::<FakeClock>::clone(&system_clock));
        let integration = apono_connector::control::fake::integration("fake");
        control.assign(integration.clone());
        let executor = executor(&shared, &control, &system, &ledger, household.as_ref());
        Self {
            clock,
            system_clock,
            control,
            system,
            integration,
            ledger,
            executor,
            household,
            running: None,
        }
    }

    pub(crate) fn run(&mut self) {
        let stop = CancellationToken::new();
        let (executor, token) = (self.executor.clone(), stop.clone());
        self.running = Some((
            stop,
            TaskTracker::new().spawn(async move { executor.run(token).await }),
        ));
    }

    /// Asks the executor to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        if let Some((stop, running)) = self.running.take() {
            stop.cancel();
            tokio::time::timeout(PATIENCE, running)
                .await
                .expect("the executor stops in time")
                .unwrap();
        }
    }

    /// Stops, and goes on with a new executor over the same ledger, as a restart would.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let shared: SharedClock = Arc::<FakeClock>::clone(&self.clock);
        self.executor = executor(
            &shared,
            &self.control,
            &self.system,
            &self.ledger,
            self.household.as_ref(),
        );
        self.run();
    }

    /// Lets time pass everywhere.
    pub(crate) fn advance(&self, by: Duration) {
        self.system_clock.advance(by);
        self.clock.advance(by);
    }

    /// Makes a grant for alice that lasts an hour.
    pub(crate) fn grant(&self) -> Grant {
        Grant {
            id: GrantId::generate(),
            integration: self.integration.id,
            principal: Principal::parse("alice@example.com").unwrap(),
            resource: ResourceRef::new(
                ResourceKind::PostgresSchema,
                vec!["app".into(), "public".into()],
            )
            .unwrap(),
            permission: Permission::ReadOnly,
            expiry: self.clock.now() + SignedDuration::from_hours(1),
        }
    }

    pub(crate) fn order_start(&self, grant: &Grant) -> TaskId {
        let order = Order::Start {
            grant: grant.clone(),
            recipient: "age1nobody".to_owned(),
        };
        self.control.order(self.integration.id, order)
    }

    pub(crate) fn order_revoke(&self, grant: &Grant) -> TaskId {
        self.control.order(
            self.integration.id,
            Order::Revoke {
                grant: grant.clone(),
            },
        )
    }

    /// Starts a grant and waits until it is reported.
    pub(crate) async fn started(&self) -> Grant {
        let grant = self.grant();
        let task = self.order_start(&grant);
        let outcome = self.outcome(task).await;
        assert!(
            matches!(outcome, TaskOutcome::Succeeded { start: Some(_), .. }),
            "{outcome:?}"
        );
        assert!(self.system.has_access(grant.id));
        grant
    }

    /// Waits for the first report of a task.
    pub(crate) async fn outcome(&self, task: TaskId) -> TaskOutcome {
        self.until("the task is reported", || {
            !self.control.reports(task).is_empty()
        })
        .await;
        self.control.reports(task).remove(0)
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: &'static str,
        holds: impl Fn() -> bool,
    ) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while !holds() {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "{caller}: it never came true that {what}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn executor(
    clock: &SharedClock,
    control: &FakeControl,
    system: &FakeSystem,
    ledger: &Ledger,
    household: Option<&Arc<Household>>,
) -> Executor {
    Executor::new(
        Parts {
            clock: Arc::clone(clock),
            ledger: ledger.clone(),
            household: household.cloned(),
            recall: Arc::new(Recall::new(ledger.clone())),
            control: Arc::new(control.clone()),
            registry: Arc::new(Registry::default().with("fake", Box::new(system.clone()))),
            synchroniser: Arc::new(NoInventory),
            metrics: Arc::new(Metrics::new()),
            health: Arc::new(Health::new(Arc::clone(clock))),
        },
        Options {
            instance: uuid::Uuid::now_v7(),
            version: "test".to_owned(),
            host: "test".to_owned(),
            slots: 16,
            starts_per_integration: 4,
            sweep_every: Duration::from_millis(100),
            mend_every: Duration::from_millis(500),
            clean_up_every: Duration::from_millis(100),
            inherit_every: Duration::from_millis(200),
            guardrails: Guardrails::default(),
        },
    )
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
