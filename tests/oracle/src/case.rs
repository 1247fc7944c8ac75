//! Blobs of one operator, and what their parts are drawn from.

use neji_format::{
    Blob, Constant, Decision, Detector, Element, FrontEnd, Operator, Plan, Provenance, Requantization, Shape, Tensor,
    Window, push_constant,
};
use proptest::prelude::*;

use crate::arithmetic::{Factor, Finish, Geometry, Image};

/// An operator's constants while it is put together.
#[derive(Default)]
pub(crate) struct Constants(Vec<u8>);

impl Constants {
    pub(crate) fn i8(&mut self, values: &[i8]) -> Constant {
        push_constant(&mut self.0, &values.iter().map(|&value| value as u8).collect::<Vec<_>>())
    }

    /// Values as the elements that they are.
    pub(crate) fn values(&mut self, element: Element, values: &[i16]) -> Constant {
        push_constant(&mut self.0, &bytes(element, values))
    }

    pub(crate) fn i64(&mut self, values: impl Iterator<Item = i64>) -> Constant {
        push_constant(&mut self.0, &values.flat_map(i64::to_le_bytes).collect::<Vec<_>>())
    }

    pub(crate) fn i32(&mut self, values: impl Iterator<Item = i32>) -> Constant {
        push_constant(&mut self.0, &values.flat_map(i32::to_le_bytes).collect::<Vec<_>>())
    }

    pub(crate) fn u16(&mut self, values: &[u16]) -> Constant {
        push_constant(&mut self.0, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    /// [`table`] of every value.
    pub(crate) fn table(&mut self) -> Constant {
        self.i8(&(i8::MIN..=i8::MAX).map(table).collect::<Vec<_>>())
    }

    pub(crate) fn requantization(&mut self, finish: &Finish) -> Requantization {
        let channels = &finish.channels;
        let biases = channels.iter().map(|channel| channel.0);
        Requantization {
            bias: if finish.wide { self.i64(biases.map(i64::from)) } else { self.i32(biases) },
            multiplier: self.i32(channels.iter().map(|channel| channel.1.multiplier)),
            shift: self.i8(&channels.iter().map(|channel| channel.1.shift).collect::<Vec<_>>()),
            activation_min: finish.activation.0,
            activation_max: finish.activation.1,
        }
    }

    /// A layer's weights and requantization. Weights lie behind the others in some cases, where nothing follows them.
    pub(crate) fn layer(&mut self, weights: &[i8], finish: &Finish) -> (Constant, Requantization) {
        if weights.len() & 16 == 0 {
            let requantization = self.requantization(finish);
            return (self.i8(weights), requantization);
        }
        (self.i8(weights), self.requantization(finish))
    }
}

/// The little-endian bytes of values.
pub(crate) fn bytes(element: Element, values: &[i16]) -> Vec<u8> {
    match element {
        Element::I8 => values.iter().map(|&value| value as u8).collect(),
        Element::I16 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

/// A tensor that begins `offset` bytes after the arena.
pub(crate) fn tensor(offset: usize, shape: Shape, zero_point: i8) -> Tensor {
    Tensor { offset: offset as u32, shape, scale: 1.0 / 256.0, zero_point }
}

/// Where an output lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Place {
    /// Before the input.
    Before,
    /// Behind the input.
    Behind,
    /// Over the input, written from its beginning on: no more than some elements before it than it must.
    Down(usize),
    /// Over the input, written from its end on, the same way.
    Up(usize),
}

/// Any of them.
pub(crate) fn place() -> impl Strategy<Value = Place> {
    let more = || prop_oneof![Just(0_usize), 0..30_usize, (0..8_usize).prop_map(|n| n * 16)];
    prop_oneof![Just(Place::Before), Just(Place::Behind), more().prop_map(Place::Down), more().prop_map(Place::Up)]
}

impl Place {
    /// Offsets of an input and an output of an operator with a window. A row of the output is written when the window
    /// has left, or not yet reached, all rows of the input that it lies over.
    pub(crate) fn offsets(self, element: Element, input: Shape, output: Shape, g: Geometry) -> [usize; 2] {
        let [bytes_in, bytes_out] = [bytes_of(element, input), bytes_of(element, output)];
        let (height_in, height_out) = (i64::from(input.height), i64::from(output.height));
        let [row_in, row_out] = [bytes_in as i64 / height_in, bytes_out as i64 / height_out];
        let extent = (g.kernel[0] - 1) * g.dilation[0] + 1;
        let start = |y: i64| y * g.stride[0] - g.padding[0];
        let behind = [0, bytes_in + 3 * element.bytes()];
        let meets = |y: i64| start(y) < height_in && start(y) + extent > 0;
        match self {
            Self::Before => [bytes_out, 0],
            Self::Down(_) | Self::Up(_) if !(0..height_out).all(meets) => behind,
            Self::Behind => behind,
            Self::Down(more) => {
                let needed = (0..height_out).map(|y| (y + 1) * row_out - start(y).max(0) * row_in).max();
                [needed.unwrap_or(0).max(0) as usize + more * element.bytes(), 0]
            }
            Self::Up(more) => {
                let needed = (0..height_out).map(|y| (start(y) + extent).min(height_in) * row_in - y * row_out).max();
                [0, needed.unwrap_or(0).max(0) as usize + more * element.bytes()]
            }
        }
    }
}

pub(crate) fn shape(shape: [i64; 3]) -> Shape {
    Shape::new(shape[0] as u32, shape[1] as u32, shape[2] as u32)
}

pub(crate) fn window(g: Geometry, padding_after: [i64; 2]) -> Window {
    Window {
        kernel_height: g.kernel[0] as u16,
        kernel_width: g.kernel[1] as u16,
        stride_height: g.stride[0] as u16,
        stride_width: g.stride[1] as u16,
        dilation_height: g.dilation[0] as u16,
        dilation_width: g.dilation[1] as u16,
        padding_top: g.padding[0] as u16,
        padding_left: g.padding[1] as u16,
        padding_bottom: padding_after[0] as u16,
        padding_right: padding_after[1] as u16,
    }
}

/// A blob, an input and the output that it must give.
#[derive(Debug, Clone)]
pub struct Case {
    /// The operators, for people.
    pub operators: Vec<Operator>,
    /// The encoded blob, which a reader must accept.
    pub blob: Vec<u8>,
    /// Bytes of the model's input.
    pub input: Vec<u8>,
    /// Bytes of its output.
    pub expected: Vec<u8>,
}

impl Case {
    /// A blob of `operators` that reads `input` and writes `output`, with an arena just long enough.
    pub(crate) fn new(
        element: Element,
        operators: Vec<Operator>,
        constants: Constants,
        input: Tensor,
        output: Tensor,
        values: &[i16],
        expected: &[i16],
    ) -> Self {
        let end = |tensor: &Tensor| tensor.offset as usize + element.bytes_of(tensor);
        let inputs = operators.iter().flat_map(Operator::inputs).map(end);
        let outputs = operators.iter().map(|operator| end(operator.output()));
        let arena_bytes = inputs.chain(outputs).chain([end(&input), end(&output)]).max().unwrap_or(0);
        let plan = Plan {
            provenance: Provenance::of("one operator"),
            front_end: FrontEnd::Raw,
            streaming: None,
            detector: Detector::None,
            decision: Decision::EACH,
            element,
            input,
            output,
            operator_count: 0,
        };
        let blob = Blob { plan, operators, constants: constants.0, arena_bytes: arena_bytes as u32 };
        let (input, expected) = (bytes(element, values), bytes(element, expected));
        Self { blob: blob.encode(), operators: blob.operators, input, expected }
    }
}

/// Factors that bring sums of up to about `2^bits`, counted for int8, to the element; most of them in range and some not.
pub(crate) fn factor(bits: i8) -> impl Strategy<Value = Factor> {
    ((1_i32 << 30)..=i32::MAX, (7 - bits - 2)..=(7 - bits + 2))
        .prop_map(|(multiplier, shift)| Factor { multiplier, shift: shift.clamp(-31, 7) })
}

/// Bounds of a fused activation, in order.
pub(crate) fn activation(element: Element) -> impl Strategy<Value = (i16, i16)> {
    let (low, high) = element.range();
    prop_oneof![Just((low, high)), (low..=high, low..=high).prop_map(|(a, b)| (a.min(b), a.max(b)))]
}

/// Any values of an element.
pub(crate) fn values(element: Element, len: usize) -> impl Strategy<Value = Vec<i16>> {
    let (low, high) = element.range();
    proptest::collection::vec(low..=high, len)
}

/// int8 weights.
pub(crate) fn weights(len: usize) -> impl Strategy<Value = Vec<i8>> {
    proptest::collection::vec(any::<i8>(), len)
}

/// A zero point, which int16 does not have.
pub(crate) fn zero_point(element: Element) -> impl Strategy<Value = i8> {
    let most = if element == Element::I8 { i8::MAX } else { 0 };
    (if most == 0 { 0 } else { i8::MIN })..=most
}

/// A function that moves every value: an affine map with an odd factor.
pub(crate) fn table(q: i8) -> i8 {
    (q.cast_unsigned() ^ 0x80).wrapping_mul(37).wrapping_add(11).cast_signed()
}

/// [`table`] of int8 values.
pub(crate) fn mapped(values: &[i16]) -> Vec<i16> {
    values.iter().map(|&q| table(q as i8).into()).collect()
}

/// An image of up to 5 x 5 pixels and `depth` channels.
pub(crate) fn image(element: Element, depth: i64) -> impl Strategy<Value = Image> {
    (1..=5_i64, 1..=5_i64, 1..=depth).prop_flat_map(move |(height, width, channels)| {
        (values(element, (height * width * channels) as usize), zero_point(element))
            .prop_map(move |(values, zero_point)| Image { height, width, channels, values, zero_point })
    })
}

/// Bytes of an image's tensor.
pub(crate) fn bytes_of(element: Element, shape: Shape) -> usize {
    shape.len() * element.bytes()
}
