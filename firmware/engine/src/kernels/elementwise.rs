//! Element by element: tables and sums.

use neji_format::Add;

use crate::requantize::{clamp_i8, requantize};

/// The entry of `table` for `q`.
#[inline(always)]
pub(crate) fn look_up(table: &[i8; 256], q: i8) -> i8 {
    // q + 128 as an unsigned byte is q with its top bit turned: an index that needs no bounds check.
    table[usize::from(q.cast_unsigned() ^ 0x80)]
}

/// One sum: both inputs are brought to a common scale with `left_shift` spare bits, added, and brought to the output's.
#[inline(always)]
pub(crate) fn add(add: &Add, a: i8, b: i8) -> i8 {
    let left_shift = u32::from(add.left_shift);
    let scaled = |q: i8, zero_point: i8, multiplier: i32, shift: i8| {
        let value = i32::from(q).wrapping_sub(zero_point.into()).wrapping_shl(left_shift);
        requantize(value, multiplier, shift.into())
    };
    let a = scaled(a, add.input_a.zero_point, add.multiplier_a.multiplier, add.multiplier_a.shift);
    let b = scaled(b, add.input_b.zero_point, add.multiplier_b.multiplier, add.multiplier_b.shift);
    let factor = add.output_multiplier;
    let sum = requantize(a.wrapping_add(b), factor.multiplier, factor.shift.into());
    clamp_i8(sum.saturating_add(add.output.zero_point.into()), add.activation_min, add.activation_max)
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
}
