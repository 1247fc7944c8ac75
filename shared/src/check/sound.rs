//! The sound front end: that frames, bands and quantizers fit their tables and the model's input.

use super::{constant, is_normal};
use crate::decode::Model;
use crate::error::{DecodeError, FrontEndFault, Place};
use crate::front_end::{
    AXES_MAX, Band, BandQuantizer, DECIMATION_MAX, FFT_LEN_MAX, FFT_LEN_MIN, INPUT_LEN_MAX, LogMelFrontEnd, MOMENTS,
    SINE_BITS, STATISTICS_FRAMES_MAX, Transform, WindowStatistics,
};
use crate::tensor::Constant;

/// Most bits that a band's weights are shifted by.
const BAND_SHIFT_MAX: u16 = 64;
/// Largest shift of epsilon.
const EPSILON_SHIFT_MAX: u16 = 256;

fn fault<T>(fault: FrontEndFault) -> Result<T, DecodeError> {
    Err(DecodeError::FrontEnd(fault))
}

/// Checks that a constant is whole elements of `bytes`; their number.
fn elements(model: &Model<'_>, given: Constant, bytes: u32) -> Result<u32, DecodeError> {
    let count = given.bytes / bytes;
    constant(model, Place::FrontEnd, given, Some(u64::from(count) * u64::from(bytes)))?;
    Ok(count)
}

/// A number as errors have it.
fn number(index: u32) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Checks all that could make a stream go wrong.
pub(super) fn log_mel(model: &Model<'_>, config: &LogMelFrontEnd) -> Result<(), DecodeError> {
    let LogMelFrontEnd { sample_rate, fft_len, hop, context, stride, .. } = *config;
    let fits = (FFT_LEN_MIN..=FFT_LEN_MAX).contains(&fft_len) && fft_len.is_power_of_two();
    if !fits || sample_rate == 0 || hop == 0 || context == 0 || stride == 0 {
        return fault(FrontEndFault::Frame);
    }
    if !(1..=AXES_MAX).contains(&config.axes) {
        return fault(FrontEndFault::Axes);
    }
    if matches!(config.transform, Transform::Envelope { decimation } if !(1..=DECIMATION_MAX).contains(&decimation)) {
        return fault(FrontEndFault::Decimation);
    }
    if config.saturated_max > 1000 {
        return fault(FrontEndFault::Saturated);
    }
    if config.epsilon.mantissa == 0 || config.epsilon.shift > EPSILON_SHIFT_MAX {
        return fault(FrontEndFault::Epsilon);
    }
    let transformed = transform(model, config)?;
    let moments = if config.moments { MOMENTS } else { 0 };
    let features = transformed.saturating_add(moments).saturating_mul(config.axes.into());
    // As many quantizers as there may be, and as many elements as there are.
    let (each, given) = match config.statistics {
        Some(kind) => statistics(kind, features, context, stride)?,
        None => (features, features.saturating_mul(context.into())),
    };
    if given > INPUT_LEN_MAX {
        return fault(FrontEndFault::Frame);
    }
    quantizers(model, config.quantizers, each)?;
    let needed = model.plan().input.shape.len() as u32;
    if given == needed { Ok(()) } else { fault(FrontEndFault::OutputLength { needed, given }) }
}

/// Checks the window of statistics; the quantizers and the elements of an input of so many features.
fn statistics(kind: WindowStatistics, features: u32, context: u16, stride: u16) -> Result<(u32, u32), DecodeError> {
    let uneven = context.checked_rem(stride) != Some(0);
    if uneven || context > STATISTICS_FRAMES_MAX || kind.differences && stride < 2 {
        return fault(FrontEndFault::Statistics);
    }
    // Memory grows with the blocks, even where the input does not.
    let blocks = u32::from(context.checked_div(stride).unwrap_or(0));
    if features.saturating_mul(blocks) > INPUT_LEN_MAX {
        return fault(FrontEndFault::Frame);
    }
    let row = features.saturating_mul(kind.groups());
    Ok((row.saturating_mul(kind.quantizer_sets()), row.saturating_mul(kind.rows(blocks))))
}

/// Checks the tables of the transform; its features.
fn transform(model: &Model<'_>, config: &LogMelFrontEnd) -> Result<u32, DecodeError> {
    let fft_len = config.fft_len;
    let waveform = config.transform == Transform::Waveform;
    let table = |given, bytes: u64| constant(model, Place::FrontEnd, given, Some(if waveform { 0 } else { bytes }));
    table(config.window, u64::from(fft_len) * 2)?;
    table(config.sine, (u64::from(fft_len) / 4 + 1) * 4)?;
    if model.constant_i32(config.sine).iter().any(|sine| sine.unsigned_abs() > 1 << SINE_BITS) {
        return fault(FrontEndFault::Sine);
    }
    let bands = elements(model, config.bands, 6)?;
    if waveform != (bands == 0) || bands > INPUT_LEN_MAX {
        return fault(FrontEndFault::Band(0));
    }
    let lines = u32::from(fft_len / 2) + 1;
    let mut weights = 0_u64;
    for (index, &words) in (0..).zip(model.constant_u16(config.bands).as_chunks::<3>().0) {
        let band = Band::from_words(words);
        if u32::from(band.first) + u32::from(band.len) > lines || band.shift > BAND_SHIFT_MAX {
            return fault(FrontEndFault::Band(number(index)));
        }
        weights += u64::from(band.len);
    }
    table(config.weights, weights * 2)?;
    Ok(if waveform { fft_len.into() } else { bands })
}

/// Checks one quantizer, or `each`.
fn quantizers(model: &Model<'_>, given: Constant, each: u32) -> Result<(), DecodeError> {
    let count = elements(model, given, 12)?;
    if count != 1 && count != each {
        return fault(FrontEndFault::Quantizer(number(count.min(each))));
    }
    for (index, &words) in (0..).zip(model.constant_i32(given).as_chunks::<3>().0) {
        let BandQuantizer { multiplier, .. } = BandQuantizer::from_words(words);
        if !is_normal(multiplier) || multiplier.shift > 0 {
            return fault(FrontEndFault::Quantizer(number(index)));
        }
    }
    Ok(())
}
