//! Owns what a grant is.

use super::{
    Checkpoint, GrantId, IntegrationId, InvalidValue, Permission, Principal, PrincipalKind,
    ResourceRef, shown,
};
use jiff::Timestamp;

/// One principal, one resource, one permission, one expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// One id for the whole life of the grant.
    pub id: GrantId,
    /// The system the resource is in.
    pub integration: IntegrationId,
    /// Who.
    pub principal: Principal,
    /// On what.
    pub resource: ResourceRef,
    /// How much.
    pub permission: Permission,
    /// When the access ends, always. The start of the first moment without access.
    pub expiry: Timestamp,
}

impl Grant {
    /// Checks that the permission is one the resource kind knows.
    ///
    /// # Errors
    /// Names the permissions that would fit.
    pub fn check_permission(&self) -> Result<(), InvalidValue> {
        let kind = self.resource.kind();
        let known = kind.permissions();
        let is_named = matches!(self.permission, Permission::Named(_));
        if known.contains(&self.permission) || (is_named && kind.takes_named_permissions()) {
            return Ok(());
        }
        if kind.takes_named_permissions() {
            return Err(InvalidValue::new(
                "`permission`",
                format!(
                    "is `{}`, must be the name of a permission set",
                    self.permission
                ),
            ));
        }
        if !kind.is_grantable() {
            return Err(InvalidValue::new(
                "`resource.type`",
                format!("is `{kind}`, which can be seen and not granted"),
            ));
        }
        let names: Vec<_> = known.iter().map(|p| format!("`{p}`")).collect();
        Err(InvalidValue::new(
            "`permission`",
            format!(
                "is `{}`, `{}` knows {}",
                self.permission,
                self.resource.kind(),
                names.join(", ")
            ),
        ))
    }

    /// Checks that the principal is one the resource kind can give access to.
    ///
    /// # Errors
    /// Says which kind of principal would fit.
    pub fn check_principal(&self) -> Result<(), InvalidValue> {
        let kind = self.resource.kind();
        if self.principal.kind() == PrincipalKind::Email || kind.takes_groups() {
            return Ok(());
        }
        Err(InvalidValue::new(
            "`principal`",
            format!(
                "is `{}`, access to a `{kind}` is given to a person by e-mail address",
                shown(&self.principal.to_string())
            ),
        ))
    }

    /// Tells whether the access must be gone at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.expiry
    }
}

/// All a target needs to make a grant's access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What to make.
    pub grant: Grant,
    /// Whom to seal the credential to: an age public key or an ssh-ed25519 public key line.
    pub recipient: String,
    /// Which delivery of the task this is, counting from 1. A target refuses a lower one than it has seen.
    pub attempt: u32,
    /// The last moment at which the effect may appear.
    pub lease_deadline: Timestamp,
    /// What was noted for this grant before its first effect, by whoever began it.
    pub checkpoint: Option<Checkpoint>,
}
