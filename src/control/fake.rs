//! Owns a control plane in memory, for tests of the executor. Knows no rules of its own: it hands out what a test puts in.

use super::{
    ControlError, ControlPlane, GrantsList, Header, Heartbeat, Hello, IntegrationsList,
    InventoryBase, InventoryPart, InventoryReceipt, LeaseAsk, Leased, ListedGrant,
    ListedIntegration, ParsedTask, Renewal, Renewed, Session, TaskReport,
};
use crate::clock::SharedClock;
use crate::domain::{
    EndReport, Grant, Integration, IntegrationId, IntegrationState, Lease, Order, SessionId, Task,
    TaskId, TaskOutcome,
};
use async_trait::async_trait;
use jiff::SignedDuration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// How long the fake's leases last.
pub const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// A control plane that hands out orders and collects reports.
#[derive(Clone)]
pub struct FakeControl {
    inside: Arc<Mutex<Inside>>,
    changed: Arc<Notify>,
    clock: SharedClock,
}

struct Inside {
    down: bool,
    deaf: bool,
    held: BTreeSet<TaskId>,
    epoch: Uuid,
    revision: u64,
    queue: VecDeque<Task>,
    cancelled: BTreeSet<TaskId>,
    integrations: Vec<Integration>,
    retired: BTreeSet<IntegrationId>,
    integrations_asked: usize,
    listed: Vec<ListedGrant>,
    reports: Vec<TaskReport>,
    ends: Vec<EndReport>,
    released: Vec<TaskId>,
    heartbeats: Vec<Heartbeat>,
    grants_asked: Vec<u64>,
    sessions: usize,
}

impl FakeControl {
    /// Makes a control plane that knows nothing.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            inside: Arc::new(Mutex::new(Inside {
                down: false,
                deaf: false,
                held: BTreeSet::new(),
                epoch: Uuid::now_v7(),
                revision: 1,
                queue: VecDeque::new(),
                cancelled: BTreeSet::new(),
                integrations: Vec::new(),
                retired: BTreeSet::new(),
                integrations_asked: 0,
                listed: Vec::new(),
                reports: Vec::new(),
                ends: Vec::new(),
                released: Vec::new(),
                heartbeats: Vec::new(),
                grants_asked: Vec::new(),
                sessions: 0,
            })),
            changed: Arc::new(Notify::new()),
            clock,
        }
    }

    /// Assigns an integration, or changes one.
    pub fn assign(&self, integration: Integration) {
        self.change(|inside| {
            inside
                .integrations
                .retain(|known| known.id != integration.id);
            inside.integrations.push(integration);
            inside.revision += 1;
        });
    }

    /// Shows an integration as retired from here on.
    pub fn retire(&self, integration: IntegrationId) {
        self.change(|inside| {
            inside.retired.insert(integration);
            inside.revision += 1;
        });
    }

    /// Puts a grant on the list of open ones.
    pub fn list(&self, grant: Grant) {
        self.change(|inside| {
            inside.listed.push(ListedGrant {
                grant,
                ended: false,
                checkpoint: None,
            });
            inside.revision += 1;
        });
    }

    /// Orders something; returns the task.
    pub fn order(&self, integration: IntegrationId, order: Order) -> TaskId {
        let task = Task {
            id: TaskId::generate(),
            attempt: 1,
            issued_at: self.clock.now(),
            integration,
            order,
        };
        let id = task.id;
        self.redeliver(task);
        id
    }

    /// Delivers a task as it is, once more if need be.
    pub fn redeliver(&self, task: Task) {
        self.change(|inside| inside.queue.push_back(task));
    }

    /// Makes renewals of a task say that the order was taken back.
    pub fn cancel(&self, task: TaskId) {
        self.change(|inside| {
            inside.cancelled.insert(task);
        });
    }

    /// Makes every call fail, or brings the control plane back.
    pub fn set_down(&self, down: bool) {
        self.change(|inside| inside.down = down);
    }

    /// Makes reports alone fail, or lets them through again.
    pub fn set_deaf(&self, deaf: bool) {
        self.change(|inside| inside.deaf = deaf);
    }

    /// Returns the tasks that the last request for work named as held.
    #[must_use]
    pub fn held(&self) -> BTreeSet<TaskId> {
        self.lock().held.clone()
    }

    /// Pretends to be a restored store.
    pub fn restore(&self) {
        self.change(|inside| inside.epoch = Uuid::now_v7());
    }

    /// Returns the reports of a task, oldest first.
    #[must_use]
    pub fn reports(&self, task: TaskId) -> Vec<TaskOutcome> {
        let inside = self.lock();
        inside
            .reports
            .iter()
            .filter(|report| report.task == task)
            .map(|report| report.outcome.clone())
            .collect()
    }

    /// Returns the ends that were reported.
    #[must_use]
    pub fn ends(&self) -> Vec<EndReport> {
        self.lock().ends.clone()
    }

    /// Returns the tasks that were handed back.
    #[must_use]
    pub fn released(&self) -> Vec<TaskId> {
        self.lock().released.clone()
    }

    /// Returns the last heartbeat.
    #[must_use]
    pub fn last_heartbeat(&self) -> Option<Heartbeat> {
        self.lock().heartbeats.last().cloned()
    }

    /// Returns how often the list of integrations was asked for.
    #[must_use]
    pub fn integrations_asked(&self) -> usize {
        self.lock().integrations_asked
    }

    /// Returns how many sessions were opened.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.lock().sessions
    }

    /// Returns from which revisions the list of grants was asked for.
    #[must_use]
    pub fn grants_asked(&self) -> Vec<u64> {
        self.lock().grants_asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inside)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    fn enter(&self, call: &'static str) -> Result<(MutexGuard<'_, Inside>, Header), ControlError> {
        let inside = self.lock();
        if inside.down {
            return Err(ControlError::Unreachable {
                url: "fake".to_owned(),
                call,
                source: "the fake control plane is down".into(),
            });
        }
        let header = Header {
            epoch: inside.epoch,
            server_time: self.clock.now(),
            grants_revision: inside.revision,
            integrations_revision: inside.revision,
        };
        Ok((inside, header))
    }
}

#[async_trait]
impl ControlPlane for FakeControl {
    async fn open_session(&self, _hello: &Hello) -> Result<Session, ControlError> {
        let (mut inside, header) = self.enter("session")?;
        inside.sessions += 1;
        Ok(Session {
            id: SessionId::generate(),
            header,
            poll_wait: Duration::from_secs(20),
            // Never in a test: what is told, is told because it changed.
            heartbeat_every: Duration::from_secs(3600),
            renew_every: Duration::from_millis(200),
        })
    }

    async fn lease(&self, _session: SessionId, ask: &LeaseAsk) -> Result<Leased, ControlError> {
        let deadline = tokio::time::Instant::now() + ask.wait;
        self.lock().held = ask.held.iter().copied().collect();
        loop {
            let changed = self.changed.notified();
            {
                let (mut inside, header) = self.enter("lease")?;
                let room = usize::try_from(ask.free_any + ask.free_end)
                    .unwrap_or_default()
                    .min(inside.queue.len());
                let stale = ask.grants_revision != inside.revision;
                if room > 0 || stale {
                    let taken: Vec<_> = inside.queue.drain(..room).collect();
                    let order = |task| {
                        ParsedTask::Order(Lease {
                            task,
                            deadline: self.clock.now() + LEASE,
                            checkpoint: None,
                        })
                    };
                    return Ok(Leased {
                        header,
                        tasks: taken.into_iter().map(order).collect(),
                    });
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {
                    let (_inside, header) = self.enter("lease")?;
                    return Ok(Leased { header, tasks: Vec::new() });
                }
            }
        }
    }

    async fn renew(&self, _session: SessionId, renewal: &Renewal) -> Result<Renewed, ControlError> {
        let (inside, header) = self.enter("renew")?;
        Ok(Renewed {
            header,
            deadline: self.clock.now() + LEASE,
            cancel: inside.cancelled.contains(&renewal.task),
        })
    }

    async fn release(
        &self,
        _session: SessionId,
        task: TaskId,
        _attempt: u32,
    ) -> Result<(), ControlError> {
        let (mut inside, _) = self.enter("release")?;
        inside.released.push(task);
        Ok(())
    }

    async fn report(&self, _session: SessionId, report: &TaskReport) -> Result<(), ControlError> {
        let (mut inside, _) = self.enter("result")?;
        if inside.deaf {
            return Err(ControlError::Unreachable {
                url: "fake".to_owned(),
                call: "result",
                source: "the fake control plane hears no reports".into(),
            });
        }
        inside.reports.push(report.clone());
        Ok(())
    }

    async fn report_ends(
        &self,
        _session: SessionId,
        ends: &[EndReport],
    ) -> Result<(), ControlError> {
        let (mut inside, _) = self.enter("ends")?;
        inside.ends.extend_from_slice(ends);
        Ok(())
    }

    async fn heartbeat(
        &self,
        _session: SessionId,
        heartbeat: &Heartbeat,
    ) -> Result<Header, ControlError> {
        let (mut inside, header) = self.enter("heartbeat")?;
        inside.heartbeats.push(heartbeat.clone());
        Ok(header)
    }

    async fn grants(&self, since: u64) -> Result<GrantsList, ControlError> {
        let (mut inside, header) = self.enter("grants")?;
        inside.grants_asked.push(since);
        Ok(GrantsList {
            header,
            through: inside.revision,
            grants: inside.listed.clone(),
        })
    }

    async fn integrations(&self, _since: u64) -> Result<IntegrationsList, ControlError> {
        let (mut inside, header) = self.enter("integrations")?;
        inside.integrations_asked += 1;
        let listed = |integration: &Integration| ListedIntegration {
            integration: integration.clone(),
            retired: inside.retired.contains(&integration.id),
        };
        Ok(IntegrationsList {
            header,
            through: inside.revision,
            integrations: inside.integrations.iter().map(listed).collect(),
        })
    }

    async fn send_inventory(
        &self,
        _integration: IntegrationId,
        part: &InventoryPart,
    ) -> Result<InventoryReceipt, ControlError> {
        let (_inside, header) = self.enter("inventory")?;
        let base = InventoryBase {
            epoch: header.epoch,
            revision: 1,
        };
        Ok(InventoryReceipt {
            header,
            committed: part.last.then_some(base),
        })
    }
}

/// Makes an integration whose settings nobody looks at.
#[must_use]
pub fn integration(kind: &str) -> Integration {
    Integration {
        id: IntegrationId::generate(),
        name: "fake".to_owned(),
        kind: kind.to_owned(),
        settings: [("hostname".to_owned(), "nowhere".to_owned())].into(),
        secret: None,
        state: IntegrationState::Active,
    }
}
