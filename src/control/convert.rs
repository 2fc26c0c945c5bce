//! Owns the door between wire and domain. Never lets a value through that does not fit its domain type.

use crate::domain::{Failure, Lease, TaskId};

/// One task of an answer, understood for itself.
#[derive(Debug)]
pub enum ParsedTask {
    /// An order this version can judge.
    Order(Lease),
    /// An order that names itself but cannot be understood or is of an unknown kind: it is answered with this failure.
    Refused {
        /// Which task.
        task: TaskId,
        /// Which delivery of it.
        attempt: u32,
        /// What to answer.
        failure: Failure,
    },
    /// Not even an id could be read; logged, and left to the control plane's own limits.
    Unreadable(String),
}
