//! The command line: typed arguments, then plumbing.

pub mod bench;
pub mod boards;
pub mod conformance;
pub mod data;
pub mod eval;
pub mod flash;
pub mod import;
pub mod inspect;
pub mod monitor;
pub mod new;
pub mod pack;
pub mod pipe;
pub mod probe;
pub mod profile;
pub mod quantize;
pub mod report;
pub mod run;
pub mod simulate;
pub mod train;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Anomaly detection that is trained on a PC and runs on a microcontroller.
#[derive(Debug, Parser)]
#[command(name = "neji", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Render example data, look at data.
    Data(data::Args),
    /// Train a model.
    Train(train::Args),
    /// Quantize a trained run into a blob.
    Quantize(quantize::Args),
    /// Evaluate a run or a blob on labelled data.
    Eval(eval::Args),
    /// Turn an int8 .tflite model into a blob.
    Import(import::Args),
    /// Compare imported models with the answers of TensorFlow Lite.
    Conformance(conformance::Args),
    /// Count the instructions of an inference on emulated boards.
    Bench(bench::Args),
    /// Show where an inference's instructions are, and estimate its cycles.
    Profile(profile::Args),
    /// Show what is in a blob.
    Inspect(inspect::Args),
    /// Lay a blob's weights in the order that a board reads best.
    Pack(pack::Args),
    /// Run a blob on raw int8 tensors.
    Run(run::Args),
    /// Feed the firmware's monitor from files, on the host or on an emulated board.
    Simulate(simulate::Args),
    /// List the boards that neji knows, and whether a model fits them.
    Boards(boards::Args),
    /// Write a small firmware project of your own.
    New(new::Args),
    /// Write firmware and a model to a board.
    Flash(flash::Args),
    /// Watch a board over its live link.
    Monitor(monitor::Args),
    /// Write the report of a run, or a comparison of several, as one HTML file.
    Report(report::Args),
}

/// A flag that Ctrl-C sets; who asks twice does not want to wait for what the flag ends.
fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("watching for Ctrl-C")?;
    Ok(stop)
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The command's own, with context.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Data(args) => data::run(args),
            Command::Train(args) => train::run(args),
            Command::Quantize(args) => quantize::run(args),
            Command::Eval(args) => eval::run(args),
            Command::Import(args) => import::run(args),
            Command::Conformance(args) => conformance::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Profile(args) => profile::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Pack(args) => pack::run(args),
            Command::Run(args) => run::run(args),
            Command::Simulate(args) => simulate::run(args),
            Command::Boards(args) => boards::run(args),
            Command::New(args) => new::run(args),
            Command::Flash(args) => flash::run(args),
            Command::Monitor(args) => monitor::run(args),
            Command::Report(args) => report::run(args),
        }
    }
}
