//! From a float graph and its ranges to int8 operators whose tensors have no place yet.
//!
//! ReLU and ReLU6 become bounds of the operator before them, as TensorFlow Lite fuses them. What only moves values about
//! keeps its input's scale. All other functions of one element become tables.

use anyhow::{Context, Result, bail, ensure};
use neji_format::{
    Constant, Conv2d, DepthwiseConv2d, Element, FullyConnected, LutFunction, Mean, Multiplier, Operator, Packing, Pad,
    Pool2d, PoolKind, Requantization, Reshape, ResizeNearest, Tensor, TransposeConv2d, push_constant,
};

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
        readers: readers(graph),
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

fn readers(graph: &Graph) -> Vec<usize> {
    let mut readers = vec![0; graph.nodes.len()];
    graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
    readers
}

struct Lowering<'a> {
    graph: &'a Graph,
    ranges: &'a [Range],
    means: &'a [Vec<f64>],
    readers: Vec<usize>,
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

    /// Whether node `index` can take a fused activation.
    fn takes_activation(&self, index: usize) -> bool {
        let op = &self.graph.nodes[index].op;
        self.readers[index] == 1
            && matches!(
                op,
                Op::Conv2d { .. }
                    | Op::DepthwiseConv2d { .. }
                    | Op::TransposeConv2d { .. }
                    | Op::FullyConnected { .. }
                    | Op::Add
            )
    }

    /// The activation that reads node `index` and can be fused into it: its own node and which it is.
    fn following(&self, index: usize) -> Option<(usize, Fused)> {
        let reader = self.graph.nodes.iter().position(|node| node.inputs.contains(&index))?;
        let fused = match self.graph.nodes[reader].op {
            Op::Activation(Activation::Relu) => Fused::Relu,
            Op::Activation(Activation::Relu6) => Fused::Relu6,
            _ => return None,
        };
        self.takes_activation(index).then_some((reader, fused))
    }

    fn node(&mut self, index: usize) -> Result<()> {
        if self.tensor_of[index] != usize::MAX {
            return Ok(()); // an activation that was fused
        }
        let node = &self.graph.nodes[index];
        let (result, fused) = self.following(index).unwrap_or((index, Fused::None));
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| self.tensor_of[input]).collect();
        let first = inputs[0];
        let scheme = match &node.op {
            Op::Reshape
            | Op::Pad { .. }
            | Op::ResizeNearest { .. }
            | Op::MaxPool2d { .. }
            | Op::AveragePool2d { .. } => self.scheme(first),
            Op::Activation(Activation::Logistic | Activation::Tanh) if self.lowered.element == Element::I16 => {
                Scheme::WIDE_UNIT
            }
            Op::Softmax | Op::Activation(Activation::Logistic) => Scheme::UNIT,
            Op::Activation(Activation::Tanh) => Scheme::SIGNED_UNIT,
            _ => Scheme::of(self.lowered.element, self.ranges[result]),
        };
        let output = self.tensor(result, scheme);
        self.tensor_of[index] = output;
        self.tensor_of[result] = output;
        let (input, out) = (self.lowered.tensors[first], self.lowered.tensors[output]);
        let operator = match &node.op {
            Op::Input => bail!("a second input"),
            Op::BatchNorm { .. } => bail!("a batch normalisation that was not folded"),
            Op::Conv2d { weights, bias, window } => {
                let seen = self.seen(node, 1, 1.0);
                let (weights, requantization) = self.weights(weights, bias, &seen, false, first, output, fused)?;
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
                // Each input pixel meets all of the kernel, an output pixel one in stride by stride of it.
                let share = 1.0 / f64::from(u32::from(window.stride_height) * u32::from(window.stride_width));
                let seen = self.seen(node, 1, share);
                let (weights, requantization) = self.weights(weights, bias, &seen, false, first, output, fused)?;
                Operator::TransposeConv2d(TransposeConv2d {
                    input,
                    output: out,
                    window: *window,
                    weights,
                    requantization,
                })
            }
            Op::DepthwiseConv2d { weights, bias, window } => {
                let seen = self.seen(node, bias.len(), 1.0);
                let (weights, requantization) = self.weights(weights, bias, &seen, true, first, output, fused)?;
                Operator::DepthwiseConv2d(DepthwiseConv2d {
                    input,
                    output: out,
                    window: *window,
                    weights,
                    requantization,
                })
            }
            Op::FullyConnected { weights, bias } => {
                let seen = self.means.get(node.inputs[0]).cloned().unwrap_or_default();
                let (weights, requantization) = self.weights(weights, bias, &seen, false, first, output, fused)?;
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

    /// The mean of what the weights of a convolution meet, times `share`: of each input channel. With more than one of
    /// `channels_out`, the convolution is depthwise, and it is that of each output channel.
    fn seen(&self, node: &Node, channels_out: usize, share: f64) -> Vec<f64> {
        let Some(mean) = self.means.get(node.inputs[0]) else { return Vec::new() };
        let channels = self.graph.nodes[node.inputs[0]].shape.channels as usize;
        let pixels = (mean.len() / channels) as f64;
        let of = |channel: usize| mean.iter().skip(channel).step_by(channels).sum::<f64>() * share / pixels;
        match channels_out {
            1 => (0..channels).map(of).collect(),
            _ => (0..channels_out).map(|channel| of(channel / (channels_out / channels).max(1))).collect(),
        }
    }

    /// Quantizes the weights of each output channel and what belongs to them. `seen` is the mean of what each weight of a channel
    /// meets, from the beginning again where there are more weights; of depthwise ones what each channel meets.
    #[expect(clippy::too_many_arguments, reason = "a layer has so many parts")]
    fn weights(
        &mut self,
        weights: &[f32],
        bias: &[f32],
        seen: &[f64],
        channel_last: bool,
        input: usize,
        output: usize,
        fused: Fused,
    ) -> Result<(Constant, Requantization)> {
        let (input, output) = (self.scheme(input), self.scheme(output));
        let channels = bias.len();
        let each = weights.len() / channels;
        let place = |channel: usize, i: usize| if channel_last { i * channels + channel } else { channel * each + i };
        let mut quantized = vec![0_i8; weights.len()];
        let (mut biases, mut multipliers, mut shifts) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, &bias) in bias.iter().enumerate() {
            let own: Vec<f32> = (0..each).map(|i| weights[place(channel, i)]).collect();
            let meets: Vec<f64> = match (seen, channel_last) {
                ([], _) => Vec::new(),
                (seen, true) => vec![seen[channel]; each],
                (seen, false) => seen.iter().copied().cycle().take(each).collect(),
            };
            let found = quantize_channel(self.lowered.element, &own, bias, &meets, input, output)
                .with_context(|| format!("output channel {channel}"))?;
            found.weights.iter().enumerate().for_each(|(i, &q)| quantized[place(channel, i)] = q);
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
    let largest = weights.iter().fold(0.0_f32, |largest, w| largest.max(w.abs()));
    let mut scale = f64::from(if largest > 0.0 { largest / 127.0 } else { 1.0 });
    let (lowest, highest) = element.range();
    let zero_point = i32::from(input.zero_point);
    let reach = (zero_point - i32::from(lowest)).max(i32::from(highest) - zero_point);
    for _ in 0..64 {
        let quantized: Vec<i8> =
            weights.iter().map(|&w| (f64::from(w) / scale).round().clamp(-127.0, 127.0) as i8).collect();
        let step = f64::from(input.scale) * scale;
        let errors = weights.iter().zip(&quantized).map(|(&w, &q)| f64::from(w) - scale * f64::from(q));
        let moved: f64 = errors.zip(meets).map(|(error, mean)| error * mean).sum();
        let bias = ((f64::from(bias) + moved) / step).round();
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
