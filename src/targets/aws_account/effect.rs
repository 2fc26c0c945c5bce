//! Owns what a grant is turned into, ordered and read back: a policy of its own, an attachment, a membership. Never decides which.

use super::AccountTarget;
use super::desk::Carrier;
use super::document;
use super::mark;
use super::service::Service;
use crate::domain::{ErrorClass, Grant, GrantId, ResourceKind, ResourceRef};
use crate::targets::TargetError;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait until what was written can be read: IAM promises no time, and takes seconds.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What access is given to, by name; a policy by ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thing<'a> {
    Role(&'a str),
    Bucket(&'a str),
    Policy(&'a str),
    Group(&'a str),
}

impl<'a> Thing<'a> {
    /// Nothing for what is not in an account.
    pub(super) fn of(resource: &'a ResourceRef) -> Option<Self> {
        let (kind, name) = (resource.kind(), resource.name());
        [
            (ResourceKind::AwsIamRole, Self::Role(name)),
            (ResourceKind::AwsS3Bucket, Self::Bucket(name)),
            (ResourceKind::AwsIamPolicy, Self::Policy(name)),
            (ResourceKind::AwsIamGroup, Self::Group(name)),
        ]
        .into_iter()
        .find_map(|(of, thing)| (of == kind).then_some(thing))
    }
}

/// What a grant is turned into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// An inline policy of the grant's own.
    Policy { document: String },
    /// A managed policy as it is.
    Attach { arn: String },
    /// What a group has.
    Member { group: String },
}

impl Effect {
    /// Tells whether two are the same; policies by what they say.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Policy { document: one }, Self::Policy { document: other }) => {
                document::is_same(one, other)
            }
            (one, other) => one == other,
        }
    }
}

impl AccountTarget {
    /// Orders an effect and notes what became of the order.
    pub(super) async fn order(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: GrantId,
        (effect, signed_by): (&Effect, Timestamp),
    ) -> Result<(), TargetError> {
        self.landings.begin(grant, self.late_by(signed_by), None);
        let user = &carrier.name;
        let sent = match effect {
            Effect::Policy { document } => {
                let policy = mark::policy_name(grant);
                let policy = (policy.as_str(), document.as_str());
                service.put_policy(user, policy, signed_by).await
            }
            Effect::Attach { arn } => service.attach(user, arn, signed_by).await,
            Effect::Member { group } => service.add_to_group(user, group, signed_by).await,
        };
        match &sent {
            Err(error) if error.outcome_unknown() => {
                let until = self.late_by(self.clock.now());
                self.landings.unanswered(grant, until);
            }
            Ok(()) | Err(_) => self.landings.answered(grant),
        }
        sent.map_err(TargetError::from)
    }

    /// Returns what a user has of a grant; nothing when it has nothing.
    pub(super) async fn effect_of(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
    ) -> Result<Option<Effect>, TargetError> {
        let user = &carrier.name;
        let policy = service.policy(user, &mark::policy_name(grant.id)).await?;
        if let Some(document) = policy {
            return Ok(Some(Effect::Policy { document }));
        }
        let found = match Thing::of(&grant.resource) {
            Some(Thing::Policy(arn)) => {
                let arn = arn.to_owned();
                let attached = service.attached(user).await?;
                attached.contains(&arn).then_some(Effect::Attach { arn })
            }
            Some(Thing::Group(group)) => {
                let group = group.to_owned();
                let groups = service.groups(user).await?;
                groups.contains(&group).then_some(Effect::Member { group })
            }
            Some(Thing::Role(_) | Thing::Bucket(_)) | None => None,
        };
        Ok(found)
    }

    /// Waits until what was given can be read.
    pub(super) async fn until_there(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
        wanted: &Effect,
    ) -> Result<(), TargetError> {
        let patience = Patience::begin();
        loop {
            let found = self.effect_of(service, carrier, grant).await?;
            if found.is_some_and(|found| found.is(wanted)) {
                return Ok(());
            }
            if !patience.another_look().await {
                break;
            }
        }
        let message = format!(
            "IAM does not show yet what IAM user `{}` was given",
            carrier.name
        );
        Err(TargetError::new(
            ErrorClass::Transient,
            "not_visible_yet",
            message,
        ))
    }
}

/// The wait until something can be read.
pub(super) struct Patience {
    until: Instant,
}

impl Patience {
    pub(super) fn begin() -> Self {
        Self {
            until: Instant::now() + LONGEST_WAIT,
        }
    }

    /// Waits until the next look; false when there is to be none.
    pub(super) async fn another_look(&self) -> bool {
        let more = Instant::now() < self.until;
        if more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        more
    }
}
