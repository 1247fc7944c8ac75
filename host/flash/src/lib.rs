//! Writing firmware and a model to a board: only what changed, read back, with the device's own word for it.
//!
//! [`write`](write()) does it over any [`Target`]; there are [`Emulated`] boards in QEMU, by its GDB stub, and with the feature
//! `probe` real ones behind a debug probe, by probe-rs. [`uf2`] writes the files that some boards take as a USB drive. What a firmware
//! that runs says, and hears, over a probe is [`rtt`]'s.
//!
//! What is to be written are [`Part`]s:
//!
//! ```
//! use neji_flash::{Part, uf2};
//!
//! let model = Part::model(0x1010_0000, b"NEJI and so on");
//! let file = uf2::file(&[model], 0xe48b_ff56)?;
//! assert_eq!(file.len() % 512, 0);
//! # Ok::<(), neji_flash::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod error;
pub mod gdb;
pub mod greeting;
pub mod guard;
pub mod image;
pub mod plan;
#[cfg(feature = "probe")]
pub mod probe;
pub mod qemu;
pub mod rtt;
pub mod target;
pub mod uf2;
pub mod write;

pub use error::{Error, Result};
pub use greeting::{Listener, greeting};
pub use guard::guarded;
pub use image::{Digest, Part};
pub use qemu::Emulated;
pub use target::{Sector, Target};
pub use write::{Event, Options, Outcome, Written, write};
