//! `neji report`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use neji_machine::{Board, toolchain};

use crate::report::{self, cost};

/// Write the report of a run as one HTML file, or compare runs on the same data.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run folders that `neji train` wrote; several are compared.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The file to write; by default report.html in the run's folder, and compare.html here for several.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Count first what a frame of each run costs on this board, in QEMU, and keep it in the run's profile.json, which comparisons
    /// show.
    #[arg(long, value_name = "BOARD")]
    pub profile: Option<String>,
    /// The clock that times are for, a cycle an instruction; by default the board's own.
    #[arg(long, value_name = "N", requires = "profile", value_parser = super::simulate::clock)]
    pub clock_mhz: Option<f64>,
    /// The repository, which holds the boards; by default the one around this folder.
    #[arg(long, requires = "profile")]
    pub root: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a folder holds no run, a file in it cannot be understood, runs to compare are on different data, or the report cannot be
/// written.
pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(name) = &args.profile {
        let board = Board::find(&args.root.map_or_else(toolchain::root, Ok)?, name)?;
        let clock_hz = args.clock_mhz.map(|clock| (clock * 1e6).round() as u64);
        for run in &args.runs {
            let cost = cost::measure(run, &board, clock_hz)?;
            eprintln!(
                "{}: {} instructions a frame on {}, {:.2} ms at {} MHz at best",
                run.display(),
                cost.instructions,
                cost.board,
                cost.ms(cost.instructions),
                cost.clock_hz as f64 / 1e6
            );
        }
    }
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
