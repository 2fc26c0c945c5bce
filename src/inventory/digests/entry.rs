//! Owns one line of a digest file, and how a record becomes one. Never reads or writes a file.

use crate::domain::{
    AccessRecord, Discovered, InventoryId, InventoryRecord, RecordStatus, SecretRef,
};
use sha2::{Digest as _, Sha256};

/// What was reported of one record: id 16 bytes, digest 16, scope 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::inventory) struct Entry {
    pub(in crate::inventory) id: InventoryId,
    digest: Digest,
    pub(in crate::inventory) scope: Scope,
}

/// The first half of a SHA-256 over all that is reported of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest([u8; 16]);

/// Names the outermost thing a record lies within; nothing for what is outermost itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::inventory) struct Scope(u64);

impl Entry {
    /// Length of an entry on disk.
    pub(super) const BYTES: usize = 40;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.id.as_bytes());
        bytes[16..32].copy_from_slice(&self.digest.0);
        bytes[32..].copy_from_slice(&self.scope.0.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let half = |from: usize| std::array::from_fn(|at| bytes[from + at]);
        Self {
            id: InventoryId::new(half(0)),
            digest: Digest(half(16)),
            scope: Scope(u64::from_be_bytes(std::array::from_fn(|at| bytes[32 + at]))),
        }
    }

    /// Returns what is kept of an id a walk met twice: the same as met once, or what no record is equal to, so that it is sent again next time.
    pub(super) fn met_again(self, before: Self) -> Self {
        if self == before {
            return self;
        }
        Self {
            digest: Digest([0; 16]),
            ..self
        }
    }

    pub(in crate::inventory) fn of_resource(record: &InventoryRecord) -> Self {
        // Taken apart, so that a new field cannot be forgotten.
        let InventoryRecord {
            id,
            native_id,
            name,
            path,
            kind,
            flavour,
            owner,
            comment,
            tags,
            context,
            permissions,
            status,
            part,
            discovered,
        } = record;
        let mut hash = Fields::default();
        hash.add("resource").add(kind.as_str()).list(path);
        hash.add(native_id).add(name).add(flavour);
        hash.option(owner.as_deref()).option(comment.as_deref());
        hash.count(tags.len());
        for (key, value) in tags {
            hash.add(key).add(value);
        }
        hash.count(context.len());
        for (name, value) in context {
            hash.add(name).add(value);
        }
        hash.count(permissions.len());
        for permission in permissions {
            hash.add(permission.as_str());
        }
        hash.option(match status {
            RecordStatus::Active => None,
            RecordStatus::Error(reason) => Some(reason),
        });
        hash.option(part.as_deref());
        if let Some(found) = discovered {
            let Discovered {
                name,
                kind,
                settings,
                secret,
            } = &**found;
            hash.add(name).add(kind).count(settings.len());
            for (key, value) in settings {
                hash.add(key).add(value);
            }
            hash.option(secret.as_ref().map(SecretRef::as_str));
        }
        Self {
            id: *id,
            digest: hash.digest(),
            scope: match part {
                Some(part) => Scope::within(part),
                None => Scope::of(path),
            },
        }
    }

    pub(in crate::inventory) fn of_access(record: &AccessRecord) -> Self {
        let AccessRecord {
            id,
            holder,
            kind,
            path,
            privileges,
            may_pass_on,
        } = record;
        let mut hash = Fields::default();
        hash.add("access").add(kind.as_str()).list(path);
        hash.option(holder.as_deref());
        hash.list(privileges).list(may_pass_on);
        let scope = match path.as_slice() {
            [outermost] if kind.has_access_within() => Scope::within(outermost),
            _ => Scope::of(path),
        };
        Self {
            id: *id,
            digest: hash.digest(),
            scope,
        }
    }
}

impl Scope {
    fn of(path: &[String]) -> Self {
        match path {
            [outermost, _, ..] => Self::within(outermost),
            _ => Self(0),
        }
    }

    /// Names what lies within an outermost thing.
    pub(in crate::inventory) fn within(outermost: &str) -> Self {
        let mut hash = Fields::default();
        let Digest(digest) = hash.add(outermost).digest();
        let first = u64::from_be_bytes(std::array::from_fn(|at| digest[at]));
        Self(first.max(1))
    }
}

/// Hashes fields so that no two lists of fields run together.
#[derive(Default)]
struct Fields(Sha256);

impl Fields {
    fn count(&mut self, count: usize) -> &mut Self {
        self.0.update((count as u64).to_be_bytes());
        self
    }

    fn add(&mut self, text: &str) -> &mut Self {
        self.count(text.len());
        self.0.update(text);
        self
    }

    fn option(&mut self, text: Option<&str>) -> &mut Self {
        self.count(text.map_or(0, |_| 1));
        text.into_iter().for_each(|text| {
            self.add(text);
        });
        self
    }

    fn list(&mut self, texts: &[String]) -> &mut Self {
        self.count(texts.len());
        for text in texts {
            self.add(text);
        }
        self
    }

    fn digest(&mut self) -> Digest {
        let whole = std::mem::take(&mut self.0).finalize();
        Digest(std::array::from_fn(|at| whole[at]))
    }
}
