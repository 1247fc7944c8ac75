//! Parameters of the detector (output tensor to score) and of the decision (scores to alarm). The arithmetic is
//! neji-app's.

use serde::{Deserialize, Serialize};

use crate::quant::Multiplier;
use crate::tensor::Constant;

/// Score from what an autoencoder fails to reconstruct.
///
/// 1. Residual of element i, in 1/16 of the input's step: `r = 16 (x - zero_point_x) - requantize(y - zero_point_y, output_to_residual)`.
/// 2. Normalised: `z = clamp((r * weight[i] + 2^13) >> 14, -4095, 4095)`; without weights `z = clamp(r, -4095, 4095)`.
/// 3. Per pixel the mean over channels of `z^2`, then the mean over a box of `2 * smooth_radius + 1` squared, clipped at the
///    border: the anomaly map.
/// 4. The score is the mean of the map's `top_k` largest values, or of all where `top_k` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconstruction {
    /// `16 * scale_output / scale_input`.
    pub output_to_residual: Multiplier,
    /// u16 little-endian, Q14, one an element: the reciprocal of the residual's deviation on normal data, in steps of the
    /// input.
    pub weights: Option<Constant>,
    /// 0 to 2.
    pub smooth_radius: u8,
    /// Up to 64.
    pub top_k: u16,
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

/// How the output tensor becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detector {
    /// None: the model is run for its output alone.
    None,
    /// An autoencoder's residual. The input must outlive the run.
    Reconstruction(Reconstruction),
    /// A class's share.
    Classifier(Classifier),
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
    };
}
