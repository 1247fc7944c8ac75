//! From a float graph and its ranges to int8 operators whose tensors have no place yet.
//!
//! ReLU and ReLU6 become bounds of the operator before them, as TensorFlow Lite fuses them. What only moves values about
//! keeps its input's scale. All other functions of one element become tables.

use anyhow::{Context, Result, bail, ensure};
use neji_format::{
    Constant, Conv2d, DepthwiseConv2d, Element, FullyConnected, LutFunction, Mean, Multiplier, Operator, Packing, Pad,
    Pool2d, PoolKind, Requantization, Reshape, ResizeNearest, Tensor, TransposeConv2d, push_constant,
};

use super::rounding::{Rounding, roundings};
use super::scheme::{Scheme, multiplier};
use crate::calibrate::Range;
use crate::graph::{Activation, Graph, Node, Op};
use crate::lowered::{Lowered, add, softmax};

/// Lowers `graph`, in which batch normalisation is folded; `input` is the scheme of its input.
///
/// `means`, each node's mean output or nothing at all, correct biases: rounding a channel's weights moves its output by the sum of the
/// errors times the mean inputs, which is the same for all samples (Nagel et al., Data-free quantization through weight equalization and
/// bias correction, ICCV 2019, section 4.2).
///
/// # Errors
/// An operator that int8 can't compute: names the node.
pub fn lower(graph: &Graph, ranges: &[Range], means: &[Vec<f64>], element: Element, input: Scheme) -> Result<Lowered> {
    let mut lowering = Lowering {
        graph,
        ranges,
        means,
        roundings: roundings(graph, element),
        tensor_of: vec![usize::MAX; graph.nodes.len()],
        lowered: Lowered { element, ..Lowered::default() },
    };
    lowering.tensor_of[0] = lowering.tensor(0, input);
    for index in 1..graph.nodes.len() {
        lowering.node(index).with_context(|| format!("quantizing node {index} \"{}\"", graph.nodes[index].name))?;
    }
    let Lowering { tensor_of, mut lowered, .. } = lowering;
    lowered.output = tensor_of[graph.nodes.len() - 1];
    Ok(lowered)
}

struct Lowering<'a> {
    graph: &'a Graph,
    ranges: &'a [Range],
    means: &'a [Vec<f64>],
    roundings: Vec<Rounding>,
    /// The tensor of each node that has one.
    tensor_of: Vec<usize>,
    lowered: Lowered,
}

/// The activation that is fused into an operator.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fused {
    None,
    Relu,
    Relu6,
}

impl Fused {
    /// Bounds of the quantized output, inclusive.
    fn bounds(self, element: Element, output: Scheme) -> (i16, i16) {
        let (low, high) = element.range();
        match self {
            Self::None => (low, high),
            Self::Relu => (output.zero_point.into(), high),
            Self::Relu6 => (output.zero_point.into(), output.quantize_to(element, 6.0) as i16),
        }
    }
}

impl Lowering<'_> {
    fn tensor(&mut self, node: usize, scheme: Scheme) -> usize {
        self.lowered.tensor(node, self.graph.nodes[node].shape, scheme)
    }

    fn scheme(&self, tensor: usize) -> Scheme {
        self.lowered.scheme(tensor)
    }

    /// The table of the nearest pixel's index, for upsampling by a whole factor.
    fn repeated(&mut self, size: u32, factor: u16) -> Constant {
        let sources = (0..size as u16).flat_map(|source| std::iter::repeat_n(source.to_le_bytes(), factor.into()));
        push_constant(&mut self.lowered.constants, &sources.flatten().collect::<Vec<u8>>())
    }

    /// The node whose values the operator of node `index` gives, and what is fused into it.
    fn result(&self, index: usize) -> (usize, Fused) {
        let Rounding::Fused(by) = self.roundings[index] else { return (index, Fused::None) };
        match self.graph.nodes[by].op {
            Op::Activation(Activation::Relu6) => (by, Fused::Relu6),
            _ => (by, Fused::Relu),
        }
    }

    fn node(&mut self, index: usize) -> Result<()> {
        if self.tensor_of[index] != usize::MAX {
            return Ok(()); // an activation that was fused
        }
        let node = &self.graph.nodes[index];
        let (result, fused) = self.result(index);
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| self.tensor_of[input]).collect();
        let first = inputs[0];
        let scheme = match self.roundings[result] {
            Rounding::Input => self.scheme(first),
            Rounding::Fixed(scheme) => scheme,
            Rounding::Own | Rounding::Fused(_) => Scheme::of(self.lowered.element, self.ranges[result]),
        };
        let output = self.tensor(result, scheme);
        self.tensor_of[index] = output;
        self.tensor_of[result] = output;
        let (input, out) = (self.lowered.tensors[first], self.lowered.tensors[output]);
        let operator = match &node.op {
            Op::Input => bail!("a second input"),
            Op::BatchNorm { .. } => bail!("a batch normalisation that was not folded"),
            Op::Conv2d { weights, bias, window } => {
                let (weights, requantization) = self.weights(node, weights, bias, first, output, fused)?;
                Operator::Conv2d(Conv2d {
                    input,
                    output: out,
                    window: *window,
                    weights,
                    packing: Packing::Rows,
                    requantization,
                })
            }
            Op::TransposeConv2d { weights, bias, window } => {
                let (weights, requantization) = self.weights(node, weights, bias, first, output, fused)?;
                Operator::TransposeConv2d(TransposeConv2d {
                    input,
                    output: out,
                    window: *window,
                    weights,
                    requantization,
                })
            }
            Op::DepthwiseConv2d { weights, bias, window } => {
                let (weights, requantization) = self.weights(node, weights, bias, first, output, fused)?;
                Operator::DepthwiseConv2d(DepthwiseConv2d {
                    input,
                    output: out,
                    window: *window,
                    weights,
                    requantization,
                })
            }
            Op::FullyConnected { weights, bias } => {
                let (weights, requantization) = self.weights(node, weights, bias, first, output, fused)?;
                Operator::FullyConnected(FullyConnected {
                    input,
                    output: out,
                    weights,
                    packing: Packing::Rows,
                    requantization,
                })
            }
            Op::Activation(activation) => {
                return self.activation(index, first, output, *activation);
            }
            Op::MaxPool2d { window } => self.pool(PoolKind::Max, input, out, *window, 1.0),
            Op::AveragePool2d { window } => self.pool(PoolKind::Average, input, out, *window, 1.0),
            Op::SumPool2d { window } => {
                self.pool(PoolKind::Sum, input, out, *window, f64::from(input.scale) / f64::from(out.scale))
            }
            Op::Mean => {
                let pixels = f64::from(input.shape.height) * f64::from(input.shape.width);
                let real = f64::from(input.scale) / (f64::from(out.scale) * pixels);
                Operator::Mean(Mean { input, output: out, multiplier: multiplier(real) })
            }
            Op::Add => {
                let bounds = fused.bounds(self.lowered.element, self.scheme(output));
                Operator::Add(add(self.lowered.element, input, self.lowered.tensors[inputs[1]], out, bounds))
            }
            Op::Concat { axis } => {
                self.concat(index, &inputs, output, *axis);
                return Ok(());
            }
            Op::Pad { top, bottom, left, right } => {
                Operator::Pad(Pad { input, output: out, top: *top, bottom: *bottom, left: *left, right: *right })
            }
            Op::Reshape => Operator::Reshape(Reshape { input, output: out }),
            Op::ResizeNearest { factor_height, factor_width } => Operator::ResizeNearest(ResizeNearest {
                input,
                output: out,
                rows: self.repeated(input.shape.height, *factor_height),
                columns: self.repeated(input.shape.width, *factor_width),
            }),
            Op::Softmax if self.lowered.element == Element::I16 => {
                bail!("softmax of int16 activations; quantize with int8, or leave it out")
            }
            Op::Softmax => softmax(input, out, 1.0)?,
        };
        self.lowered.push(&self.graph.nodes[result].name, operator);
        Ok(())
    }

    /// A function of each element: a table of int8, and what int16 has kernels for.
    fn activation(&mut self, node: usize, input: usize, output: usize, activation: Activation) -> Result<()> {
        let function = match activation {
            Activation::Relu => LutFunction::Relu,
            Activation::Relu6 => LutFunction::Relu6,
            Activation::LeakyRelu(_) => LutFunction::LeakyRelu,
            Activation::Logistic => LutFunction::Logistic,
            Activation::Tanh => LutFunction::Tanh,
            Activation::HardSwish => LutFunction::HardSwish,
        };
        let (from, to) = (self.scheme(input), self.scheme(output));
        let name = &self.graph.nodes[node].name;
        if self.lowered.element == Element::I8 {
            self.lowered.push_table(name, input, output, function, |q| to.quantize(activation.apply(from.real(q))));
            return Ok(());
        }
        let fused = match activation {
            Activation::Relu => Fused::Relu,
            Activation::Relu6 => Fused::Relu6,
            Activation::Logistic | Activation::Tanh => {
                return self.lowered.push_sigmoid(name, input, output, function);
            }
            other => bail!("{other:?} of int16 activations; quantize with int8, or use ReLU, ReLU6, logistic or tanh"),
        };
        let factor = multiplier(f64::from(from.scale) / f64::from(to.scale));
        self.lowered.push_scaled(name, input, output, factor, fused.bounds(Element::I16, to));
        Ok(())
    }

    fn pool(
        &self,
        kind: PoolKind,
        input: Tensor,
        output: Tensor,
        window: neji_format::Window,
        factor: f64,
    ) -> Operator {
        let multiplier =
            if kind == PoolKind::Sum { multiplier(factor) } else { Multiplier { multiplier: 0, shift: 0 } };
        let (activation_min, activation_max) = self.lowered.element.range();
        Operator::Pool2d(Pool2d { kind, input, output, window, multiplier, activation_min, activation_max })
    }

    /// Joins inputs; those of another scheme pass a table first.
    fn concat(&mut self, node: usize, inputs: &[usize], output: usize, axis: u8) {
        let scheme = self.scheme(output);
        let name = &self.graph.nodes[node].name;
        let mut parts = Vec::new();
        for &input in inputs {
            if self.scheme(input) == scheme {
                parts.push(input);
                continue;
            }
            let same = self.lowered.tensor(self.lowered.nodes[input], self.lowered.tensors[input].shape, scheme);
            self.lowered.push_requantize(name, input, same);
            parts.push(same);
        }
        self.lowered.push_concat(name, &parts, output, axis);
    }

    /// Quantizes the weights of each output channel and what belongs to them.
    fn weights(
        &mut self,
        node: &Node,
        weights: &[f32],
        bias: &[f32],
        input: usize,
        output: usize,
        fused: Fused,
    ) -> Result<(Constant, Requantization)> {
        let seen = seen(self.graph, self.means, node);
        let (input, output) = (self.scheme(input), self.scheme(output));
        let rows = Rows::of(&node.op, bias.len(), weights.len());
        let mut quantized = vec![0_i8; weights.len()];
        let (mut biases, mut multipliers, mut shifts) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, &bias) in bias.iter().enumerate() {
            let own: Vec<f32> = (0..rows.each).map(|i| weights[rows.place(channel, i)]).collect();
            let meets = rows.meets(&seen, channel);
            let found = quantize_channel(self.lowered.element, &own, bias, &meets, input, output)
                .with_context(|| format!("output channel {channel}"))?;
            found.weights.iter().enumerate().for_each(|(i, &q)| quantized[rows.place(channel, i)] = q);
            match self.lowered.element {
                Element::I8 => biases.extend((found.bias as i32).to_le_bytes()),
                Element::I16 => biases.extend(found.bias.to_le_bytes()),
            }
            multipliers.extend(found.multiplier.multiplier.to_le_bytes());
            shifts.push(found.multiplier.shift as u8);
        }
        let bytes: Vec<u8> = quantized.iter().map(|&q| q as u8).collect();
        let constants = &mut self.lowered.constants;
        let weights = push_constant(constants, &bytes);
        let (activation_min, activation_max) = fused.bounds(self.lowered.element, output);
        let requantization = Requantization {
            bias: push_constant(constants, &biases),
            multiplier: push_constant(constants, &multipliers),
            shift: push_constant(constants, &shifts),
            activation_min,
            activation_max,
        };
        Ok((weights, requantization))
    }
}

/// Where the weights of an output channel are.
#[derive(Debug, Clone, Copy)]
struct Rows {
    channels: usize,
    /// Weights of a channel.
    each: usize,
    /// The channel is the last axis, as of a depthwise convolution.
    last: bool,
}

impl Rows {
    fn of(op: &Op, channels: usize, weights: usize) -> Self {
        Self { channels, each: weights / channels, last: matches!(op, Op::DepthwiseConv2d { .. }) }
    }

    /// Index of weight `i` of `channel`.
    fn place(&self, channel: usize, i: usize) -> usize {
        if self.last { i * self.channels + channel } else { channel * self.each + i }
    }

    /// What each weight of `channel` meets, from what [`seen`] says; nothing where that is not known.
    fn meets(&self, seen: &[f64], channel: usize) -> Vec<f64> {
        match (seen, self.last) {
            ([], _) => Vec::new(),
            (seen, true) => vec![seen[channel]; self.each],
            (seen, false) => seen.iter().copied().cycle().take(self.each).collect(),
        }
    }
}

/// The mean of what each weight of a channel of `node` meets, from the beginning again where there are more weights; of depthwise ones
/// what each channel meets. Nothing where means are not known, or of a node without weights.
fn seen(graph: &Graph, means: &[Vec<f64>], node: &Node) -> Vec<f64> {
    let Some(mean) = node.inputs.first().and_then(|&input| means.get(input)) else { return Vec::new() };
    let channels = graph.nodes[node.inputs[0]].shape.channels as usize;
    let pixels = (mean.len() / channels) as f64;
    let of = |channel: usize, share: f64| mean.iter().skip(channel).step_by(channels).sum::<f64>() * share / pixels;
    match &node.op {
        Op::FullyConnected { .. } => mean.clone(),
        Op::Conv2d { .. } => (0..channels).map(|channel| of(channel, 1.0)).collect(),
        Op::TransposeConv2d { window, .. } => {
            // Each input pixel meets all of the kernel, an output pixel one in stride by stride of it.
            let share = 1.0 / f64::from(u32::from(window.stride_height) * u32::from(window.stride_width));
            (0..channels).map(|channel| of(channel, share)).collect()
        }
        Op::DepthwiseConv2d { bias, .. } => {
            let multiplier = (bias.len() / channels).max(1);
            (0..bias.len()).map(|channel| of(channel / multiplier, 1.0)).collect()
        }
        _ => Vec::new(),
    }
}

/// A layer's weights and biases.
fn parameters(op: &mut Op) -> Option<(&mut Vec<f32>, &mut Vec<f32>)> {
    match op {
        Op::Conv2d { weights, bias, .. }
        | Op::DepthwiseConv2d { weights, bias, .. }
        | Op::TransposeConv2d { weights, bias, .. }
        | Op::FullyConnected { weights, bias } => Some((weights, bias)),
        _ => None,
    }
}

/// A layer whose weights are what their int8 stand for, its biases corrected by what they meet: `node` of `graph` as [`lower`] has it.
pub fn rounded(graph: &Graph, means: &[Vec<f64>], node: &Node) -> Op {
    let seen = seen(graph, means, node);
    let mut op = node.op.clone();
    let Some((weights, bias)) = parameters(&mut op) else { return op };
    let rows = Rows::of(&node.op, bias.len(), weights.len());
    for (channel, bias) in bias.iter_mut().enumerate() {
        let own: Vec<f32> = (0..rows.each).map(|i| weights[rows.place(channel, i)]).collect();
        let scale = weight_scale(&own);
        let quantized = in_steps(&own, scale);
        *bias = (f64::from(*bias) + moved(&own, &quantized, scale, &rows.meets(&seen, channel))) as f32;
        for (i, q) in quantized.into_iter().enumerate() {
            weights[rows.place(channel, i)] = (scale * f64::from(q)) as f32;
        }
    }
    op
}

/// `graph` with the biases that [`lower`] gives it for these `means`, and its own weights.
pub fn with_corrected_biases(graph: &Graph, means: &[Vec<f64>]) -> Graph {
    let mut out = graph.clone();
    for (node, of) in out.nodes.iter_mut().zip(&graph.nodes) {
        let mut corrected = rounded(graph, means, of);
        if let (Some((_, bias)), Some((_, from))) = (parameters(&mut node.op), parameters(&mut corrected)) {
            bias.clone_from(from);
        }
    }
    out
}

/// The real size of a step of a channel's weights: the largest is 127.
fn weight_scale(weights: &[f32]) -> f64 {
    let largest = weights.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
    f64::from(if largest > 0.0 { largest / 127.0 } else { 1.0 })
}

fn in_steps(weights: &[f32], scale: f64) -> Vec<i8> {
    weights.iter().map(|&w| (f64::from(w) / scale).round().clamp(-127.0, 127.0) as i8).collect()
}

/// How far rounding the weights moves a channel's mean output, to be added again.
fn moved(weights: &[f32], quantized: &[i8], scale: f64, meets: &[f64]) -> f64 {
    let errors = weights.iter().zip(quantized).map(|(&w, &q)| f64::from(w) - scale * f64::from(q));
    errors.zip(meets).map(|(error, mean)| error * mean).sum()
}

/// One output channel in integers.
struct Channel {
    weights: Vec<i8>,
    /// 32 bits with int8 activations.
    bias: i64,
    multiplier: Multiplier,
}

/// Largest sum of int8 that a reader of the blob admits, before and after a left shift (FORMAT.md, "Sums").
const SUM_MAX: f64 = ((1_i64 << 31) - 8192) as f64;
/// Largest sum of int16, and the largest factor's shift.
const WIDE_SUM_MAX: f64 = ((1_i64 << 47) - 1) as f64;
const WIDE_SHIFT_MAX: i8 = 7;

/// Symmetric int8 weights of one output channel, whose bias makes up for what rounding them does to mean inputs, `meets`, of which there
/// may be none. The scale is that of the largest weight, or as much larger as the bias
/// needs to fit its 32 bits.
fn quantize_channel(
    element: Element,
    weights: &[f32],
    bias: f32,
    meets: &[f64],
    input: Scheme,
    output: Scheme,
) -> Result<Channel> {
    let mut scale = weight_scale(weights);
    let (lowest, highest) = element.range();
    let zero_point = i32::from(input.zero_point);
    let reach = (zero_point - i32::from(lowest)).max(i32::from(highest) - zero_point);
    for _ in 0..64 {
        let quantized = in_steps(weights, scale);
        let step = f64::from(input.scale) * scale;
        let bias = ((f64::from(bias) + moved(weights, &quantized, scale, meets)) / step).round();
        let magnitude: f64 = quantized.iter().map(|&q| f64::from(q).abs()).sum();
        let factor = step / f64::from(output.scale);
        ensure!(factor < f64::from(1 << 30), "its weights are too large for its output's range");
        let multiplier = multiplier(factor);
        let sum = bias.abs() + magnitude * f64::from(reach);
        let fits = match element {
            Element::I8 => sum * 2f64.powi(i32::from(multiplier.shift.max(0))) <= SUM_MAX,
            Element::I16 => {
                ensure!(multiplier.shift <= WIDE_SHIFT_MAX, "its weights are too large for its output's range");
                sum <= WIDE_SUM_MAX && sum * 2f64.powi(multiplier.shift.into()) <= SUM_MAX
            }
        };
        if fits {
            return Ok(Channel { weights: quantized, bias: bias as i64, multiplier });
        }
        scale *= 2.0;
    }
    bail!("its sums need more than 32 bits; are its weights or its bias far too large?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrected_bias_keeps_the_mean_output() {
        let weights: Vec<f32> = (0..64).map(|i| 0.01 * ((i * 37 % 64) as f32 - 20.3)).collect();
        let meets: Vec<f64> = (0..64).map(|i| 0.5 + 0.005 * f64::from(i)).collect();
        let (input, output) = (Scheme { scale: 1.0 / 255.0, zero_point: -128 }, Scheme { scale: 0.1, zero_point: 0 });
        let mean = |channel: &Channel| {
            let scale = f64::from(weights.iter().fold(0.0f32, |a, w| a.max(w.abs())) / 127.0);
            let products = channel.weights.iter().zip(&meets).map(|(&q, mean)| scale * f64::from(q) * mean);
            products.sum::<f64>() + channel.bias as f64 * scale * f64::from(input.scale)
        };
        let float = 0.25 + weights.iter().zip(&meets).map(|(&w, mean)| f64::from(w) * mean).sum::<f64>();
        let step = f64::from(input.scale) * 0.01;
        let plain = quantize_channel(Element::I8, &weights, 0.25, &[], input, output).expect("fits");
        let corrected = quantize_channel(Element::I8, &weights, 0.25, &meets, input, output).expect("fits");
        assert!((mean(&corrected) - float).abs() < step, "{} is not {float}", mean(&corrected));
        assert!((mean(&plain) - float).abs() > 4.0 * step, "nothing to correct: {} and {float}", mean(&plain));
    }
}
