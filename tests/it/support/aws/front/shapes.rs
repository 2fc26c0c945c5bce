//! Owns the shapes of requests: the published service models, which come with the emulators, decide what is well formed.

use super::refusal::Refusal;
use crate::support::aws::emulators::service_models;
use flate2::read::GzDecoder;
use regex_lite::Regex;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// The model of one service.
pub(super) struct Model {
    json: Value,
    patterns: Mutex<HashMap<String, Regex>>,
}

impl Model {
    /// Returns the model of a service: `sso-admin`, `identitystore`, `organizations` or `sts`.
    pub(super) fn of(service: &'static str) -> &'static Self {
        static MODELS: OnceLock<HashMap<&'static str, Model>> = OnceLock::new();
        let models = MODELS.get_or_init(|| {
            ["sso-admin", "identitystore", "organizations", "sts"]
                .map(|service| (service, Self::load(&service_models().join(service))))
                .into()
        });
        &models[service]
    }

    fn load(folder: &Path) -> Self {
        let mut versions: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        versions.sort();
        let file = fs::File::open(versions.last().unwrap().join("service-2.json.gz")).unwrap();
        let mut text = String::new();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        Self {
            json: serde_json::from_str(&text).unwrap(),
            patterns: Mutex::default(),
        }
    }

    pub(super) fn has(&self, operation: &str) -> bool {
        self.json["operations"].get(operation).is_some()
    }

    /// Checks required members, types, lengths, ranges, enumerations and patterns; names the first member that is wrong.
    pub(super) fn check(&self, operation: &str, input: &Value) -> Result<(), String> {
        let Some(shape) = self.json["operations"][operation]["input"]["shape"].as_str() else {
            return Ok(());
        };
        self.value(shape, "input", input)
    }

    fn value(&self, shape_name: &str, at: &str, value: &Value) -> Result<(), String> {
        let shape = &self.json["shapes"][shape_name];
        match shape["type"].as_str().unwrap() {
            // A document may be anything.
            "structure" if shape["document"] == true => Ok(()),
            "structure" => self.structure(shape, at, value),
            "list" => self.list(shape, at, value),
            "string" => self.text(shape, at, value),
            "integer" | "long" => number(shape, at, value),
            "boolean" if !value.is_boolean() => Err(wrong_type(at)),
            // Maps, documents and times do not occur in what the connector sends.
            _ => Ok(()),
        }
    }

    fn structure(&self, shape: &Value, at: &str, value: &Value) -> Result<(), String> {
        let Some(members) = value.as_object() else {
            return Err(wrong_type(at));
        };
        for required in shape["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            if members.get(name).is_none_or(Value::is_null) {
                return Err(detected(
                    &format!("Value null at '{}'", lower(name)),
                    "Member must not be null",
                ));
            }
        }
        for (name, value) in members {
            let member = &shape["members"][name];
            if !value.is_null() && member.is_object() {
                self.value(member["shape"].as_str().unwrap(), &lower(name), value)?;
            }
        }
        Ok(())
    }

    fn list(&self, shape: &Value, at: &str, value: &Value) -> Result<(), String> {
        let Some(items) = value.as_array() else {
            return Err(wrong_type(at));
        };
        length(shape, at, "…", items.len())?;
        for item in items {
            self.value(
                shape["member"]["shape"].as_str().unwrap(),
                &format!("{at}.member"),
                item,
            )?;
        }
        Ok(())
    }

    fn text(&self, shape: &Value, at: &str, value: &Value) -> Result<(), String> {
        let Some(text) = value.as_str() else {
            return Err(wrong_type(at));
        };
        length(shape, at, text, text.chars().count())?;
        if let Some(known) = shape["enum"].as_array()
            && !known.iter().any(|one| one == text)
        {
            let known: Vec<_> = known.iter().filter_map(Value::as_str).collect();
            let rule = format!("Member must satisfy enum value set: [{}]", known.join(", "));
            return Err(detected(&at_value(text, at), &rule));
        }
        if let Some(pattern) = shape["pattern"].as_str()
            && !self.matches(pattern, text)
        {
            let rule = format!("Member must satisfy regular expression pattern: {pattern}");
            return Err(detected(&at_value(text, at), &rule));
        }
        Ok(())
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.lock().unwrap();
        let compiled = patterns.entry(pattern.to_owned()).or_insert_with(|| {
            let readable = format!("^(?:{})$", without_classes(pattern));
            Regex::new(&readable)
                .unwrap_or_else(|error| panic!("the pattern {readable} cannot be read: {error}"))
        });
        compiled.is_match(text)
    }
}

/// Replaces Unicode's classes, which the small engine does not know, by everything outside ASCII and what they hold of ASCII.
fn without_classes(pattern: &str) -> String {
    const BEYOND: &str = r"\u{80}-\u{10ffff}";
    let classes = [
        (r"\p{L}", format!("a-zA-Z{BEYOND}")),
        (r"\p{N}", "0-9".to_owned()),
        (r"\p{Z}", " ".to_owned()),
        (r"\p{S}", "$+<=>^`|~".to_owned()),
        (r"\p{P}", r##"!"#%&'()*,\-./:;?@\[\\\]_{}"##.to_owned()),
        (r"\p{M}", BEYOND.to_owned()),
    ];
    // Looking ahead is in the pattern of durations alone, whose range is checked elsewhere.
    let pattern = pattern.replace(r"(?=\d|T\d)", "");
    let (mut done, mut rest, mut within) = (String::new(), pattern.as_str(), false);
    while let Some(letter) = rest.chars().next() {
        let class = classes.iter().find(|(class, _)| rest.starts_with(class));
        let taken = class.map_or_else(
            || if letter == '\\' { 2 } else { letter.len_utf8() },
            |(class, _)| class.len(),
        );
        let taken = taken.min(rest.len());
        match class {
            Some((_, members)) if within => done.push_str(members),
            Some((_, members)) => done.push_str(&format!("[{members}]")),
            None => {
                within = (within || letter == '[') && letter != ']';
                done.push_str(&rest[..taken]);
            }
        }
        rest = &rest[taken..];
    }
    done
}

fn number(shape: &Value, at: &str, value: &Value) -> Result<(), String> {
    let Some(number) = value.as_i64() else {
        return Err(wrong_type(at));
    };
    let what = at_value(&number.to_string(), at);
    if shape["min"].as_i64().is_some_and(|least| number < least) {
        return Err(detected(
            &what,
            &format!(
                "Member must have value greater than or equal to {}",
                shape["min"]
            ),
        ));
    }
    if shape["max"].as_i64().is_some_and(|most| number > most) {
        return Err(detected(
            &what,
            &format!(
                "Member must have value less than or equal to {}",
                shape["max"]
            ),
        ));
    }
    Ok(())
}

fn length(shape: &Value, at: &str, text: &str, length: usize) -> Result<(), String> {
    let length = i64::try_from(length).unwrap();
    if shape["min"].as_i64().is_some_and(|least| length < least) {
        let rule = format!(
            "Member must have length greater than or equal to {}",
            shape["min"]
        );
        return Err(detected(&at_value(text, at), &rule));
    }
    if shape["max"].as_i64().is_some_and(|most| length > most) {
        let rule = format!(
            "Member must have length less than or equal to {}",
            shape["max"]
        );
        return Err(detected(&at_value(text, at), &rule));
    }
    Ok(())
}

fn at_value(text: &str, at: &str) -> String {
    format!("Value '{text}' at '{at}'")
}

pub(super) fn detected(what: &str, rule: &str) -> String {
    format!("1 validation error detected: {what} failed to satisfy constraint: {rule}")
}

fn wrong_type(at: &str) -> String {
    format!("STRING_VALUE cannot be converted at '{at}'")
}

fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

/// Returns a text member that the shapes have made sure of.
pub(super) fn text<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name].as_str().unwrap_or_default()
}

/// Refuses an operation the service has and the front does not play, so that nobody mistakes silence for success.
pub(super) fn not_played(operation: &str) -> Refusal {
    Refusal::new(
        "UnknownOperationException",
        format!("the strict front does not play {operation}"),
    )
}
