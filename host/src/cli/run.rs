//! `neji run`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::{simulate, tensor_file};

/// Run a blob on raw int8 or int16 tensors, without front end or detector.
///
/// A blob that streams takes the samples as new rows, one run after the other, and gives an output for each; those before the
/// first full window are to be dropped.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The blob.
    pub blob: PathBuf,
    /// `.npy` of the model's elements; the first axis counts samples.
    #[arg(long, value_name = "X.npy")]
    pub input: PathBuf,
    /// Where the outputs go.
    #[arg(long, value_name = "Y.npy")]
    pub output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// A blob or tensor file that can't be read or does not fit, an output that can't be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let bytes = simulate::read_blob(&args.blob)?;
    let model = simulate::model(&args.blob, &bytes)?;
    let plan = *model.plan();
    let inputs = tensor_file::read(&args.input, plan.element, plan.input.shape)?;
    tensor_file::write(&args.output, plan.element, plan.output.shape, &tensor_file::run(model, &inputs))?;
    println!("{}: {} samples", args.output.display(), inputs.len());
    Ok(())
}
