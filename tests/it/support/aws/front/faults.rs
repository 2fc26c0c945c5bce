//! Owns the faults a test asks for: what, at which call, and whether it came to pass.

use super::refusal::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The call has no effect.
    Refused(Refusal),
    /// The call has its effect and is answered with an error.
    RefusedAfter(Refusal),
    /// The call has its effect, and the connection ends without an answer.
    AnswerLost,
    /// The call has its effect, and the connection ends in the middle of the answer.
    AnswerCut,
    /// The operation stays under way for ever.
    NeverEnds,
    /// The operation ends as failed, with its effect.
    FailsWithEffect,
    /// The operation ends as failed, without effect.
    FailsUnexpectedly,
    /// The operation takes so long.
    Takes(Duration),
}

/// Counts how often a fault came to pass.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fired(Arc<AtomicUsize>);

impl Fired {
    pub(crate) fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// When a fault strikes within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    Accepting,
    After,
}

#[derive(Debug)]
struct Planned {
    operation: String,
    skip: usize,
    left: usize,
    fault: Fault,
    fired: Fired,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Planned>);

impl Fault {
    pub(crate) fn server_error() -> Self {
        Self::Refused(Refusal::new("InternalServerException", "internal").status(500))
    }

    pub(crate) fn server_error_after() -> Self {
        Self::RefusedAfter(Refusal::new("InternalServerException", "internal").status(500))
    }

    pub(crate) fn throttled() -> Self {
        Self::Refused(Refusal::rate())
    }

    pub(crate) fn too_many_outstanding() -> Self {
        Self::Refused(Refusal::outstanding())
    }

    pub(crate) fn conflict() -> Self {
        Self::Refused(Refusal::running())
    }

    fn moment(&self) -> Moment {
        match self {
            Self::Refused(_) => Moment::Before,
            Self::NeverEnds | Self::FailsWithEffect | Self::FailsUnexpectedly | Self::Takes(_) => {
                Moment::Accepting
            }
            Self::RefusedAfter(_) | Self::AnswerLost | Self::AnswerCut => Moment::After,
        }
    }
}

impl Faults {
    /// Plans a fault for calls of an operation: some are let pass first, then so many are struck.
    pub(super) fn plan(
        &mut self,
        operation: &str,
        skip: usize,
        times: usize,
        fault: Fault,
    ) -> Fired {
        let fired = Fired::default();
        self.0.push(Planned {
            operation: operation.to_owned(),
            skip,
            left: times,
            fault,
            fired: fired.clone(),
        });
        fired
    }

    pub(super) fn take(&mut self, operation: &str, moment: Moment) -> Option<Fault> {
        let planned = self.0.iter_mut().find(|planned| {
            planned.operation == operation && planned.left > 0 && planned.fault.moment() == moment
        })?;
        if planned.skip > 0 {
            planned.skip -= 1;
            return None;
        }
        planned.left -= 1;
        planned.fired.0.fetch_add(1, Ordering::SeqCst);
        Some(planned.fault.clone())
    }
}
