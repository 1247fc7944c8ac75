//! `neji eval`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use neji_app::frontend::log_mel::LogMel;
use neji_format::{FrontEnd, Model};

use crate::baselines::{self, How};
use crate::dataset::{Dataset, Options, Sample};
use crate::experiment::Experiment;
use crate::files::write_whole;
use crate::graph::Graph;
use crate::localize::Localization;
use crate::report::scores::{self, Judged};
use crate::report::{Figures, Metrics, ScoreRow};
use crate::run::{Run, hex, split};
use crate::simulate;

/// Evaluate a run or a blob on labelled data, beside what is reached without a model.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A run folder, or a blob.
    #[arg(required_unless_present = "baselines")]
    pub run_or_blob: Option<PathBuf>,
    /// Only what is reached without a model, by the test set's normal samples and by some held out of training.
    #[arg(long, conflicts_with_all = ["run_or_blob", "out", "float"])]
    pub baselines: bool,
    /// With --baselines: an experiment whose front end, seed and share of validation are taken.
    #[arg(long, value_name = "CONFIG.toml", requires = "baselines")]
    pub config: Option<PathBuf>,
    /// The data set; its test part is scored.
    #[arg(long)]
    pub data: PathBuf,
    /// How the data set is read; a run's own way, and a model's rate and bands, where nothing is said.
    #[command(flatten)]
    pub options: Options,
    /// Where metrics.json and scores.csv go; the run folder by default, and nowhere for a blob.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Score this float graph as well; a run's own is scored in any case.
    #[arg(long, value_name = "GRAPH")]
    pub float: Option<PathBuf>,
    /// Print metrics.json instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// A missing or refused blob, data that cannot be read or does not fit the model, or an output that cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let Some(run_or_blob) = &args.run_or_blob else { return without_model(&args) };
    let run = run_or_blob.is_dir().then_some(run_or_blob.as_path());
    let path = run.map_or(run_or_blob.clone(), |run| run.join("model.neji"));
    if let Some(run) = run {
        ensure!(path.exists(), "{}: no model.neji in it; run `neji quantize {}` first", run.display(), run.display());
    }
    let bytes = simulate::read_blob(&path)?;
    let model = simulate::model(&path, &bytes)?;
    let options = options(&model, run, args.options)?;
    let data = Dataset::load(&args.data, &options)?;
    ensure!(!data.test.is_empty(), "{}: nothing to test; put samples into test/good and others", args.data.display());
    let mut rows = scores::quantized(model, &data.test)?;
    let own = run.map(Run::new).filter(|run| run.graph().exists());
    let graph = match (&args.float, own) {
        (Some(path), _) => Some(Graph::load(path)?),
        (None, Some(run)) => Some(run.observed_graph()?),
        (None, None) => None,
    };
    let float = graph.map(|graph| scores::float(model, &graph, &data.test)).transpose()?;
    let experiment = run.map(|run| Run::new(run).experiment()).transpose()?;
    let held_out = match (run, &experiment) {
        (Some(run), Some(experiment)) => held_out(&Run::new(run), experiment, &data)?,
        _ => Vec::new(),
    };
    let held_out = if held_out.is_empty() { Vec::new() } else { scores::quantized(model, &held_out)? };
    let root = args.data.canonicalize().with_context(|| format!("reading {}", args.data.display()))?;
    let scored = Judged { rows: &rows, float: float.as_deref(), held_out: &held_out };
    let mut metrics =
        scores::measure(&model, &root, &data, &scored, &experiment.as_ref().map_or_else(How::default, how))?;
    metrics.options = Some(options);
    for (row, score) in rows.iter_mut().zip(float.iter().flatten()) {
        row.float = Some(*score);
    }
    if let Some(other) = run.map(|run| Run::new(run).other_blob()).filter(|path| path.is_file()) {
        let bytes = simulate::read_blob(&other)?;
        let scored = scores::quantized(simulate::model(&other, &bytes)?, &data.test)?;
        rows.iter_mut().zip(scored).for_each(|(row, other)| row.other = Some(other.score));
    }
    let json = serde_json::to_string_pretty(&metrics)?;
    if let Some(out) = args.out.as_deref().or(run) {
        write(out, &json, &rows)?;
    }
    match args.json {
        true => println!("{json}"),
        false => print(&metrics),
    }
    Ok(())
}

/// What is reached without a model.
fn without_model(args: &Args) -> anyhow::Result<()> {
    let experiment = args.config.as_ref().map(|config| Experiment::load(config, &[])).transpose()?;
    let given = args.options.clone();
    let options = match &experiment {
        Some(experiment) if given == Options::default() => experiment.data_options(),
        _ => given,
    };
    let data = Dataset::load(&args.data, options)?;
    let found = baselines::measure(&data, &experiment.as_ref().map_or_else(How::default, how))
        .with_context(|| format!("{}: its test part", args.data.display()))?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&found)?),
        false => println!("{}", baselines::table(&found)),
    }
    Ok(())
}

/// Baselines see what a model of the experiment sees, and are fitted to the same samples.
fn how(experiment: &Experiment) -> How {
    How { front_end: Some(experiment.front_end.clone()), seed: experiment.seed, held_out: experiment.train.validation }
}

/// Normal samples that the run did not train on, where these are the data that it was trained on.
fn held_out<'d>(run: &Run, experiment: &Experiment, data: &'d Dataset) -> anyhow::Result<Vec<&'d Sample>> {
    if run.trained()?.data_hash != hex(&data.hash()) {
        return Ok(Vec::new());
    }
    let (_, mut held_out) = split(experiment, data)?;
    held_out.retain(|sample| sample.label == 0);
    Ok(held_out)
}

/// How data for a model are read.
fn options(model: &Model<'_>, run: Option<&Path>, given: Options) -> anyhow::Result<Options> {
    let given = match run.filter(|_| given == Options::default()) {
        Some(run) => Run::new(run).experiment()?.data_options(),
        None => given,
    };
    let config = match &model.plan().front_end {
        FrontEnd::LogMel(config) => config,
        FrontEnd::Image(config) => {
            // Other data than those to train on may have another size of their own.
            let size = given.size.or_else(|| Some(vec![config.sensor.width, config.sensor.height]));
            return Ok(Options { size, ..given });
        }
        FrontEnd::Raw => return Ok(given),
    };
    let bands = LogMel::of(model, config).features();
    Ok(Options { rate: given.rate.or(Some(config.sample_rate)), bands: given.bands.or(Some(bands)), ..given })
}

fn write(out: &Path, json: &str, rows: &[ScoreRow]) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("making {}: give --out a folder that may be written", out.display()))?;
    let mut csv = csv::Writer::from_writer(Vec::new());
    for row in rows {
        csv.serialize(row)?;
    }
    write_whole(&out.join("scores.csv"), &csv.into_inner().context("scores as CSV")?)?;
    write_whole(&out.join("metrics.json"), format!("{json}\n").as_bytes())
}

fn print(metrics: &Metrics) {
    println!("{} samples", metrics.images);
    for (count, what) in [(metrics.part_not_found, "no part found"), (metrics.sensor_faults, "sensor fault")] {
        if count > 0 {
            println!("{count} of them: {what}; counted as the largest score");
        }
    }
    println!("\n{:<24} {:>7} {:>11} {:>18}", "", "AUROC", "pAUROC 0.1", "average precision");
    let float = metrics.float.iter().map(|figures| ("float", figures));
    for (name, figures) in float.chain([("quantized", &metrics.quantized)]) {
        let Figures { auroc, partial_auroc, average_precision } = figures;
        println!("{name:<24} {auroc:>7.4} {partial_auroc:>11.4} {average_precision:>18.4}");
    }
    if let Some(Figures { auroc, partial_auroc, average_precision }) = metrics.matched {
        println!("{:<24} {auroc:>7.4} {partial_auroc:>11.4} {average_precision:>18.4}", "quantized, matched");
    }
    for row in &metrics.per_defect {
        println!("  {:<22} {:>7.4}   {} images", row.defect, row.auroc, row.count);
    }
    if let Some(found) = &metrics.localization {
        let Localization { images, regions, pixel_auroc, per_region_overlap } = found;
        println!(
            "\nwhere: pixel AUROC {pixel_auroc:.4}, per-region overlap {per_region_overlap:.4} ({regions} regions of {images} images)"
        );
    }
    println!("\nwithout the model: against the test set's normal samples, and against some held out of training");
    println!("{}", baselines::table(&metrics.baselines));
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    println!("\nconfusion at threshold {:.4} (rows: truth)", metrics.threshold);
    println!("{:<20} {:>7} {:>9} {:>6}   verdicts", "", "recall", "precision", "F");
    for (row, counts) in metrics.confusion.figures.iter().zip(&metrics.confusion.counts) {
        let counts: String = counts.iter().map(|count| format!("{count:>5}")).collect();
        let shares = (share(row.recall), share(row.precision), share(row.f1));
        println!("{:<20} {:>7} {:>9} {:>6}   {counts}", row.class, shares.0, shares.1, shares.2);
    }
    println!("balanced accuracy {:.4}", metrics.confusion.balanced_accuracy);
}
