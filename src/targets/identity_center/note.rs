//! Owns the checkpoint of an assignment: who was given what where, what stood before, and until when an order may still land. Never a secret.

use crate::domain::{Checkpoint, ErrorClass, GrantId};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One principal, one permission set, one account, by the ids AWS gave them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Triple {
    pub(super) account: String,
    pub(super) set: String,
    /// `USER` or `GROUP`.
    pub(super) principal_type: String,
    pub(super) principal: String,
}

impl Triple {
    /// Returns account and permission set: who holds them is listed together.
    pub(super) fn place(&self) -> (&str, &str) {
        (&self.account, &self.set)
    }
}

/// What must be known to end an assignment, wherever that happens. Names come along for people; only ids are acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) triple: Triple,
    /// The permission set's name.
    pub(super) set_name: String,
    /// The name the principal signs in by, or the group's.
    pub(super) principal_name: String,
    /// Whether the assignment stood before any grant of ours: then it is never taken away.
    pub(super) stood_before: bool,
    /// Until when an order that was signed and not answered could still take effect; nothing when all were answered.
    pub(super) lands_until: Option<Timestamp>,
    /// How long a session lasts, as of the start: ISO 8601, for example `PT1H`.
    pub(super) session: Option<String>,
    /// For a set of ours. Its ARN is empty as long as nobody knows it, and then nothing was assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<Made>,
}

/// Why a set was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Name of the declared permission.
    pub(super) permission: String,
    pub(super) per: Per,
}

/// For whom sets are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Per {
    /// Removed with the grant.
    Grant,
    /// Used again, and removed when it was not for a while.
    Person,
}

impl Note {
    pub(super) fn read(checkpoint: &Checkpoint) -> Option<Self> {
        serde_json::from_str(checkpoint.as_str()).ok()
    }

    /// Reads the note of a grant that is acted on. What another version wrote and this one cannot read is never taken for nothing.
    pub(super) fn demand(
        grant: GrantId,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Option<Self>, TargetError> {
        let Some(checkpoint) = checkpoint else {
            return Ok(None);
        };
        let note = Self::read(checkpoint);
        note.map(Some).ok_or_else(|| {
            let message =
                format!("the checkpoint of grant `{grant}` cannot be read by this version");
            refused(
                ErrorClass::NeedsOperator,
                "checkpoint_unreadable",
                message,
                "update the connector to the version that began the grant, or a later one",
            )
        })
    }

    pub(super) fn write(&self) -> Result<Checkpoint, TargetError> {
        let bug =
            |problem: String| TargetError::new(ErrorClass::Bug, "checkpoint_invalid", problem);
        let text = serde_json::to_string(self).map_err(|error| bug(error.to_string()))?;
        Checkpoint::new(text).map_err(|invalid| bug(invalid.to_string()))
    }

    /// Tells whether this is about an assignment. A set of ours that went may have been made anew; what was ordered of the old one is void.
    pub(super) fn is_about(&self, triple: &Triple) -> bool {
        let set = if self.made.is_some() {
            triple.set.clone()
        } else {
            self.triple.set.clone()
        };
        let here = Triple {
            set,
            ..self.triple.clone()
        };
        here == *triple
    }

    /// Tells whether the set was made for this grant alone.
    pub(super) fn is_own(&self) -> bool {
        self.made
            .as_ref()
            .is_some_and(|made| made.per == Per::Grant)
    }

    /// Tells whether the permission set is known; until then nothing is ordered.
    pub(super) fn has_set(&self) -> bool {
        !self.triple.set.is_empty()
    }

    /// The same with all orders answered.
    pub(super) fn settled(&self) -> Self {
        Self {
            lands_until: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_fits_a_checkpoint_with_the_longest_names() {
        let long = "x".repeat(1024);
        let note = Note {
            triple: Triple {
                account: "123456789012".into(),
                set: format!(
                    "arn:aws:sso:::permissionSet/ssoins-{0}/ps-{0}",
                    "1".repeat(16)
                ),
                principal_type: "GROUP".into(),
                principal: "1234567890-12345678-1234-1234-1234-123456789012".into(),
            },
            set_name: "x".repeat(32),
            principal_name: long,
            stood_before: true,
            lands_until: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            session: Some("PT12H".into()),
            made: Some(Made {
                permission: "x".repeat(32),
                per: Per::Grant,
            }),
        };
        assert_eq!(Note::read(&note.write().unwrap()), Some(note.clone()));
        let text = note.write().unwrap().as_str().to_owned();
        let older = text.replace(",\"made\":", ",\"unknown\":");
        let older = Note::read(&Checkpoint::new(older).unwrap()).unwrap();
        assert_eq!(older, Note { made: None, ..note });
        let strange = Checkpoint::new("another target's".into()).unwrap();
        assert_eq!(Note::read(&strange), None);
        let grant = GrantId::generate();
        assert_eq!(Note::demand(grant, None).unwrap(), None);
        let error = Note::demand(grant, Some(&strange)).unwrap_err();
        assert_eq!(error.failure().reason, "checkpoint_unreadable");
    }
}
