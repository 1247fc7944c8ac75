//! Rendered data: what neji can be tried with when there are no pictures or sounds yet.

pub mod defect;
pub mod machine;
pub mod noise;
pub mod screw;
pub mod set;

pub use defect::{Defect, DefectKind};
pub use machine::{MachineSettings, write_machine_set};
pub use screw::{Scene, render};
pub use set::{Layout, SetSettings, write_set};
