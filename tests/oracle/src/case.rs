//! Blobs of one operator, and what their parts are drawn from.

use neji_format::{
    Blob, Constant, Decision, Detector, FrontEnd, Metrics, Operator, Plan, Provenance, Requantization, Shape, Tensor,
    Window, push_constant,
};
use proptest::prelude::*;

use crate::arithmetic::{Factor, Geometry, Image};

/// An operator's constants while it is put together.
#[derive(Default)]
pub(crate) struct Constants(Vec<u8>);

impl Constants {
    pub(crate) fn i8(&mut self, values: &[i8]) -> Constant {
        push_constant(&mut self.0, &values.iter().map(|&value| value as u8).collect::<Vec<_>>())
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

    pub(crate) fn requantization(&mut self, channels: &[(i32, Factor)], activation: (i8, i8)) -> Requantization {
        Requantization {
            bias: self.i32(channels.iter().map(|channel| channel.0)),
            multiplier: self.i32(channels.iter().map(|channel| channel.1.multiplier)),
            shift: self.i8(&channels.iter().map(|channel| channel.1.shift).collect::<Vec<_>>()),
            activation_min: activation.0,
            activation_max: activation.1,
        }
    }
}

pub(crate) fn tensor(offset: usize, shape: Shape, zero_point: i8) -> Tensor {
    Tensor { offset: offset as u32, shape, scale: 1.0 / 256.0, zero_point }
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
    /// int8 values of the model's input.
    pub input: Vec<i8>,
    /// int8 values of its output.
    pub expected: Vec<i8>,
}

impl Case {
    /// A blob of `operators` that reads `input` and writes `output`, with an arena just long enough.
    pub(crate) fn new(
        operators: Vec<Operator>,
        constants: Constants,
        input: Tensor,
        output: Tensor,
        values: &[i8],
        expected: Vec<i8>,
    ) -> Self {
        let end = |tensor: &Tensor| tensor.offset as usize + tensor.shape.len();
        let inputs = operators.iter().flat_map(Operator::inputs).map(end);
        let outputs = operators.iter().map(|operator| end(operator.output()));
        let arena_bytes = inputs.chain(outputs).chain([end(&input), end(&output)]).max().unwrap_or(0);
        let plan = Plan {
            provenance: Provenance {
                neji_version: "0",
                name: "one operator",
                classes: "",
                data_hash: [0; 32],
                config_hash: [0; 32],
                seed: 0,
                metrics: Metrics { auroc_float: f32::NAN, auroc_int8: f32::NAN },
            },
            front_end: FrontEnd::Raw,
            detector: Detector::None,
            decision: Decision { threshold: 0, release: 0, smoothing: 32768, required: 1, window: 1, score_unit: 1.0 },
            input,
            output,
            operator_count: 0,
        };
        let blob = Blob { plan, operators, constants: constants.0, arena_bytes: arena_bytes as u32 };
        Self { blob: blob.encode(), operators: blob.operators, input: values.to_vec(), expected }
    }
}

/// Factors that bring sums of up to about `2^bits` to int8, most of them in range and some not.
pub(crate) fn factor(bits: i8) -> impl Strategy<Value = Factor> {
    ((1_i32 << 30)..=i32::MAX, (7 - bits - 2)..=(7 - bits + 2))
        .prop_map(|(multiplier, shift)| Factor { multiplier, shift: shift.clamp(-31, 8) })
}

/// Bounds of a fused activation, in order.
pub(crate) fn activation() -> impl Strategy<Value = (i8, i8)> {
    prop_oneof![Just((-128, 127)), (any::<i8>(), any::<i8>()).prop_map(|(a, b)| (a.min(b), a.max(b)))]
}

pub(crate) fn values(len: usize) -> impl Strategy<Value = Vec<i8>> {
    proptest::collection::vec(any::<i8>(), len)
}

/// A function that moves every value: an affine map with an odd factor.
pub(crate) fn table(q: i8) -> i8 {
    (q.cast_unsigned() ^ 0x80).wrapping_mul(37).wrapping_add(11).cast_signed()
}

/// An image of up to 5 x 5 pixels and `depth` channels.
pub(crate) fn image(depth: i64) -> impl Strategy<Value = Image> {
    (1..=5_i64, 1..=5_i64, 1..=depth).prop_flat_map(|(height, width, channels)| {
        (values((height * width * channels) as usize), any::<i8>()).prop_map(move |(values, zero_point)| Image {
            height,
            width,
            channels,
            values,
            zero_point,
        })
    })
}
