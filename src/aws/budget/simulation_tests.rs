//! The real budget and the real wait for operations, in front of a strict model of the service, on a clock that jumps.

mod service;

use super::*;
use crate::aws::operations::{Finished, OperationKind, Operations, Watched};
use service::{Seen, Service};
use std::collections::HashSet;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Which assignments wait for a turn, by account, to tell whether the window could be used better.
#[derive(Debug, Default, Clone)]
struct Waiting(Arc<Mutex<HashMap<AccountId, usize>>>);

impl Waiting {
    fn change(&self, account: &AccountId, by: isize) {
        let mut waiting = self.0.lock().unwrap();
        let count = waiting.entry(account.clone()).or_default();
        *count = count.checked_add_signed(by).unwrap();
    }

    fn accounts(&self) -> HashSet<AccountId> {
        let waiting = self.0.lock().unwrap();
        let wanted = waiting.iter().filter(|(_, count)| **count > 0);
        wanted.map(|(account, _)| account.clone()).collect()
    }
}

/// One story: the service, the one budget, and everybody who uses it.
#[derive(Clone)]
struct Story {
    service: Service,
    budget: Budget,
    operations: Operations,
    waiting: Waiting,
    /// The executor's places for starts.
    places: Arc<Semaphore>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let service = Service::new(seed);
        let budget = Budget::new(Limits::IDENTITY_CENTER);
        Self {
            operations: Operations::new(Arc::new(service.clone()), budget.clone()),
            service,
            budget,
            waiting: Waiting::default(),
            places: Arc::new(Semaphore::new(64)),
        }
    }

    async fn read(&self, turn: Turn) {
        loop {
            self.budget.request(turn).await;
            if self.service.request().await.is_ok() {
                return;
            }
            self.budget.throttled(Throttle::Unclear);
        }
    }

    /// One operation from the wait for its turn to its end. Returns how long it waited for its turn.
    async fn operate(&self, kind: OperationKind, turn: Turn, account: AccountId) -> Duration {
        let asked = Instant::now();
        let mut waited = None;
        loop {
            let mut held = match kind {
                OperationKind::Provisioning => self.budget.provisioning(turn, &account).await,
                OperationKind::Creation | OperationKind::Deletion => {
                    self.waiting.change(&account, 1);
                    let held = self.budget.assignment(turn, &account).await;
                    self.waiting.change(&account, -1);
                    held
                }
            };
            waited.get_or_insert(asked.elapsed());
            held.request().await;
            held.sent();
            let id = match self.service.start(kind, &account).await {
                Ok(id) => id,
                Err(_) => {
                    held.throttled(Throttle::Unclear);
                    let pause = self.service.model().draw.millis(500, 2_000);
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            let watched = Watched {
                kind,
                id: &id,
                turn,
            };
            let deadline = Instant::now() + Duration::from_secs(300);
            let finished = self.operations.watch(watched, deadline).await;
            self.check(&id, &finished);
            held.finished();
            return waited.unwrap_or_default();
        }
    }

    /// What the wait says is what the service knows.
    fn check(&self, id: &str, finished: &Finished) {
        let mut model = self.service.model();
        let one = model.operations.remove(id).unwrap();
        assert!(one.over <= Instant::now(), "{finished:?} before its end");
        match finished {
            Finished::Succeeded => assert!(!one.fails),
            Finished::Failed { reason } => assert!(one.fails && reason.contains("404")),
            Finished::Lost { .. } => panic!("{finished:?}"),
        }
    }

    /// Start, some minutes of access, end: with the reads before and after.
    async fn grant(self, account: AccountId) -> [Duration; 2] {
        let place = self.places.acquire().await.unwrap();
        for _ in 0..4 {
            self.read(Turn::Start).await;
        }
        let start = self
            .operate(OperationKind::Creation, Turn::Start, account.clone())
            .await;
        self.read(Turn::Start).await;
        drop(place);
        let access = self.service.model().draw.millis(30_000, 90_000);
        tokio::time::sleep(access).await;
        let end = self
            .operate(OperationKind::Deletion, Turn::End, account)
            .await;
        self.read(Turn::End).await;
        [start, end]
    }

    /// Looks every two seconds at how well the window is used.
    async fn watch_use(self) {
        const STEP: Duration = Duration::from_secs(2);
        loop {
            tokio::time::sleep(STEP).await;
            let wanted = self.waiting.accounts();
            let usage = self.budget.usage();
            let mut model = self.service.model();
            let now = Instant::now();
            let busy: HashSet<_> = model.running(now).map(|one| one.account.clone()).collect();
            let running = model
                .running(now)
                .filter(|one| one.kind != OperationKind::Provisioning)
                .count();
            if wanted.difference(&busy).count() > 0 {
                let most = f64::from(model.limits.assignments);
                model.seen.could += most * STEP.as_secs_f64();
                model.seen.used +=
                    u32::try_from(running).map_or(0.0, f64::from) * STEP.as_secs_f64();
                model.seen.held += f64::from(usage.assignments) * STEP.as_secs_f64();
            }
        }
    }

    async fn inventory(self) {
        loop {
            self.read(Turn::Read).await;
            self.service.model().seen.reads += 1;
        }
    }
}

struct Told {
    took: Duration,
    starts: Vec<Duration>,
    ends: Vec<Duration>,
}

/// Grants over 200 accounts, each started and ended: twice as many operations on assignments; 60 provisionings and an inventory beside them.
async fn story(story: &Story, grants_in_all: u32) -> Told {
    let mut beside = JoinSet::new();
    for _ in 0..8 {
        beside.spawn(story.clone().inventory());
    }
    beside.spawn(story.clone().watch_use());
    let mut provisionings = JoinSet::new();
    for number in 0..60 {
        let story = story.clone();
        provisionings.spawn(async move {
            let account = account(1_000 + number % 20);
            story
                .operate(OperationKind::Provisioning, Turn::CleanUp, account)
                .await
        });
    }
    let began = Instant::now();
    let mut grants = JoinSet::new();
    for number in 0..grants_in_all {
        grants.spawn(story.clone().grant(account(number % 200)));
    }
    let waits = grants.join_all().await;
    let took = began.elapsed();
    assert_eq!(provisionings.join_all().await.len(), 60);
    beside.shutdown().await;
    Told {
        took,
        starts: waits.iter().map(|[start, _]| *start).collect(),
        ends: waits.iter().map(|[_, end]| *end).collect(),
    }
}

fn account(number: u32) -> AccountId {
    AccountId::parse(&format!("{number:012}")).unwrap()
}

fn mean(waits: &[Duration]) -> Duration {
    waits.iter().sum::<Duration>() / u32::try_from(waits.len()).unwrap()
}

fn print(told: &Told, seen: &Seen) {
    let bound = seen.delays / Limits::IDENTITY_CENTER.assignments;
    println!(
        "{} operations on assignments took {:.0} s, the bound delay x operations / window is {:.0} s: {:.1} % above",
        told.starts.len() + told.ends.len(),
        told.took.as_secs_f64(),
        bound.as_secs_f64(),
        (told.took.as_secs_f64() / bound.as_secs_f64() - 1.0) * 100.0
    );
    println!(
        "window used while work waits: {:.1} % by turns, {:.1} % as the service counts; most at once {}, provisionings {}",
        seen.held / seen.could * 100.0,
        seen.used / seen.could * 100.0,
        seen.most_at_once,
        seen.most_provisionings
    );
    println!(
        "requests {} ({:.1}/s), most in any second {}; lists {}, describes {}, inventory reads {} ({:.1}/s); refused {}, conflicts {}",
        seen.requests,
        f64::from(u32::try_from(seen.requests).unwrap()) / told.took.as_secs_f64(),
        seen.most_requests_in_a_second,
        seen.lists,
        seen.describes,
        seen.reads,
        f64::from(u32::try_from(seen.reads).unwrap()) / told.took.as_secs_f64(),
        seen.refused,
        seen.conflicts
    );
    println!(
        "wait for a turn, mean and longest: starts {:.1?} {:.1?}, ends {:.1?} {:.1?}",
        mean(&told.starts),
        told.starts.iter().max().unwrap(),
        mean(&told.ends),
        told.ends.iter().max().unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn twelve_hundred_operations_keep_every_limit_and_leave_no_place_idle() {
    let story_of = Story::new(42);
    let told = story(&story_of, 600).await;
    assert_eq!(told.starts.len() + told.ends.len(), 1_200);
    let model = story_of.service.model();
    let seen = &model.seen;
    print(&told, seen);
    assert!(model.operations.is_empty(), "an operation was lost");
    assert_eq!((seen.refused, seen.conflicts), (0, 0));
    assert!(seen.most_requests_in_a_second <= 20);
    assert!(seen.most_at_once <= 15 && seen.most_provisionings <= 3);
    assert!(seen.used / seen.could >= 0.95);
    assert!(seen.reads > 10_000);
    assert!(mean(&told.ends) < mean(&told.starts));
    assert_eq!(story_of.budget.usage().waiting, [0; 4]);
    assert_eq!(story_of.budget.usage().assignments, 0);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_uses_the_window_for_a_while_and_nothing_is_lost() {
    let story_of = Story::new(7);
    let service = story_of.service.clone();
    let mut else_where = JoinSet::new();
    else_where.spawn(async move {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(200)).await;
            service.model().limits = Limits {
                requests_per_second: 8,
                assignments: 6,
                provisionings: 1,
            };
            tokio::time::sleep(Duration::from_secs(200)).await;
            service.model().limits = Limits::IDENTITY_CENTER;
        }
    });
    let told = story(&story_of, 250).await;
    let model = story_of.service.model();
    let seen = &model.seen;
    print(&told, seen);
    assert!(model.operations.is_empty(), "an operation was lost");
    assert_eq!(seen.conflicts, 0);
    assert!(seen.refused > 0);
    // Each refusal is learnt from: with 400 s of a smaller service, a few per second at most.
    assert!(seen.refused < 400, "{}", seen.refused);
    let usage = story_of.budget.usage();
    assert_eq!(
        (usage.requests_per_second, usage.assignments_at_most),
        (20, 15)
    );
}
