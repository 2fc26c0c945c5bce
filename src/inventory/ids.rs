//! Owns the ids of lines of an inventory. Pure.

use crate::domain::{IntegrationId, InventoryId};
use sha2::{Digest, Sha256};

/// Names a thing for as long as it keeps its place and name.
pub(super) fn stable_id(integration: IntegrationId, kind: &str, parts: &[&str]) -> InventoryId {
    let mut hasher = Sha256::new();
    hasher.update(integration.as_uuid().as_bytes());
    for part in std::iter::once(&kind).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let whole = hasher.finalize();
    InventoryId::new(std::array::from_fn(|at| whole[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_places_apart_and_stay() {
        let integration = IntegrationId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
        let other = IntegrationId::parse("018f0000-0000-7000-8000-000000000002").unwrap();
        let one = stable_id(integration, "schema", &["ab", "c"]);
        assert_eq!(one, stable_id(integration, "schema", &["ab", "c"]));
        assert_ne!(one, stable_id(integration, "schema", &["a", "bc"]));
        assert_ne!(one, stable_id(other, "schema", &["ab", "c"]));
        assert_ne!(
            one,
            stable_id(integration, "access", &["schema", "ab", "c"])
        );
    }
}
