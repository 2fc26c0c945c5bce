//! Owns the command line of the reference control plane. Everything but `serve` goes over the admin API.

mod aws_credential;
mod client;
mod credential;
mod requests;
mod screen;
mod serve;
mod span;

use super::PlaneError;
use clap::{Args, Parser, Subcommand, ValueEnum};
use client::Client;
use jiff::Timestamp;
use span::Span;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use uuid::Uuid;

/// Reference control plane of apono-connector: for development, tests and small self-hosted use.
///
/// There is no approval workflow: whoever holds the admin token decides.
#[derive(Debug, Parser)]
#[command(name = "apono-control-plane", version)]
struct CommandLine {
    /// Address of the running control plane.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8700")]
    url: String,
    /// File with the admin token; `serve` makes it when it is missing.
    #[arg(long, global = true, default_value = "apono-admin-token")]
    admin_token_file: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the control plane.
    Serve(Serve),
    /// Adds, lists, changes and retires integrations.
    #[command(subcommand)]
    Integration(Integration),
    /// Asks for access and prints the credential.
    Grant(Grant),
    /// Moves the end of a grant.
    Extend {
        /// The grant's id.
        grant: Uuid,
        #[command(flatten)]
        end: End,
        #[command(flatten)]
        wait: Wait,
    },
    /// Ends a grant.
    Revoke {
        /// The grant's id.
        grant: Uuid,
        #[command(flatten)]
        wait: Wait,
    },
    /// Sets a new password on the login of a live grant and prints it.
    ResetCredentials {
        /// The grant's id.
        grant: Uuid,
        #[command(flatten)]
        delivery: Delivery,
        #[command(flatten)]
        wait: Wait,
    },
    /// Shows who had what, when.
    Grants {
        /// Also what is over.
        #[arg(long)]
        all: bool,
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Shows the connectors' instances.
    Connectors {
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Shows what exists in an integration.
    Inventory {
        /// Id or name.
        integration: String,
        /// Indents by path.
        #[arg(long)]
        tree: bool,
        /// Shows what is gone instead.
        #[arg(long)]
        deleted: bool,
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Shows who has access to an integration that no connector gave.
    Access {
        /// Id or name.
        integration: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Prints the description of the API (OpenAPI 3.1).
    Openapi,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8700")]
    listen: SocketAddr,
    /// The SQLite file; made when it is missing.
    #[arg(long)]
    store: PathBuf,
    /// File with the token of connectors; made when it is missing.
    #[arg(long)]
    connector_token_file: PathBuf,
    /// How long a lease lasts, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease_s: u64,
    /// Allows an address other than loopback: a proxy in front speaks TLS.
    #[arg(long)]
    behind_tls_proxy: bool,
    /// Begins a new epoch; needed after the file was restored from a copy.
    #[arg(long)]
    new_epoch: bool,
}

#[derive(Debug, Subcommand)]
enum Integration {
    /// Adds one; a check and an inventory follow at once.
    Add {
        /// The connector that will manage it.
        #[arg(long)]
        connector: String,
        /// What people call it.
        #[arg(long)]
        name: String,
        /// The kind of system, for example `postgresql`.
        #[arg(long = "type")]
        kind: String,
        /// A setting, `name=value`; may be repeated.
        #[arg(long = "setting", value_parser = setting)]
        settings: Vec<(String, String)>,
        /// Where the connector finds the credential, for example `file:/run/secrets/orders`; docs/secrets.md has the other forms.
        #[arg(long)]
        secret: Option<String>,
    },
    /// Lists them.
    List {
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Changes settings of one; a check follows at once.
    Change {
        /// Id or name.
        integration: String,
        /// A setting, `name=value`; an empty value takes it away. May be repeated.
        #[arg(long = "setting", value_parser = setting, required = true)]
        settings: Vec<(String, String)>,
    },
    /// Lists what in the inventory of one asks by itself to be managed, for example databases with tag `apono-connect`.
    Discovered {
        /// Id or name of the one whose inventory it is.
        integration: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = ListForm::Text)]
        format: ListForm,
    },
    /// Makes an integration of something that was found, with the settings it asks for.
    AddDiscovered {
        /// Id or name of the one it was found in.
        integration: String,
        /// Its name, its id, or its path.
        resource: String,
        /// What people will call it; its own name where missing.
        #[arg(long)]
        name: Option<String>,
        /// A setting beside or above what it asks for, `name=value`; may be repeated.
        #[arg(long = "setting", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// Takes one out of use: no new access, gone once nothing of ours is left in it.
    Retire {
        /// Id or name.
        integration: String,
    },
    /// Orders an inventory.
    Sync {
        /// Id or name.
        integration: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Orders a check.
    Check {
        /// Id or name.
        integration: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Args)]
struct Grant {
    /// In which integration, by id or name.
    #[arg(long)]
    integration: String,
    /// Who: an e-mail address; in an organization also `user:NAME` or `group:NAME`.
    #[arg(long)]
    to: String,
    /// Type of the resource, for example `postgresql-schema`.
    #[arg(long = "type")]
    kind: String,
    /// A name of the resource's path, outermost first; repeated.
    #[arg(
        long,
        required_unless_present = "resource",
        conflicts_with = "resource"
    )]
    path: Vec<String>,
    /// The whole path, parted by `/`, for example `app/public`.
    #[arg(long)]
    resource: Option<String>,
    /// How much: `READ_ONLY`, `READ_WRITE`, `ADMIN` or `MEMBER`.
    #[arg(long)]
    permission: String,
    #[command(flatten)]
    end: End,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    wait: Wait,
    /// The same key with the same request gives the same grant.
    #[arg(long)]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct End {
    /// How long from now, for example `45s`, `30m`, `1h30m`, `2d`.
    #[arg(long = "for", value_parser = Span::parse)]
    duration: Option<Span>,
    /// When it ends, for example `2026-12-01T18:00:00Z`.
    #[arg(long)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
struct Delivery {
    /// Whom to seal the credential to; without it a throw-away key is made and the credential is printed.
    #[arg(long)]
    recipient: Option<String>,
    /// How to print the credential.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

#[derive(Debug, Args)]
struct Wait {
    /// How long to wait for the result, `0s` not at all.
    #[arg(long = "wait", value_parser = Span::parse, default_value = "30s")]
    time: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// All of it, for people.
    Text,
    /// A `postgresql://` address.
    Uri,
    /// A line of a pgpass file.
    Pgpass,
    /// Variables for a shell to read.
    Env,
    /// JSON.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListForm {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("{0}")]
    Plane(#[from] PlaneError),
    #[error("the control plane at `{url}` cannot be reached")]
    Unreachable { url: String },
    #[error("the control plane's answer cannot be understood: {0}")]
    Garbled(String),
    #[error("{message}")]
    Refused {
        message: String,
        hint: Option<String>,
    },
    #[error("the sealed credential cannot be opened")]
    Unseal,
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } => hint.clone(),
            Self::Plane(PlaneError::Exposed(_)) => Some(
                "put a proxy that speaks TLS in front and give `--behind-tls-proxy`".to_owned(),
            ),
            Self::Plane(PlaneError::File { .. }) => Some(
                "see `--help` for the file's option; `serve` makes missing token files".to_owned(),
            ),
            Self::Unreachable { .. } => {
                Some("start it with `apono-control-plane serve`, or give `--url`".to_owned())
            }
            Self::Unseal => Some("get a new one with `reset-credentials`".to_owned()),
            Self::Plane(_) | Self::Garbled(_) | Self::Output(_) => None,
        }
    }
}

/// Runs the command line; the status is 0 only on success.
#[must_use]
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(CommandError::from)
        .and_then(|runtime| runtime.block_on(carry_out(line)))
        .and_then(|text| screen::say(&text));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::complain(&screen::trouble(&error, error.hint().as_deref()));
            ExitCode::FAILURE
        }
    }
}

/// Runs one command inside a test, and returns what it would print.
///
/// # Errors
/// What it would print as trouble.
#[cfg(feature = "test-util")]
pub async fn answer(args: &[&str]) -> Result<String, String> {
    let args = ["apono-control-plane"].iter().chain(args);
    let line = CommandLine::try_parse_from(args).map_err(|error| error.to_string())?;
    carry_out(line)
        .await
        .map_err(|error| screen::trouble(&error, error.hint().as_deref()))
}

async fn carry_out(line: CommandLine) -> Result<String, CommandError> {
    let connect = || Client::new(&line.url, &line.admin_token_file);
    match line.verb {
        Verb::Serve(options) => {
            serve::serve(options, &line.admin_token_file).await?;
            Ok(String::new())
        }
        Verb::Openapi => Ok(super::document()?),
        Verb::Integration(verb) => requests::integration(&connect()?, verb).await,
        Verb::Grant(grant) => requests::grant(&connect()?, grant).await,
        Verb::Extend { grant, end, wait } => {
            requests::extend(&connect()?, grant, &end, wait.time).await
        }
        Verb::Revoke { grant, wait } => requests::revoke(&connect()?, grant, wait.time).await,
        Verb::ResetCredentials {
            grant,
            delivery,
            wait,
        } => requests::reset_credentials(&connect()?, grant, delivery, wait.time).await,
        Verb::Grants { all, format } => requests::grants(&connect()?, all, format).await,
        Verb::Connectors { format } => requests::connectors(&connect()?, format).await,
        Verb::Inventory {
            integration,
            tree,
            deleted,
            format,
        } => requests::inventory(&connect()?, &integration, (tree, deleted), format).await,
        Verb::Access {
            integration,
            format,
        } => requests::access(&connect()?, &integration, format).await,
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be `name=value`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_grant_needs_an_end_and_a_path() {
        let base = "apono-control-plane grant --integration db --to a@b --type postgresql-schema --permission READ_ONLY";
        let parse = |rest: &str| {
            let line = format!("{base} {rest}");
            CommandLine::try_parse_from(line.split_whitespace()).is_ok()
        };
        assert!(parse("--path app --path public --for 1h"));
        assert!(parse("--resource app/public --until 2026-12-01T18:00:00Z"));
        assert!(!parse("--resource app/public"));
        assert!(!parse("--for 1h"));
        assert!(!parse(
            "--resource a/b --for 1h --until 2026-12-01T18:00:00Z"
        ));
        assert!(!parse("--resource a/b --for soon"));
    }

    #[test]
    fn a_setting_is_a_name_and_a_value_that_may_hold_anything() {
        assert_eq!(setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(setting("=b").is_err());
        assert!(setting("ab").is_err());
    }
}
