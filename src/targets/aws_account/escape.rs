//! Owns the reading of texts in which a sign and two hexadecimal digits stand for a byte. Pure.

/// Reads a text back; nothing when it holds a broken escape or is not UTF-8.
pub(super) fn unescaped(text: &str, sign: char) -> Option<String> {
    let mut parts = text.split(sign);
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_back_and_broken_ones_are_none() {
        assert_eq!(unescaped("a=2Cb", '=').as_deref(), Some("a,b"));
        assert_eq!(
            unescaped("%7B%22%C3%AB+%22%7D", '%').as_deref(),
            Some("{\"ë+\"}")
        );
        assert_eq!(unescaped("plain", '%').as_deref(), Some("plain"));
        for broken in ["a=", "a=2", "a=zz", "=FF"] {
            assert_eq!(unescaped(broken, '='), None, "{broken}");
        }
    }
}
