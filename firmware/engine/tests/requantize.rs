//! The rounding rule against 128-bit integers that follow gemmlowp's definition word by word.

use neji_engine::requantize::requantize;

/// `SaturatingRoundingDoublingHighMul`, then `RoundingDivideByPOT`, by their definitions.
fn oracle(value: i32, multiplier: i32, shift: i32) -> i32 {
    let left = i128::from(value) * (1_i128 << shift.max(0));
    // Rounded to nearest: nudge by half with the product's sign, then divide towards zero.
    let product = left * i128::from(multiplier);
    let nudge = if product >= 0 { 1_i128 << 30 } else { 1 - (1_i128 << 30) };
    let high = (product + nudge) / (1_i128 << 31);
    let high = high.min(i128::from(i32::MAX));
    // Rounded half away from zero.
    let divisor = 1_i128 << (-shift).max(0);
    let half = divisor / 2;
    let rounded = if high >= 0 { (high + half) / divisor } else { -((-high + half) / divisor) };
    i32::try_from(rounded).unwrap()
}

/// Whether a left shift keeps the value in 32 bits: the domain that the parser guarantees.
fn in_domain(value: i32, shift: i32) -> bool {
    i32::try_from(i128::from(value) << shift.max(0)).is_ok()
}

#[test]
fn every_shift_with_edge_values_and_multipliers() {
    let multipliers = [0, 1 << 29, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, 1_518_500_250, i32::MAX - 1, i32::MAX];
    let powers = (0..31).flat_map(|bit: u32| [(1_i32 << bit) - 1, 1 << bit, (1_i32 << bit).wrapping_add(1)]);
    let values: Vec<i32> =
        powers.flat_map(|v: i32| [v, v.wrapping_neg()]).chain(-2000..2000).chain([i32::MIN, i32::MAX]).collect();
    for shift in -31..=30 {
        for multiplier in multipliers {
            for &value in values.iter().filter(|&&value| in_domain(value, shift)) {
                let found = requantize(value, multiplier, shift);
                assert_eq!(found, oracle(value, multiplier, shift), "{value} x {multiplier} << {shift}");
            }
        }
    }
}

/// Marsaglia's xorshift with 64 bits ("Xorshift RNGs", 2003): ten million draws need a fast generator, not a good one.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Every shift gets its share; mantissas from 2^29 as a mean's may be, values over all magnitudes.
#[test]
fn ten_million_random_ones() {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for count in 0..10_000_000_u32 {
        let shift = (count % 62) as i32 - 31;
        let random = draw(&mut state);
        let multiplier = ((random >> 32) as i32 & i32::MAX) | 1 << 29;
        // A random number of significant bits, so that small values are as frequent as large ones.
        let value = (random as i32) >> (draw(&mut state) % 32) >> shift.max(0);
        assert_eq!(
            requantize(value, multiplier, shift),
            oracle(value, multiplier, shift),
            "{value} {multiplier} {shift}"
        );
    }
}

/// What no parser admits still must not panic: left shifts that leave 32 bits wrap.
#[test]
fn values_outside_the_domain_wrap() {
    for shift in 1..=30 {
        for value in [i32::MIN, i32::MAX, 1 << 30, -(1 << 30) - 1] {
            let wrapped = (i64::from(value) << shift) as i32;
            assert_eq!(requantize(value, i32::MAX, shift), requantize(wrapped, i32::MAX, 0), "{value} {shift}");
        }
    }
}
