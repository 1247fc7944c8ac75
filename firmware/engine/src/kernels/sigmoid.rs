//! Logistic function and hyperbolic tangent of int16, interpolated.
//!
//! The table holds `65536 * logistic(i / 24)`; `tanh(x) = 2 logistic(2 x) - 1`, and `logistic(-x) = 1 - logistic(x)`.
//! TensorFlow Lite's `reference_integer_ops::Logistic` and `Tanh`.

use neji_format::{LutFunction, Sigmoid};

/// One element; `table` has 256 entries.
pub(crate) fn sigmoid(op: &Sigmoid, table: &[u16; 256], q: i16) -> i16 {
    let shift = u32::from(op.shift);
    let half = if shift == 0 { 0 } else { 1_i64.wrapping_shl(shift.wrapping_sub(1)) };
    let product = i64::from(q).wrapping_mul(op.multiplier.into());
    let x = product.wrapping_add(half).wrapping_shr(shift) as i32;
    let tanh = op.function == LutFunction::Tanh;
    // A step of the table is 2^9 of the logistic's input and 2^8 of the tangent's.
    let bits = if tanh { 8 } else { 9 };
    let magnitude = x.unsigned_abs();
    let index = magnitude.wrapping_shr(bits) as usize;
    let at = |index: usize| i32::from(table.get(index).copied().unwrap_or(u16::MAX));
    let interpolated = if index >= 255 {
        // One, as nearly as the output can say it.
        if tanh { 0xffff << 8 } else { 0x7fff << 10 }
    } else {
        let fraction = (magnitude & 1_u32.wrapping_shl(bits).wrapping_sub(1)) as i32;
        let slope = at(index.wrapping_add(1)).wrapping_sub(at(index));
        at(index).wrapping_shl(bits).wrapping_add(fraction.wrapping_mul(slope))
    };
    let value = if tanh {
        const HALF: i32 = 1 << 23;
        let above = interpolated.wrapping_sub(HALF);
        (if x >= 0 { above.wrapping_add(128) } else { above.wrapping_neg().wrapping_add(127) }) >> 8
    } else {
        const ONE: i32 = 1 << 25;
        (if x >= 0 { interpolated.wrapping_add(512) } else { ONE.wrapping_sub(interpolated).wrapping_add(511) }) >> 10
    };
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}
