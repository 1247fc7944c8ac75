//! A folded graph in Burn, computed as the device will: weights and activations are rounded to their steps, and gradients pass as if they
//! were not.
//!
//! Rounding is simulated in floats (Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only
//! inference, CVPR 2018, section 3). Its gradient is that of the identity inside a range and 0 outside (Bengio, Leonard and Courville, Estimating or
//! propagating gradients through stochastic neurons, arXiv 1308.3432); that of a range is what the size of its steps does to the values
//! inside and its ends to those beyond (Esser et al., Learned step size quantization, ICLR 2020, eq. 3, for both ends). The logarithms of
//! the ends are learned, so that a step of the optimizer is a share of them (Jain et al., Trained quantization thresholds, MLSys 2020,
//! section 3.3), and zero stays between them.

use anyhow::{Context, Result, bail, ensure};
use burn::module::{Module, Param};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::{conv_transpose2d, conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use neji_format::{Element, Shape, Window};

use crate::calibrate::Range;
use crate::experiment::ActivationsName;
use crate::graph::{Activation, Graph, Op};
use crate::quantize::learned::{LearnedRange, LearnedRanges};
use crate::quantize::rounding::{Rounding, roundings};
use crate::quantize::scheme::Scheme;

/// How much faster the logarithm of a range's end moves than a weight.
const RANGE_SPEED: f64 = 10.0;
/// Largest step of a weight.
const WEIGHT_MAX: f64 = 127.0;

/// What is learned.
#[derive(Module, Debug)]
pub struct Learned {
    /// Of each layer with weights, `[channels_out, weights]` in Burn's order.
    pub weights: Vec<Param<Tensor<2>>>,
    /// Of each layer with weights.
    pub biases: Vec<Param<Tensor<1>>>,
    /// Of each range: parts of the logarithms of its ends over those at the beginning.
    pub ranges: Vec<Param<Tensor<1>>>,
}

/// How the values of a node are rounded.
#[derive(Debug, Clone, Copy)]
enum Steps {
    /// Not at all.
    None,
    /// By steps that do not change.
    Fixed(Scheme),
    /// By a range that does not change.
    Calibrated(Scheme, Range),
    /// By a range that is learned: its number, and its ends at the beginning.
    Learned(usize, Range),
}

/// A graph, and how it is rounded.
#[derive(Debug, Clone)]
pub struct RoundedGraph {
    graph: Graph,
    element: Element,
    steps: Vec<Steps>,
    /// The number of each node's weights.
    layers: Vec<Option<usize>>,
    /// The node whose values the loss looks at.
    last: usize,
}

impl RoundedGraph {
    /// `graph`, in which batch normalisation is folded, with `ranges` to begin with and the input rounded to steps of `input`; what is
    /// learned begins as it stands there. A logistic function or a softmax at its end is left to the loss.
    ///
    /// # Errors
    /// An operator that is not trained; names the node.
    pub fn new(
        graph: &Graph,
        ranges: &[Range],
        activations: ActivationsName,
        input: Scheme,
        device: &Device,
    ) -> Result<(Self, Learned)> {
        let element = activations.element();
        let mut learned = Learned { weights: Vec::new(), biases: Vec::new(), ranges: Vec::new() };
        let (mut steps, mut layers) = (Vec::new(), Vec::new());
        for (index, (node, rounding)) in graph.nodes.iter().zip(roundings(graph, element)).enumerate() {
            let named = || format!("training node {index} \"{}\" with rounding", node.name);
            steps.push(match rounding {
                _ if index == 0 => Steps::Fixed(input),
                Rounding::Fused(_) | Rounding::Input => Steps::None,
                Rounding::Fixed(scheme) => Steps::Fixed(scheme),
                // Steps of 16 bits are so fine that there is nothing to learn.
                Rounding::Own if element == Element::I16 => {
                    Steps::Calibrated(Scheme::of(element, ranges[index]), ranges[index])
                }
                Rounding::Own => {
                    let start = TensorData::new(vec![0.0_f32; 2], [2]);
                    learned.ranges.push(Param::from_tensor(Tensor::from_data(start, device)));
                    Steps::Learned(learned.ranges.len() - 1, ranges[index])
                }
            });
            let inputs = node.inputs.first().map_or(0, |&input| graph.nodes[input].shape.channels as usize);
            let Some((weights, bias)) = to_burn(&node.op, inputs).with_context(named)? else {
                layers.push(None);
                continue;
            };
            let rows = bias.len();
            let each = weights.len() / rows;
            let weights = Tensor::from_data(TensorData::new(weights, [rows, each]), device);
            learned.weights.push(Param::from_tensor(weights));
            let bias = Tensor::from_data(TensorData::new(bias, [rows]), device);
            learned.biases.push(Param::from_tensor(bias));
            layers.push(Some(learned.weights.len() - 1));
        }
        let last = graph.nodes.len() - 1;
        let last = match graph.nodes[last].op {
            Op::Softmax | Op::Activation(Activation::Logistic) => graph.nodes[last].inputs[0],
            _ => last,
        };
        ensure!(
            graph.nodes[..last].iter().all(|node| !matches!(node.op, Op::Softmax)),
            "a softmax in the midst of the model is not trained with rounding"
        );
        Ok((Self { graph: graph.clone(), element, steps, layers, last }, learned))
    }

    /// The graph with what was learned, and its ranges.
    ///
    /// # Errors
    /// Where Burn can't give a tensor's data.
    pub fn export(&self, learned: &Learned, activations: ActivationsName) -> Result<(Graph, LearnedRanges)> {
        let mut graph = self.graph.clone();
        let mut ranges = Vec::new();
        for (index, node) in graph.nodes.iter_mut().enumerate() {
            let inputs = node.inputs.first().map_or(0, |&input| self.graph.nodes[input].shape.channels as usize);
            if let Some(layer) = self.layers[index] {
                let weights = data(learned.weights[layer].val())?;
                let bias = data(learned.biases[layer].val())?;
                from_burn(&mut node.op, &weights, &bias, inputs);
            }
            let range = match self.steps[index] {
                Steps::Learned(number, start) => ends(start, &data(learned.ranges[number].val())?),
                Steps::Calibrated(_, range) => range,
                Steps::None | Steps::Fixed(_) => continue,
            };
            ranges.push(LearnedRange { node: node.name.clone(), low: range.low, high: range.high });
        }
        Ok((graph, LearnedRanges { activations, ranges }))
    }

    /// What the loss looks at, `[batch, values]` in the graph's order, of images `[batch, 1, height, width]`.
    pub fn forward(&self, learned: &Learned, images: Tensor<4>) -> Tensor<2> {
        let values = self.values(learned, images);
        rows(values[self.last].clone())
    }

    /// The logits of each place before the largest are taken, `[batch, classes, rows, columns]`; none of a graph that does not end so.
    pub fn forward_places(&self, learned: &Learned, images: Tensor<4>) -> Option<(Tensor<4>, Tensor<2>)> {
        let node = &self.graph.nodes[self.last];
        if !matches!(node.op, Op::MaxPool2d { .. }) {
            return None;
        }
        let values = self.values(learned, images);
        Some((values[node.inputs[0]].clone(), rows(values[self.last].clone())))
    }

    /// All nodes' values, `[batch, channels, height, width]` each, up to what the loss looks at.
    pub fn values(&self, learned: &Learned, images: Tensor<4>) -> Vec<Tensor<4>> {
        let mut values: Vec<Tensor<4>> = Vec::with_capacity(self.last + 1);
        for index in 0..=self.last {
            values.push(self.value(index, learned, &values, &images));
        }
        values
    }

    /// The values of a node as they are rounded, from those of the nodes before it.
    fn value(&self, index: usize, learned: &Learned, before: &[Tensor<4>], images: &Tensor<4>) -> Tensor<4> {
        let value = if index == 0 { images.clone() } else { self.node(index, learned, before) };
        match self.steps[index] {
            Steps::None => value,
            Steps::Fixed(scheme) | Steps::Calibrated(scheme, _) => rounded(value, self.element, scheme),
            Steps::Learned(number, start) => rounded_by(value, self.element, start, learned.ranges[number].val()),
        }
    }

    fn node(&self, index: usize, learned: &Learned, values: &[Tensor<4>]) -> Tensor<4> {
        let node = &self.graph.nodes[index];
        let x = values[node.inputs[0]].clone();
        let from = self.graph.nodes[node.inputs[0]].shape;
        let [batch, channels, ..] = x.dims();
        let parameters =
            self.layers[index].map(|layer| rounded_layer(learned.weights[layer].val(), learned.biases[layer].val()));
        match (&node.op, parameters) {
            (Op::Conv2d { window, .. }, Some((weights, bias))) => {
                let [kh, kw] = kernel(window);
                let out = bias.dims()[0];
                conv2d(x, weights.reshape([out, channels, kh, kw]), Some(bias), convolution(window, 1))
            }
            (Op::DepthwiseConv2d { window, .. }, Some((weights, bias))) => {
                let [kh, kw] = kernel(window);
                let out = bias.dims()[0];
                conv2d(x, weights.reshape([out, 1, kh, kw]), Some(bias), convolution(window, channels))
            }
            (Op::TransposeConv2d { window, .. }, Some((weights, bias))) => {
                let [kh, kw] = kernel(window);
                let out = bias.dims()[0];
                let weights = weights.reshape([out, channels, kh, kw]).swap_dims(0, 1);
                conv_transpose2d(x, weights, Some(bias), transposed(window, from, node.shape))
            }
            (Op::FullyConnected { .. }, Some((weights, bias))) => {
                let out = bias.dims()[0];
                let y = rows(x).matmul(weights.transpose()) + bias.unsqueeze_dim::<2>(0);
                y.reshape([batch, out, 1, 1])
            }
            (Op::Activation(activation), _) => activate(x, *activation),
            (Op::MaxPool2d { window }, _) => {
                let [kh, kw] = kernel(window);
                if (kh as u32, kw as u32) == (from.height, from.width) {
                    return x.reshape([batch, channels, kh * kw, 1]).max_dim(2);
                }
                let stride = [window.stride_height.into(), window.stride_width.into()];
                let padding = [
                    (window.padding_top.into(), window.padding_bottom.into()),
                    (window.padding_left.into(), window.padding_right.into()),
                ];
                max_pool2d(x, MaxPoolOptions::new([kh, kw]).with_stride(stride).with_padding_pairs(padding))
            }
            (Op::Mean, _) => x.mean_dim(2).mean_dim(3),
            (Op::Add, _) => x + values[node.inputs[1]].clone(),
            (Op::Concat { axis }, _) => {
                let dim = match axis {
                    0 => 2,
                    1 => 3,
                    _ => 1,
                };
                Tensor::cat(node.inputs.iter().map(|&input| values[input].clone()).collect(), dim)
            }
            (Op::Reshape, _) => {
                let Shape { height, width, channels } = node.shape;
                let flat = x.permute([0, 2, 3, 1]);
                flat.reshape([batch, height as usize, width as usize, channels as usize]).permute([0, 3, 1, 2])
            }
            (Op::ResizeNearest { factor_height, factor_width }, _) => {
                let (h, w) = (from.height as usize, from.width as usize);
                let (fh, fw) = (usize::from(*factor_height), usize::from(*factor_width));
                let spread: Tensor<6> = x.reshape([batch, channels, h, 1, w, 1]);
                spread.expand([batch, channels, h, fh, w, fw]).reshape([batch, channels, h * fh, w * fw])
            }
            _ => x,
        }
    }
}

/// `[batch, channels, height, width]` flattened in the graph's order.
fn rows(x: Tensor<4>) -> Tensor<2> {
    x.permute([0, 2, 3, 1]).flatten(1, 3)
}

fn data<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.into_data().try_into_vec_as::<f32>().map_err(|error| anyhow::anyhow!("reading what was learned: {error:?}"))
}

fn kernel(window: &Window) -> [usize; 2] {
    [window.kernel_height.into(), window.kernel_width.into()]
}

fn convolution(window: &Window, groups: usize) -> ConvOptions<2> {
    let padding = [
        (window.padding_top.into(), window.padding_bottom.into()),
        (window.padding_left.into(), window.padding_right.into()),
    ];
    let stride = [window.stride_height.into(), window.stride_width.into()];
    let dilation = [window.dilation_height.into(), window.dilation_width.into()];
    ConvOptions::new_with_padding(stride, padding, dilation, groups)
}

fn transposed(window: &Window, from: Shape, to: Shape) -> ConvTransposeOptions<2> {
    let stride: [usize; 2] = [window.stride_height.into(), window.stride_width.into()];
    let padding: [usize; 2] = [window.padding_top.into(), window.padding_left.into()];
    let [kh, kw] = kernel(window);
    // What a whole number of strides lacks.
    let more = |from: u32, to: u32, axis: usize, kernel: usize| {
        (to as usize + 2 * padding[axis]).saturating_sub((from as usize - 1) * stride[axis] + kernel)
    };
    let out = [more(from.height, to.height, 0, kh), more(from.width, to.width, 1, kw)];
    ConvTransposeOptions::new(stride, padding, out, [1, 1], 1)
}

fn activate(x: Tensor<4>, activation: Activation) -> Tensor<4> {
    match activation {
        Activation::Relu => relu(x),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu(alpha) => relu(x.clone()) - relu(x.neg()).mul_scalar(alpha),
        Activation::Logistic => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::HardSwish => x.clone() * x.add_scalar(3.0).clamp(0.0, 6.0).div_scalar(6.0),
    }
}

/// A channel's weights as multiples of a 127th of the largest, and its bias. A channel whose weights are all 0 is a constant, as the
/// logit of a map's normal class is: neither moves.
fn rounded_layer(weights: Tensor<2>, bias: Tensor<1>) -> (Tensor<2>, Tensor<1>) {
    let plain = weights.clone().detach();
    let largest = plain.clone().abs().max_dim(1);
    let silent = largest.clone().equal_elem(0.0);
    let scale = largest.div_scalar(WEIGHT_MAX).mask_fill(silent.clone(), 1.0);
    let moved = (plain.clone() / scale.clone()).round() * scale - plain;
    let free = silent.bool_not().float();
    let held = bias.clone().detach();
    let bias = held.clone() + (bias - held) * free.clone().squeeze_dim::<1>(1);
    ((weights + moved) * free, bias)
}

/// The ends of a range that began as `start`.
fn ends(start: Range, learned: &[f32]) -> Range {
    let factor = |index: usize| (RANGE_SPEED * f64::from(learned.get(index).copied().unwrap_or_default())).exp();
    Range { low: (f64::from(start.low) * factor(0)) as f32, high: (f64::from(start.high) * factor(1)) as f32 }
}

/// Bounds of the values that `scheme` has.
fn bounds(element: Element, scheme: Scheme) -> (f64, f64) {
    let (low, high) = element.range();
    (scheme.real(low), scheme.real(high))
}

/// `x` in steps of `scheme`.
fn rounded(x: Tensor<4>, element: Element, scheme: Scheme) -> Tensor<4> {
    let (low, high) = bounds(element, scheme);
    let inside = x.clamp(low, high);
    let plain = inside.clone().detach();
    let scale = f64::from(scheme.scale);
    let moved = plain.clone().div_scalar(scale).round().mul_scalar(scale) - plain;
    inside + moved
}

/// `x` in the 255 steps of a learned range, which has a gradient, too.
fn rounded_by(x: Tensor<4>, element: Element, start: Range, learned: Tensor<1>) -> Tensor<4> {
    let ends = match data(learned.clone().detach()) {
        Ok(learned) => ends(start, &learned),
        Err(_) => start,
    };
    let scheme = Scheme::of(element, ends);
    let (low, high) = bounds(element, scheme);
    let scale = f64::from(scheme.scale);
    let plain = x.clone().detach();
    let inside = x.clamp(low, high);
    let held = inside.clone().detach();
    // In steps: how far rounding moves a value, and how far it lay outside, as 0 or 1.
    let moved = held.clone().div_scalar(scale).round() - held.clone().div_scalar(scale);
    let outside = (plain - held).div_scalar(scale);
    let above = outside.clone().greater_elem(0.0).float();
    let below = outside.lower_elem(0.0).float();
    let within = moved.clone().div_scalar(255.0) * (above.clone() + below.clone()).neg().add_scalar(1.0);
    let value = inside + moved.mul_scalar(scale);
    // Of value 0, with the gradient of each end.
    let by = |index: usize, end: f32, factor: Tensor<4>| {
        let own = learned.clone().narrow(0, index, 1);
        let none = own.clone() - own.detach();
        let per = none.mul_scalar(RANGE_SPEED * f64::from(end));
        factor * per.reshape([1, 1, 1, 1])
    };
    let value = if ends.high > 0.0 { value + by(1, ends.high, within.clone() + above) } else { value };
    if ends.low < 0.0 { value + by(0, ends.low, below - within) } else { value }
}

/// Weights `[channels_out, …]` in Burn's order, `[in, height, width]` of a channel, and biases; none of what has none. `inputs` is how many
/// channels are read.
fn to_burn(op: &Op, inputs: usize) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    Ok(match op {
        Op::Conv2d { weights, bias, .. } | Op::TransposeConv2d { weights, bias, .. } => {
            let order = order(weights.len() / bias.len(), inputs);
            let rows = weights.chunks_exact(order.len());
            Some((rows.flat_map(|row| order.iter().map(|&from| row[from])).collect(), bias.clone()))
        }
        Op::DepthwiseConv2d { weights, bias, .. } => {
            let channels = bias.len();
            let of = |channel: usize| weights.iter().skip(channel).step_by(channels).copied();
            Some(((0..channels).flat_map(of).collect(), bias.clone()))
        }
        Op::FullyConnected { weights, bias } => Some((weights.clone(), bias.clone())),
        Op::Input
        | Op::Activation(_)
        | Op::MaxPool2d { .. }
        | Op::Mean
        | Op::Add
        | Op::Concat { .. }
        | Op::Reshape
        | Op::ResizeNearest { .. }
        | Op::Softmax => None,
        Op::BatchNorm { .. } => bail!("its batch normalisation is not folded"),
        Op::AveragePool2d { .. } | Op::SumPool2d { .. } | Op::Pad { .. } => bail!("there is no such layer in training"),
    })
}

/// The reverse of [`to_burn`], into `op`.
fn from_burn(op: &mut Op, learned: &[f32], biases: &[f32], inputs: usize) {
    match op {
        Op::Conv2d { weights, bias, .. } | Op::TransposeConv2d { weights, bias, .. } => {
            let order = order(weights.len() / bias.len(), inputs);
            for (row, from) in weights.chunks_exact_mut(order.len()).zip(learned.chunks_exact(order.len())) {
                order.iter().zip(from).for_each(|(&to, &weight)| row[to] = weight);
            }
            bias.copy_from_slice(biases);
        }
        Op::DepthwiseConv2d { weights, bias, .. } => {
            let channels = bias.len();
            let each = weights.len() / channels;
            for (index, &weight) in learned.iter().enumerate() {
                weights[index % each * channels + index / each] = weight;
            }
            bias.copy_from_slice(biases);
        }
        Op::FullyConnected { weights, bias } => {
            weights.copy_from_slice(learned);
            bias.copy_from_slice(biases);
        }
        _ => {}
    }
}

/// For each weight of a channel in Burn's order, `[in][pixel]`, its index in the graph's, `[pixel][in]`.
fn order(each: usize, inputs: usize) -> Vec<usize> {
    let pixels = each / inputs;
    (0..inputs).flat_map(|input| (0..pixels).map(move |pixel| pixel * inputs + input)).collect()
}

#[cfg(test)]
mod tests {
    use neji_engine::{Engine, Host};
    use neji_format::{AlignedBytes, Decision, Provenance};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::calibrate::calibrate;
    use crate::element::ArenaBuffer;
    use crate::experiment::{CalibrationName, Experiment};
    use crate::export::export;
    use crate::fold::fold;
    use crate::graph::Node;
    use crate::lowered::{Lowered, POINT};
    use crate::model::{ImageSize, Network};
    use crate::quantize::assemble::{Edges, Memory, accepted, assemble};
    use crate::quantize::lower::lower;

    const INPUT: Scheme = Scheme { scale: 1.0 / 255.0, zero_point: -128 };

    fn blob(lowered: &Lowered) -> AlignedBytes {
        let edges = Edges {
            front_end: crate::frontend::Fitted::Raw,
            detector: crate::detect::Fitted::None,
            decision: Decision::EACH,
            provenance: Provenance::of("rounded"),
        };
        assemble(lowered, Memory::Separate, &edges).expect("a model")
    }

    /// The graph of an untrained model whose weights and batch statistics are drawn by `seed`.
    fn untrained(toml: &str, size: ImageSize, classes: usize, seed: u64) -> Graph {
        let experiment = Experiment::from_toml(&format!("name = \"t\"\n{toml}"), &[]).expect("an experiment");
        let network = Network::new(&experiment, size, classes, &Device::default().autodiff()).expect("a network");
        let mut graph = export(&network, &experiment, size).expect("a graph");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |values: &mut Vec<f32>, low: f32, high: f32| {
            values
                .iter_mut()
                .filter(|value| **value != 0.0 || low > 0.0)
                .for_each(|x| *x = rng.random_range(low..high));
        };
        for node in &mut graph.nodes {
            match &mut node.op {
                Op::Conv2d { weights, bias, .. }
                | Op::TransposeConv2d { weights, bias, .. }
                | Op::FullyConnected { weights, bias } => {
                    let wide = 2.0 * (bias.len() as f32 / weights.len() as f32).sqrt();
                    draw(weights, -wide, wide);
                    draw(bias, -0.2, 0.2);
                }
                Op::BatchNorm { gamma, beta, mean, variance, .. } => {
                    draw(gamma, 0.5, 1.5);
                    draw(beta, -0.3, 0.3);
                    draw(mean, -0.2, 0.2);
                    draw(variance, 0.3, 2.0);
                }
                _ => {}
            }
        }
        fold(&graph)
    }

    /// Compares what training computes of `graph` with what the engine does, on inputs that are drawn by `seed`: each layer, given
    /// the engine's own values, within one step, and nearly all the same; all of them one after the other within two.
    fn agrees(graph: &Graph, seed: u64) {
        graph.check().expect("a sound graph");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = graph.input_shape();
        let steps: Vec<Vec<i8>> = (0..6).map(|_| (0..shape.len()).map(|_| rng.random::<i8>()).collect()).collect();
        let real = |steps: &Vec<i8>| steps.iter().map(|&q| INPUT.real(q) as f32).collect::<Vec<f32>>();
        let inputs: Vec<Vec<f32>> = steps.iter().map(real).collect();
        let ranges = calibrate(graph, &inputs, CalibrationName::Minmax);
        let device = Device::default();
        let (rounded, mut learned) =
            RoundedGraph::new(graph, &ranges, ActivationsName::Int8, INPUT, &device).expect("trained");
        // Ranges that were learned clip a little.
        for range in &mut learned.ranges {
            let moved = TensorData::new(vec![rng.random_range(-0.02..0.0f32), rng.random_range(-0.02..0.0f32)], [2]);
            *range = Param::from_tensor(Tensor::from_data(moved, &device));
        }
        let (graph, found) = rounded.export(&learned, ActivationsName::Int8).expect("exported");
        let mut ranges = calibrate(&graph, &inputs, CalibrationName::Minmax);
        found.put(&graph, &mut ranges);
        let lowered = lower(&graph, &ranges, &[], Element::I8, INPUT).expect("lowered");
        let blob = blob(&lowered);
        let model = accepted(&blob).expect("a model");
        let [height, width] = [shape.height as usize, shape.width as usize];
        let images = TensorData::new(inputs.concat(), [inputs.len(), 1, height, width]);
        let images = Tensor::<4>::from_data(images, &device);
        // What the engine gives for each node that has a tensor; the first of them, since joints bring parts to other steps.
        let mut nodes: Vec<Option<(Scheme, Vec<i8>)>> = vec![None; graph.nodes.len()];
        let engine = Engine::<Host>::new(model);
        for input in &steps {
            let mut arena = ArenaBuffer::new(&model);
            let arena = arena.bytes();
            engine.input_mut(arena).copy_from_slice(input);
            engine.run(arena).expect("it runs");
            let mut seen = vec![false; graph.nodes.len()];
            for (step, operator) in lowered.steps.iter().zip(model.operators()) {
                let (node, out) = (lowered.nodes[step.tensors.output], operator.output());
                if std::mem::replace(&mut seen[node], true) {
                    continue;
                }
                let scheme = Scheme { scale: out.scale, zero_point: out.zero_point };
                let bytes = &arena[out.offset as usize..][..out.shape.len()];
                nodes[node].get_or_insert_with(|| (scheme, Vec::new())).1.extend_from_slice(bytes);
            }
        }
        let whole = rounded.values(&learned, images.clone());
        let mut values: Vec<Tensor<4>> = Vec::new();
        let (mut same, mut all) = (0, 0);
        for index in 0..whole.len() {
            let own = rounded.value(index, &learned, &values, &images);
            let Some((scheme, engine)) = &nodes[index] else {
                values.push(own);
                continue;
            };
            let name = &graph.nodes[index].name;
            let (alone, after) = (data(rows(own)).expect("floats"), data(rows(whole[index].clone())).expect("floats"));
            assert_eq!(alone.len(), engine.len(), "{name}");
            for ((&q, x), y) in engine.iter().zip(alone).zip(after) {
                let apart = |x: f32| (i32::from(q) - i32::from(scheme.quantize(x.into()))).abs();
                assert!(apart(x) <= 1, "{name}: {} steps apart", apart(x));
                assert!(apart(y) <= 2, "{name}: {} steps apart after all before it", apart(y));
                same += usize::from(apart(x) == 0);
                all += 1;
            }
            let real = engine.iter().map(|&q| scheme.real(q) as f32).collect::<Vec<f32>>();
            let Shape { height, width, channels } = graph.nodes[index].shape;
            let shape = [steps.len(), height as usize, width as usize, channels as usize];
            values.push(Tensor::<4>::from_data(TensorData::new(real, shape), &device).permute([0, 3, 1, 2]));
        }
        assert!(same * 1000 >= all * 995, "{same} of {all} values are the engine's");
    }

    #[test]
    fn training_computes_what_the_engine_does() {
        let (odd, even) = (ImageSize { height: 10, width: 16 }, ImageSize { height: 8, width: 16 });
        for seed in 0..3 {
            let model = |toml: &str, size, classes| agrees(&untrained(toml, size, classes, seed), seed);
            model("[model]\nhidden = [20]\nbottleneck = 4", odd, 0);
            model("[model]\nhidden = [20]\nbottleneck = 4\nactivation = \"tanh\"\nbatch_norm = false", odd, 0);
            model("[model]\nhidden = []\nbottleneck = 4\n[train]\nloss = \"binary_cross_entropy\"", odd, 0);
            model("[model]\nkind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6", odd, 0);
            model("[model]\nkind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6\ndecoder = \"upsample\"", even, 0);
            model("[model]\nvariational = true\nhidden = [9]\nbottleneck = 4", even, 0);
            model("[model]\nvariational = true\nkind = \"conv\"\nchannels = [3, 4]\nbottleneck = 6", even, 0);
            model("task = \"cnn\"\n[model]\nchannels = [3, 5]\ndense = [7]", odd, 3);
            model("task = \"cnn\"\n[model]\nchannels = [3, 5]\nhead = \"map\"", odd, 2);
        }
    }

    #[test]
    fn layers_that_no_settings_make_are_trained_as_well() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut weights = |count: usize| (0..count).map(|_| rng.random_range(-0.5..0.5f32)).collect::<Vec<f32>>();
        let window = Window {
            kernel_height: 3,
            kernel_width: 3,
            padding_top: 1,
            padding_left: 1,
            padding_bottom: 1,
            padding_right: 1,
            ..POINT
        };
        let shape = Shape::new(6, 8, 4);
        let node =
            |name: &str, op, inputs: &[usize], shape| Node { name: name.into(), op, inputs: inputs.into(), shape };
        let graph = Graph {
            name: "g".into(),
            nodes: vec![
                node("input", Op::Input, &[], Shape::new(6, 8, 1)),
                node("wide", Op::DepthwiseConv2d { weights: weights(36), bias: weights(4), window }, &[0], shape),
                node("leaky", Op::Activation(Activation::LeakyRelu(0.1)), &[1], shape),
                node("deep", Op::DepthwiseConv2d { weights: weights(36), bias: weights(4), window }, &[2], shape),
                node("six", Op::Activation(Activation::Relu6), &[3], shape),
                node("sum", Op::Add, &[2, 4], shape),
                node("swish", Op::Activation(Activation::HardSwish), &[5], shape),
                node("beside", Op::Concat { axis: 2 }, &[2, 6], Shape::new(6, 8, 8)),
                node("mean", Op::Mean, &[7], Shape::new(1, 1, 8)),
            ],
        };
        agrees(&graph, 1);
    }

    #[test]
    fn gradients_by_hand() {
        let device = Device::default().autodiff();
        // Steps of 0.01 from -1 to 1.55.
        let start = Range { low: -1.0, high: 1.55 };
        let x = Param::from_tensor(Tensor::<4>::from_data(
            TensorData::new(vec![-2.0_f32, 0.303, 0.618, 5.0], [1, 1, 1, 4]),
            &device,
        ));
        let learned = Param::from_tensor(Tensor::<1>::from_data(TensorData::new(vec![0.0_f32; 2], [2]), &device));
        let value = rounded_by(x.val(), Element::I8, start, learned.val());
        let got = data(value.clone()).expect("floats");
        for (got, want) in got.iter().zip([-1.0, 0.30, 0.62, 1.55]) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        let gradients = value.sum().backward();
        let own = data(x.val().grad(&gradients).expect("a gradient")).expect("floats");
        assert_eq!(own, [0.0, 1.0, 1.0, 0.0]);
        // A step more of the range is 1/255 of a step for each value inside, times how far rounding moved it: -0.3 and 0.2 steps.
        let inside = (-0.3 + 0.2) / 255.0;
        let ends = data(learned.val().grad(&gradients).expect("a gradient")).expect("floats");
        let want = [-RANGE_SPEED * (1.0 - inside), 1.55 * RANGE_SPEED * (1.0 + inside)];
        for (got, want) in ends.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-2, "{got} {want}");
        }
    }

    #[test]
    fn what_is_all_zero_stays_so_and_weights_pass_their_gradients() {
        let device = Device::default().autodiff();
        let weights = TensorData::new(vec![0.5_f32, -0.123, 0.0, 0.0], [2, 2]);
        let weights = Param::from_tensor(Tensor::<2>::from_data(weights, &device));
        let bias = Param::from_tensor(Tensor::<1>::from_data(TensorData::new(vec![0.1_f32, 0.0], [2]), &device));
        let (rounded, biases) = rounded_layer(weights.val(), bias.val());
        let step = 0.5 / 127.0;
        let got = data(rounded.clone()).expect("floats");
        for (got, want) in got.iter().zip([0.5, (-0.123_f32 / step).round() * step, 0.0, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
        let gradients = (rounded.sum() + biases.sum()).backward();
        assert_eq!(data(weights.val().grad(&gradients).expect("a gradient")).expect("floats"), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(data(bias.val().grad(&gradients).expect("a gradient")).expect("floats"), [1.0, 0.0]);
    }
}
