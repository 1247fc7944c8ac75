//! The log-mel front end's contract: librosa's features, whatever the signal and however the stream is cut.

mod listen;

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use listen::{bytes, decibels, noise, pieces, run, run_bytes};
use neji_app::SensorFault;
use neji_app::frontend::log_mel::inputs::Window;
use neji_app::frontend::log_mel::steps::Steps;
use neji_app::frontend::log_mel::{LogMel, LogMelStream};
use neji_format::{Band, BandQuantizer, Element, Epsilon, Multiplier, Transform};
use neji_tables::{MelScale, Settings, Tables, filter_bank, hann, quantizer};
use proptest::prelude::*;

/// Scale and zero point of the input of MLPerf Tiny's `ad01_int8.tflite`, whose features are not normalised.
const AD01: (f64, i8) = (0.391_015_231_609_344_5, 89);

const SMALL: Settings = Settings {
    sample_rate: 8000,
    fft_len: 64,
    hop: 24,
    mels: 8,
    low_hz: 50.0,
    high_hz: 3500.0,
    scale: MelScale::Htk,
    equal_area: false,
    centered: false,
    epsilon: 1e-10,
    context: 3,
    ..Settings::MLPERF
};

/// The features by their definition in f64, with none of the front end's code.
fn expected(settings: &Settings, samples: &[i16]) -> Vec<Vec<f64>> {
    let (len, hop) = (usize::from(settings.fft_len), usize::from(settings.hop));
    let mut padded = vec![0.0; if settings.centered { len / 2 } else { 0 }];
    padded.extend(samples.iter().map(|&sample| f64::from(sample) / 32768.0));
    let (window, bank) = (hann(len), filter_bank(settings));
    let feature = |frame: &[f64]| -> Vec<f64> {
        let power = |k: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, (sample, weight)) in frame.iter().zip(&window).enumerate() {
                let (sin, cos) = (TAU * ((n * k) % len) as f64 / len as f64).sin_cos();
                re += sample * weight * cos;
                im -= sample * weight * sin;
            }
            re * re + im * im
        };
        let powers: Vec<f64> = (0..=len / 2).map(power).collect();
        bank.iter()
            .map(|row| row.iter().zip(&powers).map(|(weight, power)| weight * power).sum::<f64>())
            .map(|power| 10.0 * (power + settings.epsilon).log10())
            .collect()
    };
    padded.windows(len).step_by(hop).map(feature).collect()
}

/// Largest distance among the features above `floor`, and how many there are.
fn farthest(given: &[Vec<i32>], expected: &[Vec<f64>], floor: f64) -> (f64, usize) {
    assert_eq!(given.len(), expected.len());
    let pairs = given.iter().flatten().zip(expected.iter().flatten()).filter(|(_, expected)| **expected > floor);
    pairs.fold((0.0, 0), |(most, count), (&given, &expected)| (most.max((decibels(given) - expected).abs()), count + 1))
}

#[test]
fn features_are_those_of_the_definition() {
    let tone = |hz: f64, amplitude: f64, len: usize| -> Vec<i16> {
        (0..len).map(|n| ((TAU * hz * n as f64 / 16_000.0).sin() * amplitude).round() as i16).collect()
    };
    let signals =
        [noise(2048, 32767), noise(2048, 20), noise(2048, 1), tone(437.0, 32767.0, 2048), tone(5000.0, 90.0, 2048)];
    let htk = Settings { scale: MelScale::Htk, equal_area: false, centered: false, hop: 1100, ..Settings::MLPERF };
    // The window's 16 bits are an error some 110 dB below the strongest line of a short frame, less in longer ones.
    for (settings, tolerance) in [(Settings::MLPERF, 0.005), (htk, 0.005), (SMALL, 0.05)] {
        let tables = Tables::new(settings);
        for (index, signal) in signals.iter().enumerate() {
            let expected = expected(&settings, signal);
            let (given, _) = run(tables.log_mel(&[quantizer(0.0, 1.0, 1.0)], Element::I8, 0), signal);
            let peak = expected.iter().flatten().copied().fold(f64::MIN, f64::max);
            let (apart, count) = farthest(&given, &expected, peak - 60.0);
            assert!(count > 0 && apart < tolerance, "signal {index}: {apart} dB apart, {settings:?}");
        }
    }
}

#[test]
fn bands_are_librosas() {
    // librosa.filters.mel(sr=16000, n_fft=1024, n_mels=128): band 0 has two lines, with weights known by hand.
    let bank = filter_bank(&Settings::MLPERF);
    let mels = 15.0 + 8f64.ln() / (6.4f64.ln() / 27.0);
    let step = mels / 129.0 * 200.0 / 3.0;
    let lines: Vec<_> = bank[0].iter().enumerate().filter(|(_, weight)| **weight > 0.0).collect();
    let fall = (2.0 * step - 31.25) / step * 2.0 / (2.0 * step);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!((lines[0].1 - 15.625 / step / step).abs() < 1e-12 && (lines[1].1 - fall).abs() < 1e-12, "{lines:?}");
}

#[test]
fn silence_is_epsilon_and_the_loudest_signals_are_finite() {
    let loud = [
        vec![i16::MIN; 4096],
        vec![i16::MAX; 4096],
        (0..4096).map(|n| if n / 16 % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
        (0..4096).map(|n| if n % 2 == 0 { i16::MAX } else { i16::MIN }).collect::<Vec<_>>(),
    ];
    let tables = Tables::new(Settings::MLPERF);
    let all = [quantizer(0.0, 1.0, AD01.0)];
    let config = tables.log_mel(&all, Element::I8, AD01.1);
    let (frames, inputs) = run(config, &[0; 4096]);
    let floor = 10.0 * f64::EPSILON.log10();
    assert!(frames.iter().flatten().all(|&value| (decibels(value) - floor).abs() < 1e-4));
    assert!(inputs.iter().flatten().all(|&value| value == -128));
    for signal in loud {
        let (frames, inputs) = run(config, &signal);
        assert_eq!((frames.len(), inputs.len()), (8, 4));
        // No band can have more than all of a full-scale frame in one line: 512^2 times the largest weight, 0.05.
        assert!(frames.iter().flatten().all(|&value| decibels(value) < 42.0 && decibels(value) > floor - 0.01));
    }
}

#[test]
fn input_is_the_last_frames_in_order_each_band_with_its_own_quantizer() {
    let tables = Tables::new(SMALL);
    let each: Vec<[i32; 3]> =
        (0..8).map(|band| quantizer(-20.0 - f64::from(band), 2.0 + f64::from(band), 0.1)).collect();
    let (frames, inputs) = run(tables.log_mel(&each, Element::I8, -3), &noise(64 + 24 * 7, 3000));
    assert_eq!((frames.len(), inputs.len()), (8, 6));
    for (window, input) in frames.windows(3).zip(&inputs) {
        for ((index, &value), &given) in window.iter().flatten().enumerate().zip(input) {
            let band = (index % 8) as f64;
            let real = (decibels(value) + 20.0 + band) / (2.0 + band) / 0.1 - 3.0;
            assert!((real.clamp(-128.0, 127.0) - f64::from(given)).abs() < 0.501, "{index}: {given} for {real}");
        }
    }
}

#[test]
fn centred_frames_begin_with_zeros() {
    let (tables, centred) = (Tables::new(SMALL), Tables::new(Settings { centered: true, ..SMALL }));
    let all = [quantizer(0.0, 1.0, 1.0)];
    let signal = noise(300, 9000);
    let (given, _) = run(centred.log_mel(&all, Element::I8, 0), &signal);
    let (padded, _) = run_bytes(tables.log_mel(&all, Element::I8, 0), &[&[0; 64], &bytes(&signal)]);
    assert_eq!(given, padded);
    assert_eq!(given.len(), (300 - 32) / 24 + 1);
}

#[test]
fn int16_inputs_are_finer_steps_of_the_same_features() {
    let tables = Tables::new(SMALL);
    let (coarse, fine) = ([quantizer(-20.0, 5.0, 0.1)], [quantizer(-20.0, 5.0, 0.1 / 256.0)]);
    let signal = noise(64 + 24 * 7, 3000);
    let (_, coarse) = run(tables.log_mel(&coarse, Element::I8, 0), &signal);
    let (_, fine) = run(tables.log_mel(&fine, Element::I16, 0), &signal);
    assert_eq!((coarse.len(), fine.len()), (6, 6));
    for (&coarse, fine) in coarse.iter().flatten().zip(fine.as_flattened_chunks()) {
        let clamped = (f64::from(fine) / 256.0).clamp(-128.0, 127.0);
        assert!((clamped - f64::from(coarse)).abs() <= 0.505, "{coarse} and {fine}");
    }
}

/// Elements of int16.
trait AsFlattenedChunks {
    fn as_flattened_chunks(&self) -> Vec<i16>;
}

impl AsFlattenedChunks for Vec<Vec<i8>> {
    fn as_flattened_chunks(&self) -> Vec<i16> {
        let bytes: Vec<u8> = self.iter().flatten().map(|byte| byte.cast_unsigned()).collect();
        bytes.as_chunks().0.iter().map(|&pair| i16::from_le_bytes(pair)).collect()
    }
}

#[test]
fn a_stride_leaves_inputs_out() {
    let (each, third) = (Tables::new(SMALL), Tables::new(Settings { stride: 3, ..SMALL }));
    let all = [quantizer(-20.0, 5.0, 0.1)];
    let signal = noise(64 + 24 * 11, 3000);
    let (_, each) = run(each.log_mel(&all, Element::I8, 0), &signal);
    let (_, third) = run(third.log_mel(&all, Element::I8, 0), &signal);
    assert_eq!((each.len(), third.len()), (10, 4));
    assert!(third.iter().eq(each.iter().step_by(3)));
}

#[test]
fn a_restart_leaves_nothing_behind() {
    let tables = Tables::new(SMALL);
    let all = [quantizer(0.0, 1.0, 1.0)];
    let config = tables.log_mel(&all, Element::I8, 0);
    let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
    let mut stream = LogMelStream::new(config, &mut memory).unwrap();
    // Half a sample as well.
    let before = [bytes(&noise(200, 30_000)), vec![7]].concat();
    let mut rest = &before[..];
    while stream.push(&mut rest, &mut work).is_some() {}
    stream.restart();
    let signal = noise(64, 500);
    assert_eq!(stream.push(&mut &bytes(&signal)[..], &mut work), Some(false), "an input needs three frames");
    assert_eq!(stream.decibels(), run(config, &signal).0[0]);
}

#[test]
fn a_sensor_that_is_stuck_or_saturated() {
    let tables = Tables::new(Settings { range_min: 4, saturated_max: 100, context: 1, ..SMALL });
    let all = [quantizer(0.0, 1.0, 1.0)];
    let config = tables.log_mel(&all, Element::I8, 0);
    let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
    let mut stream = LogMelStream::new(config, &mut memory).unwrap();
    let mut check = |signal: &[i16]| {
        assert_eq!(stream.push(&mut &bytes(signal)[..], &mut work), Some(true));
        stream.check_sensor()
    };
    let mut loud = noise(64, 30_000);
    loud[..6].fill(i16::MIN);
    assert_eq!(check(&loud), Ok(()));
    // The hop is 24 samples; only what came since the last input counts.
    assert_eq!(check(&[100; 24]), Err(SensorFault::Constant));
    let mut quiet = [100; 24];
    quiet[3] = 104;
    assert_eq!(check(&quiet), Ok(()));
    quiet[4..7].copy_from_slice(&[i16::MAX, i16::MIN, i16::MIN]);
    assert_eq!(check(&quiet), Err(SensorFault::Saturated));
}

#[test]
fn too_little_memory_is_refused() {
    let tables = Tables::new(SMALL);
    let all = [quantizer(0.0, 1.0, 1.0)];
    let good = tables.log_mel(&all, Element::I8, 0);
    let needed = good.memory_words();
    assert!(LogMelStream::new(good, &mut vec![0; needed]).is_some());
    assert!(LogMelStream::new(good, &mut vec![0; needed - 1]).is_none());
}

#[test]
fn memory_of_the_mlperf_settings() {
    let tables = Tables::new(Settings::MLPERF);
    let all = [quantizer(0.0, 1.0, AD01.0)];
    let config = tables.log_mel(&all, Element::I8, AD01.1);
    // Samples 2048, features 512, input 640; the spectrum lies where the arena will.
    assert_eq!((4 * config.memory_words(), 4 * config.work_words()), (3200, 4104));
    println!("tables: {} bytes, {} weights", tables.bytes(), config.weights.len());
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut(
        signal in prop::collection::vec(any::<i16>(), 0..700),
        cuts in prop::collection::vec(0usize..180, 0..40),
        hop in 1u16..150,
        stride in 1u16..4,
        centered: bool,
    ) {
        let tables = Tables::new(Settings { hop, stride, centered, ..SMALL });
        let all = [quantizer(-10.0, 7.0, 0.1)];
        let config = tables.log_mel(&all, Element::I8, 5);
        let whole = bytes(&signal);
        prop_assert_eq!(run_bytes(config, &pieces(&whole, &cuts)), run(config, &signal));
    }

    #[test]
    fn no_admitted_parameters_panic(
        signal in prop::collection::vec(prop_oneof![any::<i16>(), Just(i16::MIN), Just(i16::MAX)], 200),
        window in prop::collection::vec(any::<u16>(), 64),
        sine in prop::collection::vec(-(1i32 << 30)..=1 << 30, 17),
        weights in prop::collection::vec(any::<u16>(), 33),
        shift in 0u16..=64,
        epsilon in (1u32.., 0u16..=256),
        quantizer in (any::<i32>(), 0.., -31i8..=0),
        zero_point: i8,
        context in 1u16..4,
    ) {
        let multiplier = Multiplier { multiplier: quantizer.1, shift: quantizer.2 };
        let all = [BandQuantizer { mean: quantizer.0, multiplier }.to_words()];
        let bands = [Band { first: 0, len: 33, shift }, Band { first: 33, len: 0, shift: 0 }].map(Band::to_words);
        let config = LogMel {
            axes: 1, transform: Transform::Spectrum, moments: true, fft_len: 64, hop: 24, centered: false, window: &window, sine: &sine, bands: &bands, weights: &weights,
            epsilon: Epsilon { mantissa: epsilon.0, shift: epsilon.1 },
            steps: Steps { quantizers: &all, element: Element::I8, zero_point },
            inputs: Window { context, stride: 1, statistics: None }, range_min: 0, saturated_max: 1000,
        };
        let (frames, inputs) = run(config, &signal);
        prop_assert_eq!(inputs.len(), frames.len() + 1 - usize::from(context));
    }
}

/// The clips with librosa's features; none where they are not there.
fn clips() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/toycar-wav");
    let folder = std::env::var_os("NEJI_TOYCAR_WAV").map_or(folder, PathBuf::from);
    let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let clips: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "wav")).collect();
    if clips.is_empty() {
        println!("skipped: no clips in {} (or where NEJI_TOYCAR_WAV says)", folder.display());
    }
    clips
}

/// MLPerf Tiny's settings on ToyADMOS clips against librosa: frames 50 to 250 of each.
#[test]
fn features_and_inputs_are_librosas() {
    let tables = Tables::new(Settings::MLPERF);
    let all = [quantizer(0.0, 1.0, AD01.0)];
    for clip in clips() {
        let samples: Vec<i16> = hound::WavReader::open(&clip).unwrap().samples().map(Result::unwrap).collect();
        let (frames, inputs) = run(tables.log_mel(&all, Element::I8, AD01.1), &samples);
        let stem = clip.file_stem().unwrap().to_str().unwrap();
        let bytes = std::fs::read(clip.with_file_name(format!("{stem}_hist_librosa.bin"))).unwrap();
        let expected: Vec<Vec<f64>> = bytes
            .chunks_exact(4 * 128)
            .map(|row| row.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap()).into()).collect())
            .collect();
        let peak = expected.iter().flatten().copied().fold(f64::MIN, f64::max);
        let (apart, count) = farthest(&frames[50..250], &expected, peak - 60.0);
        let (anywhere, total) = farthest(&frames[50..250], &expected, f64::MIN);
        let quantize = |value: f64| (value / AD01.0).round() + f64::from(AD01.1);
        let wanted =
            expected.windows(5).flat_map(|window| window.iter().flatten().map(|&v| quantize(v).clamp(-128.0, 127.0)));
        let (mut off, mut steps, mut values) = (0usize, 0.0f64, 0usize);
        // An input is known when its last frame is: the first of frames 50 … 54 is the 46th of whole frames.
        assert_eq!(inputs.len() + 4, frames.len());
        for (given, wanted) in inputs[50..50 + 196].iter().flatten().zip(wanted) {
            let distance = (f64::from(*given) - wanted).abs();
            (off, steps, values) = (off + usize::from(distance > 0.0), steps.max(distance), values + 1);
        }
        println!(
            "{stem}: {apart:.5} dB apart at most in {count} values above -60 dB, {anywhere:.5} dB in all {total}; \
             {off} of {values} input values differ, by {steps} at most"
        );
        assert_eq!((total, values), (200 * 128, 196 * 640));
        assert!(apart < 0.02, "{stem}: {apart} dB");
        assert!(steps <= 1.0 && off * 100 <= values, "{stem}: {off} of {values} by {steps}");
    }
}
