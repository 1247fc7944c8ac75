//! Decibels of a power, in integers.
//!
//! `10 log10(p) = 10 log10(2) log2(p)`. The exponent of `p` is the whole part of the logarithm; the rest comes from a table
//! of `log2(1 + i / 128)` by linear interpolation, which is off by less than `1.44 / (8 * 128^2) = 1.1e-5`: 3.4e-5 dB.

/// Fraction bits of decibels: features are in 1/65536 dB.
pub const DECIBEL_BITS: u32 = 16;

const LOG_BITS: u32 = 24;
const TABLE_BITS: u32 = 7;
/// Mantissas of [`Power`] are in `[2^62, 2^63)`.
const TOP: u32 = 62;
const FACTOR_BITS: u32 = 26;
/// 10 log10(2).
const DECIBELS_PER_OCTAVE: i64 = (3.010_299_956_639_812 * (1 << FACTOR_BITS) as f64 + 0.5) as i64;
/// Largest exponent, either way, that has decibels of its own: all products fit i64.
const EXPONENT_MAX: i32 = 2048;

/// `log2(1 + i / 128)` in Q24: each squaring gives one more bit.
static LOG2: [i32; (1 << TABLE_BITS) + 1] = {
    let mut table = [0; (1 << TABLE_BITS) + 1];
    let mut index = 0;
    while index < 1 << TABLE_BITS {
        let mut x = ((1 << TABLE_BITS) + index as u128) << (TOP - TABLE_BITS);
        let mut bits = 0;
        let mut count = 0;
        while count <= LOG_BITS {
            x = (x * x) >> TOP;
            let bit = x >> (TOP + 1);
            x >>= bit;
            bits = 2 * bits + bit as i32;
            count += 1;
        }
        table[index] = (bits + 1) >> 1;
        index += 1;
    }
    table[index] = 1 << LOG_BITS;
    table
};

/// A power: `mantissa * 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    mantissa: u64,
    exponent: i32,
}

impl Power {
    /// `mantissa * 2^exponent`; digits below the 62nd are cut off.
    pub const fn new(mantissa: u128, exponent: i32) -> Self {
        if mantissa == 0 {
            return Self { mantissa: 0, exponent: 0 };
        }
        // The top bit is to become bit 126, and then the upper half is taken.
        let zeros = mantissa.leading_zeros() as i32;
        let normal = if zeros == 0 { mantissa >> 1 } else { mantissa.wrapping_shl((zeros - 1).unsigned_abs()) };
        Self { mantissa: (normal >> 64) as u64, exponent: exponent.saturating_add(65 - zeros) }
    }

    /// The sum; what is below the larger one's last digit is cut off.
    pub const fn plus(self, other: Self) -> Self {
        let (large, small) = match (self.mantissa, other.mantissa) {
            (0, _) => return other,
            (_, 0) => return self,
            _ if self.exponent >= other.exponent => (self, other),
            _ => (other, self),
        };
        let apart = large.exponent.saturating_sub(small.exponent).unsigned_abs();
        let below = if apart > TOP { 0 } else { small.mantissa.wrapping_shr(apart) };
        Self::new((large.mantissa + below) as u128, large.exponent)
    }

    /// True of a power of 0.
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// `10 log10` of it in 1/65536 dB; exponents beyond 2048 count as 2048. `i32::MIN` where the power is 0.
    pub fn decibels(self) -> i32 {
        if self.mantissa == 0 {
            return i32::MIN;
        }
        let index = (self.mantissa >> (TOP - TABLE_BITS)) as usize & ((1 << TABLE_BITS) - 1);
        let rest = (self.mantissa >> (TOP - TABLE_BITS - LOG_BITS)) as i64 & ((1 << LOG_BITS) - 1);
        let entry = |index: usize| LOG2.get(index).map_or(0, |&entry| i64::from(entry));
        let (here, next) = (entry(index), entry(index + 1));
        let fraction = here + (((next - here) * rest + (1 << (LOG_BITS - 1))) >> LOG_BITS);
        let exponent = self.exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX) + TOP.cast_signed();
        let log2 = (i64::from(exponent) << LOG_BITS) + fraction;
        let bits = LOG_BITS + FACTOR_BITS - DECIBEL_BITS;
        ((log2 * DECIBELS_PER_OCTAVE + (1 << (bits - 1))) >> bits) as i32
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    fn decibels(mantissa: u128, exponent: i32) -> f64 {
        f64::from(Power::new(mantissa, exponent).decibels()) / 65536.0
    }

    #[test]
    fn powers_of_ten_are_tens() {
        assert_eq!(Power::new(1, 0).decibels(), 0);
        for (power, tens) in (0..38).map(|tens| (10u128.pow(tens), tens)) {
            assert!((decibels(power, 0) - 10.0 * f64::from(tens)).abs() < 1e-4, "10^{tens}");
        }
        assert!((decibels(1, -100) + 301.03).abs() < 1e-4);
        assert!((decibels(u128::MAX, 0) - 385.318_394).abs() < 1e-4);
    }

    #[test]
    fn interpolation_is_as_close_as_it_says() {
        for mantissa in (1u32 << 16)..1 << 17 {
            let expected = 10.0 * f64::from(mantissa).log10();
            let given = decibels(mantissa.into(), 0);
            // The table's 3.4e-5 and half of a last digit.
            assert!((given - expected).abs() < 4.3e-5, "{mantissa}: {given} for {expected}");
        }
    }

    #[test]
    fn sums_are_sums_and_zero_is_the_least() {
        let (one, zero) = (Power::new(1, 0), Power::new(0, 9));
        assert_eq!(one.plus(zero), one);
        assert_eq!(zero.plus(one), one);
        assert_eq!(one.plus(Power::new(3, 0)), Power::new(4, 0));
        assert_eq!(Power::new(7, -1).plus(Power::new(1, -1)), Power::new(4, 0));
        assert_eq!(one.plus(Power::new(1, -200)), one);
        assert!(zero.is_zero());
        assert_eq!(zero.decibels(), i32::MIN);
        assert_eq!(Power::new(1, i32::MAX).decibels(), Power::new(1 << 62, 2048).decibels());
        assert_eq!(Power::new(1, i32::MIN).decibels(), -Power::new(1, 2048 - 62).decibels());
    }
}
