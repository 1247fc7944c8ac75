//! Which layer's rounding costs what: each alone is rounded, all others stay float.
//!
//! Computed in floats: weights become what their int8 stand for, values the nearest steps, as the engine has them but for its rounding of
//! single sums. What is measured is the noise at the model's output, and how well scores of made defects are told from those of held-out
//! normal samples; the front end's input, the device's own, is not changed.

use anyhow::Result;
use neji_format::{Element, Model, Plan};
use serde::{Deserialize, Serialize};

use super::lower::rounded;
use super::rounding::{Rounding, roundings};
use super::scheme::Scheme;
use crate::bootstrap::auroc_difference;
use crate::calibrate::Range;
use crate::evaluate::auroc;
use crate::graph::{Graph, Op};
use crate::report::scores;
use crate::trial::Trial;

/// Seed of the draws that errors come from.
const SEED: u64 = 1;

/// In `quantize.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// Held-out normal samples.
    pub normals: usize,
    /// Defects made of them.
    pub defects: usize,
    /// AUROC of made defects where nothing but the input is rounded.
    pub auroc_float: f64,
    /// A row a layer.
    pub layers: Vec<Alone>,
    /// All of them rounded.
    pub all: Alone,
}

/// What rounding one layer alone does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    /// Name of the node whose values are rounded.
    pub name: String,
    /// Signal over noise at the model's output where its weights are rounded; none of what has no weights, or where there is no noise.
    pub weights_db: Option<f64>,
    /// The same where its values are rounded.
    pub values_db: Option<f64>,
    /// The same where both are.
    pub both_db: Option<f64>,
    /// AUROC of made defects where both are, less that of the float model.
    pub auroc_change: f64,
    /// Its standard error.
    pub error: f64,
}

/// A model's layers as they are rounded.
#[derive(Debug)]
pub struct Layers<'a> {
    graph: &'a Graph,
    /// The graph with all weights rounded.
    weights: Graph,
    /// How each node's values are rounded; none of those that are not, or that have the steps of what they were read from.
    schemes: Vec<Option<Scheme>>,
    /// Each layer: the nodes that compute it, the last of which gives its values.
    layers: Vec<Vec<usize>>,
    element: Element,
}

impl<'a> Layers<'a> {
    /// The layers of `graph`, in which batch normalisation is folded, whose nodes have these ranges and mean outputs (none where biases
    /// are not corrected), for a blob of `plan`.
    pub fn new(graph: &'a Graph, ranges: &[Range], means: &[Vec<f64>], plan: &Plan<'_>) -> Self {
        let element = plan.element;
        let roundings = roundings(graph, element);
        let mut weights = graph.clone();
        for (node, of) in weights.nodes.iter_mut().zip(&graph.nodes) {
            node.op = rounded(graph, means, of);
        }
        let scheme = |index: usize| match roundings[index] {
            Rounding::Own if index > 0 => Some(Scheme::of(element, ranges[index])),
            Rounding::Fixed(scheme) => Some(scheme),
            Rounding::Own | Rounding::Fused(_) | Rounding::Input => None,
        };
        let schemes: Vec<Option<Scheme>> = (0..graph.nodes.len()).map(scheme).collect();
        let fused = |index: usize| (0..index).find(|&before| roundings[before] == Rounding::Fused(index));
        let layers = (0..graph.nodes.len()).filter(|&index| schemes[index].is_some());
        let layers = layers.map(|index| fused(index).into_iter().chain([index]).collect()).collect();
        Self { graph, weights, schemes, layers, element }
    }

    /// Each node's values for `input` where weights and values of some nodes are rounded, as `which` says of each (weights, values);
    /// `before` are all nodes' values in floats.
    fn run(&self, before: &[Vec<f32>], which: impl Fn(usize) -> (bool, bool)) -> Vec<f32> {
        let mut values = before.to_vec();
        let mut changed = vec![false; values.len()];
        for index in 1..values.len() {
            let (weights, rounds) = which(index);
            let node = &self.graph.nodes[index];
            if !weights && !rounds && !node.inputs.iter().any(|&input| changed[input]) {
                continue;
            }
            let graph = if weights { &self.weights } else { self.graph };
            let mut value = graph.run_node(index, &values);
            if let Some(scheme) = self.schemes[index].filter(|_| rounds) {
                value.iter_mut().for_each(|x| *x = scheme.real(scheme.quantize_to(self.element, (*x).into())) as f32);
            }
            values[index] = value;
            changed[index] = true;
        }
        values.pop().unwrap_or_default()
    }

    fn has_weights(&self, layer: &[usize]) -> bool {
        layer.iter().any(|&index| {
            matches!(
                self.graph.nodes[index].op,
                Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::TransposeConv2d { .. } | Op::FullyConnected { .. }
            )
        })
    }

    /// Which weights and values each variant rounds, as index of a layer (all layers where there is none) and two flags.
    fn variants(&self) -> Vec<(Option<usize>, bool, bool)> {
        let mut all = vec![(None, true, true)];
        for (index, layer) in self.layers.iter().enumerate() {
            all.push((Some(index), true, true));
            if self.has_weights(layer) {
                all.extend([(Some(index), true, false), (Some(index), false, true)]);
            }
        }
        all
    }
}

/// Energy of the signal and of the noise.
#[derive(Debug, Clone, Copy, Default)]
struct Energy {
    signal: f64,
    noise: f64,
}

impl Energy {
    fn of(signal: &[f32], noisy: &[f32]) -> Self {
        let pairs = signal.iter().zip(noisy).map(|(&x, &y)| (f64::from(x), f64::from(y)));
        pairs.fold(Self::default(), |sum, (x, y)| Self {
            signal: sum.signal + x * x,
            noise: sum.noise + (x - y) * (x - y),
        })
    }

    fn and(self, other: Self) -> Self {
        Self { signal: self.signal + other.signal, noise: self.noise + other.noise }
    }

    fn db(self) -> Option<f64> {
        (self.signal > 0.0 && self.noise > 0.0).then(|| 10.0 * (self.signal / self.noise).log10())
    }
}

/// Measures every layer of `model` on `trial`.
///
/// # Errors
/// A model without a detector, or a sample that it does not take.
pub fn measure(model: Model<'_>, layers: &Layers<'_>, trial: &Trial) -> Result<Sensitivity> {
    let variants = layers.variants();
    // The float run first, then each variant; energies beside the outputs.
    let run = |real: &[f32]| {
        let before = layers.graph.run_all(real);
        let float = before.last().cloned().unwrap_or_default();
        let mut outputs = vec![float.clone()];
        let mut energies = vec![Energy::default()];
        for &(layer, weights, values) in &variants {
            let which = |index: usize| match layer {
                Some(layer) if !layers.layers[layer].contains(&index) => (false, false),
                _ => (weights, values),
            };
            let output = layers.run(&before, which);
            energies.push(Energy::of(&float, &output));
            outputs.push(output);
        }
        (outputs, energies)
    };
    let (scores, energies) = scores::of_variants(model, &trial.samples, variants.len() + 1, run, Energy::and)?;
    let abnormal = trial.abnormal();
    let place = |variant: (Option<usize>, bool, bool)| variants.iter().position(|one| *one == variant).map(|at| at + 1);
    let row = |layer: Option<usize>, name: String| -> Result<Alone> {
        let db = |weights, values| place((layer, weights, values)).and_then(|at| energies[at].db());
        let both = place((layer, true, true)).unwrap_or_default();
        let change = auroc_difference(&scores[both], &scores[0], &abnormal, SEED)?;
        let has_weights = layer.is_none_or(|layer| layers.has_weights(&layers.layers[layer]));
        Ok(Alone {
            name,
            weights_db: db(true, false),
            values_db: if has_weights { db(false, true) } else { db(true, true) },
            both_db: db(true, true),
            auroc_change: change.value,
            error: change.error,
        })
    };
    let name = |layer: usize| {
        let last = layers.layers[layer].last().copied().unwrap_or_default();
        layers.graph.nodes[last].name.clone()
    };
    Ok(Sensitivity {
        normals: trial.normals,
        defects: trial.defects(),
        auroc_float: auroc(&scores[0], &abnormal)?,
        layers: (0..layers.layers.len()).map(|layer| row(Some(layer), name(layer))).collect::<Result<_>>()?,
        all: row(None, "all".to_owned())?,
    })
}

#[cfg(test)]
mod tests {
    use neji_format::Shape;

    use super::*;
    use crate::graph::{Activation, Node};

    /// A layer of weights that are not on any grid but for the second's, which are; ReLU after the first.
    fn graph() -> Graph {
        let shape = Shape::new(1, 1, 2);
        let node = |op, inputs: &[usize]| Node { name: format!("n{}", inputs.len()), op, inputs: inputs.into(), shape };
        let dense = |weights: [f32; 4]| Op::FullyConnected { weights: weights.to_vec(), bias: vec![0.0; 2] };
        let mut nodes = vec![
            node(Op::Input, &[]),
            node(dense([1.0, 0.3, 0.123, -0.77]), &[0]),
            node(Op::Activation(Activation::Relu), &[1]),
            node(dense([1.0, 0.0, 0.0, 1.0]), &[2]),
        ];
        nodes.iter_mut().enumerate().for_each(|(index, node)| node.name = format!("n{index}"));
        Graph { name: "g".into(), nodes }
    }

    #[test]
    fn only_what_is_asked_for_is_rounded() {
        let graph = graph();
        let range = Range { low: -1.0, high: 1.55 };
        let ranges = [range; 4];
        let scheme = Scheme::of(Element::I8, range);
        let weights = |index: usize| rounded(&graph, &[], &graph.nodes[index]);
        let layers = Layers {
            graph: &graph,
            weights: Graph {
                name: "w".into(),
                nodes: (0..4).map(|i| Node { op: weights(i), ..graph.nodes[i].clone() }).collect(),
            },
            schemes: vec![None, None, Some(Scheme::of(Element::I8, ranges[2])), Some(scheme)],
            layers: vec![vec![1, 2], vec![3]],
            element: Element::I8,
        };
        let input = [0.8_f32, 0.4];
        let before = graph.run_all(&input);
        let none = layers.run(&before, |_| (false, false));
        assert_eq!(none, before[3]);
        // The second layer's weights are 127 and 0 steps: rounding them changes nothing, rounding its values by at most half a step.
        assert_eq!(layers.run(&before, |index| (index == 3, false)), before[3]);
        let values = layers.run(&before, |index| (false, index == 3));
        assert_ne!(values, before[3]);
        for (rounded, float) in values.iter().zip(&before[3]) {
            assert!((rounded - float).abs() <= 0.5001 * scheme.scale, "{rounded} {float}");
            assert_eq!(f64::from(*rounded), f64::from(scheme.real(scheme.quantize(f64::from(*float))) as f32));
        }
        // The first layer's weights alone: what a graph with them gives.
        let own = layers.run(&before, |index| (index <= 2, false));
        let hand: f32 = 0.8 + 0.4 * (0.3_f32 * 127.0).round() / 127.0;
        assert!((own[0] - hand).abs() < 1e-6, "{} {hand}", own[0]);
        assert_eq!(layers.variants().len(), 7);
    }

    #[test]
    fn signal_over_noise_by_hand() {
        let energy = Energy::of(&[3.0, 4.0], &[3.0, 4.5]);
        assert!((energy.db().expect("noise") - 20.0).abs() < 1e-9);
        assert_eq!(Energy::of(&[1.0], &[1.0]).db(), None);
    }
}
