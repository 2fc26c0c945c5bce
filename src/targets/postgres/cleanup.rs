//! Owns removing what ended grants left behind.
use super::PostgresTarget;
use super::error::Trouble;
use crate::targets::CleanedUp;
impl PostgresTarget {
    pub(super) async fn clean_up_pass(&self) -> Result<Vec<CleanedUp>, Trouble> { Ok(Vec::new()) }
}
