//! What the postcard section says before the operators.

use serde::{Deserialize, Serialize};

use crate::detector::{Decision, Detector, Fusion, Reconstruction, Weights};
use crate::front_end::FrontEnd;
use crate::tensor::{Constant, Element, Tensor};

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

impl<'a> Provenance<'a> {
    /// Of a blob that was not trained here: hashes and seed are 0, nothing was measured, and the version is this one's.
    pub const fn of(name: &'a str) -> Self {
        Self {
            neji_version: env!("CARGO_PKG_VERSION"),
            name,
            classes: "",
            data_hash: [0; 32],
            config_hash: [0; 32],
            seed: 0,
            metrics: Metrics { auroc_float: f32::NAN, auroc_quantized: f32::NAN },
        }
    }
}

/// How a model whose input is a window sliding over time is run: once for every few new rows, which are its input.
///
/// The operators are as many lists as there are phases, of one length; run `r` is list `r % phases`
/// ([`Model::phase`](crate::Model::phase)). What a list reads of the rows before the new ones, it finds where earlier runs
/// left it, in the first `state_bytes` of the arena, which nothing else may write between runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streaming {
    /// Lists of operators, at least 1.
    pub phases: u16,
    /// From which run on the window is full, and the output that of the model without streaming; counted from 1.
    pub full_after: u16,
    /// Bytes at the beginning of the arena that live from run to run.
    pub state_bytes: u32,
}

impl Streaming {
    /// The number of the run after run `run`; counts on and on, and wraps where neither phase nor fullness changes.
    pub const fn after(&self, run: u32) -> u32 {
        let next = run.wrapping_add(1);
        // Back by whole rounds of the phases, far behind the first full window.
        if next < 1 << 24 || self.phases == 0 { next } else { (1 << 17) + (next - (1 << 17)) % self.phases as u32 }
    }
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
    /// None where every run sees its whole input.
    pub streaming: Option<Streaming>,
    /// The model's input; the new rows where it streams.
    pub input: Tensor,
    /// The model's output.
    pub output: Tensor,
    /// How many operators follow.
    pub operator_count: u16,
}

impl Plan<'_> {
    /// Calls `change` on every constant of front end and detector, so that they can be moved.
    pub fn for_each_constant_mut(&mut self, mut change: impl FnMut(&mut Constant)) {
        match &mut self.front_end {
            FrontEnd::Raw => {}
            FrontEnd::Image(config) => {
                let registration = config.alignment.as_mut().and_then(|alignment| alignment.registration.as_mut());
                registration.into_iter().for_each(|registration| change(&mut registration.template));
            }
            FrontEnd::LogMel(config) => {
                let tables = [&mut config.window, &mut config.sine, &mut config.bands, &mut config.weights];
                tables.into_iter().chain([&mut config.quantizers]).for_each(&mut change);
            }
        }
        match &mut self.detector {
            Detector::Reconstruction(Reconstruction { weights, .. }) => match weights {
                Weights::Elements(constant) | Weights::Predicted(constant) => change(constant),
                Weights::One => {}
            },
            Detector::Distance(distance) => distance.for_each_constant_mut(change),
            Detector::Fusion(Fusion { first, second, .. }) => {
                first.for_each_constant_mut(&mut change);
                second.for_each_constant_mut(change);
            }
            Detector::None | Detector::Classifier(_) => {}
        }
    }
}
