//! The connector.

use apono_connector::cli;
use apono_connector::config::Environment;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os(), &Environment::of_process())
}
