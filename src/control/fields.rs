//! Owns reading one field of an answer. Never loses the field's name on the way to an error.

use crate::domain::{InvalidValue, shown};
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

/// A JSON object, with the path under which a sender knows it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    path: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Opens an object; the path is empty for the outermost one, else ends in a dot.
    pub(super) fn open(path: &'a str, value: &'a Value) -> Result<Self, InvalidValue> {
        value
            .as_object()
            .map(|object| Self { path, object })
            .ok_or_else(|| {
                let name = match path.trim_end_matches('.') {
                    "" => "the entry".to_owned(),
                    name => format!("`{name}`"),
                };
                InvalidValue::new(name, "must be an object")
            })
    }

    /// Returns the raw value of a field, or nothing when it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Returns the raw value of a field that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&'a Value, InvalidValue> {
        self.get(name)
            .ok_or_else(|| self.invalid(name, "is missing"))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, InvalidValue> {
        self.required(name)?
            .as_str()
            .ok_or_else(|| self.invalid(name, "must be a text"))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, InvalidValue> {
        self.get(name).map(|_| self.text(name)).transpose()
    }

    pub(super) fn uuid(&self, name: &str) -> Result<Uuid, InvalidValue> {
        let text = self.text(name)?;
        Uuid::try_parse(text)
            .map_err(|_| self.invalid(name, format!("is `{}`, must be a UUID", shown(text))))
    }

    pub(super) fn time(&self, name: &str) -> Result<Timestamp, InvalidValue> {
        let text = self.text(name)?;
        text.parse().map_err(|_| {
            self.invalid(
                name,
                format!(
                    "is `{}`, must be an RFC 3339 time before the year 10000",
                    shown(text)
                ),
            )
        })
    }

    pub(super) fn count(&self, name: &str) -> Result<u32, InvalidValue> {
        self.required(name)?
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| self.invalid(name, "must be a whole number from 0 to 4294967295"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, InvalidValue> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.invalid(name, "must be `true` or `false`")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, InvalidValue> {
        let wrong = || self.invalid(name, "must be a list of texts");
        self.required(name)?
            .as_array()
            .ok_or_else(wrong)?
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    /// Names a field and what is wrong with it.
    pub(super) fn invalid(&self, name: &str, problem: impl Into<String>) -> InvalidValue {
        InvalidValue::new(format!("`{}{name}`", self.path), problem)
    }
}
