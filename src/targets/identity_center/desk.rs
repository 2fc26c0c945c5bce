//! Owns what is known of one organization: its instance, its permission sets by name, its accounts and people, as looked up. Never changes
//! anything.

use super::note::Triple;
use super::service::{Identity, Instance, PermissionSet, Service};
use super::settings::Settings;
use super::trouble::refused;
use crate::aws::budget::{Budget, Budgets, Turn};
use crate::aws::operations::Operations;
use crate::aws::{Purpose, Sessions};
use crate::domain::{ErrorClass, Grant, Principal, PrincipalKind, shown};
use crate::targets::TargetError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Most levels of OUs, and the root.
const MOST_LEVELS: usize = 6;

/// One organization, as this process knows it.
pub(super) struct Desk {
    pub(super) settings: Settings,
    sessions: Sessions,
    budgets: Budgets,
    center: OnceCell<Arc<Center>>,
    /// Names of permission sets never change; the rest is read anew for every start.
    sets: Mutex<HashMap<String, PermissionSet>>,
}

/// The Identity Center instance of the organization.
pub(super) struct Center {
    pub(super) instance: Instance,
    /// The account that owns the organization.
    pub(super) management: Option<String>,
    /// The account whose role we are in.
    caller: String,
    pub(super) budget: Budget,
    pub(super) operations: Operations,
}

/// What a grant is about, by the ids AWS gave it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) triple: Triple,
    pub(super) principal_name: String,
    is_disabled: bool,
    pub(super) set: PermissionSet,
}

impl Desk {
    pub(super) fn new(settings: Settings, sessions: Sessions, budgets: Budgets) -> Self {
        Self {
            settings,
            sessions,
            budgets,
            center: OnceCell::new(),
            sets: Mutex::default(),
        }
    }

    pub(super) async fn service(&self, purpose: Purpose) -> Result<Service, TargetError> {
        let config = self.sessions.config(&self.settings.chain, &purpose).await?;
        Ok(Service::new(&config))
    }

    /// Finds the instance, once.
    pub(super) async fn center(&self) -> Result<Arc<Center>, TargetError> {
        let found = self.center.get_or_try_init(|| self.find_center()).await;
        found.map(Arc::clone)
    }

    async fn find_center(&self) -> Result<Arc<Center>, TargetError> {
        let caller = self.sessions.caller(&self.settings.chain).await?;
        let service = self.service(Purpose::Connector).await?;
        let mut instances = service.instances().await?;
        // An account instance of some member account is no help to an organization.
        let region = &self.settings.chain.region;
        let instance = instances.pop().ok_or_else(|| {
            refused(
                ErrorClass::NeedsOperator,
                "no_identity_center",
                format!("IAM Identity Center has no instance in region `{region}` that account {} can see", caller.account.as_str()),
                "set `sso_region` to the primary region of IAM Identity Center, and `management_role_arn` to a role in the management account or the delegated administrator's",
            )
        })?;
        let management = service.management_account().await?;
        let budget = self.budgets.of(&instance.arn);
        let reader = service.operations(&instance);
        Ok(Arc::new(Center {
            operations: Operations::new(Arc::new(reader), budget.clone()),
            caller: caller.account.as_str().to_owned(),
            instance,
            management,
            budget,
        }))
    }

    /// Looks up everything a start needs, and refuses what cannot work, each with its own reason.
    pub(super) async fn find(
        &self,
        service: &Service,
        grant: &Grant,
    ) -> Result<Found, TargetError> {
        let center = self.center().await?;
        let account = grant.resource.name();
        self.check_account(service, &center, account).await?;
        let found = self.look_up(service, grant).await?;
        if found.is_disabled {
            let message = format!(
                "user `{}` is disabled in the identity store",
                shown(&found.principal_name)
            );
            return Err(refused(
                ErrorClass::NeedsOperator,
                "principal_disabled",
                message,
                "enable the user first",
            ));
        }
        Ok(found)
    }

    /// Looks up the ids of a grant, whatever state account and principal are in.
    pub(super) async fn look_up(
        &self,
        service: &Service,
        grant: &Grant,
    ) -> Result<Found, TargetError> {
        let center = self.center().await?;
        let set = self
            .set(service, &center, &grant.permission.to_string())
            .await?;
        let identity = self.identity(service, &center, &grant.principal).await?;
        Ok(Found {
            triple: Triple {
                account: grant.resource.name().to_owned(),
                set: set.arn.clone(),
                principal_type: principal_type(&grant.principal).to_owned(),
                principal: identity.id,
            },
            principal_name: identity.name,
            is_disabled: identity.is_disabled,
            set,
        })
    }

    async fn check_account(
        &self,
        service: &Service,
        center: &Center,
        account: &str,
    ) -> Result<(), TargetError> {
        let is_management = center.management.as_deref() == Some(account);
        if is_management && center.caller != account {
            return Err(refused(
                ErrorClass::NeedsOperator,
                "management_account_by_delegate",
                format!(
                    "account `{account}` is the management account, where a delegated administrator may not assign anything"
                ),
                "use a role in the management account as `management_role_arn`",
            ));
        }
        let found = service.account(account).await.map_err(|error| {
            if error.class() == ErrorClass::NotFound {
                let message = format!("account `{account}` is not in the organization");
                return refused(
                    ErrorClass::NotFound,
                    "account_unknown",
                    message,
                    "check the account id, and synchronise the integration",
                );
            }
            error.into()
        })?;
        match found.state.as_deref() {
            Some("ACTIVE") => {}
            state => {
                let message = format!(
                    "account `{account}` ({}) is {}, access is given only in active accounts",
                    shown(&found.name),
                    state.unwrap_or("in a state AWS does not tell")
                );
                return Err(refused(
                    ErrorClass::NeedsOperator,
                    "account_not_active",
                    message,
                    "reactivate the account, or ask for another one",
                ));
            }
        }
        self.check_units(service, account).await
    }

    /// Walks up from an account, and refuses it in an excluded OU.
    async fn check_units(&self, service: &Service, account: &str) -> Result<(), TargetError> {
        if self.settings.excluded.is_empty() {
            return Ok(());
        }
        let mut child = account.to_owned();
        for _ in 0..MOST_LEVELS {
            let Some(parent) = service.parent(&child).await? else {
                return Ok(());
            };
            if self.settings.excluded.contains(&parent) {
                return Err(refused(
                    ErrorClass::NeedsOperator,
                    "account_excluded",
                    format!(
                        "account `{account}` is in organizational unit `{parent}`, which this integration excludes"
                    ),
                    "take the unit out of `exclude_ou_ids`, or ask for another account",
                ));
            }
            if !parent.starts_with("ou-") {
                return Ok(());
            }
            child = parent;
        }
        Ok(())
    }

    /// Finds a permission set by its name, and reads it anew.
    async fn set(
        &self,
        service: &Service,
        center: &Center,
        name: &str,
    ) -> Result<PermissionSet, TargetError> {
        let known = match self.named(name) {
            Some(known) => Some(known),
            None => self.look_for_set(service, center, name).await?,
        };
        let unknown = || {
            refused(
                ErrorClass::NotFound,
                "permission_set_unknown",
                format!(
                    "IAM Identity Center has no permission set `{}`",
                    shown(name)
                ),
                "check the name; it is sensitive to case",
            )
        };
        let known = known.ok_or_else(unknown)?;
        let (instance, budget) = (&center.instance, &center.budget);
        let read = service
            .permission_set(instance, &known.arn, budget, Turn::Start)
            .await;
        match read {
            Ok(set) => Ok(set),
            Err(error) if error.class() == ErrorClass::NotFound => {
                self.sets(|sets| sets.remove(&known.arn));
                Err(unknown())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the names of the sets that are new since the last look.
    async fn look_for_set(
        &self,
        service: &Service,
        center: &Center,
        name: &str,
    ) -> Result<Option<PermissionSet>, TargetError> {
        let (instance, budget) = (&center.instance, &center.budget);
        let arns = service
            .permission_sets(instance, budget, Turn::Start)
            .await?;
        self.sets(|sets| sets.retain(|arn, _| arns.contains(arn)));
        for arn in arns {
            if self.sets(|sets| sets.contains_key(&arn)) {
                continue;
            }
            let set = service
                .permission_set(instance, &arn, budget, Turn::Start)
                .await?;
            let is_it = set.name == name;
            self.sets(|sets| sets.insert(arn, set));
            if is_it {
                break;
            }
        }
        // Not only among those read here: another start may have read it meanwhile.
        Ok(self.named(name))
    }

    fn named(&self, name: &str) -> Option<PermissionSet> {
        self.sets(|sets| sets.values().find(|set| set.name == name).cloned())
    }

    async fn identity(
        &self,
        service: &Service,
        center: &Center,
        principal: &Principal,
    ) -> Result<Identity, TargetError> {
        let instance = &center.instance;
        let name = principal.as_str();
        let found = match principal.kind() {
            PrincipalKind::Group => service.group(instance, name).await?,
            PrincipalKind::UserName => {
                let id = service.user_id(instance, "userName", name).await?;
                self.user(service, instance, id).await?
            }
            PrincipalKind::Email => {
                let by_address = service.user_id(instance, "emails.value", name).await?;
                let by_name = service.user_id(instance, "userName", name).await?;
                if by_address.is_some() && by_name.is_some() && by_address != by_name {
                    return Err(refused(
                        ErrorClass::NeedsOperator,
                        "principal_ambiguous",
                        format!(
                            "`{}` is the e-mail address of one user and the user name of another",
                            shown(name)
                        ),
                        "name the user by user name, as `user:NAME`",
                    ));
                }
                self.user(service, instance, by_address.or(by_name)).await?
            }
        };
        found.ok_or_else(|| {
            refused(
                ErrorClass::NotFound,
                "principal_unknown",
                format!(
                    "the identity store of IAM Identity Center has no `{}`",
                    shown(&principal.to_string())
                ),
                "make the user or group there, or wait until it is synchronised",
            )
        })
    }

    async fn user(
        &self,
        service: &Service,
        instance: &Instance,
        id: Option<String>,
    ) -> Result<Option<Identity>, TargetError> {
        match id {
            Some(id) => Ok(service.user(instance, &id).await?),
            None => Ok(None),
        }
    }

    fn sets<R>(&self, with: impl FnOnce(&mut HashMap<String, PermissionSet>) -> R) -> R {
        with(&mut self.sets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn principal_type(principal: &Principal) -> &'static str {
    match principal.kind() {
        PrincipalKind::Group => "GROUP",
        PrincipalKind::Email | PrincipalKind::UserName => "USER",
    }
}
