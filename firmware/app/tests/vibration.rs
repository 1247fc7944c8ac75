//! Envelopes, moments, axes and waveforms: what vibration is heard by, against its definition in f64.

mod listen;

use std::f64::consts::TAU;

use listen::{bytes, decibels, noise, pieces, run, run_bytes};
use neji_app::SensorFault;
use neji_app::frontend::log_mel::LogMelStream;
use neji_format::{Element, WindowStatistics};
use neji_tables::{MelScale, Settings, Tables, Transform, hann, quantizer};
use proptest::prelude::*;

/// Sixteen bands of the envelope of every fourth sample.
const ENVELOPE: Settings = Settings {
    sample_rate: 8000,
    fft_len: 128,
    hop: 40,
    mels: 16,
    scale: MelScale::Linear,
    equal_area: false,
    centered: false,
    transform: Transform::Envelope,
    decimation: 4,
    epsilon: 1e-12,
    context: 1,
    ..Settings::MLPERF
};

/// Bands of the lines of a spectrum: triangles of the same height, whose corners are equally far apart from line 0 to the last.
fn triangles(powers: &[f64], bands: usize) -> Vec<f64> {
    let step = (powers.len() - 1) as f64 / (bands + 1) as f64;
    let weight = |band: usize, line: usize| 1.0 - (line as f64 / step - (band + 1) as f64).abs();
    let band = |band| powers.iter().enumerate().map(|(line, power)| weight(band, line).max(0.0) * power).sum();
    (0..bands).map(band).collect()
}

/// Powers of a windowed frame by the definition.
fn powers(frame: &[f64]) -> Vec<f64> {
    let (len, window) = (frame.len(), hann(frame.len()));
    let power = |k: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, (sample, weight)) in frame.iter().zip(&window).enumerate() {
            let (sin, cos) = (TAU * ((n * k) % len) as f64 / len as f64).sin_cos();
            (re, im) = (re + sample * weight * cos, im - sample * weight * sin);
        }
        re * re + im * im
    };
    (0..=len / 2).map(power).collect()
}

/// Features of the envelope by its definition, without any rounding.
fn expected_envelope(settings: &Settings, signal: &[i16]) -> Vec<Vec<f64>> {
    let signal: Vec<f64> = signal.iter().map(|&x| f64::from(x) / 32768.0).collect();
    let rectified: Vec<f64> =
        (0..signal.len()).map(|n| if n == 0 { 0.0 } else { (signal[n] - signal[n - 1]).abs() / 2.0 }).collect();
    let means = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let envelope: Vec<f64> = rectified.chunks_exact(settings.decimation.into()).map(means).collect();
    let frames = envelope.windows(settings.fft_len.into()).step_by(settings.hop.into());
    frames
        .map(|frame| {
            let mean = means(frame);
            let centred: Vec<f64> = frame.iter().map(|e| e - mean).collect();
            let bands = triangles(&powers(&centred), settings.mels.into());
            bands.into_iter().map(|power| 10.0 * (power + settings.epsilon).log10()).collect()
        })
        .collect()
}

/// A resonance at 2.9 kHz that is hit `rate` times a second, in noise.
fn hits(len: usize, rate: f64) -> Vec<i16> {
    let noise = noise(len, 600);
    let sample = |n: usize| {
        let since = (n as f64 / 8000.0 * rate).fract() / rate;
        14_000.0 * (-since * 900.0).exp() * (TAU * 2900.0 * since).sin()
    };
    (0..len).map(|n| (sample(n).round() as i16).saturating_add(noise[n])).collect()
}

#[test]
fn envelopes_are_those_of_the_definition() {
    let tables = Tables::new(ENVELOPE);
    let all = [quantizer(0.0, 1.0, 1.0)];
    for (settings, tolerance) in [(ENVELOPE, 0.05), (Settings { decimation: 1, ..ENVELOPE }, 0.05)] {
        for signal in [hits(2048, 100.0), noise(2048, 32_767), noise(2048, 900)] {
            let tables = Tables::new(settings);
            let (given, _) = run(tables.log_mel(&all, Element::I8, 0), &signal);
            let expected = expected_envelope(&settings, &signal);
            assert_eq!(given.len(), expected.len());
            let peak = expected.iter().flatten().copied().fold(f64::MIN, f64::max);
            let pairs =
                given.iter().flatten().zip(expected.iter().flatten()).filter(|(_, wanted)| **wanted > peak - 30.0);
            let apart = pairs.fold(0.0, |most: f64, (&given, wanted)| most.max((decibels(given) - wanted).abs()));
            println!("{apart:.4} dB apart, decimation {}", settings.decimation);
            assert!(apart < tolerance, "{apart} dB");
        }
    }
    // 100 hits a second are a line of the envelope: of 2000 / 128 = 15.6 Hz the seventh or so, in band 1 of 3.76 lines each.
    let (frames, _) = run(tables.log_mel(&all, Element::I8, 0), &hits(2048, 100.0));
    for frame in frames {
        let loudest = (0..16).max_by_key(|&band| frame[band]).unwrap();
        assert_eq!(loudest, 1, "{frame:?}");
    }
}

#[test]
fn moments_follow_the_bands() {
    let settings = Settings { transform: Transform::Spectrum, decimation: 1, moments: true, ..ENVELOPE };
    let without = Settings { moments: false, ..settings };
    let (with_tables, tables, all) = (Tables::new(settings), Tables::new(without), [quantizer(0.0, 1.0, 1.0)]);
    let signal: Vec<i16> = hits(1024, 50.0).into_iter().map(|x| x / 2 + 9000).collect();
    let (given, _) = run(with_tables.log_mel(&all, Element::I8, 0), &signal);
    let (bands, _) = run(tables.log_mel(&all, Element::I8, 0), &signal);
    let frames = signal.windows(128).step_by(40);
    assert_eq!((given.len(), given[0].len()), (bands.len(), 19));
    for ((given, bands), frame) in given.iter().zip(&bands).zip(frames) {
        assert_eq!(given[..16], bands[..]);
        let count = frame.len() as f64;
        let mean = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let moment = |power: i32| frame.iter().map(|&x| (f64::from(x) - mean).powi(power)).sum::<f64>() / count;
        let peak = frame.iter().map(|&x| (f64::from(x) - mean).abs()).fold(0.0, f64::max);
        let wanted = [moment(2) / 2f64.powi(30) + 1e-12, moment(4) / moment(2).powi(2), peak.powi(2) / moment(2)];
        for (&given, wanted) in given[16..].iter().zip(wanted) {
            assert!((decibels(given) - 10.0 * wanted.log10()).abs() < 1.5e-4, "{given} for {wanted}");
        }
    }
}

/// Three signals as a sensor of three axes gives them.
fn interleaved(axes: &[Vec<i16>]) -> Vec<i16> {
    (0..axes[0].len()).flat_map(|n| axes.iter().map(move |axis| axis[n])).collect()
}

#[test]
fn axes_are_heard_each_by_itself() {
    let signals = [hits(1500, 100.0), noise(1500, 20_000), noise(1500, 30)];
    for transform in [Transform::Spectrum, Transform::Envelope] {
        let one = Settings {
            transform,
            decimation: if transform == Transform::Envelope { 3 } else { 1 },
            moments: true,
            ..ENVELOPE
        };
        let three = Settings { axes: 3, context: 2, ..one };
        let (tables, all) = (Tables::new(three), [quantizer(-40.0, 5.0, 0.1)]);
        let (given, inputs) = run(tables.log_mel(&all, Element::I8, 0), &interleaved(&signals));
        let alone: Vec<_> =
            signals.iter().map(|signal| run(Tables::new(one).log_mel(&all, Element::I8, 0), signal)).collect();
        assert_eq!(given.len(), alone[0].0.len());
        for (index, frame) in given.iter().enumerate() {
            let wanted: Vec<i32> = alone.iter().flat_map(|(frames, _)| frames[index].clone()).collect();
            assert_eq!(*frame, wanted);
        }
        assert_eq!(inputs.len() + 1, given.len());
        for (index, input) in inputs.iter().enumerate() {
            let rows = [index, index + 1]
                .map(|row| alone.iter().flat_map(|(_, inputs)| inputs[row].clone()).collect::<Vec<i8>>());
            assert_eq!(*input, rows.concat());
        }
    }
}

#[test]
fn one_axis_that_is_stuck_is_a_fault() {
    let settings = Settings { transform: Transform::Spectrum, decimation: 1, axes: 2, range_min: 4, ..ENVELOPE };
    let (tables, all) = (Tables::new(settings), [quantizer(0.0, 1.0, 1.0)]);
    let config = tables.log_mel(&all, Element::I8, 0);
    let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
    let mut stream = LogMelStream::new(config, &mut memory).unwrap();
    let (alive, stuck) = (noise(128, 500), vec![99; 128]);
    for (axes, fault) in [
        ([alive.clone(), alive.clone()], Ok(())),
        ([alive.clone(), stuck.clone()], Err(SensorFault::Constant)),
        ([stuck, alive], Err(SensorFault::Constant)),
    ] {
        stream.restart();
        assert_eq!(stream.push(&mut &bytes(&interleaved(&axes))[..], &mut work), Some(true));
        assert_eq!(stream.check_sensor(), fault);
    }
}

#[test]
fn a_waveform_is_the_samples_in_order() {
    let settings = Settings { transform: Transform::Waveform, decimation: 1, hop: 64, fft_len: 64, ..ENVELOPE };
    let tables = Tables::new(settings);
    // A hundredth of full scale a deviation, a tenth of that a step.
    let all = [quantizer(0.0, 327.68, 0.1)];
    let signal = noise(64 * 5 + 63, 1000);
    let (frames, inputs) = run(tables.log_mel(&all, Element::I8, 0), &signal);
    assert_eq!((frames.len(), inputs.len()), (5, 5));
    for ((frame, input), samples) in frames.iter().zip(&inputs).zip(signal.chunks(64)) {
        assert!(frame.iter().zip(samples).all(|(&feature, &sample)| feature == i32::from(sample) << 16));
        for (&given, &sample) in input.iter().zip(samples) {
            assert!((f64::from(given) - f64::from(sample) / 32.768).abs() < 0.501, "{given} for {sample}");
        }
    }
    let ends: Vec<i16> = [i16::MIN, i16::MAX].repeat(32);
    let whole = [quantizer(0.0, 32_768.0, 1.0 / 128.0)];
    let (_, inputs) = run(tables.log_mel(&whole, Element::I8, 0), &ends);
    assert_eq!(inputs, [[-128_i8, 127].repeat(32)]);
}

#[test]
fn silence_constants_and_square_waves_are_features_of_any_transform() {
    let all = [quantizer(-60.0, 5.0, 0.1)];
    let lives: [fn(usize) -> i16; 5] = [
        |_| 0,
        |_| i16::MIN,
        |n| if n % 2 == 0 { i16::MAX } else { i16::MIN },
        |n| if n / 16 % 2 == 0 { i16::MAX } else { i16::MIN },
        |n| 20_000 + (n % 7) as i16,
    ];
    for transform in [Transform::Spectrum, Transform::Envelope, Transform::Waveform] {
        let settings = Settings {
            transform,
            decimation: if transform == Transform::Envelope { 2 } else { 1 },
            moments: transform != Transform::Waveform,
            axes: 2,
            context: 4,
            stride: 2,
            statistics: (transform != Transform::Waveform)
                .then_some(WindowStatistics { level_free: false, ..WindowStatistics::ALL }),
            ..ENVELOPE
        };
        settings.check().unwrap();
        let tables = Tables::new(settings);
        for life in lives {
            let signal: Vec<i16> = (0..2000).map(life).collect();
            let (frames, inputs) = run(tables.log_mel(&all, Element::I8, 0), &signal);
            assert!(frames.len() > 8 && inputs.len() > 2);
            let loud = |&value: &i32| transform == Transform::Waveform || (-121.0..60.0).contains(&decibels(value));
            assert!(frames.iter().flatten().all(loud), "{frames:?}");
        }
    }
}

proptest! {
    #[test]
    fn features_do_not_depend_on_how_the_stream_is_cut(
        signal in prop::collection::vec(any::<i16>(), 0..2500),
        cuts in prop::collection::vec(0usize..500, 0..40),
        transform in prop::sample::select(vec![Transform::Spectrum, Transform::Envelope, Transform::Waveform]),
        decimation in 1u16..5,
        axes in 1u8..=6,
        hop in 1u16..150,
        moments: bool,
        statistics: bool,
        centered: bool,
    ) {
        let decimation = if transform == Transform::Envelope { decimation } else { 1 };
        let settings = Settings {
            transform, decimation, axes, hop, moments, statistics: statistics.then_some(WindowStatistics::PLAIN), centered, ..ENVELOPE
        };
        let (tables, all) = (Tables::new(settings), [quantizer(-10.0, 7.0, 0.1)]);
        let config = tables.log_mel(&all, Element::I8, 5);
        prop_assert_eq!(run_bytes(config, &pieces(&bytes(&signal), &cuts)), run(config, &signal));
    }
}
