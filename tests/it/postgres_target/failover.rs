//! A fail-over or a restore brings back a server that knows less than it acknowledged: the connector finds out before it gives anything.

use super::world::{Opened, World, person, target, unseal};
use crate::support::cluster::{Cluster, Halt, on_every_server};
use crate::support::replica::{Address, PRIMARY};
use crate::support::rig::NoInventory;
use apono_connector::clock::{SharedClock, SystemClock};
use apono_connector::control::fake::FakeControl;
use apono_connector::domain::{
    CredentialChange, EndReason, Grant, Integration, Order, Permission, TaskId, TaskOutcome,
};
use apono_connector::executor::{Executor, Options, Parts, Recall};
use apono_connector::ledger::{Faults, Ledger, LedgerOptions};
use apono_connector::pg::Session;
use apono_connector::policy::Guardrails;
use apono_connector::targets::{Registry, Target, TargetError, TargetFactory};
use apono_connector::telemetry::Health;
use apono_connector::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest time a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connector in this process, in front of a server whose address can lead elsewhere.
struct Stage {
    primary: &'static Cluster,
    world: World,
    address: Address,
    control: FakeControl,
    ledger: Ledger,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

struct Targets(String);

impl TargetFactory for Targets {
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        Ok(Arc::new(target("c-1", integration, &self.0)))
    }
}

impl Stage {
    async fn set(like: &Cluster) -> Self {
        let primary: &'static Cluster =
            Box::leak(Box::new(Cluster::private(like.version, PRIMARY)));
        let mut world = World::new(primary).await;
        let address = Address::of(primary).await;
        world
            .integration
            .settings
            .insert("port".to_owned(), address.port.to_string());
        let clock: SharedClock = Arc::new(SystemClock);
        let control = FakeControl::new(Arc::clone(&clock));
        control.assign(world.integration.clone());
        let ledger = Ledger::in_memory(LedgerOptions::default(), Faults::default()).unwrap();
        let targets = Box::new(Targets(world.user.clone()));
        let executor = Executor::new(
            Parts {
                clock: Arc::clone(&clock),
                ledger: ledger.clone(),
                household: None,
                recall: Arc::new(Recall::new(ledger.clone())),
                control: Arc::new(control.clone()),
                registry: Arc::new(Registry::default().with("postgresql", targets)),
                synchroniser: Arc::new(NoInventory),
                metrics: Arc::new(Metrics::new()),
                health: Arc::new(Health::new(clock)),
            },
            Options {
                instance: uuid::Uuid::now_v7(),
                version: "test".to_owned(),
                host: "test".to_owned(),
                slots: 16,
                starts_per_integration: 4,
                sweep_every: Duration::from_millis(200),
                mend_every: Duration::from_secs(3600),
                clean_up_every: Duration::from_millis(500),
                inherit_every: Duration::from_millis(200),
                guardrails: Guardrails::default(),
            },
        );
        let stop = CancellationToken::new();
        let token = stop.clone();
        let running = TaskTracker::new().spawn(async move { executor.run(token).await });
        Self {
            primary,
            world,
            address,
            control,
            ledger,
            stop,
            running,
        }
    }

    async fn clear(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .unwrap()
            .unwrap();
    }

    fn grant(&self, name: &str) -> Grant {
        self.world.grant(
            &person(name),
            self.world.schema("shop"),
            Permission::ReadOnly,
        )
    }

    fn order(&self, grant: &Grant) -> TaskId {
        let recipient = self.world.identity.to_public().to_string();
        self.control.order(
            self.world.integration.id,
            Order::Start {
                grant: grant.clone(),
                recipient,
            },
        )
    }

    /// Orders a start until it is carried out: one that meets a server that is away is handed back.
    async fn started(&self, grant: &Grant) -> Opened {
        loop {
            let task = self.order(grant);
            let back = || self.control.released().contains(&task);
            let answered = || back() || !self.control.reports(task).is_empty();
            self.until("the order is answered", answered).await;
            if !back() {
                return self.opened(task).await;
            }
        }
    }

    async fn opened(&self, task: TaskId) -> Opened {
        let TaskOutcome::Succeeded {
            start: Some(report),
            ..
        } = self.outcome(task).await
        else {
            panic!("not started: {:?}", self.control.reports(task));
        };
        let CredentialChange::New(sealed) = report.credential else {
            panic!("no credential");
        };
        let body = unseal(&self.world.identity, &sealed);
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        Opened {
            login: text("login"),
            password: text("password"),
        }
    }

    /// Revokes, and waits until the end is acknowledged.
    async fn revoke(&self, grant: &Grant) {
        let order = Order::Revoke {
            grant: grant.clone(),
        };
        let task = self.control.order(self.world.integration.id, order);
        let outcome = self.outcome(task).await;
        assert!(matches!(outcome, TaskOutcome::Closed { .. }), "{outcome:?}");
    }

    async fn outcome(&self, task: TaskId) -> TaskOutcome {
        self.until("the task is reported", || {
            !self.control.reports(task).is_empty()
        })
        .await;
        self.control.reports(task).remove(0)
    }

    #[track_caller]
    fn until(&self, what: &'static str, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let begun = Instant::now();
            while !holds() {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{caller}: it never came true that {what}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn ask(&self, server: &Cluster, sql: &str) -> String {
        let session = server.superuser(&self.world.database).await;
        let answer = session.batch("ask", sql).await.unwrap();
        answer.text().unwrap_or_default().to_owned()
    }

    fn reads(&self, server: &Cluster, who: &Opened) -> bool {
        server
            .psql(
                &who.login,
                &who.password,
                &self.world.database,
                "SELECT * FROM shop.orders",
            )
            .ok
    }

    async fn session(&self, server: &Cluster, who: &Opened) -> Session {
        let options = server.options(&who.login, &who.password, &self.world.database);
        Session::connect(&options).await.unwrap()
    }

    /// Whether by the record the grant `before` ended before `after` started.
    async fn ended_before_started(&self, server: &Cluster, before: &Grant, after: &Grant) -> bool {
        let sql = format!(
            "SELECT (SELECT ended_at FROM apono.\"grant\" WHERE id = '{}') < (SELECT started_at FROM apono.\"grant\" WHERE id = '{}')",
            before.id.as_uuid(),
            after.id.as_uuid()
        );
        self.ask(server, &sql).await == "t"
    }
}

on_every_server! {
    /// Roles are replicated, acknowledgements are not: an asynchronous replica may become the primary without the last ends.
    async fn after_a_promotion_that_lost_an_end_the_end_is_done_again_before_any_start(cluster: &Cluster) {
        let stage = Stage::set(cluster).await;
        let (alice, bob) = (stage.grant("alice"), stage.grant("bob"));
        let hers = stage.started(&alice).await;
        let his = stage.started(&bob).await;
        let replica: &'static Cluster = Box::leak(Box::new(stage.primary.replica().await));
        replica.caught_up_with(stage.primary).await;
        let on_replica = stage.session(replica, &hers).await;

        // The stream is cut; what comes now is acknowledged and never replicated.
        replica.cut_stream().await;
        stage.revoke(&alice).await;
        let dave = stage.grant("dave");
        let lost = stage.started(&dave).await;
        stage.primary.halt(Halt::Killed);
        replica.promote().await;
        assert!(stage.reads(replica, &hers), "the promoted server does not know of her end");
        assert!(on_replica.batch("read", "SELECT * FROM shop.orders").await.is_ok());

        stage.address.leads_to(replica);
        let carol = stage.grant("carol");
        let carols = stage.started(&carol).await;
        assert!(stage.reads(replica, &carols));
        assert!(stage.ended_before_started(replica, &alice, &carol).await, "no start before the comparison");
        assert!(!stage.reads(replica, &hers));
        assert!(on_replica.batch("read", "SELECT * FROM shop.orders").await.is_err());
        assert!(stage.reads(replica, &his), "what is live stays");

        // A start that was lost is not made again behind anybody's back; it is reported as ended.
        let reported = || stage.control.ends().into_iter().find(|end| end.grant == dave.id);
        stage.until("the lost start is reported as ended", || reported().is_some()).await;
        assert_eq!(reported().unwrap().reason, EndReason::Drift);
        assert!(!stage.reads(replica, &lost));
        let servers = stage.ask(replica, "SELECT string_agg(timeline, ' ' ORDER BY compared_at) FROM apono.server").await;
        assert_eq!(servers, "00000001 00000002");
        stage.clear().await;
    }
}

on_every_server! {
    /// The copy has the same system identifier and the same timeline.
    async fn a_restored_older_copy_is_compared_before_any_start(cluster: &Cluster) {
        let stage = Stage::set(cluster).await;
        let (alice, bob) = (stage.grant("alice"), stage.grant("bob"));
        let hers = stage.started(&alice).await;
        let his = stage.started(&bob).await;
        let copy: &'static Cluster = Box::leak(Box::new(stage.primary.clone_of_now().await));

        stage.revoke(&alice).await;
        let over = || stage.ledger.read(|state| state.ends.get(alice.id).is_some());
        stage.until("her grant is closed, clean and out of the ledger", over).await;
        stage.primary.halt(Halt::Well);
        assert!(stage.reads(copy, &hers), "the copy is older than her end");

        stage.address.leads_to(copy);
        let carol = stage.grant("carol");
        let carols = stage.started(&carol).await;
        assert!(stage.reads(copy, &carols));
        assert!(stage.ended_before_started(copy, &alice, &carol).await, "no start before the comparison");
        assert!(!stage.reads(copy, &hers));
        assert!(stage.reads(copy, &his));
        stage.clear().await;
    }
}
