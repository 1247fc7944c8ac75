//! Every operator on random shapes against a naive oracle, through a whole blob: encoded, parsed, run.

mod convolutions;
mod elementwise;
mod model;
mod oracle;
mod pools;
