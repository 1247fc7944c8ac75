//! The model blob of neji, `model.neji`: its types, its encoder and a decoder that checks everything once.
//!
//! A blob is a fixed header, a postcard section (the [`Plan`] and one [`Operator`] after another) and 16-byte-aligned raw
//! constants that the device reads in place from flash. `FORMAT.md` says it byte by byte. The host writes blobs with the
//! `alloc` feature's `Blob`; the device calls [`Model::parse`], which refuses whatever could make running it fail:
//! afterwards inference is infallible.
//!
//! ```
//! use neji_format::*;
//!
//! # fn main() -> Result<(), DecodeError> {
//! let tensor = |offset| Tensor { offset, shape: Shape::new(1, 1, 4), scale: 0.1, zero_point: 0 };
//! let mut constants = Vec::new();
//! let table: Vec<u8> = (-128..=127_i8).map(|q| q.max(0) as u8).collect();
//! let table = push_constant(&mut constants, &table);
//! let relu = Lut { input: tensor(0), output: tensor(16), function: LutFunction::Relu, table };
//! let plan = Plan {
//!     provenance: Provenance::of("relu"),
//!     front_end: FrontEnd::Raw,
//!     detector: Detector::None,
//!     decision: Decision { score_unit: 1.0, ..Decision::EACH },
//!     streaming: None,
//!     element: Element::I8,
//!     input: tensor(0),
//!     output: tensor(16),
//!     operator_count: 0, // set by `encode`
//! };
//! let blob = Blob { plan, operators: vec![Operator::Lut(relu)], constants, arena_bytes: 32 };
//!
//! let bytes = AlignedBytes::new(&blob.encode());
//! let model = Model::parse(bytes.as_slice())?;
//! assert_eq!(model.operators().next(), Some(Operator::Lut(relu)));
//! assert_eq!(model.constant_i8(table)[128 + 5], 5);
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

// Constants are read in place, and they are little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "neji's blobs are read in place on little-endian machines only");

mod check;
pub mod decode;
pub mod detector;
#[cfg(feature = "alloc")]
pub mod encode;
pub mod error;
pub mod front_end;
pub mod header;
pub mod operator;
pub mod packing;
pub mod plan;
pub mod quant;
mod read;
pub mod rows;
pub mod tensor;

pub use decode::{Model, Operators};
pub use detector::{
    Aggregate, Basis, Classifier, ClassifierScore, Decision, Detector, Distance, Drift, Fusion, Mahalanobis, Mixture,
    Normal, Pooling, Reconstruction, ThresholdMethod, Weights,
};
#[cfg(feature = "alloc")]
pub use encode::{AlignedBytes, Blob, push_constant};
pub use error::{DecisionFault, DecodeError, DetectorFault, FrontEndFault, Place, StreamingFault};
pub use front_end::{
    Alignment, Band, BandQuantizer, Epsilon, FrontEnd, Heading, ImageFrontEnd, LogMelFrontEnd, MaskThreshold,
    Photometric, PixelFormat, Polarity, REGISTRATION_DIRECTIONS_MAX, REGISTRATION_PIXELS_MAX, REGISTRATION_ROUNDS_MAX,
    Rect, Registration, Size, Transform, WindowStatistics,
};
pub use header::Header;
pub use operator::{
    Add, Concat, Conv2d, DepthwiseConv2d, FullyConnected, Load, Lut, LutFunction, Mean, Mul, Operator, Pad, Pool2d,
    PoolKind, Reshape, ResizeNearest, Sigmoid, Softmax, TransposeConv2d, Window,
};
pub use packing::Packing;
pub use plan::{Metrics, Plan, Provenance, Streaming};
pub use quant::{Multiplier, Requantization};
pub use read::LINKED;
pub use rows::Rows;
pub use tensor::{Constant, Element, Shape, Tensor};
