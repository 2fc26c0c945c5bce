//! Owns durations as people type them: `45s`, `1h30m`, `2d`.

use std::time::Duration;

/// A duration of whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(u64);

impl Span {
    /// Parses numbers with units out of `s`, `m`, `h`, `d`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` must be like `45s`, `30m`, `1h30m` or `2d`");
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let unit = match tail.chars().next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 3600,
                Some('d') => 86_400,
                _ => return Err(wrong()),
            };
            total = number
                .checked_mul(unit)
                .and_then(|seconds| total.checked_add(seconds))
                .ok_or_else(wrong)?;
            rest = tail.get(1..).unwrap_or_default();
        }
        if text.is_empty() {
            return Err(wrong());
        }
        Ok(Self(total))
    }

    pub(super) fn seconds(self) -> u64 {
        self.0
    }

    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_type_them() {
        for (text, seconds) in [("0s", 0), ("45s", 45), ("1h30m", 5400), ("2d", 172_800)] {
            assert_eq!(Span::parse(text), Ok(Span(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1", "h", "1x", "1h-3m", "99999999999999999999s", "1é"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }
}
