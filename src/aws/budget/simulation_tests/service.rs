//! Owns a model of the service as it is documented, which counts whatever is over a limit.

use super::super::*;
use crate::aws::AwsError;
use crate::aws::operations::{OperationKind, OperationReader, OperationStatus, RunningPage};
use crate::domain::ErrorClass;
use async_trait::async_trait;
use std::collections::VecDeque;

/// Draws the same numbers in every run.
#[derive(Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from + 1))
    }

    pub(super) fn one_in(&mut self, chances: u64) -> bool {
        self.next().is_multiple_of(chances)
    }
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) kind: OperationKind,
    pub(super) account: AccountId,
    pub(super) sent: Instant,
    pub(super) visible: Instant,
    pub(super) over: Instant,
    pub(super) fails: bool,
}

/// What the service counted.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) lists: u64,
    pub(super) describes: u64,
    pub(super) reads: u64,
    pub(super) most_requests_in_a_second: usize,
    pub(super) most_at_once: usize,
    pub(super) most_provisionings: usize,
    pub(super) refused: u64,
    pub(super) conflicts: u64,
    pub(super) delays: Duration,
    /// Work that could run but waits, and places in use while it does: both in place-seconds.
    pub(super) could: f64,
    pub(super) used: f64,
    pub(super) held: f64,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) draw: Draw,
    pub(super) limits: Limits,
    pub(super) arrived: VecDeque<Instant>,
    pub(super) operations: HashMap<String, Running>,
    pub(super) seen: Seen,
}

/// The service as documented, with no patience: what is over a limit is refused and counted.
#[derive(Debug, Clone)]
pub(super) struct Service(Arc<Mutex<Model>>);

impl Service {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Model {
            draw: Draw(seed),
            limits: Limits::IDENTITY_CENTER,
            arrived: VecDeque::new(),
            operations: HashMap::new(),
            seen: Seen::default(),
        })))
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap()
    }

    /// A request on its way: held up a little, and counted over every window of one second.
    pub(super) async fn request(&self) -> Result<(), AwsError> {
        let there = self.model().draw.millis(0, 40);
        tokio::time::sleep(there).await;
        let (back, taken) = {
            let mut model = self.model();
            let taken = model.arrives();
            (model.draw.millis(5, 120), taken)
        };
        tokio::time::sleep(back).await;
        taken
    }

    /// Starts an operation; returns its id.
    pub(super) async fn start(
        &self,
        kind: OperationKind,
        account: &AccountId,
    ) -> Result<String, AwsError> {
        self.request().await?;
        self.model().starts(kind, account)
    }
}

impl Model {
    fn arrives(&mut self) -> Result<(), AwsError> {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        while self.arrived.front().is_some_and(|at| *at + second < now) {
            self.arrived.pop_front();
        }
        self.seen.requests += 1;
        let limit = usize::try_from(self.limits.requests_per_second).unwrap();
        if self.arrived.len() >= limit {
            self.seen.refused += 1;
            return Err(error(ErrorClass::Throttled));
        }
        self.arrived.push_back(now);
        self.seen.most_requests_in_a_second =
            self.seen.most_requests_in_a_second.max(self.arrived.len());
        Ok(())
    }

    fn starts(&mut self, kind: OperationKind, account: &AccountId) -> Result<String, AwsError> {
        let now = Instant::now();
        let provisioning = kind == OperationKind::Provisioning;
        let same = self
            .running(now)
            .filter(|one| (one.kind == OperationKind::Provisioning) == provisioning)
            .count();
        if self.running(now).any(|one| one.account == *account) {
            self.seen.conflicts += 1;
            return Err(error(ErrorClass::Conflict));
        }
        let limit = if provisioning {
            self.limits.provisionings
        } else {
            self.limits.assignments
        };
        if same >= usize::try_from(limit).unwrap() {
            self.seen.refused += 1;
            return Err(error(ErrorClass::Throttled));
        }
        let most = if provisioning {
            &mut self.seen.most_provisionings
        } else {
            &mut self.seen.most_at_once
        };
        *most = (*most).max(same + 1);
        let delay = self.draw.millis(5_000, 60_000);
        if !provisioning {
            self.seen.delays += delay;
        }
        let id = format!("{:032x}", self.draw.next());
        let operation = Running {
            kind,
            account: account.clone(),
            sent: now,
            visible: now + self.draw.millis(0, 2_000),
            over: now + delay,
            fails: self.draw.one_in(20),
        };
        self.operations.insert(id.clone(), operation);
        Ok(id)
    }

    pub(super) fn running(&self, now: Instant) -> impl Iterator<Item = &Running> {
        self.operations
            .values()
            .filter(move |one| one.sent <= now && now < one.over)
    }
}

#[async_trait]
impl OperationReader for Service {
    async fn running(
        &self,
        kind: OperationKind,
        _page: Option<String>,
    ) -> Result<RunningPage, AwsError> {
        self.request().await?;
        let mut model = self.model();
        model.seen.lists += 1;
        if model.draw.one_in(100) {
            return Err(error(ErrorClass::Transient));
        }
        let now = Instant::now();
        let shown = |one: &Running| one.kind == kind && one.visible <= now && now < one.over;
        let ids = model.operations.iter().filter(|(_, one)| shown(one));
        Ok(RunningPage {
            ids: ids.map(|(id, _)| id.clone()).collect(),
            next: None,
        })
    }

    async fn describe(&self, kind: OperationKind, id: &str) -> Result<OperationStatus, AwsError> {
        self.request().await?;
        let mut model = self.model();
        model.seen.describes += 1;
        let now = Instant::now();
        let known = model.operations.get(id);
        Ok(match known.filter(|one| one.kind == kind) {
            Some(one) if now < one.visible => OperationStatus::Unknown,
            Some(one) if now < one.over => OperationStatus::InProgress,
            Some(one) if one.fails => OperationStatus::Failed {
                reason: "Received a 404 status error".to_owned(),
            },
            Some(_) => OperationStatus::Succeeded,
            None => OperationStatus::Unknown,
        })
    }
}

/// A trouble nobody could tell from a real one.
fn error(class: ErrorClass) -> AwsError {
    AwsError::new("sso:Test", class, "test", "a trouble of the test")
}
