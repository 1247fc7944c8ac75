//! `neji import`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;
use sha2::{Digest, Sha256};

use crate::files::write_whole;
use crate::run::hex;
use crate::tflite;

/// Turn an int8 .tflite model into a blob that gives TensorFlow Lite's bytes.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The model.
    pub model: PathBuf,
    /// The blob to write; the model's name with .neji by default.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A file that can't be read or written, or a model that can't be imported: names the operator and what is supported.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = &args.model;
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let blob = tflite::to_blob(&bytes, &name).with_context(|| format!("importing {}", path.display()))?;
    let out = args.output.unwrap_or_else(|| path.with_extension("neji"));
    write_whole(&out, blob.as_slice())?;
    println!("{}: {} bytes", out.display(), blob.as_slice().len());
    println!("SHA-256 {}", hex(&Sha256::digest(blob.as_slice())));
    Ok(())
}
