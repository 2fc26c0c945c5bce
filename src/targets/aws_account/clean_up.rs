//! Owns what happens after ends: users of ours go when nothing needs them, notes go from users of people, and what no record backs is taken away.
//! Never touches a user without our mark, but for its notes of ours.

use super::AccountTarget;
use super::catalog::Holder;
use super::desk::Desk;
use super::document;
use super::mark::{self, Tags};
use super::record::has;
use super::service::Service;
use super::start::SIGNING_WINDOW;
use crate::aws::Purpose;
use crate::domain::{ErrorClass, GrantId};
use crate::targets::{CleanedUp, Mended, Phase, TargetError};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

impl AccountTarget {
    /// Removes what ended grants left: one look at all users.
    pub(super) async fn sweep_up(&self) -> Result<Vec<CleanedUp>, TargetError> {
        let service = self.desk.service(Purpose::Connector).await?;
        let book = self.desk.book(&service, Desk::book_age()).await?;
        let mut cleaned = Vec::new();
        for holder in book.iter() {
            cleaned.extend(self.clean(&service, holder).await?);
        }
        if !cleaned.is_empty() {
            self.desk.forget_book();
        }
        Ok(cleaned)
    }

    async fn clean(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Vec<CleanedUp>, TargetError> {
        let is_ours = self.desk.is_our(holder);
        if is_ours && self.is_over(&holder.tags, holder.made) {
            return self.remove_user(service, holder).await;
        }
        let keeps = is_ours && self.is_idle(&holder.tags);
        // A user of ours that is about to go takes its notes along.
        let past: Vec<GrantId> = self.past(&holder.tags, self.late);
        if keeps || past.is_empty() {
            return Ok(Vec::new());
        }
        let keys = past
            .iter()
            .flat_map(|grant| [mark::grant_key(*grant), mark::ended_key(*grant)]);
        service.untag(&holder.name, keys.collect()).await?;
        Ok(past.into_iter().map(|grant| self.is_clean(grant)).collect())
    }

    /// Returns the grants of this integration that ended so long ago.
    fn past(&self, tags: &Tags, since: SignedDuration) -> Vec<GrantId> {
        let now = self.clock.now();
        mark::tombstones(tags)
            .filter(|(_, at, _)| now.duration_since(*at) > since)
            .map(|(grant, ..)| grant)
            .filter(|grant| {
                let entry = mark::entry(tags, *grant);
                entry.is_none_or(|entry| entry.integration == self.desk.settings.integration)
            })
            .collect()
    }

    /// Tells whether no grant of anybody's needs a user any more.
    fn is_idle(&self, tags: &Tags) -> bool {
        mark::entries(tags).all(|(grant, _)| mark::ended(tags, grant).is_some())
    }

    /// Tells whether a user of ours can go: everything ended, and the last of it long enough ago.
    fn is_over(&self, tags: &Tags, made: Option<Timestamp>) -> bool {
        let kept = self.desk.settings.clean_up.max(self.late);
        let last = mark::tombstones(tags).map(|(_, at, _)| at).max().or(made);
        let now = self.clock.now();
        let is_past = last.is_some_and(|last| now.duration_since(last) > kept);
        self.is_idle(tags) && is_past
    }

    /// Removes a user of ours with all it has. Looks once more first: the list may be behind.
    async fn remove_user(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Vec<CleanedUp>, TargetError> {
        let name = &holder.name;
        let user = service.user(name).await?;
        let tags = user.as_ref().map_or(&holder.tags, |user| &user.tags);
        let ours = user.as_ref().is_none_or(|user| {
            mark::is_ours(&self.desk.settings.connector, name, &user.path, &user.tags)
        });
        if !ours || !self.is_over(tags, holder.made) {
            return Ok(Vec::new());
        }
        let grants = self.past(tags, SignedDuration::ZERO);
        if user.is_some() {
            self.strip(service, name).await?;
            match service.delete_user(name).await {
                Ok(()) => {}
                Err(error) if error.class() == ErrorClass::Conflict => {
                    return Ok(left(&grants, name));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(grants
            .into_iter()
            .map(|grant| self.is_clean(grant))
            .collect())
    }

    /// Takes everything from a user of ours, as AWS asks before it is removed.
    async fn strip(&self, service: &Service, user: &str) -> Result<(), TargetError> {
        for policy in service.policies(user).await? {
            service.delete_policy(user, &policy).await?;
        }
        for policy in service.attached(user).await? {
            service.detach(user, &policy).await?;
        }
        for group in service.groups(user).await? {
            service.remove_from_group(user, &group).await?;
        }
        self.remove_credential(service, user).await?;
        for device in service.devices(user).await? {
            service.remove_device(user, &device).await?;
        }
        Ok(())
    }

    fn is_clean(&self, grant: GrantId) -> CleanedUp {
        self.recent.forget(grant);
        CleanedUp {
            grant,
            leftovers: Vec::new(),
        }
    }

    /// Takes away what no record backs: policies of grants nobody knows, notes of starts that came to nothing, credentials without a grant.
    pub(super) async fn mend_users(&self) -> Result<Vec<Mended>, TargetError> {
        let service = self.desk.service(Purpose::Connector).await?;
        let book = self.desk.book(&service, Duration::ZERO).await?;
        let mut mended = Vec::new();
        for holder in book.iter() {
            mended.extend(self.mend_policies(&service, holder).await?);
            mended.extend(self.mend_notes(&service, holder).await?);
            mended.extend(self.mend_credential(&service, holder).await?);
            mended.extend(self.mend_until(&service, holder).await?);
        }
        if !mended.is_empty() {
            self.desk.forget_book();
        }
        Ok(mended)
    }

    async fn mend_policies(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Vec<Mended>, TargetError> {
        let mut mended = Vec::new();
        let now = self.clock.now();
        for (name, document) in &holder.policies {
            let Some(grant) = mark::grant_of_policy(name) else {
                continue;
            };
            let entry = mark::entry(&holder.tags, grant);
            let is_past = document::end_of(document).is_some_and(|end| end <= now);
            let is_unknown = entry.is_none()
                && self.desk.is_our(holder)
                && self.strangers.is_old(&holder.name, name, self.late);
            let is_ours = entry.map_or(self.desk.is_our(holder), |entry| {
                entry.integration == self.desk.settings.integration
            });
            if !((is_past && is_ours) || is_unknown) || self.knows(grant) {
                continue;
            }
            service.delete_policy(&holder.name, name).await?;
            let why = if is_past { "is over" } else { "has no record" };
            mended.push(Mended {
                note: format!(
                    "policy `{name}` of IAM user `{}` {why}, it was removed",
                    holder.name
                ),
            });
        }
        Ok(mended)
    }

    /// Removes the notes of starts that never came to anything, and cannot any more.
    async fn mend_notes(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Vec<Mended>, TargetError> {
        let now = self.clock.now();
        let integration = self.desk.settings.integration;
        let void: BTreeSet<GrantId> = mark::entries(&holder.tags)
            .filter(|(grant, entry)| {
                entry.integration == integration
                    && mark::ended(&holder.tags, *grant).is_none()
                    && !has(holder, *grant, entry)
                    && self.late_by(entry.signed_by) < now
                    && !self.knows(*grant)
            })
            .map(|(grant, _)| grant)
            .collect();
        if void.is_empty() {
            return Ok(Vec::new());
        }
        let keys = void.iter().map(|grant| mark::grant_key(*grant)).collect();
        service.untag(&holder.name, keys).await?;
        let note = |grant| Mended {
            note: format!(
                "grant `{grant}` never began, its note on IAM user `{}` was removed",
                holder.name
            ),
        };
        Ok(void.into_iter().map(note).collect())
    }

    /// Takes a credential away that no grant needs.
    async fn mend_credential(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Vec<Mended>, TargetError> {
        let is_idle = |tags: &Tags| self.live(tags, self.clock.now()).next().is_none();
        let has_one = mark::credential(&holder.tags).is_some();
        if !self.desk.is_our(holder) || !has_one || !is_idle(&holder.tags) {
            return Ok(Vec::new());
        }
        // The list may be behind a start.
        let user = service.user(&holder.name).await?;
        if user.is_none_or(|user| !is_idle(&user.tags)) {
            return Ok(Vec::new());
        }
        self.remove_credential(service, &holder.name).await?;
        Ok(vec![Mended {
            note: format!(
                "IAM user `{}` has no grant, its credential was removed",
                holder.name
            ),
        }])
    }

    /// Puts the end of everything a user of ours has back to where its last grant ends. Not lately after a start or an end: what is read may
    /// be behind.
    async fn mend_until(
        &self,
        service: &Service,
        holder: &Holder,
    ) -> Result<Option<Mended>, TargetError> {
        let now = self.clock.now();
        let user = &holder.name;
        let latest = |tags: &Tags| self.live(tags, now).map(|(_, entry)| entry.expiry).max();
        let mut policies = holder.policies.iter();
        let until = policies.find(|(name, _)| name == mark::UNTIL);
        let known = until.and_then(|(_, document)| document::end_of(document));
        let Some(wanted) = latest(&holder.tags).map(mark::whole) else {
            return Ok(None);
        };
        if !self.desk.is_our(holder) || known == Some(wanted) || self.recent.touched(user) {
            return Ok(None);
        }
        let seen = service.user(user).await?;
        if seen.and_then(|seen| latest(&seen.tags)).map(mark::whole) != Some(wanted) {
            return Ok(None);
        }
        let document = document::nothing_from(wanted);
        let signed_by = now.checked_add(SIGNING_WINDOW).unwrap_or(now);
        let put = service.put_policy(user, (mark::UNTIL, &document), signed_by);
        put.await?;
        Ok(Some(Mended {
            note: format!("everything IAM user `{user}` has ends at {wanted} again"),
        }))
    }

    /// Tells whether this instance has a grant in hand: then its end is its own matter.
    fn knows(&self, grant: GrantId) -> bool {
        let known = self.memory.grants(self.desk.settings.integration);
        known
            .iter()
            .any(|known| known.grant.id == grant && !matches!(known.phase, Phase::Closed))
    }
}

fn left(grants: &[GrantId], user: &str) -> Vec<CleanedUp> {
    let leftover = format!(
        "IAM user `{user}` cannot be removed: delete its signing certificates, SSH keys and service credentials (console: IAM, Users, `{user}`, Security credentials); it has no right and no access key"
    );
    let leftovers = vec![leftover];
    let cleaned = grants.iter().map(|grant| CleanedUp {
        grant: *grant,
        leftovers: leftovers.clone(),
    });
    cleaned.collect()
}
