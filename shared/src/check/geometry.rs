//! Sliding windows: that kernel, stride, dilation and padding give exactly the output's shape.

use crate::error::DecodeError;
use crate::operator::Window;
use crate::tensor::Shape;

/// One axis of a window.
#[derive(Clone, Copy)]
struct Axis {
    input: u64,
    output: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    before: u64,
    after: u64,
}

impl Axis {
    /// Distance from a kernel's first element to the one behind its last; at most 2^32.
    fn extent(self) -> u64 {
        (self.kernel - 1) * self.dilation + 1
    }
}

/// Rows and columns of a window; an error where a kernel, stride or dilation is 0.
fn axes(operator: u16, window: &Window, input: Shape, output: Shape) -> Result<[Axis; 2], DecodeError> {
    let axes = [
        Axis {
            input: input.height.into(),
            output: output.height.into(),
            kernel: window.kernel_height.into(),
            stride: window.stride_height.into(),
            dilation: window.dilation_height.into(),
            before: window.padding_top.into(),
            after: window.padding_bottom.into(),
        },
        Axis {
            input: input.width.into(),
            output: output.width.into(),
            kernel: window.kernel_width.into(),
            stride: window.stride_width.into(),
            dilation: window.dilation_width.into(),
            before: window.padding_left.into(),
            after: window.padding_right.into(),
        },
    ];
    if axes.iter().any(|axis| axis.kernel == 0 || axis.stride == 0 || axis.dilation == 0) {
        return Err(DecodeError::Window { operator });
    }
    Ok(axes)
}

/// Checks a convolution's window: padding of at most the kernel's extent on each side.
pub(super) fn convolution(operator: u16, window: &Window, input: Shape, output: Shape) -> Result<(), DecodeError> {
    for axis in axes(operator, window, input, output)? {
        let padded = axis.input + axis.before + axis.after;
        let extent = axis.extent();
        if axis.before > extent || axis.after > extent || padded < extent {
            return Err(DecodeError::Window { operator });
        }
        if (padded - extent) / axis.stride + 1 != axis.output {
            return Err(DecodeError::Shape { operator });
        }
    }
    Ok(())
}

/// Checks a pooling window: a convolution's without dilation, and every window holds an element of the input, since a
/// mean over nothing divides by zero.
pub(super) fn pool(operator: u16, window: &Window, input: Shape, output: Shape) -> Result<(), DecodeError> {
    convolution(operator, window, input, output)?;
    for axis in axes(operator, window, input, output)? {
        if axis.dilation != 1 || axis.before >= axis.kernel || axis.after >= axis.kernel {
            return Err(DecodeError::Window { operator });
        }
    }
    Ok(())
}

/// Checks a transposed convolution's window: no dilation, padding of at most the kernel, and an output that ends at most
/// one stride behind what the input reaches. Coordinates stay below 2^30.
pub(super) fn transposed(operator: u16, window: &Window, input: Shape, output: Shape) -> Result<(), DecodeError> {
    for axis in axes(operator, window, input, output)? {
        let reach = (axis.input - 1) * axis.stride + axis.kernel;
        if axis.dilation != 1 || axis.before > axis.kernel || axis.after > axis.kernel || reach > 1 << 30 {
            return Err(DecodeError::Window { operator });
        }
        if axis.output + axis.before > reach + axis.stride {
            return Err(DecodeError::Shape { operator });
        }
    }
    Ok(())
}
