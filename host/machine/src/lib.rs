//! The boards that neji knows: what they declare of themselves, building their firmware, running it in QEMU,
//! what its image takes.
//!
//! A board is a package of the `boards` workspace with a `[package.metadata.neji]` table; nothing else lists it.
#![forbid(unsafe_code)]

pub mod bench;
pub mod board;
pub mod live;
pub mod mix;
mod plugin;
pub mod profile;
pub mod qemu;
pub mod run;
pub mod sizes;
pub mod stack;
mod thumb;
pub mod toolchain;

pub use bench::Counts;
pub use board::{Board, Core, Emulator, Settings};
pub use live::Live;
pub use mix::{Cycles, Kind};
pub use profile::{Profile, Tally};
pub use qemu::{Emulation, Fault, Options, emulate};
pub use run::{Overrun, Pace, Run, Stream, rises};
pub use sizes::Sizes;
pub use stack::Bounds;
