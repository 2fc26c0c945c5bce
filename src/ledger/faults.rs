//! Owns disks that fail on purpose. Without the feature `test-util` there is nothing to switch.

#[cfg(not(feature = "test-util"))]
pub(super) use absent::Faults;
#[cfg(feature = "test-util")]
pub use switch::Faults;

#[cfg(not(feature = "test-util"))]
mod absent {
    use std::io;

    /// The disk fails on its own only.
    #[derive(Debug, Clone, Default)]
    pub(in crate::ledger) struct Faults(());

    impl Faults {
        #[expect(clippy::unused_self, reason = "stands in for the switch of tests")]
        pub(in crate::ledger) fn begin_commit(&self) {}

        #[expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "stands in for the switch of tests"
        )]
        pub(in crate::ledger) fn check(&self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(feature = "test-util")]
mod switch {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    /// A switch that makes writes of the ledger fail. Clones share it.
    #[derive(Debug, Clone, Default)]
    pub struct Faults(Arc<Inner>);

    #[derive(Debug, Default)]
    struct Inner {
        commits: AtomicU64,
        fail: Mutex<Option<(u64, io::ErrorKind)>>,
    }

    impl Faults {
        /// Makes every write fail like this, from the `nth` commit on (counting from 1 over the life of the switch),
        /// until [`Self::heal`]. A failed commit is tried again by the ledger, which counts as well.
        pub fn fail_from_commit(&self, nth: u64, kind: io::ErrorKind) {
            *self.fail() = Some((nth, kind));
        }

        /// Makes every write fail from now on as a full disk does.
        pub fn fill_disk(&self) {
            self.fail_from_commit(0, io::ErrorKind::StorageFull);
        }

        /// Lets writes succeed again.
        pub fn heal(&self) {
            *self.fail() = None;
        }

        /// Returns how many commits were begun.
        #[must_use]
        pub fn commits(&self) -> u64 {
            self.0.commits.load(Ordering::SeqCst)
        }

        pub(in crate::ledger) fn begin_commit(&self) {
            self.0.commits.fetch_add(1, Ordering::SeqCst);
        }

        pub(in crate::ledger) fn check(&self) -> io::Result<()> {
            match *self.fail() {
                Some((nth, kind)) if self.commits() >= nth => Err(kind.into()),
                _ => Ok(()),
            }
        }

        fn fail(&self) -> MutexGuard<'_, Option<(u64, io::ErrorKind)>> {
            self.0.fail.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
