//! What the fuzz targets share: blobs made of any bytes, changes of plans, and a model put through everything a device does.
#![forbid(unsafe_code)]

mod blob;
mod echo;
mod exercise;
mod life;
mod mutate;

pub use blob::each_model;
pub use echo::echoes;
pub use exercise::{exercise, learn};
pub use life::live;
pub use mutate::mutate;
