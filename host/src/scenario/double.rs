//! A model for tests: it passes features up to 0 and cannot reconstruct louder ones.

use neji_format::{
    AlignedBytes, Blob, Decision, Detector, Element, FrontEnd, Multiplier, Operator, Plan, Pool2d, PoolKind, Pooling,
    Provenance, Reconstruction, Shape, Tensor, Weights,
};
use neji_tables::{Settings, Tables, quantizer};

use super::run::Listening;
use crate::lowered::POINT;

/// Windows of eight frames of eight bands; every second frame begins one.
const SOUND: Settings = Settings {
    sample_rate: 8000,
    fft_len: 64,
    hop: 32,
    mels: 8,
    context: 8,
    stride: 2,
    centered: false,
    range_min: 2,
    saturated_max: 500,
    ..Settings::MLPERF
};

/// How it listens: two of three windows above the threshold are an alarm.
pub(super) const LISTENING: Listening =
    Listening { rate: Some(8000), first: 64 + 7 * 32, step: 64, hop: 32, memory: 64 + 7 * 32 + 3 * 64 };

/// Its blob.
pub(super) fn listener() -> AlignedBytes {
    let tensor = |offset| Tensor { offset, shape: Shape::new(8, 8, 1), scale: 1.0 / 255.0, zero_point: -128 };
    let pool = Pool2d {
        kind: PoolKind::Max,
        input: tensor(0),
        output: tensor(64),
        window: POINT,
        multiplier: Multiplier { multiplier: 1 << 30, shift: 1 },
        activation_min: -128,
        activation_max: 0,
    };
    let mut constants = Vec::new();
    let plan = Plan {
        element: Element::I8,
        provenance: Provenance::of("double"),
        front_end: FrontEnd::LogMel(Tables::new(SOUND).push(&[quantizer(-175.0, 10.0, 0.1)], &mut constants)),
        streaming: None,
        detector: Detector::Reconstruction(Reconstruction {
            output_to_residual: Multiplier { multiplier: 1 << 30, shift: 5 },
            weights: Weights::One,
            pooling: Pooling { smooth_radius: 0, top_k: 1 },
        }),
        decision: Decision { threshold: 60_000, release: 50_000, required: 2, window: 3, ..Decision::EACH },
        input: tensor(0),
        output: tensor(64),
        operator_count: 1,
    };
    let blob = Blob { plan, operators: vec![Operator::Pool2d(pool)], constants, arena_bytes: 128 };
    AlignedBytes::new(&blob.encode())
}
