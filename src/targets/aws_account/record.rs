//! Owns the reading of the record: the tags of users say which grants there are, what the users have says whether they stand. Never changes anything.

use super::AccountTarget;
use super::catalog::Holder;
use super::desk::Desk;
use super::effect::Thing;
use super::mark::{self, Entry, Tags};
use super::service::Service;
use crate::aws::Purpose;
use crate::domain::{GrantId, Principal};
use crate::targets::{Phase, RecordedGrant, TargetError};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Grants that are looked for one by one in a go, where the list of users does not show them.
const LOOKED_FOR: usize = 10;

impl AccountTarget {
    /// Returns every grant of this integration that has access, or ended and left something.
    pub(super) async fn standing(&self) -> Result<Vec<RecordedGrant>, TargetError> {
        let service = self.desk.service(Purpose::Connector).await?;
        let book = self.desk.book(&service, Desk::book_age()).await?;
        let mut listed = Vec::new();
        for holder in book.iter() {
            let principal = self.principal(holder);
            let ours = mark::entries(&holder.tags)
                .filter(|(_, entry)| entry.integration == self.desk.settings.integration);
            listed.extend(ours.filter_map(|(id, entry)| {
                self.recorded_grant(holder, principal.as_ref()?, id, &entry)
            }));
        }
        let missing = self.look_for(&service, &listed).await?;
        listed.extend(missing);
        Ok(self.recent.over(listed))
    }

    /// Whom a user is for: its mark says so, or its tag, or else its name.
    fn principal(&self, holder: &Holder) -> Option<Principal> {
        let tag = self.desk.settings.user_tag.as_ref();
        let mapped = || Principal::parse(holder.tags.get(tag?)?).ok();
        let named = || Principal::user_name(&holder.name).ok();
        mark::principal(&holder.tags).or_else(mapped).or_else(named)
    }

    /// Decides what a user shows of one grant; nothing when it never began or left nothing.
    fn recorded_grant(
        &self,
        holder: &Holder,
        principal: &Principal,
        id: GrantId,
        entry: &Entry,
    ) -> Option<RecordedGrant> {
        let stands = has(holder, id, entry);
        let ended = mark::ended(&holder.tags, id);
        let recorded = RecordedGrant {
            grant: entry.grant(id, principal),
            login: holder.name.clone(),
            started_at: Some(entry.begun),
            ended,
            closed: ended.is_some() && (!stands || self.is_needed(&holder.tags, id, entry)),
            undecided: false,
        };
        if stands || ended.is_some() {
            return Some(recorded);
        }
        let lands = self.landings.of(id, Some(self.late_by(entry.signed_by)));
        lands.filter(|lands| self.clock.now() < *lands)?;
        Some(RecordedGrant {
            undecided: true,
            ..recorded
        })
    }

    /// Looks one by one for what is remembered and not listed: the list may be behind.
    async fn look_for(
        &self,
        service: &Service,
        listed: &[RecordedGrant],
    ) -> Result<Vec<RecordedGrant>, TargetError> {
        let seen: BTreeSet<GrantId> = listed.iter().map(|entry| entry.grant.id).collect();
        let mut found = Vec::new();
        let known = self.memory.grants(self.desk.settings.integration);
        let missing = known.into_iter().filter(|known| {
            matches!(known.phase, Phase::Live | Phase::Starting) && !seen.contains(&known.grant.id)
        });
        for known in missing.take(LOOKED_FOR) {
            let grant = &known.grant;
            let Ok(carrier) = self.desk.find(service, grant).await else {
                continue;
            };
            let entry = mark::entry(&carrier.tags, grant.id);
            let Some(entry) = entry.filter(|_| mark::ended(&carrier.tags, grant.id).is_none())
            else {
                continue;
            };
            if self.effect_of(service, &carrier, grant).await?.is_some() {
                found.push(RecordedGrant {
                    grant: entry.grant(grant.id, &grant.principal),
                    login: carrier.name,
                    started_at: Some(entry.begun),
                    ended: None,
                    closed: false,
                    undecided: false,
                });
            }
        }
        Ok(found)
    }

    /// Returns the grants a user's tags show as begun and neither ended nor over.
    pub(super) fn live<'a>(
        &self,
        tags: &'a Tags,
        now: Timestamp,
    ) -> impl Iterator<Item = (GrantId, Entry)> + use<'a> {
        mark::entries(tags)
            .filter(move |(id, entry)| entry.expiry > now && mark::ended(tags, *id).is_none())
    }

    /// Tells whether another live grant of the same user needs the same membership or attachment.
    pub(super) fn is_needed(&self, tags: &Tags, id: GrantId, entry: &Entry) -> bool {
        let shared = matches!(
            Thing::of(&entry.resource),
            Some(Thing::Group(_) | Thing::Policy(_))
        );
        let mut others = self.live(tags, self.clock.now());
        shared && others.any(|(other, with)| other != id && with.resource == entry.resource)
    }
}

/// Tells whether a user has what a grant gave it.
pub(super) fn has(holder: &Holder, id: GrantId, entry: &Entry) -> bool {
    let policy = mark::policy_name(id);
    holder.policies.iter().any(|(name, _)| *name == policy)
        || match Thing::of(&entry.resource) {
            Some(Thing::Policy(arn)) => holder.attached.iter().any(|one| one == arn),
            Some(Thing::Group(name)) => holder.groups.iter().any(|one| one == name),
            Some(Thing::Role(_) | Thing::Bucket(_)) | None => false,
        }
}
