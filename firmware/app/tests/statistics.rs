//! What is typical of each band over a window: that of the definition, whatever the signal and however it is cut.

mod listen;

use listen::{bytes, decibels, noise, pieces, run, run_bytes};
use neji_app::frontend::log_mel::LogMelStream;
use neji_app::frontend::log_mel::inputs::{Inputs, Window};
use neji_app::frontend::log_mel::steps::Steps;
use neji_format::{BandQuantizer, Element, Multiplier, WindowStatistics};
use neji_tables::{Settings, Tables, quantizer};
use proptest::prelude::*;

const PLAIN: WindowStatistics = WindowStatistics::PLAIN;
const ALL: WindowStatistics = WindowStatistics::ALL;

const SMALL: Settings = Settings {
    sample_rate: 8000,
    fft_len: 64,
    hop: 24,
    mels: 8,
    context: 12,
    stride: 4,
    statistics: Some(ALL),
    centered: false,
    epsilon: 1e-10,
    ..Settings::MLPERF
};

/// Half of 1/4096, to which features are rounded, and half of 1/65536.
const FEATURE_ERROR: f64 = 1.0 / 8192.0;
const LAST_DIGIT: f64 = 1.0 / 131_072.0;

fn window(context: u16, stride: u16, statistics: WindowStatistics) -> Window {
    Window { context, stride, statistics: Some(statistics) }
}

fn kinds() -> impl Strategy<Value = WindowStatistics> {
    any::<[bool; 4]>().prop_map(|[level_free, logarithms, differences, blocks]| WindowStatistics {
        level_free,
        logarithms,
        differences,
        blocks,
    })
}

/// A row's elements by their definition, each with how far the integers may be from it. `block` frames have differences among
/// themselves only.
fn row(frames: &[Vec<i32>], block: usize, kind: WindowStatistics) -> Vec<(f64, f64)> {
    let count = frames.len() as f64;
    let columns: Vec<Vec<f64>> =
        (0..frames[0].len()).map(|band| frames.iter().map(|frame| decibels(frame[band])).collect()).collect();
    let means: Vec<f64> = columns.iter().map(|column| column.iter().sum::<f64>() / count).collect();
    let level = means.iter().sum::<f64>() / means.len() as f64;
    let deviations = columns
        .iter()
        .zip(&means)
        .map(|(column, mean)| (column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt());
    let differences = columns.iter().map(|column| {
        let all: Vec<f64> =
            column.chunks(block).flat_map(|block| block.windows(2)).map(|pair| (pair[1] - pair[0]).abs()).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    });
    let scaled = |value: f64, error: f64| match kind.logarithms {
        true => (10.0 * (value + 0.05).log10(), 4.35 * error / (value + 0.05 - error) + 5e-5),
        false => (value, error),
    };
    let error = FEATURE_ERROR + LAST_DIGIT;
    let deviation_error = FEATURE_ERROR + 2.0 * LAST_DIGIT;
    let mut row: Vec<(f64, f64)> = match kind.level_free {
        true => means.iter().map(|mean| (mean - level, 2.0 * error)).collect(),
        false => means.iter().map(|&mean| (mean, error)).collect(),
    };
    row.extend(deviations.map(|deviation| scaled(deviation, deviation_error)));
    if kind.differences {
        row.extend(differences.map(|difference| scaled(difference, 2.0 * FEATURE_ERROR + LAST_DIGIT)));
    }
    row
}

/// All rows of a window's frames by their definition.
fn expected(frames: &[Vec<i32>], Window { stride, statistics, .. }: Window) -> Vec<(f64, f64)> {
    let (stride, kind) = (usize::from(stride), statistics.unwrap());
    let mut rows = Vec::new();
    if kind.blocks {
        rows.extend(frames.chunks(stride).flat_map(|block| row(block, stride, kind)));
    }
    rows.extend(row(frames, stride, kind));
    rows
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

/// Most that what a window of these frames has is from its definition, in what it may be.
fn farthest(window: Window, frames: &[Vec<i32>]) -> f64 {
    let found = values(window, frames);
    let windows = frames.windows(window.context.into()).step_by(window.stride.into());
    assert_eq!(found.len(), windows.len());
    let mut most = 0.0;
    for (found, frames) in found.iter().zip(windows) {
        let expected = expected(frames, window);
        assert_eq!((found.len(), found.len()), (expected.len(), window.input_len(frames[0].len())));
        for (&given, (value, tolerance)) in found.iter().zip(expected) {
            most = f64::max(most, (decibels(given) - value).abs() / tolerance);
        }
    }
    most
}

#[test]
fn a_window_by_hand() {
    // 1, 2, 4, 5 dB: the mean is 3, the squared deviations 4 + 1 + 1 + 4.
    let frames = [1, 2, 4, 5].map(|value| vec![value << 16, -7 << 16]);
    let root = (2.5f64.sqrt() * 65536.0).round() as i32;
    let [found] = &values(window(4, 2, PLAIN), &frames)[..] else { panic!("one window") };
    assert_eq!(found[..2], [3 << 16, -7 << 16]);
    assert!((found[2] - root).abs() <= 4 && found[3] == 0, "{found:?} for {root}");
    // Blocks 1, 2 and 4, 5: the step from 2 to 4 is neither's. Levels (1.5 - 7) / 2, (4.5 - 7) / 2, (3 - 7) / 2.
    let kind = WindowStatistics { logarithms: false, ..ALL };
    let [found] = &values(window(4, 2, kind), &frames)[..] else { panic!("one window") };
    let whole = |value: f64| (value * 65536.0) as i32;
    assert_eq!(found[..6], [4.25, -4.25, 0.5, 0.0, 1.0, 0.0].map(whole));
    assert_eq!(found[6..12], [5.75, -5.75, 0.5, 0.0, 1.0, 0.0].map(whole));
    assert_eq!((&found[12..14], &found[16..]), (&[5.0, -5.0].map(whole)[..], &[1.0, 0.0].map(whole)[..]));
    // 10 log10(0.05) = -13.0103 is the logarithm of nothing, 10 log10(1.05) = 0.2119.
    let [found] = &values(window(4, 2, ALL), &frames)[..] else { panic!("one window") };
    let close = |given: i32, expected: f64| (decibels(given) - expected).abs() < 2e-3;
    assert!(close(found[15], -13.0103) && close(found[16], 0.2119) && close(found[17], -13.0103), "{found:?}");
}

#[test]
fn rows_of_sound_are_those_of_the_definition_each_element_with_its_own_quantizer() {
    let tables = Tables::new(SMALL);
    let signal: Vec<i16> =
        noise(64 + 24 * 40, 3000).iter().enumerate().map(|(n, s)| s / (1 + (n / 200) as i16)).collect();
    // A row of 24: of blocks, then of the window.
    let (mean, deviation) =
        (|i: usize| if i % 24 < 8 { (i % 8) as f64 - 2.0 } else { i as f64 / 12.0 }, |i: usize| 0.5 + i as f64 / 8.0);
    let each: Vec<[i32; 3]> = (0..48).map(|i| quantizer(mean(i), deviation(i), 0.1)).collect();
    let config = tables.log_mel(&each, Element::I8, -3);
    let (frames, inputs) = run(config, &signal);
    // 41 frames: the first window ends with the twelfth, another every four; three blocks and the window.
    assert_eq!((frames.len(), inputs.len(), inputs[0].len()), (41, 8, 4 * 24));
    assert!(farthest(config.inputs, &frames) < 1.0);
    let mut clamped = 0;
    for (window, input) in frames.windows(12).step_by(4).zip(&inputs) {
        for (index, (&given, (value, _))) in input.iter().zip(expected(window, config.inputs)).enumerate() {
            let own = if index < 3 * 24 { index % 24 } else { index - 2 * 24 };
            let real = (value - mean(own)) / deviation(own) / 0.1 - 3.0;
            clamped += usize::from(!(-128.0..=127.0).contains(&real));
            assert!((real.clamp(-128.0, 127.0) - f64::from(given)).abs() < 0.75, "{index}: {given} for {real}");
        }
    }
    assert!(clamped < 80, "{clamped} of 768 elements are at an end");
}

#[test]
fn a_window_of_one_block_and_one_of_the_most_frames() {
    let noise = |count: usize| -> Vec<Vec<i32>> {
        noise(3 * count, 32767).chunks_exact(3).map(|row| row.iter().map(|&v| i32::from(v) << 9).collect()).collect()
    };
    for kind in [PLAIN, ALL] {
        assert!(farthest(window(200, 200, kind), &noise(600)) < 1.0);
        assert!(farthest(window(8192, 4096, kind), &noise(16_384)) < 1.0);
        assert!(farthest(window(1, 1, kind), &noise(9)) < 1.0);
    }
}

#[test]
fn the_farthest_features_do_not_overflow() {
    let frames: Vec<Vec<i32>> =
        (0..16_384).map(|t| vec![if t % 2 == 0 { i32::MIN } else { i32::MAX }, i32::MIN]).collect();
    for found in values(window(8192, 8192, PLAIN), &frames) {
        // Both ends count as 8192 units.
        assert_eq!(found, [0, -8192 << 16, 8192 << 16, 0]);
    }
    for found in values(window(8192, 8192, WindowStatistics { logarithms: false, ..ALL }), &frames) {
        let row = [4096 << 16, -4096 << 16, 8192 << 16, 0, 16384 << 16, 0];
        assert_eq!((&found[..6], &found[6..]), (&row[..], &row[..]));
    }
}

#[test]
fn how_loud_a_machine_is_makes_no_difference_where_it_is_not_to() {
    // 6 dB more in whole steps of features.
    let quiet: Vec<Vec<i32>> =
        noise(80, 32767).chunks_exact(4).map(|row| row.iter().map(|&v| i32::from(v) << 8).collect()).collect();
    let loud: Vec<Vec<i32>> = quiet.iter().map(|row| row.iter().map(|v| v + (6 << 16)).collect()).collect();
    assert_eq!(values(window(8, 4, ALL), &quiet), values(window(8, 4, ALL), &loud));
    let louder = WindowStatistics { level_free: false, ..ALL };
    assert_ne!(values(window(8, 4, louder), &quiet), values(window(8, 4, louder), &loud));
}

#[test]
fn int16_elements_are_finer_steps() {
    let tables = Tables::new(SMALL);
    let (coarse, fine) = ([quantizer(0.0, 5.0, 0.1)], [quantizer(0.0, 5.0, 0.1 / 256.0)]);
    let signal = noise(64 + 24 * 20, 3000);
    let (_, coarse) = run(tables.log_mel(&coarse, Element::I8, 0), &signal);
    let (_, fine) = run(tables.log_mel(&fine, Element::I16, 0), &signal);
    let fine: Vec<i16> = fine
        .concat()
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0].cast_unsigned(), pair[1].cast_unsigned()]))
        .collect();
    assert_eq!((coarse.len(), fine.len()), (3, 3 * 4 * 24));
    for (&coarse, fine) in coarse.iter().flatten().zip(fine) {
        assert!((f64::from(fine) / 256.0 - f64::from(coarse)).abs() <= 0.505 || fine.abs() > 32_000, "{coarse} {fine}");
    }
}

#[test]
fn memory_does_not_grow_with_the_frames_of_a_block() {
    let words = |context, stride, statistics| {
        let tables = Tables::new(Settings { context, stride, statistics: Some(statistics), ..Settings::MLPERF });
        let all = [quantizer(0.0, 1.0, 1.0)];
        tables.log_mel(&all, Element::I8, 0).memory_words()
    };
    // Samples and features, then four words a band and block.
    let plain = [(128, 32), (8192, 2048), (200, 200)].map(|(context, stride)| words(context, stride, PLAIN));
    assert_eq!(plain.map(|words| words - 512 - 128), [2048, 2048, 512]);
    // With differences two more, and one a band.
    assert_eq!(words(128, 32, ALL) - 512 - 128, 128 * (4 * 6 + 1));
}

#[test]
fn silence_and_square_waves_have_statistics() {
    let lives: [Vec<i16>; 4] = [
        vec![0; 1200],
        vec![i16::MIN; 1200],
        (0..1200).map(|n| if n % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
        (0..1200).map(|n| if n / 16 % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
    ];
    let all = [quantizer(0.0, 1.0, 1.0)];
    for statistics in [PLAIN, ALL] {
        let tables = Tables::new(Settings { statistics: Some(statistics), ..SMALL });
        let config = tables.log_mel(&all, Element::I8, 0);
        for life in &lives {
            let (frames, inputs) = run(config, life);
            assert_eq!((frames.len(), inputs.len()), (48, 10));
            assert!(farthest(config.inputs, &frames) < 1.0);
        }
        // Silence has the mean of epsilon, or of nothing where that is the level, and does not vary.
        let (_, inputs) = run(config, &[0; 1200]);
        let row = if statistics == ALL { [[0; 8], [-13; 8], [-13; 8]].concat() } else { [[-100; 8], [0; 8]].concat() };
        assert!(inputs.iter().all(|input| input.chunks_exact(row.len()).all(|own| own == row)), "{inputs:?}");
    }
}

#[test]
fn after_a_gap_nothing_is_left_of_what_was_before() {
    let tables = Tables::new(SMALL);
    let all = [quantizer(0.0, 5.0, 0.1)];
    let config = tables.log_mel(&all, Element::I8, 0);
    let (before, after) = (bytes(&noise(64 + 24 * 17 + 5, 30_000)), noise(64 + 24 * 20, 900));
    let (mut memory, mut work) = (vec![0; config.memory_words()], vec![0; config.work_words()]);
    let mut stream = LogMelStream::new(config, &mut memory).unwrap();
    let mut rest = &before[..];
    while stream.push(&mut rest, &mut work).is_some() {}
    stream.restart();
    let (samples, mut inputs) = (bytes(&after), Vec::new());
    let mut rest = &samples[..];
    while let Some(due) = stream.push(&mut rest, &mut work) {
        if due {
            let mut input = vec![0; config.inputs.input_len(8)];
            stream.input(&mut input);
            inputs.push(input);
        }
    }
    assert_eq!((inputs.len(), &inputs), (3, &run(config, &after).1));
}

proptest! {
    #[test]
    fn statistics_do_not_depend_on_how_the_stream_is_cut(
        signal in prop::collection::vec(any::<i16>(), 0..1500),
        cuts in prop::collection::vec(0usize..300, 0..40),
        stride in prop::sample::select(vec![1u16, 2, 3, 4, 6, 12]),
        centered: bool,
        kind in kinds(),
    ) {
        let tables = Tables::new(Settings { stride, centered, statistics: Some(kind), ..SMALL });
        let all = [quantizer(-10.0, 7.0, 0.1)];
        let config = tables.log_mel(&all, Element::I8, 5);
        let (frames, inputs) = run_bytes(config, &pieces(&bytes(&signal), &cuts));
        prop_assert_eq!((&frames, &inputs), (&run(config, &signal).0, &run(config, &signal).1));
        prop_assert_eq!(inputs.len(), (frames.len() + usize::from(stride)).saturating_sub(12) / usize::from(stride));
    }

    #[test]
    fn any_features_have_the_statistics_of_the_definition(
        frames in prop::collection::vec(prop::collection::vec(-(1i32 << 29)..1 << 29, 2), 12..60),
        small: bool,
        stride in prop::sample::select(vec![1u16, 2, 3, 4, 6, 12]),
        kind in kinds(),
    ) {
        // Small ones are near what is added before a logarithm.
        let frames: Vec<Vec<i32>> = frames
            .into_iter()
            .map(|frame| frame.into_iter().map(|value| if small { value >> 14 } else { value }).collect())
            .collect();
        let most = farthest(window(12, stride, kind), &frames);
        prop_assert!(most < 1.0, "{most}");
    }

    #[test]
    fn no_windows_and_quantizers_panic(
        frames in prop::collection::vec(prop::collection::vec(any::<i32>(), 3), 0..40),
        context: u16,
        stride in 0u16..40,
        statistics in prop::option::of(kinds()),
        quantizer: (i32, i32, i8),
        quantizers in 0usize..20,
    ) {
        let own = BandQuantizer { mean: quantizer.0, multiplier: Multiplier { multiplier: quantizer.1 & i32::MAX, shift: quantizer.2 } }.to_words();
        let all = vec![own; quantizers];
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
