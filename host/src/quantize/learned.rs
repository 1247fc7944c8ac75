//! `ranges.json`: ranges of activations that were learned with the weights.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::calibrate::Range;
use crate::experiment::ActivationsName;
use crate::graph::Graph;

/// The ranges that a model was trained to be rounded in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedRanges {
    /// What activations were in training.
    pub activations: ActivationsName,
    /// Each node's that has a range of its own.
    pub ranges: Vec<LearnedRange>,
}

/// The range of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedRange {
    /// Name of the node.
    pub node: String,
    /// Smallest value, at most 0.
    pub low: f32,
    /// Largest value, at least 0.
    pub high: f32,
}

impl LearnedRanges {
    /// Checks what was read.
    ///
    /// # Errors
    /// A range that is none; names the node.
    pub fn check(&self) -> Result<()> {
        for LearnedRange { node, low, high } in &self.ranges {
            ensure!(
                low.is_finite() && high.is_finite() && *low <= 0.0 && *high >= 0.0,
                "the range of {node} is from {low} to {high}"
            );
        }
        Ok(())
    }

    /// Puts them in the place of the calibrated `ranges` of `graph`'s nodes; what has none, such as the mean that a detector looks at,
    /// keeps its own.
    pub fn put(&self, graph: &Graph, ranges: &mut [Range]) {
        for (node, range) in graph.nodes.iter().zip(ranges) {
            if let Some(found) = self.ranges.iter().find(|found| found.node == node.name) {
                *range = Range { low: found.low, high: found.high };
            }
        }
    }
}
