//! `cargo xtask bench`: builds neji and has it count, by default the models beside the repository on the larger boards.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use neji_machine::toolchain;

use crate::{neji, setup};

/// Where models are that no repository of code should hold, seen from the root.
const MODELS: &str = "../shared/models";

/// One board a core, but for the Cortex-M0, which has no room for them.
const BOARDS: [&str; 5] =
    ["qemu-mps2-an386", "qemu-mps2-an500", "qemu-mps2-an505", "qemu-mps2-an385", "qemu-mps3-an547"];

/// Count the instructions of an inference on emulated boards.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Blobs, .tflite models, or folders of them; ../shared/models by default.
    #[arg(value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Where they run: boards' names, or all; those with a Cortex-M3 and larger by default.
    #[arg(long, value_name = "BOARD", num_args = 1.., default_values = BOARDS)]
    on: Vec<String>,
    /// Show each operator as well.
    #[arg(long)]
    operators: bool,
    /// Print one JSON object, operators included.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// There are no models, neji does not build, or a count fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = toolchain::root()?;
    let mut models = args.models.clone();
    if models.is_empty() {
        let folder = root.join(MODELS);
        ensure!(folder.is_dir(), "no models at {}: name .tflite files, blobs or folders of them", folder.display());
        models.push(folder.canonicalize()?);
    }
    setup::boards()?;
    let mut bench = Command::new(neji::build(&root)?);
    bench.arg("bench").args(&models).arg("--on").args(&args.on);
    bench.args(args.operators.then_some("--operators")).args(args.json.then_some("--json"));
    ensure!(bench.status().context("starting neji")?.success(), "the count failed");
    Ok(())
}
