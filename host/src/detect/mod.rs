//! Detectors as the host fits them: what normal samples say of a model's output, and the blob's word for it.
//!
//! What a detector computes is neji-app's; here are its tables. They are fitted to the integers that the engine itself gives for
//! normal training samples, so that the rounding of the model is part of what is normal.

mod mahalanobis;
mod mixture;
mod reconstruction;

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use neji_app::score::{Bytes, Elements, output_parts};
use neji_engine::{Engine, Host};
use neji_format::{
    Classifier, ClassifierScore, Constant, Detector, Element, Model, Pooling, Shape, Tensor, Weights, push_constant,
};
use rayon::prelude::*;

use crate::element::ArenaBuffer;
use crate::experiment::{DetectorName, DetectorSettings, Experiment, ScoreName, Task};
use crate::graph::{Graph, Node, Op};
use crate::lowered::Lowered;
use crate::quantize::scheme::multiplier;

pub use reconstruction::{LogVariance, Residuals};

/// How many times as wide as normal samples fill it the range of an output is that tells how far something is from normal: what is not
/// normal is further away.
pub const HEADROOM: f32 = 4.0;

/// Whether a detector looks at such an output.
pub const fn needs_headroom(name: DetectorName) -> bool {
    matches!(name, DetectorName::Difference | DetectorName::Centre)
}

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
    Distance(Distance, Pooling),
    /// Two distances, of the output's first rows and of the others.
    Fusion(Fusion),
}

/// A distance's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the format's of the same name")]
pub enum Distance {
    Mahalanobis(mahalanobis::Tables),
    Mixture(mixture::Tables),
}

/// Two distances and how much each counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fusion {
    rows: u16,
    first: Distance,
    second: Distance,
    pooling: Pooling,
    weights: [u16; 2],
}

impl Fusion {
    /// With one of the two alone, so that what it says can be seen.
    pub fn alone(&self, second: bool) -> Fitted {
        let weights = if second { [0, WEIGHT_ONE] } else { [WEIGHT_ONE, 0] };
        Fitted::Fusion(Self { weights, ..self.clone() })
    }

    /// With each in units of its deviation on normal samples, whose scores, in real units, `alone` are.
    pub fn balanced(&self, alone: [&[f64]; 2]) -> Fitted {
        let weights = alone.map(|scores| {
            let finite: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
            let n = finite.len().max(1) as f64;
            let mean = finite.iter().sum::<f64>() / n;
            let deviation = (finite.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n).sqrt();
            (f64::from(WEIGHT_ONE) / deviation).round().clamp(1.0, f64::from(u16::MAX)) as u16
        });
        Fitted::Fusion(Self { weights, ..self.clone() })
    }
}

/// Q8.
const WEIGHT_ONE: u16 = 256;

impl Distance {
    fn to_format(&self, pooling: Pooling, constants: &mut Vec<u8>) -> neji_format::Distance {
        match self {
            Self::Mahalanobis(tables) => neji_format::Distance::Mahalanobis(tables.to_format(pooling, constants)),
            Self::Mixture(tables) => neji_format::Distance::Mixture(tables.to_format(pooling, constants)),
        }
    }
}

impl Fitted {
    /// A detector that has seen no sample; none where it is nothing without.
    pub fn unfitted(settings: &DetectorSettings, name: DetectorName, variational: bool) -> Self {
        match name {
            DetectorName::Reconstruction if variational => {
                // Until its scale is known, all outputs mean the same.
                Self::Reconstruction(Residuals::Predicted(vec![1; 256]), settings.pooling())
            }
            DetectorName::Reconstruction => Self::Reconstruction(Residuals::One, settings.pooling()),
            DetectorName::Classifier => Self::Classifier(match settings.score {
                ScoreName::Margin => ClassifierScore::Margin,
                ScoreName::Probability => ClassifierScore::Probability,
            }),
            DetectorName::Mahalanobis
            | DetectorName::Nearest
            | DetectorName::Mixture
            | DetectorName::Difference
            | DetectorName::Centre
            | DetectorName::Fusion
            | DetectorName::Auto => Self::None,
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
            Self::Reconstruction(..) | Self::Distance(..) | Self::Fusion(..) => 1.0 / 256.0,
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
            Self::Distance(tables, pooling) => Detector::Distance(tables.to_format(*pooling, constants)),
            Self::Fusion(Fusion { rows, first, second, pooling, weights }) => Detector::Fusion(neji_format::Fusion {
                rows: *rows,
                first: first.to_format(*pooling, constants),
                second: second.to_format(Pooling::MEAN, constants),
                weights: *weights,
            }),
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
        DetectorName::Reconstruction | DetectorName::Classifier => Fitted::unfitted(settings, name, false),
        DetectorName::Mahalanobis | DetectorName::Nearest | DetectorName::Mixture => {
            Fitted::Distance(distance(settings, name, seed, &outputs(model, normal)?)?, pooling)
        }
        DetectorName::Difference => {
            // Channels of a difference are as independent as what was not learned.
            let settings = DetectorSettings { rank: 0, ..settings.clone() };
            let tables = mahalanobis::Tables::fit(&settings, &outputs(model, normal)?)?;
            Fitted::Distance(Distance::Mahalanobis(tables), pooling)
        }
        DetectorName::Centre => {
            let tables = mahalanobis::Tables::centre(&outputs(model, normal)?);
            Fitted::Distance(Distance::Mahalanobis(tables), pooling)
        }
        DetectorName::Auto => bail!("detector.kind is auto; `neji train` chooses one and writes it into the run"),
        DetectorName::Fusion => {
            let all = outputs(model, normal)?;
            let height = all.shape.height;
            ensure!(
                height >= 2,
                "detector.kind is fusion, which looks at an output's first rows and at its last one; the output has {} row: let \
                 [front_end.sound] statistics have blocks",
                height
            );
            Fitted::Fusion(Fusion {
                rows: (height - 1) as u16,
                first: distance(settings, DetectorName::Nearest, seed, &all.part(0..height - 1))?,
                second: distance(settings, DetectorName::Mahalanobis, seed, &all.part(height - 1..height))?,
                pooling,
                weights: [WEIGHT_ONE; 2],
            })
        }
    })
}

/// What normal inputs gave, in the units of a detector of distances.
struct Outputs {
    shape: Shape,
    /// Units of a step.
    parts: i32,
    /// One an input.
    values: Vec<Vec<i32>>,
}

impl Outputs {
    /// Some rows of each.
    fn part(&self, rows: Range<u32>) -> Self {
        let row = self.shape.width * self.shape.channels;
        let elements = (rows.start * row) as usize..(rows.end * row) as usize;
        Self {
            shape: Shape { height: rows.end - rows.start, ..self.shape },
            parts: self.parts,
            values: self.values.iter().map(|values| values[elements.clone()].to_vec()).collect(),
        }
    }
}

fn distance(settings: &DetectorSettings, name: DetectorName, seed: u64, outputs: &Outputs) -> Result<Distance> {
    Ok(match name {
        DetectorName::Nearest => Distance::Mixture(mixture::Tables::fit(settings, false, seed, outputs)?),
        DetectorName::Mixture => Distance::Mixture(mixture::Tables::fit(settings, true, seed, outputs)?),
        _ => Distance::Mahalanobis(mahalanobis::Tables::fit(settings, outputs)?),
    })
}

/// The outputs for `inputs`.
fn outputs(model: &Model<'_>, inputs: &[Vec<i8>]) -> Result<Outputs> {
    ensure!(!inputs.is_empty(), "no normal samples to learn their outputs from");
    let (shape, parts) = (model.plan().output.shape, output_parts(model.plan().element));
    let values = runs(model, inputs, |run| (0..shape.len()).map(|index| run.output(index, parts)).collect())?;
    Ok(Outputs { shape, parts, values })
}

/// What `see` says of the engine's run on each input.
fn runs<T: Send>(model: &Model<'_>, inputs: &[Vec<i8>], see: impl Fn(&Bytes<'_>) -> T + Sync) -> Result<Vec<T>> {
    let engine = Engine::<Host>::new(*model);
    let one = |input: &Vec<i8>| {
        let mut arena = ArenaBuffer::new(model);
        let arena = arena.bytes();
        engine.input_mut(arena).copy_from_slice(input);
        if let Err(error) = engine.run(arena) {
            bail!("running the model: {error}");
        }
        Ok(see(&Bytes::new(model.plan(), engine.input(arena), engine.output(arena))))
    };
    inputs.par_iter().map(one).collect()
}

/// The part of `graph` whose output the experiment's detector looks at.
///
/// Detectors of distances look at `detector.layer`, by default what the last layer with weights of a classifier reads or the narrowest layer
/// of an autoencoder; `detector.pooled` takes the mean over height and width, and otherwise each pixel is looked at. Without a network
/// the input is one vector, or what patches of it are made of.
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
        // Components of patches, or the input itself.
        None if experiment.task == Task::Features || experiment.is_drawn_together() => Some(graph.nodes.len() - 1),
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
        // A fusion asks which row is which.
        if (shape.height, shape.width) != (1, 1) && experiment.detector() != DetectorName::Fusion {
            push("vector", Op::Reshape, Shape::new(1, 1, shape.len() as u32));
        }
    } else if settings.pooled && experiment.detector() != DetectorName::Difference {
        push("pooled", Op::Mean, Shape::new(1, 1, shape.channels));
    }
    Ok(Graph { name: graph.name.clone(), nodes })
}

/// [`observed`], and where the detector looks at a model's last output, the part up to what says most in the least: an
/// autoencoder's bottleneck, or what a classifier's last layer with weights reads.
///
/// # Errors
/// As [`observed`].
pub fn looked_at(experiment: &Experiment, graph: &Graph) -> Result<Graph> {
    match experiment.detector() {
        DetectorName::Reconstruction | DetectorName::Classifier => {
            Ok(Graph { name: graph.name.clone(), nodes: graph.nodes[..=embedding(graph)].to_vec() })
        }
        _ => observed(experiment, graph),
    }
}

/// The layer that says most in the least: what a classifier's last layer with weights reads, or an autoencoder's narrowest output.
fn embedding(graph: &Graph) -> usize {
    let output = graph.output_shape().len();
    if output == graph.input_shape().len() || output == 2 * graph.input_shape().len() {
        let width = |&index: &usize| graph.nodes[index].shape.len();
        return (0..graph.nodes.len()).min_by_key(width).unwrap_or(0);
    }
    let last = graph.nodes.iter().rposition(|node| matches!(node.op, Op::FullyConnected { .. } | Op::Conv2d { .. }));
    last.and_then(|index| graph.nodes[index].inputs.first().copied()).unwrap_or(0)
}
