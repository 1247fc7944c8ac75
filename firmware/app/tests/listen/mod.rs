#![allow(dead_code, reason = "each test binary uses a part")]
//! A stream of sound as tests look at it.

use neji_app::frontend::log_mel::{LogMel, LogMelStream};

/// Each frame's features in Q16 and each input.
pub(crate) fn run_bytes(config: LogMel, pieces: &[&[u8]]) -> (Vec<Vec<i32>>, Vec<Vec<i8>>) {
    let (mut memory, mut work) = (vec![0xA5A5_A5A5; config.memory_words()], vec![0x5A5A_5A5A; config.work_words()]);
    let mut stream = LogMelStream::new(config, &mut memory).unwrap();
    let (mut frames, mut inputs) = (Vec::new(), Vec::new());
    let mut input = vec![0; config.inputs.input_len(config.features()) * config.steps.element.bytes()];
    for &piece in pieces {
        let mut samples = piece;
        while let Some(due) = stream.push(&mut samples, &mut work) {
            frames.push(stream.decibels().to_vec());
            if due {
                stream.input(&mut input);
                inputs.push(input.clone());
            }
        }
        assert!(samples.is_empty());
    }
    (frames, inputs)
}

/// [`run_bytes`] of a signal in one piece.
pub(crate) fn run(config: LogMel, signal: &[i16]) -> (Vec<Vec<i32>>, Vec<Vec<i8>>) {
    run_bytes(config, &[&bytes(signal)])
}

/// A signal as a sensor gives it.
pub(crate) fn bytes(signal: &[i16]) -> Vec<u8> {
    signal.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// `whole` in pieces of the lengths `cuts`, then the rest.
pub(crate) fn pieces<'a>(whole: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), whole);
    for &cut in cuts {
        let (piece, later) = rest.split_at(cut.min(rest.len()));
        pieces.push(piece);
        rest = later;
    }
    pieces.push(rest);
    pieces
}

/// A feature in its unit.
pub(crate) fn decibels(value: i32) -> f64 {
    f64::from(value) / 65536.0
}

/// Uniform noise.
pub(crate) fn noise(len: usize, amplitude: i64) -> Vec<i16> {
    let mut state = 7u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (i64::from(state >> 16) * (2 * amplitude + 1) / 65536 - amplitude) as i16
        })
        .collect()
}
