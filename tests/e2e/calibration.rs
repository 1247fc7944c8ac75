//! What a device learns and watches is the same on the host and on every board.

use neji::begin::Begin;
use neji::simulate::{Frame, on_board, on_host_begun};
use neji_app::{Outcome, Report, Trend, Verdict};
use neji_format::{
    AlignedBytes, Blob, Classifier, ClassifierScore, Decision, Detector, Distance, Drift, Element, FrontEnd, Fusion,
    Mahalanobis, Mixture, Model, Normal, Operator, Plan, Pooling, Provenance, Reshape, Shape, Tensor, push_constant,
};
use neji_machine::Options;

use super::boards::boards;

/// Hands on two numbers; the score is 256 times the second less the first.
fn echo() -> AlignedBytes {
    let tensor = |offset| Tensor { offset, shape: Shape::new(1, 1, 2), scale: 1.0, zero_point: 0 };
    let plan = Plan {
        provenance: Provenance::of("echo"),
        front_end: FrontEnd::Raw,
        detector: Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin }),
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
        output: tensor(16),
        operator_count: 0,
    };
    let operators = vec![Operator::Reshape(Reshape { input: tensor(0), output: tensor(16) })];
    AlignedBytes::new(&Blob { plan, operators, constants: Vec::new(), arena_bytes: 32 }.encode())
}

/// A machine that is normal, drifts, breaks, and idles.
fn life() -> Vec<Frame> {
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as i8
    };
    let levels = [(30, 100), (36, 100), (100, 20), (5, 60)];
    let scores = levels.into_iter().flat_map(|(level, count)| (0..count).map(move |_| level));
    let frame =
        |score: i8| Frame { path: "echo".into(), samples: vec![noise().cast_unsigned(), score.cast_unsigned()] };
    scores.map(frame).collect()
}

#[test]
fn calibration_and_drift_are_the_same_on_all_boards() {
    let (bytes, frames) = (echo(), life());
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let mut expected = Vec::new();
    on_host_begun(model, &frames, &Begin::calibrated(Some(64)), |_, verdict, _| {
        expected.push(verdict);
        Ok(())
    })
    .expect("runs on the host");
    let learning = expected.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Calibrating { .. })).count();
    assert_eq!(learning, 64);
    for trend in [Trend::Steady, Trend::Higher, Trend::Lower] {
        assert!(expected.iter().any(|verdict| verdict.drift == trend), "{trend:?}");
    }
    assert!(expected.iter().any(|verdict| verdict.alarm) && !expected.iter().all(|verdict| verdict.alarm));
    for board in boards() {
        let run = |calibrate| on_board(&board, &model, &frames, Options { calibrate, ..Options::default() });
        let found = run(Some(64)).expect("runs on the board");
        assert_eq!(found.verdicts, expected, "{}", board.package);
        let changes = found.reports.iter().filter(|report| matches!(report, Report::DriftChanged { .. })).count();
        let turns = expected.windows(2).filter(|pair| pair[0].drift != pair[1].drift).count();
        assert_eq!(changes, turns, "{}", board.package);
        let refused = run(Some(3)).expect_err("too few scores").to_string();
        assert!(refused.contains("calibration with 3 scores"), "{refused}");
    }
}

/// Hands on rows of three numbers: neighbours of the first two rows and the distance of Mahalanobis of the last, which has a basis.
fn distances() -> AlignedBytes {
    let mut constants = Vec::new();
    let mut push = |words: &[i32], bytes: usize| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()[..bytes].to_vec()).collect();
        push_constant(&mut constants, &bytes)
    };
    let first = Distance::Mixture(Mixture {
        means: push(&[0, 0, 0, 320, 320, 320], 2),
        weights: push(&[8192; 3], 2),
        shift: 14,
        biases: push(&[0, 5], 4),
        pooling: Pooling::MEAN,
    });
    let second = Distance::Mahalanobis(Mahalanobis {
        shared: false,
        means: push(&[0; 3], 2),
        weights: push(&[8192, 60_000, 4096], 2),
        shift: 14,
        basis: push(&[18_919; 3], 2),
        shares: push(&[49_152], 2),
        pooling: Pooling::MEAN,
    });
    let model = echo();
    let model = Model::parse(model.as_slice()).expect("a model");
    let tensor = |offset| Tensor { offset, shape: Shape::new(3, 1, 3), scale: 1.0, zero_point: 0 };
    let plan = Plan {
        detector: Detector::Fusion(Fusion { rows: 2, first, second, weights: [200, 100] }),
        input: tensor(0),
        output: tensor(16),
        ..*model.plan()
    };
    let operators = vec![Operator::Reshape(Reshape { input: tensor(0), output: tensor(16) })];
    AlignedBytes::new(&Blob { plan, operators, constants, arena_bytes: 32 }.encode())
}

/// A machine far from where the blob has its outputs, then with a fault.
fn elsewhere() -> Vec<Frame> {
    let mut state = 7u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as i8
    };
    let mut frame = |fault: i8| {
        let samples = (0..9).map(|i| (50 + 3 * i - 9 * (i % 3) + noise() + fault * (i % 2)).cast_unsigned());
        Frame { path: "echo".into(), samples: samples.collect() }
    };
    (0..160).map(|i| frame(if i < 130 { 0 } else { 25 })).collect()
}

#[test]
fn tables_are_learned_alike_on_all_boards() {
    let (bytes, frames) = (distances(), elsewhere());
    let model = Model::parse(bytes.as_slice()).expect("a model");
    let begin = Begin { tables: true, ..Begin::calibrated(Some(90)) };
    let mut expected = Vec::new();
    let state = on_host_begun(model, &frames, &begin, |_, verdict, monitor| {
        expected.push(verdict);
        assert!(monitor.learner().has_learned() == (expected.len() >= 45));
        Ok(())
    })
    .expect("runs on the host");
    assert!(state.len() > neji_app::STATE_BYTES);
    let score = |verdict: &Verdict| match verdict.outcome {
        Outcome::Scored { score, .. } | Outcome::Calibrating { score, .. } => i64::from(score),
        _ => 0,
    };
    let sum = |range: std::ops::Range<usize>| expected[range].iter().map(score).sum::<i64>();
    assert!(sum(45..90) * 20 < sum(0..45), "{} and {}", sum(45..90), sum(0..45));
    assert!(expected[..130].iter().all(|verdict| !verdict.alarm) && expected[159].alarm);
    for board in boards() {
        let found = on_board(&board, &model, &frames, begin.options(Options::default()));
        if board.package == "qemu-microbit" {
            // Its firmware has no room for the code.
            assert!(found.is_err());
            continue;
        }
        assert_eq!(found.expect("runs on the board").verdicts, expected, "{}", board.package);
    }
}
