//! Owns pages of lists and the tokens between them: a token is good for the list it came from and nothing else.

use super::chance::{digest, hex};
use super::knobs::Paging;
use super::refusal::Refusal;
use super::state::World;
use serde_json::Value;

/// A token as long as the identity store's may be.
pub(super) const LONG: usize = 5_000;
/// A token of the other services.
pub(super) const SHORT: usize = 0;

impl World {
    /// Returns the page asked for, and the token of the next one.
    pub(super) fn page<T>(
        &self,
        operation: &str,
        input: &Value,
        mut rows: Vec<(String, T)>,
        padding: usize,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        let scope = scope(operation, input);
        let begin = match input["NextToken"].as_str() {
            None => String::new(),
            Some(token) => self.position(&scope, token)?,
        };
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let first = match self.knobs.paging {
            Paging::AfterTheLast => {
                rows.partition_point(|(key, _)| *key <= begin && !begin.is_empty())
            }
            Paging::ByNumber => begin.parse().unwrap_or(0).min(rows.len()),
        };
        let most = input["MaxResults"]
            .as_u64()
            .map_or(self.knobs.page, |most| usize::try_from(most).unwrap());
        let end = (first + most).min(rows.len());
        let next = (end < rows.len()).then(|| {
            let position = match self.knobs.paging {
                Paging::AfterTheLast => rows[end - 1].0.clone(),
                Paging::ByNumber => end.to_string(),
            };
            self.token(&scope, &position, padding)
        });
        let page = rows.drain(first..end).map(|(_, row)| row).collect();
        Ok((page, next))
    }

    /// Returns a token that leads to where the page asked for begins.
    pub(super) fn same_again(&self, operation: &str, input: &Value) -> Result<String, Refusal> {
        let scope = scope(operation, input);
        let begin = match input["NextToken"].as_str() {
            None => String::new(),
            Some(token) => self.position(&scope, token)?,
        };
        // Another token than the one before: clients stop at one they know.
        Ok(self.token(&scope, &format!("{begin}\n{}", self.tree.pages), SHORT))
    }

    fn token(&self, scope: &str, position: &str, padding: usize) -> String {
        let seal = &digest(&["token", &self.seed.to_string(), scope, position])[..16];
        let token = format!("{seal}-{}", hex(position.as_bytes()));
        let missing = padding.saturating_sub(token.len() + 1);
        if missing == 0 {
            token
        } else {
            format!("{token}_{}", "A".repeat(missing))
        }
    }

    fn position(&self, scope: &str, token: &str) -> Result<String, Refusal> {
        let foreign = || {
            Refusal::validation("The token is not one of this list")
                .with("Reason", "INVALID_NEXT_TOKEN")
        };
        let bare = token.split('_').next().unwrap_or_default();
        let digits = bare
            .split_once('-')
            .map(|(_, digits)| digits)
            .ok_or_else(foreign)?;
        let position = unhex(digits).ok_or_else(foreign)?;
        let genuine = self.token(scope, &position, token.len());
        if genuine != token {
            return Err(foreign());
        }
        Ok(position.split('\n').next().unwrap_or_default().to_owned())
    }
}

/// What a token belongs to: the operation and everything asked of it but the page.
fn scope(operation: &str, input: &Value) -> String {
    let mut input = input.clone();
    if let Some(members) = input.as_object_mut() {
        members.remove("NextToken");
        members.remove("MaxResults");
    }
    format!("{operation} {input}")
}

fn unhex(digits: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect();
    String::from_utf8(bytes?).ok()
}
