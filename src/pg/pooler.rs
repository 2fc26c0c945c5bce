//! Owns recognising a connection pooler that lends us another process of the server for each transaction. Never changes anything there.
//!
//! What a session sets (the role it acts as, its search path, its time-outs) would then hold for other people's
//! transactions and not for ours.

use super::{PgError, Session};

/// Looks made: a pooler may by chance give us the same process twice in a row.
const LOOKS: u32 = 5;

/// Tells whether two sessions share one process of the server, or one session has several. `other` is a second session of the
/// same kind, opened for this only.
pub(super) async fn shares_processes(session: &Session, other: &Session) -> Result<bool, PgError> {
    const LOOK: &str = "look which process answers";
    const ASK: &str = "SELECT pg_catalog.pg_backend_pid()";
    let own = session.batch(LOOK, ASK).await?;
    for _ in 0..LOOKS {
        // Keeps one process busy, so that the next transaction of the first session, if it is lent one, is likely lent another.
        let held = match other.batch(LOOK, &format!("BEGIN; {ASK}")).await {
            Ok(held) => held,
            // Poolers in statement mode refuse transactions that way.
            Err(error) if error.sqlstate() == Some("08P01") => return Ok(true),
            Err(error) => return Err(error),
        };
        // Twice: a pooler that takes turns over three processes can lend the first session the same one at every first question.
        let again = session.batch(LOOK, ASK).await?;
        let once_more = session.batch(LOOK, ASK).await?;
        other.roll_back().await;
        let moved = [again, once_more]
            .iter()
            .any(|answer| answer.text() != own.text());
        if moved || held.text() == own.text() {
            return Ok(true);
        }
    }
    Ok(false)
}
