//! Folders of recordings as labelled samples: images, sounds, features.
//!
//! Layouts: MVTec's (`train/good`, `test/good`, `test/<defect>`, masks in `ground_truth/<defect>`), plain class folders
//! (`train/<class>`, `test/<class>`, or `<class>` alone), DCASE's (`train/normal_*`, `test/{normal,anomaly}_*`) and long signals, one
//! file a class, each split by time. The normal class's folder is told by its name ([`names`]), or by [`Options::good`]. What the files are is told by their names: PNG, JPEG and BMP are images, WAV sounds, `.bin` and
//! two-dimensional `.npy` features, other `.npy` and CSV tables signals, which are sounds once they are scaled to 16 bits.
//! Everything is sorted by name, so that the same folder gives the same data.

mod array;
mod features;
pub mod info;
mod layout;
mod load;
pub mod names;
mod series;
mod signal;
pub mod size;
mod sound;

pub use features::{Features, decode_bin};
pub use layout::{Domain, Layout, is_mask};
pub use load::grey;
pub use signal::{Form, GreyImage, Kind, Signal};
pub use sound::{Sound, decode_wav, from_real, from_wide};

use std::cmp::Reverse;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use neji_format::Size;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the normal class's folder.
pub const GOOD: &str = "good";
/// The same, as DCASE has it.
pub const NORMAL: &str = "normal";
/// What is not normal, as DCASE has it.
pub const ANOMALY: &str = "anomaly";

/// Whether a class of this name is the normal one.
pub fn is_normal(class: &str) -> bool {
    class == GOOD || class == NORMAL
}

/// How a data set is read; what is not said is as the files have it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How the data set's folders are named.
    #[arg(long, value_enum, default_value_t = Layout::Auto)]
    pub layout: Layout,
    /// The folder of the normal class (of signals: the file), where its name does not say that it is one.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// Width and height that pictures shall have; where absent the training pictures' own, or what holds most of them.
    #[arg(long, value_name = "N", num_args = 2)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Vec<u16>>,
    /// Samples a second that sounds and signals shall have; others are resampled.
    #[arg(long, value_name = "HZ")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Refuse sounds of another rate instead of resampling them.
    #[arg(long)]
    pub no_resample: bool,
    /// The channel of sounds and signals that is taken, from 0; all where absent.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<u16>,
    /// Samples a second of files that do not say it (.npy, CSV); --rate where absent.
    #[arg(long, value_name = "HZ")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_rate: Option<u32>,
    /// The value of an .npy or CSV signal that becomes full scale in 16 bits; larger ones are cut off.
    #[arg(long, value_name = "VALUE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scale: Option<f64>,
    /// A column of CSV tables, by the name in their first row or by number from 0; several are channels.
    #[arg(long, value_name = "NAME|N")]
    pub column: Vec<String>,
    /// Values of a frame of features; .bin files do not say it.
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bands: Option<usize>,
    /// Cut sounds and signals into windows of this many frames, each a sample.
    #[arg(long, value_name = "FRAMES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Frames from one window to the next; a window where absent.
    #[arg(long, value_name = "FRAMES", requires = "window")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<usize>,
    /// Share of a long signal, from its end, or of normal files without a folder train that is tested (layouts signals and flat); 0.3
    /// where absent.
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_share: Option<f64>,
}

impl From<Layout> for Options {
    fn from(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }
}

impl From<&Options> for Options {
    fn from(options: &Options) -> Self {
        options.clone()
    }
}

/// A labelled recording.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where it was read.
    pub path: PathBuf,
    /// Path from the data set's folder, with `/`; of a window, `@` and the frame in its file with which it begins follow.
    pub name: String,
    /// Index into [`Dataset::classes`]; 0 is the normal class.
    pub label: usize,
    /// Name of the class.
    pub class: String,
    /// Machine or section that its name says, such as `id_00` or `section_02`.
    pub section: Option<String>,
    /// Domain that its name says.
    pub domain: Option<Domain>,
    /// What was recorded.
    pub signal: Signal,
    /// The window's frames within its file, at the rate of [`Sample::signal`]; none for a whole file.
    pub window: Option<Range<usize>>,
    /// It was made of the recording of the same path and window.
    pub variant: bool,
    /// SHA-256 of the file, for [`Dataset::hash`].
    pub file_hash: [u8; 32],
}

impl Sample {
    /// Whether the two are of one recording, or one is made of the other.
    pub fn is_of(&self, other: &Self) -> bool {
        self.path == other.path && self.window == other.window
    }

    fn other(&self, wanted: Kind) -> anyhow::Error {
        let found = self.signal.form().kind();
        anyhow!("{}: the data are {found}, the model takes {wanted}; give data of that kind", self.path.display())
    }

    /// The image.
    ///
    /// # Errors
    /// It is none; the message names the file and what it is.
    pub fn image(&self) -> Result<&GreyImage> {
        match &self.signal {
            Signal::Image { image, .. } => Ok(image),
            _ => Err(self.other(Kind::Images)),
        }
    }

    /// Non-zero where the defect is, where the data say so.
    pub fn mask(&self) -> Option<&GreyImage> {
        match &self.signal {
            Signal::Image { mask, .. } => mask.as_ref(),
            _ => None,
        }
    }

    /// The sound.
    ///
    /// # Errors
    /// It is none; the message names the file and what it is.
    pub fn sound(&self) -> Result<&Sound> {
        match &self.signal {
            Signal::Sound(sound) => Ok(sound),
            _ => Err(self.other(Kind::Sounds)),
        }
    }

    /// The features.
    ///
    /// # Errors
    /// They are none; the message names the file and what it is.
    pub fn features(&self) -> Result<&Features> {
        match &self.signal {
            Signal::Features(features) => Ok(features),
            _ => Err(self.other(Kind::Features)),
        }
    }
}

/// Labelled recordings of one kind and form, split into training and test.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Names of the classes; the normal one (`good` or `normal`) first, the others sorted.
    pub classes: Vec<String>,
    /// Training samples, sorted by name.
    pub train: Vec<Sample>,
    /// Test samples, sorted by name.
    pub test: Vec<Sample>,
    /// What all samples have in common.
    pub form: Form,
    /// [`Dataset::hash`] of the data that these were made of, where there are samples that no file holds.
    pub origin: Option<[u8; 32]>,
    /// What was done to the data that one may want to know, such as resampling. [`Dataset::load`] has written it to stderr.
    pub notices: Vec<String>,
}

impl Dataset {
    /// Reads a folder; a [`Layout`] alone will do as options.
    ///
    /// # Errors
    /// Names the folder or file at fault and what to do: missing or empty folders, no normal class, kinds that are mixed, a
    /// file that can't be read, is cut off or holds no numbers, the same file twice, masks of another size than their images, features of
    /// different sizes, sounds of different rates or channels, options that are missing or don't fit.
    pub fn load(root: &Path, options: impl Into<Options>) -> Result<Self> {
        let data = load::load(root, &options.into())?;
        for notice in &data.notices {
            eprintln!("{notice}");
        }
        Ok(data)
    }

    /// Images, sounds or features.
    pub fn kind(&self) -> Kind {
        self.form.kind()
    }

    /// Width and height of every image.
    ///
    /// # Errors
    /// The data are no images.
    pub fn size(&self) -> Result<Size> {
        match (self.form, self.train.first()) {
            (Form::Image(size), _) => Ok(size),
            (_, Some(sample)) => Err(sample.other(Kind::Images)),
            (form, None) => bail!("the data are {}, the model takes {}", form.kind(), Kind::Images),
        }
    }

    /// Machines or sections that the names say, sorted: the classes of a classifier of them.
    pub fn sections(&self) -> Vec<&str> {
        let mut all: Vec<&str> = (self.train.iter().chain(&self.test)).filter_map(|s| s.section.as_deref()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Splits the training samples into two parts, each in the order of names: what to train on and what to validate on.
    ///
    /// Each class gives the rounded `fraction` of its samples to validation, at least one and never all, chosen by `seed`.
    /// Of windows, files are chosen as wholes, the last one from its end, and windows before that overlap with it are left
    /// out: neighbours are alike, and would tell what validation asks.
    ///
    /// # Errors
    /// `fraction` is not between 0 and 1, or a class has fewer than two samples.
    pub fn split_validation(&self, seed: u64, fraction: f64) -> Result<(Vec<&Sample>, Vec<&Sample>)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            bail!("the validation share is {fraction}; it must be between 0 and 1");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut chosen = vec![false; self.train.len()];
        let mut left_out = vec![false; self.train.len()];
        for (label, class) in self.classes.iter().enumerate() {
            let mut own: Vec<usize> =
                (0..self.train.len()).filter(|&i| self.train[i].label == label && !self.train[i].variant).collect();
            if own.is_empty() {
                continue;
            }
            if own.len() < 2 {
                bail!("class {class} has one training sample; a validation part needs at least two");
            }
            let windows = own.iter().any(|&i| self.train[i].window.is_some());
            if windows {
                let mut files: Vec<&Path> = own.iter().map(|&i| self.train[i].path.as_path()).collect();
                files.dedup();
                files.shuffle(&mut rng);
                let place = |i: usize| files.iter().position(|file| *file == self.train[i].path);
                own.sort_by_key(|&i| (place(i), Reverse(i)));
            } else {
                own.shuffle(&mut rng);
            }
            let count = ((own.len() as f64 * fraction).round() as usize).clamp(1, own.len() - 1);
            for &i in &own[..count] {
                chosen[i] = true;
            }
            // Of the file that is in both parts, the earliest window that was chosen.
            let Some(edge) = own.get(count - 1).filter(|_| windows).map(|&i| &self.train[i]) else { continue };
            let edge_start = edge.window.as_ref().map_or(0, |window| window.start);
            for &i in &own[count..] {
                let sample = &self.train[i];
                let reaches = sample.window.as_ref().is_some_and(|window| window.end > edge_start);
                left_out[i] = sample.path == edge.path && reaches;
            }
        }
        let part = |wanted: bool| -> Vec<&Sample> {
            let flags = chosen.iter().zip(&left_out);
            (self.train.iter().zip(flags)).filter(|(_, (c, l))| **c == wanted && !**l).map(|(s, _)| s).collect()
        };
        let (train, validation) = (part(false), part(true));
        if train.is_empty() {
            bail!(
                "all windows overlap with those of validation; give a longer hop or a smaller validation share than {fraction}"
            );
        }
        Ok((train, validation))
    }

    /// SHA-256 over names and contents of all files, training first, in order. Samples made of others change nothing.
    pub fn hash(&self) -> [u8; 32] {
        if let Some(origin) = self.origin {
            return origin;
        }
        let mut hash = Sha256::new();
        for sample in self.train.iter().chain(&self.test) {
            hash.update((sample.name.len() as u64).to_le_bytes());
            hash.update(sample.name.as_bytes());
            hash.update(sample.file_hash);
        }
        hash.finalize().into()
    }
}
