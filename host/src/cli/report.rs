//! `neji report`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::report;

/// Write the report of a run as one HTML file, or compare runs on the same data.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run folders that `neji train` wrote; several are compared.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The file to write; by default report.html in the run's folder, and compare.html here for several.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a folder holds no run, a file in it cannot be understood, runs to compare are on different data, or the report cannot be
/// written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let out = match args.runs.as_slice() {
        [run] => {
            let out = args.out.unwrap_or_else(|| run.join("report.html"));
            report::write_to(run, &out)?;
            out
        }
        runs => {
            let out = args.out.unwrap_or_else(|| "compare.html".into());
            report::compare::write(runs, &out)?;
            out
        }
    };
    println!("{}", out.display());
    Ok(())
}
