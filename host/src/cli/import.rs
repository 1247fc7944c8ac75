//! `neji import`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use neji_format::Model;
use sha2::{Digest, Sha256};

use crate::experiment::Experiment;
use crate::files::write_whole;
use crate::inspect::macs;
use crate::quantize::assemble::accepted;
use crate::report::arena;
use crate::run::hex;
use crate::tflite::{self, FrontEndKind, Request};

/// Turn an int8 .tflite model into a blob that gives TensorFlow Lite's bytes.
///
/// Without --detector the blob is the model alone: raw int8 in, raw int8 out. With one it is a monitor: normal samples set
/// its threshold and, for a reconstruction, weigh its residuals.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The model.
    pub model: PathBuf,
    /// The blob to write; the model's name with .neji by default.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What judges the output.
    #[arg(long, value_enum, default_value_t = DetectorKind::None)]
    pub detector: DetectorKind,
    /// What makes samples the input.
    #[arg(long, value_enum, default_value_t = FrontEndKind::Raw)]
    pub front_end: FrontEndKind,
    /// Tables `front_end`, `detector` and `decision` of an experiment; other tables are left alone.
    #[arg(long, value_name = "TOML")]
    pub config: Option<PathBuf>,
    /// Change a setting, as with `neji train`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Normal samples: a folder of images as `neji train` takes it, or with a raw front end an int8 .npy file whose first
    /// axis counts samples.
    #[arg(long, value_name = "DIR|X.npy")]
    pub normal: Option<PathBuf>,
    /// The threshold, in place of what normal samples give.
    #[arg(long)]
    pub threshold: Option<f64>,
    /// The input is a window over time, its rows moments: take only HOP new rows a run, and compute only what they change.
    ///
    /// From the first full window on the outputs are those of the whole windows, byte for byte. What earlier runs left is kept
    /// in the arena, which grows.
    #[arg(long, value_name = "HOP", num_args = 0..=1, default_missing_value = "1", require_equals = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub streaming: Option<u32>,
    /// Most bytes of the arena: where the model needs more, outputs lie closer to their inputs, and where that is not enough, its
    /// first layers are computed in bands of rows; that gives the same bytes and takes more instructions.
    #[arg(long, value_name = "BYTES", conflicts_with = "streaming")]
    pub ram_budget: Option<usize>,
    /// Names of a classifier's classes, the normal one first.
    #[arg(long, value_delimiter = ',')]
    pub classes: Vec<String>,
}

/// What judges an imported model's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DetectorKind {
    /// Nothing: the output is the answer.
    None,
    /// Its difference to the input.
    Reconstruction,
    /// Its classes; the first is normal.
    Classifier,
}

/// Runs the command.
///
/// # Errors
/// A file that can't be read or written, or a model that can't be imported: names the operator and what is supported.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = &args.model;
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let task = match args.detector {
        DetectorKind::None => None,
        DetectorKind::Reconstruction => Some("autoencoder"),
        DetectorKind::Classifier => Some("cnn"),
    };
    let blob = match task {
        None => {
            let idle =
                args.config.is_none() && args.set.is_empty() && args.normal.is_none() && args.threshold.is_none();
            ensure!(idle && args.front_end == FrontEndKind::Raw, "settings of a monitor; say --detector as well");
            match args.streaming {
                None => tflite::to_blob_within(&bytes, &name, args.ram_budget),
                Some(hop) => tflite::to_streaming_blob(&bytes, &name, hop),
            }
        }
        Some(task) => {
            let mut set = vec![format!("task=\"{task}\"")];
            if args.config.is_none() {
                set.push(format!("name={}", toml::Value::String(name.clone().into_owned())));
            }
            set.extend(args.ram_budget.map(|bytes| format!("quantize.ram_budget={bytes}")));
            set.extend(args.set.iter().cloned());
            let experiment = match &args.config {
                Some(config) => Experiment::load(config, &set)?,
                None => Experiment::from_toml("", &set)?,
            };
            tflite::to_monitor(
                &bytes,
                &Request {
                    experiment: &experiment,
                    front_end: args.front_end,
                    normal: args.normal.as_deref(),
                    threshold: args.threshold,
                    classes: &args.classes,
                    hop: args.streaming,
                },
            )
        }
    };
    let blob = blob.with_context(|| format!("importing {}", path.display()))?;
    let out = args.output.unwrap_or_else(|| path.with_extension("neji"));
    write_whole(&out, blob.as_slice())?;
    let model = accepted(&blob)?;
    let macs = |model: &Model<'_>| model.operators().map(|operator| macs(&operator)).sum::<u64>();
    let bound = arena::lower_bound(&model);
    print!("arena {} bytes (lower bound {bound}), {} MACs", model.arena_bytes(), macs(&model));
    if args.ram_budget.is_some() {
        let whole = tflite::to_blob(&bytes, &name)?;
        let whole = accepted(&whole)?;
        print!("; without a budget arena {} bytes, {} MACs", whole.arena_bytes(), macs(&whole));
    }
    println!();
    println!("{}: {} bytes", out.display(), blob.as_slice().len());
    println!("SHA-256 {}", hex(&Sha256::digest(blob.as_slice())));
    Ok(())
}
