//! Random changes of training samples, all from the seed.
//!
//! They act on what the front end gives, the model's input, and not on what the sensor gave. An aligned strip has lost
//! place, turn and light of the part, so what remains to vary is the front end's own error of a pixel or a degree, and a
//! change before it would be taken back by it. A window of a spectrogram is changed where it costs hardly anything too:
//! a gain is an offset in decibels, noise a sum of powers, a shift a move by frames. Nothing is computed twice in an
//! epoch.
//!
//! Each kind draws its numbers only where it is on, and in a fixed order.

pub mod image;
pub mod sound;
pub mod waveform;

use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::frontend::Fitted;
use sound::SoundAugment;

/// `[train.augment]`: random changes of each training input, of images here, of sounds in `[train.augment.sound]`.
///
/// What is 0 or false is off. Where a limit is given, the change is drawn evenly between none and the limit, either way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Mirror top to bottom in half of the cases.
    pub flip_vertical: bool,
    /// Mirror left to right in half of the cases.
    pub flip_horizontal: bool,
    /// Largest shift in pixels along each axis, 0 to 64; the border is repeated, as it is wherever there is nothing.
    pub shift: f32,
    /// Largest change of size as a share of it, 0 to 0.5.
    pub scale: f32,
    /// Largest change of width over height as a share of it, 0 to 0.5; the area stays.
    pub aspect: f32,
    /// Largest turn in degrees, 0 to 180.
    pub rotation: f32,
    /// Largest shear: pixels to the side a pixel down, 0 to 0.5.
    pub shear: f32,
    /// Largest elastic displacement in pixels, 0 to 16.
    pub elastic: f32,
    /// How far elastic displacements hang together: the deviation in pixels of the Gaussian that smooths them, 0.5 to 32.
    pub elastic_radius: f32,
    /// Largest change of brightness in units of full scale, 0 to 0.5.
    pub brightness: f32,
    /// Largest change of contrast as a share of it, 0 to 0.9; the mean stays.
    pub contrast: f32,
    /// How far the response to light may be bent: the largest logarithm of the exponent (gamma), 0 to 1. Black and white
    /// stay.
    pub gamma: f32,
    /// Largest deviation of Gaussian noise in units of full scale, 0 to 0.5.
    pub noise: f32,
    /// Largest deviation in pixels of a Gaussian that blurs, 0 to 8.
    pub blur: f32,
    /// Changes of sounds and features.
    pub sound: SoundAugment,
}

impl Augment {
    /// Whether nothing of an image is changed.
    fn leaves_images(&self) -> bool {
        let off = Self { elastic_radius: self.elastic_radius, sound: self.sound, ..Self::default() };
        *self == off
    }

    /// Checks ranges, and that what is asked for is of the kind of the data.
    ///
    /// # Errors
    /// Names the key, its value and its range.
    pub fn check(&self, sounds: bool) -> Result<()> {
        let limits = [
            ("shift", self.shift, 64.0),
            ("scale", self.scale, 0.5),
            ("aspect", self.aspect, 0.5),
            ("rotation", self.rotation, 180.0),
            ("shear", self.shear, 0.5),
            ("elastic", self.elastic, 16.0),
            ("brightness", self.brightness, 0.5),
            ("contrast", self.contrast, 0.9),
            ("gamma", self.gamma, 1.0),
            ("noise", self.noise, 0.5),
            ("blur", self.blur, 8.0),
        ];
        for (name, value, most) in limits {
            ensure!((0.0..=most).contains(&value), "train.augment.{name} is {value}; 0 to {most}");
        }
        ensure!(
            self.elastic == 0.0 || (0.5..=32.0).contains(&self.elastic_radius),
            "train.augment.elastic_radius is {}; 0.5 to 32 where train.augment.elastic is more than 0",
            self.elastic_radius
        );
        self.sound.check()?;
        ensure!(
            !sounds || self.leaves_images(),
            "train.augment asks for changes of images, but [front_end.sound] hears sounds; write [train.augment.sound]"
        );
        ensure!(
            sounds || self.sound == SoundAugment::default(),
            "[train.augment.sound] asks for changes of sounds, but there is no [front_end.sound]; write [train.augment]"
        );
        Ok(())
    }
}

/// What is known of an input beside its values.
#[derive(Debug, Clone)]
enum Form {
    Image { height: usize, width: usize },
    Sound(sound::Scale),
}

/// Changes inputs of one front end.
#[derive(Debug, Clone)]
pub struct Augmenter {
    augment: Augment,
    form: Form,
}

impl Augmenter {
    /// Of inputs of `front_end`, which are `height * width` values.
    pub fn new(augment: &Augment, front_end: &Fitted, height: usize, width: usize) -> Self {
        let form = match front_end {
            Fitted::Sound(sound) => Form::Sound(sound::Scale::new(&sound.levels, width)),
            Fitted::Image(_) | Fitted::Raw => Form::Image { height, width },
        };
        Self { augment: *augment, form }
    }

    /// An input under a random change; `other` gives another input of its class to mix it with.
    pub fn change<'a>(
        &self,
        input: &[f32],
        rng: &mut ChaCha8Rng,
        other: impl FnOnce(&mut ChaCha8Rng) -> &'a [f32],
    ) -> Vec<f32> {
        match &self.form {
            Form::Image { height, width } => image::change(input, *height, *width, &self.augment, rng),
            Form::Sound(scale) => sound::change(input, scale, &self.augment.sound, rng, other),
        }
    }
}

/// A number drawn evenly from `-limit` to `limit`; nothing is drawn where that is 0.
fn either_way(limit: f32, rng: &mut ChaCha8Rng) -> f32 {
    use rand::RngExt;
    if limit > 0.0 { rng.random_range(-limit..=limit) } else { 0.0 }
}

/// A number drawn evenly from 0 to `limit`; nothing is drawn where that is 0.
fn up_to(limit: f32, rng: &mut ChaCha8Rng) -> f32 {
    use rand::RngExt;
    if limit > 0.0 { rng.random_range(0.0..=limit) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked_and_kinds_are_not_mixed() {
        let said = |change: fn(&mut Augment), sounds| {
            let mut augment = Augment::default();
            change(&mut augment);
            augment.check(sounds).map_err(|error| error.to_string())
        };
        assert_eq!(said(|_| {}, true), Ok(()));
        assert_eq!(said(|a| a.rotation = 5.0, false), Ok(()));
        assert_eq!(said(|a| a.rotation = 200.0, false), Err("train.augment.rotation is 200; 0 to 180".into()));
        assert!(said(|a| a.blur = f32::NAN, false).is_err_and(|e| e.contains("blur")));
        assert!(said(|a| a.elastic = 2.0, false).is_err_and(|e| e.contains("elastic_radius")));
        assert!(said(|a| a.shift = 1.0, true).is_err_and(|e| e.contains("hears sounds")));
        assert!(said(|a| a.sound.gain_db = 1.0, false).is_err_and(|e| e.contains("no [front_end.sound]")));
        let unknown = toml::from_str::<Augment>("rotate = 3").expect_err("unknown").to_string();
        assert!(unknown.contains("rotate"), "{unknown}");
        let old: Augment = toml::from_str("flip_vertical = true\nbrightness = 0.05\nshift = 1").expect("still read");
        assert_eq!((old.flip_vertical, old.shift), (true, 1.0));
    }
}
