//! The operators of a plan, named as TensorFlow Lite names them.
//!
//! Every operator carries its input and output tensors whole, so that one can be decoded and run without a table of
//! tensors in RAM. [`Model::parse`](crate::Model::parse) checks that each input is unclobbered output of earlier operators
//! or the model's input: all of it, some rows, or rows that were written one beside the other.

use serde::{Deserialize, Serialize};

use crate::packing::Packing;
use crate::quant::{Multiplier, Requantization};
use crate::rows::Rows;
use crate::tensor::{Constant, Element, Tensor};

/// Most inputs of one [`Concat`]; the planner chains more.
pub const CONCAT_INPUTS_MAX: usize = 4;

/// A sliding window: kernel, stride, dilation and explicit padding, in elements.
///
/// `output = (input + padding_before + padding_after - ((kernel - 1) * dilation + 1)) / stride + 1`, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Rows of the kernel, at least 1.
    pub kernel_height: u16,
    /// Columns of the kernel, at least 1.
    pub kernel_width: u16,
    /// Step between rows, at least 1.
    pub stride_height: u16,
    /// Step between columns, at least 1.
    pub stride_width: u16,
    /// Distance of kernel rows, at least 1.
    pub dilation_height: u16,
    /// Distance of kernel columns, at least 1.
    pub dilation_width: u16,
    /// Rows of padding above.
    pub padding_top: u16,
    /// Columns of padding to the left.
    pub padding_left: u16,
    /// Rows of padding below.
    pub padding_bottom: u16,
    /// Columns of padding to the right.
    pub padding_right: u16,
}

/// 2-D convolution; `weights` are OHWI `[channels_out, kernel_height, kernel_width, channels_in]`, symmetric int8.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Conv2d {
    /// NHWC input.
    pub input: Tensor,
    /// NHWC output.
    pub output: Tensor,
    /// Geometry.
    pub window: Window,
    /// int8, OHWI.
    pub weights: Constant,
    /// How they lie; the rows are the output channels'.
    pub packing: Packing,
    /// Per output channel.
    pub requantization: Requantization,
}

/// Depthwise convolution; `weights` are `[1, kernel_height, kernel_width, channels_out]` and
/// `channels_out = channels_in * depth_multiplier`; output channel `c` reads input channel `c / depth_multiplier`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DepthwiseConv2d {
    /// NHWC input.
    pub input: Tensor,
    /// NHWC output.
    pub output: Tensor,
    /// Geometry.
    pub window: Window,
    /// int8, `[1, H, W, channels_out]`.
    pub weights: Constant,
    /// Per output channel.
    pub requantization: Requantization,
}

/// Transposed convolution; `weights` are OHWI `[channels_out, kernel_height, kernel_width, channels_in]`.
///
/// Input pixel `(y, x)` adds to output pixel `(y * stride - padding_top + ky, x * stride - padding_left + kx)`.
/// Dilation is 1. The output's size is given by its shape: what lies outside is dropped, what nothing reaches is bias.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TransposeConv2d {
    /// NHWC input.
    pub input: Tensor,
    /// NHWC output.
    pub output: Tensor,
    /// Geometry; `padding_bottom`, `padding_right` are informative.
    pub window: Window,
    /// int8, OHWI.
    pub weights: Constant,
    /// Per output channel.
    pub requantization: Requantization,
}

/// Dense layer: the input, flattened, times the transpose of `weights` `[features_out, features_in]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FullyConnected {
    /// Any shape; flattened.
    pub input: Tensor,
    /// `features_out` elements in any shape.
    pub output: Tensor,
    /// int8, `[features_out, features_in]`.
    pub weights: Constant,
    /// How they lie; the rows are the output features'.
    pub packing: Packing,
    /// Per output feature (per-tensor scales are repeated).
    pub requantization: Requantization,
}

/// What a pooling window computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoolKind {
    /// Largest value; padding never wins. Input and output share scale and zero point.
    Max,
    /// Mean over the window's elements inside the input, rounded half away from zero. Shared scale and zero point.
    Average,
    /// Sum of `q - zero_point` over the window, requantized by `Pool2d::multiplier`.
    Sum,
}

/// Pooling over a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pool2d {
    /// What is computed.
    pub kind: PoolKind,
    /// NHWC input.
    pub input: Tensor,
    /// NHWC output, as many channels as the input.
    pub output: Tensor,
    /// Geometry; dilation is 1.
    pub window: Window,
    /// `scale_input / scale_output`, used by [`PoolKind::Sum`] only.
    pub multiplier: Multiplier,
    /// Lower bound of the output, inclusive.
    pub activation_min: i16,
    /// Upper bound of the output, inclusive.
    pub activation_max: i16,
}

/// Mean over height and width: `zero_point_out + requantize(sum(q - zero_point_in), multiplier)`, clamped to int8.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// NHWC input.
    pub input: Tensor,
    /// `1 x 1 x channels`.
    pub output: Tensor,
    /// `scale_input / (scale_output * height * width)`.
    pub multiplier: Multiplier,
}

/// Elementwise sum ([`Operator::Add`]) or difference ([`Operator::Sub`]), as TensorFlow Lite computes it:
///
/// each input, less its zero point, is shifted left by `left_shift` and requantized by its own multiplier; `a + b` or
/// `a - b` is requantized by `output_multiplier`, moved by the output's zero point and clamped. A dimension of 1 of an
/// input is repeated to the output's (broadcasting).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// Left operand.
    pub input_a: Tensor,
    /// Right operand.
    pub input_b: Tensor,
    /// Sum or difference; each dimension is the larger of the inputs'.
    pub output: Tensor,
    /// 20 for int8 in TensorFlow Lite; at most 22.
    pub left_shift: u8,
    /// `scale_a / (2 * max(scale_a, scale_b))`; below 1.
    pub multiplier_a: Multiplier,
    /// `scale_b / (2 * max(scale_a, scale_b))`; below 1.
    pub multiplier_b: Multiplier,
    /// `2 * max(scale_a, scale_b) / (2^left_shift * scale_output)`.
    pub output_multiplier: Multiplier,
    /// Lower bound of the output, inclusive.
    pub activation_min: i16,
    /// Upper bound of the output, inclusive.
    pub activation_max: i16,
}

/// Elementwise product: `zero_point + requantize((a - zero_point_a) (b - zero_point_b), multiplier)`, clamped.
/// Broadcasts as [`Add`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mul {
    /// First factor.
    pub input_a: Tensor,
    /// Second factor.
    pub input_b: Tensor,
    /// The product; each dimension is the larger of the inputs'.
    pub output: Tensor,
    /// `scale_a * scale_b / scale_output`.
    pub multiplier: Multiplier,
    /// Lower bound of the output, inclusive.
    pub activation_min: i16,
    /// Upper bound of the output, inclusive.
    pub activation_max: i16,
}

/// Copies a constant from flash to the arena, for operators that read a tensor where the model has numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Where it goes.
    pub output: Tensor,
    /// One value an element of the output.
    pub values: Constant,
}

/// Joins tensors along one axis; all share scale and zero point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concat {
    /// One to four tensors.
    pub inputs: heapless::Vec<Tensor, CONCAT_INPUTS_MAX>,
    /// The joined tensor.
    pub output: Tensor,
    /// 0 joins rows, 1 columns, 2 channels.
    pub axis: u8,
}

/// Surrounds the input with its zero point. Scale and zero point are shared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pad {
    /// NHWC input.
    pub input: Tensor,
    /// NHWC output.
    pub output: Tensor,
    /// Rows above.
    pub top: u16,
    /// Rows below.
    pub bottom: u16,
    /// Columns to the left.
    pub left: u16,
    /// Columns to the right.
    pub right: u16,
}

/// Gives the same elements another shape; copies unless input and output lie at one offset. The two may overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reshape {
    /// Any shape.
    pub input: Tensor,
    /// Another shape of as many elements.
    pub output: Tensor,
}

/// Nearest neighbour resampling: output pixel `(y, x)` is input pixel `(rows[y], columns[x])`.
///
/// Which pixel is nearest is decided where the blob is made, so that the device needs neither floats nor divisions and
/// every convention (half-pixel centres, aligned corners) is the same to it. Scale and zero point are shared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResizeNearest {
    /// NHWC input.
    pub input: Tensor,
    /// Any height and width; as many channels as the input.
    pub output: Tensor,
    /// u16 little-endian, one an output row: the input row, below the input's height.
    pub rows: Constant,
    /// u16 little-endian, one an output column: the input column, below the input's width.
    pub columns: Constant,
}

/// What a [`Lut`] computes: for people; the table decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LutFunction {
    /// Changes scale and zero point only.
    Quantize,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x` or `alpha * x` where negative.
    LeakyRelu,
    /// Sigmoid.
    Logistic,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `min(max(x, -1), 1)`.
    ReluN1To1,
}

/// Any function of one int8 element, as a table of 256 bytes indexed by `q + 128`; not for int16.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lut {
    /// Any shape.
    pub input: Tensor,
    /// The same shape; may lie at the input's offset.
    pub output: Tensor,
    /// What the table holds.
    pub function: LutFunction,
    /// 256 int8 values.
    pub table: Constant,
}

/// Logistic function or hyperbolic tangent of int16 elements, as TensorFlow Lite interpolates them.
///
/// `d = (q * multiplier + round) >> shift` is the input in steps of 3/4096 of the table's; `table` holds the logistic function
/// at 256 points from 0 on, in 1/65536, and the other half follows by symmetry. Input and output lie apart or in one place.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sigmoid {
    /// int16.
    pub input: Tensor,
    /// The same shape, scale 1/32768.
    pub output: Tensor,
    /// [`LutFunction::Logistic`] or [`LutFunction::Tanh`].
    pub function: LutFunction,
    /// 1 to 65,535.
    pub multiplier: u16,
    /// 0 to 30.
    pub shift: u8,
    /// 256 u16 little-endian.
    pub table: Constant,
}

/// Softmax over the channels of each pixel, in fixed point as gemmlowp and TensorFlow Lite compute it; the output has
/// scale 1/256 and zero point -128.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Softmax {
    /// Logits.
    pub input: Tensor,
    /// Probabilities.
    pub output: Tensor,
    /// `beta * scale_input * 2^26`, capped below 2^31, with `shift >= 0`.
    pub multiplier: Multiplier,
    /// Differences to the maximum below this are probability 0 (`CalculateInputRadius`, negated).
    pub difference_min: i32,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant is its struct")]
pub enum Operator {
    Conv2d(Conv2d),
    DepthwiseConv2d(DepthwiseConv2d),
    FullyConnected(FullyConnected),
    TransposeConv2d(TransposeConv2d),
    Pool2d(Pool2d),
    Mean(Mean),
    Add(Add),
    Concat(Concat),
    Pad(Pad),
    Reshape(Reshape),
    ResizeNearest(ResizeNearest),
    Lut(Lut),
    Softmax(Softmax),
    Sub(Add),
    Mul(Mul),
    Load(Load),
    Sigmoid(Sigmoid),
}

impl Operator {
    /// What the operator reads: none, one tensor, two of an [`Add`] or a [`Mul`], up to four of a [`Concat`].
    pub fn inputs(&self) -> impl Iterator<Item = &Tensor> {
        (0..).map_while(|index| self.input(index))
    }

    /// Its input `index`.
    // Once in an image, as what it writes: the checks look at them often.
    #[inline(never)]
    fn input(&self, index: usize) -> Option<&Tensor> {
        let (first, rest): (&[Tensor], Option<&Tensor>) = match self {
            Self::Conv2d(conv) => (core::slice::from_ref(&conv.input), None),
            Self::DepthwiseConv2d(conv) => (core::slice::from_ref(&conv.input), None),
            Self::FullyConnected(dense) => (core::slice::from_ref(&dense.input), None),
            Self::TransposeConv2d(conv) => (core::slice::from_ref(&conv.input), None),
            Self::Pool2d(pool) => (core::slice::from_ref(&pool.input), None),
            Self::Mean(mean) => (core::slice::from_ref(&mean.input), None),
            Self::Add(add) | Self::Sub(add) => (core::slice::from_ref(&add.input_a), Some(&add.input_b)),
            Self::Mul(mul) => (core::slice::from_ref(&mul.input_a), Some(&mul.input_b)),
            Self::Load(_) => (&[], None),
            Self::Concat(concat) => (concat.inputs.as_slice(), None),
            Self::Pad(pad) => (core::slice::from_ref(&pad.input), None),
            Self::Reshape(reshape) => (core::slice::from_ref(&reshape.input), None),
            Self::ResizeNearest(resize) => (core::slice::from_ref(&resize.input), None),
            Self::Lut(lut) => (core::slice::from_ref(&lut.input), None),
            Self::Softmax(softmax) => (core::slice::from_ref(&softmax.input), None),
            Self::Sigmoid(sigmoid) => (core::slice::from_ref(&sigmoid.input), None),
        };
        match first.get(index) {
            None if index == 1 => rest,
            input => input,
        }
    }

    /// What the operator writes.
    #[inline(never)]
    pub fn output(&self) -> &Tensor {
        match self {
            Self::Conv2d(conv) => &conv.output,
            Self::DepthwiseConv2d(conv) => &conv.output,
            Self::FullyConnected(dense) => &dense.output,
            Self::TransposeConv2d(conv) => &conv.output,
            Self::Pool2d(pool) => &pool.output,
            Self::Mean(mean) => &mean.output,
            Self::Add(add) | Self::Sub(add) => &add.output,
            Self::Mul(mul) => &mul.output,
            Self::Load(load) => &load.output,
            Self::Concat(concat) => &concat.output,
            Self::Pad(pad) => &pad.output,
            Self::Reshape(reshape) => &reshape.output,
            Self::ResizeNearest(resize) => &resize.output,
            Self::Lut(lut) => &lut.output,
            Self::Softmax(softmax) => &softmax.output,
            Self::Sigmoid(sigmoid) => &sigmoid.output,
        }
    }

    /// The operator's name, as its variant.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "Conv2d",
            Self::DepthwiseConv2d(_) => "DepthwiseConv2d",
            Self::FullyConnected(_) => "FullyConnected",
            Self::TransposeConv2d(_) => "TransposeConv2d",
            Self::Pool2d(_) => "Pool2d",
            Self::Mean(_) => "Mean",
            Self::Add(_) => "Add",
            Self::Concat(_) => "Concat",
            Self::Pad(_) => "Pad",
            Self::Reshape(_) => "Reshape",
            Self::ResizeNearest(_) => "ResizeNearest",
            Self::Lut(_) => "Lut",
            Self::Softmax(_) => "Softmax",
            Self::Sub(_) => "Sub",
            Self::Mul(_) => "Mul",
            Self::Load(_) => "Load",
            Self::Sigmoid(_) => "Sigmoid",
        }
    }

    /// How the operator's weights lie; [`Packing::Rows`] where it has no choice.
    pub fn packing(&self) -> Packing {
        match self {
            Self::Conv2d(conv) => conv.packing,
            Self::FullyConnected(dense) => dense.packing,
            _ => Packing::Rows,
        }
    }

    /// Calls `change` on every constant, so that they can be moved.
    pub fn for_each_constant_mut(&mut self, mut change: impl FnMut(&mut Constant)) {
        let (weights, requantization) = match self {
            Self::Conv2d(op) => (&mut op.weights, &mut op.requantization),
            Self::DepthwiseConv2d(op) => (&mut op.weights, &mut op.requantization),
            Self::TransposeConv2d(op) => (&mut op.weights, &mut op.requantization),
            Self::FullyConnected(op) => (&mut op.weights, &mut op.requantization),
            Self::ResizeNearest(op) => {
                change(&mut op.rows);
                return change(&mut op.columns);
            }
            Self::Lut(op) => return change(&mut op.table),
            Self::Load(op) => return change(&mut op.values),
            Self::Sigmoid(op) => return change(&mut op.table),
            Self::Pool2d(_)
            | Self::Mean(_)
            | Self::Add(_)
            | Self::Sub(_)
            | Self::Mul(_)
            | Self::Concat(_)
            | Self::Pad(_)
            | Self::Reshape(_)
            | Self::Softmax(_) => return,
        };
        change(weights);
        change(&mut requantization.bias);
        change(&mut requantization.multiplier);
        change(&mut requantization.shift);
    }

    /// Whether the output may lie exactly over an input: each element is read before it is written.
    pub fn in_place(&self) -> bool {
        matches!(self, Self::Lut(_) | Self::Sigmoid(_) | Self::Add(_) | Self::Sub(_) | Self::Mul(_) | Self::Reshape(_))
    }

    /// The rows of an operator that computes them one by one, whose output may lie over parts of the input as these say.
    pub const fn rows(&self, element: Element) -> Option<Rows> {
        let (window, input, output) = match self {
            Self::Conv2d(op) => (&op.window, &op.input, &op.output),
            Self::DepthwiseConv2d(op) => (&op.window, &op.input, &op.output),
            Self::Pool2d(op) => (&op.window, &op.input, &op.output),
            _ => return None,
        };
        Some(Rows::new(window, input.shape, output.shape, element.bytes() as u32))
    }

    /// Calls `change` on every tensor, inputs first, so that a planner can place them.
    pub fn for_each_tensor_mut(&mut self, mut change: impl FnMut(&mut Tensor)) {
        let [input, output] = match self {
            Self::Conv2d(op) => [&mut op.input, &mut op.output],
            Self::DepthwiseConv2d(op) => [&mut op.input, &mut op.output],
            Self::FullyConnected(op) => [&mut op.input, &mut op.output],
            Self::TransposeConv2d(op) => [&mut op.input, &mut op.output],
            Self::Pool2d(op) => [&mut op.input, &mut op.output],
            Self::Mean(op) => [&mut op.input, &mut op.output],
            Self::Add(op) | Self::Sub(op) => {
                change(&mut op.input_a);
                [&mut op.input_b, &mut op.output]
            }
            Self::Mul(op) => {
                change(&mut op.input_a);
                [&mut op.input_b, &mut op.output]
            }
            Self::Load(op) => return change(&mut op.output),
            Self::Concat(op) => {
                op.inputs.iter_mut().for_each(&mut change);
                return change(&mut op.output);
            }
            Self::Pad(op) => [&mut op.input, &mut op.output],
            Self::Reshape(op) => [&mut op.input, &mut op.output],
            Self::ResizeNearest(op) => [&mut op.input, &mut op.output],
            Self::Lut(op) => [&mut op.input, &mut op.output],
            Self::Softmax(op) => [&mut op.input, &mut op.output],
            Self::Sigmoid(op) => [&mut op.input, &mut op.output],
        };
        change(input);
        change(output);
    }
}
