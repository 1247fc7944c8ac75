//! The sound front end: that frames, bands and quantizers fit their tables and the model's input.

use super::{constant, is_normal};
use crate::decode::Model;
use crate::error::{DecodeError, FrontEndFault, Place};
use crate::front_end::{
    Band, BandQuantizer, FFT_LEN_MAX, FFT_LEN_MIN, INPUT_LEN_MAX, LogMelFrontEnd, SINE_BITS, STATISTICS_FRAMES_MAX,
};
use crate::tensor::Constant;

/// Most bits that a band's weights are shifted by.
const BAND_SHIFT_MAX: u16 = 64;
/// Largest shift of epsilon.
const EPSILON_SHIFT_MAX: u16 = 256;

fn fault<T>(fault: FrontEndFault) -> Result<T, DecodeError> {
    Err(DecodeError::FrontEnd(fault))
}

/// Checks that a constant is one or more whole elements of `bytes`; their number.
fn elements(model: &Model<'_>, given: Constant, bytes: u32, none: FrontEndFault) -> Result<u32, DecodeError> {
    let count = given.bytes / bytes;
    constant(model, Place::FrontEnd, given, Some(u64::from(count) * u64::from(bytes)))?;
    if count == 0 { fault(none) } else { Ok(count) }
}

/// Checks all that could make a stream go wrong.
pub(super) fn log_mel(model: &Model<'_>, config: &LogMelFrontEnd) -> Result<(), DecodeError> {
    let LogMelFrontEnd { sample_rate, fft_len, hop, context, stride, .. } = *config;
    let fits = (FFT_LEN_MIN..=FFT_LEN_MAX).contains(&fft_len) && fft_len.is_power_of_two();
    if !fits || sample_rate == 0 || hop == 0 || context == 0 || stride == 0 {
        return fault(FrontEndFault::Frame);
    }
    if config.saturated_max > 1000 {
        return fault(FrontEndFault::Saturated);
    }
    constant(model, Place::FrontEnd, config.window, Some(u64::from(fft_len) * 2))?;
    constant(model, Place::FrontEnd, config.sine, Some((u64::from(fft_len) / 4 + 1) * 4))?;
    if model.constant_i32(config.sine).iter().any(|sine| sine.unsigned_abs() > 1 << SINE_BITS) {
        return fault(FrontEndFault::Sine);
    }
    let bands = elements(model, config.bands, 6, FrontEndFault::Band(0))?;
    if bands > INPUT_LEN_MAX || bands.saturating_mul(context.into()) > INPUT_LEN_MAX {
        return fault(FrontEndFault::Frame);
    }
    // As many quantizers as there may be, and as many elements as there are.
    let (each, input) = if config.statistics {
        if context > STATISTICS_FRAMES_MAX || context.checked_rem(stride) != Some(0) {
            return fault(FrontEndFault::Statistics);
        }
        (bands.saturating_mul(2), bands.saturating_mul(2))
    } else {
        (bands, bands.saturating_mul(context.into()))
    };
    let lines = u32::from(fft_len / 2) + 1;
    let mut weights = 0_u64;
    for (index, &words) in (0_u16..).zip(model.constant_u16(config.bands).as_chunks::<3>().0) {
        let band = Band::from_words(words);
        if u32::from(band.first) + u32::from(band.len) > lines || band.shift > BAND_SHIFT_MAX {
            return fault(FrontEndFault::Band(index));
        }
        weights += u64::from(band.len);
    }
    constant(model, Place::FrontEnd, config.weights, Some(weights * 2))?;
    if config.epsilon.mantissa == 0 || config.epsilon.shift > EPSILON_SHIFT_MAX {
        return fault(FrontEndFault::Epsilon);
    }
    let quantizers = elements(model, config.quantizers, 12, FrontEndFault::Quantizer(0))?;
    if quantizers != 1 && quantizers != each {
        return fault(FrontEndFault::Quantizer(quantizers.min(each) as u16));
    }
    for (index, &words) in (0_u16..).zip(model.constant_i32(config.quantizers).as_chunks::<3>().0) {
        let BandQuantizer { multiplier, .. } = BandQuantizer::from_words(words);
        if !is_normal(multiplier) || multiplier.shift > 0 {
            return fault(FrontEndFault::Quantizer(index));
        }
    }
    let (needed, given) = (model.plan().input.shape.len() as u32, input);
    if given == needed { Ok(()) } else { fault(FrontEndFault::OutputLength { needed, given }) }
}
