//! Rendered data: what neji can be tried with when there are no pictures yet.

pub mod defect;
pub mod noise;
pub mod screw;
pub mod set;

pub use defect::{Defect, DefectKind};
pub use screw::{Scene, render};
pub use set::{Layout, SetSettings, write_set};
