//! Owns what the front can be told to do otherwise: everything nobody outside knows for sure has two settings here.

use std::time::Duration;

/// What a running operation keeps others from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockScope {
    AccountAndSet,
    Account,
}

/// Order of the bulk status lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    NewestFirst,
    Random,
}

/// What a page after the first begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    /// The row after the last one seen.
    AfterTheLast,
    /// The row with the next number: a row that goes meanwhile moves others over the edge, and one is never seen.
    ByNumber,
}

/// Answer of a region that is not the instance's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrongRegion {
    Denied,
    NotFound,
}

/// Settings of the front; the default is what documentation and the field agree on.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    /// Greatest distance between a signature's time and the front's clock.
    pub(crate) signature_age: Duration,
    /// Calls per second of the instance, and of the identity store; `None` counts nothing.
    pub(crate) requests_per_second: Option<u32>,
    /// Whether refused calls take from the bucket too.
    pub(crate) refused_calls_count: bool,
    /// Whether calls of Organizations have their buckets.
    pub(crate) organizations_pace: bool,
    pub(crate) wrong_region: WrongRegion,
    /// Assignments under way at once, and provisions.
    pub(crate) most_creates: usize,
    pub(crate) most_provisions: usize,
    pub(crate) deletes_count: bool,
    /// Creates of others in the same organization that are under way all the time.
    pub(crate) creates_of_others: usize,
    pub(crate) lock_scope: LockScope,
    /// How long an operation keeps its lock after its end.
    pub(crate) conflict_after: Duration,
    /// How long an edit of a permission set keeps other edits of the same set away.
    pub(crate) edit_lock: Duration,
    /// How long a permission set cannot be deleted after its last account went.
    pub(crate) deprovision_lag: Duration,
    /// Time an operation takes, least and most.
    pub(crate) due: (Duration, Duration),
    /// Time until an operation on a suspended account fails.
    pub(crate) suspended_due: Duration,
    /// How long lists show what was before.
    pub(crate) read_lag: Duration,
    pub(crate) status_visible_after: Duration,
    pub(crate) status_kept: Duration,
    pub(crate) status_order: Order,
    pub(crate) paging: Paging,
    /// Rows of a page when the caller does not say.
    pub(crate) page: usize,
    /// Whether a provision brings the definition of the moment it was accepted instead of that it runs at.
    pub(crate) provision_as_accepted: bool,
    /// Whether a further assignment brings a role that exists up to date.
    pub(crate) create_refreshes_role: bool,
    /// Whether a disabled user can be assigned.
    pub(crate) disabled_users_exist: bool,
    pub(crate) sets_per_instance: usize,
    pub(crate) sets_per_account: usize,
    /// Whether an inline policy of more than 10,240 bytes without white space is refused as a quota.
    pub(crate) inline_limit_is_a_quota: bool,
    /// Whether an update that leaves out description or duration keeps them.
    pub(crate) update_keeps_left_out: bool,
    /// Whether user names and e-mail addresses are looked up without regard to case.
    pub(crate) names_ignore_case: bool,
    /// Whether users carry `UserStatus`.
    pub(crate) user_status_shown: bool,
    /// Whether accounts still carry `Status` beside `State`.
    pub(crate) account_status_shown: bool,
    /// Whether accounts carry `Paths`.
    pub(crate) account_paths_shown: bool,
    /// Every so many pages of Organizations one is empty and has a token; 0 for never.
    pub(crate) empty_page_every: usize,
    /// Whether tags and a source identity a session inherited need their permissions on the next hop too.
    pub(crate) inherited_needs_permission: bool,
    /// Characters of session policies and tags that fit, packed.
    pub(crate) packed_limit: usize,
}

impl Default for Knobs {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            signature_age: 15 * 60 * second,
            requests_per_second: Some(20),
            refused_calls_count: false,
            organizations_pace: true,
            wrong_region: WrongRegion::Denied,
            most_creates: 15,
            most_provisions: 3,
            deletes_count: true,
            creates_of_others: 0,
            lock_scope: LockScope::AccountAndSet,
            conflict_after: Duration::ZERO,
            edit_lock: Duration::ZERO,
            deprovision_lag: Duration::ZERO,
            due: (second, 3 * second),
            suspended_due: 120 * second,
            read_lag: Duration::ZERO,
            status_visible_after: Duration::ZERO,
            status_kept: 24 * 3600 * second,
            status_order: Order::NewestFirst,
            paging: Paging::AfterTheLast,
            page: 100,
            provision_as_accepted: false,
            create_refreshes_role: false,
            disabled_users_exist: true,
            sets_per_instance: 3_500,
            sets_per_account: 500,
            inline_limit_is_a_quota: true,
            update_keeps_left_out: true,
            names_ignore_case: true,
            user_status_shown: true,
            account_status_shown: false,
            account_paths_shown: true,
            empty_page_every: 3,
            inherited_needs_permission: true,
            packed_limit: 2_048,
        }
    }
}

impl Knobs {
    /// Operations take next to no time, and nothing is counted: for tests of something else.
    pub(crate) fn quick() -> Self {
        Self {
            due: (Duration::from_millis(5), Duration::from_millis(20)),
            requests_per_second: None,
            organizations_pace: false,
            suspended_due: Duration::from_millis(200),
            ..Self::default()
        }
    }
}
