//! Front ends: samples to the model's input.

pub mod align;
pub mod image;
pub mod log_mel;
pub mod mask;
pub mod photometric;
pub mod register;
pub mod resize;
