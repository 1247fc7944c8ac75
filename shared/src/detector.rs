//! Parameters of the detector (output tensor to score) and of the decision (scores to alarm). The arithmetic is
//! neji-app's.

use serde::{Deserialize, Serialize};

use crate::quant::Multiplier;
use crate::tensor::Constant;

/// Score from what an autoencoder fails to reconstruct.
///
/// 1. Residual of element i, in 1/16 of the input's step: `r = 16 (x - zero_point_x) - requantize(y - zero_point_y, output_to_residual)`.
/// 2. Normalised: `z = clamp((r * weight[i] + 2^13) >> 14, -4095, 4095)`; without weights `z = clamp(r, -4095, 4095)`.
/// 3. Per pixel the mean over channels of `z^2`: the anomaly map, which [`Pooling`] makes the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconstruction {
    /// `16 * scale_output / scale_input`.
    pub output_to_residual: Multiplier,
    /// What residuals are weighed by.
    pub weights: Weights,
    /// Map to score.
    pub pooling: Pooling,
}

/// Reciprocals of the deviations of residuals, in steps of the input: u16 little-endian, Q14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weights {
    /// All are 1.
    One,
    /// One an element, known from normal data.
    Elements(Constant),
    /// The model says them. The output has twice the input's rows: the reconstruction, then as many rows of what stands for
    /// log-variances. The constant has 256 weights, one for each step of those from the lowest up; of int16 the upper byte
    /// counts.
    ///
    /// With it the score is the last term of a variational autoencoder's loss alone, `1/2 sum (x - mu)^2 / sigma^2`, times 2 and
    /// divided by the number of elements (Matsubara et al., arXiv 1807.05800).
    Predicted(Constant),
}

/// From an anomaly map to a score.
///
/// The map is smoothed: each value becomes the mean over a box of `2 * smooth_radius + 1` squared, clipped at the border. The
/// score is the mean of its `top_k` largest values, or of all where `top_k` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pooling {
    /// 0 to 2.
    pub smooth_radius: u8,
    /// Up to 64.
    pub top_k: u16,
}

impl Pooling {
    /// The mean of the map as it is.
    pub const MEAN: Self = Self { smooth_radius: 0, top_k: 0 };
}

/// Score from how far the output lies from normal outputs: the distance of Mahalanobis under a covariance of low rank above a
/// diagonal.
///
/// Each pixel of the output is a vector of its channels, `C` long. With the output's values `y` in 1/16 of a step of int8, or in
/// steps of int16:
///
/// ```text
/// z[i] = clamp(((y[i] - mean[i]) * weight[i] + half) >> shift, -4095, 4095)          1/16 of a deviation
/// p[k] = (sum_i basis[k][i] z[i] + 2^10) >> 11                                     1/256 of a deviation
/// d    = (sum_i z[i]^2 - sum_k ((p[k]^2 >> 8) share[k] >> 16)) / C
/// ```
///
/// `d` is the anomaly map, which [`Pooling`] makes the score. With covariance `S = D^(1/2) (v I + sum_k (l[k] - v) b[k] b[k]') D^(1/2)`
/// the weights are `(v D)^(-1/2)`, the basis is `b` and `share[k] = 1 - v / l[k]` (the inverse by Woodbury's identity; Tipping and
/// Bishop, Probabilistic principal component analysis, 1999). Shares of 1 leave the residual of a principal component
/// analysis, no basis leaves independent elements.
///
/// Without a basis it is the score of two more detectors. Where the output is what a student says less what it learned from, `d` is their
/// squared difference at each pixel, each channel in units of its deviation on normal samples (Batzner, Heckler and König, EfficientAD,
/// 2024). Where it is a difference from the centre of one class, with means of 0 and one weight for all, `d` is the squared distance from
/// that (Ruff et al., Deep one-class classification, 2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mahalanobis {
    /// True where the statistics are those of any pixel: `C` means. Otherwise each pixel has its own.
    pub shared: bool,
    /// i16 little-endian: means of normal outputs, in units of `y`.
    pub means: Constant,
    /// u16 little-endian, as many as there are means: 16 times the reciprocal of the deviation, in Q`shift`.
    pub weights: Constant,
    /// 0 to 30.
    pub shift: u8,
    /// i16 little-endian, Q15: for each share a vector as long as the means; unit vectors of each pixel.
    pub basis: Constant,
    /// u16 little-endian, Q16: what is taken off for each vector of the basis. Their number is the rank, at most 256.
    pub shares: Constant,
    /// Map to score.
    pub pooling: Pooling,
}

/// Score from the nearest of some places where normal outputs are: neighbours of a coreset, or a mixture of Gaussians.
///
/// Each pixel of the output is a vector of its channels, `C` long, in the units of [`Mahalanobis`]; where it lies makes no
/// difference.
///
/// ```text
/// z[j][i] = clamp(((y[i] - mean[j][i]) * weight[j][i] + half) >> shift, -4095, 4095)
/// d       = min_j (bias[j] + sum_i z[j][i]^2 / C)
/// ```
///
/// `d` is the anomaly map. Without biases and with one row of weights for all it is the squared distance to the nearest neighbour;
/// with `bias[j] = 256 / C * (log det S[j] - 2 log w[j])`, counted from the smallest, it is twice the negative logarithm of the
/// most likely component of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mixture {
    /// i16 little-endian: rows of `C`, one a component; 1 to 1024 of them.
    pub means: Constant,
    /// u16 little-endian, Q`shift`: a row for each component, or one for all.
    pub weights: Constant,
    /// 0 to 30.
    pub shift: u8,
    /// u32 little-endian, one a component, in units of the map.
    pub biases: Constant,
    /// Map to score.
    pub pooling: Pooling,
}

/// Which number a classifier's score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClassifierScore {
    /// The output are logits; the score is the largest abnormal logit less the normal one: the log-odds against the
    /// nearest rival, which do not saturate as int8 probabilities do.
    Margin,
    /// The output are probabilities; the score is one minus the normal one.
    Probability,
}

/// Score from a classifier that knows the normal class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classifier {
    /// Index of the normal class.
    pub normal_class: u16,
    /// Logits or probabilities. Scores are in 1/256 of the output's step.
    pub score: ClassifierScore,
}

/// How far an output lies from normal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distance {
    /// From their mean.
    Mahalanobis(Mahalanobis),
    /// From the nearest of some places where they are.
    Mixture(Mixture),
}

impl Distance {
    /// From map to score.
    pub const fn pooling(&self) -> Pooling {
        match self {
            Self::Mahalanobis(params) => params.pooling,
            Self::Mixture(params) => params.pooling,
        }
    }

    /// Calls `change` on each of its tables.
    pub fn for_each_constant_mut(&mut self, change: impl FnMut(&mut Constant)) {
        match self {
            Self::Mahalanobis(Mahalanobis { means, weights, basis, shares, .. }) => {
                [means, weights, basis, shares].into_iter().for_each(change);
            }
            Self::Mixture(Mixture { means, weights, biases, .. }) => {
                [means, weights, biases].into_iter().for_each(change);
            }
        }
    }
}

/// The weighed sum of two distances, as of what is short and of what is long in a window of sound.
///
/// The first looks at the output's first `rows`, the second at the rows after them. With their scores `a` and `b` the score is
/// `(weights[0] a + weights[1] b) >> 8`; the anomaly map is the first's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fusion {
    /// At least 1, and fewer than the output has.
    pub rows: u16,
    /// Of the first rows.
    pub first: Distance,
    /// Of the others.
    pub second: Distance,
    /// Q8.
    pub weights: [u16; 2],
}

/// How the output tensor becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detector {
    /// None: the model is run for its output alone.
    None,
    /// An autoencoder's residual. The input must outlive the run.
    Reconstruction(Reconstruction),
    /// A class's share.
    Classifier(Classifier),
    /// The distance from normal outputs.
    Distance(Distance),
    /// The distances of the output's first rows and of the others.
    Fusion(Fusion),
}

/// What stands for the last scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregate {
    /// Their mean, rounded down.
    Mean,
    /// The largest.
    Max,
    /// The mean of this many largest ones, rounded down; 1 to 64.
    TopK(u16),
}

/// How a threshold was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThresholdMethod {
    /// Somebody gave it: nothing is promised.
    Given,
    /// Split-conformal: of new normal samples at most the share `level` lies above it, in the mean over sets of `samples`
    /// (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005).
    Conformal,
    /// The alarm rises at most `level` times an hour of normal samples; `samples` counts seconds.
    PerHour,
    /// The quantile `1 - level` of a gamma distribution that was fitted to normal scores: right where they follow one.
    Gamma,
    /// The best F1 on labelled faults, which it has therefore seen.
    BestF1,
    /// Cross-conformal: as conformal, by scores of the samples that the model was fitted to, each under a model of others. About the
    /// share `level` of new normal samples lies above it (Vovk, Cross-conformal predictors, 2015).
    CrossConformal,
}

/// Where a threshold comes from, for people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// How it was chosen.
    pub method: ThresholdMethod,
    /// What the method promises; 0 where it promises nothing.
    pub level: f32,
    /// How many normal scores it was chosen by, or how many seconds.
    pub samples: u32,
    /// The model was not trained on them. Where it was, nothing is promised.
    pub held_out: bool,
}

impl Basis {
    /// A threshold that somebody gave.
    pub const GIVEN: Self = Self { method: ThresholdMethod::Given, level: 0.0, samples: 0, held_out: false };
}

/// What is known of the scores of normal inputs, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normal {
    /// Their mean.
    pub location: i32,
    /// Their standard deviation; 1 to 2^30.
    pub scale: u32,
}

/// When scores have drifted away from normal: a CUSUM to either side (Page, Continuous inspection schemes, Biometrika 41, 1954).
///
/// Of each score `x = clamp((score - location) * 256 / scale, -clip, clip)` in 1/256 deviations, rounded down; then
/// `higher = clamp(higher + x - slack, 0, 2 * limit)` and `lower = clamp(lower - x - slack, 0, 2 * limit)`. Scores have drifted
/// once one of the two is above `limit`, and until it is 0 again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What a score may deviate without counting, in 1/256 deviations.
    pub slack: u16,
    /// The most that one score counts; above `slack`, up to 32767.
    pub clip: u16,
    /// 1 to 2^24.
    pub limit: u32,
}

/// How scores become an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What stands for the last `scores` scores.
    pub aggregate: Aggregate,
    /// 1 to 4096; before there are as many, nothing is decided.
    pub scores: u16,
    /// A smoothed score above this is abnormal.
    pub threshold: i32,
    /// Once in alarm, a smoothed score must fall to or below this to count as normal; at most `threshold`.
    pub release: i32,
    /// Weight of the newest aggregate in the exponential mean, Q15; 32768 takes each by itself.
    pub smoothing: u16,
    /// The alarm rises when this many of the last `window` smoothed scores were abnormal.
    pub required: u8,
    /// 1 to 32.
    pub window: u8,
    /// Real size of one score step, for people.
    pub score_unit: f32,
    /// Where the threshold comes from.
    pub basis: Basis,
    /// What a device's own calibration starts from, and what drift is measured by; none where no normal scores were seen.
    pub normal: Option<Normal>,
    /// When scores have drifted, where that is watched; needs `normal`.
    pub drift: Option<Drift>,
}

impl Decision {
    /// Each score by itself, against a threshold of 0, in steps of 1: what others are changed from.
    pub const EACH: Self = Self {
        aggregate: Aggregate::Mean,
        scores: 1,
        threshold: 0,
        release: 0,
        smoothing: 1 << 15,
        required: 1,
        window: 1,
        score_unit: 1.0,
        basis: Basis::GIVEN,
        normal: None,
        drift: None,
    };
}
