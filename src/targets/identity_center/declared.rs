//! Owns the look for the permission set of a declared permission: what it is called, whether it is there, whether it is ours. Never changes
//! it, and never takes a foreign one for ours.

use super::asking::Asking;
use super::declaration::{Declaration, looks_made, set_name};
use super::desk::Desk;
use super::marks::{Marks, Owner};
use super::note::{Made, Note, Per};
use super::service::{PermissionSet, Service};
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::domain::{ErrorClass, Grant, shown};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use std::time::Duration;

/// How old the names of all sets may be. A foreign set of the name of a declaration is noticed no later.
const FRESH: Duration = Duration::from_secs(60);
/// Longest time a check takes to read names.
const LONGEST_CHECK: Duration = Duration::from_secs(10);

/// What a grant wants of a set of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) made: Made,
    /// The set must be made, completed or brought up to date.
    pub(super) is_unready: bool,
}

impl Desk {
    /// Returns the set of a declared permission, without an ARN while there is none.
    pub(super) async fn declared(
        &self,
        service: &Service,
        by: Asking<'_>,
        (made, owner, begun): (Made, &Owner, Option<&Note>),
        declaration: &Declaration,
    ) -> Result<(PermissionSet, Wanted), TargetError> {
        let permission = made.permission.as_str();
        self.sets.refresh(service, by, FRESH).await?;
        if self.sets.named(permission).is_some() {
            return Err(foreign(permission));
        }
        let name = self.name_of(permission, owner);
        let mut set = PermissionSet {
            arn: String::new(),
            name,
            description: None,
            session: declaration.definition.session.clone(),
        };
        // What was noted counts for more than a list that is a minute old: there may be an assignment of it.
        let noted = begun.filter(|note| note.has_set());
        let known = noted.map(|note| note.triple.set.clone());
        let known = known.or_else(|| self.sets.named(&set.name).map(|set| set.arn));
        let mut marks = None;
        if let Some(arn) = known {
            set.arn = arn;
            marks = self.own_marks(service, by, &set, owner).await?;
        }
        if marks.is_none() {
            set.arn.clear();
        }
        let is_ready = marks.is_some_and(|marks| {
            marks.declaration == declaration.digest && marks.unused_since.is_none()
        });
        let is_unready = !is_ready;
        Ok((set, Wanted { made, is_unready }))
    }

    /// Says which declarations nobody can use, because a set that is not ours has their name. Nothing while not all names are known.
    pub(super) async fn foreign_names(&self) -> Result<Vec<String>, TargetError> {
        let declared = &self.settings.declared;
        if declared.is_empty() {
            return Ok(Vec::new());
        }
        let service = self.service(Purpose::Connector).await?;
        let center = self.center().await?;
        let looking = self
            .sets
            .refresh(&service, center.asking(Turn::Read), FRESH);
        // The next check looks further.
        if let Ok(looked) = tokio::time::timeout(LONGEST_CHECK, looking).await {
            looked?;
        }
        let taken = declared
            .keys()
            .filter(|name| self.sets.named(name).is_some());
        Ok(taken.map(|name| foreign(name).to_string()).collect())
    }

    /// Returns what the set of a permission and its owner is called.
    pub(super) fn name_of(&self, permission: &str, owner: &Owner) -> String {
        let connector = self.settings.connector.as_str();
        let integration = self.settings.integration.to_string();
        set_name(connector, &integration, permission, &owner.text())
    }

    /// Reads the marks of a set that has the name of one of ours; nothing when it is gone, an error when it is somebody else's.
    pub(super) async fn own_marks(
        &self,
        service: &Service,
        by: Asking<'_>,
        set: &PermissionSet,
        owner: &Owner,
    ) -> Result<Option<Marks>, TargetError> {
        let Some(tags) = service.tags(by, &set.arn).await? else {
            self.sets.forget(&set.arn);
            return Ok(None);
        };
        let marks = Marks::read(&tags).filter(|marks| self.is_ours(marks) && marks.owner == *owner);
        marks.map(Some).ok_or_else(|| {
            let message = format!(
                "permission set `{}` has the name of one of ours and not its tags, so it is neither used nor changed",
                set.name
            );
            refused(
                ErrorClass::NeedsOperator,
                "permission_set_not_ours",
                message,
                "look who made it or took its `apono-` tags away, and delete it",
            )
        })
    }

    /// Tells whether marks are those of this connector and this integration.
    pub(super) fn is_ours(&self, marks: &Marks) -> bool {
        marks.connector == self.settings.connector.as_str()
            && marks.integration == self.settings.integration.to_string()
    }

    /// Refuses a set that some connector made for somebody: it is no permission by itself.
    pub(super) async fn refuse_made(
        &self,
        service: &Service,
        by: Asking<'_>,
        set: &PermissionSet,
    ) -> Result<(), TargetError> {
        if !looks_made(&set.name) {
            return Ok(());
        }
        let tags = service.tags(by, &set.arn).await?.unwrap_or_default();
        if Marks::read(&tags).is_none() {
            return Ok(());
        }
        let message = format!(
            "permission set `{}` was made for one grant or person, nobody else is given it",
            set.name
        );
        Err(refused(
            ErrorClass::NeedsOperator,
            "permission_set_made_for_another",
            message,
            "ask for the declared permission instead",
        ))
    }
}

/// Returns whose set a grant of a declared permission is given.
pub(super) fn owner(per: Per, grant: &Grant, (kind, id): (&str, &str)) -> Owner {
    match per {
        Per::Grant => Owner::Grant(grant.id),
        Per::Person => Owner::Person(format!("{kind}/{id}")),
    }
}

/// The declaration's name is taken by a set that is not ours.
pub(super) fn foreign(permission: &str) -> TargetError {
    let permission = shown(permission);
    refused(
        ErrorClass::NeedsOperator,
        "permission_set_foreign",
        format!(
            "the integration declares permission `{permission}`, and IAM Identity Center has a permission set of that name which is not ours"
        ),
        "give the declaration another name, or take it away to use the set as it is",
    )
}
