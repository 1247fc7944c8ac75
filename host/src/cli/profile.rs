//! `neji profile`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use neji_machine::{Board, toolchain};

use crate::profile;
use crate::simulate::Source;

/// Show where the instructions of an inference are, by operator, function and kind, and estimate its cycles. Needs no board.
///
/// The board's own firmware runs the model in QEMU; a .tflite model is packed for it first (`neji pack`). Instructions are exact, and checked against what `neji bench` counts.
/// Cycles are an estimate, for a Cortex-M4 only.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A blob or an int8 or int16 .tflite model.
    pub model: PathBuf,
    /// Where it runs: a board's name.
    #[arg(long, value_name = "BOARD")]
    pub on: String,
    /// The clock for which cycles are turned to milliseconds.
    #[arg(long, value_name = "N", default_value_t = 120.0, value_parser = clock)]
    pub clock_mhz: f64,
    /// How many functions are shown.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// A board that takes longer than this is stuck.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// The repository, which holds the boards; by default the one around this folder.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

fn clock(text: &str) -> Result<f64, String> {
    let clock: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if clock.is_finite() && clock > 0.0 { Ok(clock) } else { Err("a clock is above zero".to_owned()) }
}

/// Runs the command.
///
/// # Errors
/// A model that can't be read or imported, no such board, a board that fails or has no room, or counts that do not agree.
pub fn run(args: Args) -> anyhow::Result<()> {
    let board = Board::find_emulated(&args.root.map_or_else(toolchain::root, Ok)?, &args.on)?;
    let source = Source::read(&args.model)?.on(&board)?;
    let model = source.model()?;
    let timeout = Duration::from_secs(args.timeout);
    let profiled = profile::profile(&args.model, &model, &board, args.clock_mhz, args.top, timeout)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&profiled)?);
    } else {
        print!("{}", profile::text(&profiled));
    }
    Ok(())
}
