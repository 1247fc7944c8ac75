//! Detectors as the host fits them: what normal samples say of a model's output, and the blob's word for it.
//!
//! What a detector computes is neji-app's; here are its tables. They are fitted to the integers that the engine itself gives for
//! normal training samples, so that the rounding of the model is part of what is normal.

mod mahalanobis;
mod mixture;
mod reconstruction;

use anyhow::{Result, bail, ensure};
use neji_engine::{Engine, Host};
use neji_format::{
    Classifier, ClassifierScore, Constant, Detector, Element, Model, Pooling, Tensor, Weights, push_constant,
};
use rayon::prelude::*;

use crate::element::ArenaBuffer;
use crate::experiment::{DetectorName, DetectorSettings, Experiment, ScoreName};
use crate::graph::{Graph, Node, Op};
use crate::lowered::Lowered;
use crate::quantize::scheme::multiplier;

pub use reconstruction::{Residuals, log_variance};

/// A detector and what was found out for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fitted {
    /// None: the output is all that is asked for.
    None,
    /// What an autoencoder fails to reconstruct.
    Reconstruction(Residuals, Pooling),
    /// A class's share; the first class is the normal one.
    Classifier(ClassifierScore),
    /// The distance from normal outputs.
    Mahalanobis(mahalanobis::Tables, Pooling),
    /// The distance from the nearest of normal outputs.
    Mixture(mixture::Tables, Pooling),
}

impl Fitted {
    /// A detector that has seen no sample; none where it is nothing without.
    pub fn unfitted(settings: &DetectorSettings, name: DetectorName) -> Self {
        match name {
            DetectorName::Reconstruction => Self::Reconstruction(Residuals::One, settings.pooling()),
            DetectorName::Classifier => Self::Classifier(match settings.score {
                ScoreName::Margin => ClassifierScore::Margin,
                ScoreName::Probability => ClassifierScore::Probability,
            }),
            DetectorName::Mahalanobis | DetectorName::Nearest | DetectorName::Mixture => Self::None,
        }
    }

    /// Whether the model's input must outlive the run.
    pub fn keeps_input(&self) -> bool {
        matches!(self, Self::Reconstruction(..))
    }

    /// The real size of a score's step.
    ///
    /// Squares of a residual in 1/16 of its deviation, or of the input's step; 1/256 of a logit's step; 1/256 of the 256 steps of a
    /// probability; squares of 1/16 of a deviation.
    pub fn score_unit(&self, lowered: &Lowered) -> f32 {
        let (input, output) = (lowered.tensors[0], lowered.tensors[lowered.output]);
        match self {
            Self::None => 1.0,
            Self::Reconstruction(Residuals::One, _) => {
                let part = match lowered.element {
                    Element::I8 => 1.0 / 256.0,
                    // Residuals are in 8 steps.
                    Element::I16 => 64.0,
                };
                input.scale * input.scale * part
            }
            Self::Classifier(_) => output.scale / 256.0,
            Self::Reconstruction(..) | Self::Mahalanobis(..) | Self::Mixture(..) => 1.0 / 256.0,
        }
    }

    /// What the blob says of it; tables are appended to `constants`.
    ///
    /// # Errors
    /// An output whose steps are too coarse beside the input's to compare the two.
    pub fn to_format(
        &self,
        element: Element,
        input: &Tensor,
        output: &Tensor,
        constants: &mut Vec<u8>,
    ) -> Result<Detector> {
        Ok(match self {
            Self::None => Detector::None,
            Self::Reconstruction(residuals, pooling) => {
                let factor = residual_steps(element) * f64::from(output.scale) / f64::from(input.scale);
                ensure!(
                    factor < f64::from(1 << 30),
                    "the output's scale {} is too coarse beside the input's {}",
                    output.scale,
                    input.scale
                );
                Detector::Reconstruction(neji_format::Reconstruction {
                    output_to_residual: multiplier(factor),
                    weights: match residuals {
                        Residuals::One => Weights::One,
                        Residuals::Elements(weights) => Weights::Elements(push(constants, weights)),
                        Residuals::Predicted(weights) => Weights::Predicted(push(constants, weights)),
                    },
                    pooling: *pooling,
                })
            }
            Self::Classifier(score) => Detector::Classifier(Classifier { normal_class: 0, score: *score }),
            Self::Mahalanobis(tables, pooling) => Detector::Mahalanobis(tables.to_format(*pooling, constants)),
            Self::Mixture(tables, pooling) => Detector::Mixture(tables.to_format(*pooling, constants)),
        })
    }
}

/// Appends words to the constants.
fn push<W: bytemuck::NoUninit>(constants: &mut Vec<u8>, words: &[W]) -> Constant {
    push_constant(constants, bytemuck::cast_slice(words))
}

/// Residual steps in a step of the input.
fn residual_steps(element: Element) -> f64 {
    match element {
        Element::I8 => 16.0,
        Element::I16 => 1.0 / 8.0,
    }
}

/// Fits the detector of `name` to what `model`, which has none of a kind that compares the output with normal ones, makes of
/// `normal` inputs, bytes of its elements.
///
/// # Errors
/// No inputs, or a model that is no model of this detector.
pub fn fit(
    model: &Model<'_>,
    settings: &DetectorSettings,
    name: DetectorName,
    variational: bool,
    seed: u64,
    normal: &[Vec<i8>],
) -> Result<Fitted> {
    let pooling = settings.pooling();
    Ok(match name {
        DetectorName::Reconstruction if variational => {
            Fitted::Reconstruction(Residuals::Predicted(reconstruction::predicted_weights(model)), pooling)
        }
        DetectorName::Reconstruction if settings.normalise => {
            ensure!(!normal.is_empty(), "no normal samples to weigh residuals on");
            Fitted::Reconstruction(Residuals::Elements(reconstruction::weights(model, normal)?), pooling)
        }
        DetectorName::Reconstruction | DetectorName::Classifier => Fitted::unfitted(settings, name),
        DetectorName::Mahalanobis => {
            let outputs = outputs(model, normal)?;
            Fitted::Mahalanobis(mahalanobis::Tables::fit(model.plan(), settings, &outputs)?, pooling)
        }
        DetectorName::Nearest | DetectorName::Mixture => {
            let outputs = outputs(model, normal)?;
            let density = name == DetectorName::Mixture;
            Fitted::Mixture(mixture::Tables::fit(model.plan(), settings, density, seed, &outputs)?, pooling)
        }
    })
}

/// The outputs for `inputs` in the units of a detector of distances, one row an input.
fn outputs(model: &Model<'_>, inputs: &[Vec<i8>]) -> Result<Vec<Vec<i32>>> {
    ensure!(!inputs.is_empty(), "no normal samples to learn their outputs from");
    let parts = neji_app::score::output_parts(model.plan().element);
    let count = model.plan().output.shape.len();
    runs(model, inputs, |elements| {
        (0..count).map(|index| neji_app::score::Elements::output(elements, index, parts)).collect()
    })
}

/// What `see` says of the engine's run on each input.
fn runs<T: Send>(
    model: &Model<'_>,
    inputs: &[Vec<i8>],
    see: impl Fn(&neji_app::score::Bytes<'_>) -> T + Sync,
) -> Result<Vec<T>> {
    let engine = Engine::<Host>::new(*model);
    let one = |input: &Vec<i8>| {
        let mut arena = ArenaBuffer::new(model);
        let arena = arena.bytes();
        engine.input_mut(arena).copy_from_slice(input);
        if let Err(error) = engine.run(arena) {
            bail!("running the model: {error}");
        }
        Ok(see(&neji_app::score::Bytes::new(model.plan(), engine.input(arena), engine.output(arena))))
    };
    inputs.par_iter().map(one).collect()
}

/// The part of `graph` whose output the experiment's detector looks at.
///
/// Detectors of distances look at `detector.layer`, by default what the last dense layer of a classifier reads or the narrowest layer
/// of an autoencoder; `detector.pooled` takes the mean over height and width, and otherwise each pixel is looked at. Without a network
/// the input is one vector.
///
/// # Errors
/// No such layer: names those that there are.
pub fn observed(experiment: &Experiment, graph: &Graph) -> Result<Graph> {
    let settings = &experiment.detector;
    if matches!(experiment.detector(), DetectorName::Reconstruction | DetectorName::Classifier) {
        ensure!(
            settings.layer.is_none(),
            "detector.layer is for detectors of distances; take it out, or change detector.kind"
        );
        return Ok(graph.clone());
    }
    let last = match &settings.layer {
        Some(name) => graph.nodes.iter().position(|node| node.name == *name),
        None => Some(embedding(graph)),
    };
    let Some(last) = last else {
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("detector.layer is no layer of the model; it has {}", names.join(", "));
    };
    let mut nodes = graph.nodes[..=last].to_vec();
    let shape = nodes[last].shape;
    let mut push = |name: &str, op, shape| {
        nodes.push(Node { name: name.into(), op, inputs: vec![nodes.len() - 1], shape });
    };
    if last == 0 || (shape.height, shape.width) == (1, 1) {
        if (shape.height, shape.width) != (1, 1) {
            push("vector", Op::Reshape, neji_format::Shape::new(1, 1, shape.len() as u32));
        }
    } else if settings.pooled {
        push("pooled", Op::Mean, neji_format::Shape::new(1, 1, shape.channels));
    }
    Ok(Graph { name: graph.name.clone(), nodes })
}

/// The layer that says most in the least: what a classifier's last dense layer reads, or an autoencoder's narrowest output.
fn embedding(graph: &Graph) -> usize {
    let output = graph.output_shape().len();
    if output == graph.input_shape().len() {
        let width = |&index: &usize| graph.nodes[index].shape.len();
        return (0..graph.nodes.len()).min_by_key(width).unwrap_or(0);
    }
    let dense = graph.nodes.iter().rposition(|node| matches!(node.op, Op::FullyConnected { .. }));
    dense.and_then(|index| graph.nodes[index].inputs.first().copied()).unwrap_or(0)
}
