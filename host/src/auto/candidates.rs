//! What is tried, by what the data are.
//!
//! The order is what has done well on data of the kind before, the likeliest first: where candidates are as good as each other on made
//! defects, which are no real ones, the earlier one is taken.

use crate::dataset::{Dataset, Form};
use crate::experiment::Experiment;

/// A way to detect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Short, of letters and dashes: a folder's name.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// What it sets of the experiment, `key.path=value`.
    pub settings: Vec<String>,
    /// Whether training takes epochs.
    pub epochs: bool,
}

impl Candidate {
    fn new(name: &'static str, what: &'static str, settings: &[&str]) -> Self {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { name, what, settings, epochs: false }
    }

    fn with(mut self, settings: impl IntoIterator<Item = String>) -> Self {
        self.settings.extend(settings);
        self
    }

    fn by_epochs(mut self) -> Self {
        self.epochs = true;
        self
    }
}

/// Candidates for `data`.
pub fn candidates(experiment: &Experiment, data: &Dataset) -> Vec<Candidate> {
    let normals = data.train.iter().filter(|sample| sample.label == 0).count();
    match data.form {
        Form::Image(size) => images([size.width, size.height], normals),
        Form::Sound { rate, .. } => sounds(experiment, rate, None),
        Form::Features { frames, bands } => sounds(experiment, 0, Some((frames, bands))),
    }
}

/// Largest side of what a part is looked for in.
const RESIZED: u16 = 128;
/// The same, where small defects of it are to be seen.
const DETAILED: u16 = 192;
/// Largest side of a picture that is looked at as a whole.
const WHOLE: u16 = 32;
/// The same, by patches.
const PATCHED: u16 = 128;
/// Side of what a round part is laid on.
const ROUND: &str = "front_end.strip=[56, 56]";

fn images(size: [u16; 2], normals: usize) -> Vec<Candidate> {
    let within = |side: u16| {
        let largest = size[0].max(size[1]).max(1);
        let scaled = |n: u16| (u32::from(n) * u32::from(side.min(largest)) / u32::from(largest)).max(1);
        format!("front_end.resize=[{}, {}]", scaled(size[0]), scaled(size[1]))
    };
    // A subspace of more than a third of the samples would reproduce any of them.
    let bottleneck = format!("model.bottleneck={}", (normals / 3).clamp(1, 64));
    let residual = format!("model.residual={}", (normals / 3).clamp(1, 64));
    let strip = ["front_end.strip=[48, 16]".to_owned(), within(RESIZED)];
    let top = ["detector.smooth_radius=1", "detector.top_k=4"];
    // A part that is as broad as long has no axis: it is looked for in every direction, or it always lies one way.
    let turned = ["front_end.alignment.upright=true", "front_end.alignment.registration.circle=true"];
    let upright = ["front_end.alignment.upright=true", "front_end.alignment.registration.both_ends=false"];
    let to_settings = |all: &[&str]| all.iter().map(|&setting| setting.to_owned()).collect::<Vec<_>>();
    // Patches of `side` pixels a third or half of that apart: in each place by itself, or wherever they are.
    let patches = |side: usize, stride: usize, components: usize, placed: bool| {
        let mut settings = vec![
            "task=features".to_owned(),
            "detector.kind=mahalanobis".to_owned(),
            "detector.pooled=false".to_owned(),
            format!("detector.shared={}", !placed),
            format!("detector.rank={}", if placed { 4 } else { 0 }),
            format!("model.patch={side}"),
            format!("model.patch_stride={stride}"),
            format!("model.bottleneck={components}"),
        ];
        settings.extend(to_settings(&top));
        settings
    };
    vec![
        Candidate::new("strip-pca", "principal subspace of the aligned part", &["model.kind=pca", top[0], top[1]])
            .with(strip.clone())
            .with([bottleneck.clone()]),
        Candidate::new(
            "part-pca",
            "principal subspace of the aligned part, where it is as broad as long",
            &["model.kind=pca", top[0], top[1]],
        )
        .with(["front_end.strip=[32, 32]".to_owned(), within(RESIZED), bottleneck.clone()]),
        Candidate::new(
            "turned-pca",
            "principal subspace of a round part, turned as the others lie",
            &["model.kind=pca", top[0], top[1], ROUND],
        )
        .with(to_settings(&turned))
        .with([within(DETAILED), bottleneck.clone()]),
        Candidate::new(
            "upright-pca",
            "principal subspace of the part, which is moved and not turned",
            &["model.kind=pca", top[0], top[1], ROUND],
        )
        .with(to_settings(&upright))
        .with([within(DETAILED), bottleneck.clone()]),
        Candidate::new("whole-patches", "patches of the whole picture, each in its place", &[])
            .with([within(PATCHED)])
            .with(patches(8, 4, 16, true)),
        Candidate::new("texture", "patches of the whole picture, wherever they are", &[])
            .with([within(DETAILED)])
            .with(patches(8, 4, 24, false)),
        Candidate::new("texture-coarse", "coarse patches of the whole picture, wherever they are", &[])
            .with([within(64)])
            .with(patches(8, 4, 24, false)),
        Candidate::new("whole-pca", "principal subspace of the whole picture", &["model.kind=pca", top[0], top[1]])
            .with([within(WHOLE), bottleneck]),
        Candidate::new(
            "pixels",
            "each pixel of the whole picture by itself",
            &[
                "task=features",
                "detector.kind=mahalanobis",
                "detector.pooled=false",
                "detector.shared=false",
                "detector.rank=0",
                top[0],
                top[1],
            ],
        )
        .with([within(WHOLE)]),
        Candidate::new(
            "strip-defects",
            "a network that sees where a made defect is in what a principal subspace leaves of the aligned part",
            &[
                "task=cnn",
                "model.channels=[16, 32]",
                "model.convs_per_block=1",
                "model.head=map",
                "model.dropout=0.0",
                "train.synthetic=1",
                "train.defects=[\"scar\", \"scratch\", \"blot\", \"missing\"]",
                "train.defect_strength_min=0.5",
                "train.epochs=8",
                "train.keep=last",
                "train.batch_size=16",
                "train.optimizer=adamw",
                "train.learning_rate=3e-3",
                "train.weight_decay=1e-2",
                "train.augment.brightness=0.02",
                "train.augment.contrast=0.05",
            ],
        )
        .with(strip)
        .with([residual])
        .by_epochs(),
    ]
}

fn sounds(experiment: &Experiment, rate: u32, features: Option<(usize, usize)>) -> Vec<Candidate> {
    let mut common = Vec::new();
    if experiment.front_end.sound.is_none() {
        match features {
            None => common.push(format!("front_end.sound.sample_rate={rate}")),
            Some((_, bands)) => common.push(format!("front_end.sound.mels={bands}")),
        }
    }
    let mean = ["detector.smooth_radius=0", "detector.top_k=0"];
    // Features may be shorter than a window.
    let window = |blocks: usize, block: usize| {
        let block = features.map_or(block, |(all, _)| block.min(all / blocks)).max(1);
        [format!("front_end.sound.context={}", blocks * block), format!("front_end.sound.stride={block}")]
    };
    let statistics = |blocks: bool| format!("front_end.sound.statistics={{ blocks = {blocks} }}");
    vec![
        Candidate::new(
            "statistics-fusion",
            "what is typical of each band, over blocks by the nearest of clusters and over seconds by Mahalanobis",
            &["task=features", "detector.kind=fusion", "detector.components=32", "detector.rank=16", mean[0], mean[1]],
        )
        .with(common.clone())
        .with([statistics(true)])
        .with(window(4, 24)),
        Candidate::new(
            "statistics",
            "what is typical of each band over seconds, by Mahalanobis",
            &["task=features", "detector.kind=mahalanobis", "detector.rank=16", mean[0], mean[1]],
        )
        .with(common.clone())
        .with([statistics(false)])
        .with(window(4, 32)),
        Candidate::new(
            "frames-pca",
            "principal subspace of five frames",
            &["model.kind=pca", "model.bottleneck=64", "front_end.sound.context=5", mean[0], mean[1]],
        )
        .with(common.clone()),
        Candidate::new(
            "frames-autoencoder",
            "dense autoencoder of five frames",
            &[
                "model.hidden=[128, 128]",
                "model.bottleneck=8",
                "train.epochs=10",
                "train.batch_size=128",
                "front_end.sound.context=5",
                mean[0],
                mean[1],
            ],
        )
        .with(common)
        .by_epochs(),
    ]
}
