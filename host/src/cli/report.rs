//! `neji report`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Write the report of a run as one HTML file.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run folder that `neji train` wrote; the report is put into it as report.html.
    pub run: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the folder holds no run, a file in it cannot be understood, or the report cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    println!("{}", crate::report::write(&args.run)?.display());
    Ok(())
}
