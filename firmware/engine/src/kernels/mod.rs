//! The loops, over slices. None of them can panic: whatever the parser guarantees is used, never assumed.

pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod fixed_point;
pub(crate) mod mat_mul;
pub(crate) mod movement;
pub(crate) mod pool;
pub(crate) mod transpose_conv;
pub(crate) mod window;

use crate::requantize::{clamp_i8, requantize};

/// Bias and requantization of each output channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels<'a> {
    pub(crate) bias: &'a [i32],
    pub(crate) multiplier: &'a [i32],
    pub(crate) shift: &'a [i8],
    pub(crate) zero_point: i32,
    pub(crate) activation_min: i8,
    pub(crate) activation_max: i8,
}

impl<'a> Channels<'a> {
    /// `(bias, multiplier, shift)` of the channels from `first` on.
    pub(crate) fn from(&self, first: usize) -> impl Iterator<Item = (i32, i32, i32)> + use<'a> {
        let bias = self.bias.get(first..).unwrap_or(&[]);
        let multiplier = self.multiplier.get(first..).unwrap_or(&[]);
        let shift = self.shift.get(first..).unwrap_or(&[]);
        bias.iter().zip(multiplier).zip(shift).map(|((&bias, &multiplier), &shift)| (bias, multiplier, shift.into()))
    }

    /// The output for a sum that includes the bias.
    #[inline(always)]
    pub(crate) fn output(&self, acc: i32, multiplier: i32, shift: i32) -> i8 {
        let value = requantize(acc, multiplier, shift).saturating_add(self.zero_point);
        clamp_i8(value, self.activation_min, self.activation_max)
    }
}
