//! Owns the text of what is done of an end that cannot be recorded yet. Never runs it.

use super::end::{USER_LOCK_TIMEOUT, state_of};
use super::{begin, revoke, uuid};
use crate::domain::GrantId;

/// The first half of the door where the record cannot be written: takes the lock of the login if it is free, and reads.
///
/// Result sets: locked logins, then one row of `door::State`, if the grant is on record.
pub(in super::super) fn read(grant: GrantId) -> String {
    format!(
        "{}SELECT 'locked', name FROM apono.login WHERE name IN (SELECT login FROM apono.\"grant\" WHERE id = {}) FOR UPDATE;\n{}",
        begin(USER_LOCK_TIMEOUT),
        uuid(grant),
        state_of(grant)
    )
}

/// The second half: the membership goes, the record says nothing of it yet.
pub(in super::super) fn close(access_role: &str, login: &str) -> String {
    format!("{}COMMIT;\n", revoke(access_role, login))
}
