//! Plain Rust: the reference, and what every core can run.

use super::Isa;

/// The instruction set that overrides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

impl Isa for Portable {}

/// One product, added.
#[inline(always)]
fn step(acc: i32, input: i8, input_offset: i32, weight: i8) -> i32 {
    acc.wrapping_add((i32::from(input).wrapping_add(input_offset)).wrapping_mul(i32::from(weight)))
}

/// See [`Isa::dot_s8`]. Four products a turn: the compiler does not unroll by itself for Cortex-M.
#[inline(always)]
pub(super) fn dot_s8(mut acc: i32, input: &[i8], input_offset: i32, weights: &[i8]) -> i32 {
    let len = input.len().min(weights.len());
    let (inputs, inputs_left) = input.get(..len).unwrap_or(&[]).as_chunks::<4>();
    let (weights, weights_left) = weights.get(..len).unwrap_or(&[]).as_chunks::<4>();
    for (x, w) in inputs.iter().zip(weights) {
        acc = step(acc, x[0], input_offset, w[0]);
        acc = step(acc, x[1], input_offset, w[1]);
        acc = step(acc, x[2], input_offset, w[2]);
        acc = step(acc, x[3], input_offset, w[3]);
    }
    for (&x, &w) in inputs_left.iter().zip(weights_left) {
        acc = step(acc, x, input_offset, w);
    }
    acc
}

/// See [`Isa::dot_s8_rows_4`].
#[inline(always)]
pub(super) fn dot_s8_rows_4(acc: [i32; 4], input: &[i8], input_offset: i32, weights: [&[i8]; 4]) -> [i32; 4] {
    let [mut a, mut b, mut c, mut d] = acc;
    let [wa, wb, wc, wd] = weights;
    for ((((&x, &wa), &wb), &wc), &wd) in input.iter().zip(wa).zip(wb).zip(wc).zip(wd) {
        a = step(a, x, input_offset, wa);
        b = step(b, x, input_offset, wb);
        c = step(c, x, input_offset, wc);
        d = step(d, x, input_offset, wd);
    }
    [a, b, c, d]
}

/// See [`Isa::dot_s16`]. Eight products of 23 bits fit 32; their sum is widened once.
#[inline(always)]
pub(super) fn dot_s16(mut acc: i64, input: &[i16], weights: &[i8]) -> i64 {
    let len = input.len().min(weights.len());
    let (inputs, inputs_left) = input.get(..len).unwrap_or(&[]).as_chunks::<8>();
    let (weights, weights_left) = weights.get(..len).unwrap_or(&[]).as_chunks::<8>();
    let product = |x: i16, w: i8| i32::from(x).wrapping_mul(w.into());
    for (x, w) in inputs.iter().zip(weights) {
        let sum = x.iter().zip(w).fold(0_i32, |sum, (&x, &w)| sum.wrapping_add(product(x, w)));
        acc = acc.wrapping_add(sum.into());
    }
    for (&x, &w) in inputs_left.iter().zip(weights_left) {
        acc = acc.wrapping_add(product(x, w).into());
    }
    acc
}

/// See [`Isa::multiply_accumulate_s8`].
#[inline(always)]
pub(super) fn multiply_accumulate_s8(acc: &mut [i32], input: &[i8], input_offset: i32, weights: &[i8]) {
    for ((acc, &x), &w) in acc.iter_mut().zip(input).zip(weights) {
        *acc = step(*acc, x, input_offset, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_adds_the_offset_to_each_input() {
        // (1 + 10) 2 + (-3 + 10) 4 + (0 + 10) (-1) + (5 + 10) 1 + (6 + 10) 3 = 22 + 28 - 10 + 15 + 48.
        assert_eq!(Portable::dot_s8(100, &[1, -3, 0, 5, 6], 10, &[2, 4, -1, 1, 3]), 203);
        assert_eq!(Portable::dot_s8(7, &[], 10, &[]), 7);
    }

    #[test]
    fn four_rows_are_four_dots() {
        let rows: [&[i8]; 4] = [&[1, 0], &[0, 1], &[1, 1], &[-128, 127]];
        assert_eq!(Portable::dot_s8_rows_4([0, 1, 2, 3], &[3, -4], 1, rows), [4, -2, 3, -890]);
    }

    #[test]
    fn the_largest_int16_products_do_not_overflow() {
        assert_eq!(Portable::dot_s16(5, &[i16::MIN; 19], &[i8::MIN; 19]), 5 + 19 * 32768 * 128);
        assert_eq!(Portable::dot_s16(0, &[1, -2, 3], &[10, 20, 30]), 60);
    }

    #[test]
    fn channels_accumulate_apart() {
        let mut acc = [1, 2];
        Portable::multiply_accumulate_s8(&mut acc, &[3, -3], 1, &[5, 7]);
        assert_eq!(acc, [21, -12]);
    }
}
