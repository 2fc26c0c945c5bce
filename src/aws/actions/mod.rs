//! Owns the one list of every IAM action the code needs, by feature. Never lets a call out that is not in it: see `wire`.
//!
//! `docs/permissions.md` is made from this list, and so are the policies people deploy with.

mod account;
mod identity_center;
mod layer;
mod page;
mod scope;

pub use layer::{Layer, Statement};
pub use page::page;
pub use scope::{Condition, PLACEHOLDERS, Scope};

/// A part of the product that can be used without the others, and so be allowed without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Roles are assumed.
    Sessions,
    /// The organization is read: accounts, permission sets, people, who is assigned what.
    OrganizationRead,
    /// Permission sets are assigned and taken away, but for the assigning itself.
    Assignments,
    /// Any permission set is assigned.
    AnyPermissionSet,
    /// Permission sets with a tag are assigned.
    TaggedPermissionSets,
    /// Permission sets are assigned in the management account.
    ManagementAccount,
    /// Permission sets are made, changed and removed.
    PermissionSets,
    /// Access for IAM users in one account.
    AccountAccess,
    /// Roles, groups, policies, buckets, instances and databases of an account are read.
    AccountInventory,
    /// Databases are found and entered.
    Rds,
    /// The connector's own credentials come from Secrets Manager.
    SecretsManager,
}

impl Feature {
    /// Every feature, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Sessions,
        Self::OrganizationRead,
        Self::Assignments,
        Self::AnyPermissionSet,
        Self::TaggedPermissionSets,
        Self::ManagementAccount,
        Self::PermissionSets,
        Self::AccountAccess,
        Self::AccountInventory,
        Self::Rds,
        Self::SecretsManager,
    ];

    /// Returns the stable snake_case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::OrganizationRead => "organization_read",
            Self::Assignments => "assignments",
            Self::AnyPermissionSet => "any_permission_set",
            Self::TaggedPermissionSets => "tagged_permission_sets",
            Self::ManagementAccount => "management_account",
            Self::PermissionSets => "permission_sets",
            Self::AccountAccess => "account_access",
            Self::AccountInventory => "account_inventory",
            Self::Rds => "rds",
            Self::SecretsManager => "secrets_manager",
        }
    }

    /// Returns what it is for, and which role needs its actions.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Sessions => {
                "Roles are assumed, one after the other. Needed by the connector's own role, and by every role that assumes a further one; the last three also in the trust policy of every role that is assumed."
            }
            Self::OrganizationRead => {
                "Accounts with their OUs and tags, permission sets, users, groups, and who is assigned what. Needed by the role in the management account or in the delegated administrator's."
            }
            Self::Assignments => {
                "Permission sets are assigned to users and groups in accounts, and taken away; the assigning itself is one of the next two. Needed by the role in the management account or in the delegated administrator's. Taking away is not narrowed: an end must not hang on a tag."
            }
            Self::AnyPermissionSet => "Any permission set may be assigned.",
            Self::TaggedPermissionSets => {
                "In the place of the one before: only permission sets with the tag `apono-connector-access` = `true` may be assigned, so that nobody can be given another one, whatever the control plane orders."
            }
            Self::ManagementAccount => {
                "Permission sets are assigned in the management account itself too, where AWS uses the caller's own rights. Needed by the role in the management account; a delegated administrator cannot have it."
            }
            Self::PermissionSets => {
                "Permission sets declared in an integration are made, changed and removed. Needed by the role in the management account or in the delegated administrator's, beside assignments."
            }
            Self::AccountAccess => {
                "IAM users of ours, or existing ones, get access for a limited time. Needed by the role in the account."
            }
            Self::AccountInventory => {
                "Roles, groups, policies, buckets, instances and databases with their tags. Needed by the role in the account."
            }
            Self::Rds => {
                "Database instances and clusters are found by their tags, and entered. Needed by the role in the database's account."
            }
            Self::SecretsManager => {
                "Credentials for databases come from Secrets Manager. Needed by the role in the secret's account."
            }
        }
    }
}

/// One IAM action.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// As policies spell it, for example `sso:CreateAccountAssignment`.
    pub name: &'static str,
    /// Whether the code makes a call of this name. The others are needed for a call of another name.
    pub called: bool,
    /// Which features need it.
    pub features: &'static [Feature],
    /// What it is needed for.
    pub what: &'static str,
    /// What is missing without it.
    pub without: &'static str,
    /// Where and when it is to be allowed: all of them, where there are several.
    pub scopes: &'static [&'static Scope],
}

impl Action {
    /// Returns the narrowest resources it can be allowed on, for people.
    #[must_use]
    pub fn resource(&self) -> String {
        scope::resources_told(self.scopes)
    }

    /// Returns the conditions that narrow it further, for people; empty where there are none.
    #[must_use]
    pub fn condition(&self) -> String {
        scope::conditions_told(self.scopes)
    }
}

/// Builds a list of actions, one to a line: name, features, what for, what is missing without, scopes.
macro_rules! actions {
    ($($how:ident $name:literal [$($feature:ident)+] $what:literal, $without:literal, [$($scope:expr)+];)+) => {
        &[$(Action {
            name: $name,
            called: actions!(@ $how),
            features: &[$(Feature::$feature),+],
            what: $what,
            without: $without,
            scopes: &[$($scope),+],
        }),+]
    };
    (@ call) => { true };
    (@ need) => { false };
}
use actions;

const LISTS: [&[Action]; 2] = [identity_center::ACTIONS, account::ACTIONS];

/// Every action, grouped by service.
pub fn all() -> impl Iterator<Item = &'static Action> {
    LISTS.into_iter().flatten()
}

/// Finds an action by its name: the first one, and one that is called before one that is only needed.
#[must_use]
pub fn find(name: &str) -> Option<&'static Action> {
    all()
        .filter(|action| action.name == name)
        .min_by_key(|action| !action.called)
}

/// Says whether the code may make a call of this name.
pub(super) fn may_call(name: &str) -> bool {
    find(name).is_some_and(|action| action.called)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_action_stands_once_with_all_that_is_to_be_said() {
        let mut seen = HashSet::new();
        for action in all() {
            for feature in action.features {
                let once = seen.insert((action.name, *feature));
                assert!(once, "`{}` twice for {feature:?}", action.name);
            }
            let (service, name) = action.name.split_once(':').unwrap();
            assert!(
                service.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{service}"
            );
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{name}");
            assert!(!action.features.is_empty());
            for text in [action.what, action.without, &action.resource()] {
                assert!(!text.is_empty() && !text.contains('|'), "{}", action.name);
            }
        }
        for feature in Feature::ALL {
            assert!(all().any(|action| action.features.contains(&feature)));
        }
    }

    #[test]
    fn every_action_the_code_names_is_in_the_list() {
        let mut seen = 0;
        let mut folders = vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    seen += named_in(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        assert!(seen > all().count());
    }

    /// Looks at every text literal that looks like an action; those of tests are meant too.
    fn named_in(source: &str) -> usize {
        let services: HashSet<_> = all()
            .filter_map(|action| action.name.split_once(':'))
            .map(|(service, _)| service)
            .collect();
        let actions = source.split('"').filter(|text| {
            text.split_once(':').is_some_and(|(service, name)| {
                services.contains(service)
                    && name.starts_with(|c: char| c.is_ascii_uppercase())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric())
            })
        });
        let keys: HashSet<_> = all()
            .flat_map(|action| action.scopes)
            .flat_map(|scope| scope.conditions)
            .map(|condition| condition.key)
            .collect();
        let unknown = ["sso:DeleteInstance", "sso:Test", "iam:CreateAccountAlias"];
        let mut count = 0;
        for action in actions.filter(|action| !unknown.contains(action) && !keys.contains(action)) {
            assert!(find(action).is_some(), "`{action}` is not in the list");
            count += 1;
        }
        count
    }

    #[test]
    fn every_action_that_is_listed_as_called_is_called() {
        let mut calling = String::new();
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("aws/actions") || path.ends_with("tests.rs") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let source = std::fs::read_to_string(path).unwrap();
                    calling += source.split("#[cfg(test)]").next().unwrap_or_default();
                }
            }
        }
        let listed = LISTS.into_iter().flatten();
        for action in listed.filter(|action| action.called) {
            let named = format!("\"{}\"", action.name);
            assert!(
                calling.contains(&named),
                "`{}` is listed and never called",
                action.name
            );
        }
    }

    #[test]
    fn what_is_needed_but_not_called_may_not_be_called() {
        assert!(may_call("sso:CreateAccountAssignment"));
        assert!(!may_call("rds-db:connect"));
        assert!(!may_call("sso:DeleteInstance"));
        assert!(!may_call("iam:CreateRole"));
    }
}
