//! Defects made from normal samples, before the front end: what a detector can be tried with, or a classifier trained on,
//! where nobody has defects yet.
//!
//! They are no model of any fault. That a detector tells them from normal samples says that it looks at the part, or hears
//! the machine, and among detectors the better ones on these tend to be the better ones on real ones (Li et al.,
//! "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021). Each has a strength, even on
//! a logarithmic scale from hardly to be seen to plain, so that not all detectors reach the best figure.

mod features;
mod image;
mod input;
mod sound;

use anyhow::{Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::dataset::{Dataset, GOOD, Sample, Signal};
use crate::render::item_seed;
use features::FeatureDefect;
use image::ImageDefect;
use sound::SoundDefect;

pub use image::part;
pub use input::{LEARNED_MIN, Learned, Marked, input_kinds, of_kind, on_picture};

/// The least strength; the most is 1.
pub const STRENGTH_MIN: f64 = 0.06;

/// The class of made defects, where a classifier learns to tell them from normal samples.
pub const SYNTHETIC: &str = "synthetic";

/// A kind of defect, of one kind of recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Image(ImageDefect),
    Sound(SoundDefect),
    Features(FeatureDefect),
}

impl Defect {
    fn all(signal: &Signal) -> Vec<Self> {
        match signal {
            Signal::Image { .. } => ImageDefect::ALL.into_iter().map(Self::Image).collect(),
            Signal::Sound(_) => SoundDefect::ALL.into_iter().map(Self::Sound).collect(),
            Signal::Features(_) => FeatureDefect::ALL.into_iter().map(Self::Features).collect(),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Image(kind) => kind.name(),
            Self::Sound(kind) => kind.name(),
            Self::Features(kind) => kind.name(),
        }
    }

    /// The recording with the defect; none where the recording has no place for it, as a flat picture has nothing to warp.
    fn made(self, signal: &Signal, strength: f64, rng: &mut ChaCha8Rng) -> Option<Signal> {
        match (self, signal) {
            (Self::Image(kind), Signal::Image { image, .. }) => {
                let (image, mask) = image::defective(image, kind, strength, rng)?;
                Some(Signal::Image { image, mask: Some(mask) })
            }
            (Self::Sound(kind), Signal::Sound(sound)) => {
                sound::defective(sound, kind, strength, rng).map(Signal::Sound)
            }
            (Self::Features(kind), Signal::Features(features)) => {
                features::defective(features, kind, strength, rng).map(Signal::Features)
            }
            _ => None,
        }
    }
}

/// Names of the kinds of defect that recordings like `signal` can have.
pub fn kinds(signal: &Signal) -> Vec<&'static str> {
    Defect::all(signal).into_iter().map(Defect::name).collect()
}

/// A defective copy of each sample, in their order: label 1, the kind of defect as class, images with its mask. Kinds and
/// strengths are drawn by `seed`; on images the defect lies on the part, where there is one against a ground.
///
/// # Errors
/// A recording in which nothing can be seen or heard of any defect, such as one without samples; names the file.
pub fn defective(samples: &[&Sample], seed: u64) -> Result<Vec<Sample>> {
    let one = |(index, sample): (usize, &&Sample)| {
        let mut rng = ChaCha8Rng::seed_from_u64(item_seed(seed, index as u64));
        let all = Defect::all(&sample.signal);
        // A kind that finds no place leaves it to another.
        let first = rng.random_range(0..all.len());
        let made = (0..4 * all.len()).find_map(|attempt| {
            let kind = all[(first + attempt) % all.len()];
            let strength = strength(&mut rng);
            Some((kind, kind.made(&sample.signal, strength, &mut rng)?))
        });
        ensure!(made.is_some(), "{}: no place for a defect; the recording is empty or flat", sample.path.display());
        let (kind, signal) = made.expect("it was ensured");
        Ok(copy(sample, kind, signal))
    };
    samples.par_iter().enumerate().map(one).collect()
}

/// A copy of `sample` with the defect of this name (one of [`kinds`]) and strength, above 0 to 1; none where it has no place
/// for it.
pub fn with(sample: &Sample, kind: &str, strength: f64, seed: u64) -> Option<Sample> {
    let kind = Defect::all(&sample.signal).into_iter().find(|defect| defect.name() == kind)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..8).find_map(|_| kind.made(&sample.signal, strength, &mut rng)).map(|signal| copy(sample, kind, signal))
}

/// The data with defects as the only abnormal class, [`SYNTHETIC`]: `copies` made of each normal training sample. Other training samples
/// are left out, and what is abnormal in the test part counts as that class.
///
/// # Errors
/// As [`defective`].
pub fn against_normal(data: &Dataset, copies: u32, seed: u64) -> Result<Dataset> {
    let normal: Vec<&Sample> = data.train.iter().filter(|sample| sample.label == 0).collect();
    let mut train: Vec<Sample> = normal.iter().map(|&sample| sample.clone()).collect();
    for copy in 0..copies {
        for (index, mut sample) in defective(&normal, item_seed(seed, u64::from(copy)))?.into_iter().enumerate() {
            sample.name = format!("{}~{copy}~{index}", sample.name);
            train.push(Sample { class: SYNTHETIC.to_owned(), ..sample });
        }
    }
    let test = data.test.iter().map(|sample| Sample { label: sample.label.min(1), ..sample.clone() }).collect();
    let classes = vec![data.classes.first().cloned().unwrap_or_else(|| GOOD.to_owned()), SYNTHETIC.to_owned()];
    Ok(Dataset { classes, train, test, form: data.form, origin: Some(data.hash()), notices: Vec::new() })
}

/// Drawn evenly in its logarithm from [`STRENGTH_MIN`] to 1.
fn strength(rng: &mut ChaCha8Rng) -> f64 {
    STRENGTH_MIN.powf(rng.random_range(0.0..=1.0))
}

fn copy(sample: &Sample, kind: Defect, signal: Signal) -> Sample {
    Sample {
        path: sample.path.clone(),
        name: format!("{}~{}", sample.name, kind.name()),
        label: 1,
        class: kind.name().to_owned(),
        section: sample.section.clone(),
        domain: sample.domain,
        signal,
        window: sample.window.clone(),
        variant: sample.variant,
        file_hash: sample.file_hash,
    }
}

#[cfg(test)]
mod tests {
    use neji_format::Size;

    use super::*;
    use crate::dataset::{Features, GreyImage, Sound};

    fn sample(signal: Signal) -> Sample {
        Sample {
            path: "a/b".into(),
            name: "b".into(),
            label: 0,
            class: "good".into(),
            section: None,
            domain: None,
            signal,
            window: None,
            variant: false,
            file_hash: [0; 32],
        }
    }

    fn samples() -> [Sample; 3] {
        let size = Size { width: 48, height: 40 };
        let pixels = (0..48 * 40).map(|i| (i * 7919 % 251) as u8).collect();
        let samples = (0..4000).map(|i| (i * 7919 % 2003 - 1000) as i16).collect();
        let values = (0..30 * 16).map(|i| (i * 7919 % 101) as f32 / 10.0).collect();
        [
            sample(Signal::Image { image: GreyImage { size, pixels }, mask: None }),
            sample(Signal::Sound(Sound { rate: 8000, channels: 1, samples })),
            sample(Signal::Features(Features { frames: 30, bands: 16, values })),
        ]
    }

    #[test]
    fn each_kind_is_drawn_and_a_seed_repeats() {
        for sample in samples() {
            let many = [&sample; 60];
            let (a, b) = (defective(&many, 3).expect("made"), defective(&many, 3).expect("made"));
            assert!(a.iter().zip(&b).all(|(a, b)| a.signal == b.signal && a.class == b.class));
            let other = defective(&many, 4).expect("made");
            assert!(a.iter().zip(&other).any(|(a, b)| a.signal != b.signal));
            for kind in kinds(&sample.signal) {
                assert!(a.iter().any(|made| made.class == kind), "{kind}");
            }
            assert!(
                a.iter().all(|made| made.signal != sample.signal && made.label == 1 && made.name.starts_with("b~"))
            );
            assert!(a.iter().all(|made| made.signal.form() == sample.signal.form()));
        }
    }

    #[test]
    fn strengths_reach_from_hardly_to_plain() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<f64> = (0..1000).map(|_| strength(&mut rng)).collect();
        assert!(drawn.iter().all(|s| (STRENGTH_MIN..=1.0).contains(s)));
        // Half of them below the geometric mean of the limits.
        let below = drawn.iter().filter(|s| **s < STRENGTH_MIN.sqrt()).count();
        assert!((440..560).contains(&below), "{below}");
    }

    #[test]
    fn what_has_no_place_for_a_defect_is_named() {
        let empty = sample(Signal::Sound(Sound { rate: 8000, channels: 1, samples: Vec::new() }));
        let error = defective(&[&empty], 1).expect_err("nothing there").to_string();
        assert!(error.contains("a/b"), "{error}");
        assert!(with(&samples()[0], "tone", 1.0, 1).is_none(), "a picture has no tone");
    }
}
