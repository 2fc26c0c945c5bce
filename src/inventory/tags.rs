//! Owns the form of tags in a comment. Never fails: what is no tag is prose.
//!
//! Two forms. A comment that is one JSON object holds a tag for each member with a text, number, true or false. In any
//! other comment each word `key=value` is a tag; words end at white space, `,` and `;`, and a value with such in it stands in double quotes.

use std::collections::BTreeMap;

/// Most tags of one comment.
pub(super) const MAX_TAGS: usize = 50;
/// Longest key, in characters.
pub(super) const MAX_TAG_KEY: usize = 63;
/// Longest value, in characters.
pub(super) const MAX_TAG_VALUE: usize = 256;

/// Reads the tags of a comment. A key that comes twice has its first value. `cut` says that the comment goes on beyond the text, so
/// that a word at its end may be half a word.
pub(super) fn parse_tags(comment: &str, cut: bool) -> BTreeMap<String, String> {
    let text = comment.trim();
    let mut tags = BTreeMap::new();
    if text.starts_with('{') {
        if let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) {
            for (key, value) in members {
                add(&mut tags, &key, scalar(&value));
            }
        }
        return tags;
    }
    let mut rest = text;
    while let Some((word, after)) = next_word(rest) {
        // Half a word could be another value.
        if !(cut && after.is_empty())
            && let Some((key, value)) = word.split_once('=')
        {
            add(&mut tags, key, Some(unquoted(value).to_owned()));
        }
        rest = after;
    }
    tags
}

fn add(tags: &mut BTreeMap<String, String>, key: &str, value: Option<String>) {
    let Some(value) = value else { return };
    let fits = !value.is_empty()
        && value.chars().count() <= MAX_TAG_VALUE
        && !value.chars().any(char::is_control);
    if is_key(key) && fits && tags.len() < MAX_TAGS {
        tags.entry(key.to_owned()).or_insert(value);
    }
}

fn is_key(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || "_.:/-".contains(c))
        && text.len() <= MAX_TAG_KEY
}

fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            None
        }
    }
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// Splits off a word; within double quotes it goes on beyond white space.
fn next_word(text: &str) -> Option<(&str, &str)> {
    let ends = |c: char| c.is_whitespace() || c == ',' || c == ';';
    let text = text.trim_start_matches(ends);
    if text.is_empty() {
        return None;
    }
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        !quoted && ends(*c)
    });
    // A quote without its partner is a character like any other.
    let end = end.map(|(at, _)| at).or_else(|| {
        let plain = text.find(ends);
        plain.filter(|_| quoted)
    });
    Some(text.split_at(end.unwrap_or(text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(comment: &str, expect: &[(&str, &str)]) {
        let tags = parse_tags(comment, false);
        let tags: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(tags, expect, "{comment}");
    }

    #[test]
    fn words_with_an_equals_sign_and_json_objects_are_tags() {
        check("orders of the shop", &[]);
        check(
            "env=prod, team=payments",
            &[("env", "prod"), ("team", "payments")],
        );
        check(
            "All orders. owner=alice@example.com;tier=1 cost-centre=\"north, 12\" see a.b",
            &[
                ("cost-centre", "north, 12"),
                ("owner", "alice@example.com"),
                ("tier", "1"),
            ],
        );
        check(
            r#" {"env": "prod", "tier": 1, "pii": true, "nested": {"a": 1}, "none": null, "list": []} "#,
            &[("env", "prod"), ("pii", "true"), ("tier", "1")],
        );
        check("env=prod env=test", &[("env", "prod")]);
    }

    #[test]
    fn hostile_comments_are_prose() {
        check("", &[]);
        check("= == a= =b 1=2 é=x https://x?a=b", &[]);
        check("a=\"half quoted b=2", &[("a", "\"half"), ("b", "2")]);
        check("a=\u{1}\u{7} b=\u{0085}c", &[]);
        check(&"{\"a\":".repeat(5_000), &[]);
        check("{not json} env=prod", &[]);
        check(&format!("k={}", "v".repeat(MAX_TAG_VALUE + 1)), &[]);
        check(&format!("{}=v", "k".repeat(MAX_TAG_KEY + 1)), &[]);
        let many: String = (0..500).map(|n| format!("k{n}=v ")).collect();
        assert_eq!(parse_tags(&many, false).len(), MAX_TAGS);
    }

    #[test]
    fn a_comment_that_was_cut_gives_no_half_value() {
        assert_eq!(parse_tags("env=prod team=pay", true).len(), 1);
        assert_eq!(parse_tags(r#"{"env": "pr"#, true).len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn no_comment_breaks_the_reading_of_tags(comment in ".{0,200}", words in "[a-c=\" ,;{}]{0,40}") {
            for text in [comment, words] {
                for (key, value) in parse_tags(&text, false) {
                    proptest::prop_assert!(is_key(&key) && !value.is_empty() && text.contains(&key));
                }
            }
        }
    }
}
