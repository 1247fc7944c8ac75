//! Models that hand on what they are given, behind detectors that a device learns for: small, so that a life of one is quick.

use neji_format::{
    AlignedBytes, Blob, Classifier, ClassifierScore, Constant, Decision, Detector, Distance, Drift, Element, FrontEnd,
    Fusion, Mahalanobis, Mixture, Normal, Operator, Plan, Pooling, Provenance, Reshape, Shape, Tensor,
    push_constant,
};

/// Rows of two pixels of three channels.
const SHAPE: Shape = Shape { height: 3, width: 2, channels: 3 };

/// The models: a margin of two numbers, a fusion, and a distance with statistics that pixels share.
pub fn echoes() -> [AlignedBytes; 3] {
    let margin = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    let mut tables = Vec::new();
    let first = Distance::Mixture(Mixture {
        means: push(&mut tables, &[0, 0, 0, 320, 640, -900], 2),
        weights: push(&mut tables, &[8192, 4000, 65_535], 2),
        shift: 14,
        biases: push(&mut tables, &[0, 5], 4),
        pooling: Pooling::MEAN,
    });
    let second = Distance::Mahalanobis(covariance(&mut tables, false, 6, true));
    let fusion = Detector::Fusion(Fusion { rows: 2, first, second, weights: [200, 100] });
    let mut shared = Vec::new();
    let distance = Detector::Distance(Distance::Mahalanobis(covariance(&mut shared, true, 3, false)));
    [blob(Shape::new(1, 1, 2), margin, Vec::new()), blob(SHAPE, fusion, tables), blob(SHAPE, distance, shared)]
}

fn push(constants: &mut Vec<u8>, words: &[i32], bytes: usize) -> Constant {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()[..bytes].to_vec()).collect();
    push_constant(constants, &bytes)
}

fn covariance(constants: &mut Vec<u8>, shared: bool, elements: usize, basis: bool) -> Mahalanobis {
    let vector = if basis { vec![18_919; elements] } else { Vec::new() };
    Mahalanobis {
        shared,
        means: push(constants, &vec![-7; elements], 2),
        weights: push(constants, &vec![30_000; elements], 2),
        shift: 14,
        basis: push(constants, &vector, 2),
        shares: push(constants, if basis { &[49_152] } else { &[] }, 2),
        pooling: Pooling::MEAN,
    }
}

fn blob(shape: Shape, detector: Detector, constants: Vec<u8>) -> AlignedBytes {
    let behind = shape.len().next_multiple_of(16) as u32;
    let tensor = |offset| Tensor { offset, shape, scale: 1.0, zero_point: 0 };
    let plan = Plan {
        provenance: Provenance::of("echo"),
        front_end: FrontEnd::Raw,
        detector,
        decision: Decision {
            threshold: 4000,
            release: 3000,
            smoothing: 20_000,
            scores: 3,
            required: 2,
            window: 3,
            normal: Some(Normal { location: 777, scale: 901 }),
            drift: Some(Drift { slack: 100, clip: 1000, limit: 9000 }),
            ..Decision::EACH
        },
        element: Element::I8,
        streaming: None,
        input: tensor(0),
        output: tensor(behind),
        operator_count: 0,
    };
    let operators = vec![Operator::Reshape(Reshape { input: tensor(0), output: tensor(behind) })];
    AlignedBytes::new(&Blob { plan, operators, constants, arena_bytes: 2 * behind }.encode())
}
