//! What a device learns and watches is the same on the host and on every board.

use neji::simulate::{Frame, on_board, on_host_calibrated};
use neji_app::{Outcome, Report, Trend};
use neji_format::{
    AlignedBytes, Blob, Classifier, ClassifierScore, Decision, Detector, Drift, Element, FrontEnd, Metrics, Model,
    Normal, Operator, Plan, Provenance, Reshape, Shape, Tensor,
};
use neji_machine::Options;

use super::boards::boards;

/// Hands on two numbers; the score is 256 times the second less the first.
fn echo() -> AlignedBytes {
    let tensor = |offset| Tensor { offset, shape: Shape::new(1, 1, 2), scale: 1.0, zero_point: 0 };
    let plan = Plan {
        provenance: Provenance {
            neji_version: "0.1.0",
            name: "echo",
            classes: "",
            data_hash: [0; 32],
            config_hash: [0; 32],
            seed: 0,
            metrics: Metrics { auroc_float: f32::NAN, auroc_quantized: f32::NAN },
        },
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
    on_host_calibrated(model, &frames, false, Some(64), |_, verdict, _| {
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
