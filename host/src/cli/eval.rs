//! `neji eval`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use neji_app::frontend::log_mel::LogMel;
use neji_format::{FrontEnd, Model};

use crate::dataset::{Dataset, Options};
use crate::files::write_whole;
use crate::graph::Graph;
use crate::report::{Figures, Metrics, ScoreRow, scores};
use crate::run::Run;
use crate::simulate;

/// Evaluate a run or a blob on labelled data.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A run folder, or a blob.
    pub run_or_blob: PathBuf,
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
    let run = args.run_or_blob.is_dir().then_some(args.run_or_blob.as_path());
    let path = run.map_or(args.run_or_blob.clone(), |run| run.join("model.neji"));
    if let Some(run) = run {
        ensure!(path.exists(), "{}: no model.neji in it; run `neji quantize {}` first", run.display(), run.display());
    }
    let bytes = simulate::read_blob(&path)?;
    let model = simulate::model(&path, &bytes)?;
    let data = Dataset::load(&args.data, options(&model, run, args.options)?)?;
    ensure!(!data.test.is_empty(), "{}: nothing to test; put samples into test/good and others", args.data.display());
    let rows = scores::quantized(model, &data.test)?;
    let own = run.map(Run::new).filter(|run| run.graph().exists());
    let graph = match (&args.float, own) {
        (Some(path), _) => Some(Graph::load(path)?),
        (None, Some(run)) => Some(run.observed_graph()?),
        (None, None) => None,
    };
    let float = graph.map(|graph| scores::float(model, &graph, &data.test)).transpose()?;
    let root = args.data.canonicalize().with_context(|| format!("reading {}", args.data.display()))?;
    let metrics = scores::measure(&model, &root, &data, &rows, float.as_deref())?;
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

/// How data for a model are read.
fn options(model: &Model<'_>, run: Option<&Path>, given: Options) -> anyhow::Result<Options> {
    if let Some(run) = run.filter(|_| given == Options::default()) {
        return Ok(Run::new(run).experiment()?.data_options());
    }
    let FrontEnd::LogMel(config) = &model.plan().front_end else { return Ok(given) };
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
    for row in &metrics.per_defect {
        println!("  {:<22} {:>7.4}   {} images", row.defect, row.auroc, row.count);
    }
    println!("\ntrivial baselines");
    for row in &metrics.baselines {
        println!("  {:<22} {:>7.4}   folded {:.4}", row.name, row.auroc, row.folded);
    }
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
