//! A device that learns its machine, watches it drift and is started anew.
//!
//! The model hands on two numbers, and the score is 256 times the second less the first: so a frame says its own score.

mod echo;

use neji_app::{
    AlarmPin, AlarmPolarity, Calibration, CalibrationError, FrameDecoder, Monitor, Outcome, Report, ReportWriter,
    STATE_BYTES, Sensor, StateError, Station, Trend, Verdict,
};
use neji_engine::Portable;
use neji_format::{
    Aggregate, AlignedBytes, Classifier, ClassifierScore, Decision, Detector, Drift, FrontEnd, Model, Normal, Shape,
};

/// Of normal scores: 10 steps of the output, give or take 2.
const NORMAL: Normal = Normal { location: 10 * 256, scale: 2 * 256 };
/// Above four deviations a mean of two scores is abnormal.
const DECISION: Decision = Decision {
    aggregate: Aggregate::Mean,
    scores: 2,
    threshold: 18 * 256,
    release: 14 * 256,
    normal: Some(NORMAL),
    drift: Some(Drift { slack: 128, clip: 1024, limit: 2560 }),
    ..Decision::EACH
};

fn blob(decision: Decision) -> AlignedBytes {
    let margin = Detector::Classifier(Classifier { normal_class: 0, score: ClassifierScore::Margin });
    echo::blob(FrontEnd::Raw, margin, decision, Shape::new(1, 1, 2), Vec::new())
}

/// Frames of these scores, in steps of the output.
fn frames(scores: &[i8]) -> Vec<u8> {
    scores.iter().flat_map(|&score| [0, score.cast_unsigned()]).collect()
}

/// A machine of 40 give or take 4.
const LOUD: [i8; 16] = [36, 44, 36, 44, 36, 44, 36, 44, 36, 44, 36, 44, 36, 44, 36, 44];

fn push(monitor: &mut Monitor<'_, Portable>, scores: &[i8]) -> Vec<Verdict> {
    let frames = frames(scores);
    let mut rest = frames.as_slice();
    std::iter::from_fn(|| monitor.push(&mut rest)).collect()
}

/// Lends a monitor of a model with `decision`.
fn with<T>(decision: Decision, act: impl FnOnce(&mut Monitor<'_, Portable>) -> T) -> T {
    let bytes = blob(decision);
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0x5a; Monitor::<Portable>::memory_bytes(&model)];
    act(&mut Monitor::new(model, &mut memory).unwrap())
}

#[test]
fn a_loud_machine_is_an_alarm_until_it_is_learned() {
    with(DECISION, |monitor| {
        assert!(push(monitor, &LOUD)[1].alarm);
        assert_eq!(monitor.calibrate(16), Err(CalibrationError::AlarmOn));
        monitor.reset();
        monitor.calibrate(16).unwrap();
        // A gap is no score, and takes nothing off the calibration.
        let half = push(monitor, &LOUD[..8]);
        assert_eq!(half[7].outcome, Outcome::Calibrating { score: 44 * 256, left: 8 });
        assert!(matches!(monitor.gap().outcome, Outcome::SensorFault(_)));
        let rest = push(monitor, &LOUD[8..]);
        assert_eq!(rest[7].outcome, Outcome::Calibrating { score: 44 * 256, left: 0 });
        assert!(half.iter().chain(&rest).all(|verdict| !verdict.alarm && verdict.drift == Trend::Steady));
        assert_eq!(monitor.calibration(), Calibration::Learned(Normal { location: 40 * 256, scale: 4 * 256 }));
        // Four deviations above are 56; the mean of two scores counts.
        let after = push(monitor, &[40, 56, 56, 57, 57, 49, 46]);
        let alarms: Vec<bool> = after.iter().map(|verdict| verdict.alarm).collect();
        // Released at two deviations, 48.
        assert_eq!(alarms, [false, false, false, true, true, true, false]);
        monitor.uncalibrate();
        assert!(push(monitor, &LOUD)[1].alarm);
    });
}

#[test]
fn what_cannot_be_learned_is_refused() {
    with(DECISION, |monitor| {
        assert_eq!(monitor.calibrate(5000), Err(CalibrationError::Scores { given: 5000, least: 16 }))
    });
    with(Decision { normal: None, drift: None, ..DECISION }, |monitor| {
        assert_eq!(monitor.calibrate(16), Err(CalibrationError::NoNormal));
    });
}

/// One deviation more: no alarm ever, but a drift.
#[test]
fn a_slow_drift_is_said_and_changes_nothing() {
    with(DECISION, |monitor| {
        let steady = push(monitor, &[10, 12, 8, 10, 11, 9].repeat(20));
        assert!(steady.iter().all(|verdict| verdict.drift == Trend::Steady));
        let drifting = push(monitor, &[12; 30]);
        // Half a deviation of each counts: 128 of more than 2560.
        let begun = drifting.iter().position(|verdict| verdict.drift == Trend::Higher).expect("a drift");
        assert_eq!(begun, 20);
        assert!(drifting.iter().all(|verdict| !verdict.alarm));
        assert!(push(monitor, &[19, 19])[1].alarm, "the threshold has moved");
        let lower = push(monitor, &[0; 30]);
        assert_eq!(lower.last().map(|verdict| verdict.drift), Some(Trend::Lower));
    });
}

#[test]
fn a_monitor_that_is_started_anew_goes_on_with_its_state() {
    let tale: Vec<i8> = LOUD.iter().chain(&[40, 47, 47, 57, 58, 40, 38, 41, 43, 44, 45, 44]).copied().collect();
    let later = [44, 44, 44, 44, 60, 60, 60, 30, 30, 30];
    for cut in 0..tale.len() {
        let (state, expected) = with(DECISION, |monitor| {
            monitor.calibrate(16).unwrap();
            push(monitor, &tale[..cut]);
            // The last scores are not kept, so neither has them.
            let state = monitor.export();
            monitor.import(&state).unwrap();
            assert_eq!(monitor.export(), state, "{cut}");
            (state, push(monitor, &later))
        });
        let found = with(DECISION, |monitor| {
            // A frame that was begun is no part of what follows.
            assert_eq!(monitor.push(&mut &[1u8][..]), None);
            monitor.import(&state).unwrap();
            push(monitor, &later)
        });
        let words = |verdicts: &[Verdict]| verdicts.iter().map(|v| (v.outcome, v.alarm, v.drift)).collect::<Vec<_>>();
        assert_eq!(words(&found), words(&expected), "{cut}");
    }
}

#[test]
fn a_state_that_is_damaged_or_another_models_changes_nothing() {
    let state = with(DECISION, |monitor| {
        monitor.calibrate(16).unwrap();
        push(monitor, &LOUD);
        monitor.export()
    });
    with(DECISION, |monitor| {
        let before = monitor.export();
        for length in 0..STATE_BYTES {
            assert_eq!(monitor.import(&state[..length]), Err(StateError::Length { given: length }));
        }
        for bit in 0..8 * STATE_BYTES {
            let mut flipped = state;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(monitor.import(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(monitor.export(), before);
        monitor.import(&state).unwrap();
    });
    with(Decision { threshold: 19 * 256, ..DECISION }, |monitor| {
        assert!(matches!(monitor.import(&state), Err(StateError::Model { .. })));
    });
}

struct Frames(Vec<u8>);

impl Sensor for Frames {
    type Error = std::convert::Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let count = self.0.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0.drain(..count);
        Ok(count)
    }
}

struct Pin;

impl embedded_hal::digital::ErrorType for Pin {
    type Error = std::convert::Infallible;
}

impl embedded_hal::digital::OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn the_station_tells_when_drift_begins_and_ends() {
    let bytes = blob(DECISION);
    let model = Model::parse(bytes.as_slice()).unwrap();
    let (mut memory, mut line) = (vec![0; Monitor::<Portable>::memory_bytes(&model)], vec![0; 8192]);
    let mut station = Station {
        monitor: Monitor::<Portable>::new(model, &mut memory).unwrap(),
        sensor: Frames(frames(&[[12; 40], [10; 40]].concat())),
        reports: ReportWriter::new(&mut line[..]).unwrap(),
        alarm: AlarmPin::new(Pin, AlarmPolarity::ActiveHigh).unwrap(),
    };
    station.run().unwrap();
    let mut decoder = FrameDecoder::new();
    let reports: Vec<Report> = line.iter().filter_map(|&byte| decoder.push(byte)).map(Result::unwrap).collect();
    let changes: Vec<&Report> = reports.iter().filter(|report| matches!(report, Report::DriftChanged { .. })).collect();
    // 128 a score up, above 2560 with the 21st, 5120 at the end; 128 a score down.
    assert_eq!(
        changes,
        [
            &Report::DriftChanged { drift: Trend::Higher, sequence: 20 },
            &Report::DriftChanged { drift: Trend::Steady, sequence: 79 }
        ]
    );
}
