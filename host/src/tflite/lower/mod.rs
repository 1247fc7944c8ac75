//! From a file's operators to the engine's.
//!
//! Tensors have up to four dimensions there and three here: dimensions are counted from the last, which is the channels, and
//! what comes before the rows is counted as rows too; an operator that looks at neighbouring rows demands a batch of 1. What
//! only renames dimensions becomes a reshape, which costs nothing where it lies in place.

mod elementwise;
mod layers;
mod movement;
mod pools;
mod tables;

use anyhow::{Context, Result, bail, ensure};
use neji_format::header::ARENA_BYTES_MAX;
use neji_format::{Element, Load, LutFunction, Multiplier, Operator as Int8, Shape, push_constant};

use super::builtin;
use super::file::{Activation, File, Kind, Operator, Options, Tensor};
use crate::lowered::Lowered;
use crate::quantize::scheme::Scheme;

/// What a plan can count.
const OPERATORS_MAX: usize = u16::MAX as usize;
/// More than any flash that a microcontroller maps.
const CONSTANT_BYTES_MAX: usize = 1 << 28;

/// Lowers a file.
///
/// # Errors
/// Names the operator and its index.
pub(super) fn lower(file: &File<'_>) -> Result<Lowered> {
    let [input] = file.inputs[..] else { bail!("{} inputs; models with one are imported", file.inputs.len()) };
    let [output] = file.outputs[..] else { bail!("{} outputs; models with one are imported", file.outputs.len()) };
    let needed = needed(file, output);
    let mut lowering =
        Lowering { file, lowered: Lowered::default(), placed: vec![None; file.tensors.len()], name: String::new() };
    let input = lowering.first(input, &needed).context("the model's input")?;
    if lowering.tensor(input)?.kind == Kind::Int16 {
        lowering.lowered.element = Element::I16;
    }
    lowering.result(input).context("the model's input")?;
    for (index, operator) in file.operators.iter().enumerate().filter(|(index, _)| needed[*index]) {
        let lowered = lowering.operator(operator).and_then(|()| lowering.bounded());
        lowered.with_context(|| format!("operator {index}, {}", builtin::name(operator.code)))?;
    }
    let output = lowering.last(output).context("the model's output")?;
    let Lowering { mut lowered, .. } = lowering;
    // A blob's output is what its last operator writes.
    if lowered.steps.last().is_some_and(|step| step.tensors.output != output) {
        bail!("the output is not what the last operator gives");
    }
    lowered.output = output;
    Ok(lowered)
}

/// Which operators `output` depends on.
fn needed(file: &File<'_>, output: i32) -> Vec<bool> {
    let mut wanted = vec![false; file.tensors.len()];
    let mut needed = vec![false; file.operators.len()];
    if let Some(wanted) = usize::try_from(output).ok().and_then(|output| wanted.get_mut(output)) {
        *wanted = true;
    }
    for (index, operator) in file.operators.iter().enumerate().rev() {
        let tensor = |index: &i32| usize::try_from(*index).ok();
        needed[index] = operator.outputs.iter().filter_map(tensor).any(|output| wanted[output]);
        if needed[index] {
            operator.inputs.iter().filter_map(tensor).for_each(|input| wanted[input] = true);
        }
    }
    needed
}

struct Lowering<'f, 'b> {
    file: &'f File<'b>,
    lowered: Lowered,
    /// The lowered tensor of each of the file's that has one.
    placed: Vec<Option<usize>>,
    /// Name of what is being lowered: that of its output.
    name: String,
}

impl<'f, 'b> Lowering<'f, 'b> {
    fn tensor(&self, index: i32) -> Result<&'f Tensor<'b>> {
        let index = usize::try_from(index).ok().context("a tensor is missing")?;
        self.file.tensors.get(index).with_context(|| format!("tensor {index} is not in the file"))
    }

    /// The int8 tensor that the blob begins with: the input, or what quantizes it.
    fn first(&self, input: i32, needed: &[bool]) -> Result<i32> {
        if self.tensor(input)?.kind != Kind::Float32 {
            return Ok(input);
        }
        let readers =
            self.file.operators.iter().zip(needed).filter(|(op, needed)| **needed && op.inputs.contains(&input));
        let readers: Vec<&Operator> = readers.map(|(op, _)| op).collect();
        match readers[..] {
            [quantize] if quantize.code == builtin::QUANTIZE => quantize.outputs.first().copied().context("no output"),
            _ => bail!("float32, and not quantized by one QUANTIZE; models of int8 or int16 are imported"),
        }
    }

    /// The lowered tensor of the output, or of what is turned to floats.
    fn last(&self, output: i32) -> Result<usize> {
        let is_output = |op: &&Operator| op.code == builtin::DEQUANTIZE && op.outputs.contains(&output);
        let dequantized = self.file.operators.iter().find(is_output).and_then(|op| op.inputs.first());
        let index = *dequantized.unwrap_or(&output);
        let place = usize::try_from(index).ok().and_then(|index| self.placed.get(index).copied().flatten());
        place.context("nothing computes it")
    }

    /// An error once the model is larger than a blob can be: in a file operators may share their constants, here each has
    /// its own, so a small file may grow large.
    fn bounded(&self) -> Result<()> {
        let Lowered { steps, constants, .. } = &self.lowered;
        ensure!(steps.len() <= OPERATORS_MAX, "more than {OPERATORS_MAX} operators");
        ensure!(constants.len() <= CONSTANT_BYTES_MAX, "more than {CONSTANT_BYTES_MAX} bytes of constants");
        Ok(())
    }

    fn operator(&mut self, operator: &Operator) -> Result<()> {
        let output = *operator.outputs.first().context("no output")?;
        self.name = self.tensor(output)?.name.clone();
        match (operator.code, &operator.options) {
            (builtin::CONV_2D, options) => self.conv2d(operator, options),
            (builtin::DEPTHWISE_CONV_2D, options) => self.depthwise_conv2d(operator, options),
            (builtin::TRANSPOSE_CONV, options) => self.transpose_conv(operator, options),
            (builtin::FULLY_CONNECTED, Options::FullyConnected { activation }) => {
                self.fully_connected(operator, *activation)
            }
            (builtin::MAX_POOL_2D | builtin::AVERAGE_POOL_2D, options) => self.pool(operator, options),
            (builtin::MEAN, _) => self.mean(operator),
            (builtin::ADD | builtin::SUB | builtin::MUL, Options::Elementwise { activation }) => {
                self.binary(operator, *activation)
            }
            (builtin::CONCATENATION, Options::Concat { axis }) => self.concatenation(operator, *axis),
            (builtin::PAD, _) => self.pad(operator),
            (builtin::RESHAPE | builtin::SQUEEZE | builtin::EXPAND_DIMS, _) => self.reshape(operator),
            (builtin::RESIZE_NEAREST_NEIGHBOR, Options::ResizeNearest { align_corners, half_pixel_centers }) => {
                self.resize_nearest(operator, *align_corners, *half_pixel_centers)
            }
            (builtin::SOFTMAX, Options::Softmax { beta }) => self.softmax(operator, *beta),
            (builtin::LEAKY_RELU, Options::LeakyRelu { alpha }) => self.leaky_relu(operator, *alpha),
            (builtin::LOGISTIC, _) => self.logistic(operator),
            (builtin::TANH, _) => self.tanh(operator),
            (builtin::HARD_SWISH, _) => self.hard_swish(operator),
            (builtin::RELU, _) => self.relu(operator, Activation::Relu, LutFunction::Relu),
            (builtin::RELU6, _) => self.relu(operator, Activation::Relu6, LutFunction::Relu6),
            (builtin::RELU_N1_TO_1, _) => self.relu(operator, Activation::ReluN1To1, LutFunction::ReluN1To1),
            (builtin::QUANTIZE, _) => self.quantize(operator),
            (builtin::DEQUANTIZE, _) => self.dequantize(operator),
            _ => {
                let known: Vec<String> = builtin::SUPPORTED.iter().map(|&code| builtin::name(code)).collect();
                bail!("not supported; supported are {}", known.join(", "))
            }
        }
    }

    /// The first `N` inputs of an operator.
    fn inputs<const N: usize>(&self, operator: &Operator) -> Result<[i32; N]> {
        let inputs = operator.inputs.first_chunk::<N>();
        inputs.copied().with_context(|| format!("{} inputs, {N} are needed", operator.inputs.len()))
    }

    fn output(operator: &Operator) -> i32 {
        operator.outputs.first().copied().unwrap_or(-1)
    }

    /// Where an input lies; a constant is loaded first.
    fn operand(&mut self, index: i32) -> Result<usize> {
        let tensor = self.tensor(index)?;
        if let Some(placed) = self.placed[index as usize] {
            return Ok(placed);
        }
        let values = tensor.data.with_context(|| format!("nothing computes its input \"{}\"", tensor.name))?;
        let (shape, scheme) = (shape(tensor)?, self.scheme(tensor)?);
        let needed = shape.len().checked_mul(self.lowered.element.bytes());
        ensure!(needed == Some(values.len()), "constant \"{}\": {} bytes for {shape:?}", tensor.name, values.len());
        let place = self.lowered.tensor(index as usize, shape, scheme);
        let values = push_constant(&mut self.lowered.constants, values);
        self.lowered.push(&tensor.name, Int8::Load(Load { output: self.lowered.tensors[place], values }));
        self.bounded()?;
        Ok(place)
    }

    /// Scale and zero point of an activation.
    fn scheme(&self, tensor: &Tensor<'_>) -> Result<Scheme> {
        scheme(self.lowered.element, tensor)
    }

    /// A place for a tensor that is computed next.
    fn result(&mut self, index: i32) -> Result<usize> {
        let tensor = self.tensor(index)?;
        let (shape, scheme) = (shape(tensor)?, self.scheme(tensor)?);
        let place = self.lowered.tensor(index as usize, shape, scheme);
        self.placed[index as usize] = Some(place);
        Ok(place)
    }

    /// A place for a value on the way to `index`.
    fn between(&mut self, index: i32, shape: Shape, scheme: Scheme) -> usize {
        self.lowered.tensor(index as usize, shape, scheme)
    }

    /// Makes `value`, which holds the bytes of `index`, that tensor: its shape, its scale.
    ///
    /// TensorFlow Lite copies bytes in operators such as a reshape whatever the scales say, and so does this.
    fn settle(&mut self, index: i32, value: usize) -> Result<()> {
        let tensor = self.tensor(index)?;
        let (shape, scheme) = (shape(tensor)?, self.scheme(tensor)?);
        let value = self.relabelled(index, value, scheme);
        let value = self.reshaped(index, value, shape)?;
        self.placed[index as usize] = Some(value);
        Ok(())
    }

    /// `value` with another shape.
    fn reshaped(&mut self, index: i32, value: usize, shape: Shape) -> Result<usize> {
        let given = self.lowered.tensors[value].shape;
        if given == shape {
            return Ok(value);
        }
        ensure!(given.len() == shape.len(), "{given:?} has not the elements of {shape:?}");
        let output = self.between(index, shape, self.lowered.scheme(value));
        self.lowered.push_reshape(&self.name, value, output);
        Ok(output)
    }

    /// The same bytes said to have another scale.
    fn relabelled(&mut self, index: i32, value: usize, scheme: Scheme) -> usize {
        if self.lowered.scheme(value) == scheme {
            return value;
        }
        let output = self.between(index, self.lowered.tensors[value].shape, scheme);
        match self.lowered.element {
            Element::I8 => self.lowered.push_table(&self.name, value, output, LutFunction::Quantize, |q| q),
            Element::I16 => {
                let one = Multiplier { multiplier: 1 << 30, shift: 1 };
                self.lowered.push_scaled(&self.name, value, output, one, Element::I16.range());
            }
        }
        output
    }

    fn quantize(&mut self, operator: &Operator) -> Result<()> {
        let [input] = self.inputs(operator)?;
        let output = Self::output(operator);
        if self.tensor(input)?.kind == Kind::Float32 {
            // The model's input was placed where this operator's output is.
            ensure!(
                self.placed[output as usize].is_some(),
                "floats inside the model; models of int8 or int16 are imported"
            );
            return Ok(());
        }
        self.requantize(operator)
    }

    fn dequantize(&mut self, operator: &Operator) -> Result<()> {
        let output = Self::output(operator);
        ensure!(self.file.outputs == [output], "floats inside the model; models of int8 or int16 are imported");
        Ok(())
    }
}

/// The shape of a tensor here: width and channels are its last two dimensions, height the product of the others.
fn shape(tensor: &Tensor<'_>) -> Result<Shape> {
    let [batch, height, width, channels] = sizes(tensor)?;
    let shape = batch.checked_mul(height).map(|rows| Shape::new(rows, width, channels));
    let fits = |shape: &Shape| shape.checked_len().is_some_and(|len| len <= ARENA_BYTES_MAX);
    shape.filter(fits).with_context(|| {
        format!("\"{}\" has shape {:?}, more than the {ARENA_BYTES_MAX} bytes of an arena", tensor.name, tensor.shape)
    })
}

/// An error unless the batch is 1.
fn single(tensor: &Tensor<'_>) -> Result<()> {
    let [batch, ..] = sizes(tensor)?;
    ensure!(batch == 1, "\"{}\" has shape {:?}; a batch of 1 is imported here", tensor.name, tensor.shape);
    Ok(())
}

/// Batch, height, width and channels: a tensor's dimensions, counted from the last.
fn sizes(tensor: &Tensor<'_>) -> Result<[u32; 4]> {
    let name = &tensor.name;
    let dimensions = &tensor.shape;
    let mut sizes = [1_u32; 4];
    let first = 4_usize.checked_sub(dimensions.len());
    let first =
        first.with_context(|| format!("\"{name}\" has shape {dimensions:?}; up to four dimensions are imported"))?;
    for (size, &given) in sizes[first..].iter_mut().zip(dimensions) {
        *size =
            given.try_into().ok().filter(|&size| size > 0).with_context(|| {
                format!("\"{name}\" has shape {dimensions:?}; only fixed sizes above 0 are imported")
            })?;
    }
    Ok(sizes)
}

/// The axis of a tensor's dimension `axis`, which may count from the end: 0 rows (of a batch of 1), 1 columns, 2 channels.
fn axis(tensor: &Tensor<'_>, axis: i32) -> Result<usize> {
    let here = axis_of_each(tensor, axis)?;
    if here == 0 {
        single(tensor)?;
    }
    Ok(here)
}

/// As [`axis`], with the rows of each part of a batch.
fn axis_of_each(tensor: &Tensor<'_>, axis: i32) -> Result<usize> {
    let rank = tensor.shape.len() as i32;
    let from_front = if axis < 0 { axis + rank } else { axis };
    let here = (0..rank).contains(&from_front).then(|| from_front + 3 - rank).filter(|here| (0..3).contains(here));
    let shape = &tensor.shape;
    let here =
        here.with_context(|| format!("axis {axis} of shape {shape:?} is not one of the last three dimensions"))?;
    Ok(here as usize)
}

/// Scale and zero point of an activation of `element`s.
fn scheme(element: Element, tensor: &Tensor<'_>) -> Result<Scheme> {
    let name = &tensor.name;
    let kind = match element {
        Element::I8 => Kind::Int8,
        Element::I16 => Kind::Int16,
    };
    ensure!(tensor.kind == kind, "\"{name}\" is {:?} in a model of {kind:?}", tensor.kind);
    let ([scale], [zero_point]) = (&tensor.scales[..], &tensor.zero_points[..]) else {
        bail!("\"{name}\" has {} scales and {} zero points, not one", tensor.scales.len(), tensor.zero_points.len());
    };
    ensure!(scale.is_finite() && *scale > 0.0, "\"{name}\" has scale {scale}, which must be above 0");
    ensure!(element == Element::I8 || *zero_point == 0, "\"{name}\": the zero point of int16 must be 0");
    let zero_point = i8::try_from(*zero_point);
    Ok(Scheme { scale: *scale, zero_point: zero_point.with_context(|| format!("\"{name}\": the zero point"))? })
}

/// A constant's i32 values; i64 are taken where they fit.
fn integers(tensor: &Tensor<'_>) -> Result<Vec<i32>> {
    let data = tensor.data.with_context(|| format!("\"{}\" must be a constant", tensor.name))?;
    match tensor.kind {
        Kind::Int32 => Ok(data.as_chunks().0.iter().copied().map(i32::from_le_bytes).collect()),
        Kind::Int64 => {
            let values = data.as_chunks().0.iter().copied().map(i64::from_le_bytes);
            values.map(|value| i32::try_from(value).context("an index beyond 32 bits")).collect()
        }
        other => bail!("\"{}\" holds {other:?}, not integers", tensor.name),
    }
}

/// Bounds of an output, as `CalculateActivationRangeQuantized` finds them.
fn bounds(element: Element, activation: Activation, output: Scheme) -> (i16, i16) {
    let (low, high) = element.range();
    // The quotient and its rounding are f32's, as there.
    let quantized = |real: f32| {
        let steps = (real / output.scale).round();
        (f64::from(steps) + f64::from(output.zero_point)).clamp(low.into(), high.into()) as i16
    };
    match activation {
        Activation::None => (low, high),
        Activation::Relu => (quantized(0.0), high),
        Activation::Relu6 => (quantized(0.0), quantized(6.0)),
        Activation::ReluN1To1 => (quantized(-1.0), quantized(1.0)),
    }
}
