//! Owns how an Identity Center instance is asked: in whose turn, on whose budget, page after page. Never tries again.

use super::service::Instance;
use crate::aws::budget::{Budget, Turn};
use crate::aws::{AwsError, refused};
use crate::domain::ErrorClass;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use std::error::Error;

/// Most entries a page may have.
pub(super) const PAGE: i32 = 100;
/// Most pages of one list: 3,500 permission sets, the highest quota known, take 35.
const MOST_PAGES: usize = 200;

/// Which instance is asked, and on whose budget in whose turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) instance: &'a Instance,
    pub(super) budget: &'a Budget,
    pub(super) turn: Turn,
}

impl Asking<'_> {
    /// Sends one request in its turn. A throttle slows the budget down.
    pub(super) async fn one<T, E>(
        self,
        operation: &str,
        sending: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.budget.request(self.turn).await;
        // Requests of the SDK are large; many of them wait at once.
        Box::pin(sending).await.map_err(|error| {
            let error = refused(operation, error);
            if let Some(throttle) = error.throttle() {
                self.budget.throttled(throttle);
            }
            error
        })
    }

    /// Reads all pages of a list: `ask` sends for one, `take` gives what is on it and where the next begins.
    pub(super) async fn all<T, E, O, S>(
        self,
        operation: &str,
        ask: impl Fn(Option<String>) -> S,
        take: impl Fn(O) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, AwsError>
    where
        S: Future<Output = Result<O, SdkError<E, HttpResponse>>>,
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut found = Vec::new();
        let mut page = None;
        for _ in 0..MOST_PAGES {
            let (some, next) = take(self.one(operation, ask(page)).await?);
            found.extend(some);
            page = next;
            if page.is_none() {
                return Ok(found);
            }
        }
        let message = format!("the list did not end after {MOST_PAGES} pages");
        let class = ErrorClass::Transient;
        Err(AwsError::new(operation, class, "list_endless", message))
    }
}
