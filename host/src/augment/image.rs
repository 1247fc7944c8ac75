//! Changes of images: floats from 0 to 1, row-major.
//!
//! Place and shape first, by one resampling, so that nothing is smoothed twice; then blur, light and noise, in the order in
//! which a camera has them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Augment, either_way, up_to};

/// One image of `height * width` values under a random change. Values are cut to 0 to 1 where light or noise were changed.
pub fn change(pixels: &[f32], height: usize, width: usize, augment: &Augment, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let map = Affine::draw(augment, rng);
    let field = (augment.elastic > 0.0).then(|| Elastic::draw(height, width, augment, rng));
    let mut out = match (&field, map == Affine::IDENTITY) {
        (None, true) => pixels.to_vec(),
        _ => resampled(pixels, height, width, &map, field.as_ref()),
    };
    if augment.blur > 0.0 {
        out = blurred(&out, height, width, up_to(augment.blur, rng));
    }
    let lit = light(&mut out, augment, rng);
    if augment.noise > 0.0 {
        let deviation = up_to(augment.noise, rng);
        out.iter_mut().for_each(|value| *value += deviation * gauss(rng));
    }
    if lit || augment.noise > 0.0 {
        out.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    }
    out
}

/// Bends, stretches and moves grey levels; true where it did.
fn light(pixels: &mut [f32], augment: &Augment, rng: &mut ChaCha8Rng) -> bool {
    let gamma = either_way(augment.gamma, rng).exp();
    let contrast = 1.0 + either_way(augment.contrast, rng);
    let brightness = either_way(augment.brightness, rng);
    if (gamma, contrast, brightness) == (1.0, 1.0, 0.0) {
        return false;
    }
    if gamma != 1.0 {
        pixels.iter_mut().for_each(|value| *value = value.max(0.0).powf(gamma));
    }
    let mean = pixels.iter().sum::<f32>() / pixels.len().max(1) as f32;
    pixels.iter_mut().for_each(|value| *value = mean + (*value - mean) * contrast + brightness);
    true
}

/// Gaussian, mean 0, variance 1 (Box and Muller 1958).
pub(crate) fn gauss(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random_range(f32::MIN_POSITIVE..1.0), rng.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

/// From a place in what comes out to the place in what went in, both from the middle: `[x, y] -> m [x, y] + t`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Affine {
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    const IDENTITY: Self = Self { matrix: [[1.0, 0.0], [0.0, 1.0]], shift: [0.0, 0.0] };

    fn draw(augment: &Augment, rng: &mut ChaCha8Rng) -> Self {
        let mut flip = |on: bool| if on && rng.random_bool(0.5) { -1.0 } else { 1.0 };
        let (flip_y, flip_x) = (flip(augment.flip_vertical), flip(augment.flip_horizontal));
        let shift_y = either_way(augment.shift, rng);
        let shift_x = either_way(augment.shift, rng);
        let scale = 1.0 + either_way(augment.scale, rng);
        let aspect = (1.0 + either_way(augment.aspect, rng)).sqrt();
        let (sin, cos) = either_way(augment.rotation, rng).to_radians().sin_cos();
        let shear = either_way(augment.shear, rng);
        // Backwards: unshift, unturn, unshear, unstretch, unflip.
        let (x, y) = (flip_x / (scale * aspect), flip_y * aspect / scale);
        let matrix = [[x * (cos - shear * sin), x * (sin + shear * cos)], [-y * sin, y * cos]];
        Self { matrix, shift: [shift_x, shift_y] }
    }

    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let [[a, b], [c, d]] = self.matrix;
        (a * x + b * y + self.shift[0], c * x + d * y + self.shift[1])
    }
}

/// A smooth random displacement of each pixel: even noise under a Gaussian, scaled so that the largest is what was drawn
/// (Simard, Steinkraus and Platt, "Best practices for convolutional neural networks applied to visual document analysis",
/// ICDAR 2003, section 2).
struct Elastic {
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Elastic {
    fn draw(height: usize, width: usize, augment: &Augment, rng: &mut ChaCha8Rng) -> Self {
        let most = up_to(augment.elastic, rng);
        let mut field = || {
            let noise: Vec<f32> = (0..height * width).map(|_| rng.random_range(-1.0..=1.0)).collect();
            blurred(&noise, height, width, augment.elastic_radius)
        };
        let (mut x, mut y) = (field(), field());
        let largest = x.iter().zip(&y).map(|(x, y)| x.hypot(*y)).fold(0.0, f32::max);
        let factor = if largest > 0.0 { most / largest } else { 0.0 };
        x.iter_mut().chain(&mut y).for_each(|value| *value *= factor);
        Self { x, y }
    }
}

fn resampled(pixels: &[f32], height: usize, width: usize, map: &Affine, field: Option<&Elastic>) -> Vec<f32> {
    let middle = |length: usize| (length as f32 - 1.0) / 2.0;
    let (middle_x, middle_y) = (middle(width), middle(height));
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..height {
        for x in 0..width {
            let moved = field.map_or((0.0, 0.0), |field| (field.x[y * width + x], field.y[y * width + x]));
            let (from_x, from_y) = map.at(x as f32 - middle_x + moved.0, y as f32 - middle_y + moved.1);
            out.push(bilinear(pixels, height, width, from_x + middle_x, from_y + middle_y));
        }
    }
    out
}

/// The value at a place between pixels; the border is repeated.
pub(crate) fn bilinear(pixels: &[f32], height: usize, width: usize, x: f32, y: f32) -> f32 {
    let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (share_x, share_y) = (x - left as f32, y - top as f32);
    let row = |y: usize| {
        let (a, b) = (pixels[y * width + left], pixels[y * width + right]);
        if share_x == 0.0 { a } else { a + (b - a) * share_x }
    };
    let (a, b) = (row(top), row(bottom));
    if share_y == 0.0 { a } else { a + (b - a) * share_y }
}

/// A Gaussian of this deviation in pixels over rows, then over columns; the border is repeated. Three deviations count.
pub(crate) fn blurred(pixels: &[f32], height: usize, width: usize, deviation: f32) -> Vec<f32> {
    // Narrower ones leave all but a thousandth where it is.
    if deviation < 0.2 {
        return pixels.to_vec();
    }
    let reach = (3.0 * deviation).ceil() as isize;
    let weights: Vec<f32> = (-reach..=reach).map(|i| (-0.5 * (i as f32 / deviation).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|weight| weight / sum).collect();
    let along = |from: &[f32], lines: usize, length: usize, line: usize, step: usize| {
        let mut out = vec![0.0; from.len()];
        for index in 0..lines * length {
            let (at, place) = (index / length, (index % length) as isize);
            let value = |offset: isize| {
                let place = (place + offset).clamp(0, length as isize - 1) as usize;
                from[at * line + place * step]
            };
            out[at * line + place as usize * step] =
                weights.iter().zip(-reach..=reach).map(|(weight, offset)| weight * value(offset)).sum();
        }
        out
    };
    let rows = along(pixels, height, width, width, 1);
    along(&rows, width, height, 1, width)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const PIXELS: [f32; 6] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6];

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    /// A bright square of 8 x 8 in the middle of 32 x 32.
    fn square() -> Vec<f32> {
        let inside = |i: usize| (12..20).contains(&(i % 32)) && (12..20).contains(&(i / 32));
        (0..32 * 32).map(|i| if inside(i) { 0.9 } else { 0.1 }).collect()
    }

    fn changed(augment: &Augment, seed: u64) -> Vec<f32> {
        change(&square(), 32, 32, augment, &mut rng(seed))
    }

    /// Mass above the ground, its mean place from the middle, its variances along x and y, and their covariance.
    fn moments(image: &[f32]) -> (f32, (f32, f32), (f32, f32), f32) {
        let weight = |i: usize| image[i] - 0.1;
        let sum = |f: &dyn Fn(f32, f32) -> f32| -> f32 {
            (0..1024).map(|i| weight(i) * f((i % 32) as f32 - 15.5, (i / 32) as f32 - 15.5)).sum()
        };
        let mass = sum(&|_, _| 1.0);
        let (x, y) = (sum(&|x, _| x) / mass, sum(&|_, y| y) / mass);
        let spread = |f: &dyn Fn(f32, f32) -> f32| sum(f) / mass;
        let (xx, yy) = (spread(&|a, _| (a - x).powi(2)), spread(&|_, b| (b - y).powi(2)));
        (mass, (x, y), (xx, yy), spread(&|a, b| (a - x) * (b - y)))
    }

    #[test]
    fn nothing_asked_for_changes_nothing_and_draws_nothing() {
        let (mut used, mut fresh) = (rng(1), rng(1));
        assert_eq!(change(&PIXELS, 2, 3, &Augment::default(), &mut used), PIXELS);
        assert_eq!(used.random::<u64>(), fresh.random::<u64>());
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let all = Augment {
            flip_vertical: true,
            flip_horizontal: true,
            shift: 2.0,
            scale: 0.1,
            aspect: 0.1,
            rotation: 10.0,
            shear: 0.1,
            elastic: 1.5,
            elastic_radius: 3.0,
            brightness: 0.1,
            contrast: 0.2,
            gamma: 0.2,
            noise: 0.02,
            blur: 1.0,
            ..Augment::default()
        };
        assert_eq!(changed(&all, 5), changed(&all, 5));
        assert_ne!(changed(&all, 5), changed(&all, 6));
        assert!((0..20).all(|seed| changed(&all, seed).iter().all(|value| (0.0..=1.0).contains(value))));
    }

    #[test]
    fn flips_are_exact_and_happen_half_the_time() {
        let flips = |augment: Augment, mirrored: [f32; 6]| {
            let mut rng = rng(1);
            let seen: Vec<_> = (0..40).map(|_| change(&PIXELS, 2, 3, &augment, &mut rng)).collect();
            assert!(seen.iter().all(|image| *image == PIXELS || *image == mirrored));
            let count = seen.iter().filter(|image| **image == mirrored).count();
            assert!((10..=30).contains(&count), "{count}");
        };
        flips(Augment { flip_vertical: true, ..Augment::default() }, [0.4, 0.5, 0.6, 0.1, 0.2, 0.3]);
        flips(Augment { flip_horizontal: true, ..Augment::default() }, [0.3, 0.2, 0.1, 0.6, 0.5, 0.4]);
    }

    #[test]
    fn a_shift_moves_the_place_alone() {
        let shift = Augment { shift: 3.0, ..Augment::default() };
        let mut places = Vec::new();
        for seed in 0..30 {
            let (mass, place, spread, _) = moments(&changed(&shift, seed));
            let (whole, _, wide, _) = moments(&square());
            assert!((mass / whole - 1.0).abs() < 1e-3);
            // Sampling between pixels smears by at most a quarter of a square pixel.
            assert!((-0.01..0.26).contains(&(spread.0 - wide.0)) && (-0.01..0.26).contains(&(spread.1 - wide.1)));
            assert!(place.0.abs() <= 3.01 && place.1.abs() <= 3.01);
            places.push(place.0);
        }
        assert!(places.iter().any(|x| *x > 1.0) && places.iter().any(|x| *x < -1.0));
        let map = Affine { shift: [1.0, 0.0], ..Affine::IDENTITY };
        assert_eq!(resampled(&PIXELS, 2, 3, &map, None), [0.2, 0.3, 0.3, 0.5, 0.6, 0.6]);
    }

    #[test]
    fn size_aspect_turn_and_shear_are_what_they_say() {
        let (mass, _, spread, _) = moments(&square());
        let each = |augment: Augment| (0..20).map(move |seed| moments(&changed(&augment, seed)));
        for (m, place, (x, y), xy) in each(Augment { scale: 0.3, ..Augment::default() }) {
            assert!((0.45..1.75).contains(&(m / mass)) && (x / y - 1.0).abs() < 0.02 && xy.abs() < 0.05);
            assert!(place.0.abs() < 0.02 && place.1.abs() < 0.02);
        }
        for (m, _, (x, y), _) in each(Augment { aspect: 0.4, ..Augment::default() }) {
            // Variances are squares of lengths.
            assert!((m / mass - 1.0).abs() < 0.06 && (0.34..2.1).contains(&(x / y)), "{m} {x} {y}");
        }
        for (m, _, (x, y), xy) in each(Augment { rotation: 45.0, ..Augment::default() }) {
            // A square has the same variance in every direction.
            assert!((m / mass - 1.0).abs() < 0.03 && (x / y - 1.0).abs() < 0.05 && xy.abs() < 0.1);
            assert!(x < spread.0 + 0.3);
        }
        let slanted = each(Augment { shear: 0.5, ..Augment::default() }).filter(|(_, _, _, xy)| xy.abs() > 0.5).count();
        assert!(slanted > 8, "{slanted}");
    }

    #[test]
    fn a_quarter_turn_is_exact() {
        let turn = Affine { matrix: [[0.0, 1.0], [-1.0, 0.0]], ..Affine::IDENTITY };
        assert_eq!(resampled(&[1.0, 2.0, 3.0, 4.0], 2, 2, &turn, None), [3.0, 1.0, 4.0, 2.0]);
    }

    #[test]
    fn elastic_displacements_are_smooth_and_bounded() {
        let augment = Augment { elastic: 2.0, elastic_radius: 4.0, ..Augment::default() };
        let field = Elastic::draw(32, 32, &augment, &mut rng(3));
        let largest = field.x.iter().zip(&field.y).map(|(x, y)| x.hypot(*y)).fold(0.0, f32::max);
        assert!(largest > 0.1 && largest <= 2.001, "{largest}");
        let steepest = field.x.windows(2).enumerate().filter(|(i, _)| i % 32 != 31);
        assert!(steepest.map(|(_, pair)| (pair[1] - pair[0]).abs()).fold(0.0, f32::max) < largest / 2.0);
        // Far from edges all values stay what they were.
        let changed = changed(&augment, 3);
        assert_ne!(changed, square());
        assert!((changed[0] - 0.1).abs() < 1e-6 && (changed[16 * 32 + 16] - 0.9).abs() < 1e-6);
    }

    #[test]
    fn light_is_changed_as_it_says() {
        let brighter = changed(&Augment { brightness: 0.05, ..Augment::default() }, 1);
        let by = brighter[0] - 0.1;
        assert!(by.abs() <= 0.05 && by != 0.0);
        assert!(brighter.iter().zip(square()).all(|(a, b)| (a - b - by).abs() < 1e-6));
        let mean = |image: &[f32]| image.iter().sum::<f32>() / image.len() as f32;
        let harder = changed(&Augment { contrast: 0.3, ..Augment::default() }, 2);
        assert!((mean(&harder) - mean(&square())).abs() < 1e-4);
        let range = (harder[16 * 32 + 16] - harder[0]) / 0.8;
        assert!((0.7..=1.3).contains(&range) && range != 1.0);
        let bent = change(&[0.0, 0.5, 1.0, 0.25], 2, 2, &Augment { gamma: 0.5, ..Augment::default() }, &mut rng(3));
        assert!(bent[0] == 0.0 && bent[2] == 1.0 && bent[1] != 0.5 && (bent[3] - bent[1] * bent[1]).abs() < 1e-6);
    }

    #[test]
    fn noise_and_blur_are_no_larger_than_asked() {
        let noisy = changed(&Augment { noise: 0.05, ..Augment::default() }, 4);
        let error = noisy.iter().zip(square()).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 1024.0;
        assert!(error > 0.0 && error.sqrt() < 0.055, "{error}");
        let (mass, _, spread, _) = moments(&blurred(&square(), 32, 32, 1.5));
        let (whole, _, wide, _) = moments(&square());
        assert!((mass / whole - 1.0).abs() < 1e-3);
        // Variances add; three deviations are all but a hundredth of it.
        assert!((spread.0 - wide.0 - 2.25).abs() < 0.1, "{}", spread.0 - wide.0);
        assert_eq!(blurred(&[0.5; 12], 3, 4, 0.1), [0.5; 12]);
    }
}
