//! Owns credentials between two fetches. Never writes one to a disk, and never keeps one beyond its time.

use super::{Credential, SecretError, SecretStore, Wanted};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

/// Most credentials kept; integrations are counted in hundreds.
const MAX_KEPT: usize = 1_000;
/// Time between two fetches that follow a refused log-in: many connections are refused at once, one fetch serves them all.
const ANEW_EVERY: Duration = Duration::from_secs(1);

/// A store in front of another: keeps a credential in memory for a short time, and asks for one credential once at a time.
pub struct KeptSecrets<S> {
    store: S,
    keep: Duration,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    wanted: Wanted,
    cell: Arc<AsyncMutex<Cell>>,
    /// When what is in the cell has to go.
    until: Instant,
}

#[derive(Default)]
struct Cell {
    last: Option<Last>,
}

/// The last fetch.
struct Last {
    began: Instant,
    ended: Instant,
    outcome: Result<Credential, SecretError>,
}

impl<S: SecretStore> KeptSecrets<S> {
    /// Keeps what `store` gives for `keep`; zero means that it is asked every time.
    #[must_use]
    pub fn new(store: S, keep: Duration) -> Self {
        Self {
            store,
            keep,
            entries: Mutex::default(),
        }
    }

    /// Returns a credential that is at most as old as the time set.
    ///
    /// # Errors
    /// What the store says. Who waited for a fetch that failed gets its error, and does not ask again.
    pub async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        if self.keep.is_zero() {
            return self.store.fetch(wanted).await;
        }
        let asked = Instant::now();
        let cell = self.cell(wanted);
        let mut cell = cell.lock().await;
        if let Some(last) = &cell.last {
            let good = last.outcome.is_ok() && last.ended.elapsed() < self.keep;
            if good || last.began >= asked {
                return last.outcome.clone();
            }
        }
        self.ask(wanted, &mut cell).await
    }

    /// Returns a credential other than the one a server refused, if the store has another by now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn fetch_anew(
        &self,
        wanted: &Wanted,
        refused: &Credential,
    ) -> Result<Option<Credential>, SecretError> {
        let other = |found: Credential| (!found.is_same(refused)).then_some(found);
        if self.keep.is_zero() {
            return self.store.fetch(wanted).await.map(other);
        }
        let cell = self.cell(wanted);
        let mut cell = cell.lock().await;
        if let Some(last) = &cell.last
            && (last.ended.elapsed() < ANEW_EVERY
                || last
                    .outcome
                    .as_ref()
                    .is_ok_and(|found| !found.is_same(refused)))
        {
            return last.outcome.clone().map(other);
        }
        self.ask(wanted, &mut cell).await.map(other)
    }

    /// Returns the credential before the present one, never kept.
    ///
    /// # Errors
    /// What the store says.
    pub async fn fetch_previous(&self, wanted: &Wanted) -> Result<Option<Credential>, SecretError> {
        self.store.fetch_previous(wanted).await
    }

    async fn ask(&self, wanted: &Wanted, cell: &mut Cell) -> Result<Credential, SecretError> {
        let began = Instant::now();
        let outcome = self.store.fetch(wanted).await;
        self.keep_until(wanted, Instant::now() + self.keep);
        cell.last = Some(Last {
            began,
            ended: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    /// Returns the place of one credential, and forgets those whose time is over.
    fn cell(&self, wanted: &Wanted) -> Arc<AsyncMutex<Cell>> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is being fetched is held by who fetches it.
        entries.retain(|entry| entry.until > now || Arc::strong_count(&entry.cell) > 1);
        if let Some(entry) = entries.iter().find(|entry| entry.wanted == *wanted) {
            return Arc::clone(&entry.cell);
        }
        if entries.len() >= MAX_KEPT {
            entries.remove(0);
        }
        let cell = Arc::default();
        entries.push(Entry {
            wanted: wanted.clone(),
            cell: Arc::clone(&cell),
            until: now + self.keep,
        });
        cell
    }

    fn keep_until(&self, wanted: &Wanted, until: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.iter_mut().find(|entry| entry.wanted == *wanted) {
            entry.until = until;
        }
    }
}

impl Credential {
    fn is_same(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose() == other.password.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SecretRef;
    use crate::secret::Secret;
    use crate::secrets::SecretProblem;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    /// Gives another password each time, after a second.
    #[derive(Default)]
    struct Counting {
        fetched: AtomicU32,
        away: AtomicBool,
        same: AtomicBool,
    }

    #[async_trait]
    impl SecretStore for Counting {
        async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let count = self.fetched.fetch_add(1, Ordering::SeqCst);
            if self.away.load(Ordering::SeqCst) {
                let place = wanted.reference.as_str();
                return Err(SecretError::new(place, SecretProblem::Unreachable, ""));
            }
            let shown = if self.same.load(Ordering::SeqCst) {
                0
            } else {
                count
            };
            Ok(Credential {
                username: "u".to_owned(),
                password: Secret::new(format!("p{shown}")),
                host: None,
            })
        }
    }

    fn wanted(path: &str) -> Wanted {
        Wanted {
            reference: SecretRef::parse(&format!("file:/{path}")).unwrap(),
            region: None,
            roles: Vec::new(),
        }
    }

    fn kept(seconds: u64) -> KeptSecrets<Arc<Counting>> {
        KeptSecrets::new(Arc::default(), Duration::from_secs(seconds))
    }

    async fn password(kept: &KeptSecrets<Arc<Counting>>) -> String {
        let found = kept.fetch(&wanted("a")).await.unwrap();
        found.password.expose().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_kept_for_the_time_set_and_no_longer() {
        let kept = kept(60);
        assert_eq!(password(&kept).await, "p0");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(password(&kept).await, "p0");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(password(&kept).await, "p1");
        tokio::time::advance(Duration::from_secs(200)).await;
        kept.fetch(&wanted("b")).await.unwrap();
        assert_eq!(kept.entries.lock().unwrap().len(), 1, "`a` is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_time_set_the_store_is_asked_every_time() {
        let kept = kept(0);
        assert_eq!(password(&kept).await, "p0");
        assert_eq!(password(&kept).await, "p1");
        assert!(kept.entries.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_are_answered_by_one_fetch() {
        let kept = kept(60);
        let wanted = wanted("a");
        let all = futures_util::future::join_all((0..50).map(|_| kept.fetch(&wanted))).await;
        assert!(
            all.iter()
                .all(|one| one.as_ref().unwrap().password.expose() == "p0")
        );
        assert_eq!(kept.store.fetched.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_fetch_that_failed_does_not_ask_again_and_the_next_one_does() {
        let kept = kept(60);
        kept.store.away.store(true, Ordering::SeqCst);
        let wanted = wanted("a");
        let all = futures_util::future::join_all((0..50).map(|_| kept.fetch(&wanted))).await;
        assert!(all.iter().all(Result::is_err));
        // Those who asked before the fetch began share it.
        assert_eq!(kept.store.fetched.load(Ordering::SeqCst), 1);
        kept.store.away.store(false, Ordering::SeqCst);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(password(&kept).await, "p1");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_one_fetch_serves_all_who_were_refused() {
        let kept = kept(60);
        let old = kept.fetch(&wanted("a")).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        let wanted = wanted("a");
        let anew = || kept.fetch_anew(&wanted, &old);
        let all = futures_util::future::join_all((0..50).map(|_| anew())).await;
        for one in all {
            assert_eq!(one.unwrap().unwrap().password.expose(), "p1");
        }
        assert_eq!(kept.store.fetched.load(Ordering::SeqCst), 2);
        assert_eq!(password(&kept).await, "p1", "the new one is the kept one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_change_is_not_given_again_nor_asked_for_all_the_time() {
        let kept = kept(60);
        kept.store.same.store(true, Ordering::SeqCst);
        let wanted = wanted("a");
        let old = kept.fetch(&wanted).await.unwrap();
        for _ in 0..20 {
            assert!(kept.fetch_anew(&wanted, &old).await.unwrap().is_none());
        }
        assert_eq!(kept.store.fetched.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(kept.fetch_anew(&wanted, &old).await.unwrap().is_none());
        assert_eq!(kept.store.fetched.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_kept() {
        let kept = kept(3600);
        for number in 0..MAX_KEPT + 10 {
            kept.cell(&wanted(&format!("n{number}")));
        }
        assert_eq!(kept.entries.lock().unwrap().len(), MAX_KEPT);
    }
}
