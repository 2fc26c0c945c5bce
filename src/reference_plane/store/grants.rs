//! Owns what the admin API does to grants: asking for access, moving its end, ending it, setting a new password.

use super::orders::NewTask;
use super::row::{At, GrantRow, Id, json};
use super::{Store, Tx};
use crate::control::protocol::PrincipalSpec;
use crate::domain::{
    EndReason, Grant, GrantId, IntegrationId, Permission, Principal, ResourceKind, ResourceRef,
    TaskKind,
};
use crate::reference_plane::PlaneError;
use crate::reference_plane::admin::{Granted, NewCredential, NewExpiry, NewGrant, Ordered};
use jiff::{SignedDuration, Timestamp};
use rusqlite::params;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Longest recipient: an ssh-ed25519 line with a long comment.
const MAX_RECIPIENT: usize = 1024;
/// Longest idempotency key, in bytes.
const MAX_KEY: usize = 200;

impl Store {
    /// Asks for access: records the grant and queues its start.
    pub(in crate::reference_plane) fn grant(
        &mut self,
        new: &NewGrant,
    ) -> Result<Granted, PlaneError> {
        check_recipient(&new.recipient)?;
        self.write(|tx| {
            let digest = request_digest(new)?;
            if let Some(key) = &new.idempotency_key
                && let Some(earlier) = tx.granted_before(key, &digest)?
            {
                return Ok(earlier);
            }
            let integration = tx.integration_named(&new.integration)?;
            if integration.state != "active" {
                return Err(PlaneError::conflict(
                    "integration_retiring",
                    format!("integration `{}` takes no new access", integration.name),
                ));
            }
            let expiry = tx.expiry(new.expiry, new.duration_s)?;
            let grant = parse(new, integration.id, expiry)?;
            tx.insert_grant(&grant, &integration.connector, new, &digest)?;
            let row = tx.grant_row(Id(grant.id.as_uuid()))?;
            let task = tx.order(&NewTask {
                kind: TaskKind::GrantAccess,
                connector: &row.connector,
                integration: integration.id,
                grant: Some(&row),
                recipient: Some(&new.recipient),
                expiry: None,
            })?;
            Ok(Granted {
                grant: tx.grant_view(row.id)?,
                task,
            })
        })
    }

    /// Moves the expiry of a grant; it counts once the connector confirmed it.
    pub(in crate::reference_plane) fn extend(
        &mut self,
        grant: Uuid,
        new: &NewExpiry,
    ) -> Result<Ordered, PlaneError> {
        self.write(|tx| {
            let row = tx.open_grant(grant)?;
            tx.check_active_integration(&row)?;
            let expiry = At(tx.expiry(new.expiry, new.duration_s)?);
            if row.state == "requested" {
                tx.exec(
                    "UPDATE grants SET expiry = ?2 WHERE id = ?1",
                    params![row.id, expiry],
                )?;
                return Ok(Ordered { task: None });
            }
            tx.exec(
                "UPDATE tasks SET state = 'cancelled', finished_at = ?2
                 WHERE grant_id = ?1 AND kind = 'extend-access' AND state = 'queued'",
                params![row.id, tx.now()],
            )?;
            tx.exec(
                "UPDATE grants SET wanted_expiry = ?2 WHERE id = ?1",
                params![row.id, expiry],
            )?;
            let task = tx.order(&NewTask {
                kind: TaskKind::ExtendAccess,
                connector: &row.connector,
                integration: Id(row.spec.integration),
                grant: Some(&row),
                recipient: None,
                expiry: Some(expiry),
            })?;
            Ok(Ordered { task: Some(task) })
        })
    }

    /// Ends a grant. Again and again gives the same answer.
    pub(in crate::reference_plane) fn revoke(
        &mut self,
        grant: Uuid,
    ) -> Result<Ordered, PlaneError> {
        self.write(|tx| {
            let row = tx.known_grant(grant)?;
            let task = if row.is_over() {
                None
            } else {
                tx.order_end(&row, EndReason::Revoked)?
            };
            Ok(Ordered { task })
        })
    }

    /// Orders a new password for a live grant.
    pub(in crate::reference_plane) fn reset_credentials(
        &mut self,
        grant: Uuid,
        new: &NewCredential,
    ) -> Result<Ordered, PlaneError> {
        check_recipient(&new.recipient)?;
        self.write(|tx| {
            let row = tx.open_grant(grant)?;
            tx.check_active_integration(&row)?;
            if row.state != "active" {
                return Err(PlaneError::conflict(
                    "grant_not_active",
                    format!("grant `{grant}` is {}, not active", row.state),
                ));
            }
            let task = tx.order(&NewTask {
                kind: TaskKind::ResetCredentials,
                connector: &row.connector,
                integration: Id(row.spec.integration),
                grant: Some(&row),
                recipient: Some(&new.recipient),
                expiry: None,
            })?;
            Ok(Ordered { task: Some(task) })
        })
    }
}

impl Tx<'_> {
    pub(super) fn known_grant(&self, grant: Uuid) -> Result<GrantRow, PlaneError> {
        self.one(
            "SELECT * FROM grants WHERE id = ?1",
            params![Id(grant)],
            GrantRow::read,
        )?
        .ok_or_else(|| {
            PlaneError::not_found(
                "unknown_grant",
                format!("grant `{grant}` is not known here"),
            )
            .hint("list the grants to see their ids")
        })
    }

    fn open_grant(&self, grant: Uuid) -> Result<GrantRow, PlaneError> {
        let row = self.known_grant(grant)?;
        if row.is_over() || row.state == "ending" {
            return Err(PlaneError::conflict(
                "grant_over",
                format!("grant `{grant}` is {}, it cannot be changed", row.state),
            )
            .hint("ask for a new grant"));
        }
        Ok(row)
    }

    fn check_active_integration(&self, grant: &GrantRow) -> Result<(), PlaneError> {
        let integration = self.integration_named(&grant.spec.integration.to_string())?;
        if integration.state == "active" {
            return Ok(());
        }
        Err(PlaneError::conflict(
            "integration_retiring",
            format!(
                "integration `{}` is {}",
                integration.name, integration.state
            ),
        ))
    }

    fn granted_before(&self, key: &str, digest: &str) -> Result<Option<Granted>, PlaneError> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(PlaneError::invalid(
                "invalid_value",
                format!(
                    "`idempotency_key` has {} bytes, must have 1 to {MAX_KEY}",
                    key.len()
                ),
            ));
        }
        let found = self.one(
            "SELECT g.id, g.request_digest, t.id FROM grants AS g LEFT JOIN tasks AS t
               ON t.grant_id = g.id AND t.kind = 'grant-access' WHERE g.idempotency_key = ?1",
            params![key],
            |row| {
                Ok((
                    row.get::<_, Id>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, Option<Id>>(2)?,
                ))
            },
        )?;
        match found {
            None => Ok(None),
            Some((grant, earlier, Some(task))) if earlier == digest => Ok(Some(Granted {
                grant: self.grant_view(grant)?,
                task: task.0,
            })),
            Some((grant, ..)) => Err(PlaneError::conflict(
                "idempotency_key_reused",
                format!(
                    "the idempotency key belongs to grant `{}`, which was another request or is long over",
                    grant.0
                ),
            )),
        }
    }

    fn insert_grant(
        &self,
        grant: &Grant,
        connector: &str,
        new: &NewGrant,
        digest: &str,
    ) -> Result<(), PlaneError> {
        self.exec(
            "INSERT INTO grants (id, connector, integration, principal, resource_type, resource_path, permission,
                 expiry, state, created_at, idempotency_key, request_digest, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'requested', ?9, ?10, ?11, 0)",
            params![
                Id(grant.id.as_uuid()),
                connector,
                Id(grant.integration.as_uuid()),
                grant.principal.to_string(),
                grant.resource.kind().as_str(),
                json(&grant.resource.path())?,
                grant.permission.as_str(),
                At(grant.expiry),
                self.now(),
                new.idempotency_key,
                digest
            ],
        )?;
        Ok(())
    }

    /// Understands an expiry given as a time or as a duration from now.
    fn expiry(
        &self,
        at: Option<Timestamp>,
        duration_s: Option<u64>,
    ) -> Result<Timestamp, PlaneError> {
        let wrong = |problem: String| Err(PlaneError::invalid("invalid_expiry", problem));
        let expiry = match (at, duration_s) {
            (Some(at), None) => Some(at),
            (None, Some(seconds)) => i64::try_from(seconds).ok().and_then(|seconds| {
                self.now
                    .checked_add(SignedDuration::from_secs(seconds))
                    .ok()
            }),
            (None, None) => {
                return wrong(
                    "`expiry` or `duration_s` is missing, access always has an end".into(),
                );
            }
            (Some(_), Some(_)) => {
                return wrong("`expiry` and `duration_s` are both given, only one can hold".into());
            }
        };
        // The store keeps microseconds; what is answered is what is kept.
        let kept = expiry.and_then(|at| Timestamp::from_microsecond(at.as_microsecond()).ok());
        match kept {
            Some(at) if at > self.now => Ok(at),
            Some(at) => wrong(format!(
                "`expiry` is {at}, it must be after now, {}",
                self.now
            )),
            None => wrong("`duration_s` reaches beyond the year 9999".into()),
        }
    }
}

fn parse(new: &NewGrant, integration: Id, expiry: Timestamp) -> Result<Grant, PlaneError> {
    let kind = ResourceKind::parse(&new.resource.kind)?;
    let grant = Grant {
        id: GrantId::generate(),
        integration: IntegrationId::new(integration.0),
        principal: parse_principal(&new.principal)?,
        resource: ResourceRef::new(kind, new.resource.path.clone())?,
        permission: Permission::parse(&new.permission)?,
        expiry,
    };
    grant.check_permission()?;
    grant.check_principal()?;
    Ok(grant)
}

fn parse_principal(spec: &PrincipalSpec) -> Result<Principal, PlaneError> {
    match (&spec.email, &spec.user_name, &spec.group) {
        (Some(email), None, None) => Ok(Principal::parse(email)?),
        (None, Some(name), None) => Ok(Principal::user_name(name)?),
        (None, None, Some(group)) => Ok(Principal::group(group)?),
        _ => Err(PlaneError::invalid(
            "invalid_value",
            "`principal` must have exactly one of `email`, `user_name` and `group`",
        )),
    }
}

fn check_recipient(recipient: &str) -> Result<(), PlaneError> {
    let known = recipient.starts_with("age1") || recipient.starts_with("ssh-ed25519 ");
    let fits = known && recipient.len() <= MAX_RECIPIENT && !recipient.contains(['\n', '\0']);
    if fits {
        return Ok(());
    }
    Err(PlaneError::invalid(
        "invalid_recipient",
        "`recipient` must be an age public key (`age1…`) or an `ssh-ed25519` public key line",
    ))
}

fn request_digest(new: &NewGrant) -> Result<String, PlaneError> {
    let text = json(new)?;
    let digest = Sha256::digest(text.as_bytes());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
