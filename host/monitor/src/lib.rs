//! neji-monitor: the PC's end of the live link.
//!
//! A [`Line`] opens a [`Port`] to a board: a serial port, or a board in QEMU. The [`Client`] says and hears frames over it, asks again
//! where nothing answers and opens it anew where it closes. What it hears goes to a [`View`], which a terminal shows ([`terminal`]),
//! to lines for scripts ([`lines`]), and to a [`Keeper`], which writes recordings that `neji simulate` plays again.
#![forbid(unsafe_code)]

pub mod client;
pub mod draw;
pub mod emulated;
pub mod lines;
pub mod port;
pub mod record;
pub mod session;
pub mod svg;
pub mod terminal;
pub mod view;

pub use client::{Client, Heard};
pub use emulated::{Emulated, Input, Pace};
pub use port::{Line, Port, SerialLine};
pub use record::{Keeper, Recorded};
pub use session::{Session, Settings, Stop};
pub use view::View;
