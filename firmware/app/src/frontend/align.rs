//! Where the part lies, and the strip that is cut along it.
//!
//! Lengths are in 1/256 pixel, directions are unit vectors in Q30. The principal axis comes from the second moments
//! without an angle: with `a = Mxx - Myy`, `b = 2 Mxy`, `r = sqrt(a^2 + b^2)` it is parallel to `(r + a, b)`, and to
//! `(b, r - a)`; the longer of the two is taken.

use neji_format::{Alignment, Heading, Size};

/// Fraction bits of directions.
const AXIS_BITS: u32 = 30;

/// Place, direction and size of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pose {
    /// Middle of the part along its axis, its centroid across; x and y in 1/256 pixel, pixel centres at whole pixels.
    pub center: (i32, i32),
    /// Unit vector along the part, from its thicker end where the alignment asks for that; Q30.
    pub axis: (i32, i32),
    /// Extent along the axis in 1/256 pixel.
    pub length: u32,
    /// Twice the farthest extent from the axis in 1/256 pixel.
    pub breadth: u32,
    /// Pixels of the part.
    pub area: u32,
    /// Correlation of the strip with the template in Q30; 0 where there is none.
    pub correlation: i32,
}

impl Pose {
    /// The same along another axis: the sum of two directions, of their angles.
    pub(super) fn turned_by(self, (cos, sin): (i32, i32)) -> Self {
        let (x, y, cos, sin) = (i64::from(self.axis.0), i64::from(self.axis.1), i64::from(cos), i64::from(sin));
        // Rounded down by less than 1 of 2^30, which 64 times over is still nothing.
        let turned = [x * cos - y * sin, x * sin + y * cos].map(|sum| (sum >> AXIS_BITS) as i32);
        Self { axis: (turned[0], turned[1]), ..self }
    }

    /// Turned by a tangent in Q16, then moved along and across the new axis in 1/256 pixel.
    pub(super) fn moved(self, [turn, along, across]: [i32; 3]) -> Self {
        let (x, y, turn) = (i64::from(self.axis.0), i64::from(self.axis.1), i64::from(turn));
        let (x, y) = unit(x - ((turn * y) >> 16), y + ((turn * x) >> 16));
        let (along, across) = (i64::from(along), i64::from(across));
        let shift = |a: i64, b: i64| ((along * a + across * b + (1 << (AXIS_BITS - 1))) >> AXIS_BITS) as i32;
        let center = (self.center.0.saturating_add(shift(x, -y)), self.center.1.saturating_add(shift(y, x)));
        Self { center, axis: (x as i32, y as i32), ..self }
    }
}

/// The direction, Q30, of a circle's part: a whole one halved `halvings` times.
pub(super) fn part_of_circle(halvings: u8) -> (i32, i32) {
    let one = 1i64 << AXIS_BITS;
    let (mut x, mut y) = match halvings {
        0 => (one, 0),
        1 => (-one, 0),
        _ => (0, one),
    };
    for _ in 2..halvings {
        // Halfway between a direction and the level one.
        (x, y) = unit(x + one, y);
    }
    (x as i32, y as i32)
}

/// The unit vector, Q30, along a vector of less than 2^31.5.
fn unit(x: i64, y: i64) -> (i64, i64) {
    let length = (x * x + y * y).unsigned_abs().isqrt().cast_signed().max(1);
    ((x << AXIS_BITS) / length, (y << AXIS_BITS) / length)
}

#[derive(Default)]
struct Moments {
    count: i64,
    x: i64,
    y: i64,
    xx: i64,
    xy: i64,
    yy: i64,
}

fn pixels(mask: &[u16], width: usize) -> impl Iterator<Item = (i64, i64)> + '_ {
    mask.chunks_exact(width.max(1))
        .zip(0i64..)
        .flat_map(|(row, y)| row.iter().zip(0i64..).filter(|(label, _)| **label != 0).map(move |(_, x)| (x, y)))
}

/// Principal axis of central moments; `(1, 0)` where the ellipse of inertia is round to 1/64.
fn principal_axis(xx: i128, xy: i128, yy: i128) -> (i64, i64) {
    let horizontal = (1i64 << AXIS_BITS, 0);
    let (a, b) = (xx - yy, 2 * xy);
    let magnitude = a.unsigned_abs().max(b.unsigned_abs());
    if magnitude == 0 || magnitude * 64 < (xx + yy).unsigned_abs() {
        return horizontal;
    }
    let bits = 128 - magnitude.leading_zeros() as i32;
    let scale = |value: i128| if bits > 28 { (value >> (bits - 28)) as i64 } else { (value << (28 - bits)) as i64 };
    let (a, b) = (scale(a), scale(b));
    let r = (a * a + b * b).unsigned_abs().isqrt().cast_signed();
    let (x, y) = if a >= 0 { (r + a, b) } else { (b, r - a) };
    unit(x, y)
}

/// Measures the part whose pixels are not 0 in `mask`; `None` where there are none. Upright, its middle is the centroid either way.
///
/// The thicker end is the half, cut at the middle of the extent along the axis, whose second moment across the axis is
/// larger: a head tells by its width even where a long thread has more pixels.
pub fn pose(mask: &[u16], width: usize, heading: Heading) -> Option<Pose> {
    let mut m = Moments::default();
    for (x, y) in pixels(mask, width) {
        m.count += 1;
        m.x += x;
        m.y += y;
        m.xx += x * x;
        m.xy += x * y;
        m.yy += y * y;
    }
    if m.count == 0 {
        return None;
    }
    let central =
        |second: i64, a: i64, b: i64| i128::from(second) * i128::from(m.count) - i128::from(a) * i128::from(b);
    let mut axis = match heading {
        Heading::Upright => (1 << AXIS_BITS, 0),
        _ => principal_axis(central(m.xx, m.x, m.x), central(m.xy, m.x, m.y), central(m.yy, m.y, m.y)),
    };
    let count = m.count.max(1);
    let centroid = ((m.x * 256 + count / 2) / count, (m.y * 256 + count / 2) / count);
    let project = |axis: (i64, i64), (x, y): (i64, i64)| {
        let (dx, dy) = (x * 256 - centroid.0, y * 256 - centroid.1);
        ((dx * axis.0 + dy * axis.1) >> AXIS_BITS, (dy * axis.0 - dx * axis.1) >> AXIS_BITS)
    };
    let (mut low, mut high, mut wide) = (i64::MAX, i64::MIN, 0);
    for pixel in pixels(mask, width) {
        let (u, v) = project(axis, pixel);
        (low, high, wide) = (low.min(u), high.max(u), wide.max(v.abs()));
    }
    let middle = if heading == Heading::Upright { 0 } else { (low + high) >> 1 };
    let center = (centroid.0 + ((middle * axis.0) >> AXIS_BITS), centroid.1 + ((middle * axis.1) >> AXIS_BITS));
    if heading == Heading::ThickEndFirst {
        let mut balance = 0i64;
        for pixel in pixels(mask, width) {
            let (u, v) = project(axis, pixel);
            // Sixteenths of a pixel keep the sum of squares within i64.
            balance += (u - middle).signum() * (v >> 4) * (v >> 4);
        }
        if balance > 0 {
            axis = (-axis.0, -axis.1);
        }
    }
    Some(Pose {
        center: (center.0 as i32, center.1 as i32),
        axis: (axis.0 as i32, axis.1 as i32),
        length: (high - low + 256) as u32,
        breadth: (2 * wide + 256) as u32,
        area: m.count as u32,
        correlation: 0,
    })
}

/// Whole pixel and 8-bit weight of the next one at a position in Q32, clamped to a line of `len` pixels: the last pixel has no
/// next one, and a weight of 0.
fn clamped(position: i64, len: u16) -> (usize, u32) {
    let (whole, last) = ((position >> 32) as i32, i32::from(len) - 1);
    if whole < 0 {
        (0, 0)
    } else if whole >= last {
        (last.max(0) as usize, 0)
    } else {
        (whole as usize, (position >> 24) as u32 & 255)
    }
}

/// Bilinear sample at a position in Q32, clamped to the image; 8-bit weights.
fn sample(image: &[u8], size: Size, x: i64, y: i64) -> u32 {
    let ((x, fx), (y, fy)) = (clamped(x, size.width), clamped(y, size.height));
    let width = usize::from(size.width);
    let at = |index: usize| image.get(index).map_or(0, |&grey| u32::from(grey));
    // What has a weight of 0 may be any pixel.
    let (right, below) = (usize::from(fx > 0), if fy > 0 { width } else { 0 });
    let index = y * width + x;
    let upper = at(index) * (256 - fx) + at(index + right) * fx;
    let lower = at(index + below) * (256 - fx) + at(index + below + right) * fx;
    (upper * (256 - fy) + lower * fy + (1 << 15)) >> 16
}

/// [`sample`] at a position that has a next pixel to the right and below: what most strips consist of, and quicker.
fn sample_within(image: &[u8], width: usize, x: i64, y: i64) -> u32 {
    let index = ((y >> 32) as usize).wrapping_mul(width).wrapping_add((x >> 32) as usize);
    let (fx, fy) = ((x >> 24) as u32 & 255, (y >> 24) as u32 & 255);
    let pair = |from: usize| match image.get(from..).and_then(|rest| rest.first_chunk()) {
        Some(&[left, right]) => u32::from(left) * (256 - fx) + u32::from(right) * fx,
        None => 0,
    };
    (pair(index) * (256 - fy) + pair(index.wrapping_add(width)) * fy + (1 << 15)) >> 16
}

/// Fraction bits of steps along and across the axis.
const STEP_BITS: u32 = 24;

/// Cuts the strip of `pose` out of an image and gives `put` its pixels in row order.
///
/// The strip's pixel (i, j) is sampled at `((i + 1/2) / width - 1/2) * length` along and likewise across. Where a step
/// is longer than 2 pixels it is the mean of as many samples as keep them 2 pixels apart, at most 4 an axis. Positions are
/// sums of steps in Q32, whose error over a thousand samples is below 1/1000 pixel.
pub fn strip(image: &[u8], size: Size, pose: &Pose, alignment: &Alignment, mut put: impl FnMut(usize, u8)) {
    let samples = |extent: u32, count: u16| i64::from(extent.div_ceil(512 * u32::from(count.max(1))).clamp(1, 4));
    let (columns, rows) = (i64::from(alignment.strip.width), i64::from(alignment.strip.height));
    let samples_u = samples(alignment.length, alignment.strip.width);
    let samples_v = samples(alignment.breadth, alignment.strip.height);
    let total = ((samples_u * samples_v) as u32).max(1);
    // From a sample to the next; extents of up to 2^24 are in Q8.
    let step = |extent: u32, count: i64| (i64::from(extent) << (STEP_BITS - 8)) / count.max(1);
    let (step_u, step_v) = (step(alignment.length, columns * samples_u), step(alignment.breadth, rows * samples_v));
    // Products with a direction: Q24 times Q22 is at most 2^62.
    let turn = |length: i64, direction: i64| (length * (direction >> 8)) >> (STEP_BITS + AXIS_BITS - 8 - 32);
    let (ax, ay) = (i64::from(pose.axis.0), i64::from(pose.axis.1));
    let (right, below) = ((turn(step_u, ax), turn(step_u, ay)), (turn(step_v, -ay), turn(step_v, ax)));
    // Half a step inside of the corner, which is half of the extents from the middle.
    let first = |middle: i32, right: i64, below: i64| {
        (i64::from(middle) << 24) - ((right * (columns * samples_u - 1)) >> 1) - ((below * (rows * samples_v - 1)) >> 1)
    };
    let mut line = (first(pose.center.0, right.0, below.0), first(pose.center.1, right.1, below.1));
    // Whether the farthest samples, which are those at the corners, have a next pixel.
    let within = |first: i64, right: i64, below: i64, len: u16| {
        let (along, across) = (right * (columns * samples_u - 1), below * (rows * samples_v - 1));
        let (least, most) = (first + along.min(0) + across.min(0), first + along.max(0) + across.max(0));
        least >= 0 && most >> 32 < i64::from(len) - 1
    };
    let within = within(line.0, right.0, below.0, size.width) && within(line.1, right.1, below.1, size.height);
    let mut index = 0;
    for _ in 0..rows {
        let mut corner = line;
        for _ in 0..columns {
            let (mut sum, mut row) = (0, corner);
            for _ in 0..samples_v {
                let (mut x, mut y) = row;
                for _ in 0..samples_u {
                    sum += match within {
                        true => sample_within(image, size.width.into(), x, y),
                        false => sample(image, size, x, y),
                    };
                    (x, y) = (x + right.0, y + right.1);
                }
                row = (row.0 + below.0, row.1 + below.1);
            }
            put(index, ((sum + total / 2) / total) as u8);
            index += 1;
            corner = (corner.0 + samples_u * right.0, corner.1 + samples_u * right.1);
        }
        line = (line.0 + samples_v * below.0, line.1 + samples_v * below.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_of_known_moments() {
        let one = 1i64 << AXIS_BITS;
        assert_eq!(principal_axis(100, 0, 1), (one, 0));
        assert_eq!(principal_axis(1, 0, 100), (0, one));
        assert_eq!(principal_axis(50, 0, 50), (one, 0));
        let (x, y) = principal_axis(50, -40, 50);
        assert!((x.abs() - 759_250_125).abs() < 64 && (x + y).abs() < 64, "{x} {y}");
    }

    #[test]
    fn bar_is_measured_exactly() {
        let mut mask = [0u16; 64];
        mask[8 * 3 + 1..8 * 3 + 7].fill(1);
        let pose = pose(&mask, 8, Heading::ThickEndFirst).unwrap();
        assert_eq!(pose.center, (3 * 256 + 128, 3 * 256));
        assert_eq!((pose.length, pose.breadth, pose.area), (6 * 256, 256, 6));
    }

    #[test]
    fn thicker_end_comes_first() {
        let mut mask = [0u16; 64];
        mask[8 * 3 + 1..8 * 3 + 7].fill(1);
        (mask[8 * 2 + 6], mask[8 * 4 + 6]) = (1, 1);
        let pose = pose(&mask, 8, Heading::ThickEndFirst).unwrap();
        assert!(pose.axis.0 < 0);
    }

    #[test]
    fn a_strip_is_the_same_whether_it_reaches_beyond_the_picture_or_not() {
        let (size, border) = (Size { width: 23, height: 17 }, 40u16);
        let image: [u8; 23 * 17] = core::array::from_fn(|i| (i * i * 31 % 253) as u8);
        // The same picture with its edges drawn out, in which nothing lies beyond.
        let wide = Size { width: 23 + 80, height: 17 + 80 };
        let inner = |at: usize, len: usize| at.saturating_sub(40).min(len - 1);
        let drawn: [u8; 103 * 97] = core::array::from_fn(|i| image[inner(i / 103, 17) * 23 + inner(i % 103, 23)]);
        let mut alignment = Alignment {
            polarity: neji_format::Polarity::Dark,
            threshold: neji_format::MaskThreshold::Otsu,
            area_min: 0,
            area_max: 0,
            whole_only: false,
            heading: Heading::Axis,
            length: 30 * 256,
            breadth: 11 * 256,
            strip: Size { width: 9, height: 7 },
            registration: None,
        };
        for (turn, x, y, length) in [(0, 11, 8, 30), (5000, 3, 2, 30), (-40_000, 20, 15, 37), (60_000, 11, 8, 8)] {
            alignment.length = length * 256;
            let level = Pose { center: (0, 0), axis: (1 << 30, 0), length: 0, breadth: 0, area: 0, correlation: 0 };
            let at = |border: u16| {
                let center = (x * 256 + 77 + i32::from(border) * 256, y * 256 + 13 + i32::from(border) * 256);
                Pose { center, ..level.moved([turn, 0, 0]) }
            };
            let (mut clipped, mut whole) = ([0; 63], [0; 63]);
            strip(&image, size, &at(0), &alignment, |index, grey| clipped[index] = grey);
            strip(&drawn, wide, &at(border), &alignment, |index, grey| whole[index] = grey);
            assert_eq!(clipped, whole, "{turn} at {x}, {y}");
        }
    }

    #[test]
    fn upright_a_part_lies_about_its_centroid() {
        // A slanted part, thicker at one end.
        let mut mask = [0u16; 64];
        for (x, y) in [(1, 1), (2, 2), (3, 3), (4, 4), (4, 3), (3, 4)] {
            mask[8 * y + x] = 1;
        }
        let pose = pose(&mask, 8, Heading::Upright).unwrap();
        let mean = (17 * 256 + 3) / 6;
        assert_eq!((pose.axis, pose.center), ((1 << 30, 0), (mean, mean)));
        assert_eq!((pose.length, pose.area), (4 * 256, 6));
    }

    #[test]
    fn parts_of_a_circle_add_up_to_it() {
        for halvings in 0..=6u8 {
            let part = part_of_circle(halvings);
            let pose = Pose {
                center: (0, 0),
                axis: (759_250_125, -759_250_125),
                length: 0,
                breadth: 0,
                area: 0,
                correlation: 0,
            };
            let once = pose.turned_by(part);
            let angle = f64::from(part.1).atan2(f64::from(part.0));
            assert!(
                (angle.rem_euclid(core::f64::consts::TAU) - core::f64::consts::TAU / f64::from(1 << halvings)).abs()
                    % core::f64::consts::TAU
                    < 1e-8
            );
            let around = (1..1 << halvings).fold(once, |pose, _| pose.turned_by(part));
            assert!(
                (around.axis.0 - pose.axis.0).abs() < 512 && (around.axis.1 - pose.axis.1).abs() < 512,
                "{around:?}"
            );
        }
    }

    #[test]
    fn strip_of_a_level_pose_is_the_image() {
        let image: [u8; 24] = core::array::from_fn(|i| i as u8 * 10);
        let size = Size { width: 6, height: 4 };
        let pose = Pose { center: (640, 384), axis: (1 << 30, 0), length: 0, breadth: 0, area: 0, correlation: 0 };
        let alignment = Alignment {
            polarity: neji_format::Polarity::Dark,
            threshold: neji_format::MaskThreshold::Otsu,
            area_min: 0,
            area_max: 0,
            whole_only: false,
            heading: Heading::Axis,
            length: 6 * 256,
            breadth: 4 * 256,
            strip: size,
            registration: None,
        };
        let mut out = [0; 24];
        strip(&image, size, &pose, &alignment, |index, grey| out[index] = grey);
        assert_eq!(out, image);
    }
}
