//! What activations are: int8 or int16. The kernels are written once over [`Element`].

use neji_format::{Constant, Model};

use crate::isa::Isa;
use crate::requantize::{requantize, requantize_wide};

/// Biases of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bias<'a> {
    /// Sums of 32 bits, rounded twice.
    Narrow(&'a [i32]),
    /// Sums of 64 bits, rounded once.
    Wide(&'a [i64]),
}

/// An activation's element and the sums that it takes part in.
pub(crate) trait Element: bytemuck::Pod + Into<i32> {
    /// What products are added up in.
    type Sum: Copy + Default;

    /// Smallest and largest value.
    const RANGE: (i16, i16);

    /// Clamps to `[low, high]` and narrows; never panics, even for `low > high`.
    fn clamp(value: i32, low: i16, high: i16) -> Self;

    /// Clamps to all that an element can be.
    fn narrowed(value: i32) -> Self {
        Self::clamp(value, Self::RANGE.0, Self::RANGE.1)
    }

    /// The biases of a layer with as many output channels as `constant` has room for.
    fn bias<'a>(model: &Model<'a>, constant: Constant, channels: usize) -> Bias<'a>;

    /// The biases from channel `first` on.
    fn sums(bias: Bias<'_>, first: usize) -> impl Iterator<Item = Self::Sum>;

    /// A sum, requantized as its biases ask for.
    fn requantize(bias: Bias<'_>, sum: Self::Sum, multiplier: i32, shift: i32) -> i32;

    /// `sum + sum((input[i] + input_offset) * weights[i])`.
    fn dot<I: Isa>(sum: Self::Sum, input: &[Self], input_offset: i32, weights: &[i8]) -> Self::Sum;

    /// [`Element::dot`] of one input with four rows of weights.
    fn dot_rows_4<I: Isa>(
        sums: [Self::Sum; 4],
        input: &[Self],
        input_offset: i32,
        weights: [&[i8]; 4],
    ) -> [Self::Sum; 4];

    /// `sums[i] += (input[i] + input_offset) * weights[i]`.
    fn multiply_accumulate<I: Isa>(sums: &mut [Self::Sum], input: &[Self], input_offset: i32, weights: &[i8]);

    /// `sum + x * weight`.
    fn step(sum: Self::Sum, x: i32, weight: i8) -> Self::Sum;
}

impl Element for i8 {
    type Sum = i32;
    const RANGE: (i16, i16) = neji_format::Element::I8.range();

    #[inline(always)]
    fn clamp(value: i32, low: i16, high: i16) -> Self {
        value.max(low.into()).min(high.into()) as i8
    }

    fn bias<'a>(model: &Model<'a>, constant: Constant, _: usize) -> Bias<'a> {
        Bias::Narrow(model.constant_i32(constant))
    }

    #[inline(always)]
    fn sums(bias: Bias<'_>, first: usize) -> impl Iterator<Item = i32> {
        let bias = if let Bias::Narrow(bias) = bias { bias } else { &[] };
        bias.get(first..).unwrap_or(&[]).iter().copied()
    }

    #[inline(always)]
    fn requantize(_: Bias<'_>, sum: i32, multiplier: i32, shift: i32) -> i32 {
        requantize(sum, multiplier, shift)
    }

    #[inline(always)]
    fn dot<I: Isa>(sum: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        I::dot_s8(sum, input, input_offset, weights)
    }

    #[inline(always)]
    fn dot_rows_4<I: Isa>(sums: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        I::dot_s8_rows_4(sums, input, input_offset, weights)
    }

    #[inline(always)]
    fn multiply_accumulate<I: Isa>(sums: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        I::multiply_accumulate_s8(sums, input, input_offset, weights);
    }

    #[inline(always)]
    fn step(sum: i32, x: i32, weight: i8) -> i32 {
        sum.wrapping_add(x.wrapping_mul(weight.into()))
    }
}

impl Element for i16 {
    type Sum = i64;
    const RANGE: (i16, i16) = neji_format::Element::I16.range();

    #[inline(always)]
    fn clamp(value: i32, low: i16, high: i16) -> Self {
        value.max(low.into()).min(high.into()) as i16
    }

    fn bias<'a>(model: &Model<'a>, constant: Constant, channels: usize) -> Bias<'a> {
        if constant.bytes as usize == channels.saturating_mul(8) {
            Bias::Wide(model.constant_i64(constant))
        } else {
            Bias::Narrow(model.constant_i32(constant))
        }
    }

    fn sums(bias: Bias<'_>, first: usize) -> impl Iterator<Item = i64> {
        let (narrow, wide): (&[i32], &[i64]) = match bias {
            Bias::Narrow(bias) => (bias.get(first..).unwrap_or(&[]), &[]),
            Bias::Wide(bias) => (&[], bias.get(first..).unwrap_or(&[])),
        };
        narrow.iter().map(|&bias| bias.into()).chain(wide.iter().copied())
    }

    #[inline(always)]
    fn requantize(bias: Bias<'_>, sum: i64, multiplier: i32, shift: i32) -> i32 {
        match bias {
            Bias::Narrow(_) => requantize(sum as i32, multiplier, shift),
            Bias::Wide(_) => requantize_wide(sum, multiplier, shift),
        }
    }

    #[inline(always)]
    fn dot<I: Isa>(sum: i64, input: &[i16], _: i32, weights: &[i8]) -> i64 {
        I::dot_s16(sum, input, weights)
    }

    #[inline(always)]
    fn dot_rows_4<I: Isa>(sums: [i64; 4], input: &[i16], _: i32, weights: [&[i8]; 4]) -> [i64; 4] {
        let [a, b, c, d] = weights;
        let [sum_a, sum_b, sum_c, sum_d] = sums;
        [
            I::dot_s16(sum_a, input, a),
            I::dot_s16(sum_b, input, b),
            I::dot_s16(sum_c, input, c),
            I::dot_s16(sum_d, input, d),
        ]
    }

    #[inline(always)]
    fn multiply_accumulate<I: Isa>(sums: &mut [i64], input: &[i16], _: i32, weights: &[i8]) {
        for ((sum, &x), &weight) in sums.iter_mut().zip(input).zip(weights) {
            *sum = Self::step(*sum, x.into(), weight);
        }
    }

    #[inline(always)]
    fn step(sum: i64, x: i32, weight: i8) -> i64 {
        sum.wrapping_add(x.wrapping_mul(weight.into()).into())
    }
}
