//! What a program was built without is refused, with the reason.
//!
//! With every feature nothing is; `cargo test -p neji-format --no-default-features --test linked` sees the rest, and so does
//! any choice of features.

mod samples;

use neji_format::header::HEADER_BYTES;
use neji_format::{AlignedBytes, Blob, DecodeError, Element, Model, Operator};

/// Whether the operator's feature is on.
fn is_linked(operator: &Operator) -> bool {
    match operator {
        Operator::Conv2d(_) => cfg!(feature = "conv2d"),
        Operator::DepthwiseConv2d(_) => cfg!(feature = "depthwise-conv2d"),
        Operator::FullyConnected(_) => cfg!(feature = "fully-connected"),
        Operator::TransposeConv2d(_) => cfg!(feature = "transpose-conv2d"),
        Operator::Pool2d(_) => cfg!(feature = "pool2d"),
        Operator::Mean(_) => cfg!(feature = "mean"),
        Operator::Add(_) => cfg!(feature = "add"),
        Operator::Concat(_) => cfg!(feature = "concat"),
        Operator::Pad(_) => cfg!(feature = "pad"),
        Operator::Reshape(_) => cfg!(feature = "reshape"),
        Operator::ResizeNearest(_) => cfg!(feature = "resize-nearest"),
        Operator::Lut(_) => cfg!(feature = "lut"),
        Operator::Softmax(_) => cfg!(feature = "softmax"),
        Operator::Sub(_) => cfg!(feature = "sub"),
        Operator::Mul(_) => cfg!(feature = "mul"),
        Operator::Load(_) => cfg!(feature = "load"),
        Operator::Sigmoid(_) => cfg!(feature = "sigmoid"),
    }
}

/// Where the operator at `index` begins.
fn begin(blob: &Blob<'_>, index: usize) -> usize {
    let bytes = Blob { operators: blob.operators[..index].to_vec(), ..blob.clone() }.encode();
    // Counts below 128 are a byte, however many operators there are.
    HEADER_BYTES + u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]) as usize
}

#[test]
fn what_is_not_linked_is_refused() {
    let mut refused = 0;
    for (name, blob) in samples::all() {
        let bytes = AlignedBytes::new(&blob.encode());
        let missing = blob.operators.iter().position(|operator| !is_linked(operator));
        let expected = match missing {
            _ if blob.plan.element == Element::I16 && !cfg!(feature = "int16") => Err(DecodeError::Int8Only),
            Some(index) => {
                let number = blob.encode()[begin(&blob, index)];
                Err(DecodeError::NotLinked { operator: index as u16, number })
            }
            None => Ok(()),
        };
        assert_eq!(Model::parse(bytes.as_slice()).map(|_| ()), expected, "{name}");
        refused += usize::from(expected.is_err());
    }
    assert_eq!(refused == 0, cfg!(feature = "default"), "{refused} blobs");
}

/// A number that no version has is no feature's.
#[test]
fn what_nobody_knows_does_not_decode() {
    let blob = samples::autoencoder();
    let mut bytes = blob.encode();
    for number in [17, 127] {
        bytes[begin(&blob, 0)] = number;
        let refused = Model::parse(samples::with_checksum(&bytes).as_slice()).map(|_| ());
        assert_eq!(refused, Err(DecodeError::Operator { operator: 0 }), "{number}");
    }
}

#[test]
fn the_reason_names_the_feature() {
    let text = DecodeError::NotLinked { operator: 3, number: 1 }.to_string();
    assert_eq!(text, "operator 3 needs neji-engine's feature depthwise-conv2d, this firmware was built without it");
}
