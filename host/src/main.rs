//! The `neji` command.

use std::process::ExitCode;

use clap::Parser;
use neji::cli::{Cli, pipe};

fn main() -> ExitCode {
    pipe::end_quietly();
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if pipe::is_closed(&error) => ExitCode::from(pipe::STATUS),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
