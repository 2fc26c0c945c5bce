//! Owns the judgement of IAM policies: identity policies, session policies and trust policies.

use serde_json::Value;
use std::collections::HashMap;

/// Condition keys and their values.
pub(super) type Context = HashMap<String, Vec<String>>;

/// What a set of policies says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Silent,
    Denied,
}

/// What is asked of a policy.
pub(super) struct Question<'a> {
    pub(super) action: &'a str,
    pub(super) resource: &'a str,
    pub(super) context: &'a Context,
    /// Names the caller goes by; of interest to trust policies alone.
    pub(super) principals: &'a [String],
}

/// Judges policies that belong to the caller.
pub(super) fn identity(policies: &[Value], question: &Question<'_>) -> Verdict {
    judge(policies, question, |statement| {
        one_of(statement, "Resource", question.resource, like)
            || statement.get("NotResource").is_some()
                && !one_of(statement, "NotResource", question.resource, like)
    })
}

/// Judges a policy of the role that is asked for.
pub(super) fn trust(policy: &Value, question: &Question<'_>) -> Verdict {
    judge(std::slice::from_ref(policy), question, |statement| {
        texts(&statement["Principal"])
            .chain(texts(&statement["Principal"]["AWS"]))
            .any(|named| named == "*" || question.principals.iter().any(|known| known == named))
    })
}

fn judge(
    policies: &[Value],
    question: &Question<'_>,
    concerns: impl Fn(&Value) -> bool,
) -> Verdict {
    let mut verdict = Verdict::Silent;
    for statement in policies
        .iter()
        .flat_map(|policy| many(&policy["Statement"]))
    {
        let action = one_of(statement, "Action", question.action, like_action)
            || statement.get("NotAction").is_some()
                && !one_of(statement, "NotAction", question.action, like_action);
        if !action || !concerns(statement) || !conditions_hold(statement, question.context) {
            continue;
        }
        if statement["Effect"] == "Deny" {
            return Verdict::Denied;
        }
        verdict = Verdict::Allowed;
    }
    verdict
}

fn one_of(statement: &Value, name: &str, asked: &str, fits: fn(&str, &str) -> bool) -> bool {
    texts(&statement[name]).any(|pattern| fits(pattern, asked))
}

fn many(value: &Value) -> impl Iterator<Item = &Value> {
    value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice)
        .iter()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    many(value).filter_map(Value::as_str)
}

fn like_action(pattern: &str, action: &str) -> bool {
    like(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// `*` stands for any text, `?` for any character.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < text.len() {
        if at < pattern.len() && pattern[at] == b'*' {
            star = Some((at, seen));
            at += 1;
        } else if at < pattern.len() && (pattern[at] == b'?' || pattern[at] == text[seen]) {
            at += 1;
            seen += 1;
        } else if let Some((begin, taken)) = star {
            star = Some((begin, taken + 1));
            at = begin + 1;
            seen = taken + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

fn conditions_hold(statement: &Value, context: &Context) -> bool {
    let Some(operators) = statement["Condition"].as_object() else {
        return true;
    };
    operators.iter().all(|(operator, keys)| {
        keys.as_object()
            .into_iter()
            .flatten()
            .all(|(key, wanted)| condition_holds(operator, values_of(context, key), wanted))
    })
}

/// Condition keys do not differ by case, but tag keys after the `/` are kept as they are.
fn values_of<'a>(context: &'a Context, key: &str) -> Option<&'a Vec<String>> {
    context
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(key))
        .map(|(_, values)| values)
}

fn condition_holds(operator: &str, values: Option<&Vec<String>>, wanted: &Value) -> bool {
    let (every, operator) = match operator.split_once(':') {
        Some((quantity, operator)) => (quantity == "ForAllValues", operator),
        None => (false, operator),
    };
    let (operator, if_exists) = operator
        .strip_suffix("IfExists")
        .map_or((operator, false), |bare| (bare, true));
    if operator == "Null" {
        return many(wanted).any(|wanted| flag(wanted) == values.is_none());
    }
    let Some(values) = values else {
        return if_exists || every || operator.contains("Not");
    };
    let (fits, negated) = fitting(operator);
    let fits_one = |value: &String| {
        many(wanted).any(|wanted| {
            let wanted = wanted
                .as_str()
                .map_or_else(|| wanted.to_string(), str::to_owned);
            fits(&wanted, value)
        })
    };
    let fits = if every {
        values.iter().all(fits_one)
    } else {
        values.iter().any(fits_one)
    };
    fits != negated
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or(value == "true")
}

/// Returns the comparison and whether the operator means its contrary.
fn fitting(operator: &str) -> (fn(&str, &str) -> bool, bool) {
    match operator {
        "StringEquals" => (|wanted, value| wanted == value, false),
        "StringNotEquals" => (|wanted, value| wanted == value, true),
        "StringEqualsIgnoreCase" | "Bool" => {
            (|wanted, value| wanted.eq_ignore_ascii_case(value), false)
        }
        "StringLike" | "ArnLike" | "ArnEquals" => (like, false),
        "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (like, true),
        // ISO 8601 times of one form are in the order of their letters.
        "DateLessThan" => (|wanted, value| value < wanted, false),
        "DateGreaterThan" => (|wanted, value| value > wanted, false),
        other => panic!("the strict front does not know the condition operator {other}"),
    }
}
