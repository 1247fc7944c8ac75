//! `neji pack`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use neji_format::Packing;
use neji_machine::{Board, toolchain};

use crate::files::write_whole;
use crate::{pack, simulate};

/// Lay the weights of a blob or a .tflite model in the order that a board's kernels read with the fewest instructions.
///
/// The outputs stay the same, bit by bit. Boards whose kernels do not know the order refuse the blob.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The blob, or a .tflite model, which is imported first.
    pub blob: PathBuf,
    /// The board's name, or any: rows, which every board reads.
    #[arg(long = "for", value_name = "BOARD|any")]
    pub board: String,
    /// Where the blob goes.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The repository, which holds the boards; by default the one around this folder.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A file that can't be read or written, a refused blob, no such board.
pub fn run(args: Args) -> anyhow::Result<()> {
    let bytes = simulate::read_blob(&args.blob)?;
    let model = simulate::model(&args.blob, &bytes)?;
    let packed = if args.board == "any" {
        pack::pack(&model, false)?
    } else {
        pack::for_board(&Board::find(&args.root.map_or_else(toolchain::root, Ok)?, &args.board)?, &model)?
    };
    write_whole(&args.output, packed.as_slice())?;
    let found = simulate::model(&args.output, &packed)?;
    let count = found.operators().filter(|operator| operator.packing() == Packing::Pairs).count();
    let (before, after) = (bytes.as_slice().len(), packed.as_slice().len());
    println!("{}: {count} operators in pairs of rows, {after} bytes (were {before})", args.output.display());
    Ok(())
}
