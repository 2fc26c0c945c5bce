//! Owns what a test says the organization is like before the front starts.

use super::callers::Role;
use super::knobs::Knobs;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The account that owns every organization of the tests.
pub(crate) const MANAGEMENT: &str = "111111111111";
/// The instance's primary region.
pub(crate) const REGION: &str = "eu-west-1";

/// An organization with an Identity Center instance; at first its management account alone.
#[derive(Debug, Clone)]
pub(crate) struct Organization {
    pub(super) delegated: Option<String>,
    pub(super) accounts: Vec<Account>,
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<Group>,
    pub(super) sets: Vec<PermissionSet>,
    /// Account, permission set, principal.
    pub(super) assignments: Vec<(String, String, Name)>,
    pub(super) roles: Vec<Role>,
    pub(super) further_regions: Vec<String>,
    pub(super) permission_sets_enabled: bool,
    pub(super) knobs: Knobs,
    pub(super) seed: u64,
    pub(super) passes_to: Option<u16>,
}

/// A principal, by the name people use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    User(String),
    Group(String),
}

/// Life of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    PendingActivation,
    Active,
    Suspended,
    PendingClosure,
    Closed,
}

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) state: State,
    /// Names of the organizational units from the top, with `/` between them; empty for the root.
    pub(super) unit: String,
    pub(super) tags: BTreeMap<String, String>,
    /// Customer managed policies that are there, as path and name in lower case: they do not differ by case.
    pub(super) policies: BTreeSet<String>,
    /// Roles that are still allowed.
    pub(super) roles_left: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) disabled: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct PermissionSet {
    pub(super) name: String,
    pub(crate) description: Option<String>,
    pub(crate) session: Option<String>,
    pub(super) relay_state: Option<String>,
    pub(crate) managed: BTreeSet<String>,
    /// Path and name, as given.
    pub(crate) customer: BTreeSet<(String, String)>,
    pub(crate) inline: Option<String>,
    pub(crate) boundary: Option<Value>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Organization {
    pub(crate) fn new() -> Self {
        Self {
            delegated: None,
            accounts: vec![Account::new(MANAGEMENT).named("management")],
            users: Vec::new(),
            groups: Vec::new(),
            sets: Vec::new(),
            assignments: Vec::new(),
            roles: Vec::new(),
            further_regions: Vec::new(),
            permission_sets_enabled: true,
            knobs: Knobs::default(),
            seed: 1,
            passes_to: None,
        }
    }

    pub(crate) fn account(mut self, account: Account) -> Self {
        self.accounts.push(account);
        self
    }

    pub(crate) fn user(mut self, user: User) -> Self {
        self.users.push(user);
        self
    }

    pub(crate) fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    pub(crate) fn permission_set(mut self, set: PermissionSet) -> Self {
        self.sets.push(set);
        self
    }

    /// Has somebody assigned already, by names.
    pub(crate) fn assigned(mut self, account: &str, set: &str, principal: Name) -> Self {
        self.assignments
            .push((account.to_owned(), set.to_owned(), principal));
        self
    }

    pub(crate) fn role(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    /// Names the account that may manage the instance beside the management account.
    pub(crate) fn delegated_to(mut self, account: &str) -> Self {
        self.delegated = Some(account.to_owned());
        self
    }

    /// Replicates the instance to one more region, which answers instance reads alone.
    pub(crate) fn further_region(mut self, region: &str) -> Self {
        self.further_regions.push(region.to_owned());
        self
    }

    pub(crate) fn permission_sets_switched_off(mut self) -> Self {
        self.permission_sets_enabled = false;
        self
    }

    pub(crate) fn knobs(mut self, knobs: Knobs) -> Self {
        self.knobs = knobs;
        self
    }

    /// Passes what the front does not play to a server on this machine instead of the moto all tests have in common.
    pub(crate) fn passing_to(mut self, port: u16) -> Self {
        self.passes_to = Some(port);
        self
    }

    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Name {
    pub(crate) fn user(name: &str) -> Self {
        Self::User(name.to_owned())
    }

    pub(crate) fn group(name: &str) -> Self {
        Self::Group(name.to_owned())
    }
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::PendingActivation => "PENDING_ACTIVATION",
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::PendingClosure => "PENDING_CLOSURE",
            Self::Closed => "CLOSED",
        }
    }

    /// The word of the member that is going away; there is none for an account that is not active yet.
    pub(super) fn status(self) -> Option<&'static str> {
        match self {
            Self::PendingActivation => None,
            Self::Active => Some("ACTIVE"),
            Self::Suspended | Self::Closed => Some("SUSPENDED"),
            Self::PendingClosure => Some("PENDING_CLOSURE"),
        }
    }

    pub(super) fn is_usable(self) -> bool {
        matches!(self, Self::Active | Self::PendingClosure)
    }
}

impl Account {
    /// An active account in the root.
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: format!("account-{id}"),
            state: State::Active,
            unit: String::new(),
            tags: BTreeMap::new(),
            policies: BTreeSet::new(),
            roles_left: 1_000,
        }
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    /// Puts it into an organizational unit: `Prod/Payments`. Units that are not there are made.
    pub(crate) fn within(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    pub(crate) fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Has a customer managed policy, given as path and name: `/team/limits`.
    pub(crate) fn policy(mut self, policy: &str) -> Self {
        self.policies.insert(policy.to_ascii_lowercase());
        self
    }

    pub(crate) fn roles_left(mut self, roles: usize) -> Self {
        self.roles_left = roles;
        self
    }
}

impl User {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            email: None,
            disabled: false,
        }
    }

    pub(crate) fn email(mut self, email: &str) -> Self {
        self.email = Some(email.to_owned());
        self
    }

    pub(crate) fn disabled(mut self) -> Self {
        self.disabled = true;
        self
    }
}

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            members: Vec::new(),
        }
    }

    pub(crate) fn member(mut self, user: &str) -> Self {
        self.members.push(user.to_owned());
        self
    }
}

impl PermissionSet {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn description(mut self, text: &str) -> Self {
        self.description = Some(text.to_owned());
        self
    }

    /// As ISO 8601: `PT8H`.
    pub(crate) fn session(mut self, duration: &str) -> Self {
        self.session = Some(duration.to_owned());
        self
    }

    pub(crate) fn managed(mut self, arn: &str) -> Self {
        self.managed.insert(arn.to_owned());
        self
    }

    pub(crate) fn customer(mut self, path: &str, name: &str) -> Self {
        self.customer.insert((path.to_owned(), name.to_owned()));
        self
    }

    pub(crate) fn inline(mut self, policy: &str) -> Self {
        self.inline = Some(policy.to_owned());
        self
    }

    pub(crate) fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    /// How many of AWS's own policies are attached.
    pub(crate) fn managed_count(&self) -> usize {
        self.managed.len()
    }
}
