//! `neji new`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use neji_machine::Board;

use super::boards::emulated;
use crate::project::{self, Task};

/// Write a small firmware project of your own: it depends on neji's crates, builds with cargo, and runs in QEMU where the board
/// has a twin there.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The folder, which must not be there yet or be empty; its name is the package's.
    pub path: PathBuf,
    /// The board: `neji boards` lists them.
    #[arg(long, value_name = "BOARD")]
    pub board: String,
    /// What it watches.
    #[arg(long)]
    pub task: Task,
    /// The repository of neji that crates are taken from; by default the one around this folder, else its address.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Take crates from the repository's address, whatever lies around this folder.
    #[arg(long, conflicts_with = "root")]
    pub published: bool,
}

/// Runs the command.
///
/// # Errors
/// No such board, a folder that is not empty or whose name is none for a package.
pub fn run(args: Args) -> anyhow::Result<()> {
    let boards = Board::here(args.root.as_deref())?;
    let board = Board::find_here(args.root.as_deref(), &args.board)?;
    let twin = emulated(&board, &boards).filter(|twin| twin.package != board.package);
    let crates = project::crates(args.root.as_deref(), args.published);
    let name = project::name_of(&args.path)?;
    let files = project::files(name, &board, twin, args.task, &crates)?;
    project::write(&args.path, &files)?;
    let target = &board.settings.target;
    println!("wrote {}: its README.md says what to type; first", args.path.display());
    println!("    cd {} && cargo build --release    # needs: rustup target add {target}", args.path.display());
    Ok(())
}
