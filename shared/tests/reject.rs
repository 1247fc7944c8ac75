//! Each way a blob can be wrong, with the error that says so.

mod samples;

use neji_format::header::{ARENA_BYTES_MAX, CRC_OFFSET};
use neji_format::{
    Aggregate, AlignedBytes, Alignment, Blob, ClassifierScore, Constant, DecisionFault, DecodeError, Detector,
    DetectorFault, Distance, Element, FrontEnd, FrontEndFault, Fusion, ImageFrontEnd, LogMelFrontEnd, Mahalanobis,
    Mixture, Model, Multiplier, Operator, Packing, Photometric, Place, PoolKind, Pooling, Reconstruction, Registration,
    Reshape, Shape, Size, Streaming, StreamingFault, Tensor, Transform, Weights, WindowStatistics,
};
use samples::{
    autoencoder, classifier, covariance, fusion, int16, listener, mixture, operators, packed, statistics, streaming,
    with_checksum,
};

const fn at(operator: u16) -> Place {
    Place::Operator(operator)
}

/// Why the blob is refused after `change`.
fn refusal(mut blob: Blob<'static>, change: impl FnOnce(&mut Blob<'static>)) -> DecodeError {
    change(&mut blob);
    let bytes = AlignedBytes::new(&blob.encode());
    let error = Model::parse(bytes.as_slice()).expect_err("the blob should be refused");
    assert!(error.to_string().len() > 10, "{error:?} explains nothing");
    error
}

/// Why the classifier is refused after `change` to its bytes and with a checksum that fits them.
fn header_refusal(change: impl FnOnce(&mut Vec<u8>)) -> DecodeError {
    let mut bytes = classifier().encode();
    change(&mut bytes);
    let bytes = with_checksum(&bytes);
    Model::parse(bytes.as_slice()).expect_err("the blob should be refused")
}

/// The parameters of one operator of one kind.
macro_rules! step {
    ($blob:expr, $index:expr, $kind:ident) => {
        match &mut $blob.operators[$index] {
            Operator::$kind(step) => step,
            other => panic!("operator {} is {other:?}", $index),
        }
    };
}

#[test]
fn header() {
    assert_eq!(Model::parse(&[]).unwrap_err(), DecodeError::Truncated { needed: 64, given: 0 });
    assert_eq!(header_refusal(|b| b[0] = b'X'), DecodeError::Magic { found: *b"XEJI" });
    assert_eq!(header_refusal(|b| b[4] = 9), DecodeError::FormatVersion { found: 9 });
    assert_eq!(header_refusal(|b| b[6] = 65), DecodeError::Header { field: 6, found: 65 });
    assert_eq!(header_refusal(|b| b[19] = b'2'), DecodeError::Arithmetic { found: *b"neji.int8.v2\0\0\0\0" });
    assert!(matches!(header_refusal(|b| b[24] ^= 16), DecodeError::Header { field: 24, .. }));
    assert!(matches!(header_refusal(|b| b[28] ^= 64), DecodeError::Header { field: 32, .. }));
    assert!(matches!(header_refusal(|b| b[32..36].fill(0xff)), DecodeError::Header { field: 32, found: u32::MAX }));
    assert!(matches!(header_refusal(|b| b[36] ^= 1), DecodeError::Header { field: 36, .. }));
    let too_large = (ARENA_BYTES_MAX + 1).to_le_bytes();
    let error = header_refusal(|b| b[40..44].copy_from_slice(&too_large));
    assert_eq!(error, DecodeError::Header { field: 40, found: ARENA_BYTES_MAX + 1 });
    assert_eq!(header_refusal(|b| b[44] = 1), DecodeError::Header { field: 44, found: 1 });
    assert_eq!(header_refusal(|b| b[59] = 1), DecodeError::Header { field: 44, found: 0 });
}

#[test]
fn text_file() {
    let bytes = AlignedBytes::new(b"hello");
    assert_eq!(Model::parse(bytes.as_slice()).unwrap_err(), DecodeError::Magic { found: *b"hell" });
    let bytes = AlignedBytes::new(b"no");
    assert_eq!(Model::parse(bytes.as_slice()).unwrap_err(), DecodeError::Magic { found: *b"no\0\0" });
}

#[test]
fn misaligned() {
    let mut shifted = vec![0; 4];
    shifted.extend(classifier().encode());
    let bytes = AlignedBytes::new(&shifted);
    assert_eq!(Model::parse(&bytes.as_slice()[4..]).unwrap_err(), DecodeError::Misaligned { remainder: 4 });
}

#[test]
fn checksum() {
    let mut bytes = classifier().encode();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let stored = u32::from_le_bytes(bytes[CRC_OFFSET..CRC_OFFSET + 4].try_into().unwrap());
    let bytes = AlignedBytes::new(&bytes);
    let error = Model::parse(bytes.as_slice()).unwrap_err();
    assert!(matches!(error, DecodeError::Checksum { stored: s, computed } if s == stored && computed != stored));
}

#[test]
fn postcard_section() {
    // The first byte is the length of the version string.
    assert_eq!(header_refusal(|b| b[64] = 0xff), DecodeError::Plan);
    // The last operator ends in two activation bounds; one byte less and it breaks off.
    let plan_bytes = |bytes: &[u8]| u32::from_le_bytes(bytes[28..32].try_into().unwrap());
    let shorter = |bytes: &mut Vec<u8>| {
        let less = plan_bytes(bytes) - 1;
        bytes[28..32].copy_from_slice(&less.to_le_bytes());
    };
    let longer = |bytes: &mut Vec<u8>| {
        let more = plan_bytes(bytes) + 1;
        bytes[28..32].copy_from_slice(&more.to_le_bytes());
    };
    // Adding or dropping a byte must not move the constants for these: it depends on the sample's padding.
    let bytes = classifier().encode();
    assert!(!matches!(plan_bytes(&bytes) % 16, 0 | 1), "the sample leaves no room");
    assert_eq!(header_refusal(shorter), DecodeError::Operator { operator: 2 });
    assert_eq!(header_refusal(longer), DecodeError::TrailingBytes { left: 1 });
}

#[test]
fn packing() {
    /// Changes a byte of an operator's weights.
    fn weight(blob: &mut Blob<'static>, operator: usize, at: usize, value: i8) {
        let constant = match &blob.operators[operator] {
            Operator::Conv2d(conv) => conv.weights,
            Operator::FullyConnected(dense) => dense.weights,
            other => panic!("operator {operator} is {other:?}"),
        };
        blob.constants[constant.offset as usize + at] = value as u8;
    }
    let fault = |operator, channel| DecodeError::Packing { operator, channel };
    // Six rows of nine weights: two blocks of three quads, of sixteen bytes each.
    let error = refusal(packed(), |b| step!(b, 0, Conv2d).weights.bytes = 54);
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 96, given: 54 });
    let error = refusal(packed(), |b| step!(b, 0, Conv2d).packing = Packing::Rows);
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 54, given: 96 });
    // Rows 6 and 7 are none, weight 9 of row 1 is none.
    assert_eq!(refusal(packed(), |b| weight(b, 0, 48 + 8, 1)), fault(0, 6));
    assert_eq!(refusal(packed(), |b| weight(b, 0, 32 + 4 + 1, 1)), fault(0, 1));
    // 127 * 256 + 255 is -1 + 256 * 128.
    let error = refusal(packed(), |b| {
        weight(b, 1, 0, -1);
        weight(b, 1, 1, 127);
    });
    assert_eq!(error, fault(1, 1));
    // 2^23 is a sum for 32 bits, but not for what is left of them.
    let bias = |value: i32| {
        move |b: &mut Blob<'static>| {
            let at = step!(b, 1, FullyConnected).requantization.bias.offset as usize + 4;
            b.constants[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    };
    assert_eq!(refusal(packed(), bias(1 << 23)), fault(1, 1));
    assert_eq!(refusal(packed(), bias(-(1 << 23))), fault(1, 1));
    let shift = |value: i8| {
        move |b: &mut Blob<'static>| {
            let at = step!(b, 1, FullyConnected).requantization.shift.offset as usize + 1;
            b.constants[at] = value as u8;
        }
    };
    assert_eq!(refusal(packed(), shift(1)), fault(1, 1));
    assert_eq!(refusal(packed(), shift(-23)), fault(1, 1));
    let mut fits = packed();
    shift(-22)(&mut fits);
    bias((1 << 23) - 255 * 7 * 96)(&mut fits);
    assert!(Model::parse(AlignedBytes::new(&fits.encode()).as_slice()).is_ok());
    // int16 sums need more than 32 bits.
    let error = refusal(int16(), |b| {
        let dense = step!(b, 7, FullyConnected);
        dense.packing = Packing::Pairs;
        dense.weights.bytes = 32;
    });
    assert_eq!(error, fault(7, 3));
}

#[test]
fn constants() {
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).weights.offset = 1 << 20);
    assert_eq!(error, DecodeError::ConstantOutOfBounds { place: at(0), offset: 1 << 20, bytes: 36 });
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).weights.offset = u32::MAX);
    assert_eq!(error, DecodeError::ConstantOutOfBounds { place: at(0), offset: u32::MAX, bytes: 36 });
    let error = refusal(classifier(), |b| step!(b, 2, FullyConnected).requantization.bias.offset += 4);
    assert!(matches!(error, DecodeError::ConstantMisaligned { place: Place::Operator(2), .. }));
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).weights.bytes = 35);
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 36, given: 35 });
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).requantization.multiplier.bytes = 12);
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 16, given: 12 });
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).requantization.shift.bytes = 3);
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 4, given: 3 });
    let error = refusal(operators(), |b| step!(b, 10, Lut).table.bytes = 255);
    assert_eq!(error, DecodeError::ConstantLength { place: at(10), needed: 256, given: 255 });
    let error = refusal(operators(), |b| step!(b, 12, ResizeNearest).columns.bytes = 6);
    assert_eq!(error, DecodeError::ConstantLength { place: at(12), needed: 12, given: 6 });
    let error = refusal(operators(), |b| step!(b, 13, Load).values.bytes = 5);
    assert_eq!(error, DecodeError::ConstantLength { place: at(13), needed: 6, given: 5 });
}

#[test]
fn tensors() {
    let error = refusal(classifier(), |b| b.arena_bytes = 83);
    assert_eq!(error, DecodeError::ArenaTooSmall { place: at(0), needed: 84, given: 83 });
    let error = refusal(classifier(), |b| b.plan.output.offset = u32::MAX);
    assert_eq!(error, DecodeError::ArenaTooSmall { place: Place::Output, needed: u32::MAX, given: 96 });
    let error = refusal(classifier(), |b| b.plan.input.shape = Shape::new(1 << 16, 1 << 16, 1 << 16));
    assert_eq!(error, DecodeError::ArenaTooSmall { place: Place::Input, needed: u32::MAX, given: 96 });
    let error = refusal(classifier(), |b| b.plan.input.shape.width = 0);
    assert_eq!(error, DecodeError::EmptyTensor { place: Place::Input });
    for scale in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN] {
        let error = refusal(classifier(), |b| step!(b, 1, Mean).output.scale = scale);
        assert_eq!(error, DecodeError::Scale { place: at(1) }, "{scale}");
    }
}

#[test]
fn data_flow() {
    let missing = |operator, offset| DecodeError::NotProduced { place: at(operator), offset };
    let change_of_input: [fn(&mut Tensor); 4] =
        [|t| t.offset -= 1, |t| t.zero_point += 1, |t| t.scale *= 2.0, |t| (t.shape.height, t.shape.width) = (1, 9)];
    for change in change_of_input {
        let mut offset = 0;
        let error = refusal(classifier(), |b| {
            change(&mut step!(b, 1, Mean).input);
            offset = step!(b, 1, Mean).input.offset;
        });
        assert_eq!(error, missing(1, offset));
    }
    // Nobody has written byte 84 of the arena.
    assert_eq!(refusal(classifier(), |b| step!(b, 2, FullyConnected).input.offset = 84), missing(2, 84));
    // The second pool's output is moved over the first's, which the concatenation reads later.
    let error = refusal(operators(), |b| step!(b, 4, Pool2d).output.offset = 31);
    assert_eq!(error, missing(5, 0));
    // In place, but not by rows: a dense layer reads all of its input for each output.
    let error = refusal(classifier(), |b| step!(b, 2, FullyConnected).output.offset = 1);
    assert_eq!(error, DecodeError::Overlap { operator: 2 });
    let error = refusal(operators(), |b| step!(b, 1, Add).output.offset = 65);
    assert_eq!(error, DecodeError::Overlap { operator: 1 });
    let error = refusal(operators(), |b| step!(b, 10, Lut).output.offset = 1);
    assert_eq!(error, DecodeError::Overlap { operator: 10 });
    let error = refusal(classifier(), |b| b.plan.output.offset = 17);
    assert_eq!(error, DecodeError::NotProduced { place: Place::Output, offset: 17 });
    let error = refusal(classifier(), |b| b.plan.output.zero_point = 0);
    assert_eq!(error, DecodeError::NotProduced { place: Place::Output, offset: 16 });
    let error = refusal(autoencoder(), |b| {
        step!(b, 1, FullyConnected).output.offset = 0;
        b.plan.output.offset = 0;
    });
    assert_eq!(error, DecodeError::InputOverwritten { operator: 1 });
}

/// Three rows of 12 bytes from six of 6: the windows of the first end behind row 2, those of the last begin at row 3.
#[test]
fn outputs_over_inputs() {
    let moved = |input: u32, output: u32| {
        let mut blob = classifier();
        blob.plan.input.offset = input;
        (step!(blob, 0, Conv2d).input.offset, step!(blob, 0, Conv2d).output.offset) = (input, output);
        step!(blob, 1, Mean).input.offset = output;
        step!(blob, 1, Mean).output.offset = 88;
        step!(blob, 2, FullyConnected).input.offset = 88;
        step!(blob, 2, FullyConnected).output.offset = 0;
        blob.plan.output.offset = 0;
        let bytes = AlignedBytes::new(&blob.encode());
        Model::parse(bytes.as_slice()).err()
    };
    let overlap = Some(DecodeError::Overlap { operator: 0 });
    // Upwards row 0 begins where row 1 ends; downwards row 1, to byte 24, ends where row 1 begins.
    assert_eq!((moved(0, 12), moved(0, 11)), (None, overlap));
    assert_eq!((moved(18, 0), moved(17, 0)), (None, overlap));
    assert_eq!(moved(4, 4), overlap);
}

/// Rows of a tensor are copied in two bands, and both are read as one tensor.
fn banded() -> Blob<'static> {
    let mut blob = classifier();
    let tensor = |offset, shape| Tensor { offset, shape, scale: 1.0, zero_point: 0 };
    let (half, whole) = (Shape::new(2, 2, 1), Shape::new(4, 2, 1));
    let copy = |input, output| Operator::Reshape(Reshape { input, output });
    blob.operators = vec![
        copy(tensor(0, half), tensor(8, half)),
        copy(tensor(4, half), tensor(12, half)),
        copy(tensor(8, whole), tensor(16, Shape::new(1, 1, 8))),
    ];
    blob.plan.front_end = FrontEnd::Raw;
    blob.plan.detector = Detector::None;
    (blob.plan.input, blob.plan.output) = (tensor(0, whole), tensor(16, Shape::new(1, 1, 8)));
    blob.constants.clear();
    blob.arena_bytes = 32;
    blob
}

#[test]
fn rows() {
    let bytes = AlignedBytes::new(&banded().encode());
    assert!(Model::parse(bytes.as_slice()).is_ok(), "{:?}", Model::parse(bytes.as_slice()).err());
    let missing = |operator, offset| DecodeError::NotProduced { place: at(operator), offset };
    // Not a row's begin; rows of another width; another scale.
    assert_eq!(refusal(banded(), |b| step!(b, 0, Reshape).input.offset = 1), missing(0, 1));
    assert_eq!(refusal(banded(), |b| step!(b, 1, Reshape).input.shape = Shape::new(1, 4, 1)), missing(1, 4));
    assert_eq!(refusal(banded(), |b| step!(b, 1, Reshape).input.shape = Shape::new(2, 1, 2)), missing(1, 4));
    let error = refusal(banded(), |b| {
        (step!(b, 0, Reshape).input.scale, step!(b, 0, Reshape).output.scale) = (2.0, 2.0);
    });
    assert_eq!(error, missing(0, 0));
    // A row that nobody has written lies between the bands, or behind them, or the second is missing.
    assert_eq!(refusal(banded(), |b| step!(b, 1, Reshape).output.offset = 14), missing(2, 8));
    let error = refusal(banded(), |b| {
        (step!(b, 2, Reshape).input.offset, step!(b, 2, Reshape).output.offset) = (10, 20);
    });
    assert_eq!(error, missing(2, 10));
    assert_eq!(refusal(banded(), |b| drop(b.operators.remove(1))), missing(1, 8));
    // The second band lies in the rows, but not on one; or a byte of the first is written over by something else.
    assert_eq!(refusal(banded(), |b| step!(b, 1, Reshape).output.offset = 11), missing(2, 8));
    let other = |offset| Tensor { offset, shape: Shape::new(1, 4, 1), scale: 1.0, zero_point: 0 };
    let error = refusal(banded(), |b| {
        let input = step!(b, 0, Reshape).input;
        b.operators.insert(2, Operator::Reshape(Reshape { input, output: other(8) }));
    });
    assert_eq!(error, missing(3, 8));
}

#[test]
fn windows() {
    let window = DecodeError::Window { operator: 0 };
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.kernel_height = 0), window);
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.stride_width = 0), window);
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.dilation_height = 0), window);
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.padding_left = 4), window);
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.kernel_width = 8), window);
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.dilation_width = u16::MAX), window);
    let shape = DecodeError::Shape { operator: 0 };
    assert_eq!(refusal(classifier(), |b| step!(b, 0, Conv2d).window.stride_width = 1), shape);
    assert_eq!(refusal(operators(), |b| step!(b, 0, DepthwiseConv2d).window.dilation_height = 1), shape);
    let window = |operator| DecodeError::Window { operator };
    assert_eq!(refusal(operators(), |b| step!(b, 2, TransposeConv2d).window.dilation_width = 2), window(2));
    assert_eq!(refusal(operators(), |b| step!(b, 2, TransposeConv2d).window.padding_top = 3), window(2));
    assert_eq!(
        refusal(operators(), |b| step!(b, 2, TransposeConv2d).window.stride_width = 1),
        DecodeError::Shape { operator: 2 }
    );
    // A window of the pool would hold padding only.
    let padded = |b: &mut Blob<'static>| {
        let window = &mut step!(b, 3, Pool2d).window;
        (window.padding_left, window.padding_right, window.stride_width) = (2, 1, 3);
    };
    assert_eq!(refusal(operators(), padded), window(3));
}

#[test]
fn shapes() {
    let shape = |operator| DecodeError::Shape { operator };
    let swap = |t: &mut Tensor| (t.shape.height, t.shape.channels) = (t.shape.channels, t.shape.height);
    assert_eq!(refusal(operators(), |b| swap(&mut step!(b, 1, Add).output)), shape(1));
    // A dimension is repeated only where it is 1, and the output has the larger of the two.
    let error = refusal(operators(), |b| {
        let columns = samples::tensor(0, 1, 3, 2);
        (step!(b, 13, Load).output, step!(b, 14, Mul).input_b) = (columns, columns);
    });
    assert_eq!(error, shape(14));
    assert_eq!(refusal(operators(), |b| swap(&mut step!(b, 16, Sub).output)), shape(16));
    assert_eq!(refusal(operators(), |b| step!(b, 5, Concat).axis = 0), shape(5));
    assert_eq!(refusal(operators(), |b| step!(b, 7, Pad).top = 2), shape(7));
    assert_eq!(refusal(operators(), |b| step!(b, 9, Reshape).output.shape.channels = 17), shape(9));
    assert_eq!(refusal(operators(), |b| step!(b, 12, ResizeNearest).output.shape.channels = 1), shape(12));
    assert_eq!(refusal(classifier(), |b| step!(b, 1, Mean).output.shape.channels = 3), shape(1));
    assert_eq!(refusal(operators(), |b| swap(&mut step!(b, 10, Lut).output)), shape(10));
    assert_eq!(refusal(operators(), |b| step!(b, 19, Softmax).output.shape.channels = 2), shape(19));
    let parameter = |operator| DecodeError::Parameter { operator };
    assert_eq!(refusal(operators(), |b| step!(b, 5, Concat).axis = 3), parameter(5));
    assert_eq!(refusal(operators(), |b| step!(b, 5, Concat).inputs.clear()), parameter(5));
    // The table's first row is one that the input does not have.
    let error = refusal(operators(), |b| {
        let rows = step!(b, 12, ResizeNearest).rows.offset as usize;
        b.constants[rows] = 3;
    });
    assert_eq!(error, parameter(12));
    assert_eq!(refusal(operators(), |b| step!(b, 1, Add).left_shift = 23), parameter(1));
    assert_eq!(refusal(operators(), |b| step!(b, 19, Softmax).difference_min = 1), parameter(19));
}

#[test]
fn quantization() {
    let differ = |operator| DecodeError::Quantization { operator };
    let double = |t: &mut Tensor| t.scale *= 2.0;
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 3, Pool2d).output)), differ(3));
    assert_eq!(refusal(operators(), |b| step!(b, 4, Pool2d).output.zero_point = 0), differ(4));
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 5, Concat).output)), differ(5));
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 7, Pad).output)), differ(7));
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 9, Reshape).output)), differ(9));
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 12, ResizeNearest).output)), differ(12));
    assert_eq!(refusal(operators(), |b| double(&mut step!(b, 19, Softmax).output)), differ(19));
    let activation = |operator| DecodeError::Activation { operator };
    assert_eq!(refusal(operators(), |b| step!(b, 1, Add).activation_min = 101), activation(1));
    assert_eq!(
        refusal(operators(), |b| (step!(b, 8, Pool2d).activation_min, step!(b, 8, Pool2d).activation_max) = (1, 0)),
        activation(8)
    );
    assert_eq!(
        refusal(classifier(), |b| {
            let requantization = &mut step!(b, 0, Conv2d).requantization;
            (requantization.activation_min, requantization.activation_max) = (-127, -128);
        }),
        activation(0)
    );
}

/// Overwrites an i32 of a constant.
fn set_i32(blob: &mut Blob<'static>, constant: neji_format::Constant, index: usize, value: i32) {
    let start = constant.offset as usize + 4 * index;
    blob.constants[start..start + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn multipliers() {
    let bad = |operator, channel| DecodeError::Multiplier { operator, channel };
    for value in [-1, 1, (1 << 29) - 1, i32::MIN] {
        let error = refusal(classifier(), |b| {
            let constant = step!(b, 0, Conv2d).requantization.multiplier;
            set_i32(b, constant, 2, value);
        });
        assert_eq!(error, bad(0, 2), "{value}");
    }
    for shift in [31, 127, -32, -128_i8] {
        let error = refusal(classifier(), |b| {
            let start = step!(b, 2, FullyConnected).requantization.shift.offset as usize;
            b.constants[start + 1] = shift as u8;
        });
        assert_eq!(error, bad(2, 1), "{shift}");
    }
    let small = Multiplier { multiplier: 7, shift: 0 };
    assert_eq!(refusal(classifier(), |b| step!(b, 1, Mean).multiplier = small), bad(1, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 8, Pool2d).multiplier = small), bad(8, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 1, Add).multiplier_b.shift = 1), bad(1, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 1, Add).output_multiplier = small), bad(1, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 19, Softmax).multiplier.shift = -1), bad(19, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 19, Softmax).multiplier = small), bad(19, 0));
}

#[test]
fn sums() {
    let overflow = |operator, channel| DecodeError::AccumulatorOverflow { operator, channel };
    for bias in [i32::MAX, i32::MIN, i32::MAX - 8191] {
        let error = refusal(classifier(), |b| {
            let constant = step!(b, 0, Conv2d).requantization.bias;
            set_i32(b, constant, 3, bias);
        });
        assert_eq!(error, overflow(0, 3), "{bias}");
    }
    // A left shift by 20 of a sum that may reach 9 weights * 255.
    let error = refusal(classifier(), |b| {
        let start = step!(b, 0, Conv2d).requantization.shift.offset as usize;
        b.constants[start + 1] = 20;
    });
    assert_eq!(error, overflow(0, 1));
    assert_eq!(refusal(classifier(), |b| step!(b, 1, Mean).multiplier.shift = 20), overflow(1, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 8, Pool2d).multiplier.shift = 22), overflow(8, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 1, Add).output_multiplier.shift = 4), overflow(1, 0));
    // 255 * 255 * 2^15 is below 2^31, twice that is not.
    assert_eq!(refusal(operators(), |b| step!(b, 14, Mul).multiplier.shift = 16), overflow(14, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 16, Sub).output_multiplier.shift = 6), overflow(16, 0));
    assert_eq!(refusal(operators(), |b| step!(b, 19, Softmax).multiplier.shift = 24), overflow(19, 0));
}

/// A blob of one operator that reads `input` at the beginning of the arena.
fn single(input: Tensor, output: Tensor, operator: Operator) -> Blob<'static> {
    let mut blob = classifier();
    blob.plan.front_end = FrontEnd::Raw;
    blob.plan.detector = Detector::None;
    (blob.plan.input, blob.plan.output) = (input, output);
    blob.operators = vec![operator];
    blob.arena_bytes = ARENA_BYTES_MAX;
    blob
}

/// The exact edge of what a dense layer may sum: n weights of -128 times 255.
#[test]
fn sum_at_its_edge() {
    // floor((2^31 - 8192) / (128 * 255)) = 65792.9: 65,792 inputs pass, 65,793 do not.
    for (features, fits) in [(65_792_u32, true), (65_793, false)] {
        let mut blob = classifier();
        let input = samples::tensor(0, 1, 1, features);
        let output = samples::tensor(1 << 20, 1, 1, 1);
        let mut dense = *step!(blob, 2, FullyConnected);
        (dense.input, dense.output) = (input, output);
        let mut constants = Vec::new();
        dense.weights = neji_format::push_constant(&mut constants, &vec![0x80; features as usize]);
        dense.requantization.bias = neji_format::push_constant(&mut constants, &[0; 4]);
        dense.requantization.multiplier = neji_format::push_constant(&mut constants, &(1_i32 << 30).to_le_bytes());
        dense.requantization.shift = neji_format::push_constant(&mut constants, &[0]);
        let mut blob = single(input, output, Operator::FullyConnected(dense));
        blob.constants = constants;
        let bytes = AlignedBytes::new(&blob.encode());
        let error = Model::parse(bytes.as_slice()).err();
        let expected = DecodeError::AccumulatorOverflow { operator: 0, channel: 0 };
        assert_eq!(error, (!fits).then_some(expected), "{features}");
    }
}

#[test]
fn softmax_of_too_many_channels() {
    for (channels, fits) in [(4095, true), (4096, false)] {
        let [input, output] = [samples::tensor(0, 1, 1, channels), samples::tensor(8192, 1, 1, channels)];
        let mut samples = operators();
        let mut softmax = *step!(samples, 19, Softmax);
        (softmax.input, softmax.output) = (input, output);
        let bytes = AlignedBytes::new(&single(input, output, Operator::Softmax(softmax)).encode());
        assert_eq!(Model::parse(bytes.as_slice()).is_ok(), fits, "{channels}");
    }
}

#[test]
fn pool_of_too_large_a_window() {
    let [input, output] = [samples::tensor(0, 4000, 4000, 1), samples::tensor(1 << 25, 1, 1, 1)];
    let mut samples = operators();
    let mut pool = *step!(samples, 4, Pool2d);
    (pool.input, pool.output, pool.window) = (input, output, samples::window(4000, 1, 0));
    for (kind, fits) in [(PoolKind::Average, false), (PoolKind::Sum, false), (PoolKind::Max, true)] {
        pool.kind = kind;
        let bytes = AlignedBytes::new(&single(input, output, Operator::Pool2d(pool)).encode());
        assert_eq!(Model::parse(bytes.as_slice()).is_ok(), fits, "{kind:?}");
    }
}

fn alignment<'b>(blob: &'b mut Blob<'_>) -> &'b mut Alignment {
    match &mut blob.plan.front_end {
        FrontEnd::Image(image) => image.alignment.as_mut().unwrap(),
        FrontEnd::Raw | FrontEnd::LogMel(_) => panic!("the sample has an image front end"),
    }
}

#[test]
fn templates_have_as_many_pixels_as_the_strip() {
    let error = refusal(autoencoder(), |b| alignment(b).registration.as_mut().unwrap().template.bytes -= 1);
    assert_eq!(error, DecodeError::ConstantLength { place: Place::FrontEnd, needed: 32, given: 31 });
    let error = refusal(autoencoder(), |b| alignment(b).registration.as_mut().unwrap().template.offset = 1 << 20);
    let place = Place::FrontEnd;
    assert_eq!(error, DecodeError::ConstantOutOfBounds { place, offset: 1 << 20, bytes: 32 });
}

#[test]
fn front_end() {
    let fault = |change: fn(&mut ImageFrontEnd)| {
        let error = refusal(autoencoder(), |b| match &mut b.plan.front_end {
            FrontEnd::Image(image) => change(image),
            FrontEnd::Raw | FrontEnd::LogMel(_) => panic!("the sample has an image front end"),
        });
        let DecodeError::FrontEnd(fault) = error else { panic!("{error}") };
        fault
    };
    assert_eq!(fault(|f| f.sensor.width = 0), FrontEndFault::Sensor);
    assert_eq!(fault(|f| (f.sensor.width, f.sensor.height) = (4097, 4096)), FrontEndFault::Sensor);
    assert_eq!(fault(|f| f.crop.x = 9), FrontEndFault::Crop);
    assert_eq!(fault(|f| f.crop.y = u16::MAX), FrontEndFault::Crop);
    assert_eq!(fault(|f| f.crop.height = 0), FrontEndFault::Crop);
    assert_eq!(fault(|f| f.resize.width = 33), FrontEndFault::Resize);
    assert_eq!(fault(|f| f.resize.height = 0), FrontEndFault::Resize);
    assert_eq!(fault(|f| f.saturated_max = 1001), FrontEndFault::Saturated);
    for (percent, target) in [(0, 200), (101, 200), (50, 0)] {
        let error = refusal(autoencoder(), |b| match &mut b.plan.front_end {
            FrontEnd::Image(image) => image.photometric = Photometric::Percentile { percent, target },
            FrontEnd::Raw | FrontEnd::LogMel(_) => panic!("the sample has an image front end"),
        });
        assert_eq!(error, DecodeError::FrontEnd(FrontEndFault::Photometric));
    }
    assert_eq!(fault(|f| f.alignment.as_mut().unwrap().strip.width = 0), FrontEndFault::Strip);
    assert_eq!(fault(|f| f.alignment.as_mut().unwrap().area_min = 0), FrontEndFault::Area);
    assert_eq!(fault(|f| f.alignment.as_mut().unwrap().area_min = 101), FrontEndFault::Area);
    assert_eq!(fault(|f| f.alignment.as_mut().unwrap().length = 0), FrontEndFault::Extent);
    assert_eq!(fault(|f| f.alignment.as_mut().unwrap().breadth = (1 << 24) + 1), FrontEndFault::Extent);
    for change in [
        (|r: &mut Registration, _| r.rounds = 0) as fn(&mut Registration, &mut Size),
        |r, _| r.rounds = 9,
        |r, _| r.directions = 7,
        |r, _| r.correlation_min = 1001,
        |r, _| r.correlation_min = -1001,
        |_, strip| *strip = Size { width: 257, height: 256 },
    ] {
        let error = refusal(autoencoder(), |b| {
            let alignment = alignment(b);
            change(alignment.registration.as_mut().unwrap(), &mut alignment.strip);
        });
        assert_eq!(error, DecodeError::FrontEnd(FrontEndFault::Registration));
    }
    assert_eq!(fault(|f| f.quantize.multiplier = 1), FrontEndFault::Quantize);
    assert_eq!(fault(|f| f.quantize.shift = 24), FrontEndFault::Quantize);
    assert_eq!(fault(|f| f.alignment = None), FrontEndFault::OutputLength { needed: 32, given: 192 });
}

#[test]
fn sound() {
    type Change = fn(&mut LogMelFrontEnd, &mut Vec<u8>);
    let error = |change: Change| {
        refusal(listener(), |b| match &mut b.plan.front_end {
            FrontEnd::LogMel(config) => change(config, &mut b.constants),
            FrontEnd::Raw | FrontEnd::Image(_) => panic!("the sample has a sound front end"),
        })
    };
    let cases: [(Change, FrontEndFault); 25] = [
        (|f, _| f.sample_rate = 0, FrontEndFault::Frame),
        (|f, _| f.fft_len = 8, FrontEndFault::Frame),
        (|f, _| f.fft_len = 24, FrontEndFault::Frame),
        (|f, _| f.fft_len = 16384, FrontEndFault::Frame),
        (|f, _| f.hop = 0, FrontEndFault::Frame),
        (|f, _| f.context = 0, FrontEndFault::Frame),
        (|f, _| f.stride = 0, FrontEndFault::Frame),
        (|f, _| f.axes = 0, FrontEndFault::Axes),
        (|f, _| f.axes = 7, FrontEndFault::Axes),
        (|f, _| f.transform = Transform::Envelope { decimation: 0 }, FrontEndFault::Decimation),
        (|f, _| f.transform = Transform::Envelope { decimation: 1025 }, FrontEndFault::Decimation),
        (|f, _| f.context = u16::MAX, FrontEndFault::OutputLength { needed: 8, given: 4 * 65_535 }),
        (|f, _| f.saturated_max = 1001, FrontEndFault::Saturated),
        (|f, c| change_word(c, f.sine, 3, (1 << 30) + 1), FrontEndFault::Sine),
        (|f, c| change_word(c, f.sine, 3, i32::MIN), FrontEndFault::Sine),
        (|f, _| f.bands.bytes = 0, FrontEndFault::Band(0)),
        (|f, c| change_half(c, f.bands, 9, 7), FrontEndFault::Band(3)),
        (|f, c| change_half(c, f.bands, 4, 65), FrontEndFault::Band(1)),
        (|f, c| change_half(c, f.bands, 6, u16::MAX), FrontEndFault::Band(2)),
        (|f, _| f.epsilon.mantissa = 0, FrontEndFault::Epsilon),
        (|f, _| f.epsilon.shift = 257, FrontEndFault::Epsilon),
        (|f, _| f.quantizers.bytes = 0, FrontEndFault::Quantizer(0)),
        (|f, c| change_word(c, f.quantizers, 1, -1), FrontEndFault::Quantizer(0)),
        (|f, c| change_word(c, f.quantizers, 2, 1), FrontEndFault::Quantizer(0)),
        (|f, c| change_word(c, f.quantizers, 2, 256 - 15), FrontEndFault::Quantizer(0)),
    ];
    for (index, (change, fault)) in cases.into_iter().enumerate() {
        assert_eq!(error(change), DecodeError::FrontEnd(fault), "case {index}");
    }
    assert_eq!(
        error(|f, _| f.context = 3),
        DecodeError::FrontEnd(FrontEndFault::OutputLength { needed: 8, given: 12 })
    );
    // A waveform has neither bands nor their tables, and as many features as samples.
    let given = refusal(listener(), |b| match &mut b.plan.front_end {
        FrontEnd::LogMel(f) => {
            f.transform = Transform::Waveform;
            (f.window.bytes, f.sine.bytes, f.weights.bytes, f.bands.bytes) = (0, 0, 0, 0);
        }
        FrontEnd::Raw | FrontEnd::Image(_) => panic!("the sample has a sound front end"),
    });
    assert_eq!(given, DecodeError::FrontEnd(FrontEndFault::OutputLength { needed: 8, given: 32 }));
    let lengths: [(Change, u32, u32); 8] = [
        (|f, _| f.transform = Transform::Waveform, 0, 32),
        (|f, _| (f.transform, f.window.bytes, f.sine.bytes) = (Transform::Waveform, 0, 4), 0, 4),
        (|f, _| f.window.bytes = 30, 32, 30),
        (|f, _| f.sine.bytes = 16, 20, 16),
        (|f, _| f.fft_len = 32, 64, 32),
        (|f, _| f.bands.bytes = 23, 18, 23),
        (|f, _| f.weights.bytes = 22, 24, 22),
        (|f, _| f.quantizers.bytes = 13, 12, 13),
    ];
    for (change, needed, given) in lengths {
        assert_eq!(error(change), DecodeError::ConstantLength { place: Place::FrontEnd, needed, given });
    }
    let outside = error(|f, _| f.weights.offset = 1 << 20);
    assert!(matches!(outside, DecodeError::ConstantOutOfBounds { place: Place::FrontEnd, .. }), "{outside}");
}

#[test]
fn statistics_of_sound() {
    type Change = fn(&mut LogMelFrontEnd);
    let error = |change: Change| {
        refusal(statistics(), |b| match &mut b.plan.front_end {
            FrontEnd::LogMel(config) => change(config),
            FrontEnd::Raw | FrontEnd::Image(_) => panic!("the sample has a sound front end"),
        })
    };
    let windows: [Change; 7] = [
        |f| (f.context, f.stride) = (8193, 1),
        |f| (f.context, f.stride) = (8193, 8193),
        |f| (f.context, f.stride) = (2, 4),
        |f| (f.context, f.stride) = (6, 4),
        |f| (f.context, f.stride) = (65535, 65535),
        // Single frames have no differences.
        |f| f.stride = 1,
        |f| (f.context, f.stride) = (1, 1),
    ];
    for (index, change) in windows.into_iter().enumerate() {
        assert_eq!(error(change), DecodeError::FrontEnd(FrontEndFault::Statistics), "window {index}");
    }
    // Two sets of twelve, or one for all.
    assert_eq!(error(|f| f.quantizers.bytes = 12 * 12), DecodeError::FrontEnd(FrontEndFault::Quantizer(12)));
    assert_eq!(error(|f| f.quantizers.bytes = 4 * 12), DecodeError::FrontEnd(FrontEndFault::Quantizer(4)));
    let lengths: [(Change, u32); 4] = [
        (|f| (f.quantizers.bytes, f.statistics) = (12, None), 16),
        (|f| (f.quantizers.bytes, f.context) = (12, 8), 60),
        (|f| (f.quantizers.bytes, kind(f).differences) = (12, false), 24),
        (|f| (f.quantizers.bytes, kind(f).blocks) = (12, false), 12),
    ];
    for (change, given) in lengths {
        assert_eq!(error(change), DecodeError::FrontEnd(FrontEndFault::OutputLength { needed: 36, given }));
    }
}

fn kind(config: &mut LogMelFrontEnd) -> &mut WindowStatistics {
    config.statistics.as_mut().expect("the sample has statistics")
}

/// Changes word `index` of a constant of i32.
fn change_word(constants: &mut [u8], constant: Constant, index: usize, value: i32) {
    constants[constant.offset as usize + 4 * index..][..4].copy_from_slice(&value.to_le_bytes());
}

/// Changes half word `index` of a constant of u16.
fn change_half(constants: &mut [u8], constant: Constant, index: usize, value: u16) {
    constants[constant.offset as usize + 2 * index..][..2].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn detector() {
    let residual = |change: fn(&mut Reconstruction)| {
        refusal(autoencoder(), |b| match &mut b.plan.detector {
            Detector::Reconstruction(params) => change(params),
            other => panic!("the sample's detector is {other:?}"),
        })
    };
    let fault = DecodeError::Detector;
    assert_eq!(residual(|d| d.output_to_residual.multiplier = -1), fault(DetectorFault::Multiplier));
    assert_eq!(residual(|d| d.output_to_residual.shift = 30), fault(DetectorFault::Multiplier));
    assert_eq!(residual(|d| d.pooling.smooth_radius = 3), fault(DetectorFault::SmoothRadius));
    assert_eq!(residual(|d| d.pooling.top_k = 65), fault(DetectorFault::TopK));
    let error = residual(|d| match &mut d.weights {
        Weights::Elements(weights) => weights.bytes = 62,
        other => panic!("the sample's weights are {other:?}"),
    });
    assert_eq!(error, DecodeError::ConstantLength { place: Place::Detector, needed: 64, given: 62 });
    let error = refusal(autoencoder(), |b| {
        step!(b, 1, FullyConnected).output.shape = Shape::new(8, 4, 1);
        b.plan.output.shape = Shape::new(8, 4, 1);
    });
    assert_eq!(error, fault(DetectorFault::Shape));

    let classes = |classes| refusal(classifier(), |b| b.plan.provenance.classes = classes);
    assert_eq!(classes("good\nrust"), fault(DetectorFault::ClassNames { needed: 3, given: 2 }));
    let error = refusal(classifier(), |b| {
        let score = ClassifierScore::Margin;
        b.plan.detector = Detector::Classifier(neji_format::Classifier { normal_class: 3, score });
    });
    assert_eq!(error, fault(DetectorFault::NormalClass));
    let error = refusal(autoencoder(), |b| b.plan.detector = classifier().plan.detector);
    assert_eq!(error, fault(DetectorFault::Classes));
}

#[test]
fn predicted_weights_need_the_rows_that_say_them() {
    let predict = |blob: &mut Blob<'static>, bytes: u32| match &mut blob.plan.detector {
        Detector::Reconstruction(params) => {
            let table = neji_format::push_constant(&mut blob.constants, &[0; 512]);
            params.weights = Weights::Predicted(Constant { bytes, ..table });
        }
        other => panic!("the sample's detector is {other:?}"),
    };
    let error = refusal(autoencoder(), |b| predict(b, 512));
    assert_eq!(error, DecodeError::Detector(DetectorFault::Shape));
    // Four features and what says their deviations are eight rows of one.
    let twice = || {
        let mut blob = covariance();
        blob.plan.detector = autoencoder().plan.detector;
        (blob.plan.input.shape, blob.plan.output.shape) = (Shape::new(1, 1, 4), Shape::new(2, 1, 4));
        blob.plan.output.offset = 4;
        blob.operators = vec![neji_format::Operator::Concat(neji_format::Concat {
            inputs: [blob.plan.input; 2].into_iter().collect(),
            output: blob.plan.output,
            axis: 0,
        })];
        blob
    };
    let error = refusal(twice(), |b| predict(b, 510));
    assert_eq!(error, DecodeError::ConstantLength { place: Place::Detector, needed: 512, given: 510 });
}

#[test]
fn detectors_of_distances() {
    let length = |needed, given| DecodeError::ConstantLength { place: Place::Detector, needed, given };
    let fault = DecodeError::Detector;
    let distance = |change: fn(&mut Mahalanobis)| {
        refusal(covariance(), |b| match &mut b.plan.detector {
            Detector::Distance(Distance::Mahalanobis(params)) => change(params),
            other => panic!("the sample's detector is {other:?}"),
        })
    };
    assert_eq!(distance(|d| d.shift = 31), fault(DetectorFault::Shift));
    assert_eq!(distance(|d| d.pooling.top_k = 65), fault(DetectorFault::TopK));
    assert_eq!(distance(|d| d.means.bytes = 22), length(24, 22));
    assert_eq!(distance(|d| d.weights.bytes = 26), length(24, 26));
    assert_eq!(distance(|d| d.shared = true), length(6, 24));
    assert_eq!(distance(|d| d.shares.bytes = 3), fault(DetectorFault::Rank));
    assert_eq!(distance(|d| d.shares.bytes = 514), fault(DetectorFault::Rank));
    assert_eq!(distance(|d| d.shares.bytes = 2), length(24, 48));
    let nearest = |change: fn(&mut Mixture)| {
        refusal(mixture(), |b| match &mut b.plan.detector {
            Detector::Distance(Distance::Mixture(params)) => change(params),
            other => panic!("the sample's detector is {other:?}"),
        })
    };
    assert_eq!(nearest(|d| d.shift = 31), fault(DetectorFault::Shift));
    assert_eq!(nearest(|d| d.pooling.smooth_radius = 3), fault(DetectorFault::SmoothRadius));
    assert_eq!(nearest(|d| d.means.bytes = 5), fault(DetectorFault::Components));
    assert_eq!(nearest(|d| d.means.bytes = 6 * 1025), fault(DetectorFault::Components));
    assert_eq!(nearest(|d| d.means.bytes = 23), length(18, 23));
    assert_eq!(nearest(|d| d.biases.bytes = 12), length(16, 12));
    assert_eq!(nearest(|d| d.weights.bytes = 12), length(24, 12));
    let fused = |change: fn(&mut Fusion)| {
        refusal(fusion(), |b| match &mut b.plan.detector {
            Detector::Fusion(params) => change(params),
            other => panic!("the sample's detector is {other:?}"),
        })
    };
    assert_eq!(fused(|d| d.rows = 0), fault(DetectorFault::Rows));
    assert_eq!(fused(|d| d.rows = 2), fault(DetectorFault::Rows));
    assert_eq!(fused(|d| d.rows = 3), fault(DetectorFault::Rows));
}

#[test]
fn int16_activations() {
    let element = |operator| DecodeError::Element { place: at(operator) };
    assert_eq!(refusal(int16(), |b| step!(b, 3, Pool2d).output.offset = 1), element(3));
    assert_eq!(refusal(int16(), |b| step!(b, 1, DepthwiseConv2d).output.zero_point = 1), element(1));
    assert_eq!(refusal(int16(), |b| b.arena_bytes = 129), DecodeError::Element { place: Place::Input });
    // What int8 alone has, and int16 alone.
    let error = refusal(int16(), |b| {
        let (input, output) = (step!(b, 4, Sigmoid).input, step!(b, 4, Sigmoid).output);
        let mut samples = operators();
        let lut = neji_format::Lut { input, output, ..*step!(samples, 10, Lut) };
        b.operators[4] = Operator::Lut(lut);
    });
    assert_eq!(error, element(4));
    let error = refusal(int16(), |b| {
        b.plan.element = Element::I8;
        let sigmoid = b.operators[4].clone();
        b.operators = vec![sigmoid];
        b.plan.input = step!(b, 0, Sigmoid).input;
    });
    assert_eq!(error, element(0));
    // 8-byte biases are for int16.
    let error = refusal(int16(), |b| {
        b.plan.element = Element::I8;
        b.operators.truncate(1);
        step!(b, 0, Conv2d).requantization.activation_min = -128;
        step!(b, 0, Conv2d).requantization.activation_max = 127;
    });
    assert_eq!(error, DecodeError::ConstantLength { place: at(0), needed: 8, given: 16 });
    let error = refusal(classifier(), |b| step!(b, 0, Conv2d).requantization.activation_max = 128);
    assert_eq!(error, DecodeError::Activation { operator: 0 });
    assert_eq!(refusal(int16(), |b| step!(b, 4, Sigmoid).multiplier = 0), DecodeError::Parameter { operator: 4 });
    assert_eq!(refusal(int16(), |b| step!(b, 4, Sigmoid).shift = 31), DecodeError::Parameter { operator: 4 });
    let tanh = neji_format::LutFunction::Relu;
    assert_eq!(refusal(int16(), |b| step!(b, 4, Sigmoid).function = tanh), DecodeError::Parameter { operator: 4 });
}

/// Sums of 64 bits from both sides: 48 bits of magnitude, 32 of the result, a shift of at most 7.
#[test]
fn wide_sums() {
    let bias = |value: i64| {
        let mut blob = int16();
        let start = step!(blob, 0, Conv2d).requantization.bias.offset as usize;
        blob.constants[start..start + 8].copy_from_slice(&value.to_le_bytes());
        Model::parse(AlignedBytes::new(&blob.encode()).as_slice()).err()
    };
    let overflow = Some(DecodeError::AccumulatorOverflow { operator: 0, channel: 0 });
    // With a shift of -6 the bound of the result is the sum / 2^6, at most 2^31 - 8192.
    let reach = 32768 * int16_weights();
    let edge = ((1_i64 << 31) - 8192 + 1) * 64 - 1 - reach;
    assert_eq!((bias(edge), bias(-edge), bias(edge + 1), bias(-edge - 1)), (None, None, overflow, overflow));
    assert_eq!((bias(i64::MAX), bias(i64::MIN)), (overflow, overflow));
    let error = refusal(int16(), |b| {
        let start = step!(b, 7, FullyConnected).requantization.shift.offset as usize;
        b.constants[start + 2] = 8;
    });
    assert_eq!(error, DecodeError::Multiplier { operator: 7, channel: 2 });
}

/// Sum of the magnitudes of the first convolution's weights for its first channel.
fn int16_weights() -> i64 {
    let mut blob = int16();
    let start = step!(blob, 0, Conv2d).weights.offset as usize;
    blob.constants[start..start + 18].iter().map(|&weight| i64::from(weight.cast_signed()).abs()).sum()
}

#[test]
fn decision() {
    let refused = |change: fn(&mut neji_format::Decision)| refusal(classifier(), |b| change(&mut b.plan.decision));
    let fault = DecodeError::Decision;
    assert_eq!(refused(|d| d.release = d.threshold + 1), fault(DecisionFault::Release));
    assert_eq!(refused(|d| d.smoothing = 0), fault(DecisionFault::Smoothing));
    assert_eq!(refused(|d| d.smoothing = 32769), fault(DecisionFault::Smoothing));
    assert_eq!(refused(|d| d.window = 0), fault(DecisionFault::Window));
    assert_eq!(refused(|d| d.window = 33), fault(DecisionFault::Window));
    assert_eq!(refused(|d| d.required = 0), fault(DecisionFault::Required));
    assert_eq!(refused(|d| d.required = d.window + 1), fault(DecisionFault::Required));
    assert_eq!(refused(|d| d.scores = 0), fault(DecisionFault::Scores));
    assert_eq!(refused(|d| d.scores = 4097), fault(DecisionFault::Scores));
    assert_eq!(refused(|d| d.aggregate = Aggregate::TopK(0)), fault(DecisionFault::Aggregate));
    assert_eq!(refused(|d| d.aggregate = Aggregate::TopK(65)), fault(DecisionFault::Aggregate));
    assert_eq!(refused(|d| d.normal.as_mut().unwrap().scale = 0), fault(DecisionFault::Normal));
    assert_eq!(refused(|d| d.normal.as_mut().unwrap().scale = (1 << 30) + 1), fault(DecisionFault::Normal));
    assert_eq!(refused(|d| d.normal = None), fault(DecisionFault::Drift));
    assert_eq!(refused(|d| d.drift.as_mut().unwrap().limit = 0), fault(DecisionFault::Drift));
    assert_eq!(refused(|d| d.drift.as_mut().unwrap().limit = (1 << 24) + 1), fault(DecisionFault::Drift));
    assert_eq!(refused(|d| d.drift.as_mut().unwrap().clip = 1 << 15), fault(DecisionFault::Drift));
    assert_eq!(refused(|d| d.drift.as_mut().unwrap().slack = 2048), fault(DecisionFault::Drift));
}

#[test]
fn how_a_model_streams() {
    let fault = |change: fn(&mut Blob<'static>)| match refusal(streaming(), change) {
        DecodeError::Streaming(fault) => fault,
        other => panic!("{other}"),
    };
    let with = |blob: &mut Blob<'static>, change: fn(&mut Streaming)| change(blob.plan.streaming.as_mut().unwrap());
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().phases = 0), StreamingFault::Phases);
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().phases = 3), StreamingFault::Phases);
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().phases = 10), StreamingFault::Output);
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().full_after = 0), StreamingFault::FullAfter);
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().state_bytes = 21), StreamingFault::State);
    assert_eq!(fault(|b| b.plan.streaming.as_mut().unwrap().state_bytes = 29), StreamingFault::State);
    let reconstruction = fault(|b| {
        b.plan.detector = Detector::Reconstruction(Reconstruction {
            output_to_residual: Multiplier { multiplier: 1 << 30, shift: 1 },
            weights: Weights::One,
            pooling: Pooling::MEAN,
        });
    });
    assert_eq!(reconstruction, StreamingFault::Edges);
    // What is not kept must be written before it is read, in each list.
    let error = refusal(streaming(), |b| with(b, |streaming| streaming.state_bytes = 18));
    assert_eq!(error, DecodeError::NotProduced { place: at(2), offset: 14 });
    let error = refusal(streaming(), |b| step!(b, 5, Reshape).input.offset = 12);
    assert_eq!(error, DecodeError::NotProduced { place: at(5), offset: 12 });
}

#[test]
fn what_does_not_stream_keeps_nothing() {
    let error = refusal(streaming(), |b| b.plan.streaming = None);
    assert_eq!(error, DecodeError::NotProduced { place: at(0), offset: 2 });
}
