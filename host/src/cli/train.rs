//! `neji train`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args as ClapArgs;

use crate::auto;
use crate::closed;
use crate::dataset::{Dataset, Sample};
use crate::experiment::{DetectorName, Experiment};
use crate::files::write_whole;
use crate::run::{Run, Trained};

/// Train a model.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The experiment; configs/ has examples.
    #[arg(value_name = "CONFIG.toml")]
    pub config: PathBuf,
    /// The data set's folder; by default the experiment's `data`.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The run folder to write; runs/NAME by default.
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    /// Change a setting, such as train.epochs=50.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of everything random.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Go on from the run folder's checkpoint.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Train anew where the folder holds a run already.
    #[arg(long)]
    pub force: bool,
}

/// Runs the command.
///
/// # Errors
/// Settings or data that are wrong, a folder that holds another run, a training that fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut set = args.set.clone();
    set.extend(args.seed.map(|seed| format!("seed={seed}")));
    let mut experiment = Experiment::load(&args.config, &set)?;
    let folder = args.data.unwrap_or_else(|| PathBuf::from(&experiment.data));
    ensure!(!folder.as_os_str().is_empty(), "no data: give --data DIR, or `data` in {}", args.config.display());
    let data = Dataset::load(&folder, experiment.data_options())?;
    experiment.data = absolute(&folder)?;

    let run = Run::new(args.out.unwrap_or_else(|| Path::new("runs").join(&experiment.name)));
    let _lock = run.lock()?;
    let resume = format!(
        "neji train {} --data {} --out {} --resume",
        args.config.display(),
        folder.display(),
        run.folder().display()
    );
    let begun = run.checkpoint().exists();
    if args.force {
        run.clear()?;
    } else if args.resume {
        ensure!(begun, "{} has no checkpoint to resume; leave out --resume", run.folder().display());
    } else {
        // A model that was computed outright has no checkpoint.
        ensure!(
            !begun && !run.is_trained(),
            "{} holds a run already; --resume goes on with it, --force trains anew, --out names another folder",
            run.folder().display()
        );
    }
    // Not before it is known that the checkpoint is this experiment's does the folder change.
    if !args.resume {
        write_whole(&run.config(), experiment.to_toml().as_bytes())?;
    }

    if experiment.detector() == DetectorName::Auto {
        let choice = auto::choose(&experiment, &data, &run, &*super::stop_on_interrupt()?)?;
        print!("{}", auto::text(&choice));
        println!(
            "{}: {} as model.neji; next: neji eval {}",
            run.folder().display(),
            choice.chosen,
            run.folder().display()
        );
        return Ok(());
    }
    let data = experiment.seen(&data)?;
    let variants = data.train.iter().filter(|sample| sample.variant).count();
    if variants > 0 {
        let bytes = |sample: &Sample| sample.sound().map_or(0, |sound| 2 * sound.samples.len());
        let made: usize = data.train.iter().filter(|sample| sample.variant).map(bytes).sum();
        eprintln!(
            "{variants} variants beside {} recordings: {:.0} MB more in memory, and {:.1} times the work of each pass",
            data.train.len() - variants,
            made as f64 / 1e6,
            data.train.len() as f64 / (data.train.len() - variants).max(1) as f64
        );
    }
    let trained = match closed::train(&experiment, &data, &run)? {
        Some(trained) => trained,
        None => by_epochs(&experiment, &data, &run, &resume)?,
    };
    println!(
        "{}: best epoch {}, validation loss {:.6}; next: neji quantize {}",
        run.folder().display(),
        trained.best_epoch,
        trained.best_loss,
        run.folder().display()
    );
    Ok(())
}

#[cfg(feature = "train")]
fn by_epochs(experiment: &Experiment, data: &Dataset, run: &Run, resume: &str) -> anyhow::Result<Trained> {
    use crate::train::{Ended, train};

    let stop = super::stop_on_interrupt()?;
    match train(experiment, data, run, &stop)? {
        Ended::Finished(trained) => Ok(trained),
        Ended::Interrupted(0) => bail!("interrupted before the end of the first epoch; nothing to resume"),
        Ended::Interrupted(epochs) => bail!("interrupted after {epochs} epochs; go on with: {resume}"),
    }
}

#[cfg(not(feature = "train"))]
fn by_epochs(_: &Experiment, _: &Dataset, _: &Run, _: &str) -> anyhow::Result<Trained> {
    bail!(
        "this neji was built without Burn; build it with the feature `flex` to train, or choose model.kind = \"pca\" or \
         task = \"features\", which need none"
    )
}

fn absolute(folder: &Path) -> anyhow::Result<String> {
    let path = folder.canonicalize().with_context(|| format!("reading {}", folder.display()))?;
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{}: the path is not UTF-8", path.display()))
}
