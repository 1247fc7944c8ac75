//! The settings of an experiment: a TOML file, overrides from the command line, checks.
//!
//! Everything has a default, so that a file holds only what it means to say; an unknown key is an error that names it.
//! The resolved settings are what is hashed and what a run folder keeps.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use neji_format::{Aggregate, Element, Pooling};
use neji_tables::{Settings, Transform};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::augment::Augment;
use crate::augment::waveform::{self, Waveform};
use crate::dataset::{Dataset, Options};
use crate::detect::LogVariance;
use crate::frontend::FrontEndSettings;
use crate::pretext::Pretext;
use crate::synthetic;

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Reconstruct normal images; the score is what can't be reconstructed.
    #[default]
    Autoencoder,
    /// Tell classes apart; the score is the margin of the strongest abnormal class.
    Cnn,
    /// No training: what the front end gives is what the detector looks at, or, with `model.patch`, what patches of it are made of.
    Features,
    /// A larger network, the teacher, learns `train.pretext`; a small one then learns to say what the teacher says, and feeds a detector
    /// of distances.
    Distilled,
    /// As `distilled`; then a student learns, on normal inputs alone, to say what the small network says. The score is where they differ.
    Student,
    /// Outputs of normal inputs are drawn to one place; the score is the distance from it.
    OneClass,
}

/// How an autoencoder is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum AutoencoderKind {
    /// Fully connected layers.
    #[default]
    Dense,
    /// Strided convolutions, a dense bottleneck, and back.
    Conv,
    /// The principal subspace, computed outright instead of trained: what a dense one without activations learns.
    Pca,
}

/// How a cnn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Dense layers, which know where in the picture something is.
    #[default]
    Dense,
    /// Logits of each place of the last block's output, of which the largest of each abnormal class counts: a defect is as abnormal
    /// wherever it is, and training may be told where it is.
    Map,
}

/// How a convolutional decoder doubles its resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    /// Transposed convolution, kernel 3, stride 2.
    #[default]
    Transpose,
    /// Nearest neighbour upsampling, then a convolution.
    Upsample,
}

/// Activation between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// None: a dense autoencoder of this kind learns the principal subspace.
    Linear,
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// `[model]`: sizes of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// Output channels of each block (cnn) or each strided convolution (convolutional autoencoder).
    pub channels: Vec<usize>,
    /// Convolutions in each block of a cnn, before its pooling.
    pub convs_per_block: usize,
    /// Batch normalisation after each hidden layer.
    pub batch_norm: bool,
    /// Share of features dropped before dense layers of a cnn in training, 0 to below 1.
    pub dropout: f64,
    /// A cnn sees what this many principal components of normal training inputs leave of an input, in units of how that deviates at
    /// each place; absent, the input itself. For inputs in which a place means something, as on an aligned part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<usize>,
    /// How a cnn ends.
    pub head: Head,
    /// Units of the hidden dense layers of a cnn that ends in such.
    pub dense: Vec<usize>,
    /// Of `task = "features"`: side of the patches, in pixels of the input, whose principal components the detector looks at instead of
    /// the input, up to 16; 0 takes the input itself. `bottleneck` is how many components.
    pub patch: usize,
    /// From a patch to the next.
    pub patch_stride: usize,
    /// Kind of autoencoder.
    pub kind: AutoencoderKind,
    /// Features of an autoencoder's bottleneck.
    pub bottleneck: usize,
    /// Decoder of a convolutional autoencoder.
    pub decoder: Decoder,
    /// Units of a dense autoencoder's hidden layers, mirrored in the decoder.
    pub hidden: Vec<usize>,
    /// Activation between the layers of an autoencoder; a cnn has ReLU.
    pub activation: ActivationName,
    /// A variational autoencoder: the code is drawn around what the encoder says, and the decoder says a variance for each pixel.
    pub variational: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            channels: vec![8, 16, 32],
            convs_per_block: 2,
            batch_norm: true,
            dropout: 0.2,
            residual: None,
            head: Head::default(),
            dense: vec![64],
            patch: 0,
            patch_stride: 4,
            kind: AutoencoderKind::default(),
            bottleneck: 32,
            decoder: Decoder::default(),
            hidden: vec![],
            activation: ActivationName::default(),
            variational: false,
        }
    }
}

/// `[teacher]`: what a distilled network and a student learn from; the teacher itself never leaves the PC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherSettings {
    /// Output channels of each of its blocks; as many as `model.channels` has, so that the places of both outputs are the same.
    pub channels: Vec<usize>,
    /// Convolutions in each of its blocks.
    pub convs_per_block: usize,
    /// Epochs in which it learns `train.pretext` or `train.sections`.
    pub epochs: usize,
    /// Epochs in which the small network learns from it, before a student learns from that one. Of `task = "distilled"` they are
    /// `train.epochs`.
    pub match_epochs: usize,
    /// Blocks of the small network that a student reads the output of, fewer than there are; 0 for a student that sees the input.
    pub shared: usize,
}

impl Default for TeacherSettings {
    fn default() -> Self {
        Self { channels: vec![16, 32, 64], convs_per_block: 1, epochs: 20, match_epochs: 20, shared: 1 }
    }
}

impl TeacherSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What training makes small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error.
    Mse,
    /// Cross entropy over classes.
    CrossEntropy,
    /// Binary cross entropy on logits: of pixels (autoencoder) or of each class against the rest (cnn).
    BinaryCrossEntropy,
}

/// How weights move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OptimizerName {
    Sgd,
    Momentum,
    Nesterov,
    AdaGrad,
    RmsProp,
    #[default]
    Adam,
    AdamW,
}

/// How the learning rate falls over the epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It doesn't.
    Constant,
    /// Half a cosine, from the initial rate to a hundredth of it (Loshchilov and Hutter 2017, eq. 5).
    #[default]
    Cosine,
    /// A tenth after each third of the epochs.
    Step,
    /// Exponentially to a hundredth at the end.
    Exponential,
}

/// Which epoch's weights a training ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the least validation loss.
    #[default]
    Best,
    /// The last one's: where defects are drawn anew in every epoch nothing is learned by heart, and the validation loss says how sure
    /// the network is of weak defects rather than how well it ranks.
    Last,
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Passes over the training data.
    pub epochs: usize,
    /// Images a step.
    pub batch_size: usize,
    /// Loss; by default MSE for an autoencoder, cross entropy for a cnn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Optimizer.
    pub optimizer: OptimizerName,
    /// Learning rate at the beginning.
    pub learning_rate: f64,
    /// L2 penalty (decoupled in AdamW).
    pub weight_decay: f32,
    /// Schedule of the learning rate.
    pub schedule: Schedule,
    /// Epochs without a better validation loss after which training stops; 0 never stops early.
    pub patience: usize,
    /// Which epoch's weights are kept.
    pub keep: Keep,
    /// Share of the training images kept for validation, below 1.
    pub validation: f64,
    /// Defective copies made of each normal training sample, which a cnn learns to tell from normal ones; 0 where the data have
    /// classes of their own. Of pictures they are drawn anew in every epoch, on the model's input, and those of validation once,
    /// before the front end; of sounds and features all are drawn once.
    pub synthetic: u32,
    /// Kinds of made defects of pictures that are learned, by their names; all where it is empty. Those of validation are of all kinds.
    pub defects: Vec<String>,
    /// The least strength, as opacity, of the defects of pictures that are learned, above 0 to 1.
    pub defect_strength_min: f64,
    /// A cnn learns to tell the machines or sections apart that the names of normal training samples say; its layers then feed a
    /// detector of distances.
    pub sections: bool,
    /// Epochs after those, in which values and weights are rounded as the device rounds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_aware: Option<AwareSettings>,
    /// What a network learns where nobody has labels: which of these changes an input had, if any. Of a cnn, whose layers then feed a
    /// detector of distances, and of a teacher.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pretext: Vec<Pretext>,
    /// Augmentation.
    pub augment: Augment,
    /// Variants of recordings, which are learned from beside them.
    pub waveform: Waveform,
}

/// `[train.quantization_aware]`: the trained model, batch normalisation folded, goes on learning with rounded weights and activations, whose
/// ranges it learns as well.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AwareSettings {
    /// Passes over the training data.
    pub epochs: usize,
    /// Learning rate at the beginning; absent, a tenth of the training's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl Default for AwareSettings {
    fn default() -> Self {
        Self { epochs: 10, learning_rate: None }
    }
}

impl TrainSettings {
    /// The settings of the epochs with rounding; none where there are none.
    pub fn aware(&self) -> Option<Self> {
        let AwareSettings { epochs, learning_rate } = self.quantization_aware?;
        let learning_rate = learning_rate.unwrap_or(0.1 * self.learning_rate);
        Some(Self { epochs, learning_rate, quantization_aware: None, ..self.clone() })
    }
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            epochs: 40,
            batch_size: 32,
            loss: None,
            optimizer: OptimizerName::default(),
            learning_rate: 1e-3,
            weight_decay: 0.0,
            schedule: Schedule::default(),
            patience: 0,
            keep: Keep::default(),
            validation: 0.15,
            synthetic: 0,
            defects: Vec::new(),
            defect_strength_min: synthetic::LEARNED_MIN,
            sections: false,
            quantization_aware: None,
            pretext: Vec::new(),
            augment: Augment::default(),
            waveform: Waveform::default(),
        }
    }
}

/// Score of a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ScoreName {
    /// Largest abnormal logit less the normal one.
    #[default]
    Margin,
    /// One minus the normal class's probability.
    Probability,
}

/// What a score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorName {
    /// What an autoencoder fails to reconstruct.
    Reconstruction,
    /// The margin, or the probability, of a classifier's abnormal classes.
    Classifier,
    /// The distance from the mean of normal outputs, under their covariance.
    Mahalanobis,
    /// The distance from the nearest of some places where normal outputs are: means of clusters.
    Nearest,
    /// How unlikely an output is under a mixture of Gaussians.
    Mixture,
    /// The best of several ways on made defects; [`crate::auto`].
    Auto,
    /// How far a student is from what it learned from, in units of each channel's deviation on normal samples.
    Difference,
    /// The distance from the place that outputs of normal samples are drawn to.
    Centre,
    /// `nearest` of an output's first rows and `mahalanobis` of its last one, each in units of its deviation on normal samples.
    Fusion,
}

/// `[detector]`: from output to score to alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSettings {
    /// What the score is made of; by default the reconstruction of an autoencoder, the classes of a cnn, the difference of a student,
    /// the centre of one class, and Mahalanobis' distance of a front end alone and of a distilled network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<DetectorName>,
    /// The layer whose output a detector of distances looks at; by default what a cnn's last dense layer reads, or an
    /// autoencoder's bottleneck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// Look at the mean of the layer over height and width; otherwise at each pixel by itself.
    pub pooled: bool,
    /// All pixels share their statistics; otherwise each has its own.
    pub shared: bool,
    /// Directions of the covariance beside its diagonal, 0 to 256; 0 takes elements as independent.
    pub rank: u16,
    /// Components of a mixture, or neighbours, 1 to 1024.
    pub components: u16,
    /// Radius of the box that smooths the anomaly map, 0 to 2.
    pub smooth_radius: u8,
    /// The score is the mean of this many largest values of the map, up to 64; 0 takes all.
    pub top_k: u16,
    /// Score of a classifier.
    pub score: ScoreName,
    /// Weigh each residual by the reciprocal of its deviation on normal images.
    pub normalise: bool,
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            kind: None,
            layer: None,
            pooled: true,
            shared: true,
            rank: 32,
            components: 64,
            smooth_radius: 1,
            top_k: 16,
            score: ScoreName::default(),
            normalise: true,
        }
    }
}

impl DetectorSettings {
    /// From map to score.
    pub fn pooling(&self) -> Pooling {
        Pooling { smooth_radius: self.smooth_radius, top_k: self.top_k }
    }
}

/// How the threshold is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// By rank: a bound on false alarms whatever the scores' distribution.
    #[default]
    Conformal,
    /// By how often the alarm rises in an hour of normal sound.
    PerHour,
    /// A quantile of a fitted gamma distribution.
    Gamma,
    /// The best F1 on labelled faults.
    F1,
    /// As conformal, with nothing held out: a model that is computed outright is fitted anew to all but a part of the samples, and
    /// judges that part.
    #[serde(alias = "cross-conformal")]
    CrossConformal,
}

/// `[threshold]`: from the scores of held-out normal samples to what is abnormal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdSettings {
    /// How it is chosen.
    pub method: MethodName,
    /// Share of normal samples above it, above 0 and below 1. Absent, `conformal` and `cross_conformal` take 0.02 or the smallest share
    /// that there are samples for, `gamma` takes 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// For `per_hour`, above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarms_per_hour: Option<f64>,
    /// Parts of `cross_conformal`, 2 to 100; absent, 5. As many as there are samples leave each out by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<u16>,
}

impl ThresholdSettings {
    fn check(&self) -> anyhow::Result<()> {
        let Self { method, alpha, false_alarms_per_hour: rate, folds } = *self;
        if let Some(alpha) = alpha {
            ensure!(alpha > 0.0 && alpha < 1.0, "threshold.alpha is {alpha}; above 0 and below 1");
            ensure!(
                matches!(method, MethodName::Conformal | MethodName::CrossConformal | MethodName::Gamma),
                "threshold.alpha is for threshold.method = \"conformal\", \"cross_conformal\" and \"gamma\"; leave it out"
            );
        }
        if let Some(folds) = folds {
            ensure!((2..=100).contains(&folds), "threshold.folds is {folds}; 2 to 100");
            ensure!(
                method == MethodName::CrossConformal,
                "threshold.folds is for threshold.method = \"cross_conformal\"; leave it out"
            );
        }
        ensure!(
            rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
            "threshold.false_alarms_per_hour is {}; above 0",
            rate.unwrap_or_default()
        );
        ensure!(
            rate.is_some() == (method == MethodName::PerHour),
            "threshold.false_alarms_per_hour and threshold.method = \"per_hour\" need each other; set both or neither"
        );
        Ok(())
    }
}

/// `[drift]`: when scores have moved away from normal, slowly and below the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSettings {
    /// Whether it is watched.
    pub watch: bool,
    /// Scores until normal ones are taken for a drift, in the mean; 100 to 1,000,000.
    pub average_run_length: u32,
    /// What a score may deviate without counting, in deviations of normal scores, 0 to 8; half of the smallest lasting change
    /// that is to be found soon.
    pub slack: f64,
    /// The most that one score counts, in deviations; above `slack`, up to 100.
    pub clip: f64,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self { watch: true, average_run_length: 20_000, slack: 0.5, clip: 8.0 }
    }
}

impl DriftSettings {
    fn check(&self) -> anyhow::Result<()> {
        let Self { average_run_length: length, slack, clip, .. } = *self;
        ensure!((100..=1_000_000).contains(&length), "drift.average_run_length is {length}; 100 to 1,000,000");
        ensure!((0.0..=8.0).contains(&slack), "drift.slack is {slack}; 0 to 8");
        ensure!(clip >= slack + 0.01 && clip <= 100.0, "drift.clip is {clip}; above drift.slack, at most 100");
        Ok(())
    }
}

/// What stands for the last scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum AggregateName {
    /// Their mean.
    #[default]
    Mean,
    /// The largest.
    Max,
    /// The mean of the `top_k` largest.
    TopK,
}

/// `[decision]`: from scores to the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionSettings {
    /// What stands for the last `scores` scores, and for all of a recording.
    pub aggregate: AggregateName,
    /// How many of the largest scores `top_k` takes the mean of, 1 to 64.
    pub top_k: u16,
    /// 1 to 4096; absent, 1 of images, and of sounds as many as half of the training recordings have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<u16>,
    /// Weight of the newest score in the exponential mean, above 0; 1 takes each score by itself.
    pub smoothing: f32,
    /// The alarm rises when this many of the last `window` scores were abnormal.
    pub required: u8,
    /// 1 to 32.
    pub window: u8,
    /// How far the score must fall for the alarm to end, as a share of the way from the threshold to the median of normal
    /// scores, 0 to 1.
    pub hysteresis: f32,
}

impl Default for DecisionSettings {
    fn default() -> Self {
        Self {
            aggregate: AggregateName::default(),
            top_k: 8,
            scores: None,
            smoothing: 1.0,
            required: 1,
            window: 1,
            hysteresis: 0.0,
        }
    }
}

impl DecisionSettings {
    /// The blob's word for what stands for the last scores.
    pub fn aggregate(&self) -> Aggregate {
        match self.aggregate {
            AggregateName::Mean => Aggregate::Mean,
            AggregateName::Max => Aggregate::Max,
            AggregateName::TopK => Aggregate::TopK(self.top_k),
        }
    }
}

/// `[auto]`: what a way to detect may take, where `detector.kind` is `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct AutoSettings {
    /// Most bytes of the blob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash: Option<usize>,
    /// Most bytes of the monitor's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<usize>,
}

impl AutoSettings {
    /// Which limit a blob of `flash` bytes, whose monitor has `ram`, is over; for people.
    pub fn exceeded(&self, flash: usize, ram: usize) -> Option<String> {
        let over = |key: &str, limit: Option<usize>, needed: usize| {
            let limit = limit.filter(|&limit| needed > limit)?;
            Some(format!("takes {needed} bytes, auto.{key} = {limit}"))
        };
        over("flash", self.flash, flash).or_else(|| over("ram", self.ram, ram))
    }
}

/// How ranges of activations are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationName {
    /// From the smallest to the largest value seen.
    #[default]
    Minmax,
    /// Without the outermost values.
    Percentile,
    /// The range with the smallest squared error.
    Mse,
}

/// What activations are quantized to; weights are int8 with either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ActivationsName {
    /// 8 bits: half the memory, the faster kernels.
    #[default]
    Int8,
    /// 16 bits, for detectors whose reconstruction error drowns in 8.
    Int16,
    /// 8 bits, unless 16 tell held-out normal samples better from defects made of them and fit.
    Auto,
}

impl ActivationsName {
    /// Its name, as in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Auto => "auto",
        }
    }

    /// The blob's word for it; of what is not chosen yet, that of the first choice.
    pub fn element(self) -> Element {
        match self {
            Self::Int8 | Self::Auto => Element::I8,
            Self::Int16 => Element::I16,
        }
    }
}

/// `[quantize]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizeSettings {
    /// Ranges of activations.
    pub calibration: CalibrationName,
    /// What activations are.
    pub activations: ActivationsName,
    /// Most bytes of the arena: where the model needs more, outputs lie closer to their inputs, and its first
    /// layers are computed in bands of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_budget: Option<usize>,
    /// Move biases by what rounding the weights does to mean inputs.
    pub bias_correction: bool,
}

impl Default for QuantizeSettings {
    fn default() -> Self {
        Self {
            calibration: CalibrationName::default(),
            activations: ActivationsName::default(),
            ram_budget: None,
            bias_correction: true,
        }
    }
}

/// A checked experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Name, written into the blob.
    pub name: String,
    /// What is learned.
    #[serde(default)]
    pub task: Task,
    /// Seed of everything random.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Folder of the data, absolute in a run folder's copy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// How the data are read; rate and bands of a sound front end are its own where they are not said.
    #[serde(default)]
    pub data_options: Options,
    /// Samples to input.
    #[serde(default)]
    pub front_end: FrontEndSettings,
    /// The network.
    #[serde(default)]
    pub model: ModelSettings,
    /// What a small network learns from.
    #[serde(default, skip_serializing_if = "TeacherSettings::is_default")]
    pub teacher: TeacherSettings,
    /// The loop.
    #[serde(default)]
    pub train: TrainSettings,
    /// Score.
    #[serde(default)]
    pub detector: DetectorSettings,
    /// Threshold.
    #[serde(default)]
    pub threshold: ThresholdSettings,
    /// Drift.
    #[serde(default)]
    pub drift: DriftSettings,
    /// Alarm.
    #[serde(default)]
    pub decision: DecisionSettings,
    /// Limits of what is chosen automatically.
    #[serde(default)]
    pub auto: AutoSettings,
    /// Quantization.
    #[serde(default)]
    pub quantize: QuantizeSettings,
}

fn default_seed() -> u64 {
    7
}

impl Experiment {
    /// Reads the file at `path` and applies `overrides`, each `key.path=value`.
    ///
    /// # Errors
    /// Where the file can't be read, isn't TOML, or says something that no experiment has; names the key.
    pub fn load(path: &Path, overrides: &[String]) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading the experiment {}", path.display()))?;
        Self::from_toml(&text, overrides).with_context(|| format!("in {}", path.display()))
    }

    /// Parses TOML and applies overrides.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn from_toml(text: &str, overrides: &[String]) -> anyhow::Result<Self> {
        let experiment: Self = if overrides.is_empty() {
            // Straight from the text, so that an error shows its line.
            toml::from_str(text)?
        } else {
            let mut table: toml::Table = toml::from_str(text)?;
            for setting in overrides {
                apply(&mut table, setting)?;
            }
            table.try_into().with_context(|| format!("after --set {}", overrides.join(" --set ")))?
        };
        experiment.check()?;
        Ok(experiment)
    }

    /// How the data are read, resolved.
    pub fn data_options(&self) -> Options {
        let mut options = self.data_options.clone();
        if let Some(sound) = &self.front_end.sound {
            options.rate = options.rate.or(Some(sound.sample_rate));
            options.bands = options.bands.or(Some(sound.features()));
        }
        options
    }

    /// The experiment of a candidate for `auto`: with `settings` instead.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn as_candidate(&self, settings: &[String]) -> anyhow::Result<Self> {
        let plain = DetectorSettings { kind: None, ..self.detector.clone() };
        Self::from_toml(&Self { detector: plain, ..self.clone() }.to_toml(), settings)
    }

    /// The data as this experiment trains on them: with variants of recordings, or made defects as a class, where it asks for those.
    ///
    /// # Errors
    /// A sample that no defect can be made of; names the file.
    pub fn seen<'d>(&self, data: &'d Dataset) -> anyhow::Result<Cow<'d, Dataset>> {
        match self.train.synthetic {
            0 if self.train.waveform.copies > 0 => {
                Ok(Cow::Owned(waveform::varied(data, &self.train.waveform, self.seed)?))
            }
            0 => Ok(Cow::Borrowed(data)),
            copies => Ok(Cow::Owned(synthetic::against_normal(data, copies, self.seed)?)),
        }
    }

    /// What the score is made of, resolved.
    pub fn detector(&self) -> DetectorName {
        self.detector.kind.unwrap_or(match self.task {
            Task::Autoencoder => DetectorName::Reconstruction,
            Task::Cnn => DetectorName::Classifier,
            Task::Features | Task::Distilled => DetectorName::Mahalanobis,
            Task::Student => DetectorName::Difference,
            Task::OneClass => DetectorName::Centre,
        })
    }

    /// What the outputs of a variational autoencoder mean.
    pub fn log_variance(&self) -> LogVariance {
        if self.front_end.sound.is_some() { LogVariance::FEATURES } else { LogVariance::IMAGE }
    }

    /// The loss, resolved.
    pub fn loss(&self) -> Loss {
        self.train.loss.unwrap_or(match self.task {
            Task::Autoencoder | Task::Features | Task::OneClass => Loss::Mse,
            Task::Cnn | Task::Distilled | Task::Student => Loss::CrossEntropy,
        })
    }

    /// SHA-256 of the resolved settings without the folder of the data, which has a hash of its own.
    pub fn hash(&self) -> [u8; 32] {
        let settings = Self { data: String::new(), ..self.clone() };
        let text = serde_json::to_string(&settings).expect("settings are plain data");
        Sha256::digest(text.as_bytes()).into()
    }

    /// The resolved settings as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("settings are plain data")
    }

    /// Whether a network is trained that says one vector, or one of each place, of a picture or a window: neither classes nor the input.
    pub fn is_drawn_together(&self) -> bool {
        matches!(self.task, Task::Distilled | Task::Student | Task::OneClass)
    }

    /// Whether a network learns from normal samples alone what it says: all but a classifier of classes that the data have.
    pub fn learns_from_normal(&self) -> bool {
        self.task != Task::Cnn || self.train.sections || !self.train.pretext.is_empty()
    }

    /// Checks what is learned without labels.
    fn check_learning(&self) -> anyhow::Result<()> {
        let Self { task, train, teacher, model, .. } = self;
        let from_teacher = matches!(task, Task::Distilled | Task::Student);
        let feeds = *task == Task::Cnn && train.synthetic == 0 && self.detector() != DetectorName::Classifier;
        ensure!(
            !train.sections || feeds || from_teacher,
            "train.sections is for a cnn whose layers feed a detector of distances: say task = \"cnn\" and detector.kind = \"mahalanobis\", \
             \"nearest\" or \"mixture\", without train.synthetic; or for a teacher: task = \"distilled\" or \"student\""
        );
        let pretext = &train.pretext;
        ensure!(
            pretext.is_empty() || feeds || from_teacher,
            "train.pretext is for a cnn whose layers feed a detector of distances: say task = \"cnn\" and detector.kind = \"mahalanobis\", \
             \"nearest\" or \"mixture\", without train.synthetic; or for a teacher: task = \"distilled\" or \"student\""
        );
        ensure!(
            pretext.is_empty() || !train.sections,
            "train.pretext and train.sections are two things to learn; take one of them out"
        );
        ensure!(
            (1..pretext.len()).all(|i| !pretext[..i].contains(&pretext[i])),
            "train.pretext names a task twice; each makes classes of its own"
        );
        let turns = train.augment.flip_vertical || train.augment.flip_horizontal || train.augment.rotation > 30.0;
        ensure!(
            !(pretext.contains(&Pretext::Rotation) && turns),
            "train.augment flips or turns by more than 30 degrees what train.pretext = rotation asks the turn of; take out one of them"
        );
        let sound = self.front_end.sound.as_ref();
        ensure!(
            pretext.is_empty() || sound.is_none_or(is_spectrogram),
            "train.pretext changes pictures or frames of a spectrogram; front_end.sound has statistics, moments, axes or another transform \
             in their place"
        );
        ensure!(!self.is_drawn_together() || train.loss.is_none(), "train.loss is given by the task; take it out");
        if !from_teacher {
            return Ok(());
        }
        ensure!(
            !pretext.is_empty() || train.sections,
            "a teacher has nothing to learn; say train.pretext, such as [\"rotation\", \"defects\"], or train.sections = true"
        );
        ensure!(
            teacher.channels.len() == model.channels.len() && teacher.channels.iter().all(|n| (1..=1024).contains(n)),
            "teacher.channels holds {} numbers; as many as model.channels, which has {}, from 1 to 1024",
            teacher.channels.len(),
            model.channels.len()
        );
        ensure!(
            (1..=8).contains(&teacher.convs_per_block),
            "teacher.convs_per_block is {}; 1 to 8",
            teacher.convs_per_block
        );
        ensure!(
            teacher.epochs >= 1 && teacher.match_epochs >= 1,
            "teacher.epochs and teacher.match_epochs are at least 1"
        );
        ensure!(
            teacher.shared < model.channels.len(),
            "teacher.shared is {}; below the number of blocks in model.channels, {}",
            teacher.shared,
            model.channels.len()
        );
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        let (model, train, detector) = (&self.model, &self.train, &self.detector);
        ensure!(!self.name.trim().is_empty(), "name is empty");
        ensure!(i64::try_from(self.seed).is_ok(), "seed is {}; at most 2^63 - 1", self.seed);
        ensure!(
            model.channels.iter().chain(&model.hidden).chain(&model.dense).all(|&n| (1..=4096).contains(&n)),
            "model.channels, model.hidden and model.dense hold numbers from 1 to 4096"
        );
        let conv = self.task == Task::Cnn || self.is_drawn_together() || model.kind == AutoencoderKind::Conv;
        ensure!(
            !conv || !model.channels.is_empty(),
            "model.channels is empty; a convolutional model needs at least one"
        );
        ensure!((1..=8).contains(&model.convs_per_block), "model.convs_per_block is {}; 1 to 8", model.convs_per_block);
        ensure!(
            model.residual.is_none_or(|axes| self.task == Task::Cnn && (1..=4096).contains(&axes)),
            "model.residual is a number from 1 to 4096, for task = \"cnn\""
        );
        ensure!(
            model.residual.is_none() || (train.pretext.is_empty() && train.quantization_aware.is_none()),
            "model.residual goes neither with train.pretext nor with train.quantization_aware; take out one of them"
        );
        ensure!((0.0..1.0).contains(&model.dropout), "model.dropout is {}; from 0 to below 1", model.dropout);
        ensure!((1..=4096).contains(&model.bottleneck), "model.bottleneck is {}; 1 to 4096", model.bottleneck);
        ensure!(model.patch <= 16, "model.patch is {}; 0 to 16", model.patch);
        ensure!((1..=16).contains(&model.patch_stride), "model.patch_stride is {}; 1 to 16", model.patch_stride);
        ensure!(
            model.patch == 0 || (self.task == Task::Features && self.front_end.sound.is_none()),
            "model.patch is for pictures and task = \"features\"; take it out"
        );
        ensure!(train.epochs >= 1, "train.epochs is 0; at least 1");
        ensure!(train.batch_size >= 1, "train.batch_size is 0; at least 1");
        ensure!(
            train.learning_rate.is_finite() && train.learning_rate > 0.0,
            "train.learning_rate is {}; a positive number",
            train.learning_rate
        );
        ensure!(
            train.weight_decay.is_finite() && train.weight_decay >= 0.0,
            "train.weight_decay is {}; 0 or more",
            train.weight_decay
        );
        if let Some(AwareSettings { epochs, learning_rate }) = train.quantization_aware {
            ensure!(epochs >= 1, "train.quantization_aware.epochs is 0; at least 1");
            ensure!(
                learning_rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
                "train.quantization_aware.learning_rate is {}; a positive number",
                learning_rate.unwrap_or_default()
            );
            ensure!(
                self.task == Task::Cnn || (self.task == Task::Autoencoder && model.kind != AutoencoderKind::Pca),
                "train.quantization_aware is for models that are trained by epochs; take it out, or change task or model.kind"
            );
        }
        ensure!((0.0..1.0).contains(&train.validation), "train.validation is {}; from 0 to below 1", train.validation);
        train.augment.check(self.front_end.sound.is_some())?;
        train.waveform.check(self.front_end.sound.is_some())?;
        ensure!(
            train.waveform.copies == 0 || train.synthetic == 0,
            "[train.waveform] and train.synthetic both make samples of the same recordings; take one out"
        );
        ensure!(
            self.front_end.sound.as_ref().is_none_or(is_spectrogram) || train.augment == Augment::default(),
            "[train.augment.sound] changes frames of a spectrogram; front_end.sound has statistics, moments, axes or another \
             transform in their place"
        );
        ensure!(detector.smooth_radius <= 2, "detector.smooth_radius is {}; 0 to 2", detector.smooth_radius);
        ensure!(detector.top_k <= 64, "detector.top_k is {}; at most 64", detector.top_k);
        self.threshold.check()?;
        self.drift.check()?;
        ensure!(
            train.synthetic == 0 || self.task == Task::Cnn,
            "train.synthetic is for a cnn, which tells made defects from normal samples; take it out, or say task = \"cnn\""
        );
        ensure!(
            train.patience == 0 || train.keep == Keep::Best,
            "train.patience waits for a better epoch and train.keep = \"last\" takes none; leave one out"
        );
        synthetic::Learned::new(&train.defects, train.defect_strength_min)?;
        ensure!(train.synthetic <= 64, "train.synthetic is {}; at most 64", train.synthetic);
        ensure!(detector.rank <= 256, "detector.rank is {}; at most 256", detector.rank);
        ensure!((1..=1024).contains(&detector.components), "detector.components is {}; 1 to 1024", detector.components);
        self.check_learning()?;
        match (self.task, self.detector()) {
            (
                Task::Distilled | Task::Student | Task::OneClass,
                DetectorName::Classifier | DetectorName::Reconstruction,
            ) => bail!(
                "detector.kind is classifier or reconstruction, but the task gives neither classes nor a reconstruction; take it out, or say \
                 mahalanobis, nearest or mixture"
            ),
            (task, DetectorName::Difference) if task != Task::Student => {
                bail!("detector.kind is difference, which needs task = \"student\"")
            }
            (task, DetectorName::Centre) if task != Task::OneClass => {
                bail!("detector.kind is centre, which needs task = \"one_class\"")
            }
            (Task::Autoencoder, DetectorName::Classifier) => {
                bail!("detector.kind is classifier, which needs classes; say task = \"cnn\"")
            }
            (Task::Cnn | Task::Features, DetectorName::Reconstruction) => {
                bail!("detector.kind is reconstruction, which needs task = \"autoencoder\"")
            }
            (Task::Features, DetectorName::Classifier) => {
                bail!(
                    "detector.kind is classifier, but task = \"features\" has no classes; say mahalanobis, nearest or mixture"
                )
            }
            _ => {}
        }
        let decision = &self.decision;
        ensure!(
            decision.smoothing > 0.0 && decision.smoothing <= 1.0,
            "decision.smoothing is {}; above 0, at most 1",
            decision.smoothing
        );
        ensure!((1..=32).contains(&decision.window), "decision.window is {}; 1 to 32", decision.window);
        ensure!(
            (1..=decision.window).contains(&decision.required),
            "decision.required is {}; 1 to decision.window, which is {}",
            decision.required,
            decision.window
        );
        ensure!((1..=64).contains(&decision.top_k), "decision.top_k is {}; 1 to 64", decision.top_k);
        ensure!(
            decision.scores.is_none_or(|scores| (1..=4096).contains(&scores)),
            "decision.scores is {}; 1 to 4096",
            decision.scores.unwrap_or_default()
        );
        ensure!((0.0..=1.0).contains(&decision.hysteresis), "decision.hysteresis is {}; 0 to 1", decision.hysteresis);
        let trained = self.task == Task::Autoencoder && model.kind != AutoencoderKind::Pca;
        ensure!(
            !model.variational || trained,
            "model.variational is for autoencoders of kind dense or conv; take it out, or change task or model.kind"
        );
        ensure!(
            !model.variational || matches!(train.loss, None | Some(Loss::Mse)),
            "model.variational has a loss of its own; take out train.loss"
        );
        match (self.task, self.loss()) {
            (Task::Autoencoder, Loss::CrossEntropy) => {
                bail!(
                    "train.loss is cross_entropy, which needs classes; an autoencoder takes mse or binary_cross_entropy"
                )
            }
            _ => Ok(()),
        }
    }
}

/// Whether an input is frames of bands of a spectrum and of nothing else.
fn is_spectrogram(sound: &Settings) -> bool {
    sound.transform == Transform::Spectrum && sound.statistics.is_none() && !sound.moments && sound.axes == 1
}

/// Sets `key.path=value` in `table`; the value is TOML, or a string where it is none.
fn apply(table: &mut toml::Table, setting: &str) -> anyhow::Result<()> {
    let Some((key, value)) = setting.split_once('=') else { bail!("--set {setting}: write key.path=value") };
    let value = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let (parents, last) = key.trim().rsplit_once('.').map_or((None, key.trim()), |(head, last)| (Some(head), last));
    let mut table = table;
    for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
        table = table
            .entry(part)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .with_context(|| format!("--set {setting}: {part} is no section"))?;
    }
    table.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough_and_overrides_win() {
        let set = ["train.epochs=3".to_string(), "model.kind=conv".into(), "train.augment.shift=2".into()];
        let experiment = Experiment::from_toml("name = \"a\"\n[train]\nepochs = 9", &set).unwrap();
        assert_eq!((experiment.train.epochs, experiment.train.batch_size), (3, 32));
        assert_eq!(experiment.model.kind, AutoencoderKind::Conv);
        assert_eq!(experiment.train.augment.shift, 2.0);
    }

    #[test]
    fn errors_name_the_key() {
        let message = |text: &str, set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_string()).collect();
            format!("{:#}", Experiment::from_toml(text, &set).unwrap_err())
        };
        assert!(message("name = \"a\"\n[train]\nepoch = 9", &[]).contains("epoch"));
        assert!(message("name = \"a\"", &["train.learning_rate=-1"]).contains("train.learning_rate"));
        assert!(message("name = \"a\"", &["train.speed=1"]).contains("speed"));
        assert!(message("name = \"a\"", &["train.quantization_aware.epochs=0"]).contains("quantization_aware.epochs"));
        let outright = ["train.quantization_aware={}", "model.kind=pca"];
        assert!(message("name = \"a\"", &outright).contains("train.quantization_aware is for models"));
        assert!(message("name = \"a\"", &["train"]).contains("key.path=value"));
        let augmented = "name = \"a\"\n[front_end.sound]\nmoments = true\n[train.augment.sound]\ngain_db = 3.0";
        assert!(message(augmented, &[]).contains("train.augment.sound"));
        assert!(Experiment::from_toml(augmented, &["front_end.sound.moments=false".to_string()]).is_ok());
        assert!(message("name = \"a\"", &["threshold.alpha=1.0"]).contains("threshold.alpha is 1"));
        assert!(message("name = \"a\"", &["threshold.method=f1", "threshold.alpha=0.1"]).contains("leave it out"));
        assert!(message("name = \"a\"", &["threshold.method=per_hour"]).contains("threshold.false_alarms_per_hour"));
        assert!(message("name = \"a\"", &["threshold.false_alarms_per_hour=1"]).contains("per_hour"));
        assert!(message("name = \"a\"", &["drift.average_run_length=99"]).contains("drift.average_run_length"));
        assert!(message("name = \"a\"", &["drift.slack=8"]).contains("drift.clip"));
        assert!(message("task = \"cnn\"", &[]).contains("name"));
    }

    #[test]
    fn what_is_learned_without_labels_fits_together() {
        let said = |text: &str| {
            Experiment::from_toml(&format!("name = \"a\"\n{text}"), &[]).map_err(|error| format!("{error:#}"))
        };
        let student = "task = \"student\"\n[model]\nchannels = [4, 8]\n[teacher]\nchannels = [8, 16]\n[train]\n";
        let is = |text: String, part: &str| said(&text).is_err_and(|error| error.contains(part));
        let good = said(&format!("{student}pretext = [\"rotation\", \"defects\"]")).expect("sound");
        assert_eq!(good.detector(), DetectorName::Difference);
        assert!(good.learns_from_normal());
        assert!(is(student.into(), "nothing to learn"));
        assert!(said(&format!("{student}sections = true")).is_ok());
        assert!(is(format!("{student}sections = true\npretext = [\"rotation\"]"), "two things"));
        assert!(is(format!("{student}pretext = [\"rotation\", \"rotation\"]"), "twice"));
        assert!(is(
            format!("{student}pretext = [\"rotation\"]\naugment = {{ flip_vertical = true }}"),
            "train.augment flips"
        ));
        assert!(is(format!("{student}pretext = [\"rotation\"]\nloss = \"mse\""), "train.loss"));
        assert!(is(format!("{student}pretext = [\"rotation\"]\nsynthetic = 1"), "train.synthetic"));
        let with = |teacher: &str| student.replace("channels = [8, 16]", teacher) + "pretext = [\"augmentation\"]";
        assert!(is(with("channels = [8]"), "teacher.channels holds 1"));
        assert!(is(with("channels = [8, 16]\nshared = 2"), "teacher.shared is 2"));
        assert!(is("task = \"cnn\"\n[train]\npretext = [\"rotation\"]".into(), "detector.kind"));
        let cnn = "task = \"cnn\"\n[train]\npretext = [\"patch_position\"]\n[detector]\nkind = \"nearest\"";
        assert!(said(cnn).is_ok_and(|experiment| experiment.learns_from_normal()));
        let statistics = format!("{cnn}\n[front_end.sound]\n[front_end.sound.statistics]");
        assert!(is(statistics, "train.pretext changes"));
        assert!(is("task = \"cnn\"\n[detector]\nkind = \"difference\"".into(), "task = \"student\""));
        assert!(is("[detector]\nkind = \"centre\"".into(), "task = \"one_class\""));
        assert!(is("task = \"one_class\"\n[detector]\nkind = \"reconstruction\"".into(), "mahalanobis"));
        assert_eq!(said("task = \"one_class\"").expect("sound").detector(), DetectorName::Centre);
    }

    #[test]
    fn the_hash_follows_the_settings_and_not_the_folder() {
        let a = Experiment::from_toml("name = \"a\"", &[]).unwrap();
        let moved = Experiment { data: "/elsewhere".into(), ..a.clone() };
        assert_eq!(a.hash(), moved.hash());
        let other = Experiment::from_toml("name = \"a\"\nseed = 8", &[]).unwrap();
        assert_ne!(a.hash(), other.hash());
        let again = Experiment::from_toml(&a.to_toml(), &[]).unwrap();
        assert_eq!(a, again);
    }
}
