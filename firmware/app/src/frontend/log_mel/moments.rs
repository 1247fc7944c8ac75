//! What a frame is like in time: its level, its kurtosis and its crest factor, by which bearings were watched before there were
//! models.
//!
//! With `m` the mean of `N` samples and `mu[k]` the mean of `(x - m)^k`:
//!
//! ```text
//! level     10 log10(mu[2] + epsilon)       x in [-1, 1)
//! kurtosis  10 log10(mu[4] / mu[2]^2)       4.77 dB of Gaussian noise, 1.76 dB of a sine, more of impacts
//! crest     10 log10(max (x - m)^2 / mu[2]) 3.01 dB of a sine
//! ```
//!
//! All three are in decibels as bands are, so that one quantizer serves them and impacts don't leave its range. The moments
//! are exact: with `y` the distance from the mean rounded to a whole step and `s[k]` the sum of `y^k`, they are
//!
//! ```text
//! N^2 mu[2] = N s[2] - s[1]^2
//! N^4 mu[4] = N^3 s[4] - 4 N^2 s[1] s[3] + 6 N s[1]^2 s[2] - 3 s[1]^4
//! ```
//!
//! and the logarithms are off by less than 5e-5 dB each, the kurtosis' by less than 1.5e-4 dB.

use super::decibel::Power;

/// How many features a frame's moments are.
pub const MOMENTS: usize = 3;
/// Bits below the sign of a sample, whose square is a power.
const SAMPLE_BITS: i32 = 15;

/// Level, kurtosis and crest factor of a frame in 1/65536 dB; where all samples are the same the last two are 0.
///
/// In which order they came makes no difference. A frame has at most 2^13 samples, a power of two, so `|y| <= 2^16`, `s[2] <= 2^45`, `|s[3]| <= 2^61`, `s[4] <= 2^77` and `|s[1]| <= N / 2`:
/// no product above has more than 117 bits.
pub fn moments(frame: &[i16], epsilon: Power) -> [i32; MOMENTS] {
    let count = frame.len() as i64;
    let (mut sum, mut least, mut most) = (0_i64, i64::MAX, i64::MIN);
    for sample in frame.iter().map(|&sample| i64::from(sample)) {
        sum = sum.wrapping_add(sample);
        (least, most) = (least.min(sample), most.max(sample));
    }
    let mean = (2 * sum).wrapping_add(count).checked_div_euclid(2 * count).unwrap_or(0) as i32;
    let (mut first, mut second, mut third) = (0_i64, 0_u64, 0_i64);
    // Of the fourth powers, which have 64 bits, the lower and the upper halves.
    let (mut low, mut high) = (0_u64, 0_u64);
    for &sample in frame {
        let y = i32::from(sample).wrapping_sub(mean);
        let square = u64::from(y.unsigned_abs()).wrapping_mul(y.unsigned_abs().into());
        let fourth = square.wrapping_mul(square);
        first = first.wrapping_add(y.into());
        second = second.wrapping_add(square);
        third = third.wrapping_add(square.cast_signed().wrapping_mul(y.into()));
        low = low.wrapping_add(fourth & u64::from(u32::MAX));
        high = high.wrapping_add(fourth >> 32);
    }
    let (n, s1, s2, s3) = (i128::from(count), i128::from(first), i128::from(second), i128::from(third));
    let s4 = (i128::from(high) << 32).wrapping_add(low.into());
    let square = s1.wrapping_mul(s1);
    let variance = n.wrapping_mul(s2).wrapping_sub(square);
    let fourth = n.wrapping_mul(n).wrapping_mul(n.wrapping_mul(s4).wrapping_sub(s1.wrapping_mul(s3).wrapping_mul(4)));
    let rest = square.wrapping_mul(n.wrapping_mul(s2).wrapping_mul(6).wrapping_sub(square.wrapping_mul(3)));
    let peak = count.wrapping_mul(most).wrapping_sub(sum).max(sum.wrapping_sub(count.wrapping_mul(least)));
    let power = |value: i128, exponent: i32| Power::new(value.max(0).cast_unsigned(), exponent);
    let scale = -2 * (SAMPLE_BITS + count.trailing_zeros().cast_signed());
    let level = power(variance, scale).plus(epsilon).decibels();
    if variance <= 0 {
        return [level, 0, 0];
    }
    let second = power(variance, 0).decibels();
    let fourth = power(fourth.wrapping_add(rest), 0).decibels();
    let peak = power(i128::from(peak).wrapping_mul(peak.into()), 0).decibels();
    [level, fourth.saturating_sub(second.saturating_mul(2)), peak.saturating_sub(second)]
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::f64::consts::TAU;
    use std::vec::Vec;

    use super::*;

    fn of(frame: &[i16]) -> [f64; 3] {
        moments(frame, Power::new(1, -120)).map(|value| f64::from(value) / 65536.0)
    }

    /// The definition.
    fn expected(frame: &[i16]) -> [f64; 3] {
        let count = frame.len() as f64;
        let mean = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let moment = |power: i32| frame.iter().map(|&x| (f64::from(x) - mean).powi(power)).sum::<f64>() / count;
        let peak = frame.iter().map(|&x| (f64::from(x) - mean).abs()).fold(0.0, f64::max);
        let real = [moment(2) / 2f64.powi(30), moment(4) / moment(2).powi(2), peak * peak / moment(2)];
        real.map(|value| 10.0 * value.log10())
    }

    #[test]
    fn moments_by_hand() {
        // Mean 1, distances 3, -1, -1, -1: squares 12 / 4, fourth powers 84 / 4 over 9, peak 9 over 3.
        let [level, kurtosis, crest] = of(&[4, 0, 0, 0]);
        let decibels = |value: f64| 10.0 * value.log10();
        assert!((level - decibels(3.0 / 2f64.powi(30))).abs() < 5e-5, "{level}");
        assert!((kurtosis - decibels(21.0 / 9.0)).abs() < 1.5e-4 && (crest - decibels(3.0)).abs() < 1e-4);
        // Gravity makes no difference.
        assert_eq!(of(&[4, 0, 0, 0])[1..], of(&[20_004, 20_000, 20_000, 20_000])[1..]);
    }

    #[test]
    fn moments_are_those_of_the_definition_at_any_level_and_offset() {
        let mut state = 3_u32;
        let mut noise = |amplitude: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 - 32_768) * amplitude / 32_768
        };
        for (len, amplitude, offset) in
            [(16, 4, 5), (64, 3, 0), (1024, 300, -9_000), (8192, 32_767, 0), (256, 90, 32_600)]
        {
            for period in [0, 7, 61] {
                let sample = |n: usize| {
                    let hit = if period > 0 && n.is_multiple_of(period) { amplitude * 9 } else { 0 };
                    (noise(amplitude) + hit + offset).clamp(i16::MIN.into(), i16::MAX.into()) as i16
                };
                let frame: Vec<i16> = (0..len).map(sample).collect();
                let apart =
                    of(&frame).iter().zip(expected(&frame)).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
                assert!(apart < 1.5e-4, "{len} {amplitude} {offset} {period}: {apart} dB");
            }
        }
        let sine: Vec<i16> = (0..1024).map(|n| ((TAU * f64::from(n) / 32.0).sin() * 32_767.0).round() as i16).collect();
        for (given, wanted) in of(&sine).into_iter().zip([-3.0103, 1.7609, 3.0103]) {
            assert!((given - wanted).abs() < 1e-3, "{given} for {wanted}");
        }
    }

    #[test]
    fn the_farthest_frames() {
        let epsilon = 10.0 * 2f64.powi(-120).log10();
        for constant in [0, i16::MIN, i16::MAX] {
            let [level, kurtosis, crest] = of(&std::vec![constant; 8192]);
            assert!((level - epsilon).abs() < 1e-3 && (kurtosis, crest) == (0.0, 0.0));
        }
        let square: Vec<i16> = (0..8192).map(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX }).collect();
        let mut hit = std::vec![i16::MIN; 8192];
        hit[99] = i16::MAX;
        let mut dent = std::vec![i16::MAX; 8192];
        dent[0] = i16::MIN;
        for frame in [square, hit, dent] {
            for (given, wanted) in of(&frame).into_iter().zip(expected(&frame)) {
                assert!((given - wanted).abs() < 2e-4, "{given} for {wanted}");
            }
        }
        assert_eq!(moments(&[], Power::new(1, 0)), [0, 0, 0]);
    }
}
