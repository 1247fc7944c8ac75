//! Where tensors lie in the arena: lifetimes, then offsets, with outputs over inputs where that makes it smaller; and bands of
//! rows where that takes too much.

pub mod arena;
pub mod bands;
pub mod lifetime;
pub mod over;
pub mod stream;

pub use arena::{Layout, lay_out, lower_bound};
pub use lifetime::{Lifetime, Use, lifetimes};
pub use over::{Effort, Over, over};
