//! Owns what a test asks the front, and what others do in the organization meanwhile: administrators, auditors, accidents.

use super::faults::{Fault, Fired};
use super::knobs::Knobs;
use super::observe::Call;
use super::operations::Kind;
use super::organization::{Name, PermissionSet, State, User};
use super::rows::{Assignment, Span};
use super::state::{Set, World};
use super::{Front, callers::Role};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at what is under way.
const STEP: Duration = Duration::from_millis(5);

/// Names and ids.
impl Front {
    pub(crate) fn instance_arn(&self) -> String {
        self.world().instance.arn.clone()
    }

    pub(crate) fn store_id(&self) -> String {
        self.world().instance.store.clone()
    }

    /// Returns the id of a user or group.
    pub(crate) fn id_of(&self, name: &Name) -> String {
        self.world().principal(name).id.to_string()
    }

    pub(crate) fn set_arn(&self, name: &str) -> String {
        self.world().set_named(name).to_string()
    }

    /// Returns the id of an organizational unit, by the names from the top: `Prod/Payments`.
    pub(crate) fn unit_id(&self, path: &str) -> String {
        self.world().unit_id(path)
    }

    /// Returns the role a permission set has in an account right now.
    pub(crate) fn role_arn(&self, account: &str, set: &str) -> Option<String> {
        let world = self.world();
        world.role_arn(account, &world.set_named(set))
    }

    /// Returns the permission sets there are, by name.
    pub(crate) fn set_names(&self) -> Vec<String> {
        self.world()
            .sets
            .values()
            .map(|set| set.definition.name.clone())
            .collect()
    }

    /// Returns the definition of a permission set.
    pub(crate) fn definition(&self, set: &str) -> PermissionSet {
        let world = self.world();
        world.sets[&world.set_named(set)].definition.clone()
    }
}

/// What was seen.
impl Front {
    /// Returns the assignments in effect, whatever lists show.
    pub(crate) fn assignments(&self) -> Vec<Assignment> {
        self.world().rows.all()
    }

    pub(crate) fn is_assigned(&self, account: &str, set: &str, name: &Name) -> bool {
        let world = self.world();
        world.rows.has(&world.assignment(account, set, name))
    }

    /// Returns when each assignment came and went, oldest first.
    pub(crate) fn history(&self) -> Vec<Span> {
        self.world().rows.history.clone()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.world().seen.calls.clone()
    }

    pub(crate) fn calls_of(&self, operation: &str) -> Vec<Call> {
        let world = self.world();
        world
            .seen
            .calls
            .iter()
            .filter(|call| call.operation == operation)
            .cloned()
            .collect()
    }

    /// Returns the most operations of a kind that were under way at once.
    pub(crate) fn most_outstanding(&self, kind: Kind) -> usize {
        self.world()
            .seen
            .most_outstanding
            .get(&kind)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn running(&self, kind: Kind) -> usize {
        self.world().running(kind)
    }

    /// Returns the most calls of a service, as signed, within any one second.
    pub(crate) fn most_in_a_second(&self, service: &str) -> usize {
        self.world().seen.most_in_a_second(service)
    }
}

/// What goes wrong, and what others do.
impl Front {
    /// Has calls of an operation go wrong: some pass first, then so many are struck.
    pub(crate) fn fault(&self, operation: &str, skip: usize, times: usize, fault: Fault) -> Fired {
        self.world().faults.plan(operation, skip, times, fault)
    }

    pub(crate) fn turn(&self, knobs: impl FnOnce(&mut Knobs)) {
        knobs(&mut self.world().knobs);
    }

    /// Somebody assigns by hand.
    pub(crate) fn assign(&self, account: &str, set: &str, name: &Name) {
        let now = self.inner.clock.moment();
        let mut world = self.world();
        let assignment = world.assignment(account, set, name);
        world.assign(&assignment, now);
    }

    /// Somebody takes an assignment away by hand. Says no if it was not there.
    pub(crate) fn unassign(&self, account: &str, set: &str, name: &Name) -> bool {
        let now = self.inner.clock.moment();
        let mut world = self.world();
        let assignment = world.assignment(account, set, name);
        world.unassign(&assignment, now)
    }

    pub(crate) fn set_state(&self, account: &str, state: State) {
        self.world().tree.accounts.get_mut(account).unwrap().state = state;
    }

    /// An account leaves the organization.
    pub(crate) fn remove_account(&self, account: &str) {
        self.world().tree.accounts.remove(account).unwrap();
    }

    pub(crate) fn add_user(&self, user: User) {
        let mut world = self.world();
        let id = world.chance.uuid();
        world.store.users.insert(id, user);
    }

    /// Deletes a user; its assignments stay, with an id nobody has.
    pub(crate) fn remove_user(&self, name: &str) {
        let mut world = self.world();
        let id = world.principal(&Name::user(name)).id;
        world.store.users.remove(&*id);
    }

    pub(crate) fn disable_user(&self, name: &str) {
        let mut world = self.world();
        let id = world.principal(&Name::user(name)).id;
        world.store.users.get_mut(&*id).unwrap().disabled = true;
    }

    /// Somebody makes a permission set by hand.
    pub(crate) fn make_set(&self, definition: PermissionSet) {
        let now = self.inner.clock.moment();
        self.world().add_set(definition, now);
    }

    /// Tells whether an account has a permission set as it is defined now.
    pub(crate) fn is_current(&self, account: &str, set: &str) -> bool {
        let world = self.world();
        let set = &world.sets[&world.set_named(set)];
        let role = set.accounts.get(account);
        role.is_some_and(|role| role.revision == set.revision)
    }

    /// Somebody edits a permission set by hand.
    pub(crate) fn edit_set(&self, set: &str, change: impl FnOnce(&mut PermissionSet)) {
        self.edit(set, |set| {
            change(&mut set.definition);
            set.revision += 1;
        });
    }

    /// Somebody changes tags by hand, which takes no provisioning.
    pub(crate) fn untag_set(&self, set: &str, key: &str) {
        self.edit(set, |set| drop(set.definition.tags.remove(key)));
    }

    /// Makes the role of a permission set in an account anew, under another name.
    pub(crate) fn remake_role(&self, account: &str, set: &str) {
        let suffix = self.world().chance.hex(16);
        self.edit(set, |set| {
            set.accounts.get_mut(account).unwrap().suffix = suffix
        });
    }

    pub(crate) fn add_role(&self, role: Role) {
        self.world().callers.roles.insert(role.arn.clone(), role);
    }

    /// Ends every session of a role at once.
    pub(crate) fn end_sessions_of(&self, role: &str) {
        self.world().callers.end_sessions_of(role);
    }

    fn edit(&self, set: &str, change: impl FnOnce(&mut Set)) {
        let mut world = self.world();
        let arn = world.set_named(set);
        change(world.sets.get_mut(&arn).unwrap());
    }

    /// Waits until nothing is under way. A clock that stands still is moved no further than it takes.
    pub(crate) async fn rest(&self, most: Duration) {
        let end = std::time::Instant::now() + most;
        while [Kind::Create, Kind::Delete, Kind::Provision]
            .iter()
            .any(|kind| self.running(*kind) > 0)
        {
            assert!(
                std::time::Instant::now() < end,
                "operations are still under way"
            );
            if self.clock().is_stopped() {
                self.clock().advance(STEP);
            } else {
                tokio::time::sleep(STEP).await;
            }
        }
    }
}

impl World {
    fn set_named(&self, name: &str) -> Arc<str> {
        let found = self
            .sets
            .iter()
            .find(|(_, set)| set.definition.name == name);
        Arc::clone(
            found
                .unwrap_or_else(|| panic!("no permission set {name}"))
                .0,
        )
    }

    fn assignment(&self, account: &str, set: &str, name: &Name) -> Assignment {
        Assignment {
            account: account.into(),
            set: self.set_named(set),
            principal: self.principal(name),
        }
    }
}
