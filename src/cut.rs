//! Owns cut points: named places at which a test makes the process die. Never does anything in a build without `test-util`.

use std::fmt::Display;

#[cfg(feature = "test-util")]
pub use armed::{InvalidCutPoint, arm, follow, record_to};

/// Marks a place between two outside effects.
///
/// Without the feature `test-util` this is nothing at all: the name is not even written out.
#[cfg(not(feature = "test-util"))]
#[inline(always)]
pub fn point(_name: impl Display) {}

/// Marks a place between two outside effects. Ends the process here, without unwinding, when this pass was armed.
#[cfg(feature = "test-util")]
pub fn point(name: impl Display) {
    armed::pass(&name.to_string());
}

#[cfg(feature = "test-util")]
mod armed {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A cut point was not named in the form expected.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error(
        "`APONO_CUT_POINT` is `{0}`, must be the name of a cut point, or name, `#` and a number from 1"
    )]
    pub struct InvalidCutPoint(String);

    static SWITCH: Mutex<Switch> = Mutex::new(Switch {
        fuse: None,
        trace: None,
        orders: None,
        followed: String::new(),
    });

    struct Switch {
        fuse: Option<Fuse>,
        trace: Option<PathBuf>,
        orders: Option<PathBuf>,
        /// What the file of orders said when it was last looked at.
        followed: String,
    }

    impl Switch {
        fn follow_orders(&mut self) {
            let Some(path) = &self.orders else { return };
            let order = std::fs::read_to_string(path).unwrap_or_default();
            if order != self.followed {
                self.fuse = Fuse::parse(&order).ok();
                self.followed = order;
            }
        }
    }

    /// Burns down with every pass of its point.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Fuse {
        name: String,
        passes_left: u32,
    }

    impl Fuse {
        pub(super) fn parse(spec: &str) -> Result<Self, InvalidCutPoint> {
            let (name, pass) = match spec.rsplit_once('#') {
                Some((name, pass)) => (name, pass.parse::<u32>().ok().filter(|n| *n > 0)),
                None => (spec, Some(1)),
            };
            match pass {
                Some(passes_left) if !name.is_empty() => Ok(Self {
                    name: name.to_owned(),
                    passes_left,
                }),
                _ => Err(InvalidCutPoint(spec.escape_debug().take(80).collect())),
            }
        }

        /// Tells whether this pass is the one.
        pub(super) fn burns_out(&mut self, name: &str) -> bool {
            if self.name != name || self.passes_left == 0 {
                return false;
            }
            self.passes_left -= 1;
            self.passes_left == 0
        }
    }

    /// Arms one cut point: `name`, or `name#3` for the third time it is passed. Nothing disarms.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn arm(spec: Option<&str>) -> Result<(), InvalidCutPoint> {
        switch().fuse = spec.map(Fuse::parse).transpose()?;
        Ok(())
    }

    /// Arms what a file names, from the moment it names it; so a test arms a process that runs already. Passes count from then.
    pub fn follow(path: Option<PathBuf>) {
        switch().orders = path;
    }

    /// Appends the name of each point passed from here on to a file, one per line.
    pub fn record_to(path: Option<PathBuf>) {
        switch().trace = path;
    }

    pub(super) fn pass(name: &str) {
        let mut switch = switch();
        switch.follow_orders();
        if let Some(path) = &switch.trace {
            let written = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
            if written.is_err() {
                tracing::error!(path = %path.display(), "the trace of cut points cannot be written");
            }
        }
        if switch
            .fuse
            .as_mut()
            .is_some_and(|fuse| fuse.burns_out(name))
        {
            std::process::abort();
        }
    }

    fn switch() -> MutexGuard<'static, Switch> {
        SWITCH.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::armed::Fuse;
    use super::{point, record_to};

    #[test]
    fn a_bare_name_means_the_first_pass_of_that_point_only() {
        let mut fuse = Fuse::parse("journal.started.before").unwrap();
        assert!(!fuse.burns_out("journal.started.after"));
        assert!(fuse.burns_out("journal.started.before"));
        assert!(!fuse.burns_out("journal.started.before"));
    }

    #[test]
    fn a_number_means_that_pass() {
        let mut fuse = Fuse::parse("a#3").unwrap();
        let passes: Vec<_> = ["a", "b", "a", "a", "a"]
            .into_iter()
            .map(|name| fuse.burns_out(name))
            .collect();
        assert_eq!(passes, [false, false, false, true, false]);
    }

    #[test]
    fn what_names_no_point_is_refused() {
        for spec in ["", "#1", "a#", "a#0", "a#x", "a#-1", "a#99999999999"] {
            assert!(Fuse::parse(spec).is_err(), "{spec:?}");
        }
    }

    #[test]
    fn the_trace_lists_each_pass() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        record_to(Some(path.clone()));
        point("unit_test.one");
        point(format_args!("unit_test.{}", "two"));
        point("unit_test.one");
        record_to(None);
        // Other tests of this process may pass their own points meanwhile.
        let text = std::fs::read_to_string(path).unwrap();
        let ours: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("unit_test."))
            .collect();
        assert_eq!(ours, ["unit_test.one", "unit_test.two", "unit_test.one"]);
    }
}
