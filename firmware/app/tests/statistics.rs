//! Mean and deviation of each band over a window: those of the definition, whatever the signal and however it is cut.

mod listen;

use listen::{bytes, decibels, noise, pieces, run, run_bytes};
use neji_app::frontend::log_mel::inputs::{Inputs, Window};
use neji_app::frontend::log_mel::steps::Steps;
use neji_format::{BandQuantizer, Element, Multiplier};
use neji_tables::{Settings, Tables, quantizer};
use proptest::prelude::*;

const SMALL: Settings = Settings {
    sample_rate: 8000,
    fft_len: 64,
    hop: 24,
    mels: 8,
    context: 12,
    stride: 4,
    statistics: true,
    centered: false,
    epsilon: 1e-10,
    ..Settings::MLPERF
};

/// A mean or a deviation is off by half of 1/4096 before it is divided, and by half of 1/65536 behind.
const TOLERANCE: f64 = 1.0 / 8192.0 + 1.0 / 131_072.0;

/// Mean and deviation of each column by their definition.
fn expected(frames: &[Vec<i32>]) -> Vec<f64> {
    let count = frames.len() as f64;
    let columns = 0..frames[0].len();
    let mean = |band: usize| frames.iter().map(|frame| decibels(frame[band])).sum::<f64>() / count;
    let deviation = |band: usize| {
        let squares = frames.iter().map(|frame| (decibels(frame[band]) - mean(band)).powi(2));
        (squares.sum::<f64>() / count).sqrt()
    };
    columns.clone().map(mean).chain(columns.map(deviation)).collect()
}

/// A window's values in Q16, wherever an input is due.
fn values(window: Window, frames: &[Vec<i32>]) -> Vec<Vec<i32>> {
    let quantizers = [quantizer(0.0, 1.0, 1.0)];
    let steps = Steps { quantizers: &quantizers, element: Element::I8, zero_point: 0 };
    let features = frames[0].len();
    let mut memory = vec![0xA5A5_A5A5; Inputs::memory_words(features, window, &steps)];
    let mut inputs = Inputs::new(features, window, steps, &mut memory).unwrap();
    let mut due = Vec::new();
    for frame in frames {
        if inputs.push(frame) {
            due.push(inputs.statistics().unwrap().values().collect());
        }
    }
    due
}

/// Largest distance of what a window of these frames is from its definition.
fn farthest(window: Window, frames: &[Vec<i32>]) -> f64 {
    let found = values(window, frames);
    let windows = frames.windows(window.context.into()).step_by(window.stride.into());
    assert_eq!(found.len(), windows.len());
    let pairs = found.iter().zip(windows).flat_map(|(found, frames)| found.iter().zip(expected(frames)));
    pairs.fold(0.0, |most: f64, (&given, expected)| most.max((decibels(given) - expected).abs()))
}

#[test]
fn a_window_by_hand() {
    // 1, 2, 4, 5 dB: the mean is 3, the squared deviations 4 + 1 + 1 + 4.
    let frames = [1, 2, 4, 5].map(|value| vec![value << 16, -7 << 16]);
    let window = Window { context: 4, stride: 2, statistics: true };
    let root = (2.5f64.sqrt() * 65536.0).round() as i32;
    let [found] = &values(window, &frames)[..] else { panic!("one window") };
    assert_eq!(found[..2], [3 << 16, -7 << 16]);
    assert!((found[2] - root).abs() <= 4 && found[3] == 0, "{found:?} for {root}");
}

#[test]
fn windows_of_sound_are_those_of_the_definition_each_element_with_its_own_quantizer() {
    let tables = Tables::new(SMALL);
    let signal: Vec<i16> =
        noise(64 + 24 * 40, 3000).iter().enumerate().map(|(n, s)| s / (1 + (n / 200) as i16)).collect();
    let each: Vec<[i32; 3]> = (0..16)
        .map(
            |i| if i < 8 { quantizer(-20.0 - f64::from(i), 3.0, 0.1) } else { quantizer(2.0, 0.2 * f64::from(i), 0.1) },
        )
        .collect();
    let (frames, inputs) = run(tables.log_mel(&each, Element::I8, -3), &signal);
    // 41 frames: the first window ends with the twelfth, another every four.
    assert_eq!((frames.len(), inputs.len()), (41, 8));
    assert!(farthest(Window { context: 12, stride: 4, statistics: true }, &frames) < TOLERANCE);
    let mut clamped = 0;
    for (window, input) in frames.windows(12).step_by(4).zip(&inputs) {
        for (index, (&given, value)) in input.iter().zip(expected(window)).enumerate() {
            let (mean, deviation) = if index < 8 { (-20.0 - index as f64, 3.0) } else { (2.0, 0.2 * index as f64) };
            let real = (value - mean) / deviation / 0.1 - 3.0;
            clamped += usize::from(!(-128.0..=127.0).contains(&real));
            assert!((real.clamp(-128.0, 127.0) - f64::from(given)).abs() < 0.51, "{index}: {given} for {real}");
        }
    }
    assert!(clamped < 40, "{clamped} of 128 elements are at an end");
}

#[test]
fn a_window_of_one_block_and_one_of_the_most_frames() {
    let noise = |count: usize| -> Vec<Vec<i32>> {
        noise(3 * count, 32767).chunks_exact(3).map(|row| row.iter().map(|&v| i32::from(v) << 9).collect()).collect()
    };
    assert!(farthest(Window { context: 200, stride: 200, statistics: true }, &noise(600)) < TOLERANCE);
    assert!(farthest(Window { context: 8192, stride: 4096, statistics: true }, &noise(16_384)) < TOLERANCE);
    assert!(farthest(Window { context: 1, stride: 1, statistics: true }, &noise(9)) < TOLERANCE);
}

#[test]
fn the_farthest_features_do_not_overflow() {
    let frames: Vec<Vec<i32>> =
        (0..16_384).map(|t| vec![if t % 2 == 0 { i32::MIN } else { i32::MAX }, i32::MIN]).collect();
    for found in values(Window { context: 8192, stride: 8192, statistics: true }, &frames) {
        // Both ends count as 8192 units.
        assert_eq!(found, [0, -8192 << 16, 8192 << 16, 0]);
    }
}

#[test]
fn int16_elements_are_finer_steps() {
    let tables = Tables::new(SMALL);
    let (coarse, fine) = ([quantizer(-20.0, 5.0, 0.1)], [quantizer(-20.0, 5.0, 0.1 / 256.0)]);
    let signal = noise(64 + 24 * 20, 3000);
    let (_, coarse) = run(tables.log_mel(&coarse, Element::I8, 0), &signal);
    let (_, fine) = run(tables.log_mel(&fine, Element::I16, 0), &signal);
    let fine: Vec<i16> = fine
        .concat()
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0].cast_unsigned(), pair[1].cast_unsigned()]))
        .collect();
    assert_eq!((coarse.len(), fine.len()), (3, 48));
    for (&coarse, fine) in coarse.iter().flatten().zip(fine) {
        assert!((f64::from(fine) / 256.0 - f64::from(coarse)).abs() <= 0.505 || fine.abs() > 32_000, "{coarse} {fine}");
    }
}

#[test]
fn memory_does_not_grow_with_the_frames_of_a_block() {
    let tables = |context, stride| Tables::new(Settings { context, stride, statistics: true, ..Settings::MLPERF });
    let words = |context, stride| {
        let (tables, all) = (tables(context, stride), [quantizer(0.0, 1.0, 1.0)]);
        tables.log_mel(&all, Element::I8, 0).memory_words()
    };
    // Samples and features, then four words a band and block.
    assert_eq!([words(128, 32), words(8192, 2048), words(200, 200)].map(|w| w - 512 - 128), [2048, 2048, 512]);
}

#[test]
fn silence_and_square_waves_have_statistics() {
    let tables = Tables::new(SMALL);
    let all = [quantizer(0.0, 1.0, 1.0)];
    let config = tables.log_mel(&all, Element::I8, 0);
    let lives: [Vec<i16>; 4] = [
        vec![0; 1200],
        vec![i16::MIN; 1200],
        (0..1200).map(|n| if n % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
        (0..1200).map(|n| if n / 16 % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
    ];
    for life in lives {
        let (frames, inputs) = run(config, &life);
        assert_eq!((frames.len(), inputs.len()), (48, 10));
        assert!(farthest(config.inputs, &frames) < TOLERANCE);
    }
    // Silence has the mean of epsilon and does not vary.
    let (_, inputs) = run(config, &[0; 1200]);
    assert!(inputs.iter().all(|input| input[..8] == [-100; 8] && input[8..] == [0; 8]), "{inputs:?}");
}

proptest! {
    #[test]
    fn statistics_do_not_depend_on_how_the_stream_is_cut(
        signal in prop::collection::vec(any::<i16>(), 0..1500),
        cuts in prop::collection::vec(0usize..300, 0..40),
        stride in prop::sample::select(vec![1u16, 2, 3, 4, 6, 12]),
        centered: bool,
    ) {
        let tables = Tables::new(Settings { stride, centered, ..SMALL });
        let all = [quantizer(-10.0, 7.0, 0.1)];
        let config = tables.log_mel(&all, Element::I8, 5);
        let (frames, inputs) = run_bytes(config, &pieces(&bytes(&signal), &cuts));
        prop_assert_eq!((&frames, &inputs), (&run(config, &signal).0, &run(config, &signal).1));
        prop_assert_eq!(inputs.len(), (frames.len() + usize::from(stride)).saturating_sub(12) / usize::from(stride));
    }

    #[test]
    fn any_features_have_the_statistics_of_the_definition(
        frames in prop::collection::vec(prop::collection::vec(-(1i32 << 29)..1 << 29, 2), 12..60),
        stride in prop::sample::select(vec![1u16, 2, 3, 4, 6, 12]),
    ) {
        let window = Window { context: 12, stride, statistics: true };
        prop_assert!(farthest(window, &frames) < TOLERANCE);
    }

    #[test]
    fn no_windows_and_quantizers_panic(
        frames in prop::collection::vec(prop::collection::vec(any::<i32>(), 3), 0..40),
        context: u16,
        stride in 0u16..40,
        statistics: bool,
        quantizer: (i32, i32, i8),
    ) {
        let all = [BandQuantizer { mean: quantizer.0, multiplier: Multiplier { multiplier: quantizer.1 & i32::MAX, shift: quantizer.2 } }.to_words()];
        let steps = Steps { quantizers: &all, element: Element::I16, zero_point: 0 };
        let window = Window { context: context % 40, stride, statistics };
        let mut memory = vec![7; Inputs::memory_words(3, window, &steps)];
        let mut inputs = Inputs::new(3, window, steps, &mut memory).unwrap();
        for frame in frames {
            inputs.push(&frame);
            inputs.copy_to(&mut [0; 12]);
        }
    }
}
