//! A device that learns where the outputs of its own machine lie.
//!
//! The model hands on what it is given, so a frame is its own output: int8, of which a detector sees sixteenths.

mod echo;

use neji_app::learn::PRIOR;
use neji_app::{
    CalibrationError, Learner, Monitor, MonitorError, Outcome, STATE_BYTES, SetupError, StateError, Verdict,
};
use neji_engine::Portable;
use neji_format::{
    AlignedBytes, Constant, Decision, Detector, Distance, FrontEnd, Fusion, Mahalanobis, Mixture, Model, Normal,
    Pooling, Shape, push_constant,
};

/// A blob of rows of pixels with a detector over `constants`.
fn blob(shape: Shape, detector: Detector, constants: Vec<u8>) -> AlignedBytes {
    let decision = Decision {
        threshold: 1500,
        release: 1500,
        normal: Some(Normal { location: 256, scale: 200 }),
        ..Decision::EACH
    };
    echo::blob(FrontEnd::Raw, detector, decision, shape, constants)
}

fn words<W: Copy, const N: usize>(constants: &mut Vec<u8>, words: &[W], bytes: impl Fn(W) -> [u8; N]) -> Constant {
    push_constant(constants, &words.iter().flat_map(|&word| bytes(word)).collect::<Vec<u8>>())
}

/// What is normal as a blob knows it: deviations of 2 steps about 0.
const DEVIATION: f64 = 2.0;
/// 16 / (16 * 2 deviations), Q14.
const WEIGHT: u16 = 1 << 13;

/// Mahalanobis' distance of four channels; with a basis, twice the deviation along (1, 1, 1, 1) / 2.
fn covariance(constants: &mut Vec<u8>, shared: bool, pixels: usize, basis: bool) -> Mahalanobis {
    let count = if shared { 4 } else { 4 * pixels };
    let basis = if basis { vec![16384i16; count] } else { Vec::new() };
    let shares: &[u16] = if basis.is_empty() { &[] } else { &[49152] };
    Mahalanobis {
        shared,
        means: words(constants, &vec![0i16; count], i16::to_le_bytes),
        weights: words(constants, &vec![WEIGHT; count], u16::to_le_bytes),
        shift: 14,
        basis: words(constants, &basis, i16::to_le_bytes),
        shares: words(constants, shares, u16::to_le_bytes),
        pooling: Pooling::MEAN,
    }
}

/// Centres at 0 and at 40 steps in all of four channels.
fn mixture(constants: &mut Vec<u8>) -> Mixture {
    let means = [0i16, 0, 0, 0, 640, 640, 640, 640];
    Mixture {
        means: words(constants, &means, i16::to_le_bytes),
        weights: words(constants, &[WEIGHT; 4], u16::to_le_bytes),
        shift: 14,
        biases: words(constants, &[0u32; 2], u32::to_le_bytes),
        pooling: Pooling::MEAN,
    }
}

fn mahalanobis(shared: bool, pixels: u32, basis: bool) -> AlignedBytes {
    let mut constants = Vec::new();
    let params = covariance(&mut constants, shared, pixels as usize, basis);
    blob(Shape::new(1, pixels, 4), Detector::Distance(Distance::Mahalanobis(params)), constants)
}

fn fusion() -> AlignedBytes {
    let mut constants = Vec::new();
    let first = Distance::Mixture(mixture(&mut constants));
    let second = Distance::Mahalanobis(covariance(&mut constants, false, 1, true));
    let fusion = Fusion { rows: 2, first, second, weights: [128, 128] };
    blob(Shape::new(3, 1, 4), Detector::Fusion(fusion), constants)
}

/// Uniform numbers.
struct Random(u64);

impl Random {
    /// From -1 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Frames of a machine whose channels lie elsewhere and deviate by 3 steps, and by another 6 together.
fn machine(frames: usize, pixels: usize, seed: u64) -> Vec<Vec<i8>> {
    let places = [30.0, -20.0, 12.0, 7.0];
    let mut random = Random(seed);
    let pixel = |random: &mut Random| {
        let together = 6.0 * random.next();
        places.map(|place| (place + together + 3.0 * random.next()).round() as i8)
    };
    (0..frames).map(|_| (0..pixels).flat_map(|_| pixel(&mut random)).collect()).collect()
}

fn push(monitor: &mut Monitor<'_, Portable, Learner<'_>>, frames: &[Vec<i8>]) -> Vec<Verdict> {
    let bytes: Vec<u8> = frames.concat().into_iter().map(i8::cast_unsigned).collect();
    let mut rest = bytes.as_slice();
    std::iter::from_fn(|| monitor.push(&mut rest)).collect()
}

fn scores(verdicts: &[Verdict]) -> Vec<i32> {
    let score = |verdict: &Verdict| match verdict.outcome {
        Outcome::Scored { score, .. } | Outcome::Calibrating { score, .. } => score,
        other => panic!("{other:?}"),
    };
    verdicts.iter().map(score).collect()
}

/// Lends a monitor that has room to learn, in memory that is not empty.
fn with<T>(bytes: &AlignedBytes, act: impl FnOnce(&mut Monitor<'_, Portable, Learner<'_>>) -> T) -> T {
    let model = Model::parse(bytes.as_slice()).unwrap();
    let mut memory = vec![0x5a; Monitor::<Portable>::memory_bytes(&model)];
    let mut room = vec![0xa5; Learner::memory_bytes(&model)];
    act(&mut Monitor::with_learner(model, &mut memory, &mut room).unwrap())
}

/// Scores of `probes` once `machine`'s frames were learned from, and the same before.
fn learned(bytes: &AlignedBytes, frames: &[Vec<i8>], probes: &[Vec<i8>]) -> (Vec<i32>, Vec<i32>) {
    with(bytes, |monitor| {
        let before = scores(&push(monitor, probes));
        monitor.reset();
        monitor.calibrate(frames.len() as u16).unwrap();
        push(monitor, frames);
        assert!(monitor.learner().has_learned());
        (scores(&push(monitor, probes)), before)
    })
}

/// Means and deviations in steps, and the variance along (1, 1, 1, 1) / 2 and off it in units of the blob's deviation: two passes over
/// vectors in f64.
fn statistics(vectors: &[&[i8]]) -> ([f64; 4], [f64; 4], f64, f64) {
    let n = vectors.len() as f64;
    let mean: [f64; 4] = std::array::from_fn(|c| vectors.iter().map(|v| f64::from(v[c])).sum::<f64>() / n);
    let away = |v: &&[i8]| -> [f64; 4] { std::array::from_fn(|c| (f64::from(v[c]) - mean[c]) / DEVIATION) };
    let each: [f64; 4] = std::array::from_fn(|c| vectors.iter().map(|v| away(v)[c].powi(2)).sum::<f64>() / (n - 1.0));
    let along = vectors.iter().map(|v| (away(v).iter().sum::<f64>() / 2.0).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, each, along, (each.iter().sum::<f64>() - along) / 3.0)
}

fn shrunk(blob: f64, own: f64, windows: usize) -> f64 {
    let prior = f64::from(PRIOR);
    (prior * blob + (windows - 1) as f64 * own) / (prior + (windows - 1) as f64)
}

fn assert_near(found: &[i32], expected: &[f64], what: &str) {
    for (&found, &expected) in found.iter().zip(expected) {
        let found = f64::from(found) / 256.0;
        assert!((found - expected).abs() < 0.05 + 0.02 * expected, "{what}: {found} is not {expected}");
    }
}

/// Frames about the machine and away from it.
fn probes(pixels: usize) -> Vec<Vec<i8>> {
    let mut frames = machine(20, pixels, 77);
    frames.extend([[0i8; 4], [60, 10, 40, 40], [10, -40, -8, -15]].map(|pixel| pixel.repeat(pixels)));
    frames
}

#[test]
fn mean_and_covariance_are_those_of_two_passes_in_floats() {
    for windows in [16, 90, 700] {
        let frames = machine(2 * windows, 1, 5);
        let vectors: Vec<&[i8]> = frames[..windows].iter().map(Vec::as_slice).collect();
        let (mean, each, along, off) = statistics(&vectors);
        let probes = probes(1);
        let distance = |frame: &[i8], basis: bool| {
            let away: [f64; 4] = std::array::from_fn(|c| (f64::from(frame[c]) - mean[c]) / DEVIATION);
            if basis {
                let projection = (away.iter().sum::<f64>() / 2.0).powi(2);
                let rest = away.iter().map(|z| z * z).sum::<f64>() - projection;
                // The blob's variance along its vector is 4.
                (projection / shrunk(4.0, along, windows) + rest / shrunk(1.0, off, windows)) / 4.0
            } else {
                (0..4).map(|c| away[c].powi(2) / shrunk(1.0, each[c], windows)).sum::<f64>() / 4.0
            }
        };
        for basis in [false, true] {
            for shared in [false, true] {
                let (found, before) = learned(&mahalanobis(shared, 1, basis), &frames, &probes);
                let expected: Vec<f64> = probes.iter().map(|frame| distance(frame, basis)).collect();
                assert_near(&found, &expected, &format!("{windows} windows, basis {basis}"));
                assert!(before[..20].iter().all(|&score| score > 10 * 256), "{before:?}");
            }
        }
    }
}

#[test]
fn pixels_share_their_statistics_or_have_their_own() {
    let (windows, pixels) = (40, 3);
    let mut frames = machine(2 * windows, pixels, 8);
    // The last pixel lies elsewhere.
    frames.iter_mut().for_each(|frame| frame[8..].iter_mut().for_each(|value| *value = value.wrapping_sub(25)));
    let probe = vec![frames[70].clone(), vec![5; 12]];
    let distance = |statistics: ([f64; 4], [f64; 4], f64, f64), pixel: &[i8]| {
        let (mean, each, ..) = statistics;
        let away = |c: usize| ((f64::from(pixel[c]) - mean[c]) / DEVIATION).powi(2);
        (0..4).map(|c| away(c) / shrunk(1.0, each[c], windows)).sum::<f64>() / 4.0
    };
    let all: Vec<&[i8]> = frames[..windows].iter().flat_map(|frame| frame.chunks_exact(4)).collect();
    let (found, _) = learned(&mahalanobis(true, 3, false), &frames, &probe);
    let expected: Vec<f64> =
        probe.iter().map(|f| f.chunks_exact(4).map(|p| distance(statistics(&all), p)).sum::<f64>() / 3.0).collect();
    assert_near(&found, &expected, "shared");
    let (found, _) = learned(&mahalanobis(false, 3, false), &frames, &probe);
    let of = |pixel: usize| -> Vec<&[i8]> { frames[..windows].iter().map(|f| &f[4 * pixel..][..4]).collect() };
    let expected: Vec<f64> = probe
        .iter()
        .map(|f| f.chunks_exact(4).enumerate().map(|(i, p)| distance(statistics(&of(i)), p)).sum::<f64>() / 3.0)
        .collect();
    assert_near(&found, &expected, "own");
}

#[test]
fn the_components_of_a_mixture_move_together() {
    let mut constants = Vec::new();
    let params = mixture(&mut constants);
    let bytes = blob(Shape::new(1, 2, 4), Detector::Distance(Distance::Mixture(params)), constants);
    let by = [15i8, -9, 4, 0];
    let mut random = Random(3);
    let mut frame = |centres: [i8; 2]| -> Vec<i8> {
        let pixel = |centre: i8, random: &mut Random| by.map(|by| centre + by + (2.0 * random.next()).round() as i8);
        centres.into_iter().flat_map(|centre| pixel(centre, &mut random)).collect()
    };
    let frames: Vec<Vec<i8>> = (0..80).map(|i| frame([[0, 40], [40, 40], [0, 0], [40, 0]][i % 4])).collect();
    let probe = |at: i8| by.map(|by| at + by).repeat(2);
    let (found, before) = learned(&bytes, &frames, &[probe(0), probe(40), probe(20)]);
    assert!(before[0] > 5 * 256, "{before:?}");
    // Half a step is a quarter of a deviation.
    assert!(found[0] < 16 && found[1] < 16, "{found:?}");
    // Half way is 10 deviations from both.
    assert!((found[2] - 25_600).abs() < 2000, "{found:?}");
}

#[test]
fn a_machine_of_its_own_is_an_alarm_until_it_is_learned() {
    with(&fusion(), |monitor| {
        let frames = machine(120, 3, 4);
        assert!(push(monitor, &frames[..1])[0].alarm);
        assert_eq!(monitor.calibrate(64), Err(CalibrationError::AlarmOn));
        monitor.reset();
        monitor.calibrate(65).unwrap();
        let first = push(monitor, &frames[..10]);
        assert!(matches!(first[9].outcome, Outcome::Calibrating { left: 55, .. }));
        // A gap is no window.
        assert!(matches!(monitor.gap().outcome, Outcome::SensorFault(_)));
        let second = push(monitor, &frames[10..65]);
        assert!(matches!(second[21].outcome, Outcome::Calibrating { left: 33, .. }));
        assert!(matches!(second[54].outcome, Outcome::Calibrating { left: 0, .. }));
        assert!(scores(&second[22..]).iter().sum::<i32>() < scores(&second[..22]).iter().sum::<i32>() / 20);
        let after = push(monitor, &frames[65..]);
        assert!(after.iter().all(|verdict| !verdict.alarm), "{after:?}");
        let faulty: Vec<Vec<i8>> = frames[..3]
            .iter()
            .map(|frame| frame.iter().enumerate().map(|(i, &v)| if i % 4 == 1 { v + 25 } else { v }).collect())
            .collect();
        assert!(push(monitor, &faulty).iter().all(|verdict| verdict.alarm));
        monitor.uncalibrate();
        assert!(!monitor.learner().has_learned());
        assert!(push(monitor, &frames[..1])[0].alarm);
    });
}

#[test]
fn without_room_scores_alone_are_learned() {
    let bytes = fusion();
    let model = Model::parse(bytes.as_slice()).unwrap();
    let frames = machine(40, 3, 4);
    let mut memory = vec![0; Monitor::<Portable>::memory_bytes(&model)];
    let mut other = memory.clone();
    let mut fixed = Monitor::<Portable>::new(model, &mut memory).unwrap();
    let mut bare = Monitor::<Portable, _>::with_learner(model, &mut other, &mut []).unwrap();
    fixed.calibrate(16).unwrap();
    bare.calibrate(16).unwrap();
    let samples: Vec<u8> = frames.concat().into_iter().map(i8::cast_unsigned).collect();
    let mut rest = samples.as_slice();
    let expected: Vec<Verdict> = std::iter::from_fn(|| fixed.push(&mut rest)).collect();
    assert_eq!(push(&mut bare, &frames), expected);
    assert_eq!(fixed.calibration(), bare.calibration());
    let mut state = vec![0; bare.state_bytes()];
    bare.export_to(&mut state).unwrap();
    bare.import_from(&state).unwrap();
    assert_eq!(state[..STATE_BYTES], fixed.export());
}

#[test]
fn what_cannot_be_learned_is_refused() {
    with(&fusion(), |monitor| {
        for given in [0, 16, 31, 4097, u16::MAX] {
            assert_eq!(monitor.calibrate(given), Err(CalibrationError::Scores { given, least: 32 }));
        }
        assert!(monitor.export_to(&mut vec![0; monitor.state_bytes() - 1]).is_err());
    });
    let bytes = fusion();
    let model = Model::parse(bytes.as_slice()).unwrap();
    let (mut memory, needed) = (vec![0; Monitor::<Portable>::memory_bytes(&model)], Learner::memory_bytes(&model));
    let mut room = vec![0; needed - 4];
    let refused = Monitor::<Portable, _>::with_learner(model, &mut memory, &mut room).err();
    let given = needed - 4;
    assert_eq!(refused, Some(MonitorError::Setup(SetupError::MemoryTooSmall { needed, given })));
}

#[test]
fn a_monitor_that_is_started_anew_goes_on_with_its_tables() {
    let bytes = fusion();
    let (frames, later) = (machine(60, 3, 12), machine(50, 3, 99));
    for cut in 0..frames.len() {
        let (state, expected) = with(&bytes, |monitor| {
            monitor.calibrate(40).unwrap();
            push(monitor, &frames[..cut]);
            let mut state = vec![0x77; monitor.state_bytes() + 5];
            assert_eq!(monitor.export_to(&mut state), Ok(state.len() - 5));
            state.truncate(state.len() - 5);
            (state, push(monitor, &later))
        });
        let found = with(&bytes, |monitor| {
            monitor.import_from(&state).unwrap();
            let mut again = vec![0; state.len()];
            monitor.export_to(&mut again).unwrap();
            assert_eq!(again, state, "{cut}");
            push(monitor, &later)
        });
        let outcomes = |verdicts: &[Verdict]| verdicts.iter().map(|v| (v.outcome, v.alarm)).collect::<Vec<_>>();
        assert_eq!(outcomes(&found), outcomes(&expected), "{cut}");
    }
}

#[test]
fn a_state_that_is_damaged_or_another_models_changes_nothing() {
    let bytes = fusion();
    let export = |monitor: &Monitor<'_, Portable, Learner<'_>>| {
        let mut state = vec![0; monitor.state_bytes()];
        monitor.export_to(&mut state).unwrap();
        state
    };
    let frames = machine(60, 3, 2);
    let states = [10, 60].map(|cut| {
        with(&bytes, |monitor| {
            monitor.calibrate(40).unwrap();
            push(monitor, &frames[..cut]);
            export(monitor)
        })
    });
    with(&bytes, |monitor| {
        let before = export(monitor);
        for state in &states {
            for length in 0..state.len() {
                let given = monitor.import_from(&state[..length]);
                assert!(given.is_err() || length == STATE_BYTES, "{length}");
            }
            monitor.uncalibrate();
            for bit in 0..8 * state.len() {
                let mut flipped = state.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(monitor.import_from(&flipped).is_err(), "bit {bit}");
            }
            assert_eq!(export(monitor), before);
        }
        // Two halves of different states.
        let mixed = [&states[0][..STATE_BYTES], &states[1][STATE_BYTES..]].concat();
        assert_eq!(monitor.import_from(&mixed), Err(StateError::Value));
        // Without tables those of the blob count.
        monitor.import_from(&states[1]).unwrap();
        assert!(monitor.learner().has_learned());
        monitor.import_from(&states[1][..STATE_BYTES]).unwrap();
        assert!(!monitor.learner().has_learned());
    });
    with(&mahalanobis(false, 3, true), |monitor| {
        assert!(matches!(monitor.import_from(&states[1]), Err(StateError::Model { .. })));
    });
}

/// Any tables whose checksum fits are refused, or measure and learn without overflow.
#[test]
fn forged_tables_do_no_harm() {
    let bytes = fusion();
    let frames = machine(60, 3, 2);
    let mut random = Random(6);
    let mut number = |below: usize| (((random.next() + 1.0) / 2.0) * below as f64) as usize % below;
    let mut accepted = 0;
    with(&bytes, |monitor| {
        monitor.calibrate(40).unwrap();
        push(monitor, &frames[..10]);
        let mut state = vec![0; monitor.state_bytes()];
        monitor.export_to(&mut state).unwrap();
        for _ in 0..3000 {
            let mut forged = state.clone();
            for _ in 0..4 {
                let at = STATE_BYTES + 64 + number(state.len() - STATE_BYTES - 64);
                forged[at] = number(256) as u8;
            }
            // A window less to come now and then, so that forged sums are concluded from.
            forged[STATE_BYTES + 20] = 1 + number(10) as u8;
            let crc = neji_format::header::checksum(&forged[STATE_BYTES..]).to_le_bytes();
            forged[STATE_BYTES + 60..STATE_BYTES + 64].copy_from_slice(&crc);
            if monitor.import_from(&forged).is_ok() {
                accepted += 1;
                push(monitor, &frames[20..32]);
            }
        }
    });
    assert!(accepted > 1000, "{accepted}");
}
