//! Element by element: tables, sums, products.

use neji_format::{Add, Mul, Shape};

use crate::element::Element;
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
    use super::*;

    #[test]
    fn a_table_begins_at_minus_128() {
        let mut table = [0; 256];
        table[0] = 5;
        table[255] = 6;
        table[128] = 7;
        assert_eq!([look_up(&table, -128), look_up(&table, 127), look_up(&table, 0)], [5, 6, 7]);
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
