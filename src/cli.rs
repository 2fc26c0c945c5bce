//! Owns the command line: what a person types and what is printed. The only room that prints. Never decides anything.

use crate::agent;
use crate::config::{Config, Environment};
use crate::operator::{self, Answer, Line, Request};
use crate::targets::postgres::close_all_sql;
use crate::telemetry::probe::probe;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives people just-in-time access to databases and takes it away again.
#[derive(Debug, Parser)]
#[command(name = "apono-connector", version)]
struct Arguments {
    /// The configuration file; also by APONO_CONFIG, or its text by APONO_CONFIG_TEXT.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run,
    /// Check the configuration, print every problem at once, and exit.
    CheckConfig,
    /// Ask the running daemon whether it lives; exit status 0 means yes.
    Healthcheck,
    /// List the grants this instance knows.
    Grants {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse all starts until `unfreeze`; ends go on.
    Freeze,
    /// Allow starts again.
    Unfreeze,
    /// Freeze starts and end every grant now.
    RevokeAll,
    /// Print what closes everything of this connector on a copy that no connector manages; changes nothing by itself.
    CloseAll {
        /// Print SQL for PostgreSQL.
        #[arg(long, required = true)]
        sql: bool,
    },
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are asked for and go to standard output; the rest are mistakes.
        Err(error) if error.print().is_ok() && !error.use_stderr() => return ExitCode::SUCCESS,
        Err(_) => return ExitCode::from(2),
    };
    #[cfg(feature = "test-util")]
    if let Err(error) = environment.arm_cut_points() {
        complain(&error.to_string());
        return ExitCode::from(2);
    }
    let config = match Config::load(environment, arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(2);
        }
    };
    match carry_out(&arguments.command, config) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: &Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::CheckConfig => {
            agent::check_log(&config)?;
            say("the configuration is good");
            Ok(ExitCode::SUCCESS)
        }
        Command::Run => agent::runtime()?.block_on(agent::run(config)),
        Command::Healthcheck => agent::runtime()?.block_on(healthcheck(&config)),
        Command::Grants { json } => agent::runtime()?.block_on(grants(&config, *json)),
        Command::Freeze => agent::runtime()?.block_on(change(&config, Request::Freeze)),
        Command::Unfreeze => agent::runtime()?.block_on(change(&config, Request::Unfreeze)),
        Command::CloseAll { .. } => {
            say(&close_all_sql(&config.control_plane.connector));
            Ok(ExitCode::SUCCESS)
        }
        Command::RevokeAll => agent::runtime()?.block_on(change(&config, Request::RevokeAll)),
    }
}

async fn healthcheck(config: &Config) -> anyhow::Result<ExitCode> {
    let answer = probe(config.listen, "/healthz").await?;
    say(answer.trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn grants(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let lines = match ask(config, Request::Grants).await? {
        Answer::Grants(lines) => lines,
        other @ (Answer::Frozen(_) | Answer::Ending(_) | Answer::Failed(_)) => {
            return Ok(unexpected(&other));
        }
    };
    if json {
        say(&serde_json::to_string_pretty(&lines)?);
    } else {
        say(&table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the daemons of this machine; without one, does it here on the ledger alone.
async fn ask(config: &Config, request: Request) -> anyhow::Result<Answer> {
    let folders = agent::state_folders(config);
    if let Some(answer) = operator::ask_all(&folders, request).await? {
        return Ok(answer);
    }
    let agent::Offline { answer, elsewhere } = agent::do_offline(config, request).await?;
    let everywhere = matches!(request, Request::Freeze | Request::Unfreeze);
    if elsewhere > 0 && !everywhere {
        complain(&format!(
            "no daemon answers here; {elsewhere} instances run elsewhere on the same state folder and may know of more grants: ask there too"
        ));
    }
    Ok(answer)
}

async fn change(config: &Config, request: Request) -> anyhow::Result<ExitCode> {
    match ask(config, request).await? {
        Answer::Frozen(true) => {
            say("starts are frozen; run `apono-connector unfreeze` to allow them again");
        }
        Answer::Frozen(false) => say("starts are allowed"),
        Answer::Ending(count) => say(&format!(
            "starts are frozen and {count} grants are being ended; `apono-connector grants` shows what is left"
        )),
        answer @ (Answer::Grants(_) | Answer::Failed(_)) => return Ok(unexpected(&answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn unexpected(answer: &Answer) -> ExitCode {
    match answer {
        Answer::Failed(problem) => complain(problem),
        Answer::Grants(_) | Answer::Frozen(_) | Answer::Ending(_) => {
            complain(
                "the daemon gave an answer to another question; both programs must be of one version",
            );
        }
    }
    ExitCode::FAILURE
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no grants".to_owned();
    }
    let head = ["GRANT", "WHO", "WHAT", "HOW MUCH", "STATE", "UNTIL"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        [
            line.grant.clone(),
            line.principal.clone(),
            line.resource.clone(),
            line.permission.clone(),
            line.phase.clone(),
            line.expiry.to_string(),
        ]
    });
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let printed = rows.iter().map(|row| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    });
    printed.collect::<Vec<_>>().join("\n")
}

#[expect(
    clippy::print_stdout,
    reason = "this is what the command was asked for"
)]
fn say(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "mistakes of the command line go where people look"
)]
fn complain(text: &str) {
    eprintln!("{text}");
}
