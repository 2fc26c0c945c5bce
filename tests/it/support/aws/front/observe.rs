//! Owns what the front has seen, for tests to judge by.

use super::operations::Kind;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, VecDeque};

/// A call that arrived, let in or not.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Timestamp,
    /// As signed: `sso`, `identitystore`, `organizations`, `sts`, or what was passed on.
    pub(crate) service: String,
    pub(crate) operation: String,
    pub(crate) region: String,
    /// ARN of who asked; empty if nobody knows.
    pub(crate) caller: String,
    /// The account the call is about, if it names one.
    pub(crate) account: Option<String>,
    /// Id of the operation it began.
    pub(crate) request_id: Option<String>,
    /// Why it was turned away.
    pub(crate) refused: Option<String>,
    /// Version of the SDK and names of the program, as sent.
    pub(crate) user_agent: String,
}

/// Everything seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) calls: Vec<Call>,
    pub(super) most_outstanding: HashMap<Kind, usize>,
}

impl Seen {
    pub(super) fn outstanding(&mut self, kind: Kind, running: usize) {
        let most = self.most_outstanding.entry(kind).or_default();
        *most = running.max(*most);
    }

    /// Returns the most calls of a service, refused ones too, that arrived within one second, wherever it begins.
    pub(super) fn most_in_a_second(&self, service: &str) -> usize {
        let mut window = VecDeque::new();
        let mut most = 0;
        for call in self.calls.iter().filter(|call| call.service == service) {
            window.push_back(call.at);
            while window
                .front()
                .is_some_and(|first| call.at.duration_since(*first) >= SignedDuration::from_secs(1))
            {
                window.pop_front();
            }
            most = most.max(window.len());
        }
        most
    }
}
