//! `neji quantize`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use sha2::{Digest, Sha256};

use crate::experiment::ActivationsName;
use crate::quantize::sensitivity::{Alone, Sensitivity};
use crate::quantize::{self, Quantized, Request, Summary};
use crate::run::{Run, hex};

/// Quantize a trained run into one blob.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The run folder that `neji train` wrote.
    pub run: PathBuf,
    /// The blob to write; model.neji in the run folder by default.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What activations are; the experiment's by default.
    #[arg(long, value_enum)]
    pub activations: Option<ActivationsName>,
    /// Most bytes of the arena: where the model needs more, its first layers are computed in bands of rows. The
    /// experiment's by default.
    #[arg(long, value_name = "BYTES")]
    pub ram_budget: Option<usize>,
    /// Take only HOP new frames of a window of sound a run, and compute only what they change, for a classifier: from the first
    /// full window on with the scores of the whole windows. What earlier runs left is kept in the arena, which grows.
    #[arg(long, value_name = "HOP", num_args = 0..=1, default_missing_value = "1", require_equals = true,
        value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "ram_budget")]
    pub streaming: Option<u16>,
    /// Quantize with the other kind of activations as well, into other.neji, so that the report compares the two.
    #[arg(long)]
    pub both: bool,
    /// Try each layer's rounding by itself, on held-out normal samples and defects made of them.
    #[arg(long)]
    pub sensitivity: bool,
    /// Print quantize.json instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// A run that is not trained or whose data have changed, a model that int8 can't compute, a file that can't be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let run = Run::new(&args.run);
    run.experiment()?;
    let _lock = run.lock()?;
    let request = Request {
        activations: args.activations,
        ram_budget: args.ram_budget,
        hop: args.streaming,
        both: args.both,
        sensitivity: args.sensitivity,
    };
    let Quantized { bytes, summary, other } = quantize::quantize_all(&run, &request)?;
    let out = args.output.unwrap_or_else(|| run.blob());
    quantize::write_other(&run, other.as_ref())?;
    quantize::write(&run, &out, &bytes, &summary)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(());
    }
    print(&summary);
    println!("\n{}", out.display());
    println!("SHA-256 {}", hex(&Sha256::digest(bytes.as_slice())));
    Ok(())
}

fn print(summary: &Summary) {
    println!(
        "  {:<24} {:<16} {:>12} {:>10} {:>10} {:>8}",
        "node", "operator", "output", "MACs", "constants", "SQNR dB"
    );
    for row in &summary.layers {
        let sqnr = row.sqnr_db.map_or("exact".to_owned(), |db| format!("{db:.1}"));
        println!(
            "  {:<24} {:<16} {:>12} {:>10} {:>10} {sqnr:>8}",
            row.name, row.operator, row.shape, row.macs, row.constant_bytes
        );
    }
    if let Some(found) = &summary.sensitivity {
        print_sensitivity(found);
    }
    println!(
        "\nblob {} bytes, arena {} bytes (no plan needs less than {})",
        summary.blob_bytes, summary.arena_bytes, summary.arena_lower_bound
    );
    if summary.learned_ranges {
        println!("ranges of activations were learned in training");
    }
    if let Some(choice) = &summary.choice {
        println!("{}: {}", choice.chosen.name(), choice.reason);
    }
    println!("threshold {:.4}, {}", summary.threshold, summary.threshold_basis);
    if let Some(note) = &summary.threshold_on_a_stream {
        println!("{note}");
    }
    match summary.drift_run_length {
        Some(length) => println!("drift is watched; normal scores are taken for one once in {length}"),
        None => println!("drift is not watched: drift.watch = false, or too few normal scores"),
    }
    match (summary.auroc_float, summary.auroc_quantized) {
        (Some(float), Some(quantized)) => {
            println!("AUROC float {float:.4}, quantized {quantized:.4}: a difference of {:+.4}", quantized - float);
        }
        _ => println!("AUROC not measured: the data have no test part of good and defective images"),
    }
    if let Some(likelihood) = summary.auroc_likelihood {
        println!("AUROC of the whole negative log-likelihood, float: {likelihood:.4}");
    }
}

fn print_sensitivity(found: &Sensitivity) {
    println!(
        "\neach layer alone rounded: noise at the model's output, and what it does to the AUROC of {} made defects of {} held-out \
         normal samples, {:.4} in floats",
        found.defects, found.normals, found.auroc_float
    );
    println!("  {:<24} {:>10} {:>10} {:>10} {:>9} {:>8}", "layer", "weights dB", "values dB", "both dB", "AUROC", "+-");
    let db = |value: Option<f64>| value.map_or("-".to_owned(), |db| format!("{db:.1}"));
    for Alone { name, weights_db, values_db, both_db, auroc_change, error } in found.layers.iter().chain([&found.all]) {
        println!(
            "  {name:<24} {:>10} {:>10} {:>10} {auroc_change:>+9.4} {error:>8.4}",
            db(*weights_db),
            db(*values_db),
            db(*both_db)
        );
    }
}
