//! Owns the names of users and groups by their id, tightly packed: 200,000 of them, the quota, in about 15 MiB. Never asks anybody.

use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Most names kept. Whoever is beyond is asked for when met.
const MOST: usize = 250_000;

/// Who has an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    /// A user or group of that name, as `user:NAME` or `group:NAME`.
    Known(String),
    /// Nobody has it any more.
    Gone,
}

/// Names by id.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// All names, one after the other.
    letters: String,
    by_id: HashMap<u128, Place>,
}

/// Where a name is. A gone one has no letters.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    length: u16,
}

impl Names {
    /// Keeps a name with its prefix; with no name, that nobody has the id.
    pub(super) fn keep(&mut self, id: &str, prefix: &str, name: &str) {
        let length = if name.is_empty() {
            Some(0)
        } else {
            u16::try_from(prefix.len() + name.len()).ok()
        };
        let (Ok(at), Some(length)) = (u32::try_from(self.letters.len()), length) else {
            return;
        };
        if self.by_id.len() >= MOST {
            return;
        }
        if length > 0 {
            self.letters.push_str(prefix);
            self.letters.push_str(name);
        }
        self.by_id.insert(key(id), Place { at, length });
    }

    /// Returns who has an id; nothing when it was never met.
    pub(super) fn holder(&self, id: &str) -> Option<Holder> {
        let place = self.by_id.get(&key(id))?;
        if place.length == 0 {
            return Some(Holder::Gone);
        }
        let at = usize::try_from(place.at).ok()?;
        let name = self.letters.get(at..at + usize::from(place.length))?;
        Some(Holder::Known(name.to_owned()))
    }
}

/// Ids are long and look alike.
fn key(id: &str) -> u128 {
    let whole = Sha256::digest(id);
    u128::from_be_bytes(std::array::from_fn(|at| whole[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_with_what_they_are_and_gone_is_not_unknown() {
        let mut names = Names::default();
        names.keep("id-1", "user:", "alice/+=,.@-é");
        names.keep("id-2", "group:", "alice/+=,.@-é");
        names.keep("id-3", "", "");
        let known = |name: &str| Some(Holder::Known(name.to_owned()));
        assert_eq!(names.holder("id-1"), known("user:alice/+=,.@-é"));
        assert_eq!(names.holder("id-2"), known("group:alice/+=,.@-é"));
        assert_eq!(names.holder("id-3"), Some(Holder::Gone));
        assert_eq!(names.holder("id-4"), None);
    }

    #[test]
    fn two_hundred_thousand_names_stay_small() {
        let mut names = Names::default();
        for nth in 0..200_000 {
            names.keep(&format!("id-{nth}"), "user:", &format!("{nth:024}"));
        }
        let bytes = names.letters.capacity() + names.by_id.capacity() * 33;
        assert!(bytes < 24 << 20, "{bytes}");
        let last = names.holder("id-199999");
        assert_eq!(last, Some(Holder::Known(format!("user:{:024}", 199_999))));
    }
}
