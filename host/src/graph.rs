//! The float graph between training and quantization, and its executor.
//!
//! Training ends in a [`Graph`]; what follows (folding, calibration, quantization) knows nothing of the trainer. Nodes
//! stand in order of execution: node 0 is the input, the last one the output. All tensors are NHWC with N = 1.

mod check;
mod execute;

pub use check::window_output;

use std::path::Path;

use anyhow::{Context, Result, bail};
use neji_format::{Shape, Window};
use serde::{Deserialize, Serialize};

use crate::files::write_whole;

const MAGIC: &[u8; 8] = b"NEJIGRF1";

/// A float model.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// Nodes in order of execution.
    pub nodes: Vec<Node>,
}

/// One tensor of a graph and how it is computed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Node {
    /// Name, for people.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Indices of the nodes it reads, all below its own.
    pub inputs: Vec<usize>,
    /// Shape of its output.
    pub shape: Shape,
}

/// What a node computes. Layouts are those of the int8 operators of the same name in [`neji_format::operator`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Op {
    /// The model's input.
    Input,
    /// 2-D convolution.
    Conv2d {
        /// OHWI.
        weights: Vec<f32>,
        /// One an output channel.
        bias: Vec<f32>,
        /// Geometry.
        window: Window,
    },
    /// Depthwise convolution; output channel `c` reads input channel `c / depth_multiplier`.
    DepthwiseConv2d {
        /// `[1, H, W, channels_out]`.
        weights: Vec<f32>,
        /// One an output channel.
        bias: Vec<f32>,
        /// Geometry.
        window: Window,
    },
    /// Transposed convolution; the output's size is the node's shape.
    TransposeConv2d {
        /// OHWI.
        weights: Vec<f32>,
        /// One an output channel.
        bias: Vec<f32>,
        /// Geometry.
        window: Window,
    },
    /// Dense layer over the flattened input.
    FullyConnected {
        /// `[features_out, features_in]`.
        weights: Vec<f32>,
        /// One an output feature.
        bias: Vec<f32>,
    },
    /// `gamma (x - mean) / sqrt(variance + epsilon) + beta` per channel.
    BatchNorm {
        /// One a channel.
        gamma: Vec<f32>,
        /// One a channel.
        beta: Vec<f32>,
        /// One a channel.
        mean: Vec<f32>,
        /// One a channel.
        variance: Vec<f32>,
        /// Added to the variance.
        epsilon: f32,
    },
    /// A function of each element.
    Activation(Activation),
    /// Largest value of a window; padding never wins.
    MaxPool2d {
        /// Geometry.
        window: Window,
    },
    /// Mean over the window's elements inside the input.
    AveragePool2d {
        /// Geometry.
        window: Window,
    },
    /// Sum over the window's elements inside the input.
    SumPool2d {
        /// Geometry.
        window: Window,
    },
    /// Mean over height and width.
    Mean,
    /// Sum of two tensors.
    Add,
    /// Joins tensors: axis 0 rows, 1 columns, 2 channels.
    Concat {
        /// 0 to 2.
        axis: u8,
    },
    /// Surrounds the input with zeros.
    Pad {
        /// Rows above.
        top: u16,
        /// Rows below.
        bottom: u16,
        /// Columns to the left.
        left: u16,
        /// Columns to the right.
        right: u16,
    },
    /// The same elements in another shape.
    Reshape,
    /// Nearest neighbour upsampling.
    ResizeNearest {
        /// Rows out per row in.
        factor_height: u16,
        /// Columns out per column in.
        factor_width: u16,
    },
    /// Softmax over the channels of each pixel.
    Softmax,
}

/// A function of one element.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x`, or this times `x` where negative.
    LeakyRelu(f32),
    /// `1 / (1 + exp(-x))`.
    Logistic,
    /// Hyperbolic tangent.
    Tanh,
    /// `x relu6(x + 3) / 6`.
    HardSwish,
}

impl Activation {
    /// The function, in f64.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu(alpha) => {
                if x < 0.0 {
                    f64::from(alpha) * x
                } else {
                    x
                }
            }
            Self::Logistic => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        }
    }
}

impl Graph {
    /// Shape of the input.
    ///
    /// # Panics
    /// Without nodes.
    pub fn input_shape(&self) -> Shape {
        self.nodes[0].shape
    }

    /// Shape of the output.
    ///
    /// # Panics
    /// Without nodes.
    pub fn output_shape(&self) -> Shape {
        self.nodes[self.nodes.len() - 1].shape
    }

    /// Writes the graph to a temporary file beside `path` and renames it: the file is whole or not there.
    ///
    /// # Errors
    /// Where the graph is not sound or the file can't be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.check()?;
        let mut bytes = MAGIC.to_vec();
        bytes = postcard::to_extend(self, bytes).context("encoding the graph")?;
        write_whole(path, &bytes)
    }

    /// Reads a graph and checks it.
    ///
    /// # Errors
    /// Where the file can't be read, is no graph, or a node is not sound; the message names the node.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let Some(body) = bytes.strip_prefix(MAGIC) else {
            bail!("{} is no graph of this version of neji; train again", path.display());
        };
        let graph: Self = postcard::from_bytes(body)
            .with_context(|| format!("{} is damaged: it does not decode; train again", path.display()))?;
        graph.check().with_context(|| format!("{} is damaged", path.display()))?;
        Ok(graph)
    }
}
