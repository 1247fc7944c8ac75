//! Registration: the pose that the moments give, corrected until the strip correlates best with a template.
//!
//! With strip `s` and template `t` of `n` pixels the correlation is that of Pearson,
//!
//! ```text
//! (n sum(s t) - sum(s) sum(t)) / sqrt((n sum(s^2) - sum(s)^2) (n sum(t^2) - sum(t)^2))
//! ```
//!
//! free of gain and offset of the grey levels (J. P. Lewis, Fast Normalized Cross-Correlation, Vision Interface 1995, eq.
//! 2). All sums are exact; each strip is sampled as the one that the model sees. A coordinate search with steps that halve
//! looks at no more than `6 * rounds` of them after those of the directions that it begins with, and needs no memory.

use neji_format::{Alignment, Registration, Size};

use super::align::{self, Pose};

/// Fraction bits of a correlation.
pub const CORRELATION_BITS: u32 = 30;

/// A square root with as many bits as fit: `mantissa / 2^shift`.
#[derive(Debug, Clone, Copy)]
struct Root {
    mantissa: u64,
    shift: u32,
}

impl Root {
    /// Of a value below 2^63; the mantissa has 31 or 32 bits, or is 0.
    fn of(value: u64) -> Self {
        let shift = if value == 0 { 0 } else { value.leading_zeros() / 2 };
        Self { mantissa: (value << (2 * shift)).isqrt(), shift }
    }
}

/// A template with what each correlation needs of it.
struct Template<'t> {
    pixels: &'t [u8],
    sum: u64,
    deviation: Root,
}

impl<'t> Template<'t> {
    /// Of at most 2^16 pixels; what there is beyond is left out.
    fn new(pixels: &'t [u8]) -> Self {
        let pixels = pixels.get(..1 << 16).unwrap_or(pixels);
        let (mut sum, mut squares) = (0u64, 0u64);
        for &pixel in pixels {
            sum += u64::from(pixel);
            squares += u64::from(pixel) * u64::from(pixel);
        }
        Self { pixels, sum, deviation: Root::of(variance(pixels.len() as u64, sum, squares)) }
    }

    /// Correlation with the strip of a pose, Q30; 0 where strip or template has one grey level alone.
    fn correlation(&self, image: &[u8], size: Size, pose: &Pose, alignment: &Alignment) -> i32 {
        // 2^16 times 255^2 fits 32 bits.
        let (mut sum, mut squares, mut products) = (0u32, 0u32, 0u32);
        align::strip(image, size, pose, alignment, |index, grey| {
            let Some(&template) = self.pixels.get(index) else { return };
            let grey = u32::from(grey);
            sum += grey;
            squares += grey * grey;
            products += grey * u32::from(template);
        });
        let count = self.pixels.len() as u64;
        let covariance = (count * u64::from(products)).cast_signed() - (u64::from(sum) * self.sum).cast_signed();
        let deviation = Root::of(variance(count, sum.into(), squares.into()));
        let scale = (deviation.mantissa * self.deviation.mantissa) >> CORRELATION_BITS;
        // The covariance is at most the product of both roots, so this stays within 64 bits.
        let shifted = covariance.unsigned_abs() << (deviation.shift + self.deviation.shift);
        let quotient = shifted.checked_div(scale).unwrap_or(0).min(1 << CORRELATION_BITS) as i32;
        if covariance < 0 { -quotient } else { quotient }
    }
}

/// `count^2` times the variance: exact, and below 2^48.
fn variance(count: u64, sum: u64, squares: u64) -> u64 {
    (count * squares).saturating_sub(sum * sum)
}

/// A pose beside another: the tangent of a turn in Q16, shifts along and across the turned axis in 1/256 pixel.
type Offset = [i32; 3];

/// The best pose near `pose`, with its correlation; `pose` itself where nothing is better.
pub(super) fn register(
    image: &[u8],
    size: Size,
    pose: Pose,
    alignment: &Alignment,
    registration: &Registration,
    template: &[u8],
) -> Pose {
    let template = Template::new(template);
    let look = |pose: Pose| Pose { correlation: template.correlation(image, size, &pose, alignment), ..pose };
    let mut start = pose;
    let mut best = look(pose);
    let directions = registration.directions.min(neji_format::REGISTRATION_DIRECTIONS_MAX);
    let step = align::part_of_circle(directions);
    let mut turned = pose;
    for _ in 1..1u32 << directions {
        turned = turned.turned_by(step);
        let found = look(turned);
        if found.correlation > best.correlation {
            (start, best) = (turned, found);
        }
    }
    let farthest = [registration.turn, registration.along, registration.across].map(i32::from);
    let mut offset: Offset = [0; 3];
    for round in 1..=u32::from(registration.rounds.min(neji_format::REGISTRATION_ROUNDS_MAX)) {
        // Across first: what is left of that hides the others, since parts are longer than broad.
        for axis in [2, 0, 1] {
            let Some(&farthest) = farthest.get(axis) else { continue };
            let step = farthest >> round;
            let from = offset;
            for step in [-step, step] {
                let mut to = from;
                let Some(moved) = to.get_mut(axis) else { continue };
                *moved += step;
                // A step that has become 0 goes nowhere; steps that halve stay below the farthest.
                if step == 0 {
                    continue;
                }
                let found = look(start.moved(to));
                if found.correlation > best.correlation {
                    (offset, best) = (to, found);
                }
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use neji_format::{Constant, Heading, MaskThreshold, Polarity};
    use std::vec::Vec;
    use std::{format, vec};

    const SIZE: Size = Size { width: 96, height: 64 };
    const LEVEL: Pose =
        Pose { center: (48 * 256, 32 * 256), axis: (1 << 30, 0), length: 0, breadth: 0, area: 0, correlation: 0 };

    fn alignment() -> Alignment {
        Alignment {
            polarity: Polarity::Dark,
            threshold: MaskThreshold::Otsu,
            area_min: 1,
            area_max: 10_000,
            whole_only: false,
            heading: Heading::ThickEndFirst,
            length: 64 * 256,
            breadth: 32 * 256,
            strip: Size { width: 32, height: 16 },
            registration: None,
        }
    }

    fn registration(directions: u8) -> Registration {
        // tan(5 degrees), 4 pixels.
        let template = Constant { offset: 0, bytes: 512 };
        Registration { template, turn: 5734, along: 1024, across: 1024, rounds: 6, directions, correlation_min: 0 }
    }

    /// A dark bar with a head and a groove, turned about a place and lit in some way.
    fn part(degrees: f64, (cx, cy): (f64, f64), gain: f64) -> Vec<u8> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let grey = |x: f64, y: f64| {
            let (u, v) = ((x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin);
            // A soft edge of a pixel to either side.
            let inside = |distance: f64| ((1.0 - distance) / 2.0).clamp(0.0, 1.0);
            let bar = inside((u.abs() - 26.0).max(v.abs() - 5.0));
            let head = inside(((u + 22.0).abs() - 4.0).max(v.abs() - 11.0));
            let groove = inside(((u - 6.0).abs() - 3.0).max(v.abs() - 2.0));
            200.0 - 120.0 * bar.max(head) + 70.0 * groove
        };
        (0..64).flat_map(|y| (0..96).map(move |x| (gain * grey(x.into(), y.into())).round() as u8)).collect()
    }

    fn template() -> Vec<u8> {
        let mut template = vec![0; 512];
        align::strip(&part(0.0, (48.0, 32.0), 1.0), SIZE, &LEVEL, &alignment(), |index, grey| template[index] = grey);
        template
    }

    fn found(image: &[u8], directions: u8, template: &[u8]) -> Pose {
        register(image, SIZE, LEVEL, &alignment(), &registration(directions), template)
    }

    #[test]
    fn turns_and_shifts_are_recovered_whatever_the_light() {
        let template = template();
        for (degrees, x, y, gain) in
            [(0.0, 0.0, 0.0, 1.0), (3.0, 1.0, -2.0, 1.0), (-4.0, -3.0, 1.5, 0.6), (2.0, 2.6, 2.2, 1.2)]
        {
            let pose = found(&part(degrees, (48.0 + x, 32.0 + y), gain), 0, &template);
            let turn = f64::from(pose.axis.1).atan2(f64::from(pose.axis.0)).to_degrees();
            let (dx, dy) = (f64::from(pose.center.0) / 256.0 - 48.0, f64::from(pose.center.1) / 256.0 - 32.0);
            let all = format!("{degrees} {x} {y}: {turn} {dx} {dy} {}", pose.correlation);
            assert!((turn - degrees).abs() < 0.4 && (dx - x).abs() < 0.3 && (dy - y).abs() < 0.3, "{all}");
            assert!(pose.correlation > (1 << 30) / 100 * 99, "{all}");
            let length = f64::from(pose.axis.0).hypot(f64::from(pose.axis.1));
            assert!((length / f64::from(1 << 30) - 1.0).abs() < 1e-6, "{all}");
        }
    }

    #[test]
    fn nothing_moves_farther_than_allowed() {
        let pose = found(&part(30.0, (66.0, 20.0), 1.0), 0, &template());
        let (dx, dy) = (pose.center.0 - 48 * 256, pose.center.1 - 32 * 256);
        assert!(dx * dx + dy * dy <= 2 * 1024 * 1024);
        assert!(i64::from(pose.axis.1).abs() * 65536 <= i64::from(pose.axis.0) * 5735);
    }

    #[test]
    fn the_other_end_is_tried_where_asked_for() {
        let (template, turned) = (template(), part(180.0, (48.0, 32.0), 1.0));
        let kept = found(&turned, 0, &template);
        let pose = found(&turned, 1, &template);
        assert!(kept.axis.0 > 0 && pose.axis.0 < 0);
        assert!(pose.correlation > (1 << 30) / 100 * 99 && kept.correlation < pose.correlation);
    }

    #[test]
    fn any_direction_is_found_where_a_circle_is_asked_for() {
        let template = template();
        for degrees in [0.0f64, 47.0, 101.0, -80.0, 178.0] {
            // The template lies within the picture whichever way it is turned.
            let small = Alignment { length: 40 * 256, breadth: 20 * 256, ..alignment() };
            let mut wanted = vec![0; 512];
            align::strip(&part(0.0, (48.0, 32.0), 1.0), SIZE, &LEVEL, &small, |index, grey| wanted[index] = grey);
            let image = part(degrees, (48.0, 32.0), 0.8);
            let pose = register(&image, SIZE, LEVEL, &small, &registration(6), &wanted);
            let turn = f64::from(pose.axis.1).atan2(f64::from(pose.axis.0)).to_degrees();
            assert!(
                ((turn - degrees + 540.0).rem_euclid(360.0) - 180.0).abs() < 1.0,
                "{degrees}: {turn} {}",
                pose.correlation
            );
            assert!(pose.correlation > (1 << 30) / 100 * 97, "{degrees}: {turn} {}", pose.correlation);
        }
        assert_eq!(template.len(), 512);
    }

    #[test]
    fn correlation_is_one_of_itself_and_minus_one_of_the_negative() {
        let (template, image) = (template(), part(0.0, (48.0, 32.0), 1.0));
        let one = Template::new(&template).correlation(&image, SIZE, &LEVEL, &alignment());
        assert!(one.abs_diff(1 << 30) < 8, "{one}");
        let negative: Vec<u8> = template.iter().map(|grey| 255 - grey).collect();
        let minus = Template::new(&negative).correlation(&image, SIZE, &LEVEL, &alignment());
        assert!(minus.abs_diff(-1 << 30) < 8, "{minus}");
    }

    #[test]
    fn correlation_is_what_floats_say() {
        let image: Vec<u8> = (0..96 * 64u32).map(|i| (i * i * 7 % 251) as u8).collect();
        let template: Vec<u8> = (0..512u32).map(|i| (i * 31 % 256) as u8).collect();
        let mut strip = vec![0.0; 512];
        align::strip(&image, SIZE, &LEVEL, &alignment(), |index, grey| strip[index] = f64::from(grey));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let centred = |values: &[f64]| values.iter().map(|value| value - mean(values)).collect::<Vec<_>>();
        let (s, t) = (centred(&strip), centred(&template.iter().map(|&grey| grey.into()).collect::<Vec<_>>()));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let expected = dot(&s, &t) / (dot(&s, &s) * dot(&t, &t)).sqrt();
        let got = Template::new(&template).correlation(&image, SIZE, &LEVEL, &alignment());
        assert!((f64::from(got) / f64::from(1 << 30) - expected).abs() < 1e-7, "{got} {expected}");
    }

    #[test]
    fn one_grey_level_correlates_with_nothing_and_stays_where_it_is() {
        let template = template();
        for grey in [0, 77, 255] {
            assert_eq!(found(&vec![grey; 96 * 64], 6, &template), LEVEL);
            assert_eq!(found(&part(0.0, (48.0, 32.0), 1.0), 1, &vec![grey; 512]), LEVEL);
        }
    }

    #[test]
    fn the_largest_strip_and_the_strongest_contrast_do_not_overflow() {
        let image: Vec<u8> = (0..96 * 64).map(|i| if i / 48 % 2 == 0 { 255 } else { 0 }).collect();
        let strip = Size { width: 256, height: 256 };
        let alignment = Alignment { strip, length: 1 << 24, breadth: 1 << 24, ..alignment() };
        let template: Vec<u8> = (0..1 << 16).map(|i| if i / 128 % 2 == 0 { 255 } else { 0 }).collect();
        let farthest = Registration { turn: u16::MAX, along: u16::MAX, across: u16::MAX, ..registration(1) };
        let pose = register(&image, SIZE, LEVEL, &alignment, &Registration { rounds: 1, ..farthest }, &template);
        assert!(pose.correlation.unsigned_abs() <= 1 << 30);
    }
}
