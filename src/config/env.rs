//! Owns the environment of the process: the only place that reads it. Never judges a value.

use std::collections::BTreeMap;

/// The variables that are looked at; all others are left alone.
pub(super) const VARIABLES: &[&str] = &[
    "APONO_TOKEN",
    "APONO_CONNECTOR_ID",
    "APONO_URL",
    "APONO_STATE_DIR",
    "APONO_STATE_SHARED",
    "APONO_CONFIG",
    "APONO_CONFIG_TEXT",
    "APONO_LOG",
    "CONNECTOR_METADATA",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    #[cfg(feature = "test-util")]
    "APONO_CUT_POINT",
    #[cfg(feature = "test-util")]
    "APONO_CUT_TRACE",
    #[cfg(feature = "test-util")]
    "APONO_CUT_ORDERS",
];

/// The environment, as a value that can be handed around. It may hold secrets, so it cannot be printed.
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the process's environment. Bytes that are not UTF-8 become `U+FFFD`, which no check lets through.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    #[must_use]
    pub fn of_process() -> Self {
        let variables = VARIABLES.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some(((*name).to_owned(), value.to_string_lossy().into_owned()))
        });
        Self(variables.collect())
    }

    /// Takes variables from a map.
    #[must_use]
    pub fn from_map(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }

    /// Arms the cut point a test names by `APONO_CUT_POINT` and traces to the file it names by `APONO_CUT_TRACE`.
    /// `APONO_CUT_ORDERS` names a file that may arm one later.
    ///
    /// # Errors
    /// When the cut point is not of the form `name` or `name#3`.
    #[cfg(feature = "test-util")]
    pub fn arm_cut_points(&self) -> Result<(), crate::cut::InvalidCutPoint> {
        crate::cut::record_to(self.text("APONO_CUT_TRACE").map(std::path::PathBuf::from));
        crate::cut::follow(self.text("APONO_CUT_ORDERS").map(std::path::PathBuf::from));
        crate::cut::arm(self.text("APONO_CUT_POINT"))
    }

    /// Returns a variable, white space around it removed. An empty one counts as not set, as container platforms mean it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.whole_text(name).map(str::trim)
    }

    /// Returns a variable as it is, so that its lines can be counted.
    pub(super) fn whole_text(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?;
        (!value.trim().is_empty()).then_some(value)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
