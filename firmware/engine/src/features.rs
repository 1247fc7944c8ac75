//! Which operators are linked: one Cargo feature each.
//!
//! The features choose what an operator's dispatch calls and, as neji-format's of the same names, what the parser reads and
//! checks, and nothing else: the code of all of them is compiled in every build, and the linker drops what nothing calls.

use neji_format::{LINKED, Operator};

/// The Cargo feature of int16 activations.
pub const INT16: &str = "int16";

/// Says once which operator has which feature, in the order of [`Operator`].
macro_rules! features {
    ($($operator:ident: $feature:literal,)*) => {
        /// The Cargo feature of this crate that an operator needs.
        pub fn of(operator: &Operator) -> &'static str {
            match operator {
                $(Operator::$operator(_) => $feature,)*
            }
        }

        /// Whether an operator is linked.
        pub fn has(operator: &Operator) -> bool {
            match operator {
                $(Operator::$operator(_) => cfg!(feature = $feature),)*
            }
        }

        /// Whether all operators that the parser knows are, so that none needs to be looked at.
        pub(crate) const ALL: bool = {
            let linked = [$(cfg!(feature = $feature)),*];
            let (mut all, mut number) = (true, 0);
            while number < linked.len() {
                all &= linked[number] || !LINKED[number];
                number += 1;
            }
            all
        };
    };
}

features! {
    Conv2d: "conv2d",
    DepthwiseConv2d: "depthwise-conv2d",
    FullyConnected: "fully-connected",
    TransposeConv2d: "transpose-conv2d",
    Pool2d: "pool2d",
    Mean: "mean",
    Add: "add",
    Concat: "concat",
    Pad: "pad",
    Reshape: "reshape",
    ResizeNearest: "resize-nearest",
    Lut: "lut",
    Softmax: "softmax",
    Sub: "sub",
    Mul: "mul",
    Load: "load",
    Sigmoid: "sigmoid",
}
