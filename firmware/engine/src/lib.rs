//! int8 inference for microcontrollers: TensorFlow Lite's arithmetic without allocation, floats or panics.
//!
//! The engine walks the operators of a [`Model`](neji_format::Model) that
//! [`Model::parse`](neji_format::Model::parse) has accepted, decodes each when it is reached and runs it on the
//! caller's arena, in which the host has planned every tensor. All checks were made by the parser, so running can only
//! fail for an arena that is too short, or for int16 activations misaligned or on kernels without them.
//!
//! Arithmetic: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
//! Inference", CVPR 2018, and TensorFlow Lite's int8 specification; [`requantize`](mod@requantize) is the one rounding rule.
//!
//! - `ops` unpacks an operator and hands slices to `kernels`;
//! - `kernels` are the loops, written once over the [`Isa`] type parameter;
//! - [`isa`] holds the block operations that an instruction set may speed up.
#![no_std]
#![deny(unsafe_code)]

mod arena;
mod blocks;
mod element;
pub mod engine;
pub mod error;
pub mod features;
pub mod isa;
mod kernels;
mod ops;
pub mod requantize;

pub use engine::Engine;
pub use error::RunError;
#[cfg(not(target_arch = "arm"))]
pub use isa::Host;
#[cfg(target_arch = "arm")]
pub use isa::{ArmDsp, ArmMve, ArmV7m};
pub use isa::{Int8Only, Isa, Portable};
