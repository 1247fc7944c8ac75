//! The rounding rule against 128-bit integers that follow gemmlowp's definition word by word.

use neji_engine::requantize::requantize;
use proptest::prelude::*;

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
    let multipliers = [0, 1 << 30, (1 << 30) + 1, 1_518_500_250, i32::MAX - 1, i32::MAX];
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000_000, ..ProptestConfig::default() })]

    #[test]
    fn a_million_random_ones(value in any::<i32>(), multiplier in (1_i32 << 30)..=i32::MAX, shift in -31_i32..=30) {
        let value = value >> shift.max(0);
        prop_assert_eq!(requantize(value, multiplier, shift), oracle(value, multiplier, shift));
    }
}
