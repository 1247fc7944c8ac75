//! What the end-to-end tests share: a small rendered data set and models trained on it.

pub mod browser;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result};
use neji::closed;
use neji::dataset::Dataset;
use neji::experiment::Experiment;
use neji::files::write_whole;
use neji::quantize;
use neji::render::{self, MachineSettings, SetSettings, write_machine_set, write_set};
use neji::run::Run;
use neji::train::{Ended, train};
use neji_format::AlignedBytes;
use tempfile::TempDir;

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Burn's random numbers belong to the process: one training at a time.
static TRAINING: Mutex<()> = Mutex::new(());

/// A folder of rendered screws, made once: `screws` as MVTec lays them out, `classes` as class folders.
///
/// # Panics
/// Where it can't be rendered.
pub fn data(layout: render::Layout) -> PathBuf {
    static FOLDERS: OnceLock<TempDir> = OnceLock::new();
    static RENDERING: Mutex<()> = Mutex::new(());
    let folder = FOLDERS.get_or_init(|| tempfile::tempdir().expect("a folder")).path();
    let (name, train) = match layout {
        render::Layout::Mvtec => ("screws", 96),
        render::Layout::Classes => ("classes", 12),
    };
    let root = folder.join(name);
    let _one = RENDERING.lock().expect("no test panics while it renders");
    if !root.exists() {
        let settings = SetSettings { layout, train, test_good: 8, test_bad: 12, size: 96, seed: 5 };
        write_set(&root, &settings, false).expect("rendered");
    }
    root
}

/// A folder of rendered clips of a machine in DCASE's layout, made once.
///
/// # Panics
/// Where it can't be rendered.
pub fn clips() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    static RENDERING: Mutex<()> = Mutex::new(());
    let root = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder")).path().join("clips");
    let _one = RENDERING.lock().expect("no test panics while it renders");
    if !root.exists() {
        let settings = MachineSettings {
            train: 12,
            test_normal: 4,
            test_anomaly: 6,
            seconds: 2,
            rate: 16_000,
            snr_db: 12.0,
            severity: 3.0,
            seed: 5,
        };
        write_machine_set(&root, &settings, false).expect("rendered");
    }
    root
}

/// Trains `toml` on `data` into `folder`; `stop` as [`train`] takes it.
///
/// # Errors
/// The training's.
pub fn train_into(folder: &Path, toml: &str, data: &Path, stop: &AtomicBool) -> Result<Ended> {
    let mut experiment = Experiment::from_toml(toml, &[])?;
    experiment.data = data.to_str().context("a path in UTF-8")?.to_owned();
    let run = Run::new(folder);
    let _lock = run.lock()?;
    write_whole(&run.config(), experiment.to_toml().as_bytes())?;
    let _one = TRAINING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let data = Dataset::load(data, experiment.data_options())?;
    if let Some(trained) = closed::train(&experiment, &data, &run)? {
        return Ok(Ended::Finished(trained));
    }
    train(&experiment, &*experiment.seen(&data)?, &run, stop)
}

/// Trains and quantizes.
///
/// # Errors
/// The training's or the quantizer's.
pub fn blob(toml: &str, data: &Path) -> Result<(AlignedBytes, quantize::Summary)> {
    let folder = tempfile::tempdir()?;
    train_into(folder.path(), toml, data, &AtomicBool::new(false))?;
    quantize::quantize(&Run::new(folder.path()))
}

/// Models small enough for a test, by name: a dense and a convolutional autoencoder, classifiers.
pub mod models {
    /// Fits the 16 KB of a micro:bit.
    pub const SMALL: &str = "name = \"small\"\n[front_end]\nresize = [40, 40]\nstrip = [40, 12]\n\
        [model]\nhidden = []\nbottleneck = 16\nbatch_norm = false\nactivation = \"linear\"\n\
        [train]\nepochs = 150\nlearning_rate = 3e-3\n[threshold]\nalpha = 0.2";
    /// Strided convolutions, a dense bottleneck, transposed convolutions.
    pub const CONV: &str = "name = \"conv\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nkind = \"conv\"\nchannels = [4, 8]\nbottleneck = 8\n[train]\nepochs = 4\n[threshold]\nalpha = 0.2";
    /// Hears a machine; fits the 16 KB of a micro:bit.
    pub const SOUND: &str = "name = \"sound\"\n[front_end.sound]\nfft_len = 512\nhop = 512\nmels = 24\ncontext = 3\n\
        [model]\nhidden = []\nbottleneck = 8\nbatch_norm = false\nactivation = \"linear\"\n\
        [train]\nepochs = 20\nlearning_rate = 3e-3\n[detector]\nsmooth_radius = 0\ntop_k = 0";
    /// Convolutions, pooling, dense layers.
    pub const CNN: &str = "name = \"cnn\"\ntask = \"cnn\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\ndense = [16]\n[train]\nepochs = 4";
    /// Tells made defects on the aligned part from it, place by place.
    pub const DEFECTS: &str = "name = \"defects\"\ntask = \"cnn\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\nhead = \"map\"\n[train]\nsynthetic = 1\nepochs = 4";
    /// A teacher that learns augmentations, a small network that learns from it, a student that shares its first block.
    pub const STUDENT: &str = "name = \"student\"\ntask = \"student\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\n[teacher]\nchannels = [6, 8]\nepochs = 1\nmatch_epochs = 1\n\
        [train]\nepochs = 4\npretext = [\"augmentation\"]\n[threshold]\nalpha = 0.2";
    /// A small network that learns from a teacher of mirrored parts and made defects; its mean output feeds a distance.
    pub const DISTILLED: &str = "name = \"distilled\"\ntask = \"distilled\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\n[teacher]\nchannels = [6, 8]\nepochs = 1\n\
        [train]\nepochs = 2\npretext = [\"rotation\", \"defects\"]\n[detector]\nrank = 4\n[threshold]\nalpha = 0.2";
    /// Outputs drawn to one place.
    pub const ONE_CLASS: &str = "name = \"one-class\"\ntask = \"one_class\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\nbottleneck = 8\n[train]\nepochs = 4\n[threshold]\nalpha = 0.2";
    /// A cnn that tells where a patch is from; its last dense layer's input feeds a distance.
    pub const PATCHES: &str = "name = \"patches\"\ntask = \"cnn\"\n[front_end]\nstrip = [48, 16]\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\ndense = [12]\n[train]\nepochs = 2\npretext = [\"patch_position\"]\n\
        [detector]\nkind = \"nearest\"\ncomponents = 8\n[threshold]\nalpha = 0.2";
}
