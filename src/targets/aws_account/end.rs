//! Owns ends: the door first, then the note that it is shut, then the look whether it is, and until when it might open again. Never needs a permit.

use super::AccountTarget;
use super::desk::Carrier;
use super::effect::{Patience, Thing};
use super::mark::{self, Entry};
use super::service::Service;
use super::start::SIGNING_WINDOW;
use super::wanted::period;
use crate::aws::Purpose;
use crate::domain::{Detail, EndReason, ErrorClass, Evidence, Grant};
use crate::policy::EndWarrant;
use crate::targets::{Ended, Phase, TargetError};
use jiff::Timestamp;

impl AccountTarget {
    /// Takes away what the grant gave, wherever it shows.
    pub(super) async fn close_door(&self, warrant: &EndWarrant) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carriers = self.desk.carriers_of(&service, grant).await?;
        let now = self.clock.now();
        let later = carriers
            .iter()
            .filter_map(|carrier| mark::entry(&carrier.tags, grant.id))
            .map(|entry| entry.expiry)
            .max();
        if warrant.reason == EndReason::Expired && later.is_some_and(|later| later > now) {
            return Ok(Ended {
                extended_until: later,
                ..Ended::default()
            });
        }
        let mut ended = None;
        for carrier in &carriers {
            let one = self.close_on(&service, warrant, carrier).await?;
            let before: Option<Timestamp> = ended.and_then(|ended: Ended| ended.provisional_until);
            ended = Some(Ended {
                provisional_until: one.provisional_until.max(before),
                ..one
            });
        }
        let mut ended = ended.unwrap_or_else(|| self.untraced(warrant));
        ended.details = self.residue(&service, grant).await;
        Ok(ended)
    }

    /// Takes away what the grant gave to one user, writes that it ended, and reads back.
    async fn close_on(
        &self,
        service: &Service,
        warrant: &EndWarrant,
        carrier: &Carrier,
    ) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        let now = self.clock.now();
        let entry =
            mark::entry(&carrier.tags, grant.id).unwrap_or_else(|| Entry::of(grant, now, now));
        self.take_away(service, carrier, grant, &entry).await?;
        let before = mark::ended(&carrier.tags, grant.id);
        let (ended_at, reason) = before.unwrap_or((now, warrant.reason));
        if before.is_none() {
            let tombstone = mark::write_ended(now, warrant.reason);
            let tags = vec![(mark::ended_key(grant.id), tombstone)];
            service.tag(&carrier.name, tags).await?;
        }
        self.until_gone(service, carrier, grant, &entry).await?;
        // A start may have written its record while we wrote the end.
        let seen = service.user(&carrier.name).await?;
        let signed_by = seen.and_then(|user| mark::entry(&user.tags, grant.id));
        let signed_by = signed_by.map_or(entry.signed_by, |later| later.signed_by);
        self.desk.forget_book();
        self.recent.ended(grant, &carrier.name, ended_at, reason);
        Ok(Ended {
            evidence: Evidence::default().with("user", &carrier.name),
            ended_at: Some(ended_at),
            reason: Some(reason),
            provisional_until: self.may_return_until(grant, &entry, signed_by),
            ..Ended::default()
        })
    }

    async fn take_away(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
        entry: &Entry,
    ) -> Result<(), TargetError> {
        let user = &carrier.name;
        service
            .delete_policy(user, &mark::policy_name(grant.id))
            .await?;
        if !carrier.is_ours || self.is_needed(&carrier.tags, grant.id, entry) {
            return Ok(());
        }
        match Thing::of(&entry.resource) {
            Some(Thing::Policy(arn)) => service.detach(user, arn).await?,
            Some(Thing::Group(name)) => service.remove_from_group(user, name).await?,
            Some(Thing::Role(_) | Thing::Bucket(_)) | None => {}
        }
        Ok(())
    }

    /// Waits until nothing of the grant can be read any more; what comes back meanwhile is taken away again.
    async fn until_gone(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
        entry: &Entry,
    ) -> Result<(), TargetError> {
        let shared = !carrier.is_ours || self.is_needed(&carrier.tags, grant.id, entry);
        let policy = mark::policy_name(grant.id);
        let patience = Patience::begin();
        loop {
            let policies = service.policies(&carrier.name).await?;
            if policies.contains(&policy) {
                service.delete_policy(&carrier.name, &policy).await?;
            } else if shared || self.effect_of(service, carrier, grant).await?.is_none() {
                return Ok(());
            }
            if !patience.another_look().await {
                break;
            }
        }
        let message = format!(
            "IAM still shows what grant `{}` gave to IAM user `{}`",
            grant.id, carrier.name
        );
        Err(TargetError::new(
            ErrorClass::Transient,
            "still_visible",
            message,
        ))
    }

    /// Returns until when an order of this grant that is on its way could give it access again; nothing when none can.
    fn may_return_until(
        &self,
        grant: &Grant,
        entry: &Entry,
        signed_by: Timestamp,
    ) -> Option<Timestamp> {
        let recorded = self.late_by(signed_by);
        let lands = self.landings.of(grant.id, Some(recorded))?;
        // What lands later than its own end gives nothing.
        let until = match Thing::of(&entry.resource) {
            Some(Thing::Role(_) | Thing::Bucket(_)) => lands.min(entry.expiry),
            Some(Thing::Policy(_) | Thing::Group(_)) | None => lands,
        };
        (until > self.clock.now()).then_some(until)
    }

    /// Ends a grant of which no user shows anything. Where another instance has it in hand, its first order may be on its way.
    fn untraced(&self, warrant: &EndWarrant) -> Ended {
        let grant = &warrant.grant;
        let now = self.clock.now();
        let known = self.memory.grants(self.desk.settings.integration);
        let elsewhere = known
            .iter()
            .any(|known| known.grant.id == grant.id && known.phase == Phase::Listed);
        let window = now.checked_add(SIGNING_WINDOW).unwrap_or(now);
        let recorded = elsewhere.then(|| self.late_by(window));
        let lands = self.landings.of(grant.id, recorded);
        let lands = lands.map(|lands| lands.min(grant.expiry));
        Ended {
            evidence: Evidence::default().with("never_begun", "no user has a trace of it"),
            ended_at: Some(now),
            reason: Some(warrant.reason),
            provisional_until: lands.filter(|lands| *lands > now),
            ..Ended::default()
        }
    }

    /// Says what goes on after the end. Not being able to look is no reason not to end.
    async fn residue(&self, service: &Service, grant: &Grant) -> Vec<Detail> {
        let Some(Thing::Role(name)) = Thing::of(&grant.resource) else {
            return Vec::new();
        };
        let role = service.role(name).await.ok().flatten();
        let session = role.map_or_else(|| "PT12H".to_owned(), |role| period(role.session));
        vec![Detail::new("residual_session", session)]
    }

    /// Takes the credential from a user of ours that has no other grant.
    pub(super) async fn block_login(&self, warrant: &EndWarrant) -> Result<Ended, TargetError> {
        let grant = &warrant.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let Some(carrier) = self.desk.our_user(&service, &grant.principal).await? else {
            return Ok(Ended::default());
        };
        let now = self.clock.now();
        let mut others = self.live(&carrier.tags, now);
        if others.any(|(other, _)| other != grant.id) {
            return Ok(Ended::default());
        }
        self.remove_credential(&service, &carrier.name).await?;
        Ok(Ended {
            evidence: Evidence::default().with("credential_removed", &carrier.name),
            ..Ended::default()
        })
    }
}
