//! Features to elements of the model's input.

use neji_engine::requantize::requantize;
use neji_format::{BandQuantizer, Element, Multiplier};

/// How features become elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps<'a> {
    /// One for all or one for each: [`BandQuantizer`] as words.
    pub quantizers: &'a [[i32; 3]],
    /// What the elements are.
    pub element: Element,
    /// Of the model's input; 0 of int16.
    pub zero_point: i8,
}

impl Steps<'_> {
    /// Puts the elements of `features`, each in 1/65536 of its unit, in `out`, until either ends.
    pub fn write(&self, features: impl Iterator<Item = i32>, out: &mut [i8]) {
        let Self { quantizers, element, zero_point } = *self;
        let (low, high) = element.range();
        // One for all, or one for each.
        let elements = out.chunks_exact_mut(element.bytes()).zip(features).zip(quantizers.iter().cycle());
        for ((out, feature), &quantizer) in elements {
            let BandQuantizer { mean, multiplier: Multiplier { multiplier, shift } } =
                BandQuantizer::from_words(quantizer);
            let steps = requantize(feature.saturating_sub(mean), multiplier, shift.clamp(-31, 0).into());
            let q = steps.saturating_add(zero_point.into()).clamp(low.into(), high.into());
            for (out, byte) in out.iter_mut().zip(q.to_le_bytes()) {
                *out = byte.cast_signed();
            }
        }
    }
}
