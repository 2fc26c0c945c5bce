//! Owns the shape of the file, or of the text in its place: sections, keys, lines. Never checks what a value means.

use super::error::{Origin, Problem};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest file: 1 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Every section and its keys; the empty section is the top of the file.
pub(super) const KEYS: [(&str, &[&str]); 10] = [
    ("", &["state_dir", "state_shared", "listen"]),
    ("control_plane", &["url", "token_file", "ca_file"]),
    ("guardrails", &["longest_grant_s", "largest_skew_s"]),
    ("executor", &["slots", "per_integration"]),
    (
        "sweeps",
        &[
            "expiry_every_s",
            "drift_every_s",
            "clean_up_every_s",
            "inherit_every_s",
        ],
    ),
    (
        "aws",
        &["region", "profile", "rds_ca_file", "latest_landing_s"],
    ),
    ("secrets", &["keep_s"]),
    ("secrets.kubernetes", &["url", "token_file", "ca_file"]),
    (
        "secrets.vault",
        &[
            "url",
            "ca_file",
            "namespace",
            "kv_version",
            "login",
            "login_mount",
            "role",
            "token_file",
            "aws_region",
            "aws_server_id",
        ],
    ),
    ("log", &["format", "filter"]),
];

/// The file as read: known keys in dotted form, each with its line.
#[derive(Debug, Default)]
pub(super) struct RawFile {
    values: BTreeMap<String, (RawValue, Origin)>,
}

/// A value as read.
#[derive(Debug)]
pub(super) enum RawValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Yes or no.
    Truth(bool),
    /// Anything else, by its name; no key of ours is of such a type.
    Other(&'static str),
}

impl RawFile {
    pub(super) fn take(&mut self, key: &str) -> Option<(RawValue, Origin)> {
        self.values.remove(key)
    }
}

/// Where a configuration stands.
pub(super) enum Place<'a> {
    /// In a file.
    File(&'a Path),
    /// In a variable: its name and its text.
    Variable(&'static str, &'a str),
}

/// Reads a configuration. Everything that cannot be read is a problem; the rest is read all the same.
pub(super) fn read(place: &Place<'_>) -> (RawFile, Vec<Problem>) {
    let problem = |path: &Path, message: String| {
        let origin = Origin::Line(path.to_owned(), 0);
        (RawFile::default(), vec![Problem { origin, message }])
    };
    match place {
        Place::File(path) => match read_text(path) {
            Ok(text) => parse(path, &text),
            Err(error) => problem(path, format!("the file cannot be read: {error}")),
        },
        Place::Variable(name, text) if text.len() as u64 > MAX_FILE_BYTES => problem(
            Path::new(name),
            format!(
                "has {} bytes, must have at most {MAX_FILE_BYTES}",
                text.len()
            ),
        ),
        Place::Variable(name, text) => parse(Path::new(name), text),
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> (RawFile, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        path: path.to_owned(),
        text,
        raw: RawFile::default(),
        problems: Vec::new(),
    };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        // The message names what was expected; it never repeats the line, which may hold anything.
        reader.problem(at, error.message().replace('\n', ", "));
    }
    reader.section("", table.get_ref());
    (reader.raw, reader.problems)
}

struct Reader<'a> {
    path: PathBuf,
    text: &'a str,
    raw: RawFile,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let at = key.span().start;
            let inner = dotted(section, name);
            match value.get_ref().as_table() {
                Some(table) if KEYS.iter().any(|(known, _)| *known == inner) => {
                    self.section(&inner, table);
                }
                Some(_) if section.is_empty() => self.unknown_section(at, name),
                Some(_) | None => self.entry(section, name, at, value),
            }
        }
    }

    fn entry(&mut self, section: &str, name: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let known = KEYS
            .iter()
            .find(|(known, _)| *known == section)
            .map_or(&[][..], |(_, keys)| keys);
        if !known.contains(&name) {
            return self.unknown_key(section, name, at, known);
        }
        let key = dotted(section, name);
        let origin = self.origin(value.span().start);
        self.raw
            .values
            .insert(key, (raw_value(value.get_ref()), origin));
    }

    fn unknown_section(&mut self, at: usize, name: &str) {
        let known: Vec<_> = KEYS
            .iter()
            .filter(|(section, _)| !section.is_empty())
            .map(|(section, _)| format!("`[{section}]`"))
            .collect();
        self.problem(
            at,
            format!(
                "`[{}]` is not a known section, known are {}",
                crate::domain::shown(name),
                known.join(", ")
            ),
        );
    }

    fn unknown_key(&mut self, section: &str, name: &str, at: usize, known: &[&str]) {
        let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        let mut message = format!(
            "`{}` is not a known key, known here are {}",
            dotted(section, &crate::domain::shown(name)),
            known.join(", ")
        );
        if ["token", "password", "secret"]
            .iter()
            .any(|word| name.contains(word))
        {
            message += "; secrets never stand in this file: name a file with `control_plane.token_file`, or set `APONO_TOKEN`";
        }
        self.problem(at, message);
    }

    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(at);
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Origin::Line(self.path.clone(), line)
    }

    fn problem(&mut self, at: usize, message: String) {
        let origin = self.origin(at);
        self.problems.push(Problem { origin, message });
    }
}

fn dotted(section: &str, name: &str) -> String {
    match section {
        "" => name.to_owned(),
        section => format!("{section}.{name}"),
    }
}

fn raw_value(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::String(text) => RawValue::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or(
            RawValue::Other("a number that is too large"),
            RawValue::Number,
        ),
        DeValue::Float(_) => RawValue::Other("a fraction"),
        DeValue::Boolean(truth) => RawValue::Truth(*truth),
        DeValue::Datetime(_) => RawValue::Other("a date"),
        DeValue::Array(_) => RawValue::Other("a list"),
        DeValue::Table(_) => RawValue::Other("a section"),
    }
}
