//! Owns a target in memory, for tests of everything above the targets. Keeps the contract of [`Target`]; fails on demand.

use super::{
    Applied, CheckReport, CleanedUp, Ended, Mended, RecordedGrant, Target, TargetError,
    TargetFactory,
};
use crate::clock::SharedClock;
use crate::domain::{
    Change, CredentialChange, EndReason, ErrorClass, Evidence, Grant, GrantId, Integration,
    IntegrationId, LoginName, Plan, SettingsDigest, Start, StartGrant, Step,
};
use crate::policy::{EndWarrant, Permit};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A system that exists only in memory; shared by all targets a factory makes.
#[derive(Clone)]
pub struct FakeSystem {
    inside: Arc<Mutex<Inside>>,
    clock: SharedClock,
}

#[derive(Default)]
struct Inside {
    grants: BTreeMap<GrantId, FakeGrant>,
    failures: Vec<(Trouble, ErrorClass)>,
    down: bool,
}

/// What the system knows of one grant.
#[derive(Debug, Clone)]
pub struct FakeGrant {
    /// What was granted, with the expiry in force.
    pub grant: Grant,
    /// Which delivery made it.
    pub attempt: u32,
    /// When it started; nothing when only its end is known.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<(Timestamp, EndReason)>,
    /// Whether clean-up is complete.
    pub clean: bool,
}

/// When a planned failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The next start fails before its effect.
    BeforeStart,
    /// The next start has its effect, and its answer is lost.
    AfterStart,
    /// The next look at what was started fails.
    Verify,
    /// The next end fails before its effect.
    BeforeEnd,
}

impl FakeSystem {
    /// Makes an empty system.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            inside: Arc::default(),
            clock,
        }
    }

    /// Makes the next call of a kind fail with a class.
    pub fn fail_next(&self, trouble: Trouble, class: ErrorClass) {
        self.lock().failures.push((trouble, class));
    }

    /// Makes every call fail, as if the system were gone, or brings it back.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Tells whether a grant gives access now.
    #[must_use]
    pub fn has_access(&self, grant: GrantId) -> bool {
        self.lock()
            .grants
            .get(&grant)
            .is_some_and(|known| known.started_at.is_some() && known.ended.is_none())
    }

    /// Returns what is known of a grant.
    #[must_use]
    pub fn grant(&self, grant: GrantId) -> Option<FakeGrant> {
        self.lock().grants.get(&grant).cloned()
    }

    /// Forgets a grant, as a restored system would.
    pub fn forget(&self, grant: GrantId) {
        self.lock().grants.remove(&grant);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Result<MutexGuard<'_, Inside>, TargetError> {
        let inside = self.lock();
        if inside.down {
            return Err(TargetError::new(
                ErrorClass::Transient,
                "unreachable",
                "the fake system is down",
            ));
        }
        Ok(inside)
    }
}

impl Inside {
    fn strike(&mut self, trouble: Trouble) -> Result<(), TargetError> {
        match self
            .failures
            .iter()
            .position(|(planned, _)| *planned == trouble)
        {
            Some(at) => {
                let (_, class) = self.failures.remove(at);
                Err(TargetError::new(
                    class,
                    "planned",
                    "the fake system failed as planned",
                ))
            }
            None => Ok(()),
        }
    }
}

impl TargetFactory for FakeSystem {
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        Ok(Arc::new(FakeTarget {
            system: self.clone(),
            integration: integration.id,
            settings: integration.digest(),
        }))
    }
}

struct FakeTarget {
    system: FakeSystem,
    integration: IntegrationId,
    settings: SettingsDigest,
}

fn step(note: &str, change: Change) -> Step {
    Step {
        note: note.to_owned(),
        change,
    }
}

fn ended(evidence: Evidence) -> Ended {
    Ended {
        evidence,
        ..Ended::default()
    }
}

#[async_trait]
impl Target for FakeTarget {
    fn integration(&self) -> IntegrationId {
        self.integration
    }

    fn settings(&self) -> SettingsDigest {
        self.settings
    }

    fn lane(&self, grant: &Grant) -> String {
        format!(
            "{}/{}",
            self.integration,
            LoginName::derive(&grant.principal)
        )
    }

    async fn check(&self) -> Result<CheckReport, TargetError> {
        self.system.enter().map(|_| CheckReport::default())
    }

    async fn plan_start(&self, _permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        let inside = self.system.enter()?;
        let verify = step("verify the access", Change::Verify);
        match inside.grants.get(&start.grant.id) {
            Some(known) if known.ended.is_some() => Err(TargetError::new(
                ErrorClass::Bug,
                "grant_ended",
                format!(
                    "grant `{}` has ended and cannot start again",
                    start.grant.id
                ),
            )),
            Some(_) => Ok(Plan {
                steps: vec![verify],
            }),
            None => {
                let login = LoginName::derive(&start.grant.principal).to_string();
                let change = Change::StartGrant(StartGrant {
                    login,
                    access_role: "a_0000000000000000_apono".to_owned(),
                    make_login: true,
                    set_password: true,
                    valid_until: start.grant.expiry,
                    strays: Vec::new(),
                    login_version: 0,
                });
                Ok(Plan {
                    steps: vec![step("start the access", change), verify],
                })
            }
        }
    }

    async fn plan_extend(&self, _permit: &Permit, grant: &Grant) -> Result<Plan, TargetError> {
        let inside = self.system.enter()?;
        if inside
            .grants
            .get(&grant.id)
            .is_none_or(|known| known.ended.is_some())
        {
            return Err(TargetError::new(
                ErrorClass::Bug,
                "grant_not_live",
                format!("grant `{}` is not live", grant.id),
            ));
        }
        let change = Change::MoveExpiry {
            grant: grant.id,
            expiry: grant.expiry,
        };
        Ok(Plan {
            steps: vec![step("move the expiry", change)],
        })
    }

    async fn plan_reset(&self, permit: &Permit, start: &Start) -> Result<Plan, TargetError> {
        self.plan_extend(permit, &start.grant).await?;
        let login = LoginName::derive(&start.grant.principal).to_string();
        Ok(Plan {
            steps: vec![step("set a new password", Change::SetCredential { login })],
        })
    }

    async fn apply(
        &self,
        permit: &Permit,
        start: &Start,
        step: &Step,
    ) -> Result<Applied, TargetError> {
        let now = self.system.clock.now();
        let mut inside = self.system.enter()?;
        let grant = &start.grant;
        let mut applied = Applied {
            evidence: Evidence::default(),
            login: Some(LoginName::derive(&grant.principal).to_string()),
            ..Applied::default()
        };
        match &step.change {
            Change::StartGrant(_) => {
                inside.strike(Trouble::BeforeStart)?;
                if now >= permit.deadline() {
                    return Err(TargetError::new(
                        ErrorClass::Bug,
                        "fence",
                        "the lease is over",
                    ));
                }
                inside.grants.entry(grant.id).or_insert(FakeGrant {
                    grant: grant.clone(),
                    attempt: start.attempt,
                    started_at: Some(now),
                    ended: None,
                    clean: false,
                });
                inside.strike(Trouble::AfterStart)?;
                applied.started_at = Some(now);
                applied.credential = Some(CredentialChange::None);
            }
            Change::MoveExpiry { expiry, .. } => {
                if let Some(known) = inside.grants.get_mut(&grant.id) {
                    known.grant.expiry = *expiry;
                }
            }
            Change::Verify => {
                inside.strike(Trouble::Verify)?;
                applied.started_at = inside
                    .grants
                    .get(&grant.id)
                    .and_then(|known| known.started_at)
            }
            Change::SetCredential { .. } => applied.credential = Some(CredentialChange::None),
            Change::PrepareAccessRole { .. }
            | Change::Remember(_)
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::PrepareUser { .. }
            | Change::GiveRights
            | Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp => {}
        }
        Ok(applied)
    }

    fn plan_end(&self, _warrant: &EndWarrant) -> Plan {
        Plan {
            steps: vec![
                step("close the door", Change::CloseDoor),
                step("end the sessions", Change::EndSessions),
            ],
        }
    }

    async fn end(&self, warrant: &EndWarrant, step: &Step) -> Result<Ended, TargetError> {
        let now = self.system.clock.now();
        let mut inside = self.system.enter()?;
        let mut seen = ended(Evidence::default());
        if step.change != Change::CloseDoor {
            seen.sessions = Some((1, 0));
            return Ok(seen);
        }
        inside.strike(Trouble::BeforeEnd)?;
        let known = inside.grants.entry(warrant.grant.id).or_insert(FakeGrant {
            grant: warrant.grant.clone(),
            attempt: 0,
            started_at: None,
            ended: None,
            clean: false,
        });
        if warrant.reason == EndReason::Expired && known.ended.is_none() && known.grant.expiry > now
        {
            seen.extended_until = Some(known.grant.expiry);
            return Ok(seen);
        }
        let (at, reason) = *known.ended.get_or_insert((now, warrant.reason));
        seen.ended_at = Some(at);
        seen.reason = Some(reason);
        Ok(seen)
    }

    async fn clean_up(&self) -> Result<Vec<CleanedUp>, TargetError> {
        let mut inside = self.system.enter()?;
        let ended = inside
            .grants
            .values_mut()
            .filter(|known| known.ended.is_some() && !known.clean);
        Ok(ended
            .map(|known| {
                known.clean = true;
                CleanedUp {
                    grant: known.grant.id,
                    leftovers: Vec::new(),
                }
            })
            .collect())
    }

    async fn recorded(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        let inside = self.system.enter()?;
        Ok(inside
            .grants
            .values()
            .filter(|known| !known.clean)
            .map(|known| RecordedGrant {
                grant: known.grant.clone(),
                login: LoginName::derive(&known.grant.principal).to_string(),
                started_at: known.started_at,
                ended: known.ended,
                closed: known.ended.is_some(),
                undecided: false,
            })
            .collect())
    }

    async fn mend(&self) -> Result<Vec<Mended>, TargetError> {
        self.system.enter().map(|_| Vec::new())
    }

    async fn hold(&self, _wanted: bool) {}
}
