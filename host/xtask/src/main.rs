//! The repository's own chores. `cargo xtask --help` lists them.
#![forbid(unsafe_code)]

mod bench;
mod budget;
mod conformance;
mod demo;
mod fuzz;
mod neji;
mod no_panic;
mod package;
mod setup;
mod size;
mod step;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install the bare-metal targets, QEMU and, for one test, Chromium; a second when nothing is to do.
    /// NEJI_TOOLCHAIN=debian takes Debian's compiler where rustup cannot download.
    Setup,
    /// The main job on rendered data, screws or sound: train, quantize, raise the alarm on emulated boards, write the reports.
    Demo(demo::Args),
    /// Everything that CI runs: format, lints, docs, tests, all firmware, the report in a browser.
    Test(test::Args),
    /// What crates.io would be given of every crate that is published, made and not compiled.
    Package,
    /// Imported models against the answers of TensorFlow Lite's reference kernels: every X.tflite of the folders that has an
    /// X.in.npy and an X.out.npy.
    Conformance(conformance::Args),
    /// Feed random bytes to the parser, the engine, the importer and the line of reports; needs nightly and cargo-fuzz.
    Fuzz(fuzz::Args),
    /// Instructions of an inference on emulated boards, exactly; by default of ../shared/models, on Cortex-M3, M4, M7, M33 and
    /// M55.
    Bench(bench::Args),
    /// Show by the linker that nothing from the model's parser on can panic.
    NoPanic,
    /// Flash and RAM of each board: code, constants, statics, the monitor's memory; the stack's bound, used and promised.
    Size(size::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup => setup::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Package => package::run(),
        Verb::Conformance(args) => conformance::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::NoPanic => no_panic::run(),
        Verb::Size(args) => size::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
