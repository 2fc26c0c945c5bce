//! Owns the guardrails: the local veto over what the control plane orders. Pure and synchronous. Never does I/O.
//!
//! Guardrails can refuse to *start* access; nothing can refuse to *end* access.

mod permit;
mod rules;

pub use permit::{EndWarrant, Permit, WarrantSource};
pub use rules::{Denial, Guardrails, ORDER_VALIDITY};

use crate::domain::{ErrorClass, Failure, Grant, Integration};
use jiff::Timestamp;

/// The verdict on an order that starts or lengthens access.
#[derive(Debug)]
#[must_use]
pub enum Authorization {
    /// It may be done, on the permit's terms.
    Permitted(Permit),
    /// It may not.
    Denied(Denial),
}

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The grant as ordered.
    pub grant: &'a Grant,
    /// The integration as this instance knows it; nothing when it is not assigned to this connector.
    pub integration: Option<&'a Integration>,
    /// When the order was made; nothing for an order without an age limit (an extension, a credential reset).
    pub issued_at: Option<Timestamp>,
    /// When the grant's access first started; nothing when it has not.
    pub first_started: Option<Timestamp>,
    /// Until when the holder may act; nothing when the order needs no lease.
    pub lease_deadline: Option<Timestamp>,
}

/// Judges one order. The only way to get a [`Permit`].
pub fn judge(guardrails: &Guardrails, judged: Judged<'_>, now: Timestamp) -> Authorization {
    match rules::check(guardrails, &judged, now) {
        Ok(integration) => Authorization::Permitted(permit::issue(judged, integration)),
        Err(denial) => Authorization::Denied(denial),
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self {
            class: match denial.rule {
                "lease_over" => ErrorClass::Transient,
                "frozen" | "clock_skew" => ErrorClass::NeedsOperator,
                _ => ErrorClass::Bug,
            },
            reason: denial.rule,
            message: denial.message,
            hint: denial.hint,
            retry_after: None,
        }
    }
}
