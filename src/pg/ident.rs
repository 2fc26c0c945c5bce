//! Owns quoting: the only ways to put a value into SQL text. Never guesses, never shortens.

use crate::domain::{InvalidValue, shown};
use std::fmt;

/// Longest name the server keeps, in bytes. It silently cuts longer ones, so that two names become one.
const MAX_NAME_BYTES: usize = 63;

/// A name as it stands in SQL text: quoted, so that every byte of it means itself.
///
/// ```
/// use apono_connector::pg::Ident;
/// assert_eq!(Ident::new("a\"b; --")?.to_string(), "\"a\"\"b; --\"");
/// # Ok::<(), apono_connector::domain::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ident<'a>(&'a str);

impl<'a> Ident<'a> {
    /// Takes a name of 1 to 63 bytes without NUL.
    ///
    /// # Errors
    /// When the server could not keep the name as it is.
    pub fn new(name: &'a str) -> Result<Self, InvalidValue> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            return Err(InvalidValue::new(
                "name",
                format!(
                    "is `{}` ({} bytes), must be 1 to {MAX_NAME_BYTES} bytes without NUL",
                    shown(name),
                    name.len()
                ),
            ));
        }
        Ok(Self(name))
    }

    /// Returns the bare name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Ident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_doubled(f, self.0, &['"'], '"')
    }
}

/// A text value as it stands in SQL text, safe whatever `standard_conforming_strings` is.
///
/// ```
/// use apono_connector::pg::Literal;
/// assert_eq!(Literal::new("it's")?.to_string(), "'it''s'");
/// assert_eq!(Literal::new(r"a\b")?.to_string(), r" E'a\\b'");
/// # Ok::<(), apono_connector::domain::InvalidValue>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// Takes any text without NUL.
    ///
    /// # Errors
    /// When the text holds a NUL, which the server cannot store.
    pub fn new(text: &'a str) -> Result<Self, InvalidValue> {
        if text.contains('\0') {
            return Err(InvalidValue::new(
                "text",
                "holds a NUL, which the server cannot store",
            ));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains('\\') {
            // The space keeps the `E` from becoming the end of a word before it.
            f.write_str(" E")?;
            write_doubled(f, self.0, &['\'', '\\'], '\'')
        } else {
            write_doubled(f, self.0, &['\''], '\'')
        }
    }
}

fn write_doubled(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    doubled: &[char],
    quote: char,
) -> fmt::Result {
    use fmt::Write;
    f.write_char(quote)?;
    for c in text.chars() {
        if doubled.contains(&c) {
            f.write_char(c)?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(name: &str, ident: &str, literal: &str) {
        assert_eq!(Ident::new(name).unwrap().to_string(), ident);
        assert_eq!(Literal::new(name).unwrap().to_string(), literal);
    }

    #[test]
    fn hostile_names_are_quoted() {
        check("plain", "\"plain\"", "'plain'");
        check("select", "\"select\"", "'select'");
        check("a\"b", "\"a\"\"b\"", "'a\"b'");
        check("a'b", "\"a'b\"", "'a''b'");
        check("a\\b", "\"a\\b\"", " E'a\\\\b'");
        check("\\';", "\"\\';\"", " E'\\\\'';'");
        check(
            "; DROP ROLE x; --",
            "\"; DROP ROLE x; --\"",
            "'; DROP ROLE x; --'",
        );
        check("$$x$$", "\"$$x$$\"", "'$$x$$'");
        check("two\nlines", "\"two\nlines\"", "'two\nlines'");
        check("🦀é", "\"🦀é\"", "'🦀é'");
    }

    #[test]
    fn names_the_server_would_change_are_refused() {
        for name in ["", "nul\0", &"x".repeat(64), &"é".repeat(32)] {
            assert!(Ident::new(name).is_err(), "{name:?}");
        }
        assert!(Ident::new(&"x".repeat(63)).is_ok());
        let long = "x".repeat(64);
        assert_eq!(
            Ident::new(&long).unwrap_err().to_string(),
            format!("name is `{long}` (64 bytes), must be 1 to 63 bytes without NUL")
        );
    }

    #[test]
    fn a_literal_with_nul_is_refused() {
        assert!(Literal::new("a\0b").is_err());
        assert_eq!(Literal::new("").unwrap().to_string(), "''");
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_quotes(name in "[^\0]{1,15}") {
            let text = Ident::new(&name).unwrap().to_string();
            let inner = text.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }

        #[test]
        fn no_literal_leaves_its_quotes(value in "[^\0]{0,30}") {
            let text = Literal::new(&value).unwrap().to_string();
            let escaped = text.starts_with(" E");
            let inner = text.trim_start_matches(" E");
            let inner = inner.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
            let bare = inner.replace("''", "").replace("\\\\", "");
            prop_assert!(!bare.contains('\'') && !bare.contains('\\'));
            prop_assert_eq!(escaped, value.contains('\\'));
        }
    }
}
