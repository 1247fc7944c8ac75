//! `cargo xtask conformance`: builds neji and has it compare, since importing is its work.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use neji_machine::toolchain;

use crate::{neji, setup};

/// Compare imported models with the answers of TensorFlow Lite.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Folders of models with their vectors.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Where they run: host, a board's name, or all.
    #[arg(long, value_name = "host|BOARD|all", default_value = "host")]
    on: String,
}

/// Runs it.
///
/// # Errors
/// neji does not build, or finds a difference.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.on != "host" {
        setup::boards()?;
    }
    let mut compare = Command::new(neji::build(&toolchain::root()?)?);
    compare.arg("conformance").args(&args.folders).args(["--on", &args.on]);
    ensure!(compare.status().context("starting neji")?.success(), "the comparison failed");
    Ok(())
}
