//! Sums of a feature over frames, and what they say: mean, deviation, and how far it moves from frame to frame.
//!
//! With `n` frames of a feature `d` and the sums `s` of `d` and `q` of `d^2`, the mean is `s / n` and the deviation
//! `sqrt(n q - s^2) / n`. Features are rounded to 1/4096 of their unit first; from there on all is exact but for the last
//! division and the root. So a mean is off by less than 1/8192 + 1/131072; a deviation by less than 1/8192 + 1/65536, since that
//! of a sum is at most the sum of deviations; a mean of differences, each of two rounded features, by less than
//! 1/4096 + 1/131072.

use neji_format::front_end::STATISTICS_FRAMES_MAX;

/// Fraction bits that are dropped of a feature's 16.
const DROPPED_BITS: u32 = 4;
/// What features are limited to, 8192 units, so that no sum overflows; no decibels are farther from 0.
const FEATURE_MAX: i32 = 1 << 29;
/// Words of a feature's sums, without that of differences and with it.
const WORDS: usize = 4;
const WORDS_WITH_DIFFERENCES: usize = 6;

// What the widths below are for: 2^25 or less, 2^13 times.
const _: () = assert!(FEATURE_MAX >> DROPPED_BITS <= 1 << 25 && STATISTICS_FRAMES_MAX <= 1 << 13);

/// A feature as it is summed, in 1/4096 of its unit.
pub(super) fn rounded(feature: i32) -> i32 {
    let half = 1 << (DROPPED_BITS - 1);
    (feature.clamp(-FEATURE_MAX, FEATURE_MAX) + half) >> DROPPED_BITS
}

/// Sums over at most [`STATISTICS_FRAMES_MAX`] frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    /// Of features: at most 2^38 either way.
    sum: i64,
    /// Of their squares: at most 2^63.
    squares: u64,
    /// Of the magnitudes of differences of neighbours: at most 2^39.
    differences: u64,
}

impl Sums {
    pub(super) const NONE: Self = Self { sum: 0, squares: 0, differences: 0 };

    /// Words that the sums are.
    pub(super) const fn words(differences: bool) -> usize {
        if differences { WORDS_WITH_DIFFERENCES } else { WORDS }
    }

    /// Of one feature, [`rounded`], and how far it is from that before it.
    pub(super) fn of(value: i32, difference: u32) -> Self {
        let magnitude = u64::from(value.unsigned_abs());
        Self { sum: value.into(), squares: magnitude * magnitude, differences: difference.into() }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            sum: self.sum.wrapping_add(other.sum),
            squares: self.squares.wrapping_add(other.squares),
            differences: self.differences.wrapping_add(other.differences),
        }
    }

    /// From as many words as there are.
    pub(super) fn from_words(words: &[u32]) -> Self {
        let mut halves = words.iter().map(|&word| u64::from(word));
        let mut next = || halves.next().unwrap_or(0) | halves.next().unwrap_or(0) << 32;
        Self { sum: next().cast_signed(), squares: next(), differences: next() }
    }

    /// To as many words as there are.
    pub(super) fn to_words(self, words: &mut [u32]) {
        let values = [self.sum.cast_unsigned(), self.squares, self.differences];
        let halves = values.into_iter().flat_map(|value| [value as u32, (value >> 32) as u32]);
        words.iter_mut().zip(halves).for_each(|(word, half)| *word = half);
    }

    /// Mean of `frames` features in 1/65536, rounded to nearest.
    pub(super) fn mean(self, frames: u16) -> i32 {
        divide(self.sum << DROPPED_BITS, frames.into())
    }

    /// Deviation of `frames` features in 1/65536.
    pub(super) fn deviation(self, frames: u16) -> i32 {
        let sum = u128::from(self.sum.unsigned_abs());
        let variance = (u128::from(self.squares) * u128::from(frames)).saturating_sub(sum * sum);
        divide(i64::try_from(root(variance << (2 * DROPPED_BITS))).unwrap_or(i64::MAX), frames.into())
    }

    /// Mean of so many differences in 1/65536; 0 of none.
    pub(super) fn difference(self, count: u16) -> i32 {
        divide(i64::try_from(self.differences << DROPPED_BITS).unwrap_or(i64::MAX), count.into())
    }
}

/// The mean of several features' means over `frames` in 1/65536, rounded to nearest. There are at most 2^20 features, whose
/// sum is at most 2^62.
pub(super) fn level(features: impl Iterator<Item = Sums>, frames: u16) -> i32 {
    let (mut sum, mut count) = (0_i64, 0_i64);
    for sums in features {
        sum = sum.wrapping_add(sums.sum << DROPPED_BITS);
        count = count.wrapping_add(frames.into());
    }
    divide(sum, count)
}

/// Quotient, rounded to nearest and halves up; what i32 has no room for is at its end. 0 where `count` is.
fn divide(value: i64, count: i64) -> i32 {
    let twice = value.saturating_mul(2).saturating_add(count);
    let quotient = twice.checked_div_euclid(count.wrapping_mul(2)).unwrap_or(0);
    quotient.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// The square root, rounded down; of what is above 2^64 its upper 32 bits or more.
fn root(value: u128) -> u64 {
    let above = (128 - value.leading_zeros()).saturating_sub(64).div_ceil(2);
    (value.wrapping_shr(2 * above) as u64).isqrt().wrapping_shl(above)
}
