//! Owns the account id: exactly twelve digits.

use crate::domain::{InvalidValue, shown};
use std::fmt;

/// Names one AWS account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

impl AccountId {
    /// Parses an account id.
    ///
    /// # Errors
    /// When the text is not exactly twelve digits.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue::new(
                "account id",
                format!("is `{}`, must be exactly 12 digits", shown(text)),
            ))
        }
    }

    /// Returns the twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_id_is_twelve_digits_and_nothing_else() {
        assert_eq!(
            AccountId::parse("012345678901").unwrap().as_str(),
            "012345678901"
        );
        for text in [
            "",
            "12345678901",
            "0123456789012",
            "01234567890a",
            "０12345678901",
        ] {
            assert!(AccountId::parse(text).is_err(), "{text}");
        }
    }
}
