//! Owns extensions: the end of a live grant moves. Never gives what was not given before.

use super::AccountTarget;
use super::document;
use super::effect::Effect;
use super::mark::{self, Entry};
use super::start::not_live;
use super::trouble::changed;
use crate::aws::Purpose;
use crate::domain::{CredentialChange, Evidence, Start};
use crate::policy::Permit;
use crate::targets::{Applied, TargetError};

impl AccountTarget {
    /// Moves the end of a live grant: the effect first, then the record. Dying in between ends the grant at its earlier time.
    pub(super) async fn extend(
        &self,
        permit: &Permit,
        start: &Start,
    ) -> Result<Applied, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.live_carrier(&service, grant).await?;
        let Some(earlier) = mark::entry(&carrier.tags, grant.id) else {
            return Err(not_live(grant.id));
        };
        let signed_by = self.signed_by(permit);
        let announced = Entry {
            signed_by: mark::whole(signed_by),
            ..earlier.clone()
        };
        self.record(&service, &carrier, grant.id, &announced)
            .await?;
        if carrier.is_ours {
            let latest = self.latest(&carrier, grant);
            self.end_everything_from(&service, &carrier, latest, signed_by)
                .await?;
        }
        let found = self.effect_of(&service, &carrier, grant).await?;
        let found = found.ok_or_else(|| not_live(grant.id))?;
        if let Effect::Policy { document } = &found {
            let moved = document::moved(document, grant.expiry);
            let moved = moved.ok_or_else(|| changed("the policy of the grant"))?;
            let effect = Effect::Policy { document: moved };
            self.order(&service, &carrier, grant.id, (&effect, signed_by))
                .await?;
            self.until_there(&service, &carrier, grant, &effect).await?;
        }
        let moved = Entry {
            expiry: grant.expiry,
            ..announced
        };
        let tags = vec![(mark::grant_key(grant.id), moved.write()?)];
        service.tag(&carrier.name, tags).await?;
        self.desk.forget_book();
        self.recent.started(grant, &carrier.name);
        Ok(Applied {
            evidence: Evidence::default()
                .with("expiry_before", earlier.expiry)
                .with("expiry", grant.expiry),
            credential: Some(if carrier.is_ours {
                CredentialChange::Unchanged
            } else {
                CredentialChange::None
            }),
            login: Some(carrier.name.clone()),
            details: self.details(&carrier).await?,
            ..Applied::default()
        })
    }
}
