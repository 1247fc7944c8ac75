//! An imported model made a monitor: a front end before it, a detector and a decision behind it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use neji_app::Verdict;
use neji_app::frontend::image::{I16_PER_LEVEL, ZERO_POINT, output_len};
use neji_format::{AlignedBytes, Element, FrontEnd, Model};
use sha2::{Digest, Sha256};

use super::{provenance, read};
use crate::dataset::{Dataset, Layout};
use crate::element;
use crate::experiment::{Experiment, Task};
use crate::frontend::{extract_all, fit};
use crate::plan::bands;
use crate::quantize::assemble::{Edges, Memory, accepted, assemble, score_unit};
use crate::quantize::judge::{Levels, at, decision, levels, residual_weights};
use crate::simulate::{Frame, on_host, real_score};
use crate::tensor_file;

/// What stands before an imported model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum FrontEndKind {
    /// Samples are the input tensor.
    #[default]
    Raw,
    /// Grey images, resized, normalised and aligned.
    Image,
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
    frames: Vec<Frame>,
    inputs: Vec<Vec<i8>>,
    hash: [u8; 32],
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
    let lowered = bands::within(read(bytes)?, budget, experiment.task == Task::Autoencoder)?;
    let (input, output) = (lowered.tensors[0], lowered.tensors[lowered.output]);
    let task = experiment.task;
    let (front_end, normal) = match (front_end, normal) {
        (FrontEndKind::Raw, None) => (FrontEnd::Raw, None),
        (FrontEndKind::Raw, Some(path)) => {
            let inputs = tensor_file::read(path, lowered.element, input.shape)?;
            let frame = |input: &Vec<i8>| Frame {
                path: path.to_owned(),
                samples: input.iter().map(|&q| q.cast_unsigned()).collect(),
            };
            let hash = Sha256::digest(std::fs::read(path)?).into();
            (FrontEnd::Raw, Some(Normal { frames: inputs.iter().map(frame).collect(), inputs, hash }))
        }
        (FrontEndKind::Image, None) => bail!("an image front end is fitted to normal images; give --normal DIR"),
        (FrontEndKind::Image, Some(root)) => {
            // Grey levels 0 to 255 become the input's values by one offset or factor.
            let (steps, zero_point) = match lowered.element {
                Element::I8 => (255.0, ZERO_POINT),
                Element::I16 => (255.0 * f64::from(I16_PER_LEVEL), 0),
            };
            let near = (f64::from(input.scale) * steps - 1.0).abs() < 0.01;
            ensure!(
                near && i32::from(input.zero_point) == zero_point,
                "the model's input has scale {} and zero point {}; images need about {:.3e} and {zero_point}",
                input.scale,
                input.zero_point,
                1.0 / steps
            );
            let data = Dataset::load(root, Layout::Auto)?;
            let samples: Vec<_> = data.train.iter().filter(|sample| sample.label == 0).collect();
            let config = fit(&experiment.front_end, &samples)?;
            let (given, wanted) = (output_len(&config), input.shape.len());
            ensure!(
                given == wanted,
                "the front end gives {given} pixels, the model takes {wanted}; set [front_end] resize or strip in --config"
            );
            let images = extract_all(&config, &samples)?.into_iter().flatten();
            let inputs: Vec<Vec<i8>> = images.map(|image| element::of_image(lowered.element, &image)).collect();
            let frame = |sample: &&crate::dataset::Sample| -> Result<Frame> {
                Ok(Frame { path: sample.path.clone(), samples: sample.image()?.pixels.clone() })
            };
            let frames = samples.iter().map(frame).collect::<Result<_>>()?;
            (FrontEnd::Image(config), Some(Normal { frames, inputs, hash: data.hash() }))
        }
    };
    if task == Task::Cnn {
        let count = output.shape.len();
        ensure!(classes.is_empty() || classes.len() == count, "{} names for {count} classes", classes.len());
    }
    let names = classes.join("\n");
    let unit = score_unit(&lowered, Some(task), &experiment.detector);
    let mut edges = Edges {
        front_end,
        task: Some(task),
        detector: experiment.detector,
        weights: None,
        decision: decision(&experiment.decision, Levels::default(), unit),
        provenance: provenance(bytes, &experiment.name),
    };
    edges.provenance.classes = &names;
    edges.provenance.data_hash = normal.as_ref().map_or([0; 32], |normal| normal.hash);
    let weights = if task == Task::Autoencoder && experiment.detector.normalise {
        let normal = normal.as_ref().context(
            "residuals are weighed by normal samples; give --normal, or say normalise = false under [detector] in --config",
        )?;
        let bare = assemble(&lowered, Memory::Planned, &edges)?;
        Some(residual_weights(&accepted(&bare)?, &every_other(&normal.inputs, 0))?)
    } else {
        None
    };
    edges.weights = weights.as_deref();
    let levels = match (&normal, threshold) {
        (_, Some(threshold)) => at(threshold, threshold, experiment.decision.hysteresis, unit),
        (Some(normal), None) => {
            let weighted = assemble(&lowered, Memory::Planned, &edges)?;
            let scores = scores(accepted(&weighted)?, &every_other(&normal.frames, 1))?;
            levels(&scores, unit, task, &experiment.detector, experiment.decision.hysteresis)?
        }
        (None, None) => bail!("nothing to set the threshold by; give --normal or --threshold"),
    };
    edges.decision = decision(&experiment.decision, levels, unit);
    let memory = hop.map_or(Memory::Planned, |hop| Memory::Streaming { hop });
    assemble(&lowered, memory, &edges)
}

/// Every other element from `first` on; all where there is only one.
fn every_other<T: Clone>(all: &[T], first: usize) -> Vec<T> {
    if all.len() < 2 { all.to_vec() } else { all.iter().skip(first).step_by(2).cloned().collect() }
}

/// The monitor's score of each frame by itself, in real units.
fn scores(model: Model<'_>, frames: &[Frame]) -> Result<Vec<f64>> {
    let plan = *model.plan();
    let mut scores = Vec::new();
    on_host(model, frames, true, |_, Verdict { outcome, .. }, _| {
        scores.extend(real_score(&plan, &outcome));
        Ok(())
    })?;
    Ok(scores)
}
