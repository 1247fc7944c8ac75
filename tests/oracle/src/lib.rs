//! What each operator means, in i64 and one element at a time: random blobs of one operator with the outputs that every
//! engine must give, on the host and on every emulated core.
//!
//! Written to be read; nothing is shared with the engine but the blob's format.
#![forbid(unsafe_code)]

mod arithmetic;
mod case;
mod convolutions;
mod elementwise;
mod movement;
mod pools;
mod sigmoid;
mod softmax;

pub use case::Case;
use proptest::strategy::BoxedStrategy;

/// The name of each kind of operator and how its cases are drawn.
pub fn kinds() -> Vec<(&'static str, BoxedStrategy<Case>)> {
    [convolutions::kinds(), pools::kinds(), elementwise::kinds(), movement::kinds(), softmax::kinds(), sigmoid::kinds()]
        .concat()
}
