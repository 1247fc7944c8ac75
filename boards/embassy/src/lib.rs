//! What boards with Embassy share.
//!
//! A board starts its clocks, its watchdog and the two lines, makes a [`Station`] of them, asks it for the model, starts the
//! sensor that the model wants and hands over to [`Station::watch`]. Samples come from a task of an executor that runs in an
//! interrupt, so that they go on while the model runs in thread mode; [`Samples`] lies between the two.
//!
//! Beside the lines a board has a live link to a PC (`shared/link/PROTOCOL.md`), over a debug probe's RTT or a serial port, whichever the
//! PC speaks on ([`Either`](neji_app::link::Either)).
//!
//! Whatever goes wrong ends in a restart whose reason outlives it: a sensor that gives nothing, a hard fault, a panic, and by
//! the watchdog everything that hangs. A model that is missing or broken is no reason to restart: it is told again and again,
//! with both lines active.
#![no_std]

pub mod camera;
pub mod event;
pub mod level;
pub mod matrix;
#[cfg(feature = "nrf")]
pub mod nrf;
pub mod restart;
#[cfg(feature = "rp")]
pub mod rp;
#[cfg(feature = "rtt")]
pub mod rtt;
pub mod samples;
pub mod sensor;
pub mod serial;
pub mod station;
#[cfg(feature = "stm32")]
pub mod stm32;
pub mod vibration;

pub use event::{Event, Tell};
pub use samples::Samples;
pub use sensor::Wanted;
pub use serial::Serial;
pub use station::{Board, Feed, Lines, Room, Station};
