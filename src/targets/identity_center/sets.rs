//! Owns the names of permission sets by their ARN, as far as they were read. A name never changes; sets come and go.

use super::asking::Asking;
use super::service::{PermissionSet, Service};
use crate::aws::AwsError;
use crate::domain::ErrorClass;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Permission sets that were met.
#[derive(Debug, Default)]
pub(super) struct Sets(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_arn: HashMap<String, PermissionSet>,
    /// When the last list was asked for of which every name is known.
    complete: Option<Instant>,
}

impl Sets {
    pub(super) fn named(&self, name: &str) -> Option<PermissionSet> {
        self.with(|known| {
            let mut sets = known.by_arn.values();
            sets.find(|set| set.name == name).cloned()
        })
    }

    /// Returns all sets whose name fits.
    pub(super) fn all(&self, fits: impl Fn(&str) -> bool) -> Vec<PermissionSet> {
        self.with(|known| {
            let sets = known.by_arn.values();
            sets.filter(|set| fits(&set.name)).cloned().collect()
        })
    }

    pub(super) fn keep(&self, set: PermissionSet) {
        self.with(|known| known.by_arn.insert(set.arn.clone(), set));
    }

    pub(super) fn forget(&self, arn: &str) {
        self.with(|known| known.by_arn.remove(arn));
    }

    /// Reads all names, unless that was done lately.
    pub(super) async fn refresh(
        &self,
        service: &Service,
        by: Asking<'_>,
        lately: Duration,
    ) -> Result<(), AwsError> {
        let complete = self.with(|known| known.complete);
        if complete.is_some_and(|at| at.elapsed() < lately) {
            return Ok(());
        }
        self.look(service, by, None).await
    }

    /// Reads the names that are new since the last look, up to the one that is looked for.
    pub(super) async fn look(
        &self,
        service: &Service,
        by: Asking<'_>,
        name: Option<&str>,
    ) -> Result<(), AwsError> {
        let begun = Instant::now();
        let arns = service.permission_sets(by).await?;
        self.with(|known| known.by_arn.retain(|arn, _| arns.contains(arn)));
        for arn in arns {
            if self.with(|known| known.by_arn.contains_key(&arn)) {
                continue;
            }
            let set = match service.permission_set(by, &arn).await {
                // Removed since the list was made.
                Err(error) if error.class() == ErrorClass::NotFound => continue,
                set => set?,
            };
            let is_it = name == Some(set.name.as_str());
            self.keep(set);
            if is_it {
                return Ok(());
            }
        }
        self.with(|known| known.complete = Some(begun));
        Ok(())
    }

    fn with<R>(&self, with: impl FnOnce(&mut Known) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
