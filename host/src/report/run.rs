//! The files of a run folder, as the report needs them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use neji_format::{AlignedBytes, FrontEnd, Model};
use serde::{Deserialize, Serialize};

use super::cost::Cost;
use super::metrics::Metrics;
use crate::auto::Choice;
use crate::dataset::Dataset;
use crate::run::hex;

/// A row of `losses.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct LossRow {
    /// Number of the epoch.
    pub epoch: f64,
    /// Loss on the training data.
    pub train: f64,
    /// Loss on the validation data.
    pub validation: f64,
}

/// A row of `scores.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
    /// The image, relative to the data folder.
    pub file: String,
    /// Its class: `good` or a defect.
    pub label: String,
    /// In real units; infinite where the frame could not be scored.
    pub score: f64,
    /// What the monitor said.
    pub verdict: String,
    /// Score of the float graph, where there was one.
    #[serde(default)]
    pub float: Option<f64>,
    /// Score of the blob with the other kind of activations, where there was one.
    #[serde(default)]
    pub other: Option<f64>,
}

/// What could be read of a run.
#[derive(Debug, Clone, Default)]
pub struct RunFolder {
    /// Where it is; none of what was not read from a folder.
    pub path: Option<PathBuf>,
    /// The folder's name.
    pub name: String,
    /// Losses of each epoch; empty where the run has none.
    pub losses: Vec<LossRow>,
    /// Scores of each image; empty before `neji eval`.
    pub scores: Vec<ScoreRow>,
    /// Figures; `None` before `neji eval`.
    pub metrics: Option<Metrics>,
    /// Each layer's figures as `quantize.json` has them; `None` before `neji quantize`.
    pub quantization: Option<serde_json::Value>,
    /// The resolved experiment; empty where there is none.
    pub config: String,
    /// What was tried, where the detector was chosen.
    pub auto: Option<Choice>,
    /// The blob; `None` before `neji quantize`.
    pub blob: Option<Vec<u8>>,
    /// What a frame costs on a board, where it was counted.
    pub cost: Option<Cost>,
}

impl RunFolder {
    /// Reads what is there.
    ///
    /// # Errors
    /// When the folder does not exist or holds no run, or a file in it cannot be understood.
    pub fn read(run: &Path) -> anyhow::Result<Self> {
        ensure!(run.is_dir(), "{} is not a folder: give the run folder that `neji train` wrote", run.display());
        let text = |name: &str| -> anyhow::Result<Option<String>> {
            let path = run.join(name);
            if !path.exists() {
                return Ok(None);
            }
            fs::read_to_string(&path).map(Some).with_context(|| format!("reading {}", path.display()))
        };
        let again = |name: &str, command: &str| {
            format!("reading {}: not as neji writes it; run `neji {command}` again", run.join(name).display())
        };
        let mut folder = Self {
            path: Some(run.to_owned()),
            name: run.canonicalize()?.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned()),
            config: text("config.toml")?.unwrap_or_default(),
            ..Self::default()
        };
        if let Some(csv) = text("losses.csv")? {
            folder.losses = rows(&csv).with_context(|| again("losses.csv", "train"))?;
        }
        if let Some(csv) = text("scores.csv")? {
            folder.scores = rows(&csv).with_context(|| again("scores.csv", "eval"))?;
        }
        if let Some(json) = text("metrics.json")? {
            folder.metrics = Some(serde_json::from_str(&json).with_context(|| again("metrics.json", "eval"))?);
        }
        if let Some(json) = text("quantize.json")? {
            folder.quantization =
                Some(serde_json::from_str(&json).with_context(|| again("quantize.json", "quantize"))?);
        }
        if let Some(json) = text("auto.json")? {
            folder.auto = Some(serde_json::from_str(&json).with_context(|| again("auto.json", "train"))?);
        }
        let blob = run.join("model.neji");
        if blob.exists() {
            folder.blob = Some(fs::read(&blob).with_context(|| format!("reading {}", blob.display()))?);
        }
        folder.cost = Cost::read(run, folder.blob.as_deref())?;
        let nothing = folder.losses.is_empty() && folder.scores.is_empty() && folder.blob.is_none();
        ensure!(!nothing, "{} holds nothing to report: run `neji train` and `neji eval` first", run.display());
        Ok(folder)
    }

    /// The data that the run was evaluated on, read as they were then; none where they are gone or have changed, since a report
    /// outlives its data.
    pub fn data(&self) -> Option<Dataset> {
        let metrics = self.metrics.as_ref()?;
        let data = Dataset::load(&metrics.data, metrics.options.clone().unwrap_or_default()).ok()?;
        metrics.data_hash.as_ref().is_none_or(|hash| *hash == hex(&data.hash())).then_some(data)
    }

    /// What its samples are, in one word.
    pub fn samples(&self) -> &'static str {
        let front_end = self.blob.as_ref().map(|bytes| AlignedBytes::new(bytes));
        let front_end =
            front_end.as_ref().and_then(|bytes| Some(Model::parse(bytes.as_slice()).ok()?.plan().front_end));
        match front_end {
            Some(FrontEnd::Image(_)) => "images",
            Some(FrontEnd::LogMel(_)) => "recordings",
            Some(FrontEnd::Raw) | None => "samples",
        }
    }
}

fn rows<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<Vec<T>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.map_err(Into::into)).collect()
}
