//! `neji run`.

use clap::Args as ClapArgs;

/// Run a blob on raw int8 tensors.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Says what went wrong, where, and what to do.
pub fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("not available in this build")
}
