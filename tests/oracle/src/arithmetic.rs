//! Numbers, images and windows: what the operators are made of.

use neji_format::Multiplier;

/// `multiplier / 2^31 * 2^shift`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor {
    pub(crate) multiplier: i32,
    pub(crate) shift: i8,
}

impl Factor {
    /// gemmlowp's two roundings.
    pub(crate) fn apply(self, value: i64) -> i64 {
        let left = value * (1_i64 << self.shift.max(0));
        assert!(i32::try_from(left).is_ok(), "the parser should have refused this");
        let product = i128::from(left) * i128::from(self.multiplier);
        let high = (product + (1 << 30)).div_euclid(1 << 31) as i64;
        let divisor = 1_i64 << (-self.shift).max(0);
        high.signum() * ((high.abs() + divisor / 2) / divisor)
    }
}

impl Factor {
    /// One rounding, halves up, with 16 bits of the multiplier.
    pub(crate) fn apply_once(self, value: i64) -> i64 {
        let upper = ((i64::from(self.multiplier) + (1 << 15)) >> 16).min(0x7fff);
        let divisor = 2f64.powi(15 - i32::from(self.shift)) as i128;
        (i128::from(value) * i128::from(upper) + divisor / 2).div_euclid(divisor) as i64
    }
}

impl From<Factor> for Multiplier {
    fn from(factor: Factor) -> Self {
        Self { multiplier: factor.multiplier, shift: factor.shift }
    }
}

/// An NHWC image, read with padding.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) height: i64,
    pub(crate) width: i64,
    pub(crate) channels: i64,
    pub(crate) values: Vec<i16>,
    pub(crate) zero_point: i8,
}

impl Image {
    /// `q`, or `None` outside.
    pub(crate) fn at(&self, y: i64, x: i64, c: i64) -> Option<i64> {
        let inside = (0..self.height).contains(&y) && (0..self.width).contains(&x);
        inside.then(|| self.values[((y * self.width + x) * self.channels + c) as usize].into())
    }

    /// Its shape.
    pub(crate) fn sizes(&self) -> [i64; 3] {
        [self.height, self.width, self.channels]
    }

    /// `q - zero_point`, 0 outside.
    pub(crate) fn centred(&self, y: i64, x: i64, c: i64) -> i64 {
        self.at(y, x, c).map_or(0, |q| q - i64::from(self.zero_point))
    }
}

/// Kernel, stride, dilation and padding before, `[vertical, horizontal]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) kernel: [i64; 2],
    pub(crate) stride: [i64; 2],
    pub(crate) dilation: [i64; 2],
    pub(crate) padding: [i64; 2],
}

/// How sums become outputs.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    pub(crate) channels: Vec<(i32, Factor)>,
    pub(crate) zero_point: i8,
    pub(crate) activation: (i16, i16),
    /// Biases of 64 bits: rounded once.
    pub(crate) wide: bool,
}

impl Finish {
    pub(crate) fn output(&self, channel: i64, sum: i64) -> i16 {
        let (bias, factor) = self.channels[channel as usize];
        let sum = sum + i64::from(bias);
        let value = if self.wide { factor.apply_once(sum) } else { factor.apply(sum) } + i64::from(self.zero_point);
        value.clamp(self.activation.0.into(), self.activation.1.into()) as i16
    }
}

/// Calls `each(y, x, c)` for every element of an output in order.
pub(crate) fn fill(shape: [i64; 3], mut each: impl FnMut(i64, i64, i64) -> i16) -> Vec<i16> {
    let mut values = Vec::new();
    for y in 0..shape[0] {
        for x in 0..shape[1] {
            for c in 0..shape[2] {
                values.push(each(y, x, c));
            }
        }
    }
    values
}
