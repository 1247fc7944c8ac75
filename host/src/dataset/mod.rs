//! Folders of images as labelled samples.
//!
//! Two layouts: MVTec's (`train/good`, `test/good`, `test/<defect>`, masks in `ground_truth/<defect>`) and plain class
//! folders (`train/<class>`, `test/<class>`). Everything is sorted by name, so that the same folder gives the same data.

mod load;

pub use load::grey;

use std::path::{Path, PathBuf};

use anyhow::bail;
use neji_format::Size;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the normal class's folder.
pub const GOOD: &str = "good";

/// How a data set's folders are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// MVTec where `train` holds `good` alone, else class folders.
    #[default]
    Auto,
    /// `train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/<name>_mask.png`.
    Mvtec,
    /// `train/<class>` and, if there is one, `test/<class>`.
    Classes,
}

/// An 8-bit grey image, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GreyImage {
    /// Width and height.
    pub size: Size,
    /// `width * height` grey levels.
    pub pixels: Vec<u8>,
}

/// A labelled image.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where it was read.
    pub path: PathBuf,
    /// Path from the data set's folder, with `/`.
    pub name: String,
    /// Index into [`Dataset::classes`]; 0 is [`GOOD`].
    pub label: usize,
    /// Name of the class.
    pub class: String,
    /// The image.
    pub image: GreyImage,
    /// Non-zero where the defect is, where the data says so.
    pub mask: Option<GreyImage>,
    /// SHA-256 of the file, for [`Dataset::hash`].
    pub file_hash: [u8; 32],
}

/// Labelled images, split into training and test.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Names of the classes; `good` first, the others sorted.
    pub classes: Vec<String>,
    /// Training samples, sorted by name.
    pub train: Vec<Sample>,
    /// Test samples, sorted by name.
    pub test: Vec<Sample>,
    /// Size of every image.
    pub size: Size,
}

impl Dataset {
    /// Reads a folder.
    ///
    /// # Errors
    /// Names the folder or file at fault and what to do: missing or empty folders, no `good`, an image that can't be
    /// read, images or masks of different sizes.
    pub fn load(root: &Path, layout: Layout) -> anyhow::Result<Self> {
        load::load(root, layout)
    }

    /// Splits the training samples into two parts, each in the order of names: what to train on and what to validate on.
    ///
    /// Each class gives the rounded `fraction` of its samples to validation, at least one and never all, chosen by `seed`.
    ///
    /// # Errors
    /// `fraction` is not between 0 and 1, or a class has fewer than two samples.
    pub fn split_validation(&self, seed: u64, fraction: f64) -> anyhow::Result<(Vec<&Sample>, Vec<&Sample>)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            bail!("the validation share is {fraction}; it must be between 0 and 1");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut chosen = vec![false; self.train.len()];
        for (label, class) in self.classes.iter().enumerate() {
            let mut own: Vec<usize> = (0..self.train.len()).filter(|&i| self.train[i].label == label).collect();
            if own.is_empty() {
                continue;
            }
            if own.len() < 2 {
                bail!("class {class} has one training image; a validation part needs at least two");
            }
            own.shuffle(&mut rng);
            let count = ((own.len() as f64 * fraction).round() as usize).clamp(1, own.len() - 1);
            for &i in &own[..count] {
                chosen[i] = true;
            }
        }
        let part =
            |wanted: bool| (self.train.iter().zip(&chosen)).filter(|(_, c)| **c == wanted).map(|(s, _)| s).collect();
        Ok((part(false), part(true)))
    }

    /// SHA-256 over names and contents of all files, training first, in order.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for sample in self.train.iter().chain(&self.test) {
            hash.update((sample.name.len() as u64).to_le_bytes());
            hash.update(sample.name.as_bytes());
            hash.update(sample.file_hash);
        }
        hash.finalize().into()
    }
}
