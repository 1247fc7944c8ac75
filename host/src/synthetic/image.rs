//! Defects of images.
//!
//! Each is made in full and then laid over the picture with its strength as opacity, within the part where there is one; a
//! warp moves less instead.

use neji_app::frontend::image::{check, extract, memory_bytes, output_len};
use neji_app::frontend::mask::{Cut, labels_max, largest_component};
use neji_format::{ImageFrontEnd, MaskThreshold, Multiplier, Photometric, PixelFormat, Polarity, Rect, Size};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::augment::image::{bilinear, blurred};
use crate::dataset::GreyImage;
use crate::render::noise;

/// The longer side of the picture in which the part is looked for.
const LOOK: u16 = 128;
/// A part covers at least this share of the picture and at most that.
const PART_SHARE: (f64, f64) = (0.02, 0.6);
/// A defect changes some pixel by this many grey levels at least.
const CHANGE_MIN: u8 = 2;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageDefect {
    /// A rectangle from elsewhere on the part (CutPaste, Li et al. 2021, section 2.1).
    CutPaste,
    /// A long, thin, turned one (CutPaste-scar, the same).
    Scar,
    /// A bent line, darker or brighter.
    Scratch,
    /// The surface is moved to the side.
    Warp,
    /// A stain.
    Blot,
    /// Something is out of focus.
    Blur,
    /// The ground is seen where the part should be.
    Missing,
}

impl ImageDefect {
    pub(super) const ALL: [Self; 7] =
        [Self::CutPaste, Self::Scar, Self::Scratch, Self::Warp, Self::Blot, Self::Blur, Self::Missing];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CutPaste => "cut_paste",
            Self::Scar => "scar",
            Self::Scratch => "scratch",
            Self::Warp => "warp",
            Self::Blot => "blot",
            Self::Blur => "blur",
            Self::Missing => "missing",
        }
    }
}

/// Where the part is: one flag a pixel, or none where nothing stands out as one from the ground. It is found by the device's
/// own threshold and largest component.
pub fn part(image: &GreyImage) -> Option<Vec<bool>> {
    let Size { width, height } = image.size;
    let longer = width.max(height).max(1);
    let shorten = |side: u16| (u32::from(side) * u32::from(LOOK.min(longer)) / u32::from(longer)).max(1) as u16;
    let small = Size { width: shorten(width), height: shorten(height) };
    let config = ImageFrontEnd {
        sensor: image.size,
        pixel_format: PixelFormat::Grey8,
        crop: Rect { x: 0, y: 0, width, height },
        resize: small,
        range_min: CHANGE_MIN,
        saturated_max: 1000,
        photometric: Photometric::None,
        alignment: None,
        quantize: Multiplier { multiplier: 1 << 30, shift: 1 },
    };
    check(&config).ok()?;
    let mut grey = vec![0; output_len(&config)];
    extract(&config, &[], &image.pixels, &mut vec![0; memory_bytes(&config)], &mut grey).ok()?;
    let grey: Vec<u8> = grey.into_iter().map(|value| (i16::from(value) + 128) as u8).collect();
    let (across, down) = (usize::from(small.width), usize::from(small.height));
    let cut = Cut::of(&grey, across, Polarity::Auto, MaskThreshold::Otsu);
    let (mut labels, mut nodes) = (vec![0; grey.len()], vec![0; labels_max(across, down)]);
    let area = largest_component(&grey, across, cut, &mut labels, &mut nodes);
    let share = f64::from(area) / grey.len() as f64;
    if !(PART_SHARE.0..=PART_SHARE.1).contains(&share) {
        return None;
    }
    let (width, height) = (usize::from(width), usize::from(height));
    let at = |i: usize| labels[i / width * down / height * across + i % width * across / width] != 0;
    Some((0..image.pixels.len()).map(at).collect())
}

/// A picture on which something is to be wrong.
struct Canvas<'a> {
    width: usize,
    height: usize,
    pixels: Vec<f32>,
    /// Where the part is; everywhere where there is none.
    part: Option<&'a [bool]>,
    /// Pixels of the part.
    places: Vec<usize>,
    /// A length to measure defects by: the side of a square as large as the part, or half of the picture's.
    unit: f32,
}

impl<'a> Canvas<'a> {
    fn new(image: &GreyImage, part: Option<&'a [bool]>) -> Self {
        let places: Vec<usize> = (0..image.pixels.len()).filter(|&i| part.is_none_or(|part| part[i])).collect();
        let area = places.len() as f32 * if part.is_some() { 1.0 } else { 0.25 };
        Self {
            width: image.size.width.into(),
            height: image.size.height.into(),
            pixels: image.pixels.iter().map(|&grey| grey.into()).collect(),
            part,
            places,
            unit: area.sqrt(),
        }
    }

    /// A place on the part.
    fn place(&self, rng: &mut ChaCha8Rng) -> (f32, f32) {
        let i = self.places[rng.random_range(0..self.places.len())];
        ((i % self.width) as f32, (i / self.width) as f32)
    }

    /// A place at the part's edge.
    fn edge(&self, rng: &mut ChaCha8Rng) -> (f32, f32) {
        let Some(part) = self.part else { return self.place(rng) };
        let outer = |i: usize| {
            let (x, y) = (i % self.width, i / self.width);
            (x > 0 && !part[i - 1])
                || (x + 1 < self.width && !part[i + 1])
                || (y > 0 && !part[i - self.width])
                || (y + 1 < self.height && !part[i + self.width])
        };
        let edge: Vec<usize> = self.places.iter().copied().filter(|&i| outer(i)).collect();
        if edge.is_empty() {
            return self.place(rng);
        }
        let i = edge[rng.random_range(0..edge.len())];
        ((i % self.width) as f32, (i / self.width) as f32)
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        bilinear(&self.pixels, self.height, self.width, x, y)
    }

    /// Half of the distance between the dark and the light tenth of the part: what makes a change plain.
    fn contrast(&self) -> f32 {
        let mut greys: Vec<f32> = self.places.iter().map(|&i| self.pixels[i]).collect();
        greys.sort_by(f32::total_cmp);
        let at = |share: usize| greys[(greys.len() - 1) * share / 10];
        (at(9) - at(1)).max(48.0)
    }

    /// Mean grey of the ground, or of the whole picture where there is no part.
    fn ground(&self) -> f32 {
        let ground = |i: &usize| self.part.is_none_or(|part| !part[*i]);
        let (sum, count) = (0..self.pixels.len())
            .filter(ground)
            .fold((0.0_f64, 0_usize), |(sum, count), i| (sum + f64::from(self.pixels[i]), count + 1));
        (sum / count.max(1) as f64) as f32
    }

    /// Each pixel of the part as `look` has it, given its place, and the weight with which it counts there.
    fn painted(&self, look: impl Fn(f32, f32) -> (f32, f32)) -> Vec<f32> {
        let mut out = self.pixels.clone();
        for &i in &self.places {
            let (value, weight) = look((i % self.width) as f32, (i / self.width) as f32);
            out[i] += (value - out[i]) * weight.clamp(0.0, 1.0);
        }
        out
    }
}

/// `image` with a defect of strength above 0 to 1, and non-zero where it changed; none where nothing would be seen of it.
pub(super) fn defective(
    image: &GreyImage,
    kind: ImageDefect,
    strength: f64,
    rng: &mut ChaCha8Rng,
) -> Option<(GreyImage, GreyImage)> {
    let part = part(image);
    let canvas = Canvas::new(image, part.as_deref());
    if canvas.places.is_empty() {
        return None;
    }
    let strength = strength as f32;
    let (made, opacity) = match kind {
        ImageDefect::CutPaste => (pasted(&canvas, false, rng), strength),
        ImageDefect::Scar => (pasted(&canvas, true, rng), strength),
        ImageDefect::Scratch => (scratched(&canvas, rng), strength),
        ImageDefect::Warp => (warped(&canvas, strength, rng), 1.0),
        ImageDefect::Blot => (stained(&canvas, rng), strength),
        ImageDefect::Blur => (unfocused(&canvas, rng), strength),
        ImageDefect::Missing => (broken(&canvas, rng), strength),
    };
    let over = |(made, was): (&f32, &f32)| (was + (made - was) * opacity).round().clamp(0.0, 255.0) as u8;
    let pixels: Vec<u8> = made.iter().zip(&canvas.pixels).map(over).collect();
    let change: Vec<u8> = pixels.iter().zip(&image.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
    if change.iter().all(|&change| change < CHANGE_MIN) {
        return None;
    }
    let mask = change.into_iter().map(|change| if change > 0 { 255 } else { 0 }).collect();
    Some((GreyImage { size: image.size, pixels }, GreyImage { size: image.size, pixels: mask }))
}

/// How far inside a rectangle of half sides `a` and `b` a place is, soft over a pixel.
fn inside(u: f32, v: f32, a: f32, b: f32) -> f32 {
    (a - u.abs()).min(b - v.abs()) + 0.5
}

/// A rectangle of other texture, of the part's own.
fn pasted(canvas: &Canvas<'_>, scar: bool, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.place(rng);
    let (from_x, from_y) = canvas.place(rng);
    let (area, aspect) = match scar {
        // 2 to 15 hundredths of the part, as in the paper; a scar is a tenth as broad as long or so.
        false => (rng.random_range(0.02..0.15_f32), (0.3_f32).powf(rng.random_range(-1.0..=1.0))),
        true => (rng.random_range(0.005..0.02_f32), rng.random_range(5.0..12.0)),
    };
    let (long, short) = ((area * aspect).sqrt() * canvas.unit / 2.0, (area / aspect).sqrt() * canvas.unit / 2.0);
    let turn = if scar { rng.random_range(0.0..std::f32::consts::TAU) } else { 0.0 };
    let (sin, cos) = turn.sin_cos();
    // What is pasted is lit a little otherwise, as the paper's jitter has it.
    let light = rng.random_range(-0.15..0.15_f32) * canvas.contrast();
    canvas.painted(|px, py| {
        let (u, v) = ((px - x) * cos + (py - y) * sin, (py - y) * cos - (px - x) * sin);
        (canvas.at(from_x + u, from_y + v) + light, inside(u, v, long.max(0.7), short.max(0.7)))
    })
}

/// A bent line (a quadratic Bézier curve), bare or dirty.
fn scratched(canvas: &Canvas<'_>, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.place(rng);
    let reach = canvas.unit * rng.random_range(0.1..0.35);
    let turn = rng.random_range(0.0..std::f32::consts::PI);
    let bend = reach * rng.random_range(-0.5..0.5);
    let (dx, dy) = (reach * turn.cos(), reach * turn.sin());
    let (bend_x, bend_y) = (-bend * turn.sin(), bend * turn.cos());
    let half = rng.random_range(0.006..0.02) * canvas.unit + 0.4;
    let tone = canvas.contrast() * rng.random_range(0.6..1.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    let steps = (4.0 * reach).ceil().max(4.0) as usize;
    let points: Vec<(f32, f32)> = (0..=steps)
        .map(|i| {
            let t = 2.0 * i as f32 / steps as f32 - 1.0;
            (x + t * dx + (1.0 - t * t) * bend_x, y + t * dy + (1.0 - t * t) * bend_y)
        })
        .collect();
    canvas.painted(|px, py| {
        let far = (px - x).hypot(py - y) > 2.0 * reach + half + 1.0;
        let distance = match far {
            true => f32::MAX,
            false => points.iter().map(|(a, b)| (px - a).hypot(py - b)).fold(f32::MAX, f32::min),
        };
        (canvas.at(px, py) + tone, half + 0.5 - distance)
    })
}

/// The surface is pushed to one side about a place; `strength` says how far.
fn warped(canvas: &Canvas<'_>, strength: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.place(rng);
    let radius = canvas.unit * rng.random_range(0.12..0.3) + 2.0;
    let turn = rng.random_range(0.0..std::f32::consts::TAU);
    // Less than 0.65 of the radius: the bump's steepest slope is 1.54 over the radius, so nothing is folded over.
    let by = strength * 0.6 * radius;
    canvas.painted(|px, py| {
        let distance = ((px - x).powi(2) + (py - y).powi(2)) / (radius * radius);
        let bump = (1.0 - distance).max(0.0).powi(2);
        (canvas.at(px - by * bump * turn.cos(), py - by * bump * turn.sin()), if bump > 0.0 { 1.0 } else { 0.0 })
    })
}

/// An irregular blob's weight about `(x, y)`.
fn blob(x: f32, y: f32, radius: f32, seed: u32) -> impl Fn(f32, f32) -> f32 {
    move |px, py| {
        let distance = (px - x).hypot(py - y) / radius;
        let rough = noise::fractal((px - x) / radius * 2.0, (py - y) / radius * 2.0, seed) - 0.5;
        // Its edge wanders by a third of the radius and is soft over an eighth.
        (1.0 + 0.65 * rough - distance) * 8.0
    }
}

fn stained(canvas: &Canvas<'_>, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.place(rng);
    let weight = blob(x, y, canvas.unit * rng.random_range(0.06..0.2) + 1.0, rng.random());
    let tone = canvas.contrast() * rng.random_range(0.5..1.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
    canvas.painted(|px, py| (canvas.at(px, py) + tone, weight(px, py)))
}

fn unfocused(canvas: &Canvas<'_>, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.place(rng);
    let weight = blob(x, y, canvas.unit * rng.random_range(0.12..0.3) + 2.0, rng.random());
    let soft = blurred(&canvas.pixels, canvas.height, canvas.width, canvas.unit * rng.random_range(0.02..0.05) + 0.7);
    canvas.painted(|px, py| (soft[py as usize * canvas.width + px as usize], weight(px, py)))
}

fn broken(canvas: &Canvas<'_>, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (x, y) = canvas.edge(rng);
    let weight = blob(x, y, canvas.unit * rng.random_range(0.08..0.25) + 1.0, rng.random());
    let ground = canvas.ground();
    canvas.painted(|px, py| (ground, weight(px, py)))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// A dark disc with a texture on a light ground.
    fn disc() -> GreyImage {
        let pixel = |i: usize| {
            let (x, y) = ((i % 96) as f32, (i / 96) as f32);
            match (x - 50.0).hypot(y - 40.0) < 25.0 {
                true => 60 + (i * 7919 % 41) as u8,
                false => 200,
            }
        };
        GreyImage { size: Size { width: 96, height: 80 }, pixels: (0..96 * 80).map(pixel).collect() }
    }

    #[test]
    fn the_part_is_found_and_a_texture_has_none() {
        let found = part(&disc()).expect("a disc");
        let right = found.iter().enumerate().filter(|(i, found)| {
            let (x, y) = ((i % 96) as f32, (i / 96) as f32);
            **found == ((x - 50.0).hypot(y - 40.0) < 25.0)
        });
        assert_eq!(right.count(), 96 * 80);
        let large = GreyImage { size: Size { width: 300, height: 300 }, pixels: vec![9; 90_000] };
        assert!(part(&large).is_none(), "a flat picture has no part");
        let bright = |i: usize| if i % 300 > 40 { 200 } else { 20 };
        let most = GreyImage { size: large.size, pixels: (0..90_000).map(bright).collect() };
        assert!(part(&most).is_some_and(|part| part.iter().filter(|p| **p).count() < 14_000));
    }

    #[test]
    fn defects_lie_inside_the_part_and_the_mask_says_where() {
        let image = disc();
        let inside = part(&image).expect("a disc");
        for kind in ImageDefect::ALL {
            let mut made = 0;
            for seed in 0..30 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let Some((defective, mask)) = defective(&image, kind, 1.0, &mut rng) else { continue };
                made += 1;
                for (i, inside) in inside.iter().enumerate() {
                    let changed = defective.pixels[i] != image.pixels[i];
                    assert_eq!(changed, mask.pixels[i] == 255);
                    assert!(!changed || *inside, "{kind:?} at {i}");
                }
                let area = mask.pixels.iter().filter(|m| **m > 0).count();
                // Not the whole part: a defect, not another picture.
                assert!((1..1500).contains(&area), "{kind:?}: {area} of 1963");
            }
            assert!(made >= 27, "{kind:?}: {made} of 30");
        }
    }

    #[test]
    fn weak_defects_change_less() {
        let image = disc();
        let change = |kind, strength| -> f64 {
            let one = |seed| {
                let made = defective(&image, kind, strength, &mut ChaCha8Rng::seed_from_u64(seed));
                let difference = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
                made.map_or(0.0, |(d, _)| d.pixels.iter().zip(&image.pixels).map(difference).sum::<f64>())
            };
            (0..10).map(one).sum()
        };
        for kind in ImageDefect::ALL {
            let (weak, strong) = (change(kind, 0.1), change(kind, 1.0));
            assert!(weak < strong / if kind == ImageDefect::Warp { 1.2 } else { 20.0 }, "{kind:?}: {weak} {strong}");
        }
    }

    #[test]
    fn a_missing_piece_shows_the_ground() {
        let (made, mask) =
            defective(&disc(), ImageDefect::Missing, 1.0, &mut ChaCha8Rng::seed_from_u64(4)).expect("made");
        let shown = made.pixels.iter().zip(&mask.pixels).filter(|(_, mask)| **mask > 0).filter(|(p, _)| **p == 200);
        assert!(shown.count() > 20);
    }

    #[test]
    fn without_a_part_defects_lie_anywhere_but_not_everywhere() {
        let size = Size { width: 64, height: 64 };
        // Stripes at the border too: half is dark, the largest component is a stripe or all of a side.
        let image = GreyImage { size, pixels: (0..64 * 64).map(|i| 100 + (i * 7919 % 61) as u8).collect() };
        let mut columns = [false; 4];
        for seed in 0..60 {
            let made = defective(&image, ImageDefect::Blot, 1.0, &mut ChaCha8Rng::seed_from_u64(seed));
            let Some((_, mask)) = made else { continue };
            for (i, _) in mask.pixels.iter().enumerate().filter(|(_, m)| **m > 0) {
                columns[i % 64 / 16] = true;
            }
        }
        assert_eq!(columns, [true; 4]);
    }
}
