//! Block operations that an instruction set may speed up.

mod portable;

pub use portable::Portable;

/// The block operations of the kernels. Default bodies are the portable code and define the result: an implementation
/// overrides what it speeds up and must give the same bits.
///
/// Sums are i32 and wrap; [`Model::parse`](neji_format::Model::parse) has excluded weights for which one could.
/// Slices of unequal length are read as far as the shortest goes.
pub trait Isa {
    /// Whether models of int16 activations run; without, their kernels take no flash.
    const INT16: bool = true;

    /// `acc + sum((input[i] + input_offset) * weights[i])`; `input_offset` is -127 to 128.
    #[inline(always)]
    fn dot_s8(acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        portable::dot_s8(acc, input, input_offset, weights)
    }

    /// [`Isa::dot_s8`] of one input with four rows of weights, which loads each input once.
    #[inline(always)]
    fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        portable::dot_s8_rows_4(acc, input, input_offset, weights)
    }

    /// `acc[i] += (input[i] + input_offset) * weights[i]`: one tap of a depthwise kernel over a block of channels.
    #[inline(always)]
    fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        portable::multiply_accumulate_s8(acc, input, input_offset, weights);
    }

    /// `acc + sum(input[i] * weights[i])` of int16 activations.
    #[inline(always)]
    fn dot_s16(acc: i64, input: &[i16], weights: &[i8]) -> i64 {
        portable::dot_s16(acc, input, weights)
    }
}

/// `I` for boards whose flash is short: models of int16 activations are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int8Only<I>(core::marker::PhantomData<I>);

impl<I: Isa> Isa for Int8Only<I> {
    const INT16: bool = false;

    #[inline(always)]
    fn dot_s8(acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
        I::dot_s8(acc, input, input_offset, weights)
    }

    #[inline(always)]
    fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
        I::dot_s8_rows_4(acc, input, input_offset, weights)
    }

    #[inline(always)]
    fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
        I::multiply_accumulate_s8(acc, input, input_offset, weights);
    }
}
