//! Owns the sessions at hand: when one is renewed, who renews it, how many are kept. Never asks for one itself.

use crate::aws::AwsError;
use crate::aws::chain::{Chain, Purpose};
use crate::clock::SharedClock;
use aws_credential_types::Credentials;
use jiff::Timestamp;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A session this close to its end is not used any more: what is begun with it must be able to finish.
const MARGIN: Duration = Duration::from_secs(120);
/// Longest wait for a renewal ahead of time, while the session at hand is still good.
const AHEAD_WAIT: Duration = Duration::from_secs(3);
/// Time between two renewals ahead of time that fail.
const AHEAD_AGAIN: Duration = Duration::from_secs(30);
/// How long a failure is passed on to those who waited for the same session.
const SHARED_FAILURE: Duration = Duration::from_secs(1);
/// Most sessions at hand: every account of a large organization, and some hundred grants.
const MOST_SESSIONS: usize = 4096;

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) chain: Chain,
    pub(super) purpose: Purpose,
}

/// One session.
#[derive(Clone)]
pub(super) struct Session {
    credentials: Credentials,
    /// From when on it is renewed ahead: the middle of its life.
    renew: Timestamp,
    /// From when on it is not used.
    over: Timestamp,
}

impl Session {
    /// Takes credentials as they were got. Those without an end are taken to be good for a while only.
    pub(super) fn new(
        credentials: Credentials,
        now: Timestamp,
        without_end: Option<Duration>,
    ) -> Self {
        let end = credentials
            .expiry()
            .and_then(|time| Timestamp::try_from(time).ok());
        let (renew, over) = match (end, without_end) {
            (Some(end), _) => {
                let life = Duration::try_from(end.duration_since(now)).unwrap_or_default();
                (later(now, life / 2), earlier(end, MARGIN.min(life / 4)))
            }
            (None, Some(life)) => (later(now, life), later(now, life)),
            (None, None) => (Timestamp::MAX, Timestamp::MAX),
        };
        Self {
            credentials,
            renew,
            over,
        }
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// The place of one session.
#[derive(Default)]
struct Entry {
    /// Held by the one who renews.
    renewing: tokio::sync::Mutex<()>,
    at_hand: Mutex<AtHand>,
}

#[derive(Default)]
struct AtHand {
    session: Option<Session>,
    failed: Option<(Timestamp, AwsError)>,
    /// No renewal ahead of time before this.
    ahead: Option<Timestamp>,
    used: Option<Timestamp>,
}

pub(super) struct Cache {
    clock: SharedClock,
    entries: Mutex<HashMap<Key, Arc<Entry>>>,
}

impl Cache {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            entries: Mutex::default(),
        }
    }

    /// Returns good credentials: those at hand, renewed ahead by one of those who ask while the others go on, or new ones, made once for all who
    /// wait.
    pub(super) async fn credentials<F: Future<Output = Result<Session, AwsError>>>(
        &self,
        key: &Key,
        renew: impl Fn() -> F,
    ) -> Result<Credentials, AwsError> {
        let entry = self.entry(key);
        let asked = self.clock.now();
        if let Some(session) = entry.good(asked) {
            if asked < session.renew || !entry.may_renew_ahead(asked) {
                return Ok(session.credentials);
            }
            return Ok(self.renew_ahead(&entry, session, renew).await.credentials);
        }
        let _renewing = entry.renewing.lock().await;
        let now = self.clock.now();
        if let Some(session) = entry.good(now) {
            return Ok(session.credentials);
        }
        if let Some(error) = entry.failed_since(asked, now) {
            return Err(error);
        }
        match renew().await {
            Ok(session) => {
                let credentials = session.credentials.clone();
                entry.lock().keep(session);
                Ok(credentials)
            }
            Err(error) => {
                entry.lock().failed = Some((self.clock.now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Drops what is at hand, because AWS no longer accepts it.
    pub(super) fn forget(&self, key: &Key) {
        self.entry(key).lock().session = None;
    }

    async fn renew_ahead<F: Future<Output = Result<Session, AwsError>>>(
        &self,
        entry: &Entry,
        at_hand: Session,
        renew: impl Fn() -> F,
    ) -> Session {
        let Ok(_renewing) = entry.renewing.try_lock() else {
            return at_hand;
        };
        entry.lock().ahead = Some(later(self.clock.now(), AHEAD_AGAIN));
        match tokio::time::timeout(AHEAD_WAIT, renew()).await {
            Ok(Ok(session)) => {
                entry.lock().keep(session.clone());
                session
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a session could not be renewed ahead, the one at hand is used on");
                at_hand
            }
            Err(_) => {
                tracing::warn!("a session was not renewed in time, the one at hand is used on");
                at_hand
            }
        }
    }

    fn entry(&self, key: &Key) -> Arc<Entry> {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST_SESSIONS && !entries.contains_key(key) {
            thin_out(&mut entries);
        }
        let entry = Arc::clone(entries.entry(key.clone()).or_default());
        entry.lock().used = Some(now);
        entry
    }
}

/// Forgets the half that was not used for longest.
fn thin_out(entries: &mut HashMap<Key, Arc<Entry>>) {
    let mut used: Vec<_> = entries.values().map(|entry| entry.lock().used).collect();
    used.sort_unstable();
    let middle = used.get(used.len() / 2).copied().flatten();
    entries.retain(|_, entry| entry.lock().used > middle);
}

impl Entry {
    fn good(&self, now: Timestamp) -> Option<Session> {
        self.lock()
            .session
            .clone()
            .filter(|session| now < session.over)
    }

    fn may_renew_ahead(&self, now: Timestamp) -> bool {
        self.lock().ahead.is_none_or(|ahead| ahead <= now)
    }

    /// The failure of whoever tried while others waited.
    fn failed_since(&self, asked: Timestamp, now: Timestamp) -> Option<AwsError> {
        let failed = self.lock().failed.clone();
        failed
            .filter(|(at, _)| *at >= asked && now < later(*at, SHARED_FAILURE))
            .map(|(_, error)| error)
    }

    fn lock(&self) -> MutexGuard<'_, AtHand> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AtHand {
    fn keep(&mut self, session: Session) {
        self.session = Some(session);
        self.failed = None;
        self.ahead = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, FakeClock};
    use crate::domain::ErrorClass;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Story {
        clock: Arc<FakeClock>,
        cache: Cache,
        made: AtomicU32,
        works: std::sync::atomic::AtomicBool,
    }

    fn story() -> Story {
        let clock = Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let shared: SharedClock = Arc::<FakeClock>::clone(&clock);
        Story {
            cache: Cache::new(shared),
            clock,
            made: AtomicU32::new(0),
            works: true.into(),
        }
    }

    fn key(region: &str) -> Key {
        Key {
            chain: Chain {
                region: region.to_owned(),
                hops: Vec::new(),
            },
            purpose: Purpose::Connector,
        }
    }

    impl Story {
        /// A session of one hour; its key id counts the sessions made.
        async fn make(&self) -> Result<Session, AwsError> {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            if !self.works.load(Ordering::Relaxed) {
                return Err(AwsError::new(
                    "sts:AssumeRole",
                    ErrorClass::Transient,
                    "x",
                    "y",
                ));
            }
            let now = self.clock.now();
            let end = later(now, Duration::from_secs(3600)).into();
            let credentials = Credentials::new(number.to_string(), "s", None, Some(end), "test");
            Ok(Session::new(credentials, now, None))
        }

        async fn ask(&self) -> Result<String, AwsError> {
            self.ask_for("eu-west-1").await
        }

        async fn ask_for(&self, region: &str) -> Result<String, AwsError> {
            let credentials = self.cache.credentials(&key(region), || self.make()).await?;
            Ok(credentials.access_key_id().to_owned())
        }

        fn made(&self) -> u32 {
            self.made.load(Ordering::Relaxed)
        }

        fn pass(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }
    }

    #[tokio::test]
    async fn a_session_is_made_once_for_all_who_wait_for_it() {
        let story = story();
        let all = join_all((0..50).map(|_| story.ask())).await;
        assert!(all.into_iter().all(|id| id.unwrap() == "0"));
        assert_eq!(story.made(), 1);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_who_waited_and_then_tried_again() {
        let story = story();
        story.works.store(false, Ordering::Relaxed);
        let all = join_all((0..50).map(|_| story.ask())).await;
        assert!(all.into_iter().all(|id| id.is_err()));
        assert_eq!(story.made(), 1);
        story.works.store(true, Ordering::Relaxed);
        story.pass(1);
        assert_eq!(story.ask().await.unwrap(), "1");
    }

    #[tokio::test]
    async fn a_session_is_renewed_in_the_middle_of_its_life_by_one_of_those_who_ask() {
        let story = story();
        assert_eq!(story.ask().await.unwrap(), "0");
        story.pass(1799);
        assert_eq!(story.ask().await.unwrap(), "0");
        story.pass(1);
        let mut all: Vec<_> = join_all((0..50).map(|_| story.ask())).await;
        all.sort_by_key(|id| id.as_ref().unwrap().clone());
        assert_eq!(story.made(), 2);
        assert_eq!(all.last().unwrap().as_ref().unwrap(), "1");
        assert_eq!(story.ask().await.unwrap(), "1");
    }

    #[tokio::test]
    async fn while_it_cannot_be_renewed_the_one_at_hand_is_used_to_two_minutes_before_its_end() {
        let story = story();
        assert_eq!(story.ask().await.unwrap(), "0");
        story.works.store(false, Ordering::Relaxed);
        story.pass(1800);
        for _ in 0..10 {
            assert_eq!(story.ask().await.unwrap(), "0");
        }
        assert_eq!(story.made(), 2, "tried again every 30 s only");
        story.pass(30);
        assert_eq!(story.ask().await.unwrap(), "0");
        assert_eq!(story.made(), 3);
        story.pass(3600 - 1830 - 121);
        assert_eq!(story.ask().await.unwrap(), "0");
        story.pass(1);
        assert!(story.ask().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_does_not_hold_up_whoever_has_a_good_session() {
        let story = story();
        assert_eq!(story.ask().await.unwrap(), "0");
        story.pass(1800);
        let hangs = || std::future::pending::<Result<Session, AwsError>>();
        let began = tokio::time::Instant::now();
        let key = key("eu-west-1");
        let got = story.cache.credentials(&key, hangs).await.unwrap();
        assert_eq!(got.access_key_id(), "0");
        assert_eq!(began.elapsed(), AHEAD_WAIT);
    }

    #[tokio::test]
    async fn what_was_forgotten_is_made_anew() {
        let story = story();
        assert_eq!(story.ask().await.unwrap(), "0");
        story.cache.forget(&key("eu-west-1"));
        assert_eq!(story.ask().await.unwrap(), "1");
    }

    #[tokio::test]
    async fn sessions_at_hand_are_bounded_and_those_used_last_stay() {
        let story = story();
        for number in 0..MOST_SESSIONS {
            story.ask_for(&format!("r-{number}")).await.unwrap();
            story.clock.advance(Duration::from_millis(1));
        }
        story.ask_for("r-0").await.unwrap();
        story.ask_for("one-more").await.unwrap();
        assert!(story.cache.entries.lock().unwrap().len() <= MOST_SESSIONS / 2 + 1);
        let before = story.made();
        story.ask_for("r-0").await.unwrap();
        assert_eq!(story.made(), before);
    }

    #[test]
    fn credentials_without_an_end_are_read_again_after_a_while() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let credentials = Credentials::new("a", "s", None, None, "test");
        let session = Session::new(credentials, now, Some(Duration::from_secs(300)));
        assert_eq!(session.over.to_string(), "2030-01-01T00:05:00Z");
    }
}
