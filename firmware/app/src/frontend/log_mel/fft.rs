//! Power spectrum of a windowed frame: a real transform in block floating point.
//!
//! A frame of `N` samples is transformed as `N / 2` complex points, even samples real and odd ones imaginary, by radix-2
//! decimation in time; a last pass takes the two spectra apart (Sorensen, Jones, Heideman and Burrus, IEEE Trans. ASSP
//! 35(6), 1987). All points share one exponent: before each pass they are shifted so far that the pass can't overflow and
//! no farther (Oppenheim and Weinstein, Proc. IEEE 60(8), 1972), so a quiet frame is as exact as a loud one.
//!
//! A butterfly `a ± w b` with `|w| = 1` makes components of at most `1 + sqrt 2 < 4` times the largest, so points below
//! 2^29 stay in i32. Products are i64 and rounded once, which is `smull`, `smlal` on ARMv7-M.

use neji_format::front_end::SINE_BITS;

/// A complex number: real part, imaginary part.
pub type Complex = [i32; 2];

/// Bits below the sign that a butterfly's operands may have.
const STAGE_BITS: u32 = 29;
/// The same for the pass that takes the spectra apart: it adds two points before it rotates.
const SPLIT_BITS: u32 = 28;

/// Bits below the sign, collected over many values: their magnitudes, or'ed.
#[derive(Debug, Clone, Copy, Default)]
struct Bits(u32);

impl Bits {
    #[inline(always)]
    fn add(&mut self, [re, im]: Complex) {
        self.0 |= ((re ^ (re >> 31)) | (im ^ (im >> 31))).cast_unsigned();
    }

    fn count(self) -> u32 {
        32 - self.0.leading_zeros()
    }
}

/// `(x + i y) (cos - i sin)`, rounded to nearest.
#[inline(always)]
fn rotate([x, y]: Complex, cos: i32, sin: i32) -> Complex {
    let (x, y, cos, sin) = (i64::from(x), i64::from(y), i64::from(cos), i64::from(sin));
    let round = |value: i64| ((value + (1 << (SINE_BITS - 1))) >> SINE_BITS) as i32;
    [round(x * cos + y * sin), round(y * cos - x * sin)]
}

/// `a, b` become `a + b, a - b`.
#[inline(always)]
fn cross(a: &mut Complex, b: &mut Complex, rotated: Complex, bits: &mut Bits) {
    let [re, im] = *a;
    *a = [re.wrapping_add(rotated[0]), im.wrapping_add(rotated[1])];
    *b = [re.wrapping_sub(rotated[0]), im.wrapping_sub(rotated[1])];
    bits.add(*a);
    bits.add(*b);
}

/// Shifts all points right so far that they have at most `most` bits; returns by how many bits.
fn limit(points: &mut [Complex], bits: Bits, most: u32) -> i32 {
    let shift = bits.count().saturating_sub(most);
    if shift > 0 {
        let half = 1i32.wrapping_shl(shift - 1);
        for part in points.iter_mut().flatten() {
            *part = part.wrapping_add(half).wrapping_shr(shift);
        }
    }
    shift.cast_signed()
}

/// The first butterflies, whose factor is 1.
fn first_stage(points: &mut [Complex]) -> Bits {
    let mut bits = Bits::default();
    for pair in points.as_chunks_mut::<2>().0 {
        let [a, b] = pair;
        let rotated = *b;
        cross(a, b, rotated, &mut bits);
    }
    bits
}

/// Butterflies of points `half >= 2` apart. The second half of the factors is the first, turned by a quarter.
fn stage(points: &mut [Complex], sine: &[i32], half: usize) -> Bits {
    let mut bits = Bits::default();
    let step = (2 * sine.len().saturating_sub(1) / half.max(1)).max(1);
    let factors = || sine.iter().step_by(step).zip(sine.iter().rev().step_by(step));
    for block in points.chunks_exact_mut((2 * half).max(1)) {
        let Some((low, high)) = block.split_at_mut_checked(half) else { continue };
        let (Some((a0, a1)), Some((b0, b1))) =
            (low.split_at_mut_checked(half / 2), high.split_at_mut_checked(half / 2))
        else {
            continue;
        };
        for ((a, b), (&sin, &cos)) in a0.iter_mut().zip(b0).zip(factors()) {
            let rotated = rotate(*b, cos, sin);
            cross(a, b, rotated, &mut bits);
        }
        for ((a, b), (&sin, &cos)) in a1.iter_mut().zip(b1).zip(factors()) {
            let [re, im] = rotate(*b, cos, sin);
            cross(a, b, [im, re.wrapping_neg()], &mut bits);
        }
    }
    bits
}

/// A power as it is stored in the place of a complex number.
fn pack(power: u64) -> Complex {
    [power as i32, (power >> 32) as i32]
}

/// Low and high half of a stored power.
pub(super) fn halves([low, high]: Complex) -> (u64, u64) {
    (low.cast_unsigned().into(), high.cast_unsigned().into())
}

fn power([re, im]: Complex) -> u64 {
    let square = |part: i32| u64::from(part.unsigned_abs()) * u64::from(part.unsigned_abs());
    square(re) + square(im)
}

/// Powers of the `N / 2 + 1` frequencies of a real frame from the transform of its `N / 2` points, in place and times 4.
fn split(points: &mut [Complex], sine: &[i32]) {
    let Some((nyquist, rest)) = points.split_last_mut() else { return };
    let Some((zero, inner)) = rest.split_first_mut() else { return };
    let [re, im] = *zero;
    *zero = pack(power([2 * (re + im), 0]));
    *nyquist = pack(power([2 * (re - im), 0]));
    let Some((low, [middle, high @ ..])) = inner.split_at_mut_checked(inner.len() / 2) else { return };
    let [re, im] = *middle;
    *middle = pack(power([2 * re, 2 * im]));
    let factors = sine.iter().zip(sine.iter().rev()).skip(1);
    for ((a, b), (&sin, &cos)) in low.iter_mut().zip(high.iter_mut().rev()).zip(factors) {
        let even = [a[0] + b[0], a[1] - b[1]];
        let odd = [a[1] + b[1], b[0] - a[0]];
        let odd = rotate(odd, cos, sin);
        *a = pack(power([even[0] + odd[0], even[1] + odd[1]]));
        *b = pack(power([even[0] - odd[0], even[1] - odd[1]]));
    }
}

/// Windows a frame and leaves its powers in `points`, one a frequency from 0 to half the sample rate.
///
/// `frame` gives the `N` samples, `window` their `N` weights in Q16, `sine` the `N / 4 + 1` values `sin(2 pi k / N)` in
/// Q30; `points` is `N / 2 + 1` long. With samples of `[-1, 1)` the true powers are what is stored `* 2^(result - 64)`.
pub fn power_spectrum(frame: impl Iterator<Item = i16>, window: &[u16], sine: &[i32], points: &mut [Complex]) -> i32 {
    let count = points.len().saturating_sub(1);
    let unused = count.leading_zeros() + 1;
    let mut bits = Bits::default();
    // |sample * weight| <= 2^15 * (2^16 - 1): it fits.
    let mut products = frame.zip(window).map(|(sample, &weight)| i32::from(sample).wrapping_mul(weight.into()));
    for index in 0..count {
        let (Some(re), Some(im)) = (products.next(), products.next()) else { break };
        if let Some(point) = points.get_mut(index.reverse_bits().checked_shr(unused).unwrap_or(0)) {
            *point = [re, im];
            bits.add(*point);
        }
    }
    let Some((_, transformed)) = points.split_last_mut() else { return 0 };
    let up = STAGE_BITS.saturating_sub(bits.count());
    let mut shift = limit(transformed, bits, STAGE_BITS);
    if up > 0 && bits.count() > 0 {
        for part in transformed.iter_mut().flatten() {
            *part = part.wrapping_shl(up);
        }
        shift -= up.cast_signed();
    }
    bits = first_stage(transformed);
    let mut half = 2;
    while half < count {
        shift += limit(transformed, bits, STAGE_BITS);
        bits = stage(transformed, sine, half);
        half *= 2;
    }
    shift += limit(transformed, bits, SPLIT_BITS);
    split(points, sine);
    2 * shift
}

#[cfg(test)]
mod tests {
    extern crate std;
    use core::f64::consts::TAU;
    use std::vec::Vec;

    use super::*;

    fn sine(len: usize) -> Vec<i32> {
        (0..=len / 4).map(|k| ((TAU * k as f64 / len as f64).sin() * f64::from(1 << 30)).round() as i32).collect()
    }

    fn powers(frame: &[i16], window: u16) -> Vec<f64> {
        let mut points = std::vec![[0x55; 2]; frame.len() / 2 + 1];
        let window = std::vec![window; frame.len()];
        let exponent = power_spectrum(frame.iter().copied(), &window, &sine(frame.len()), &mut points);
        let real = |point| {
            let (low, high) = halves(point);
            (low as f64 + high as f64 * 2f64.powi(32)) * 2f64.powi(exponent - 64)
        };
        points.into_iter().map(real).collect()
    }

    /// The definition: |sum x[n] e^(-2 pi i k n / N)|^2.
    fn expected(frame: &[i16], k: usize) -> f64 {
        let angle = |n: usize| TAU * ((k * n) % frame.len()) as f64 / frame.len() as f64;
        let sum = |part: fn(f64) -> f64| -> f64 {
            frame.iter().enumerate().map(|(n, &x)| f64::from(x) / 32768.0 * part(angle(n))).sum()
        };
        sum(f64::cos).powi(2) + sum(f64::sin).powi(2)
    }

    #[test]
    fn constant_and_alternating_frames_have_one_line() {
        // Weight 1/2, samples 1/4: 16 / 8 = 2, squared.
        assert_eq!(powers(&[1 << 13; 16], 1 << 15), [4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let alternating: [i16; 16] = core::array::from_fn(|n| if n % 2 == 0 { 1 << 13 } else { -(1 << 13) });
        assert_eq!(powers(&alternating, 1 << 15), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    }

    #[test]
    fn powers_are_those_of_the_definition_at_any_level() {
        let mut state = 1u32;
        for len in [16, 32, 256, 1024] {
            for amplitude in [32767, 200, 1] {
                let frame: Vec<i16> = (0..len)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (i64::from(state >> 16) * (2 * amplitude + 1) / 65536 - amplitude) as i16
                    })
                    .collect();
                let given = powers(&frame, 1 << 15);
                let total: f64 = given.iter().sum();
                for (k, given) in given.iter().enumerate() {
                    let expected = expected(&frame, k) / 4.0;
                    let apart = (given.sqrt() - expected.sqrt()).abs() / (total / len as f64).sqrt().max(1e-30);
                    assert!(apart < 1e-6, "{len} samples to {amplitude}: line {k} {given} for {expected}");
                }
            }
        }
    }

    #[test]
    fn the_loudest_frames_do_not_overflow() {
        // Full scale in phase with one line after the other, the worst that a line can get.
        for k in 0..=32 {
            let sign = |n: usize| if (TAU * (k * n) as f64 / 64.0 + 0.3).cos() < 0.0 { i16::MIN } else { i16::MAX };
            let frame: Vec<i16> = (0..64).map(sign).collect();
            let given = powers(&frame, u16::MAX);
            let factor = (65535.0 / 65536.0f64).powi(2);
            let expected = expected(&frame, k) * factor;
            assert!((given[k] / expected - 1.0).abs() < 1e-6, "line {k}: {} for {expected}", given[k]);
        }
    }
}
