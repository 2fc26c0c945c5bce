//! Owns the sending of one request to AWS for an inventory: in its turn, again after a throttle or a passing trouble, and the pages of a list.
//! Never gives up a walk because of one throttle, and never repeats more than the page that was refused.

mod pace;

pub(super) use pace::Pace;

use crate::aws::budget::{Budget, Turn};
use crate::aws::{AwsError, refused};
use crate::domain::{ErrorClass, InventoryRecord};
use crate::retry::{Backoff, Jitter, Schedule};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time one request is tried for while the service throttles: 10 min. Others share its quotas, so it may take a while.
const LONGEST_THROTTLE: Duration = Duration::from_secs(600);
/// Most pages of one list: 100,000 users, the quota, take 1,000.
const MOST_PAGES: u32 = 20_000;

/// The turns requests wait for.
pub(super) struct Turns {
    pace: Arc<Pace>,
    /// Calls of Identity Center share one quota, whoever makes them.
    budget: Option<Budget>,
}

impl Turns {
    pub(super) fn new(pace: Arc<Pace>, budget: Option<Budget>) -> Self {
        Self { pace, budget }
    }

    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = Some(budget);
    }

    /// Sends a request in its turn until it is answered, or refused for good.
    pub(super) async fn ask<T, E, S>(
        &self,
        operation: &'static str,
        send: impl Fn() -> S,
    ) -> Result<T, AwsError>
    where
        S: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut patience = Patience::new();
        loop {
            self.turn(operation).await;
            // Requests of the SDK are large; many of them wait at once.
            let error = match Box::pin(send()).await {
                Ok(answer) => {
                    self.pace.went_well(operation);
                    return Ok(answer);
                }
                Err(error) => refused(operation, error),
            };
            if let Some(throttle) = error.throttle() {
                match self.budget(operation) {
                    Some(budget) => budget.throttled(throttle),
                    None => self.pace.throttled(operation),
                }
            }
            let Some(wait) = patience.wait(&error) else {
                return Err(error);
            };
            tracing::debug!(%error, "a request of an inventory is sent again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads a list that fits in memory to its end. `take` keeps what is in a page, and returns what the page says of the next one.
    pub(super) async fn read<T, E, S>(
        &self,
        operation: &'static str,
        send: impl Fn(Option<String>) -> S,
        mut take: impl FnMut(T) -> Option<String>,
    ) -> Result<(), AwsError>
    where
        S: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut pages = Pages::of(operation);
        while pages.more() {
            let answer = self.ask(operation, || send(pages.token())).await?;
            pages.turn(take(answer).as_deref())?;
        }
        Ok(())
    }

    async fn turn(&self, operation: &'static str) {
        match self.budget(operation) {
            Some(budget) => budget.request(Turn::Read).await,
            None => self.pace.turn(operation).await,
        }
    }

    fn budget(&self, operation: &str) -> Option<&Budget> {
        let budget = self.budget.as_ref();
        budget.filter(|_| operation.starts_with("sso:"))
    }
}

/// Adds what is known; nothing where AWS did not say.
pub(super) fn tell(record: &mut InventoryRecord, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        record.context.insert(name.to_owned(), value.to_owned());
    }
}

/// Tells whether what was asked about does not exist (any more).
pub(super) fn is_absent(error: &AwsError) -> bool {
    error.class() == ErrorClass::NotFound
}

/// Tells whether no other part of a walk would fare better.
pub(super) fn is_everybodys(error: &AwsError) -> bool {
    error.class() == ErrorClass::Unauthorised
        || matches!(
            error.reason(),
            "clock_skew" | "no_credentials" | "key_refused"
        )
}

/// Says what could not be looked at, and why, and what to do.
pub(super) fn unseen_because(what: &str, error: &AwsError) -> String {
    let hint = error.hint().map(|hint| format!(": {hint}"));
    format!(
        "{what} could not be looked at: {error}{}",
        hint.unwrap_or_default()
    )
}

/// How long one request is tried for.
struct Patience {
    begun: Instant,
    throttles: Backoff,
    others: Option<(ErrorClass, Schedule)>,
}

impl Patience {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            throttles: Backoff::poll(Jitter::Random),
            others: None,
        }
    }

    /// Returns how long to wait before the next try; nothing when there is none.
    fn wait(&mut self, error: &AwsError) -> Option<Duration> {
        let class = error.class();
        if class == ErrorClass::Throttled {
            let wait = self.throttles.next_wait_at_least(error.retry_after());
            return (self.begun.elapsed() + wait <= LONGEST_THROTTLE).then_some(wait);
        }
        let waits = match &mut self.others {
            Some((same, waits)) if *same == class => waits,
            other => {
                &mut other
                    .insert((class, Schedule::for_class(class, Jitter::Random)))
                    .1
            }
        };
        waits.next_wait(error.retry_after())
    }
}

/// Where a list is being read.
pub(super) struct Pages {
    operation: &'static str,
    next: Option<String>,
    read: u32,
    done: bool,
}

impl Pages {
    pub(super) fn of(operation: &'static str) -> Self {
        Self {
            operation,
            next: None,
            read: 0,
            done: false,
        }
    }

    /// Tells whether there is another page to ask for.
    pub(super) fn more(&self) -> bool {
        !self.done
    }

    /// Returns what to ask for it with.
    pub(super) fn token(&self) -> Option<String> {
        self.next.clone()
    }

    /// Notes what a page said of the next one. A page may be empty and not be the last.
    pub(super) fn turn(&mut self, next: Option<&str>) -> Result<(), AwsError> {
        let next = next.filter(|next| !next.is_empty());
        self.read += 1;
        let repeats = next.is_some() && next == self.next.as_deref();
        if repeats || self.read >= MOST_PAGES {
            let message = format!("the list did not end after {} pages", self.read);
            let class = ErrorClass::Transient;
            return Err(AwsError::new(
                self.operation,
                class,
                "list_endless",
                message,
            ));
        }
        self.next = next.map(str::to_owned);
        self.done = self.next.is_none();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_where_there_is_no_token_and_nowhere_else() {
        let mut pages = Pages::of("sso:ListPermissionSets");
        assert!(pages.more() && pages.token().is_none());
        let long = "x".repeat(65_535);
        pages.turn(Some(&long)).unwrap();
        assert_eq!((pages.more(), pages.token()), (true, Some(long)));
        pages.turn(Some("2")).unwrap();
        let error = pages.turn(Some("2")).unwrap_err();
        assert_eq!(error.reason(), "list_endless");
        pages.turn(Some("")).unwrap();
        assert!(!pages.more());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_is_waited_out_for_ten_minutes_and_a_denial_not_at_all() {
        let error = |class| AwsError::new("sso:ListInstances", class, "reason", "message");
        let mut patience = Patience::new();
        let begun = Instant::now();
        while let Some(wait) = patience.wait(&error(ErrorClass::Throttled)) {
            tokio::time::sleep(wait).await;
        }
        let lasted = begun.elapsed();
        assert!(
            (Duration::from_secs(560)..=LONGEST_THROTTLE).contains(&lasted),
            "{lasted:?}"
        );
        assert!(
            Patience::new()
                .wait(&error(ErrorClass::NeedsOperator))
                .is_none()
        );
        let mut patience = Patience::new();
        assert!(patience.wait(&error(ErrorClass::Transient)).is_some());
    }
}
