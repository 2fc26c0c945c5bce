//! Owns what can keep an end open on a replica, and how people read it. Never asks a replica.

use super::super::error::Trouble;
use super::super::settings::Place;
use crate::domain::ErrorClass;

/// Why access may still be there.
#[derive(Debug, Clone)]
pub(super) enum Problem {
    Unreachable(String),
    Failed(String),
    Behind,
    Primary,
    NoRight,
    SessionsLeft(usize),
    Hidden,
}

pub(super) fn trouble(login: &str, problems: &[(&Place, Problem)]) -> Option<Trouble> {
    let (_, first) = problems.first()?;
    let said: Vec<_> = problems
        .iter()
        .map(|(place, problem)| problem.said(place))
        .collect();
    Some(Trouble::Refused {
        class: first.class(),
        reason: first.reason(),
        message: format!(
            "the primary has shut `{login}` out, and the end stays open: {}",
            said.join("; ")
        ),
        hint: Some(first.hint().to_owned()),
    })
}

impl Problem {
    pub(super) fn said(&self, place: &Place) -> String {
        match self {
            Self::Unreachable(why) => format!("replica `{place}` cannot be reached: {why}"),
            Self::Failed(why) => format!("replica `{place}` cannot be asked: {why}"),
            Self::Behind => format!("replica `{place}` has not replayed the end yet"),
            Self::Primary => format!("`{place}` in `replicas` answers as a primary of its own"),
            Self::NoRight => format!("sessions on replica `{place}` may not be ended by us"),
            Self::SessionsLeft(1) => format!("1 session on replica `{place}` has not ended yet"),
            Self::SessionsLeft(left) => {
                format!("{left} sessions on replica `{place}` have not ended yet")
            }
            Self::Hidden => {
                format!("a session on replica `{place}` is between log-in and its first appearance")
            }
        }
    }

    /// Never one that makes the primary count as out of reach: its door serves the other grants.
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable(_) | Self::Failed(_) | Self::Primary | Self::NoRight => {
                ErrorClass::NeedsOperator
            }
            Self::Behind | Self::SessionsLeft(_) | Self::Hidden => ErrorClass::Conflict,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Failed(_) => "replica_unreachable",
            Self::Behind => "replica_behind",
            Self::Primary => "replica_is_primary",
            Self::NoRight => "replica_right_missing",
            Self::SessionsLeft(_) | Self::Hidden => "replica_sessions_left",
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Failed(_) => {
                "bring the replica back, or take it out of `replicas` once nobody can reach it any more"
            }
            Self::Behind => {
                "let the replica replay; `GRANT pg_signal_backend` to the admin role lets us end sessions on one that does not"
            }
            Self::Primary => {
                "make it a replica again, or take it out of `replicas` and run there what `apono-connector close-all --sql` prints"
            }
            Self::NoRight => "GRANT pg_signal_backend to the admin role",
            Self::SessionsLeft(_) | Self::Hidden => "nothing: it is tried again",
        }
    }
}
