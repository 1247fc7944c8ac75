//! What each operator means, in i64 and one element at a time. Written to be read; nothing is shared with the engine.

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

/// An NHWC image, read with padding.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) height: i64,
    pub(crate) width: i64,
    pub(crate) channels: i64,
    pub(crate) values: Vec<i8>,
    pub(crate) zero_point: i8,
}

impl Image {
    /// `q`, or `None` outside.
    pub(crate) fn at(&self, y: i64, x: i64, c: i64) -> Option<i64> {
        let inside = (0..self.height).contains(&y) && (0..self.width).contains(&x);
        inside.then(|| self.values[((y * self.width + x) * self.channels + c) as usize].into())
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
    pub(crate) activation: (i8, i8),
}

impl Finish {
    pub(crate) fn output(&self, channel: i64, sum: i64) -> i8 {
        let (bias, factor) = self.channels[channel as usize];
        let value = factor.apply(sum + i64::from(bias)) + i64::from(self.zero_point);
        value.clamp(self.activation.0.into(), self.activation.1.into()) as i8
    }
}

/// Calls `each(y, x, c)` for every element of an output in order.
pub(crate) fn fill(shape: [i64; 3], mut each: impl FnMut(i64, i64, i64) -> i8) -> Vec<i8> {
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

pub(crate) fn conv2d(input: &Image, g: Geometry, weights: &[i8], finish: &Finish, shape: [i64; 3]) -> Vec<i8> {
    fill(shape, |y, x, o| {
        let mut sum = 0;
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                for i in 0..input.channels {
                    let weight = weights[(((o * g.kernel[0] + ky) * g.kernel[1] + kx) * input.channels + i) as usize];
                    let iy = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                    let ix = x * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                    sum += input.centred(iy, ix, i) * i64::from(weight);
                }
            }
        }
        finish.output(o, sum)
    })
}

pub(crate) fn depthwise_conv2d(
    input: &Image,
    g: Geometry,
    weights: &[i8],
    finish: &Finish,
    shape: [i64; 3],
) -> Vec<i8> {
    let multiplier = shape[2] / input.channels;
    fill(shape, |y, x, o| {
        let mut sum = 0;
        for ky in 0..g.kernel[0] {
            for kx in 0..g.kernel[1] {
                let weight = weights[((ky * g.kernel[1] + kx) * shape[2] + o) as usize];
                let iy = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                let ix = x * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                sum += input.centred(iy, ix, o / multiplier) * i64::from(weight);
            }
        }
        finish.output(o, sum)
    })
}

/// In scatter form, as the operator is defined: every input adds to the outputs that it reaches.
pub(crate) fn transpose_conv2d(
    input: &Image,
    g: Geometry,
    weights: &[i8],
    finish: &Finish,
    shape: [i64; 3],
) -> Vec<i8> {
    let mut sums = vec![0_i64; (shape[0] * shape[1] * shape[2]) as usize];
    let index = |y: i64, x: i64, o: i64| ((y * shape[1] + x) * shape[2] + o) as usize;
    for iy in 0..input.height {
        for ix in 0..input.width {
            for ky in 0..g.kernel[0] {
                for kx in 0..g.kernel[1] {
                    let (y, x) = (iy * g.stride[0] + ky - g.padding[0], ix * g.stride[1] + kx - g.padding[1]);
                    if !(0..shape[0]).contains(&y) || !(0..shape[1]).contains(&x) {
                        continue;
                    }
                    for o in 0..shape[2] {
                        for i in 0..input.channels {
                            let tap = (o * g.kernel[0] + ky) * g.kernel[1] + kx;
                            let weight = i64::from(weights[(tap * input.channels + i) as usize]);
                            sums[index(y, x, o)] += input.centred(iy, ix, i) * weight;
                        }
                    }
                }
            }
        }
    }
    fill(shape, |y, x, o| finish.output(o, sums[index(y, x, o)]))
}

/// The values under each window that lie inside the input, given to `reduce`.
pub(crate) fn pool2d(input: &Image, g: Geometry, shape: [i64; 3], reduce: impl Fn(&[i64]) -> i64) -> Vec<i8> {
    fill(shape, |y, x, c| {
        let taps = (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx)));
        let inside: Vec<i64> = taps
            .filter_map(|(ky, kx)| {
                input.at(y * g.stride[0] + ky - g.padding[0], x * g.stride[1] + kx - g.padding[1], c)
            })
            .collect();
        i8::try_from(reduce(&inside)).expect("reduce clamps")
    })
}
