//! Sliding windows: that kernel, stride, dilation and padding give exactly the output's shape.

use crate::error::DecodeError;
use crate::operator::Window;
use crate::tensor::Shape;

/// One axis of a window. Tensors lie in the arena, so their sizes are at most 2^30, and the others are of 16 bits.
#[derive(Clone, Copy)]
struct Axis {
    input: u32,
    output: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    before: u32,
    after: u32,
}

impl Axis {
    /// Distance from a kernel's first element to the one behind its last; below 2^32.
    fn extent(self) -> u32 {
        (self.kernel - 1) * self.dilation + 1
    }

    /// From the first window to the last; below 2^46.
    fn reach(count: u32, stride: u32) -> u64 {
        u64::from(count.wrapping_sub(1)) * u64::from(stride)
    }
}

/// Rows and columns of a window; an error where a kernel, stride or dilation is 0.
fn axes(operator: u16, window: &Window, input: Shape, output: Shape) -> Result<[Axis; 2], DecodeError> {
    let axes = [
        Axis {
            input: input.height,
            output: output.height,
            kernel: window.kernel_height.into(),
            stride: window.stride_height.into(),
            dilation: window.dilation_height.into(),
            before: window.padding_top.into(),
            after: window.padding_bottom.into(),
        },
        Axis {
            input: input.width,
            output: output.width,
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
        // Windows as long as one more would not end in what there is; without a division, which is a routine here.
        let rest = u64::from(padded - extent).checked_sub(Axis::reach(axis.output, axis.stride));
        if rest.is_none_or(|rest| rest >= axis.stride.into()) {
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
        let reach = Axis::reach(axis.input, axis.stride) + u64::from(axis.kernel);
        if axis.dilation != 1 || axis.before > axis.kernel || axis.after > axis.kernel || reach > 1 << 30 {
            return Err(DecodeError::Window { operator });
        }
        if u64::from(axis.output + axis.before) > reach + u64::from(axis.stride) {
            return Err(DecodeError::Shape { operator });
        }
    }
    Ok(())
}
