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

use indicatif::{ProgressBar, ProgressStyle};

/// Seed of picture or clip `index`: neighbouring seeds and indices give unrelated ones (SplitMix64's finalizer).
pub(crate) fn item_seed(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(index.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A bar for the rendering of `count` pictures or clips.
fn progress(count: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("rendering {bar:40} {pos}/{len} {elapsed} (left {eta})");
    ProgressBar::new(count as u64).with_style(style.expect("a fixed template"))
}
