//! Owns the tree of organizational units, without what is excluded. Never lists accounts.

use super::Walk;
use crate::aws::AwsError;
use crate::domain::ResourceKind;
use crate::inventory::aws_calls::{is_absent, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_organizations::operation::list_organizational_units_for_parent::ListOrganizationalUnitsForParentOutput;
use aws_sdk_organizations::operation::list_roots::ListRootsOutput;
use std::collections::{BTreeSet, HashMap};

/// Most entries of a page of Organizations.
pub(super) const PAGE: i32 = 20;
/// Most levels of units, with the root; AWS allows five below it.
const MOST_LEVELS: usize = 8;

/// The units that are listed: 2,000 at most, as AWS has it.
#[derive(Debug, Default)]
pub(super) struct Units {
    known: HashMap<String, Unit>,
    excluded: BTreeSet<String>,
}

#[derive(Debug)]
struct Unit {
    name: String,
    /// Id of the unit or root it is in.
    parent: String,
}

/// Where something is in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In these units, outermost first; none for the root.
    Within(Vec<String>),
    /// In an excluded unit, or below one.
    Excluded,
}

impl Units {
    /// Says what the path AWS gives for an account means: `o-…/r-…/ou-…/ou-…/ACCOUNT/`.
    pub(super) fn place(&self, path: &str) -> Place {
        let units: Vec<String> = path
            .split('/')
            .filter(|part| part.starts_with("ou-"))
            .map(str::to_owned)
            .collect();
        if units.iter().any(|unit| self.excluded.contains(unit)) {
            return Place::Excluded;
        }
        Place::Within(units)
    }

    /// Returns the names of units with `/` between them: `Prod/Payments`. One whose name is not known is shown by its id.
    pub(super) fn names(&self, units: &[String]) -> String {
        let names = units.iter().map(|id| {
            let known = self.known.get(id);
            known.map_or(id.as_str(), |unit| unit.name.as_str())
        });
        names.collect::<Vec<_>>().join("/")
    }

    /// Returns the units down to one that is known, itself included.
    fn down_to(&self, id: &str) -> Vec<String> {
        let mut units = Vec::new();
        let mut next = self.known.get_key_value(id);
        while let Some((id, unit)) = next.filter(|_| units.len() < MOST_LEVELS) {
            units.push(id.clone());
            next = self.known.get_key_value(&unit.parent);
        }
        units.reverse();
        units
    }
}

impl Walk<'_> {
    /// Lists the tree, parents first.
    pub(super) async fn list_units(
        &self,
        records: &mut RecordSender,
    ) -> Result<Units, SourceError> {
        let mut units = Units {
            known: HashMap::new(),
            excluded: self.listing.excluded.clone(),
        };
        let mut parents = self.roots().await?;
        while let Some(parent) = parents.pop() {
            for (id, name) in self.units_in(&parent).await? {
                if units.excluded.contains(&id) {
                    continue;
                }
                let unit = Unit {
                    name: name.clone(),
                    parent: parent.clone(),
                };
                units.known.insert(id.clone(), unit);
                let mut record = self.record(ResourceKind::AwsOrganizationalUnit, &id, &name);
                tell(&mut record, "parent", Some(&parent));
                let path = units.names(&units.down_to(&id));
                tell(&mut record, "ou_path", Some(&path));
                records.send(record).await?;
                parents.push(id);
            }
        }
        Ok(units)
    }

    async fn roots(&self) -> Result<Vec<String>, AwsError> {
        let mut roots = Vec::new();
        let call = self.calls.organizations.list_roots();
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListRootsOutput| {
            let ids = page.roots().iter().filter_map(|root| root.id());
            roots.extend(ids.map(str::to_owned));
            page.next_token
        };
        let turns = &self.calls.turns;
        turns.read("organizations:ListRoots", ask, keep).await?;
        Ok(roots)
    }

    /// Returns id and name of the units right within one. A unit that is gone holds none.
    async fn units_in(&self, parent: &str) -> Result<Vec<(String, String)>, AwsError> {
        const OPERATION: &str = "organizations:ListOrganizationalUnitsForParent";
        let mut units = Vec::new();
        let organizations = &self.calls.organizations;
        let call = organizations.list_organizational_units_for_parent();
        let call = call.parent_id(parent).max_results(PAGE);
        let ask = |token| call.clone().set_next_token(token).send();
        let keep = |page: ListOrganizationalUnitsForParentOutput| {
            units.extend(page.organizational_units().iter().filter_map(|unit| {
                let id = unit.id()?;
                Some((id.to_owned(), unit.name().unwrap_or(id).to_owned()))
            }));
            page.next_token
        };
        match self.calls.turns.read(OPERATION, ask, keep).await {
            Err(error) if is_absent(&error) => Ok(units),
            read => read.map(|()| units),
        }
    }

    /// Finds where an account is that came without a path, by asking upwards until a unit is known.
    pub(super) async fn look_up(&self, units: &Units, account: &str) -> Result<Place, AwsError> {
        const OPERATION: &str = "organizations:ListParents";
        let mut below = Vec::new();
        let mut child = account.to_owned();
        for _ in 0..MOST_LEVELS {
            let ask = || {
                let call = self.calls.organizations.list_parents();
                call.child_id(&child).send()
            };
            let answer = self.calls.turns.ask(OPERATION, ask).await?;
            let parent = answer.parents().first().and_then(|parent| parent.id());
            let Some(parent) = parent.filter(|id| id.starts_with("ou-")) else {
                break;
            };
            if units.excluded.contains(parent) {
                return Ok(Place::Excluded);
            }
            if units.known.contains_key(parent) {
                let mut place = units.down_to(parent);
                place.extend(below.into_iter().rev());
                return Ok(Place::Within(place));
            }
            below.push(parent.to_owned());
            parent.clone_into(&mut child);
        }
        below.reverse();
        Ok(Place::Within(below))
    }
}
