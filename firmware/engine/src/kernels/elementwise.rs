//! Element by element: tables, sums, products.

use neji_format::{Add, Mul, Multiplier, Shape};

use crate::element::Element;
use crate::kernels::finish::{RIGHT, rounded};
use crate::kernels::movement::copy;
use crate::kernels::window::run;
use crate::requantize::requantize;

/// The entry of `table` for `q`.
#[inline(always)]
pub(crate) fn look_up(table: &[i8; 256], q: i8) -> i8 {
    // q + 128 as an unsigned byte is q with its top bit turned: an index that needs no bounds check.
    table[usize::from(q.cast_unsigned() ^ 0x80)]
}

/// One sum or difference: both inputs are brought to a common scale with `left_shift` spare bits, combined, and brought to
/// the output's.
#[inline(always)]
pub(crate) fn sum<E: Element>(add: &Add, a: E, b: E, combine: fn(i32, i32) -> i32) -> E {
    let left_shift = u32::from(add.left_shift);
    let scaled = |q: E, zero_point: i8, multiplier: i32, shift: i8| {
        let value = q.into().wrapping_sub(zero_point.into()).wrapping_shl(left_shift);
        requantize(value, multiplier, shift.into())
    };
    let a = scaled(a, add.input_a.zero_point, add.multiplier_a.multiplier, add.multiplier_a.shift);
    let b = scaled(b, add.input_b.zero_point, add.multiplier_b.multiplier, add.multiplier_b.shift);
    let factor = add.output_multiplier;
    let sum = requantize(combine(a, b), factor.multiplier, factor.shift.into());
    E::clamp(sum.saturating_add(add.output.zero_point.into()), add.activation_min, add.activation_max)
}

/// What of an int8 operand each of its values becomes on the common scale.
type Table = [i32; 256];

/// Elements that are added at once.
const BLOCK: usize = 128;

/// Where an operand lies.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// Where the output does.
    Output,
    Apart(&'a [i8]),
}

impl Operand<'_> {
    /// Its elements from `start` on, as many as there are in `output`; what is about to be overwritten is copied, so that
    /// there is one loop for operands that lie anywhere.
    #[inline(never)]
    fn block<'b>(&'b self, start: usize, output: &[i8], room: &'b mut [i8; BLOCK]) -> &'b [i8] {
        match self {
            Self::Apart(from) => run(from, start, output.len()),
            Self::Output => {
                copy(output, room, 0);
                room
            }
        }
    }
}

/// [`sum`] of int8 without its first two requantizations, which have 256 results each.
pub(crate) struct Sums<'a> {
    add: &'a Add,
    /// What the second rounding adds: half of the divisor, and the zero point times the divisor.
    half: i32,
}

impl<'a> Sums<'a> {
    /// Of an operator for which no sum leaves -2^30 to 2^30 and the last requantization has a second rounding.
    pub(crate) fn of(add: &'a Add) -> Option<Self> {
        let shift = i32::from(add.output_multiplier.shift);
        // Operands are below 2^8, and both multipliers below 1.
        let quick = add.left_shift <= 20 && (-RIGHT..0).contains(&shift);
        let half = (i32::from(add.output.zero_point).wrapping_mul(2).wrapping_add(1)).wrapping_shl(!shift as u32);
        quick.then_some(Self { add, half })
    }

    /// Writes the sums of two operands that are as long as the output.
    #[inline(never)]
    pub(crate) fn write(&self, a: Operand<'_>, b: Operand<'_>, output: &mut [i8]) {
        let Add { left_shift, input_a, input_b, multiplier_a, multiplier_b, output_multiplier: factor, .. } = self.add;
        let a_scaled = &scaled(input_a.zero_point, *left_shift, *multiplier_a);
        let b_scaled = &scaled(input_b.zero_point, *left_shift, *multiplier_b);
        let (mut copy_a, mut copy_b) = ([0; BLOCK], [0; BLOCK]);
        let mut start = 0_usize;
        for output in output.chunks_mut(BLOCK) {
            let (a, b) = (a.block(start, output, &mut copy_a), b.block(start, output, &mut copy_b));
            for ((out, &a), &b) in output.iter_mut().zip(a).zip(b) {
                let sum = of(a_scaled, a).wrapping_add(of(b_scaled, b));
                // There is a second rounding.
                let value = rounded(sum, factor.multiplier, i32::from(factor.shift).min(-1), self.half);
                *out = <i8 as Element>::clamp(value, self.add.activation_min, self.add.activation_max);
            }
            start = start.saturating_add(BLOCK);
        }
    }
}

/// The entry of `table` for `q`.
#[inline(always)]
fn of(table: &Table, q: i8) -> i32 {
    table[usize::from(q.cast_unsigned())]
}

/// Each int8, by its bits, on the common scale.
#[inline(never)]
fn scaled(zero_point: i8, left_shift: u8, factor: Multiplier) -> Table {
    let mut table = [0; 256];
    for (q, slot) in (0_u8..=255).zip(&mut table) {
        let value = i32::from(q.cast_signed()).wrapping_sub(zero_point.into()).wrapping_shl(left_shift.into());
        *slot = requantize(value, factor.multiplier, factor.shift.into());
    }
    table
}

/// One product.
#[inline(always)]
pub(crate) fn product<E: Element>(mul: &Mul, a: E, b: E) -> E {
    let a = a.into().wrapping_sub(mul.input_a.zero_point.into());
    let b = b.into().wrapping_sub(mul.input_b.zero_point.into());
    let factor = mul.multiplier;
    let product = requantize(a.wrapping_mul(b), factor.multiplier, factor.shift.into());
    E::clamp(product.saturating_add(mul.output.zero_point.into()), mul.activation_min, mul.activation_max)
}

/// Steps between rows, columns and channels of an operand: 0 along a dimension of 1, whose element is repeated.
fn steps(shape: Shape) -> [usize; 3] {
    let channels = shape.channels as usize;
    let step = |size: u32, step: usize| if size == 1 { 0 } else { step };
    [
        step(shape.height, channels.saturating_mul(shape.width as usize)),
        step(shape.width, channels),
        step(shape.channels, 1),
    ]
}

/// Calls `each(output element, index of a, index of b)` for every element of an output of `shape` in order.
pub(crate) fn broadcast<E>(
    shape: Shape,
    a: Shape,
    b: Shape,
    output: &mut [E],
    mut each: impl FnMut(&mut E, usize, usize),
) {
    let (a, b) = (steps(a), steps(b));
    let channels = (shape.channels as usize).max(1);
    let row_len = channels.saturating_mul(shape.width as usize).max(1);
    let (mut row_a, mut row_b) = (0_usize, 0_usize);
    for row in output.chunks_exact_mut(row_len) {
        let (mut pixel_a, mut pixel_b) = (row_a, row_b);
        for pixel in row.chunks_exact_mut(channels) {
            let (mut index_a, mut index_b) = (pixel_a, pixel_b);
            for out in pixel {
                each(out, index_a, index_b);
                (index_a, index_b) = (index_a.wrapping_add(a[2]), index_b.wrapping_add(b[2]));
            }
            (pixel_a, pixel_b) = (pixel_a.wrapping_add(a[1]), pixel_b.wrapping_add(b[1]));
        }
        (row_a, row_b) = (row_a.wrapping_add(a[0]), row_b.wrapping_add(b[0]));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use neji_format::Tensor;

    use super::*;

    #[test]
    fn a_table_begins_at_minus_128() {
        let mut table = [0; 256];
        table[0] = 5;
        table[255] = 6;
        table[128] = 7;
        assert_eq!([look_up(&table, -128), look_up(&table, 127), look_up(&table, 0)], [5, 6, 7]);
    }

    /// An operator of one-element tensors, `clamp` its activation.
    fn add(output_shift: i8, clamp: (i16, i16)) -> Add {
        let tensor = |zero_point| Tensor { offset: 0, shape: Shape::new(1, 1, 1), scale: 1.0, zero_point };
        Add {
            input_a: tensor(-128),
            input_b: tensor(5),
            output: tensor(-3),
            left_shift: 20,
            multiplier_a: Multiplier { multiplier: 1_073_741_824, shift: 0 },
            multiplier_b: Multiplier { multiplier: 1_999_999_973, shift: -2 },
            output_multiplier: Multiplier { multiplier: 1_234_567_891, shift: output_shift },
            activation_min: clamp.0,
            activation_max: clamp.1,
        }
    }

    #[test]
    fn tables_give_the_same_sums() {
        let all: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        for (shift, clamp) in [(-18, (-128, 127)), (-19, (-3, 100)), (-22, (-128, 127))] {
            let add = add(shift, clamp);
            let sums = Sums::of(&add).expect("a quick one");
            let plain = |a, b| sum(&add, a, b, i32::wrapping_add);
            for b in i8::MIN..=i8::MAX {
                let expected: Vec<i8> = all.iter().map(|&a| plain(a, b)).collect();
                let mut output = [0; 256];
                sums.write(Operand::Apart(&all), Operand::Apart(&[b; 256]), &mut output);
                assert_eq!(output[..], expected);
                output.copy_from_slice(&all);
                sums.write(Operand::Output, Operand::Apart(&[b; 256]), &mut output);
                assert_eq!(output[..], expected);
                output.fill(b);
                sums.write(Operand::Apart(&all), Operand::Output, &mut output);
                assert_eq!(output[..], expected);
            }
            let mut output: Vec<i8> = all.clone();
            sums.write(Operand::Output, Operand::Output, &mut output);
            assert_eq!(output, all.iter().map(|&a| plain(a, a)).collect::<Vec<_>>());
        }
        assert!(Sums::of(&add(0, (-128, 127))).is_none(), "one rounding only");
    }

    #[test]
    fn a_dimension_of_one_is_repeated() {
        // A column [10, 20] and a row [1, 2, 3].
        let (a, b) = ([10, 20], [1, 2, 3]);
        let mut output = [0; 6];
        broadcast(Shape::new(2, 3, 1), Shape::new(2, 1, 1), Shape::new(1, 3, 1), &mut output, |out, i, j| {
            *out = a[i] + b[j];
        });
        assert_eq!(output, [11, 12, 13, 21, 22, 23]);
    }
}
