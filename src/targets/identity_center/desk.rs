//! Owns what is known of one organization: its instance, its permission sets by name, its accounts and people, as looked up. Never changes
//! anything.

use super::asking::Asking;
use super::declared::{Wanted, owner};
use super::note::{Made, Note, Triple};
use super::service::{Identity, Instance, PermissionSet, Service};
use super::sets::Sets;
use super::settings::Settings;
use crate::aws::budget::{Budget, Budgets, Turn};
use crate::aws::operations::Operations;
use crate::aws::{Purpose, Sessions};
use crate::domain::{ErrorClass, Grant, Principal, PrincipalKind, shown};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Most levels of OUs, and the root.
const MOST_LEVELS: usize = 6;

/// One organization, as this process knows it.
pub(super) struct Desk {
    pub(super) settings: Settings,
    sessions: Sessions,
    budgets: Budgets,
    center: OnceCell<Arc<Center>>,
    pub(super) sets: Sets,
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
    /// For a declared permission: what is wanted of its set, which may not exist yet.
    pub(super) wanted: Option<Wanted>,
}

impl Center {
    /// Returns how the instance is asked in a turn.
    pub(super) fn asking(&self, turn: Turn) -> Asking<'_> {
        Asking {
            instance: &self.instance,
            budget: &self.budget,
            turn,
        }
    }
}

impl Desk {
    pub(super) fn new(settings: Settings, sessions: Sessions, budgets: Budgets) -> Self {
        Self {
            settings,
            sessions,
            budgets,
            center: OnceCell::new(),
            sets: Sets::default(),
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

    /// Looks up everything a start needs, `begun` with that note already, and refuses what cannot work, each with its own reason.
    pub(super) async fn find(
        &self,
        service: &Service,
        grant: &Grant,
        begun: Option<&Note>,
    ) -> Result<Found, TargetError> {
        let center = self.center().await?;
        let account = grant.resource.name();
        self.check_account(service, &center, account).await?;
        let found = self.look_up(service, grant, begun).await?;
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
        begun: Option<&Note>,
    ) -> Result<Found, TargetError> {
        let center = self.center().await?;
        let by = center.asking(Turn::Start);
        let permission = grant.permission.as_str();
        let identity = self.identity(service, &center, &grant.principal).await?;
        let kind = principal_type(&grant.principal);
        let (set, wanted) = if let Some(declaration) = self.settings.declared.get(permission) {
            let made = begun.and_then(|note| note.made.clone());
            let made = made.unwrap_or_else(|| Made {
                permission: permission.to_owned(),
                per: self.settings.per,
            });
            let owner = owner(made.per, grant, (kind, &identity.id));
            self.declared(service, by, (made, &owner, begun), declaration)
                .await
                .map(|(set, wanted)| (set, Some(wanted)))?
        } else {
            (self.set(service, by, permission).await?, None)
        };
        Ok(Found {
            triple: Triple {
                account: grant.resource.name().to_owned(),
                set: set.arn.clone(),
                principal_type: kind.to_owned(),
                principal: identity.id,
            },
            principal_name: identity.name,
            is_disabled: identity.is_disabled,
            set,
            wanted,
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

    /// Finds a permission set that is not ours by its name, and reads it anew.
    async fn set(
        &self,
        service: &Service,
        by: Asking<'_>,
        name: &str,
    ) -> Result<PermissionSet, TargetError> {
        if self.sets.named(name).is_none() {
            self.sets.look(service, by, Some(name)).await?;
        }
        let unknown = || {
            refused(
                ErrorClass::NotFound,
                "permission_set_unknown",
                format!(
                    "IAM Identity Center has no permission set `{}`, and the integration declares none of that name",
                    shown(name)
                ),
                "check the name; it is sensitive to case",
            )
        };
        // Not only among those just read: another start may have read it meanwhile.
        let known = self.sets.named(name).ok_or_else(unknown)?;
        self.refuse_made(service, by, &known).await?;
        match service.permission_set(by, &known.arn).await {
            Ok(set) => Ok(set),
            Err(error) if error.class() == ErrorClass::NotFound => {
                self.sets.forget(&known.arn);
                Err(unknown())
            }
            Err(error) => Err(error.into()),
        }
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
}

fn principal_type(principal: &Principal) -> &'static str {
    match principal.kind() {
        PrincipalKind::Group => "GROUP",
        PrincipalKind::Email | PrincipalKind::UserName => "USER",
    }
}
