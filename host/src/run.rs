//! A run folder: what training leaves for quantization, evaluation and the report.
//!
//! | file | written by | what |
//! |---|---|---|
//! | `config.toml` | train | the resolved experiment, the folder of the data absolute |
//! | `checkpoint.neji-checkpoint` | train | everything that `--resume` needs |
//! | `losses.csv` | train | a row an epoch |
//! | `trained.json` | train, at its end | [`Trained`] |
//! | `aware.neji-checkpoint` | train, where `train.quantization_aware` is | the same of those epochs |
//! | `graph.neji-graph` | train, at its end | the float model |
//! | `ranges.json` | train, where `train.quantization_aware` is | [`LearnedRanges`] |
//! | `model.neji`, `quantize.json` | quantize | the blob; what quantization cost each layer |
//! | `other.neji` | quantize, with both kinds of activations | the blob with the other kind |
//! | `metrics.json`, `scores.csv` | eval | figures; a row an image |
//! | `profile.json` | report | what a frame costs on a board, where that was asked for |
//! | `report.html` | report | all of it for people |

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, Sample};
use crate::detect;
use crate::experiment::Experiment;
use crate::files::write_whole;
use crate::frontend::Fitted;
use crate::graph::Graph;
use crate::quantize::learned::LearnedRanges;

/// What training found out beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Version of neji that trained.
    pub neji_version: String,
    /// SHA-256 of the data, in hexadecimal.
    pub data_hash: String,
    /// Names of the classes, `good` first; an autoencoder's data may have defects in their test part only.
    pub classes: Vec<String>,
    /// The front end as fitted to the training samples.
    pub front_end: Fitted,
    /// Epoch whose weights were kept, from 1.
    pub best_epoch: usize,
    /// Its validation loss (its training loss where nothing is kept for validation).
    pub best_loss: f64,
}

/// A run folder.
#[derive(Debug, Clone)]
pub struct Run {
    folder: PathBuf,
}

/// While it lives, no other process works on the run.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Run {
    /// The run at `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.file("config.toml")
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.file("checkpoint.neji-checkpoint")
    }

    /// The checkpoint of the epochs that know of rounding.
    pub fn aware_checkpoint(&self) -> PathBuf {
        self.file("aware.neji-checkpoint")
    }

    /// The float model.
    pub fn graph(&self) -> PathBuf {
        self.file("graph.neji-graph")
    }

    /// The blob.
    pub fn blob(&self) -> PathBuf {
        self.file("model.neji")
    }

    /// The blob with the other kind of activations.
    pub fn other_blob(&self) -> PathBuf {
        self.file("other.neji")
    }

    /// Makes the folder and takes its lock, which the system frees even if the process dies.
    ///
    /// # Errors
    /// The folder can't be made, or another process works on it.
    pub fn lock(&self) -> Result<Lock> {
        let what = || format!("making {}: choose another --out", self.folder.display());
        fs::create_dir_all(&self.folder).with_context(what)?;
        let file = File::create(self.file(".lock")).with_context(what)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                bail!("{} is in use by another neji; wait for it or choose another folder", self.folder.display())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(what),
        }
    }

    /// The experiment of a run that was begun.
    ///
    /// # Errors
    /// There is none, or it can't be understood.
    pub fn experiment(&self) -> Result<Experiment> {
        let path = self.config();
        ensure!(path.is_file(), "{} holds no run: no config.toml; `neji train` writes one", self.folder.display());
        Experiment::load(&path, &[])
    }

    /// Whether training has ended.
    pub fn is_trained(&self) -> bool {
        self.file("trained.json").is_file()
    }

    /// What training found out.
    ///
    /// # Errors
    /// Training has not ended, or the file can't be understood.
    pub fn trained(&self) -> Result<Trained> {
        let path = self.file("trained.json");
        ensure!(
            path.is_file(),
            "{}: training has not ended; go on with `neji train {} --out {} --resume`",
            self.folder.display(),
            self.config().display(),
            self.folder.display()
        );
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged; train again", path.display()))
    }

    /// The part of the float model whose output the detector looks at.
    ///
    /// # Errors
    /// No graph, or one without the layer that the experiment names.
    pub fn observed_graph(&self) -> Result<Graph> {
        detect::observed(&self.experiment()?, &Graph::load(self.graph())?)
    }

    /// Ranges of activations that were learned; none where the training knew nothing of rounding.
    ///
    /// # Errors
    /// The file can't be understood.
    pub fn learned_ranges(&self) -> Result<Option<LearnedRanges>> {
        let path = self.file("ranges.json");
        if !path.is_file() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged; train again", path.display());
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let found: LearnedRanges = serde_json::from_str(&text).with_context(damaged)?;
        found.check().with_context(damaged)?;
        Ok(Some(found))
    }

    /// Writes the learned ranges.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_ranges(&self, ranges: &LearnedRanges) -> Result<()> {
        write_whole(&self.file("ranges.json"), (serde_json::to_string_pretty(ranges)? + "\n").as_bytes())
    }

    /// Writes the end of training: the graph first, since `trained.json` says that all is there.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn finish(&self, trained: &Trained, graph: &Graph) -> Result<()> {
        graph.save(self.graph())?;
        write_whole(&self.file("trained.json"), (serde_json::to_string_pretty(trained)? + "\n").as_bytes())
    }

    /// What commands write beside `config.toml`.
    fn written(&self) -> impl Iterator<Item = PathBuf> {
        let names = [
            "losses.csv",
            "trained.json",
            "ranges.json",
            "model.neji",
            "other.neji",
            "quantize.json",
            "metrics.json",
            "scores.csv",
            "auto.json",
            "profile.json",
            "report.html",
        ];
        let files = names.map(|name| self.file(name)).into_iter();
        files.chain([self.checkpoint(), self.aware_checkpoint(), self.graph()])
    }

    /// All files of the run that there are.
    pub fn all_files(&self) -> Vec<PathBuf> {
        self.written().chain([self.config()]).filter(|path| path.is_file()).collect()
    }

    /// Removes what an earlier training of this folder left, so that nothing of it is taken for this one's.
    ///
    /// # Errors
    /// A file can't be removed.
    pub fn clear(&self) -> Result<()> {
        for path in self.written() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The samples that an experiment trains on and those that it validates on: an autoencoder sees good ones only. Made defects are
/// on the side of the sample that they were made of; variants of what is validated on are on neither.
///
/// # Errors
/// The share of validation does not fit the data.
pub fn split<'d>(experiment: &Experiment, data: &'d Dataset) -> Result<(Vec<&'d Sample>, Vec<&'d Sample>)> {
    let share = experiment.train.validation;
    let (mut train, mut validation) = match share > 0.0 {
        true => data.split_validation(experiment.seed, share)?,
        false => (data.train.iter().collect(), Vec::new()),
    };
    if experiment.train.synthetic > 0 {
        // A defect follows the sample that it was made of: nothing of what is validated on is learned.
        let origin = |sample: &Sample| (sample.path.clone(), sample.window.clone());
        let normal = |part: &[&Sample]| -> HashSet<_> {
            part.iter().filter(|sample| sample.label == 0).map(|sample| origin(sample)).collect()
        };
        for part in [&mut train, &mut validation] {
            let origins = normal(part);
            *part = data.train.iter().filter(|sample| origins.contains(&origin(sample))).collect();
        }
    }
    if train.iter().any(|sample| sample.variant) {
        let origins: Vec<&Sample> = train.iter().filter(|sample| !sample.variant).copied().collect();
        train.retain(|sample| !sample.variant || origins.iter().any(|origin| sample.is_of(origin)));
    }
    if experiment.learns_from_normal() {
        train.retain(|sample| sample.label == 0);
        validation.retain(|sample| sample.label == 0);
    }
    Ok((train, validation))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_kept_out_and_a_missing_run_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = Run::new(folder.path().join("a"));
        let lock = run.lock().expect("free");
        let error = run.lock().expect_err("taken").to_string();
        assert!(error.contains("in use"), "{error}");
        drop(lock);
        run.lock().expect("free again");
        let error = run.experiment().expect_err("nothing there").to_string();
        assert!(error.contains("holds no run"), "{error}");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }

    #[test]
    fn defects_are_held_out_with_what_they_were_made_of() {
        let settings = "name = \"a\"\ntask = \"cnn\"\n[train]\nsynthetic = 2\nvalidation = 0.25";
        let experiment = Experiment::from_toml(settings, &[]).expect("an experiment");
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let layout = crate::render::Layout::Mvtec;
        let set = crate::render::SetSettings { layout, train: 12, test_good: 1, test_bad: 1, size: 64, seed: 3 };
        crate::render::write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, crate::dataset::Layout::Auto).expect("loads");
        let seen = experiment.seen(&data).expect("defects are made");
        let (train, validation) = split(&experiment, &seen).expect("splits");
        assert_eq!((train.len(), validation.len()), (27, 9));
        for part in [&train, &validation] {
            let count = |label| part.iter().filter(|sample| sample.label == label).count();
            assert_eq!(count(1), 2 * count(0));
        }
        assert!(train.iter().all(|sample| validation.iter().all(|other| other.path != sample.path)));
        // The normal ones are those that are held out without defects, so that what was chosen by them stays unseen.
        assert_eq!(seen.hash(), data.hash());
        let (_, plain) = split(&experiment, &data).expect("splits");
        let names = |part: &[&Sample]| -> Vec<String> {
            part.iter().filter(|sample| sample.label == 0).map(|sample| sample.name.clone()).collect()
        };
        assert_eq!(names(&plain), names(&validation));
    }
}
