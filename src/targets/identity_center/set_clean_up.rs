//! Owns the removal of the sets of grants that are closed. Never touches a set without our marks.

use super::OrganizationTarget;
use super::marks::Owner;
use super::note::Note;
use super::service::PermissionSet;
use super::set_life::Bench;
use crate::aws::Purpose;
use crate::aws::budget::Turn;
use crate::domain::{ErrorClass, Grant};
use crate::targets::{CleanedUp, Phase, TargetError};

/// How many sets of ended grants are removed in one go: each takes three requests.
const MOST_AT_ONCE: usize = 20;

impl OrganizationTarget {
    /// Removes the sets of grants that are closed, as far as AWS lets go of them.
    pub(super) async fn clean_sets(&self) -> Result<Vec<CleanedUp>, TargetError> {
        let ended = self.memory.grants(self.desk.settings.integration);
        let ended = ended
            .into_iter()
            .filter(|known| known.phase == Phase::Closed);
        let ended = ended.filter_map(|known| {
            let note = known.checkpoint.as_ref().and_then(Note::read)?;
            note.is_own().then_some((known.grant, note))
        });
        let ended: Vec<(Grant, Note)> = ended.take(MOST_AT_ONCE).collect();
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let service = self.desk.service(Purpose::Connector).await?;
        let center = self.desk.center().await?;
        let bench = Bench {
            service: &service,
            center: &center,
            turn: Turn::CleanUp,
        };
        let (mut cleaned, mut trouble) = (Vec::new(), None);
        for (grant, note) in ended {
            let leftovers = match self.clean_set(&bench, &grant, &note).await {
                Ok(Some(leftovers)) => leftovers,
                Ok(None) => continue,
                Err(error) if error.class() == ErrorClass::NeedsOperator => {
                    let hint = error.failure().hint.as_deref().unwrap_or_default();
                    vec![format!("{error}; {hint}")]
                }
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            let grant = grant.id;
            cleaned.push(CleanedUp { grant, leftovers });
        }
        match trouble {
            Some(error) if cleaned.is_empty() => Err(error),
            _ => Ok(cleaned),
        }
    }

    /// Removes the set of one grant; returns what is left, or nothing while AWS has not let go of it.
    async fn clean_set(
        &self,
        bench: &Bench<'_>,
        grant: &Grant,
        note: &Note,
    ) -> Result<Option<Vec<String>>, TargetError> {
        let (service, by) = (bench.service, bench.by());
        let mut set = PermissionSet {
            arn: note.triple.set.clone(),
            name: note.set_name.clone(),
            description: None,
            session: None,
        };
        if !note.has_set() {
            self.desk.sets.look(service, by, Some(&set.name)).await?;
            let Some(found) = self.desk.sets.named(&set.name) else {
                // The order to make it may still be on its way.
                let until = self.making.of(grant.id, note.lands_until);
                let over = until.is_none_or(|until| until <= self.clock.now());
                return Ok(over.then(Vec::new));
            };
            set = found;
        }
        let own = Owner::Grant(grant.id);
        if self
            .desk
            .own_marks(service, by, &set, &own)
            .await?
            .is_none()
        {
            return Ok(Some(Vec::new()));
        }
        if self.remove(bench, &set).await? {
            return Ok(Some(Vec::new()));
        }
        let accounts = service.accounts_of_set(by, &set.arn, false).await?;
        let left = format!(
            "permission set `{}` is still assigned to somebody in {}; take that assignment away, then it is removed",
            set.name,
            accounts.join(", ")
        );
        Ok((!accounts.is_empty()).then(|| vec![left]))
    }

    /// Removes a set, and says whether it is gone: not while it is assigned anywhere, and for a while afterwards.
    pub(super) async fn remove(
        &self,
        bench: &Bench<'_>,
        set: &PermissionSet,
    ) -> Result<bool, TargetError> {
        match bench.service.delete_set(bench.by(), &set.arn).await {
            Err(error) if error.class() == ErrorClass::Conflict => return Ok(false),
            Err(error) if error.class() != ErrorClass::NotFound => return Err(error.into()),
            _ => {}
        }
        self.desk.sets.forget(&set.arn);
        Ok(true)
    }
}
