//! The loops, over slices. None of them can panic: whatever the parser guarantees is used, never assumed.

pub(crate) mod columns;
pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod finish;
pub(crate) mod fixed_point;
pub(crate) mod mat_mul;
pub(crate) mod movement;
pub(crate) mod pairs;
pub(crate) mod pool;
pub(crate) mod sigmoid;
pub(crate) mod taps;
pub(crate) mod transpose_conv;
pub(crate) mod window;
pub(crate) mod words;

use crate::element::{Bias, Element};

/// Bias and requantization of each output channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels<'a> {
    pub(crate) bias: Bias<'a>,
    pub(crate) multiplier: &'a [i32],
    pub(crate) shift: &'a [i8],
    pub(crate) zero_point: i32,
    pub(crate) activation_min: i16,
    pub(crate) activation_max: i16,
}

impl<'a> Channels<'a> {
    /// `(bias, multiplier, shift)` of the channels from `first` on.
    #[inline(always)]
    pub(crate) fn from<E: Element>(&self, first: usize) -> impl Iterator<Item = (E::Sum, i32, i32)> + use<'a, E> {
        let multiplier = self.multiplier.get(first..).unwrap_or(&[]);
        let shift = self.shift.get(first..).unwrap_or(&[]);
        let sums = E::sums(self.bias, first);
        sums.zip(multiplier).zip(shift).map(|((bias, &multiplier), &shift)| (bias, multiplier, shift.into()))
    }

    /// The biases of the channels from `first` on, for sums to begin with.
    // Once in an image, as what ends them.
    #[inline(never)]
    pub(crate) fn begin<E: Element>(&self, first: usize, sums: &mut [E::Sum]) {
        for (sum, (bias, _, _)) in sums.iter_mut().zip(self.from::<E>(first)) {
            *sum = bias;
        }
    }

    /// Writes the outputs of the channels from `first` on.
    #[inline(never)]
    pub(crate) fn end<E: Element>(&self, first: usize, sums: &[E::Sum], output: &mut [E]) {
        for ((out, &sum), (_, multiplier, shift)) in output.iter_mut().zip(sums).zip(self.from::<E>(first)) {
            *out = self.output(sum, multiplier, shift);
        }
    }

    /// The output for a sum that includes the bias.
    #[inline(always)]
    pub(crate) fn output<E: Element>(&self, acc: E::Sum, multiplier: i32, shift: i32) -> E {
        let value = E::requantize(self.bias, acc, multiplier, shift).saturating_add(self.zero_point);
        E::clamp(value, self.activation_min, self.activation_max)
    }
}
