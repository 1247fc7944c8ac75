//! An int8 model whose tensors have no place yet: what the quantizer and importers make, and the planner reads.

use anyhow::{Result, ensure};
use neji_format::operator::{CONCAT_INPUTS_MAX, Concat};
use neji_format::{
    Add, Element, Lut, LutFunction, Multiplier, Operator, Pool2d, PoolKind, Reshape, Shape, Sigmoid, Softmax, Tensor,
    Window, push_constant,
};

use crate::plan::Use;
use crate::quantize::scheme::{Scheme, multiplier};

/// Bits left of the point in softmax's differences, TensorFlow Lite's.
const SOFTMAX_INTEGER_BITS: u32 = 5;

/// A step of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The operator; each tensor's `offset` is its index in [`Lowered::tensors`], or what [`Lowered::part`] gives.
    pub operator: Operator,
    /// For the planner.
    pub tensors: Use,
    /// Name of the node of the source whose value it gives.
    pub name: String,
}

/// Rows of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The tensor.
    pub whole: usize,
    /// The first byte in it.
    pub byte: usize,
}

/// What tells the number of a part from that of a tensor.
const PART: u32 = 1 << 31;

/// An int8 model without offsets.
#[derive(Debug, Clone, Default)]
pub struct Lowered {
    /// What all activations are.
    pub element: Element,
    /// All tensors; number 0 is the input.
    pub tensors: Vec<Tensor>,
    /// Rows of them that operators read or write, but for those that begin with the tensor.
    pub parts: Vec<Part>,
    /// Operators in order.
    pub steps: Vec<Step>,
    /// Weights, biases, tables.
    pub constants: Vec<u8>,
    /// The node of the source whose values each tensor holds.
    pub nodes: Vec<usize>,
    /// Index of the output.
    pub output: usize,
}

impl Lowered {
    /// A new tensor for the values of `node`; returns its index.
    pub fn tensor(&mut self, node: usize, shape: Shape, scheme: Scheme) -> usize {
        let index = self.tensors.len();
        let Scheme { scale, zero_point } = scheme;
        self.tensors.push(Tensor { offset: index as u32, shape, scale, zero_point });
        self.nodes.push(node);
        index
    }

    /// The `offset` by which an operator's tensor names a part.
    pub fn part(&mut self, part: Part) -> u32 {
        if part.byte == 0 {
            return part.whole as u32;
        }
        self.parts.push(part);
        PART | (self.parts.len() - 1) as u32
    }

    /// Offset in the arena of what an operator's tensor names, from those of all tensors.
    pub fn place(&self, offsets: &[usize], name: u32) -> u32 {
        let part = match name & PART {
            0 => Part { whole: name as usize, byte: 0 },
            _ => self.parts[(name ^ PART) as usize],
        };
        (offsets[part.whole] + part.byte) as u32
    }

    /// Scale and zero point of a tensor.
    pub fn scheme(&self, tensor: usize) -> Scheme {
        let Tensor { scale, zero_point, .. } = self.tensors[tensor];
        Scheme { scale, zero_point }
    }

    /// Appends an operator whose tensors' offsets are indices.
    pub fn push(&mut self, name: &str, operator: Operator) {
        let index = |tensor: &Tensor| tensor.offset as usize;
        let in_place = operator.in_place();
        let inputs = operator.inputs().map(index).collect();
        let tensors = Use { inputs, output: index(operator.output()), in_place, over: None };
        self.steps.push(Step { operator, tensors, name: name.to_owned() });
    }

    /// Appends a table: `apply` of every int8.
    pub fn push_table(
        &mut self,
        name: &str,
        input: usize,
        output: usize,
        function: LutFunction,
        apply: impl Fn(i8) -> i8,
    ) {
        let table: Vec<u8> = (i8::MIN..=i8::MAX).map(|q| apply(q) as u8).collect();
        let table = push_constant(&mut self.constants, &table);
        let lut = Lut { input: self.tensors[input], output: self.tensors[output], function, table };
        self.push(name, Operator::Lut(lut));
    }

    /// Appends a change of scale and zero point.
    pub fn push_requantize(&mut self, name: &str, input: usize, output: usize) {
        let (from, to) = (self.scheme(input), self.scheme(output));
        match self.element {
            Element::I8 => {
                self.push_table(name, input, output, LutFunction::Quantize, |q| to.quantize(from.real(q)));
            }
            Element::I16 => {
                let factor = multiplier(f64::from(from.scale) / f64::from(to.scale));
                self.push_scaled(name, input, output, factor, Element::I16.range());
            }
        }
    }

    /// Appends `clamp(zero_point + requantize(q - zero_point))`: a sum over windows of one element.
    pub fn push_scaled(&mut self, name: &str, input: usize, output: usize, factor: Multiplier, bounds: (i16, i16)) {
        let pool = Pool2d {
            kind: PoolKind::Sum,
            input: self.tensors[input],
            output: self.tensors[output],
            window: POINT,
            multiplier: factor,
            activation_min: bounds.0,
            activation_max: bounds.1,
        };
        self.push(name, Operator::Pool2d(pool));
    }

    /// Appends the logistic function or tanh of int16.
    ///
    /// # Errors
    /// Inputs so coarse that TensorFlow Lite's 32 bits do not hold them.
    pub fn push_sigmoid(&mut self, name: &str, input: usize, output: usize, function: LutFunction) -> Result<()> {
        let scale = self.scheme(input).scale;
        let (multiplier, shift) = sigmoid_multiplier(scale, function == LutFunction::Tanh)?;
        let table: Vec<u8> = sigmoid_points().into_iter().flat_map(u16::to_le_bytes).collect();
        let table = push_constant(&mut self.constants, &table);
        let (input, output) = (self.tensors[input], self.tensors[output]);
        self.push(name, Operator::Sigmoid(Sigmoid { input, output, function, multiplier, shift, table }));
        Ok(())
    }

    /// Appends a change of shape.
    pub fn push_reshape(&mut self, name: &str, input: usize, output: usize) {
        let (input, output) = (self.tensors[input], self.tensors[output]);
        self.push(name, Operator::Reshape(Reshape { input, output }));
    }

    /// Appends the join of `parts`, all of the output's scheme, along `axis`; more than four are joined in turns.
    pub fn push_concat(&mut self, name: &str, parts: &[usize], output: usize, axis: u8) {
        let (scheme, node) = (self.scheme(output), self.nodes[output]);
        let mut parts = parts.to_vec();
        while parts.len() > CONCAT_INPUTS_MAX {
            let rest = parts.split_off(CONCAT_INPUTS_MAX);
            let mut shape = self.tensors[parts[0]].shape;
            for &part in &parts[1..] {
                let more = self.tensors[part].shape;
                match axis {
                    0 => shape.height += more.height,
                    1 => shape.width += more.width,
                    _ => shape.channels += more.channels,
                }
            }
            let joined = self.tensor(node, shape, scheme);
            self.push_join(name, &parts, joined, axis);
            parts = std::iter::once(joined).chain(rest).collect();
        }
        self.push_join(name, &parts, output, axis);
    }

    fn push_join(&mut self, name: &str, parts: &[usize], output: usize, axis: u8) {
        let inputs = parts.iter().map(|&part| self.tensors[part]).collect();
        let concat = Concat { inputs, output: self.tensors[output], axis };
        self.push(name, Operator::Concat(concat));
    }
}

/// A window of one element.
pub const POINT: Window = Window {
    kernel_height: 1,
    kernel_width: 1,
    stride_height: 1,
    stride_width: 1,
    dilation_height: 1,
    dilation_width: 1,
    padding_top: 0,
    padding_left: 0,
    padding_bottom: 0,
    padding_right: 0,
};

/// The table of [`Sigmoid`], `65536 * logistic(i / 24)` with what TensorFlow Lite's table adds so that the chords between its
/// points lie about the curve: an eighth of the second derivative times the square of their distance, of which it takes two
/// thirds.
fn sigmoid_points() -> Vec<u16> {
    let point = |i: u32| {
        let s = 1.0 / (1.0 + (-f64::from(i) / 24.0).exp());
        (65536.0 * (s + s * (1.0 - s) * (2.0 * s - 1.0) / 9216.0)).round()
    };
    (0..255).map(|i| point(i) as u16).chain([u16::MAX]).collect()
}

/// Multiplier and shift that bring an input of `scale` to the table's steps: TensorFlow Lite's `SigmoidPrepare`, `TanhPrepare`.
fn sigmoid_multiplier(scale: f32, tanh: bool) -> Result<(u16, u8)> {
    // A power of two that needs no rounding goes straight.
    let exponent = f64::from(scale).log2() + 12.0;
    let straight = if tanh { 0.0..=1.0 } else { 0.0..=0.0 };
    if exponent == exponent.round() && straight.contains(&exponent) {
        return Ok((3 << exponent as u16, 0));
    }
    let mut multiplier = f64::from(scale) * 4096.0 * 3.0;
    ensure!(
        multiplier <= 65535.0,
        "an input scale of {scale} is too coarse for the logistic function and tanh of int16"
    );
    let mut shift = 0;
    while multiplier <= 32767.0 / 2.0 && shift <= 30 {
        multiplier *= 2.0;
        shift += 1;
    }
    ensure!(shift <= 30, "an input scale of {scale} is too fine for the logistic function and tanh of int16");
    Ok((multiplier as u16, shift))
}

/// TensorFlow Lite's factors of a sum or difference, clamped to `bounds`.
pub fn add(element: Element, input_a: Tensor, input_b: Tensor, output: Tensor, bounds: (i16, i16)) -> Add {
    let left_shift = match element {
        Element::I8 => 20,
        Element::I16 => 15,
    };
    let (a, b) = (f64::from(input_a.scale), f64::from(input_b.scale));
    let twice_larger = 2.0 * a.max(b);
    let (activation_min, activation_max) = bounds;
    Add {
        input_a,
        input_b,
        output,
        left_shift,
        multiplier_a: multiplier(a / twice_larger),
        multiplier_b: multiplier(b / twice_larger),
        output_multiplier: multiplier(twice_larger / (f64::from(1 << left_shift) * f64::from(output.scale))),
        activation_min,
        activation_max,
    }
}

/// TensorFlow Lite's `PreprocessSoftmaxScaling` and `CalculateInputRadius`.
///
/// # Errors
/// Logits so fine that their differences vanish.
pub fn softmax(input: Tensor, output: Tensor, beta: f32) -> Result<Operator> {
    let left = 31 - SOFTMAX_INTEGER_BITS;
    let real = (f64::from(beta) * f64::from(input.scale) * f64::from(1 << left)).min(f64::from(i32::MAX));
    ensure!(real > 1.0, "the logits' scale {} times beta {beta} is too small for softmax", input.scale);
    // The factor may be as large as 2^31, which `multiplier` does not take: the mantissa is found two powers lower.
    let lower = multiplier(real / 4.0);
    let shift = i32::from(lower.shift) + 2;
    let radius = f64::from((1 << SOFTMAX_INTEGER_BITS) - 1) * f64::from(1 << left) / 2f64.powi(shift);
    // A shift by 31 comes with a radius of 0: the largest logit alone counts, whatever the shift.
    let multiplier = Multiplier { multiplier: lower.multiplier, shift: shift.min(30) as i8 };
    Ok(Operator::Softmax(Softmax { input, output, multiplier, difference_min: -(radius.floor() as i32) }))
}
