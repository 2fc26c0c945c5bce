//! Owns the form of log lines. Never decides what is logged where: rooms use the `tracing` macros.
//!
//! A JSON line has `timestamp`, `level`, `target`, `message`, the event's own fields, and the innermost span under `span`.

use crate::clock::SharedClock;
use std::fmt;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line, for machines.
    Json,
    /// For people, in colour or not.
    Human {
        /// Whether to colour.
        colour: bool,
    },
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not in the form of one.
    #[error(
        "the log filter `{filter}` cannot be understood, must be like `info,apono_connector::executor=debug`"
    )]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// It was set up before.
    #[error("logging is set up already")]
    Twice,
}

/// Sets logging up for the process, panics included; once.
///
/// # Errors
/// When the filter cannot be understood, or logging is set up already.
pub fn init<W>(
    format: Format,
    filter: &str,
    clock: SharedClock,
    writer: W,
) -> Result<(), LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let subscriber = subscriber(format, filter, clock, writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(
            place = place.unwrap_or_default(),
            reason = panic.payload_as_str().unwrap_or_default(),
            "a task panicked"
        );
    }));
    Ok(())
}

/// Makes what [`init`] sets up.
///
/// # Errors
/// When the filter cannot be understood.
pub fn subscriber<W>(
    format: Format,
    filter: &str,
    clock: SharedClock,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder()
        .with_regex(false)
        .parse(filter)
        .map_err(|source| LoggingError::Filter {
            filter: crate::domain::shown(filter),
            source,
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_timer(Timer(clock))
        .with_writer(writer);
    Ok(match format {
        Format::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
        Format::Human { colour } => Box::new(builder.with_ansi(colour).with_target(false).finish()),
    })
}

struct Timer(SharedClock);

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", self.0.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, events: impl FnOnce()) -> String {
        let lines = Lines::default();
        let clock = Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, clock, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_has_stable_fields() {
        let text = logged(Format::Json, "info", || {
            let span = tracing::info_span!("task.run", task.id = "t1");
            span.in_scope(|| tracing::info!(grant.id = "g1", count = 3, "granted \"x\"\n"));
            tracing::debug!("not this one");
        });
        insta::assert_snapshot!(text, @r#"
    {"timestamp":"2030-01-01T00:00:00.000Z","level":"INFO","message":"granted \"x\"\n","grant.id":"g1","count":3,"target":"apono_connector::telemetry::logging::tests","span":{"task.id":"t1","name":"task.run"}}
    "#);
    }

    #[test]
    fn a_human_line_is_short_and_cannot_move_the_cursor() {
        let text = logged(Format::Human { colour: false }, "warn", || {
            tracing::info!("not this one");
            tracing::warn!(name = "\u{1b}[2J", "odd");
        });
        insta::assert_snapshot!(text, @r#"
    2030-01-01T00:00:00.000Z  WARN odd name="\u{1b}[2J"
    "#);
    }

    #[test]
    fn a_filter_works_by_room() {
        let text = logged(
            Format::Json,
            "warn,apono_connector::telemetry=debug",
            || {
                tracing::debug!("here");
                tracing::info!(target: "elsewhere", "there");
            },
        );
        assert!(text.contains("here") && !text.contains("there\""), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_understood_is_named() {
        let clock = Arc::new(FakeClock::at("2030-01-01T00:00:00Z".parse().unwrap()));
        let made = subscriber(Format::Json, "info,a=b=c", clock, std::io::sink);
        let error = made.err().unwrap().to_string();
        assert!(error.contains("`info,a=b=c`"), "{error}");
    }
}
