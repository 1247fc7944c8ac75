//! A wood screw seen from the side, as a height field over its axis.
//!
//! The radius at `(s, u)` (along and across the axis, in units of the screw's length) is the profile of head, neck, thread
//! and tip; the thread's ridge is a helix `phase = s / pitch - theta / 2 pi`, so the two sides of the outline are half a
//! pitch apart. The height is `z = sqrt(r^2 - u^2)`, its slope gives the normal, and the normal the light: diffuse, a
//! highlight (Blinn 1977) and what a bright ceiling leaves on metal. 4 x 4 samples a pixel.

use std::f32::consts::{PI, TAU};

use image::GrayImage;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::defect::{Defect, DefectKind};
use super::noise;

/// Samples a pixel along each axis.
const SUPERSAMPLING: u32 = 4;
/// Grey levels by which a defect must change a pixel to be in the mask.
const MASK_DIFFERENCE: f32 = 12.0;
/// Fewest pixels of a mask, as a share of the image: 18 at 96 x 96, what a person can find.
const MASK_SHARE: f32 = 0.002;

/// One picture of a sound screw: all that was drawn for it.
#[derive(Debug, Clone)]
pub struct Scene {
    direction: f32,
    centre: (f32, f32),
    length: f32,
    head_radius: f32,
    head_length: f32,
    head_curve: f32,
    head_tilt: f32,
    recess_turn: f32,
    neck_radius: f32,
    neck_end: f32,
    core_radius: f32,
    crest_radius: f32,
    pitch: f32,
    phase: f32,
    taper: f32,
    albedo: f32,
    shine: f32,
    light: [f32; 3],
    level: f32,
    gradient: (f32, f32),
    ground: f32,
    texture: f32,
    shadow: f32,
    blur: f32,
    noise: f32,
    seed: u32,
}

/// A rendered picture and, where there is a defect, the pixels that it changed (255).
#[derive(Debug, Clone)]
pub struct Picture {
    /// The picture.
    pub image: GrayImage,
    /// 255 where the defect shows.
    pub mask: Option<GrayImage>,
}

impl Scene {
    /// Draws a scene.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut range = |low: f32, high: f32| rng.random_range(low..high);
        let azimuth = range(0.0, TAU);
        let elevation = range(0.75, 1.15);
        let slope = range(0.0, 0.14);
        let slope_direction = range(0.0, TAU);
        Self {
            direction: range(0.0, TAU),
            centre: (range(-0.06, 0.06), range(-0.06, 0.06)),
            length: range(0.72, 0.81),
            head_radius: range(0.116, 0.134),
            head_length: range(0.105, 0.125),
            head_curve: range(1.0, 1.35),
            head_tilt: range(0.20, 0.30),
            recess_turn: range(0.0, PI / 2.0),
            neck_radius: range(0.049, 0.053),
            neck_end: range(0.415, 0.44),
            core_radius: range(0.039, 0.043),
            crest_radius: range(0.070, 0.075),
            pitch: 0.066 * range(0.97, 1.03),
            phase: range(0.0, 1.0),
            taper: range(0.15, 0.18),
            albedo: range(0.36, 0.46),
            shine: range(0.25, 0.45),
            light: [azimuth.cos() * elevation.cos(), azimuth.sin() * elevation.cos(), elevation.sin()],
            level: range(0.84, 1.04),
            gradient: (slope * slope_direction.cos(), slope * slope_direction.sin()),
            ground: range(0.74, 0.86),
            texture: range(0.01, 0.05),
            shadow: range(0.10, 0.25),
            blur: range(0.25, 0.55),
            noise: range(0.006, 0.014),
            seed: range(0.0, 16_000_000.0) as u32,
        }
    }

    /// Height of the surface over the axis at `(s, u)`, or `None` beside the screw.
    fn height(&self, s: f32, u: f32, defect: Option<&Defect>) -> Option<f32> {
        let (s, u) = defect.map_or((s, u), |d| d.unbend(s, u));
        if !(0.0..1.0).contains(&s) || defect.is_some_and(|d| s > d.end(u)) {
            return None;
        }
        let rim = 0.018;
        let r = if s < rim {
            self.head_radius
        } else if s < self.head_length {
            let t = (s - rim) / (self.head_length - rim);
            self.neck_radius + (self.head_radius - self.neck_radius) * (1.0 - t).powf(self.head_curve)
        } else {
            let run_in = ((s - self.neck_end) / 0.03).clamp(0.0, 1.0);
            let tip = ((1.0 - s) / self.taper).clamp(0.0, 1.0);
            let core = (self.neck_radius + (self.core_radius - self.neck_radius) * run_in) * tip.powf(0.85);
            let crest = self.crest_radius * tip.powf(0.65);
            let across = (u / crest.max(1e-4)).clamp(-1.0, 1.0);
            let turn = (s / self.pitch - across.asin() / TAU + self.phase).rem_euclid(1.0);
            let ridge = (1.0 - (turn - 0.5).abs() / 0.30).max(0.0).powf(0.8);
            let keep = defect.map_or(1.0, |d| d.thread(s, across));
            core + (crest - core).max(0.0) * ridge * run_in * keep
        };
        let square = r * r - u * u;
        (square > 0.0).then(|| square.sqrt())
    }

    /// Light that the screw reflects at `(s, u)` (1 is white), or `None` beside it.
    fn shade(&self, s: f32, u: f32, light: [f32; 3], defect: Option<&Defect>) -> Option<f32> {
        let (diffuse_factor, shine_factor, add) = defect.map_or((1.0, 1.0, 0.0), |d| d.surface(s, u));
        // The head's top: a disc seen at a slant, with a cross recess.
        let (a, b) = (s / (self.head_radius * self.head_tilt), u / self.head_radius);
        let (normal, recess) = if a * a + b * b < 1.0 {
            let (sin, cos) = self.recess_turn.sin_cos();
            let (p, q) = (a * cos - b * sin, a * sin + b * cos);
            let arm = |x: f32, y: f32| x.abs() < 0.17 && y.abs() < 0.62;
            let tilt = (1.0 - self.head_tilt * self.head_tilt).sqrt();
            ([-tilt * 0.55, 0.0, 0.84], if arm(p, q) || arm(q, p) { 0.35 } else { 1.12 })
        } else {
            let z = self.height(s, u, defect)?;
            let step = 0.004;
            let ahead = self.height(s + step, u, defect).unwrap_or(0.0);
            let behind = self.height(s - step, u, defect).unwrap_or(z);
            let left = self.height(s, u - step, defect).unwrap_or(0.0);
            let right = self.height(s, u + step, defect).unwrap_or(0.0);
            let (zs, zu) = (((ahead - behind) / (2.0 * step)).clamp(-2.5, 2.5), (right - left) / (2.0 * step));
            let norm = (1.0 + zs * zs + zu * zu).sqrt();
            ([-zs / norm, -zu / norm, 1.0 / norm], 1.0)
        };
        let dot = |v: [f32; 3]| normal[0] * v[0] + normal[1] * v[1] + normal[2] * v[2];
        let half = [light[0], light[1], light[2] + 1.0];
        let half_norm = (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]).sqrt();
        let highlight = (dot(half) / half_norm).max(0.0).powi(22);
        let ceiling = 0.22 + 0.5 * normal[2] * normal[2];
        let drawn = 1.0 + 0.10 * (noise::value(s * 9.0, u * 110.0, self.seed ^ 3) - 0.5);
        let diffuse = self.albedo * (ceiling + 0.75 * dot(light).max(0.0)) * drawn * recess * diffuse_factor;
        Some((diffuse + self.shine * highlight * recess * shine_factor + add).clamp(0.02, 1.1))
    }

    /// The picture before noise, in grey levels, row-major.
    fn expose(&self, size: u32, defect: Option<&Defect>) -> Vec<f32> {
        let (sin, cos) = self.direction.sin_cos();
        // Into the screw's frame: s along (cos, sin), u along (-sin, cos).
        let light =
            [self.light[0] * cos + self.light[1] * sin, -self.light[0] * sin + self.light[1] * cos, self.light[2]];
        let shadow = (-0.03 * light[0] / light[2], -0.03 * light[1] / light[2]);
        let mut linear = vec![0.0; (size * size) as usize];
        let scale = 1.0 / (size * SUPERSAMPLING) as f32;
        for (index, value) in linear.iter_mut().enumerate() {
            let (px, py) = (index as u32 % size, index as u32 / size);
            let mut sum = 0.0;
            for sub in 0..SUPERSAMPLING * SUPERSAMPLING {
                let x = ((px * SUPERSAMPLING + sub % SUPERSAMPLING) as f32 + 0.5) * scale - 0.5;
                let y = ((py * SUPERSAMPLING + sub / SUPERSAMPLING) as f32 + 0.5) * scale - 0.5;
                let (dx, dy) = (x - self.centre.0, y - self.centre.1);
                let s = (dx * cos + dy * sin) / self.length + 0.5;
                let u = (-dx * sin + dy * cos) / self.length;
                let beside = || {
                    let texture = noise::fractal(x * 14.0, y * 14.0, self.seed) - 0.5;
                    let shaded = self.height(s - shadow.0, u - shadow.1, defect).map_or(0.0, |z| (z / 0.05).min(1.0));
                    (self.ground + self.texture * texture * 2.0) * (1.0 - self.shadow * shaded)
                };
                let seen = self.shade(s, u, light, defect).unwrap_or_else(beside);
                sum += seen * self.level * (1.0 + self.gradient.0 * x * 2.0 + self.gradient.1 * y * 2.0);
            }
            *value = 255.0 * sum / (SUPERSAMPLING * SUPERSAMPLING) as f32;
        }
        blur(&linear, size as usize, self.blur)
    }
}

/// Blurs with a separable kernel of three taps, `side : 1 : side` for a Gaussian of `sigma` pixels.
fn blur(pixels: &[f32], size: usize, sigma: f32) -> Vec<f32> {
    let side = (-0.5 / (sigma * sigma)).exp();
    let norm = 1.0 / (1.0 + 2.0 * side);
    let pass = |source: &[f32], step: usize, position: fn(usize, usize) -> usize| -> Vec<f32> {
        (0..source.len())
            .map(|i| {
                let at = position(i, size);
                let before = if at > 0 { source[i - step] } else { source[i] };
                let after = if at + 1 < size { source[i + step] } else { source[i] };
                (source[i] + side * (before + after)) * norm
            })
            .collect()
    };
    let rows = pass(pixels, 1, |i, size| i % size);
    pass(&rows, size, |i, size| i / size)
}

/// Renders picture `seed`, `size` pixels wide and high, with or without a defect.
///
/// The same seed gives the same screw in the same light with the same noise, whatever the defect: the mask is where the
/// two differ. A defect that the light hides is drawn again, a little stronger, so that a mask is never empty.
pub fn render(seed: u64, size: u32, kind: Option<DefectKind>) -> Picture {
    let stream = |number: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        rng
    };
    let scene = Scene::draw(&mut stream(0));
    let mut seen = scene.expose(size, None);
    let mut mask = None;
    if let Some(kind) = kind {
        let mut rng = stream(1);
        let mut strength = rng.random_range(0.8..1.25);
        let least = (MASK_SHARE * (size * size) as f32) as usize;
        loop {
            let defect = Defect::draw(kind, strength, &mut rng);
            let changed = scene.expose(size, Some(&defect));
            let marks: Vec<u8> = (seen.iter().zip(&changed))
                .map(|(a, b)| if (a - b).abs() > MASK_DIFFERENCE { 255 } else { 0 })
                .collect();
            if marks.iter().filter(|&&m| m > 0).count() > least.max(1) {
                seen = changed;
                mask = GrayImage::from_raw(size, size, marks);
                break;
            }
            strength = (strength * 1.1).min(3.0);
        }
    }
    let mut rng = stream(2);
    let image = GrayImage::from_fn(size, size, |x, y| {
        // Irwin-Hall of four: near enough to a Gaussian for a sensor's noise.
        let sum: f32 = (0..4).map(|_| rng.random_range(-0.5f32..0.5)).sum();
        let grey = seen[(y * size + x) as usize] + sum * 1.732 * scene.noise * 255.0;
        image::Luma([grey.round().clamp(1.0, 254.0) as u8])
    });
    Picture { image, mask }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_picture() {
        let (a, b) = (render(5, 64, None), render(5, 64, None));
        assert_eq!(a.image, b.image);
        assert_ne!(a.image, render(6, 64, None).image);
    }

    #[test]
    fn a_defect_changes_what_its_mask_says() {
        for (i, kind) in DefectKind::ALL.into_iter().enumerate() {
            let seed = 40 + i as u64;
            let (sound, broken) = (render(seed, 96, None), render(seed, 96, Some(kind)));
            let mask = broken.mask.expect("defects have masks");
            let marked = mask.pixels().filter(|p| p.0[0] == 255).count();
            assert!((18..2000).contains(&marked), "{}: {marked}", kind.name());
            for ((a, b), m) in sound.image.pixels().zip(broken.image.pixels()).zip(mask.pixels()) {
                let difference = a.0[0].abs_diff(b.0[0]);
                // Both round and clip once after the difference was taken.
                if m.0[0] == 0 {
                    assert!(difference <= 13, "{}: {difference}", kind.name());
                }
            }
        }
    }
}
