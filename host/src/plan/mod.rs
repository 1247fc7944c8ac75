//! Where tensors lie in the arena: lifetimes, then offsets.

pub mod arena;
pub mod lifetime;
pub mod stream;

pub use arena::{Layout, lay_out, lower_bound};
pub use lifetime::{Lifetime, Use, lifetimes};
