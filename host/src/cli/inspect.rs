//! `neji inspect`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{inspect, simulate};

/// Show what is in a blob or an int8 .tflite model: operators, arena, flash, RAM, front end, detector, where it comes from.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The blob, or a .tflite model, which is imported first.
    pub blob: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// The file can't be read, or is refused: the message is the device's reason.
pub fn run(args: Args) -> anyhow::Result<()> {
    let bytes = simulate::read_blob(&args.blob)?;
    let found = inspect::inspect(&simulate::model(&args.blob, &bytes)?);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => print!("{}", inspect::text(&found)),
    }
    Ok(())
}
