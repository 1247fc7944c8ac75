//! What the fuzz targets share: blobs made of any bytes, and a model put through everything a device does with it.
#![forbid(unsafe_code)]

mod blob;
mod exercise;

pub use blob::each_model;
pub use exercise::exercise;
