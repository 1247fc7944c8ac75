//! Blobs of one operator: built, encoded, parsed and run.

use neji_engine::{Engine, Portable};
use neji_format::{
    AlignedBytes, Blob, Constant, Decision, Detector, FrontEnd, Metrics, Model, Operator, Plan, Provenance,
    Requantization, Shape, Tensor, Window, push_constant,
};
use proptest::prelude::*;

use crate::oracle::{Factor, Geometry};

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

/// A blob of `operators` that reads `input` and writes `output`, with an arena just long enough.
pub(crate) fn blob(operators: Vec<Operator>, constants: Constants, input: Tensor, output: Tensor) -> AlignedBytes {
    let end = |tensor: &Tensor| tensor.offset as usize + tensor.shape.len();
    let inputs = operators.iter().flat_map(Operator::inputs).map(end);
    let outputs = operators.iter().map(|operator| end(operator.output()));
    let arena_bytes = inputs.chain(outputs).chain([end(&input), end(&output)]).max().unwrap();
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
    AlignedBytes::new(&blob.encode())
}

/// The model in a blob that must be accepted.
pub(crate) fn parse(blob: &AlignedBytes) -> Model<'_> {
    Model::parse(blob.as_slice()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a [`blob`] on an arena of exactly the bytes it says, which are not aligned and hold other values before.
pub(crate) fn run(
    operators: Vec<Operator>,
    constants: Constants,
    input: Tensor,
    output: Tensor,
    values: &[i8],
) -> Vec<i8> {
    let bytes = blob(operators, constants, input, output);
    let model = parse(&bytes);
    let arena_bytes = model.arena_bytes();
    let engine = Engine::<Portable>::new(model);
    let mut memory = vec![77_i8; arena_bytes + 2];
    let arena = &mut memory[1..=arena_bytes];
    engine.input_mut(arena).copy_from_slice(values);
    assert_eq!(engine.input(arena), values);
    engine.run(arena).unwrap();
    let result = engine.output(arena).to_vec();
    assert_eq!([memory[0], memory[arena_bytes + 1]], [77, 77]);
    result
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
