//! Owns what a permission set holds, and what must be changed to make it hold something else. Never calls anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a permission set holds, as far as accounts see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Definition {
    pub(super) description: Option<String>,
    /// ISO 8601, for example `PT1H`.
    pub(super) session: Option<String>,
    /// ARNs of policies of AWS.
    pub(super) managed: BTreeSet<String>,
    /// Policies that are in each account by the same name and path.
    pub(super) customer: BTreeSet<CustomerPolicy>,
    pub(super) inline: Option<Value>,
    pub(super) boundary: Option<Boundary>,
}

/// A policy the account itself has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomerPolicy {
    pub(super) name: String,
    #[serde(default = "root")]
    pub(super) path: String,
}

/// The most a set can ever allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Boundary {
    ManagedPolicy(String),
    CustomerManagedPolicy(CustomerPolicy),
}

fn root() -> String {
    "/".to_owned()
}

/// One call that changes a permission set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// Description and session duration; what is left out of the call would be cleared.
    Update {
        description: Option<String>,
        session: Option<String>,
    },
    AttachManaged(String),
    DetachManaged(String),
    AttachCustomer(CustomerPolicy),
    DetachCustomer(CustomerPolicy),
    PutInline(String),
    DeleteInline,
    PutBoundary(Boundary),
    DeleteBoundary,
}

impl Definition {
    /// Returns what a set that was just made holds: description and session are given when it is made.
    pub(super) fn just_made(&self) -> Self {
        Self {
            description: self.description.clone(),
            session: self.session.clone(),
            ..Self::default()
        }
    }

    /// Returns the edits that make a set hold this instead of `now`: what narrows it first.
    pub(super) fn edits_from(&self, now: &Self) -> Vec<Edit> {
        let mut edits = Vec::new();
        if let Some(boundary) = &self.boundary
            && now.boundary.as_ref() != Some(boundary)
        {
            edits.push(Edit::PutBoundary(boundary.clone()));
        }
        let managed = now.managed.difference(&self.managed).cloned();
        edits.extend(managed.map(Edit::DetachManaged));
        let customer = now.customer.difference(&self.customer).cloned();
        edits.extend(customer.map(Edit::DetachCustomer));
        match &self.inline {
            Some(inline) if now.inline.as_ref() != Some(inline) => {
                edits.push(Edit::PutInline(inline.to_string()));
            }
            None if now.inline.is_some() => edits.push(Edit::DeleteInline),
            _ => {}
        }
        if (&self.description, &self.session) != (&now.description, &now.session) {
            edits.push(Edit::Update {
                description: self.description.clone(),
                session: self.session.clone(),
            });
        }
        let managed = self.managed.difference(&now.managed).cloned();
        edits.extend(managed.map(Edit::AttachManaged));
        let customer = self.customer.difference(&now.customer).cloned();
        edits.extend(customer.map(Edit::AttachCustomer));
        if self.boundary.is_none() && now.boundary.is_some() {
            edits.push(Edit::DeleteBoundary);
        }
        edits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(name: &str) -> CustomerPolicy {
        CustomerPolicy {
            name: name.into(),
            path: root(),
        }
    }

    #[test]
    fn what_narrows_a_set_comes_before_what_widens_it_and_nothing_is_done_for_nothing() {
        let old = Definition {
            managed: ["a".into(), "b".into()].into(),
            customer: [policy("x")].into(),
            ..Definition::default()
        };
        let new = Definition {
            description: Some("new".into()),
            session: Some("PT1H".into()),
            managed: ["b".into(), "c".into()].into(),
            customer: [policy("y")].into(),
            inline: Some(json!({"Statement": []})),
            boundary: Some(Boundary::ManagedPolicy("m".into())),
        };
        let update = |definition: &Definition| Edit::Update {
            description: definition.description.clone(),
            session: definition.session.clone(),
        };
        assert_eq!(
            new.edits_from(&old),
            [
                Edit::PutBoundary(Boundary::ManagedPolicy("m".into())),
                Edit::DetachManaged("a".into()),
                Edit::DetachCustomer(policy("x")),
                Edit::PutInline("{\"Statement\":[]}".into()),
                update(&new),
                Edit::AttachManaged("c".into()),
                Edit::AttachCustomer(policy("y")),
            ]
        );
        assert_eq!(
            old.edits_from(&new),
            [
                Edit::DetachManaged("c".into()),
                Edit::DetachCustomer(policy("y")),
                Edit::DeleteInline,
                update(&old),
                Edit::AttachManaged("a".into()),
                Edit::AttachCustomer(policy("x")),
                Edit::DeleteBoundary,
            ]
        );
        assert_eq!(new.edits_from(&new), []);
        let made = new.edits_from(&new.just_made());
        assert!(!made.contains(&update(&new)) && made.len() == 5, "{made:?}");
    }
}
