//! Owns the world of the front: everything that stays between two calls.

use super::callers::Callers;
use super::chance::{Chance, digest, uuid_of};
use super::clock::{Moment, milliseconds};
use super::faults::Faults;
use super::knobs::Knobs;
use super::observe::Seen;
use super::operations::Operations;
use super::organization::{
    Account, Group, MANAGEMENT, Name, Organization, PermissionSet, REGION, User,
};
use super::pace::Paces;
use super::rows::{Assignment, Principal, Rows};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Everything.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) knobs: Knobs,
    pub(super) chance: Chance,
    pub(super) tree: Tree,
    pub(super) instance: Instance,
    pub(super) sets: BTreeMap<Arc<str>, Set>,
    /// Permission sets with a role in an account, by account.
    pub(super) provisioned: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) rows: Rows,
    pub(super) operations: Operations,
    pub(super) store: Store,
    pub(super) callers: Callers,
    pub(super) paces: Paces,
    pub(super) faults: Faults,
    /// Port of whoever plays what the front does not; moto, if nobody is named.
    pub(super) passes_to: Option<u16>,
    pub(super) seen: Seen,
}

/// Accounts and organizational units.
pub(super) struct Tree {
    pub(super) id: String,
    pub(super) root: String,
    pub(super) delegated: Option<String>,
    pub(super) accounts: BTreeMap<String, Account>,
    /// Units by id.
    pub(super) units: BTreeMap<String, Unit>,
    pub(super) pages: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) parent: String,
}

pub(super) struct Instance {
    pub(super) arn: String,
    pub(super) id: String,
    pub(super) store: String,
    pub(super) further_regions: Vec<String>,
    pub(super) permission_sets_enabled: bool,
    pub(super) created: Moment,
}

pub(super) struct Set {
    pub(super) definition: PermissionSet,
    /// Rises with every change that accounts get to see.
    pub(super) revision: u64,
    pub(super) created: Moment,
    pub(super) accounts: BTreeMap<Arc<str>, Provisioned>,
    /// Whether it was ever assigned in the management account: then a delegated administrator has lost it.
    pub(super) touched_management: bool,
    pub(super) last_left: Option<Moment>,
    pub(super) edited: Option<Moment>,
}

/// The role of a permission set in an account.
#[derive(Debug, Clone)]
pub(super) struct Provisioned {
    pub(super) revision: u64,
    pub(super) suffix: String,
}

/// Users and groups, by id.
#[derive(Default)]
pub(super) struct Store {
    pub(super) users: BTreeMap<String, User>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Membership id to group and user.
    pub(super) memberships: BTreeMap<String, (String, String)>,
    pub(super) by_pair: HashMap<(String, String), String>,
}

impl World {
    pub(super) fn of(organization: Organization, now: Moment) -> Self {
        let seed = organization.seed;
        let word = seed.to_string();
        let mut chance = Chance::of(seed);
        let instance = Instance {
            arn: format!(
                "arn:aws:sso:::instance/ssoins-{}",
                &digest(&[&word, "instance"])[..16]
            ),
            id: format!("ssoins-{}", &digest(&[&word, "instance"])[..16]),
            store: format!("d-{}", &digest(&[&word, "store"])[..10]),
            further_regions: organization.further_regions,
            permission_sets_enabled: organization.permission_sets_enabled,
            created: now,
        };
        let tree = tree(&word, organization.delegated, organization.accounts);
        let store = store(&word, organization.users, &organization.groups);
        let mut world = Self {
            seed,
            chance: Chance::of(chance_seed(&mut chance)),
            knobs: organization.knobs,
            tree,
            instance,
            sets: BTreeMap::new(),
            provisioned: HashMap::new(),
            rows: Rows::default(),
            operations: Operations::default(),
            store,
            callers: Callers::default(),
            paces: Paces::default(),
            faults: Faults::default(),
            passes_to: organization.passes_to,
            seen: Seen::default(),
        };
        let mut sets = HashMap::new();
        let mut principals: HashMap<Name, Principal> = HashMap::new();
        for definition in organization.sets {
            let name = definition.name.clone();
            sets.insert(name, world.add_set(definition, now));
        }
        for (account, set, name) in organization.assignments {
            let set = sets
                .get(&set)
                .unwrap_or_else(|| panic!("no permission set {set}"));
            let found = principals
                .entry(name)
                .or_insert_with_key(|name| world.principal(name));
            let assignment = Assignment {
                account: account.into(),
                set: Arc::clone(set),
                principal: found.clone(),
            };
            // Long enough ago to be seen in spite of every lag.
            world.assign(
                &assignment,
                now - milliseconds(std::time::Duration::from_secs(3600)),
            );
        }
        for role in organization.roles {
            world.callers.roles.insert(role.arn.clone(), role);
        }
        world
    }

    pub(super) fn add_set(&mut self, definition: PermissionSet, now: Moment) -> Arc<str> {
        let arn = self.set_arn(&definition.name, self.sets.len());
        let set = Set {
            definition,
            revision: 1,
            created: now,
            accounts: BTreeMap::new(),
            touched_management: false,
            last_left: None,
            edited: None,
        };
        self.sets.insert(Arc::clone(&arn), set);
        arn
    }

    /// A set that is made again under the same name is another one.
    fn set_arn(&self, name: &str, number: usize) -> Arc<str> {
        let mut number = number;
        loop {
            let id = &digest(&[&self.seed.to_string(), "set", name, &number.to_string()])[..16];
            let arn = format!("arn:aws:sso:::permissionSet/{}/ps-{id}", self.instance.id);
            if !self.sets.contains_key(arn.as_str()) {
                return arn.into();
            }
            number += 1;
        }
    }

    pub(super) fn principal(&self, name: &Name) -> Principal {
        let (kind, name) = match name {
            Name::User(name) => ("USER", name),
            Name::Group(name) => ("GROUP", name),
        };
        let id = match kind {
            "USER" => self
                .store
                .users
                .iter()
                .find(|(_, user)| user.name == *name)
                .map(|(id, _)| id),
            _ => self
                .store
                .groups
                .iter()
                .find(|(_, group)| group.name == *name)
                .map(|(id, _)| id),
        };
        let id = id.unwrap_or_else(|| panic!("no {kind} {name}"));
        Principal {
            kind: kind.into(),
            id: id.as_str().into(),
        }
    }

    /// Puts an assignment into effect; makes the role if it is the first of its permission set in the account.
    pub(super) fn assign(&mut self, assignment: &Assignment, now: Moment) {
        self.rows.add(assignment, now);
        let refresh = self.knobs.create_refreshes_role;
        let suffix = self.chance.hex(16);
        let set = self.sets.get_mut(&assignment.set).unwrap();
        set.touched_management |= &*assignment.account == MANAGEMENT;
        let revision = set.revision;
        let role = set
            .accounts
            .entry(Arc::clone(&assignment.account))
            .or_insert(Provisioned { revision, suffix });
        if refresh {
            role.revision = revision;
        }
        self.provisioned
            .entry(Arc::clone(&assignment.account))
            .or_default()
            .insert(Arc::clone(&assignment.set));
    }

    /// Takes an assignment away, and the role with the last one. Returns false if it was not there.
    pub(super) fn unassign(&mut self, assignment: &Assignment, now: Moment) -> bool {
        let lag = milliseconds(self.knobs.read_lag);
        if !self.rows.remove(assignment, now, lag) {
            return false;
        }
        if self.rows.any(&assignment.account, &assignment.set) {
            return true;
        }
        if let Some(role) = self.role_arn(&assignment.account, &assignment.set) {
            self.callers.end_sessions_of(&role);
        }
        if let Some(set) = self.sets.get_mut(&assignment.set) {
            set.accounts.remove(&assignment.account);
            set.last_left = Some(now);
        }
        if let Some(sets) = self.provisioned.get_mut(&assignment.account) {
            sets.remove(&assignment.set);
        }
        true
    }

    /// Returns the role a permission set has in an account.
    pub(super) fn role_arn(&self, account: &str, set: &str) -> Option<String> {
        let set = self.sets.get(set)?;
        let suffix = &set.accounts.get(account)?.suffix;
        let name = &set.definition.name;
        Some(format!(
            "arn:aws:iam::{account}:role/aws-reserved/sso.amazonaws.com/{REGION}/AWSReservedSSO_{name}_{suffix}"
        ))
    }

    pub(super) fn lag(&self) -> i64 {
        milliseconds(self.knobs.read_lag)
    }
}

fn chance_seed(chance: &mut Chance) -> u64 {
    u64::from_str_radix(&chance.hex(15), 16).unwrap()
}

fn tree(word: &str, delegated: Option<String>, accounts: Vec<Account>) -> Tree {
    let id = format!("o-{}", &digest(&[word, "organization"])[..10]);
    let tail = &digest(&[word, "root"])[..4];
    let root = format!("r-{tail}");
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    for account in &accounts {
        let mut parent = root.clone();
        let mut path = String::new();
        for name in account.unit.split('/').filter(|name| !name.is_empty()) {
            path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let unit = unit_id(word, &path);
            units.insert(
                unit.clone(),
                Unit {
                    name: name.to_owned(),
                    parent,
                },
            );
            parent = unit;
        }
    }
    let accounts = accounts
        .into_iter()
        .map(|account| (account.id.clone(), account))
        .collect();
    Tree {
        id,
        root,
        delegated,
        accounts,
        units,
        pages: 0,
    }
}

/// Returns the id of an organizational unit, given as names from the top.
pub(super) fn unit_id(word: &str, path: &str) -> String {
    format!(
        "ou-{}-{}",
        &digest(&[word, "root"])[..4],
        &digest(&[word, "unit", path])[..8]
    )
}

fn store(word: &str, users: Vec<User>, groups: &[Group]) -> Store {
    let mut store = Store::default();
    let mut ids: HashMap<String, String> = HashMap::new();
    for user in users {
        let id = uuid_of(&digest(&[word, "user", &user.name]));
        ids.insert(user.name.clone(), id.clone());
        store.users.insert(id, user);
    }
    for group in groups {
        let id = uuid_of(&digest(&[word, "group", &group.name]));
        for member in &group.members {
            let user = ids
                .get(member)
                .unwrap_or_else(|| panic!("no user {member}"));
            store.join(word, &id, user);
        }
        store.groups.insert(id, group.clone());
    }
    store
}

impl Store {
    /// Returns the membership's id.
    pub(super) fn join(&mut self, word: &str, group: &str, user: &str) -> String {
        let id = uuid_of(&digest(&[word, "membership", group, user]));
        self.memberships
            .insert(id.clone(), (group.to_owned(), user.to_owned()));
        self.by_pair
            .insert((group.to_owned(), user.to_owned()), id.clone());
        id
    }
}
