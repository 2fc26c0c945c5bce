//! Owns looking up: the account, the user that carries a person's grants, what access is given to. Never changes anything.

use super::catalog::Holder;
use super::mark::{self, Tags};
use super::service::{Service, User};
use super::settings::Settings;
use crate::aws::{Caller, Purpose, Sessions};
use crate::domain::{ErrorClass, Grant, LoginName, Principal};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How old the list of users may be: every start and end of this process makes it anew.
const BOOK_AGE: Duration = Duration::from_secs(60);

/// The same where it tells whose user is whose: a tag counts soon after it was set.
const MAPPING_AGE: Duration = Duration::from_secs(2);

/// All users of the account that carry something of ours, or belong to a person by their tag.
pub(super) type Book = Arc<Vec<Holder>>;

/// Where we look things up.
pub(super) struct Desk {
    pub(super) settings: Settings,
    sessions: Sessions,
    caller: OnceCell<Caller>,
    book: Mutex<Option<(Instant, Book)>>,
}

/// The user a person's grants are put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carrier {
    pub(super) name: String,
    /// We made it, or will; else it is the person's own.
    pub(super) is_ours: bool,
    pub(super) exists: bool,
    pub(super) tags: Tags,
}

impl Carrier {
    fn of(user: User, is_ours: bool) -> Self {
        Self {
            name: user.name,
            is_ours,
            exists: true,
            tags: user.tags,
        }
    }
}

impl Desk {
    pub(super) fn new(settings: Settings, sessions: Sessions) -> Self {
        Self {
            settings,
            sessions,
            caller: OnceCell::new(),
            book: Mutex::default(),
        }
    }

    /// Returns the account we are in.
    pub(super) async fn caller(&self) -> Result<&Caller, TargetError> {
        let asked = self
            .caller
            .get_or_try_init(|| self.sessions.caller(&self.settings.chain));
        Ok(asked.await?)
    }

    pub(super) async fn account(&self) -> Result<&str, TargetError> {
        Ok(self.caller().await?.account.as_str())
    }

    /// Returns `aws`, `aws-cn` or `aws-us-gov`.
    pub(super) async fn partition(&self) -> Result<&str, TargetError> {
        let arn = &self.caller().await?.arn;
        Ok(arn.split(':').nth(1).unwrap_or("aws"))
    }

    pub(super) async fn service(&self, purpose: Purpose) -> Result<Service, TargetError> {
        let config = self.sessions.config(&self.settings.chain, &purpose);
        Ok(Service::new(&config.await?))
    }

    /// Returns the names a person's user may have, in order of preference.
    pub(super) fn names(&self, principal: &Principal) -> [LoginName; 2] {
        [
            LoginName::derive(principal),
            LoginName::derive_distinct(principal, self.settings.connector.as_str()),
        ]
    }

    /// Finds the user that carries a grant or is to carry it, or says how the one to be made is called. Where a grant was begun it stays.
    pub(super) async fn find(
        &self,
        service: &Service,
        grant: &Grant,
    ) -> Result<Carrier, TargetError> {
        let principal = &grant.principal;
        let key = mark::grant_key(grant.id);
        let mut named = Vec::new();
        for name in self.names(principal) {
            let user = service.user(name.as_str()).await?;
            named.push((name, user));
        }
        let ours = named.iter().find_map(|(_, user)| {
            let user = user.as_ref()?;
            self.is_for(user, principal)
                .then(|| Carrier::of(user.clone(), true))
        });
        if let Some(begun) = ours.as_ref().filter(|ours| ours.tags.contains_key(&key)) {
            return Ok(begun.clone());
        }
        if let Some(own) = self.mapped(service, principal).await? {
            return Ok(own);
        }
        match ours {
            Some(ours) => Ok(ours),
            None => to_be_made(&named, principal),
        }
    }

    /// Tells whether a user is ours and for this person.
    fn is_for(&self, user: &User, principal: &Principal) -> bool {
        mark::is_ours(&self.settings.connector, &user.name, &user.path, &user.tags)
            && mark::principal(&user.tags).as_ref() == Some(principal)
    }

    /// Finds the existing user that belongs to a person by its tag, where the settings name one.
    async fn mapped(
        &self,
        service: &Service,
        principal: &Principal,
    ) -> Result<Option<Carrier>, TargetError> {
        let Some(key) = &self.settings.user_tag else {
            return Ok(None);
        };
        let belongs = |tags: &Tags| {
            let value = tags.get(key).map(|value| value.to_lowercase());
            value.as_deref() == Some(principal.as_str()) && !mark::is_marked(tags)
        };
        let book = self.book(service, MAPPING_AGE).await?;
        let mut found = book.iter().filter(|holder| belongs(&holder.tags));
        let Some(holder) = found.next() else {
            return Ok(None);
        };
        if let Some(other) = found.next() {
            let message = format!(
                "`{principal}` is the `{key}` of both IAM user `{}` and `{}`",
                holder.name, other.name
            );
            let hint = format!("take the tag `{key}` off all but one of them");
            return Err(refused(
                ErrorClass::NeedsOperator,
                "user_ambiguous",
                message,
                &hint,
            ));
        }
        let user = service.user(&holder.name).await?;
        let user = user.filter(|user| belongs(&user.tags));
        // Gone or another person's since the list was read.
        let user = user.ok_or_else(|| super::trouble::changed("the user of the person"));
        Ok(Some(Carrier::of(user?, false)))
    }

    /// Finds the user we made for a person.
    pub(super) async fn our_user(
        &self,
        service: &Service,
        principal: &Principal,
    ) -> Result<Option<Carrier>, TargetError> {
        for name in self.names(principal) {
            let user = service.user(name.as_str()).await?;
            if let Some(user) = user.filter(|user| self.is_for(user, principal)) {
                return Ok(Some(Carrier::of(user, true)));
            }
        }
        Ok(None)
    }

    /// Finds every user that shows something of a grant that was begun. That is one, unless tags were changed within its start.
    pub(super) async fn carriers_of(
        &self,
        service: &Service,
        grant: &Grant,
    ) -> Result<Vec<Carrier>, TargetError> {
        let key = mark::grant_key(grant.id);
        let ours = self.our_user(service, &grant.principal).await?;
        let ours = ours.filter(|carrier| carrier.tags.contains_key(&key));
        if let Some(ours) = &ours
            && self.settings.user_tag.is_none()
        {
            return Ok(vec![ours.clone()]);
        }
        let policy = mark::policy_name(grant.id);
        let book = self.book(service, Duration::ZERO).await?;
        let shows = |holder: &&Holder| {
            let mut names = holder.policies.iter().map(|(name, _)| name);
            let is_known = ours.as_ref().is_some_and(|ours| ours.name == holder.name);
            !is_known && (holder.tags.contains_key(&key) || names.any(|name| *name == policy))
        };
        let others = book.iter().filter(shows).map(|holder| Carrier {
            name: holder.name.clone(),
            // Somebody took the mark off; what this very grant added still goes.
            is_ours: self.is_our(holder) || mark::was_made(&holder.name, &holder.path),
            exists: true,
            tags: holder.tags.clone(),
        });
        Ok(others.chain(ours.clone()).collect())
    }

    pub(super) fn is_our(&self, holder: &Holder) -> bool {
        let connector = &self.settings.connector;
        mark::is_ours(connector, &holder.name, &holder.path, &holder.tags)
    }

    /// Returns the list of users, read anew when it is older than that.
    pub(super) async fn book(&self, service: &Service, age: Duration) -> Result<Book, TargetError> {
        let known = self.with_book(|book| book.clone());
        if let Some((at, book)) = known
            && at.elapsed() < age
        {
            return Ok(book);
        }
        let at = Instant::now();
        let tag = self.settings.user_tag.as_ref();
        let holders = service.holders(|holder| {
            let has_ours = |key: &String| key.starts_with("apono-");
            let named = |(name, _): &(String, String)| mark::grant_of_policy(name).is_some();
            holder.tags.keys().any(has_ours)
                || tag.is_some_and(|tag| holder.tags.contains_key(tag))
                || holder.policies.iter().any(named)
        });
        let book = Arc::new(holders.await?);
        self.with_book(|kept| {
            let newer = kept.as_ref().is_none_or(|(other, _)| *other < at);
            if newer {
                *kept = Some((at, Arc::clone(&book)));
            }
        });
        Ok(book)
    }

    /// Notes that what was listed is not so any more.
    pub(super) fn forget_book(&self) {
        self.with_book(|book| *book = None);
    }

    /// Returns how old the list of users may be for a look at what stands.
    pub(super) fn book_age() -> Duration {
        BOOK_AGE
    }

    fn with_book<R>(&self, with: impl FnOnce(&mut Option<(Instant, Book)>) -> R) -> R {
        with(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says how the user to be made is called: the first of the two names that is free, unless a user we did not make has one of them.
fn to_be_made(
    named: &[(LoginName, Option<User>)],
    principal: &Principal,
) -> Result<Carrier, TargetError> {
    let foreign = |user: &&User| !mark::is_marked(&user.tags);
    if let Some(user) = named
        .iter()
        .filter_map(|(_, user)| user.as_ref())
        .find(foreign)
    {
        let message = format!(
            "IAM user `{}` exists and does not carry this connector's mark",
            user.name
        );
        let hint = "remove or rename the user, or map the person to it by a tag: see `user_tag`";
        return Err(refused(
            ErrorClass::NeedsOperator,
            "user_not_ours",
            message,
            hint,
        ));
    }
    let free = named.iter().find(|(_, user)| user.is_none());
    let (name, _) = free.ok_or_else(|| {
        let message = format!("both names for the user of `{principal}` are taken by others");
        let hint = "remove users of connectors that are gone";
        refused(ErrorClass::NeedsOperator, "user_names_taken", message, hint)
    })?;
    Ok(Carrier {
        name: name.as_str().to_owned(),
        is_ours: true,
        exists: false,
        tags: Tags::new(),
    })
}
