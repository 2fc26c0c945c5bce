//! Owns where the scripts have put the servers of the tests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What a script prints as `KEY=path` lines, after it has fetched what is missing.
pub(crate) struct Places {
    script: &'static str,
    argument: Option<&'static str>,
    found: OnceLock<HashMap<String, PathBuf>>,
}

impl Places {
    pub(crate) const fn of(script: &'static str, argument: Option<&'static str>) -> Self {
        Self {
            script,
            argument,
            found: OnceLock::new(),
        }
    }

    pub(crate) fn get(&self, key: &str) -> &Path {
        let found = self.found.get_or_init(|| self.ask());
        found
            .get(key)
            .unwrap_or_else(|| panic!("{} does not print {key}", self.script))
    }

    fn ask(&self) -> HashMap<String, PathBuf> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.script);
        let output = Command::new(&script)
            .args(self.argument)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "{} failed", self.script);
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, path)| (key.to_owned(), PathBuf::from(path)))
            .collect()
    }
}
