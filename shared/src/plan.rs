//! What the postcard section says before the operators.

use serde::{Deserialize, Serialize};

use crate::detector::{Decision, Detector};
use crate::front_end::FrontEnd;
use crate::tensor::{Element, Tensor};

/// Figures measured when the blob was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// AUROC of the float model on the evaluation data; NaN where there was none.
    pub auroc_float: f32,
    /// AUROC of this blob on the same data.
    pub auroc_quantized: f32,
}

/// Where a blob comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Provenance<'a> {
    /// Version of neji that wrote the blob.
    pub neji_version: &'a str,
    /// Name of the task or experiment.
    pub name: &'a str,
    /// Class names joined by newlines, in the order of the output; empty for other detectors.
    pub classes: &'a str,
    /// SHA-256 of the training data: file names and contents in order.
    pub data_hash: [u8; 32],
    /// SHA-256 of the settings.
    pub config_hash: [u8; 32],
    /// Seed of the training.
    pub seed: u64,
    /// What was measured.
    pub metrics: Metrics,
}

/// The head of the postcard section; `operator_count` operators follow it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plan<'a> {
    /// Where the blob comes from.
    #[serde(borrow)]
    pub provenance: Provenance<'a>,
    /// Samples to input.
    pub front_end: FrontEnd,
    /// Output to score.
    pub detector: Detector,
    /// Scores to alarm.
    pub decision: Decision,
    /// What all activations are.
    pub element: Element,
    /// The model's input.
    pub input: Tensor,
    /// The model's output.
    pub output: Tensor,
    /// How many operators follow.
    pub operator_count: u16,
}
