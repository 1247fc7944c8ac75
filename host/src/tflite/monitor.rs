//! An imported model made a monitor: a front end before it, a detector and a decision behind it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use neji_app::{Outcome, Verdict};
use neji_format::{AlignedBytes, Element, Model};
use neji_tables::Settings;
use sha2::{Digest, Sha256};

use super::{provenance, read};
use crate::dataset::{Dataset, Sample};
use crate::detect;
use crate::experiment::{DetectorName, Experiment, MethodName, Task};
use crate::frontend::sound::{Level, SoundFrontEnd};
use crate::frontend::{Fitted, FrontEndSettings, fit};
use crate::plan::bands;
use crate::quantize::assemble::{Edges, Memory, accepted, assemble};
use crate::quantize::judge::{Levels, at, decision};
use crate::quantize::scheme::Scheme;
use crate::quantize::typical_windows;
use crate::report::run::ScoreRow;
use crate::report::scores::{self, Scored};
use crate::simulate::{Frame, on_host, real_score, word};
use crate::threshold::{self, Evidence};
use crate::{dataset, tensor_file};

/// What stands before an imported model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FrontEndKind {
    /// Samples are the input tensor.
    #[default]
    Raw,
    /// Grey images, resized, normalised and aligned.
    Image,
    /// Sounds: a log-mel spectrogram in decibels, in steps of the model's input.
    LogMel,
}

/// What a model becomes.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Task, front end, detector and decision; the rest of an experiment is not used.
    pub experiment: &'a Experiment,
    /// Kind of front end.
    pub front_end: FrontEndKind,
    /// Normal samples: a data set's folder of images, or `.npy` of the model's elements with a raw front end.
    pub normal: Option<&'a Path>,
    /// Threshold in real units, in place of the normal samples' quantile.
    pub threshold: Option<f64>,
    /// Names of a classifier's classes, the normal one first.
    pub classes: &'a [String],
    /// New rows a run of a window that moves; none where every run sees its whole input.
    pub hop: Option<u32>,
}

/// Normal samples as a sensor gives them and as the model takes them.
struct Normal {
    recordings: Recordings,
    inputs: Vec<Vec<i8>>,
    /// Inputs of a recording.
    windows: u16,
    hash: [u8; 32],
}

/// Normal samples as a sensor gives them.
enum Recordings {
    /// Inputs themselves.
    Raw(Vec<Frame>),
    /// Files of a data set.
    Samples(Vec<Sample>),
}

impl Normal {
    /// The normal training samples of a data set.
    fn of(fitted: &Fitted, element: Element, data: Dataset) -> Result<Self> {
        let hash = data.hash();
        let samples: Vec<Sample> = data.train.into_iter().filter(|sample| sample.label == 0).collect();
        let found = fitted.prepare(element).extractor().all(&samples.iter().collect::<Vec<_>>())?;
        let windows = typical_windows(&found);
        let inputs = found.into_iter().flatten().flatten().collect();
        Ok(Self { recordings: Recordings::Samples(samples), inputs, windows, hash })
    }

    /// What every other recording scores.
    fn evidence(&self, model: Model<'_>) -> Result<Evidence> {
        let (normal, held_out) = match &self.recordings {
            Recordings::Raw(frames) => (raw_scores(model, &every_other(frames, 1))?, frames.len() > 1),
            Recordings::Samples(samples) => {
                let half: Vec<&Sample> = every_other(&samples.iter().collect::<Vec<_>>(), 1);
                (scores::scored(model, &half)?, samples.len() > 1)
            }
        };
        Ok(Evidence { normal, held_out, faults: Vec::new() })
    }
}

/// Imports a model as a monitor.
///
/// Every other normal sample gives the weights of residuals, the rest the threshold; all give both where there is one.
///
/// # Errors
/// A model that can't be imported or does not fit the request; normal samples that are missing or can't be read.
pub fn to_monitor(bytes: &[u8], request: &Request<'_>) -> Result<AlignedBytes> {
    let Request { experiment, front_end, normal, threshold, classes, hop } = *request;
    let budget = experiment.quantize.ram_budget;
    ensure!(
        hop.is_none() || budget.is_none(),
        "a window that streams keeps its rows, it can't have a budget of RAM as well"
    );
    let lowered = bands::within(read(bytes)?, budget, experiment.detector() == DetectorName::Reconstruction)?;
    let (input, output) = (lowered.tensors[0], lowered.tensors[lowered.output]);
    let task = experiment.task;
    let own = Scheme { scale: input.scale, zero_point: input.zero_point };
    let (front_end, normal) = match (front_end, normal) {
        (FrontEndKind::Raw, None) => (Fitted::Raw, None),
        (FrontEndKind::Raw, Some(path)) => {
            let inputs = tensor_file::read(path, lowered.element, input.shape)?;
            let frame = |input: &Vec<i8>| Frame {
                path: path.to_owned(),
                samples: input.iter().map(|&q| q.cast_unsigned()).collect(),
            };
            let hash = Sha256::digest(std::fs::read(path)?).into();
            (
                Fitted::Raw,
                Some(Normal {
                    recordings: Recordings::Raw(inputs.iter().map(frame).collect()),
                    inputs,
                    windows: 1,
                    hash,
                }),
            )
        }
        (FrontEndKind::Image, None) => bail!("an image front end is fitted to normal images; give --normal DIR"),
        (FrontEndKind::Image, Some(root)) => {
            let data = Dataset::load(root, experiment.data_options())?;
            let samples: Vec<_> = data.train.iter().filter(|sample| sample.label == 0).collect();
            let fitted = fit(&FrontEndSettings { sound: None, ..experiment.front_end.clone() }, &samples)?;
            // Grey levels 0 to 255 become the input's values by one offset or factor.
            let needed = fitted.scheme(lowered.element)?;
            let near = (f64::from(own.scale) / f64::from(needed.scale) - 1.0).abs() < 0.01;
            ensure!(
                near && own.zero_point == needed.zero_point,
                "the model's input has scale {} and zero point {}; images need about {:.3e} and {}",
                own.scale,
                own.zero_point,
                needed.scale,
                needed.zero_point
            );
            let normal = Normal::of(&fitted, lowered.element, data)?;
            (fitted, Some(normal))
        }
        (FrontEndKind::LogMel, root) => {
            let settings = experiment.front_end.sound.unwrap_or(Settings::MLPERF);
            settings.check().context("[front_end.sound]")?;
            // What the model was trained on are decibels, so steps of its input are steps of decibels.
            let levels = vec![Level { mean: 0.0, deviation: 1.0 }];
            let sound = SoundFrontEnd::of_model(settings, levels, own, lowered.element);
            let fitted = Fitted::Sound(sound);
            let normal = root
                .map(|root| {
                    let front_end = FrontEndSettings { sound: Some(settings), ..experiment.front_end.clone() };
                    let options = Experiment { front_end, ..experiment.clone() }.data_options();
                    Normal::of(&fitted, lowered.element, Dataset::load(root, options)?)
                })
                .transpose()?;
            (fitted, normal)
        }
    };
    if let Some(given) = front_end.shape().map(|shape| shape.len()) {
        let wanted = input.shape.len();
        ensure!(
            given == wanted,
            "the front end gives {given} values, the model takes {wanted}; set [front_end] resize, strip or sound in --config"
        );
    }
    if task == Task::Cnn {
        let count = output.shape.len();
        ensure!(classes.is_empty() || classes.len() == count, "{} names for {count} classes", classes.len());
    }
    let names = classes.join("\n");
    let name = experiment.detector();
    let unfitted = detect::Fitted::unfitted(&experiment.detector, name, false);
    let unit = unfitted.score_unit(&lowered);
    let count = experiment.decision.scores.or(normal.as_ref().map(|normal| normal.windows)).unwrap_or(1);
    let mut edges = Edges {
        front_end,
        detector: unfitted.clone(),
        decision: decision(&experiment.decision, count, Levels::default(), unit),
        provenance: provenance(bytes, &experiment.name),
    };
    edges.provenance.classes = &names;
    edges.provenance.data_hash = normal.as_ref().map_or([0; 32], |normal| normal.hash);
    let needs_normal =
        name != DetectorName::Classifier && (name != DetectorName::Reconstruction || experiment.detector.normalise);
    if needs_normal {
        let normal = normal.as_ref().context(
            "the detector is fitted to normal samples; give --normal, or, of a reconstruction, say normalise = false under \
             [detector] in --config",
        )?;
        let bare = assemble(&lowered, Memory::Planned, &edges)?;
        let half = every_other(&normal.inputs, 0);
        edges.detector = detect::fit(&accepted(&bare)?, &experiment.detector, name, false, experiment.seed, &half)?;
    }
    let unit = edges.detector.score_unit(&lowered);
    edges.decision.score_unit = unit;
    edges.decision = match (&normal, threshold) {
        (_, Some(threshold)) => {
            let levels = at(threshold, threshold, experiment.decision.hysteresis, unit);
            decision(&experiment.decision, count, levels, unit)
        }
        (Some(normal), None) => {
            ensure!(
                experiment.threshold.method != MethodName::CrossConformal,
                "threshold.method = \"cross_conformal\" fits a model anew; an imported one stays as it is: choose \"conformal\""
            );
            let weighted = assemble(&lowered, Memory::Planned, &edges)?;
            let weighted = accepted(&weighted)?;
            threshold::decide(weighted.plan(), experiment, &normal.evidence(weighted)?)?
        }
        (None, None) => bail!("nothing to set the threshold by; give --normal or --threshold"),
    };
    let memory = hop.map_or(Memory::Planned, |hop| Memory::Streaming { hop });
    assemble(&lowered, memory, &edges)
}

/// Every other element from `first` on; all where there is only one.
fn every_other<T: Clone>(all: &[T], first: usize) -> Vec<T> {
    if all.len() < 2 { all.to_vec() } else { all.iter().skip(first).step_by(2).cloned().collect() }
}

/// The monitor's score of each frame by itself.
fn raw_scores(model: Model<'_>, frames: &[Frame]) -> Result<Vec<Scored>> {
    let plan = *model.plan();
    let mut scores = Vec::new();
    on_host(model, frames, true, |_, Verdict { outcome, .. }, _| {
        if let (Outcome::Scored { score, .. }, Some(real)) = (outcome, real_score(&plan, &outcome)) {
            let row = ScoreRow {
                file: String::new(),
                label: dataset::GOOD.to_owned(),
                score: real,
                verdict: word(&plan, &outcome).to_owned(),
                float: None,
                other: None,
            };
            scores.push(Scored { row, windows: vec![score] });
        }
        Ok(())
    })?;
    Ok(scores)
}
