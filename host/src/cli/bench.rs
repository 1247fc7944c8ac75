//! `neji bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use neji_machine::{Board, toolchain};

use crate::bench::{self, Bench, Place};

/// Count the instructions of an inference on emulated boards, exactly: the same today and tomorrow, here and elsewhere.
///
/// Each board's own firmware runs the model in QEMU, a .tflite model as `neji pack` makes it for the board; what is counted is Engine::run, warm. No time is shown: an emulator has
/// none.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Blobs, int8 or int16 .tflite models, or folders of them.
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Where they run: boards' names, or all.
    #[arg(long, value_name = "BOARD", num_args = 1.., default_values = ["all"])]
    pub on: Vec<String>,
    /// Show each operator as well.
    #[arg(long)]
    pub operators: bool,
    /// Print one JSON object, operators included.
    #[arg(long)]
    pub json: bool,
    /// A board that takes longer than this for a model is stuck.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// The repository, which holds the boards; by default the one around this folder.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A model that can't be read or imported, no such board, a board that fails, or a count that is not certain.
pub fn run(args: Args) -> anyhow::Result<()> {
    let models = bench::models(&args.models, |error| eprintln!("left out: {error:#}"))?;
    let root = args.root.map_or_else(toolchain::root, Ok)?;
    let mut places = Vec::new();
    for name in &args.on {
        let boards = if name == "all" { Board::emulated(&root)? } else { vec![Board::find_emulated(&root, name)?] };
        for board in boards {
            places.push(Place::build(board)?);
        }
    }
    let firmware: Vec<_> = places.iter().map(|place| place.firmware().clone()).collect();
    if !args.json {
        print!("{}", bench::firmware_text(&firmware));
    }
    let mut found = Vec::new();
    for source in &models {
        let benched = bench::bench(source, &places, Duration::from_secs(args.timeout))?;
        if !args.json {
            print!("{}", bench::model_text(&benched, args.operators));
        }
        found.push(benched);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Bench { firmware, models: found })?);
    }
    Ok(())
}
