//! Real numbers to integers: TensorFlow Lite's int8 specification and its `QuantizeMultiplier`.

use neji_format::{Element, Multiplier};

use crate::calibrate::Range;

/// Scale and zero point of an activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheme {
    /// Real size of a step.
    pub scale: f32,
    /// Quantized value of real zero.
    pub zero_point: i8,
}

impl Scheme {
    /// What softmax and the logistic function give: 0 to 255/256.
    pub const UNIT: Self = Self { scale: 1.0 / 256.0, zero_point: -128 };
    /// What tanh gives: -1 to 127/128.
    pub const SIGNED_UNIT: Self = Self { scale: 1.0 / 128.0, zero_point: 0 };

    /// The scheme that covers `range`, zero exactly one of its values: with 256 values (Jacob et al. 2018, section 3), or with
    /// int16 symmetrically.
    pub fn of(element: Element, range: Range) -> Self {
        let (low, high) = (f64::from(range.low.min(0.0)), f64::from(range.high.max(0.0)));
        if element == Element::I16 {
            let largest = high.max(-low);
            let scale = (if largest > 1e-30 { largest } else { 1.0 } / 32767.0) as f32;
            return Self { scale, zero_point: 0 };
        }
        // A tensor that is always zero needs some scale; so do ranges whose scale would vanish in f32.
        let width = if high - low > 1e-30 { high - low } else { 1.0 };
        let scale = (width / 255.0) as f32;
        let zero_point = (-128.0 - low / f64::from(scale)).round().clamp(-128.0, 127.0) as i8;
        Self { scale, zero_point }
    }

    /// What the logistic function and tanh give in int16: -1 to 32767/32768.
    pub const WIDE_UNIT: Self = Self { scale: 1.0 / 32768.0, zero_point: 0 };

    /// The int8 value nearest to `real`.
    pub fn quantize(self, real: f64) -> i8 {
        self.quantize_to(Element::I8, real) as i8
    }

    /// The value nearest to `real`.
    pub fn quantize_to(self, element: Element, real: f64) -> i32 {
        let (low, high) = element.range();
        let steps = (real / f64::from(self.scale) + f64::from(self.zero_point)).round();
        steps.clamp(low.into(), high.into()) as i32
    }

    /// The real value of `quantized`.
    pub fn real(self, quantized: impl Into<i32>) -> f64 {
        let quantized: i32 = quantized.into();
        f64::from(self.scale) * (f64::from(quantized) - f64::from(self.zero_point))
    }
}

/// `real` as a 31-bit mantissa and a shift: `QuantizeMultiplier`. Below 2^-32 it is 0.
///
/// # Panics
/// For a number that is negative, not finite, or 2^30 or more.
pub fn multiplier(real: f64) -> Multiplier {
    assert!((0.0..f64::from(1 << 30)).contains(&real), "{real} is no factor between scales");
    if real == 0.0 {
        return Multiplier { multiplier: 0, shift: 0 };
    }
    // real = mantissa * 2^exponent with mantissa in [0.5, 1).
    let mut exponent = real.log2().floor() as i32 + 1;
    let mut mantissa = (real / 2f64.powi(exponent) * f64::from(1_u32 << 31)).round() as i64;
    if mantissa == 1 << 31 {
        mantissa /= 2;
        exponent += 1;
    }
    if exponent < -31 {
        return Multiplier { multiplier: 0, shift: 0 };
    }
    Multiplier { multiplier: mantissa as i32, shift: exponent as i8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_by_hand() {
        assert_eq!(multiplier(0.5), Multiplier { multiplier: 1 << 30, shift: 0 });
        assert_eq!(multiplier(1.0), Multiplier { multiplier: 1 << 30, shift: 1 });
        assert_eq!(multiplier(0.75), Multiplier { multiplier: 3 << 29, shift: 0 });
        assert_eq!(multiplier(2f64.powi(-40)), Multiplier { multiplier: 0, shift: 0 });
        // The mantissa rounds up to one.
        assert_eq!(multiplier(1.0 - 1e-12), Multiplier { multiplier: 1 << 30, shift: 1 });
        for exponent in -31..=29 {
            for mantissa in [1.0, 1.000_000_01, 1.5, 1.999_999_9] {
                let real = mantissa * 2f64.powi(exponent - 1);
                let Multiplier { multiplier, shift } = multiplier(real);
                assert!((1 << 30..=i32::MAX).contains(&multiplier) && (-31..=30).contains(&shift), "{real}");
                let back = f64::from(multiplier) / 2f64.powi(31) * 2f64.powi(shift.into());
                assert!((back / real - 1.0).abs() < 1e-9, "{real} {back}");
            }
        }
    }

    #[test]
    fn zero_is_exact_and_the_ends_are_covered() {
        let scheme = Scheme::of(Element::I8, Range { low: -1.0, high: 3.0 });
        assert_eq!(scheme.zero_point, -64);
        assert_eq!(scheme.real(scheme.zero_point), 0.0);
        assert_eq!((scheme.quantize(3.0), scheme.quantize(-1.0), scheme.quantize(9.0)), (127, -128, 127));
        let wide = Scheme::of(Element::I16, Range { low: -4.0, high: 1.0 });
        assert_eq!((wide.zero_point, wide.quantize_to(Element::I16, -4.0)), (0, -32767));
        assert_eq!(
            Scheme::of(Element::I8, Range { low: 0.0, high: 1.0 }),
            Scheme { scale: 1.0 / 255.0, zero_point: -128 }
        );
        assert!(Scheme::of(Element::I8, Range { low: 0.0, high: 0.0 }).scale > 0.0);
    }
}
