//! neji on the PC: data, training, quantization, evaluation, simulation.
//!
//! Whatever decides a score is neji-app's and neji-engine's code, linked here: the host is board zero.
#![forbid(unsafe_code)]

pub mod augment;
pub mod auto;
pub mod baselines;
pub mod begin;
pub mod bench;
pub mod bootstrap;
pub mod calibrate;
pub mod cli;
pub mod closed;
pub mod conformance;
pub mod dataset;
pub mod detect;
pub mod element;
pub mod evaluate;
pub mod experiment;
#[cfg(feature = "train")]
pub mod export;
pub mod files;
pub mod fit;
pub mod fold;
pub mod frontend;
pub mod graph;
pub mod inspect;
pub mod linear;
pub mod localize;
pub mod lowered;
#[cfg(feature = "train")]
pub mod model;
pub mod pack;
pub mod plan;
pub mod pretext;
pub mod preview;
pub mod profile;
pub mod project;
pub mod quantize;
pub mod render;
pub mod report;
pub mod residual;
pub mod run;
pub mod scenario;
pub mod simulate;
pub mod synthetic;
pub mod tensor_file;
pub mod tflite;
pub mod threshold;
#[cfg(feature = "train")]
pub mod train;
pub mod trial;
