//! What the fuzz targets share: blobs made of any bytes, changes of plans, and a model put through everything a device does.
#![forbid(unsafe_code)]

mod blob;
mod exercise;
mod mutate;

pub use blob::each_model;
pub use exercise::exercise;
pub use mutate::mutate;
