//! Owns starts and extensions: the user, the record on it, the effect, the look whether it is there. Never acts without a permit for this very grant.

use super::AccountTarget;
use super::desk::Carrier;
use super::document;
use super::effect::Patience;
use super::mark::{self, Entry};
use super::service::{NewUser, Service};
use super::trouble::changed;
use crate::aws::Purpose;
use crate::domain::{
    Change, CredentialChange, Detail, ErrorClass, Evidence, Grant, GrantId, Plan, Start, Step,
};
use crate::policy::Permit;
use crate::seal::Recipient;
use crate::targets::refusal::refused;
use crate::targets::{Applied, TargetError};
use jiff::{SignedDuration, Timestamp};

/// How long after its making a request may still be signed.
pub(super) const SIGNING_WINDOW: SignedDuration = SignedDuration::from_secs(20);

impl AccountTarget {
    /// Decides from what is there. Everything that can be refused is refused here.
    pub(super) async fn plan(&self, start: &Start) -> Result<Plan, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.desk.find(&service, grant).await?;
        not_ended(&carrier, grant.id)?;
        if carrier.is_ours {
            // A start whose credential nobody could open must not begin.
            Recipient::parse(&start.recipient).map_err(|problem| {
                let message = problem.to_string();
                refused(ErrorClass::Bug, "invalid_recipient", message, "")
            })?;
        }
        let now = self.clock.now();
        Entry::of(grant, now, now).write()?;
        let recorded = mark::entry(&carrier.tags, grant.id);
        let stands = match &recorded {
            Some(entry) => {
                same_order(entry, grant)?;
                self.effect_of(&service, &carrier, grant).await?.is_some()
            }
            None => false,
        };
        let mut steps = Vec::new();
        if !carrier.exists {
            steps.push(step(
                format!("make IAM user `{}`", carrier.name),
                Change::PrepareUser {
                    user: carrier.name.clone(),
                },
            ));
        }
        if !stands {
            self.wanted(&service, &carrier, grant).await?;
            steps.push(step(
                format!(
                    "give IAM user `{}` {} on {} until {}",
                    carrier.name, grant.permission, grant.resource, grant.expiry
                ),
                Change::GiveRights,
            ));
        }
        if carrier.is_ours && self.owes_credential(&service, &carrier, grant.id).await? {
            steps.push(credential_step(&carrier.name));
        }
        steps.push(step(
            format!("read back what IAM user `{}` has", carrier.name),
            Change::Verify,
        ));
        Ok(Plan { steps })
    }

    /// Makes the user that carries the grant, with nothing on it but its mark.
    pub(super) async fn prepare_user(
        &self,
        permit: &Permit,
        start: &Start,
        name: &str,
    ) -> Result<Applied, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let settings = &self.desk.settings;
        let new = NewUser {
            name,
            path: mark::PATH,
            tags: mark::of_user(&settings.connector, &grant.principal)?,
            boundary: settings.boundary.as_deref(),
        };
        match service.create_user(new, self.signed_by(permit)).await {
            Ok(()) => {}
            // Made by an earlier try whose answer was lost, or by somebody else: whose it is is looked at next.
            Err(error) if error.class() == ErrorClass::Conflict => {}
            Err(error) => return Err(TargetError::from(error).undone()),
        }
        let patience = Patience::begin();
        while service.user(name).await?.is_none() {
            if !patience.another_look().await {
                break;
            }
        }
        let carrier = self.desk.find(&service, grant).await?;
        if !carrier.exists || carrier.name != name {
            return Err(changed(&format!("IAM user `{name}`")));
        }
        Ok(Applied {
            evidence: Evidence::default().with("user", name),
            ..Applied::default()
        })
    }

    /// Writes the record, then the effect, and waits until it can be read.
    pub(super) async fn give(
        &self,
        permit: &Permit,
        start: &Start,
    ) -> Result<Applied, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.carrier(&service, grant).await?;
        not_ended(&carrier, grant.id)?;
        let wanted = self.wanted(&service, &carrier, grant).await?;
        let signed_by = self.signed_by(permit);
        let entry = Entry::of(grant, self.clock.now(), signed_by);
        self.record(&service, &carrier, grant.id, &entry).await?;
        // Whoever ends writes the end first and looks for this record afterwards: one of the two sees the other.
        let carrier = self.carrier(&service, grant).await?;
        not_ended(&carrier, grant.id)?;
        if carrier.is_ours {
            let latest = self.latest(&carrier, grant);
            self.end_everything_from(&service, &carrier, latest, signed_by)
                .await?;
        }
        // Two grants may need one membership, and an earlier try may have had its effect.
        let found = self.effect_of(&service, &carrier, grant).await?;
        if !found.is_some_and(|found| found.is(&wanted.effect)) {
            self.order(&service, &carrier, grant.id, (&wanted.effect, signed_by))
                .await?;
        }
        self.desk.forget_book();
        self.recent.started(grant, &carrier.name);
        self.until_there(&service, &carrier, grant, &wanted.effect)
            .await?;
        Ok(Applied {
            evidence: Evidence::default()
                .with("user", &carrier.name)
                .with("policy", mark::policy_name(grant.id)),
            login: Some(carrier.name.clone()),
            started_at: Some(self.clock.now()),
            details: wanted.details,
            ..Applied::default()
        })
    }

    /// Notes the grant on its user. An earlier try's orders are counted where this process knows nothing of them.
    pub(super) async fn record(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: GrantId,
        entry: &Entry,
    ) -> Result<(), TargetError> {
        let earlier = mark::entry(&carrier.tags, grant);
        let before = earlier.map(|earlier| self.late_by(earlier.signed_by));
        self.landings
            .begin(grant, self.late_by(entry.signed_by), before);
        // Nothing that gives access has left yet.
        self.landings.answered(grant);
        let tags = vec![(mark::grant_key(grant), entry.write()?)];
        let noted = service.tag(&carrier.name, tags).await;
        noted.map_err(|error| {
            if error.class() == ErrorClass::NotFound {
                // Cleaned up since it was found.
                return changed(&format!("IAM user `{}`", carrier.name));
            }
            TargetError::from(error).undone()
        })
    }

    /// Moves the moment from which on AWS refuses everything to a user of ours, to either side: a grant that is gone counts no more.
    pub(super) async fn end_everything_from(
        &self,
        service: &Service,
        carrier: &Carrier,
        latest: Timestamp,
        signed_by: Timestamp,
    ) -> Result<(), TargetError> {
        let user = &carrier.name;
        let read = service.policy(user, mark::UNTIL).await?;
        let known = read.as_deref().and_then(document::end_of);
        if known == Some(mark::whole(latest)) {
            return Ok(());
        }
        let wanted = document::nothing_from(latest);
        let put = service.put_policy(user, (mark::UNTIL, &wanted), signed_by);
        put.await
            .map_err(|error| TargetError::from(error).undone())?;
        let patience = Patience::begin();
        loop {
            let read = service.policy(user, mark::UNTIL).await?;
            if read.is_some_and(|read| document::is_same(&read, &wanted)) {
                return Ok(());
            }
            if !patience.another_look().await {
                let what = format!("the end of everything IAM user `{user}` has");
                return Err(changed(&what));
            }
        }
    }

    /// Returns the latest end of all grants a user carries, this one included.
    pub(super) fn latest(&self, carrier: &Carrier, grant: &Grant) -> Timestamp {
        let now = self.clock.now();
        self.live(&carrier.tags, now)
            .map(|(_, entry)| entry.expiry)
            .fold(grant.expiry, Timestamp::max)
    }

    /// Reads back: the effect is there, and so is the key somebody else's grant brought.
    pub(super) async fn verify(&self, start: &Start) -> Result<Applied, TargetError> {
        let grant = &start.grant;
        let service = self.desk.service(Purpose::Grant(grant.id)).await?;
        let carrier = self.carrier(&service, grant).await?;
        not_ended(&carrier, grant.id)?;
        if self.effect_of(&service, &carrier, grant).await?.is_none() {
            let message = format!(
                "IAM user `{}` does not have what grant `{}` gave it",
                carrier.name, grant.id
            );
            return Err(TargetError::new(
                ErrorClass::Transient,
                "access_missing",
                message,
            ));
        }
        let made_here = mark::credential(&carrier.tags) == Some(grant.id);
        if carrier.is_ours
            && !made_here
            && self.owes_credential(&service, &carrier, grant.id).await?
        {
            return Err(changed(&format!(
                "the credential of IAM user `{}`",
                carrier.name
            )));
        }
        self.recent.started(grant, &carrier.name);
        Ok(Applied {
            evidence: Evidence::default().with("user", &carrier.name),
            credential: (!carrier.is_ours).then_some(CredentialChange::None),
            login: Some(carrier.name.clone()),
            details: self.details(&carrier).await?,
            ..Applied::default()
        })
    }

    pub(super) async fn details(&self, carrier: &Carrier) -> Result<Vec<Detail>, TargetError> {
        let settings = &self.desk.settings;
        let account = self.desk.account().await?;
        let mut details = vec![Detail::new("account", account)];
        if carrier.is_ours {
            let config = format!(
                "[profile {}]\nregion = {}\n",
                settings.profile, settings.chain.region
            );
            details.push(Detail::new("aws_config_base", config));
        }
        if carrier.is_ours && settings.credentials.has_password() {
            let partition = self.desk.partition().await?;
            details.push(Detail::new("console_url", console(partition, account)));
        }
        Ok(details)
    }

    /// Returns the user of a grant that has its access.
    pub(super) async fn live_carrier(
        &self,
        service: &Service,
        grant: &Grant,
    ) -> Result<Carrier, TargetError> {
        let carrier = self.carrier(service, grant).await?;
        let entry = mark::entry(&carrier.tags, grant.id).ok_or_else(|| not_live(grant.id))?;
        same_order(&entry, grant)?;
        let is_ended = mark::ended(&carrier.tags, grant.id).is_some();
        if is_ended || entry.expiry <= self.clock.now() {
            return Err(not_live(grant.id));
        }
        Ok(carrier)
    }

    /// Returns the user a person's grants are on; it must exist.
    async fn carrier(&self, service: &Service, grant: &Grant) -> Result<Carrier, TargetError> {
        let carrier = self.desk.find(service, grant).await?;
        if carrier.exists {
            return Ok(carrier);
        }
        Err(changed(&format!("IAM user `{}`", carrier.name)))
    }

    /// Returns the last moment a request of this permit may be signed.
    pub(super) fn signed_by(&self, permit: &Permit) -> Timestamp {
        let window = self.clock.now().checked_add(SIGNING_WINDOW);
        window.map_or(permit.deadline(), |window| window.min(permit.deadline()))
    }

    /// Returns until when AWS takes what was signed then.
    pub(super) fn late_by(&self, signed: Timestamp) -> Timestamp {
        // What the record holds is whole seconds.
        let late = signed.checked_add(self.late + SignedDuration::from_secs(1));
        late.unwrap_or(Timestamp::MAX)
    }
}

pub(super) fn console(partition: &str, account: &str) -> String {
    match partition {
        "aws-cn" => format!("https://{account}.signin.amazonaws.cn/console"),
        "aws-us-gov" => format!("https://{account}.signin.amazonaws-us-gov.com/console"),
        _ => format!("https://{account}.signin.aws.amazon.com/console"),
    }
}

fn step(note: String, change: Change) -> Step {
    Step { note, change }
}

pub(super) fn credential_step(user: &str) -> Step {
    step(
        format!("give IAM user `{user}` a new credential"),
        Change::SetCredential {
            login: user.to_owned(),
        },
    )
}

fn not_ended(carrier: &Carrier, grant: GrantId) -> Result<(), TargetError> {
    if mark::ended(&carrier.tags, grant).is_none() {
        return Ok(());
    }
    let message = format!("grant `{grant}` is ended, it never starts again");
    Err(refused(ErrorClass::Bug, "grant_ended", message, ""))
}

pub(super) fn not_live(grant: GrantId) -> TargetError {
    let message = format!("grant `{grant}` has no access any more");
    refused(
        ErrorClass::Bug,
        "grant_not_live",
        message,
        "ask for a new grant",
    )
}

/// The same id for something else is a mix-up.
fn same_order(entry: &Entry, grant: &Grant) -> Result<(), TargetError> {
    let is_same = entry.resource == grant.resource
        && entry.permission == grant.permission
        && entry.integration == grant.integration;
    if is_same {
        return Ok(());
    }
    let message = format!("grant `{}` was begun for {}", grant.id, entry.resource);
    Err(refused(ErrorClass::Bug, "grant_id_reused", message, ""))
}
