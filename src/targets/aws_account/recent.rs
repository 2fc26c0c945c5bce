//! Owns what this process did lately: the list of users may not show it yet. Lost with the process.

use crate::domain::{EndReason, Grant, GrantId};
use crate::targets::RecordedGrant;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long what was done outranks what is listed. IAM promises no time, and takes seconds.
const LATELY: Duration = Duration::from_secs(120);

/// By grant.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<GrantId, Deed>>);

#[derive(Debug, Clone)]
struct Deed {
    at: Instant,
    grant: Grant,
    login: String,
    ended: Option<(Timestamp, EndReason)>,
}

impl Recent {
    /// A grant was seen to have its access, with this expiry.
    pub(super) fn started(&self, grant: &Grant, login: &str) {
        self.note(grant, login, None);
    }

    /// A grant was seen to have no access any more.
    pub(super) fn ended(&self, grant: &Grant, login: &str, at: Timestamp, reason: EndReason) {
        self.note(grant, login, Some((at, reason)));
    }

    /// Tells whether a user was worked on lately.
    pub(super) fn touched(&self, login: &str) -> bool {
        self.with(|deeds| {
            let mut deeds = deeds.values();
            deeds.any(|deed| deed.login == login && deed.at.elapsed() < LATELY)
        })
    }

    /// Nothing is left of a grant.
    pub(super) fn forget(&self, grant: GrantId) {
        self.with(|deeds| deeds.remove(&grant));
    }

    /// Puts what was done lately over what is listed.
    pub(super) fn over(&self, listed: Vec<RecordedGrant>) -> Vec<RecordedGrant> {
        let mut deeds = self.with(|deeds| {
            deeds.retain(|_, deed| deed.at.elapsed() < LATELY);
            deeds.clone()
        });
        let mut all: Vec<RecordedGrant> = listed
            .into_iter()
            .map(|entry| match deeds.remove(&entry.grant.id) {
                Some(deed) => deed.over(entry),
                None => entry,
            })
            .collect();
        all.extend(deeds.into_values().map(Deed::alone));
        all
    }

    fn note(&self, grant: &Grant, login: &str, ended: Option<(Timestamp, EndReason)>) {
        let deed = Deed {
            at: Instant::now(),
            grant: grant.clone(),
            login: login.to_owned(),
            ended,
        };
        self.with(|deeds| deeds.insert(grant.id, deed));
    }

    fn with<R>(&self, with: impl FnOnce(&mut HashMap<GrantId, Deed>) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deed {
    fn over(self, listed: RecordedGrant) -> RecordedGrant {
        // Somebody else's end is an end, and somebody else's extension a later time.
        if listed.ended.is_some() && self.ended.is_none() {
            return listed;
        }
        let mut entry = RecordedGrant {
            started_at: listed.started_at,
            ..self.alone()
        };
        entry.grant.expiry = entry.grant.expiry.max(listed.grant.expiry);
        entry
    }

    fn alone(self) -> RecordedGrant {
        RecordedGrant {
            grant: self.grant,
            login: self.login,
            started_at: None,
            closed: self.ended.is_some(),
            ended: self.ended,
            undecided: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{IntegrationId, Permission, Principal, ResourceKind, ResourceRef};

    fn grant() -> Grant {
        Grant {
            id: GrantId::generate(),
            integration: IntegrationId::generate(),
            principal: Principal::parse("alice@example.com").unwrap(),
            resource: ResourceRef::new(ResourceKind::AwsS3Bucket, vec!["logs".into()]).unwrap(),
            permission: Permission::ReadOnly,
            expiry: "2030-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn listed(grant: &Grant) -> RecordedGrant {
        RecordedGrant {
            grant: grant.clone(),
            login: "alice_apono".into(),
            started_at: None,
            ended: None,
            closed: false,
            undecided: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_lately_outranks_a_list_that_does_not_show_it_yet() {
        let recent = Recent::default();
        let (started, ended) = (grant(), grant());
        recent.started(&started, "alice_apono");
        let at = ended.expiry;
        recent.ended(&ended, "alice_apono", at, EndReason::Revoked);
        let seen = recent.over(vec![listed(&ended)]);
        assert_eq!(seen.len(), 2);
        assert!(
            seen.iter()
                .any(|one| one.grant == started && one.ended.is_none())
        );
        assert!(seen.iter().any(|one| one.grant == ended && one.closed));
        let mut other = listed(&started);
        other.ended = Some((at, EndReason::Expired));
        assert!(recent.over(vec![other])[0].ended.is_some());
        assert!(recent.touched("alice_apono") && !recent.touched("bob_apono"));
        tokio::time::advance(LATELY).await;
        assert!(!recent.touched("alice_apono"));
        let seen = recent.over(vec![listed(&ended)]);
        assert!(seen.len() == 1 && seen[0].ended.is_none());
    }
}
