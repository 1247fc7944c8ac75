//! Defects of what a front end gives, so that a training sees other ones in every epoch and is told where they are.
//!
//! A picture that is the model's input is a picture still: the defects are those of frames, on the part where there is one, as
//! large beside it as they would be there.

use anyhow::{Context, Result, ensure};
use neji_format::Size;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::features::{self, FeatureDefect};
use super::image::{ImageDefect, defective};
use crate::dataset::{Features, GreyImage};

/// The least strength of a defect that is learned from; what is weaker can hardly be seen, and teaches to raise false alarms.
pub const LEARNED_MIN: f64 = 0.3;
/// Draws until a picture counts as one that has no place for a defect.
const ATTEMPTS: usize = 8;

/// A picture with a defect, as the model takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// Grey levels from 0 to 1, row by row.
    pub pixels: Vec<f32>,
    /// Whether each pixel is another than it was.
    pub marks: Vec<bool>,
}

/// What defects are learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    kinds: Vec<ImageDefect>,
    strength_min: f64,
}

impl Default for Learned {
    fn default() -> Self {
        Self { kinds: ImageDefect::ALL.to_vec(), strength_min: LEARNED_MIN }
    }
}

impl Learned {
    /// Kinds by their names, all of them where there is none, of strengths from `strength_min` to 1.
    ///
    /// # Errors
    /// A name that is none, with those that there are, or a strength out of range.
    pub fn new(names: &[String], strength_min: f64) -> Result<Self> {
        ensure!(
            strength_min > 0.0 && strength_min <= 1.0,
            "train.defect_strength_min is {strength_min}; above 0, at most 1"
        );
        let all = ImageDefect::ALL;
        let kind = |name: &String| {
            let known = all.map(ImageDefect::name).join(", ");
            all.into_iter()
                .find(|kind| kind.name() == name)
                .with_context(|| format!("train.defects has \"{name}\"; of pictures there are {known}"))
        };
        let kinds = if names.is_empty() { all.to_vec() } else { names.iter().map(kind).collect::<Result<_>>()? };
        Ok(Self { kinds, strength_min })
    }
}

/// A random defect on a picture of `size` whose grey levels are 0 to 1; none where it has no place for one, as a flat picture.
pub fn on_picture(pixels: &[f32], size: Size, learned: &Learned, rng: &mut ChaCha8Rng) -> Option<Marked> {
    let image = picture(pixels, size);
    (0..ATTEMPTS).find_map(|_| {
        let kind = learned.kinds[rng.random_range(0..learned.kinds.len())];
        let strength = learned.strength_min.powf(rng.random_range(0.0..=1.0));
        let (made, mask) = defective(&image, kind, strength, rng)?;
        Some(Marked { pixels: greys(&made), marks: mask.pixels.iter().map(|&mark| mark > 0).collect() })
    })
}

/// How many kinds of defect an input can have: a picture, or otherwise a window of a spectrogram.
pub const fn input_kinds(picture: bool) -> usize {
    if picture { ImageDefect::ALL.len() } else { FeatureDefect::ALL.len() }
}

/// An input with a defect of the kind of this number, below [`input_kinds`]; none where it has no place for one.
pub fn of_kind(input: &[f32], size: Size, is_picture: bool, kind: usize, rng: &mut ChaCha8Rng) -> Option<Vec<f32>> {
    if is_picture {
        let (kind, image) = (*ImageDefect::ALL.get(kind)?, picture(input, size));
        return (0..ATTEMPTS).find_map(|_| defective(&image, kind, strength(rng), rng)).map(|(made, _)| greys(&made));
    }
    let (frames, bands) = (size.height.into(), size.width.into());
    let (kind, window) = (*FeatureDefect::ALL.get(kind)?, Features { frames, bands, values: input.to_vec() });
    (0..ATTEMPTS).find_map(|_| features::defective(&window, kind, strength(rng), rng)).map(|made| made.values)
}

fn strength(rng: &mut ChaCha8Rng) -> f64 {
    LEARNED_MIN.powf(rng.random_range(0.0..=1.0))
}

/// In the front end's own levels: nothing is lost that the device would see.
fn picture(pixels: &[f32], size: Size) -> GreyImage {
    let level = |&grey: &f32| (grey * 255.0).round().clamp(0.0, 255.0) as u8;
    GreyImage { size, pixels: pixels.iter().map(level).collect() }
}

fn greys(picture: &GreyImage) -> Vec<f32> {
    picture.pixels.iter().map(|&level| f32::from(level) / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const SIZE: Size = Size { width: 48, height: 20 };

    fn texture() -> Vec<f32> {
        (0..48 * 20).map(|i| ((i * 7919 % 251) as u8) as f32 / 255.0).collect()
    }

    #[test]
    fn marks_are_where_pixels_changed_and_a_seed_repeats() {
        let was = texture();
        let mut seen = Vec::new();
        for seed in 0..40 {
            let made = |seed| {
                on_picture(&was, SIZE, &Learned::default(), &mut ChaCha8Rng::seed_from_u64(seed)).expect("has texture")
            };
            let one = made(seed);
            assert_eq!(one, made(seed));
            assert!(one.marks.iter().any(|&mark| mark));
            for ((now, was), mark) in one.pixels.iter().zip(&was).zip(&one.marks) {
                assert_eq!(now != was, *mark);
            }
            assert!(!seen.contains(&one));
            seen.push(one);
        }
    }

    #[test]
    fn a_defect_of_a_kind_is_drawn_anew_on_either_form() {
        for is_picture in [true, false] {
            for kind in 0..input_kinds(is_picture) {
                let made = |seed| of_kind(&texture(), SIZE, is_picture, kind, &mut ChaCha8Rng::seed_from_u64(seed));
                let one = made(1).expect("has texture");
                assert!(one.len() == 960 && one != texture(), "{is_picture} {kind}");
                assert!(made(1).is_some_and(|same| same == one) && made(2).is_some_and(|other| other != one));
            }
            assert!(
                of_kind(&texture(), SIZE, is_picture, input_kinds(is_picture), &mut ChaCha8Rng::seed_from_u64(1))
                    .is_none()
            );
        }
    }

    #[test]
    fn a_flat_picture_stays_one_or_has_something_on_it() {
        // Nothing to paste or to move, but a stain can be seen on it.
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let made = on_picture(&vec![0.5; 48 * 20], SIZE, &Learned::default(), &mut rng)
            .expect("one of the draws is a stain or a scratch");
        assert!(made.marks.iter().any(|&mark| mark) && made.marks.iter().any(|&mark| !mark));
    }

    #[test]
    fn kinds_have_names_and_are_all_that_is_drawn() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(Learned::new(&[], LEARNED_MIN).expect("all"), Learned::default());
        let error = Learned::new(&names(&["dent"]), 0.5).expect_err("no such kind").to_string();
        assert!(error.contains("dent") && error.contains("cut_paste"), "{error}");
        assert!(Learned::new(&[], 0.0).is_err() && Learned::new(&[], 1.5).is_err());
        // A flat picture has nothing to move: a warp never shows.
        let warp = Learned::new(&names(&["warp"]), 1.0).expect("a kind");
        let flat = vec![0.5; 48 * 20];
        assert!(on_picture(&flat, SIZE, &warp, &mut ChaCha8Rng::seed_from_u64(1)).is_none());
        let stain = Learned::new(&names(&["blot"]), 1.0).expect("a kind");
        assert!(on_picture(&flat, SIZE, &stain, &mut ChaCha8Rng::seed_from_u64(1)).is_some());
    }
}
