//! From sums to int8, four at a time.

use crate::element::{Bias, Element};
use crate::isa::{Dense, Factor, Five, Reach, Scale};
use crate::kernels::Channels;

/// Longest row for which no sum reaches 2^30, the bias apart: 2^14 products of 2^15.
const SMALL: usize = 1 << 14;
/// The largest shift to the right that leaves room for a zero point: 2^30 + 2^7 2^22 is below 2^31.
pub(crate) const RIGHT: i32 = 22;

/// One output the quick way, before it is clamped.
///
/// The doubled product's high half is the first rounding, which cannot saturate; half and the sign make the second, and as
/// a multiple of the divisor the zero point may be added before it. A shift of 0 has no second: half is the zero point.
#[inline(always)]
pub(crate) fn rounded(sum: i32, multiplier: i32, shift: i32, half: i32) -> i32 {
    let product = i64::from(sum.wrapping_shl(1)).wrapping_mul(multiplier.into());
    let high = (product.wrapping_add(1 << 31) >> 32) as i32;
    let sign = if shift == 0 { 0 } else { high >> 31 };
    high.wrapping_add(sign).wrapping_add(half).wrapping_shr(shift.wrapping_neg() as u32)
}

/// Stands in [`Factor::right`] of weights in pairs of rows where sums below 0 are rounded away from it.
const AWAY: i32 = i32::MIN;

/// An output of weights in pairs of rows.
#[inline(always)]
pub(crate) fn rounded_pairs(sum: i32, factor: &Factor) -> i8 {
    let product = i64::from(sum.wrapping_shl(1)).wrapping_mul(factor.multiplier.into());
    let high = (product.wrapping_add(1 << 31) >> 32) as i32;
    let sign = (high & factor.right) >> 31;
    let value = high.wrapping_add(sign).wrapping_add(factor.half) >> (factor.right & 31);
    value.clamp(-128, 127) as i8
}

/// Four values from `first` on; zeros beyond the last.
#[inline(always)]
fn four<T: Copy + Default>(values: &[T], first: usize) -> [T; 4] {
    let rest = values.get(first..).unwrap_or(&[]);
    match rest.first_chunk::<4>() {
        Some(four) => *four,
        None => {
            let mut four = [T::default(); 4];
            four.iter_mut().zip(rest).for_each(|(four, &value)| *four = value);
            four
        }
    }
}

/// Whether a channel of [`SMALL`] products is requantized the quick way.
#[inline(always)]
fn is_quick(bias: i32, shift: i32) -> bool {
    bias.unsigned_abs() < 1 << 29 && (-RIGHT..=0).contains(&shift)
}

impl Channels<'_> {
    /// Whether there is a shorter way to the same bits: no sum of `depth` products and a bias leaves -2^30 to 2^30, and
    /// no shift goes to the left.
    #[inline(never)]
    pub(crate) fn quick(&self, depth: usize) -> bool {
        let Bias::Narrow(bias) = self.bias else { return false };
        depth <= SMALL && bias.iter().zip(self.shift).all(|(&bias, &shift)| is_quick(bias, shift.into()))
    }

    /// [`Channels::quick`], where channels that are always the same, as [`Channels::row_factors`] has them, do no harm.
    #[inline(never)]
    pub(crate) fn quick_rows(&self, weights: &[i8], depth: usize) -> bool {
        let rows = weights.chunks_exact(depth.max(1));
        depth <= SMALL
            && matches!(self.bias, Bias::Narrow(_))
            && self.from::<i8>(0).zip(rows).all(|((bias, multiplier, shift), row)| {
                is_quick(bias, shift) || self.constant(bias, multiplier, shift, row).is_some()
            })
    }

    /// The one output of a channel whose weights are too small to make another, which is what training leaves of a channel
    /// that died: a bias, and a shift that takes away all that is added to it.
    fn constant(&self, bias: i32, multiplier: i32, shift: i32, weights: &[i8]) -> Option<i32> {
        // Requantization is monotonic.
        let within = |most: i32| {
            let output = |sum: i32| self.output_slowly(sum, multiplier, shift);
            let (low, high) = (output(bias.checked_sub(most)?), output(bias.checked_add(most)?));
            (low == high).then_some(low.into())
        };
        // Often no weights of this number could make a difference, and there is no need to look at them.
        let any = i32::try_from(weights.len().saturating_mul(128 * 255)).ok();
        any.and_then(within).or_else(|| {
            let sum = weights.iter().fold(0_u32, |sum, weight| sum.wrapping_add(weight.unsigned_abs().into()));
            i32::try_from(sum.saturating_mul(255)).ok().and_then(within)
        })
    }

    /// The rows from `first` on for a column of inputs.
    pub(crate) fn dense<'s>(&'s self, column: &'s [i32], weights: &'s [i8], first: usize) -> Dense<'s> {
        let biases = if let Bias::Narrow(bias) = self.bias { bias } else { &[] };
        Dense {
            column,
            weights,
            biases: biases.get(first..).unwrap_or(&[]),
            multipliers: self.multiplier.get(first..).unwrap_or(&[]),
            shifts: self.shift.get(first..).unwrap_or(&[]),
            zero_point: self.zero_point,
        }
    }

    /// The scales of the channels from `first` on, of sums of `depth` products.
    #[inline(never)]
    pub(crate) fn scales(&self, first: usize, depth: usize, scales: &mut [Scale]) {
        for (scale, (bias, multiplier, shift)) in scales.iter_mut().zip(self.from::<i8>(first)) {
            let reach = match shift {
                0.. => Reach::Left,
                _ if depth > SMALL || bias.unsigned_abs() >= 1 << 29 => Reach::Large,
                _ => Reach::Small,
            };
            *scale = Scale { bias, multiplier, shift: shift.unsigned_abs(), reach };
        }
    }

    /// Writes the outputs of a line of one channel, `step` apart, of which there are no more than `output` has room for.
    #[inline(never)]
    pub(crate) fn line(&self, sums: &[i32], factor: &Factor, quick: bool, output: &mut [i8], step: usize) {
        let outs = output.chunks_mut(step.max(1)).filter_map(|chunk| chunk.first_mut());
        for (&sum, out) in sums.iter().zip(outs) {
            *out = self.output_of(sum, factor, quick);
        }
    }

    /// Whether outputs may be all that an int8 can be.
    pub(crate) fn full(&self) -> bool {
        (self.activation_min, self.activation_max) == (-128, 127)
    }

    /// The factors of the channels from `first` on.
    #[inline(never)]
    pub(crate) fn factors(&self, first: usize, factors: &mut [Factor]) {
        for (factor, (bias, multiplier, shift)) in factors.iter_mut().zip(self.from::<i8>(first)) {
            *factor = Factor { bias, multiplier, right: shift.wrapping_neg(), half: self.half(shift) };
        }
    }

    /// The factors of the channels from `first` on, for weights in pairs of rows, whose shifts are all quick.
    ///
    /// Where zero is the least output there is, how sums below 0 are rounded makes no difference.
    #[inline(never)]
    pub(crate) fn pair_factors(&self, first: usize, factors: &mut [Factor]) {
        let Bias::Narrow(bias) = self.bias else { return };
        let biases = bias.get(first..).unwrap_or(&[]);
        let multipliers = self.multiplier.get(first..).unwrap_or(&[]);
        let shifts = self.shift.get(first..).unwrap_or(&[]);
        let double = self.zero_point.wrapping_mul(2).wrapping_add(1);
        let away = if self.zero_point == -128 { 0 } else { AWAY };
        for (((factor, &bias), &multiplier), &shift) in factors.iter_mut().zip(biases).zip(multipliers).zip(shifts) {
            let right = i32::from(shift).wrapping_neg();
            let away = if right == 0 { 0 } else { away };
            // As `half`, for a shift of 0 as well.
            let half = double.wrapping_shl(right as u32) >> 1;
            *factor = Factor { bias, multiplier, right: right | away, half };
        }
    }

    /// The factors of the channels from `first` on, to which the rows of `weights` belong, where all are quick or constant.
    #[inline(never)]
    pub(crate) fn row_factors(&self, first: usize, weights: &[i8], depth: usize, factors: &mut [Factor]) {
        self.factors(first, factors);
        let rows = weights.chunks_exact(depth.max(1));
        for ((factor, row), (bias, multiplier, shift)) in factors.iter_mut().zip(rows).zip(self.from::<i8>(first)) {
            if !is_quick(bias, shift)
                && let Some(output) = self.constant(bias, multiplier, shift, row)
            {
                *factor = Factor { bias: 0, multiplier: 0, right: 1, half: output.wrapping_mul(2) };
            }
        }
    }

    /// The biases of the four channels from `first` on; 0 beyond the last.
    #[inline(always)]
    pub(crate) fn biases(&self, first: usize) -> [i32; 4] {
        let Bias::Narrow(bias) = self.bias else { return [0; 4] };
        four(bias, first)
    }

    /// Writes the outputs of four pixels, `stride` apart.
    #[inline(never)]
    pub(crate) fn outputs_of(
        &self,
        sums: &[[i32; 4]],
        factors: &[Factor],
        quick: bool,
        output: &mut [i8],
        stride: usize,
    ) {
        for (index, (sums, factor)) in sums.iter().zip(factors).enumerate() {
            let mut at = index;
            let values = if quick {
                sums.map(|sum| self.output_of(sum, factor, true))
            } else {
                sums.map(|sum| self.output_of(sum, factor, false))
            };
            for value in values {
                if let Some(out) = output.get_mut(at) {
                    *out = value;
                }
                at = at.saturating_add(stride);
            }
        }
    }

    /// Writes the outputs of five pixels, `stride` apart, of the channels from `first` on.
    #[inline(never)]
    pub(crate) fn outputs_of_fives(&self, sums: &[Five], first: usize, output: &mut [i8], stride: usize) {
        for (index, (sums, (_, multiplier, shift))) in sums.iter().zip(self.from::<i8>(first)).enumerate() {
            let mut at = index;
            for &sum in sums {
                if let Some(out) = output.get_mut(at) {
                    *out = self.output_slowly(sum, multiplier, shift);
                }
                at = at.saturating_add(stride);
            }
        }
    }

    /// What the second rounding adds for a quick `shift`.
    #[inline(always)]
    pub(crate) fn half(&self, shift: i32) -> i32 {
        if shift == 0 {
            return self.zero_point;
        }
        (self.zero_point.wrapping_mul(2).wrapping_add(1)).wrapping_shl(!shift as u32)
    }

    /// Clamps and narrows.
    #[inline(always)]
    fn clamped(&self, value: i32) -> i8 {
        <i8 as Element>::clamp(value, self.activation_min, self.activation_max)
    }

    /// A sum of one channel, requantized and clamped.
    #[inline(always)]
    pub(crate) fn output_of(&self, sum: i32, factor: &Factor, quick: bool) -> i8 {
        let &Factor { multiplier, right, half, .. } = factor;
        let shift = right.wrapping_neg();
        if quick {
            self.clamped(rounded(sum, multiplier, shift, half))
        } else {
            self.output_slowly(sum, multiplier, shift)
        }
    }

    /// [`Channels::output`], once in an image.
    #[inline(never)]
    fn output_slowly(&self, sum: i32, multiplier: i32, shift: i32) -> i8 {
        self.output::<i8>(sum, multiplier, shift)
    }

    /// Clamps outputs that are clamped to all that an int8 can be.
    #[inline(never)]
    pub(crate) fn clamp(&self, output: &mut [i8]) {
        if !self.full() {
            output.iter_mut().for_each(|out| *out = self.clamped((*out).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel that died beside one that did not: its weights are too small for its shift.
    #[test]
    fn a_dead_channel_has_one_output_and_does_no_harm() {
        let channels = Channels {
            bias: Bias::Narrow(&[1 << 30, 100]),
            multiplier: &[(1 << 30) + 12345, 1_500_000_000],
            shift: &[-27, -3],
            zero_point: -5,
            activation_min: -128,
            activation_max: 127,
        };
        let weights = [1, -2, 3, 50, -60, 70];
        assert!(!channels.quick(3));
        assert!(channels.quick_rows(&weights, 3));
        let mut factors = [Factor::NONE; 2];
        channels.row_factors(0, &weights, 3, &mut factors);
        for sum in [-1000, -1, 0, 1, 1000] {
            for (factor, (bias, multiplier, shift)) in factors.iter().zip(channels.from::<i8>(0)) {
                // The dead channel's products reach no further than its weights.
                let products = if factor.bias == 0 { sum * 6 * 255 / 1000 } else { sum };
                let quick = rounded(factor.bias + products, factor.multiplier, -factor.right, factor.half);
                let plain: i8 = channels.output::<i8>(bias + products, multiplier, shift);
                assert_eq!(quick.clamp(-128, 127), plain.into());
            }
        }
    }

    /// Where the output depends on the sum, a large shift is not quick.
    #[test]
    fn a_channel_that_is_neither_quick_nor_constant_slows_its_layer() {
        let channels = Channels {
            bias: Bias::Narrow(&[(1 << 30) + (1 << 23)]),
            multiplier: &[1 << 30],
            shift: &[-23],
            zero_point: 0,
            activation_min: -128,
            activation_max: 127,
        };
        assert!(!channels.quick_rows(&[127; 288], 288));
    }

    #[test]
    fn no_shift_is_one_rounding() {
        let channels = |shift| Channels {
            bias: Bias::Narrow(&[]),
            multiplier: &[],
            shift: &[],
            zero_point: shift + 3,
            activation_min: -128,
            activation_max: 127,
        };
        for shift in [0, -1, -2] {
            for sum in -300..300 {
                let channels = channels(shift);
                let value = rounded(sum, 1_234_567_890, shift, channels.half(shift)).clamp(-128, 127);
                let plain: i8 = channels.output::<i8>(sum, 1_234_567_890, shift);
                assert_eq!(value, plain.into(), "{sum} {shift}");
            }
        }
    }
}
