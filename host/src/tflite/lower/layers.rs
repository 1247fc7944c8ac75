//! Convolutions and dense layers.

use anyhow::{Context, Result, bail, ensure};
use neji_format::{
    Constant, Conv2d, DepthwiseConv2d, Element, FullyConnected, Operator as Int8, Packing, Requantization, Shape,
    Tensor as Int8Tensor, TransposeConv2d, Window, push_constant,
};

use super::super::file::{Activation, Kind, Operator, Options, Padding, Tensor};
use super::{Lowering, bounds, integers, single};
use crate::quantize::scheme::{Scheme, multiplier};

/// Padding before and after along one axis, and the output's size: TensorFlow Lite's `ComputePaddingHeightWidth`.
pub(super) fn padded(padding: Padding, size: u32, kernel: u32, stride: u32, dilation: u32) -> Result<([u16; 2], u32)> {
    ensure!(size > 0 && stride > 0 && dilation > 0 && kernel > 0, "sizes, kernel, stride and dilation must be above 0");
    let extent = (u64::from(kernel) - 1) * u64::from(dilation) + 1;
    let (size, stride) = (u64::from(size), u64::from(stride));
    let output = match padding {
        Padding::Same => size.div_ceil(stride),
        Padding::Valid => {
            ensure!(size >= extent, "a kernel of {extent} over {size} elements without padding");
            (size - extent) / stride + 1
        }
    };
    let total = ((output - 1) * stride + extent).saturating_sub(size);
    let narrow = |count: u64| u16::try_from(count).context("padding beyond 65,535");
    Ok(([narrow(total / 2)?, narrow(total - total / 2)?], output as u32))
}

/// A window over `input` and the height and width that it gives.
pub(super) fn window(
    padding: Padding,
    input: Shape,
    kernel: [u32; 2],
    stride: [i32; 2],
    dilation: [i32; 2],
) -> Result<(Window, [u32; 2])> {
    let narrow = |size: u32| u16::try_from(size).context("a kernel beyond 65,535");
    let positive = |size: i32| u16::try_from(size).context("stride and dilation must be 1 to 65,535");
    let [stride_height, stride_width] = [positive(stride[0])?, positive(stride[1])?];
    let [dilation_height, dilation_width] = [positive(dilation[0])?, positive(dilation[1])?];
    let ([padding_top, padding_bottom], height) =
        padded(padding, input.height, kernel[0], stride_height.into(), dilation_height.into())?;
    let ([padding_left, padding_right], width) =
        padded(padding, input.width, kernel[1], stride_width.into(), dilation_width.into())?;
    let window = Window {
        kernel_height: narrow(kernel[0])?,
        kernel_width: narrow(kernel[1])?,
        stride_height,
        stride_width,
        dilation_height,
        dilation_width,
        padding_top,
        padding_left,
        padding_bottom,
        padding_right,
    };
    Ok((window, [height, width]))
}

/// The dimensions of weights, which are int8 and as many as the shape says.
fn dimensions<const N: usize>(weights: &Tensor<'_>) -> Result<[u32; N]> {
    let Tensor { name, shape, kind, .. } = weights;
    let data = weights.data.with_context(|| format!("weights \"{name}\" must be a constant"))?;
    ensure!(*kind == Kind::Int8, "weights \"{name}\" are {kind:?}, not int8");
    let symmetric = weights.zero_points.iter().all(|&zero_point| zero_point == 0);
    ensure!(symmetric, "weights \"{name}\" have a zero point other than 0");
    let sizes: Option<Vec<u32>> = shape.iter().map(|&size| u32::try_from(size).ok().filter(|&size| size > 0)).collect();
    let sizes: Option<[u32; N]> = sizes.and_then(|sizes| sizes.try_into().ok());
    let sizes = sizes.with_context(|| format!("weights \"{name}\" of shape {shape:?}"))?;
    // Before anything is made for each channel: a shape costs a writer nothing.
    let count = sizes.iter().try_fold(1_usize, |count, &size| count.checked_mul(size as usize));
    ensure!(count == Some(data.len()), "weights \"{name}\" of shape {shape:?} have {} bytes", data.len());
    Ok(sizes)
}

/// How the real factor of an output channel comes about.
#[derive(Clone, Copy, PartialEq)]
enum Factor {
    /// `input * weights / output` in f64: `PopulateConvolutionQuantizationParams`.
    Convolution,
    /// The product in f32, the quotient in f64: `GetQuantizedConvolutionMultipler`.
    Dense,
}

impl Factor {
    fn real(self, input: Scheme, weights: f32, output: Scheme) -> f64 {
        match self {
            Self::Convolution => f64::from(input.scale) * f64::from(weights) / f64::from(output.scale),
            Self::Dense => f64::from(input.scale * weights) / f64::from(output.scale),
        }
    }
}

/// What weights, bias and scales become.
struct Layer<'t, 'b> {
    weights: &'t Tensor<'b>,
    bias: Option<&'t Tensor<'b>>,
    /// Output channels.
    channels: u32,
    /// Dimension of the weights' scales where there is one a channel.
    dimension: i32,
    factor: Factor,
    activation: Activation,
    /// Whether int16 without a bias has sums of 64 bits.
    wide_without_bias: bool,
}

impl<'t, 'b> Layer<'t, 'b> {
    /// A convolution's.
    fn convolution(
        weights: &'t Tensor<'b>,
        bias: Option<&'t Tensor<'b>>,
        channels: u32,
        activation: Activation,
    ) -> Self {
        let factor = Factor::Convolution;
        Self { weights, bias, channels, dimension: 0, factor, activation, wide_without_bias: false }
    }
}

impl<'f, 'b> Lowering<'f, 'b> {
    /// Input, output, weights and requantization of a layer that gives `shape`.
    fn layer(
        &mut self,
        operator: &Operator,
        layer: &Layer<'_, '_>,
        input: usize,
        shape: Shape,
    ) -> Result<(Int8Tensor, Int8Tensor, Constant, Requantization)> {
        let output = self.computed(operator, shape)?;
        let requantization = self.requantization(layer, self.lowered.scheme(input), self.lowered.scheme(output))?;
        let weights = self.weights(layer.weights);
        Ok((self.lowered.tensors[input], self.lowered.tensors[output], weights, requantization))
    }

    /// Weights whose [`dimensions`] were taken.
    fn weights(&mut self, weights: &Tensor<'_>) -> Constant {
        push_constant(&mut self.lowered.constants, weights.data.unwrap_or_default())
    }

    /// The bias of input `index` of an operator, which may be missing.
    fn bias(&self, operator: &Operator, index: usize) -> Result<Option<&'f Tensor<'b>>> {
        match operator.inputs.get(index) {
            None | Some(-1) => Ok(None),
            Some(&bias) => self.tensor(bias).map(Some),
        }
    }

    fn requantization(&mut self, layer: &Layer<'_, '_>, input: Scheme, output: Scheme) -> Result<Requantization> {
        let channels = layer.channels as usize;
        let scales = &layer.weights.scales;
        ensure!(
            scales.len() == 1 || (scales.len() == channels && layer.weights.dimension == layer.dimension),
            "{} scales along dimension {} of weights with {channels} output channels",
            scales.len(),
            layer.weights.dimension
        );
        // int16 activations have biases and sums of 64 bits, or of 32 where the file says so.
        let element = self.lowered.element;
        let size = match layer.bias.map(|bias| bias.kind) {
            Some(Kind::Int64) if element == Element::I16 => 8,
            None if element == Element::I16 && layer.wide_without_bias => 8,
            Some(Kind::Int32) | None => 4,
            Some(other) => bail!("a bias of {other:?}; int32 is imported, and int64 with int16 activations"),
        };
        let biases = match layer.bias {
            Some(bias) => bias.data.with_context(|| format!("bias \"{}\" must be a constant", bias.name))?.to_vec(),
            None => vec![0; channels * size],
        };
        ensure!(biases.len() == channels * size, "{} bytes of biases for {channels} output channels", biases.len());
        let (mut multipliers, mut shifts) = (Vec::new(), Vec::new());
        for channel in 0..channels {
            let scale = scales[if scales.len() == 1 { 0 } else { channel }];
            let real = layer.factor.real(input, scale, output);
            ensure!((0.0..f64::from(1 << 30)).contains(&real), "channel {channel}: a factor of {real}");
            let factor = multiplier(real);
            multipliers.extend(factor.multiplier.to_le_bytes());
            shifts.push(factor.shift.cast_unsigned());
        }
        let (activation_min, activation_max) = bounds(element, layer.activation, output);
        let constants = &mut self.lowered.constants;
        Ok(Requantization {
            bias: push_constant(constants, &biases),
            multiplier: push_constant(constants, &multipliers),
            shift: push_constant(constants, &shifts),
            activation_min,
            activation_max,
        })
    }

    pub(super) fn conv2d(&mut self, operator: &Operator, options: &Options) -> Result<()> {
        let Options::Conv { padding, stride, dilation, activation } = *options else { bail!("no options") };
        let [input, weights] = self.inputs(operator)?;
        let weights = self.tensor(weights)?;
        let [channels, kernel_height, kernel_width, depth] = dimensions(weights)?;
        single(self.tensor(input)?)?;
        let input = self.operand(input)?;
        let shape = self.lowered.tensors[input].shape;
        ensure!(depth == shape.channels, "weights of {depth} channels on {}; groups are not supported", shape.channels);
        let (window, size) = window(padding, shape, [kernel_height, kernel_width], stride, dilation)?;
        let bias = self.bias(operator, 2)?;
        let layer = Layer::convolution(weights, bias, channels, activation);
        let shape = Shape::new(size[0], size[1], channels);
        let (input, output, weights, requantization) = self.layer(operator, &layer, input, shape)?;
        self.lowered.push(
            &self.name,
            Int8::Conv2d(Conv2d { input, output, window, weights, packing: Packing::Rows, requantization }),
        );
        Ok(())
    }

    pub(super) fn depthwise_conv2d(&mut self, operator: &Operator, options: &Options) -> Result<()> {
        let Options::Conv { padding, stride, dilation, activation } = *options else { bail!("no options") };
        let [input, weights] = self.inputs(operator)?;
        let weights = self.tensor(weights)?;
        let [_, kernel_height, kernel_width, channels] = dimensions(weights)?;
        single(self.tensor(input)?)?;
        let input = self.operand(input)?;
        let shape = self.lowered.tensors[input].shape;
        let (window, size) = window(padding, shape, [kernel_height, kernel_width], stride, dilation)?;
        let bias = self.bias(operator, 2)?;
        let layer =
            Layer { dimension: 3, wide_without_bias: true, ..Layer::convolution(weights, bias, channels, activation) };
        let shape = Shape::new(size[0], size[1], channels);
        let (input, output, weights, requantization) = self.layer(operator, &layer, input, shape)?;
        let conv = DepthwiseConv2d { input, output, window, weights, requantization };
        self.lowered.push(&self.name, Int8::DepthwiseConv2d(conv));
        Ok(())
    }

    pub(super) fn transpose_conv(&mut self, operator: &Operator, options: &Options) -> Result<()> {
        let Options::Conv { padding, stride, activation, .. } = *options else { bail!("no options") };
        let [size, weights, input] = self.inputs(operator)?;
        let size = integers(self.tensor(size)?).context("the output's shape")?;
        let weights = self.tensor(weights)?;
        let [channels, kernel_height, kernel_width, depth] = dimensions(weights)?;
        single(self.tensor(input)?)?;
        let input = self.operand(input)?;
        let shape = self.lowered.tensors[input].shape;
        ensure!(depth == shape.channels, "weights of {depth} channels on {}", shape.channels);
        let sizes: Option<Vec<u32>> = size.iter().map(|&size| u32::try_from(size).ok()).collect();
        let Some([1, height, width, _]) = sizes.as_deref() else { bail!("an output of shape {size:?}") };
        let output_shape = Shape::new(*height, *width, channels);
        // The padding is that of the convolution which this one transposes: from the output to the input.
        let (window, _) = window(padding, output_shape, [kernel_height, kernel_width], stride, [1, 1])?;
        let bias = self.bias(operator, 3)?;
        let layer = Layer { wide_without_bias: true, ..Layer::convolution(weights, bias, channels, activation) };
        let (input, output, weights, requantization) = self.layer(operator, &layer, input, output_shape)?;
        let conv = TransposeConv2d { input, output, window, weights, requantization };
        self.lowered.push(&self.name, Int8::TransposeConv2d(conv));
        Ok(())
    }

    /// One row of features is a dense layer, several are a pointwise convolution over them.
    pub(super) fn fully_connected(&mut self, operator: &Operator, activation: Activation) -> Result<()> {
        let [input, weights] = self.inputs(operator)?;
        let weights = self.tensor(weights)?;
        let [channels, features] = dimensions(weights)?;
        let source = input;
        let input = self.operand(input)?;
        let elements = self.lowered.tensors[input].shape.len() as u64;
        ensure!(elements.is_multiple_of(features.into()), "{elements} inputs, the weights take {features}");
        let rows = (elements / u64::from(features)) as u32;
        let factor = if weights.scales.len() == 1 { Factor::Dense } else { Factor::Convolution };
        let bias = self.bias(operator, 2)?;
        let layer = Layer { factor, ..Layer::convolution(weights, bias, channels, activation) };
        let to = Self::output(operator);
        let scheme = self.scheme(self.tensor(to)?)?;
        let requantization = self.requantization(&layer, self.lowered.scheme(input), scheme)?;
        let weights = self.weights(weights);
        if rows == 1 {
            let output = self.computed(operator, super::shape(self.tensor(to)?)?)?;
            let (input, output) = (self.lowered.tensors[input], self.lowered.tensors[output]);
            ensure!(output.shape.len() == channels as usize, "{channels} features for an output of {:?}", output.shape);
            let dense = FullyConnected { input, output, weights, packing: Packing::Rows, requantization };
            self.lowered.push(&self.name, Int8::FullyConnected(dense));
            return Ok(());
        }
        let input = self.reshaped(source, input, Shape::new(1, rows, features))?;
        let output = self.between(to, Shape::new(1, rows, channels), scheme);
        let (window, _) = window(Padding::Valid, Shape::new(1, rows, features), [1, 1], [1, 1], [1, 1])?;
        let conv = Conv2d {
            input: self.lowered.tensors[input],
            output: self.lowered.tensors[output],
            window,
            weights,
            packing: Packing::Rows,
            requantization,
        };
        self.lowered.push(&self.name, Int8::Conv2d(conv));
        self.settle(to, output)
    }

    /// A place for the output of an operator that gives `shape`.
    pub(super) fn computed(&mut self, operator: &Operator, shape: Shape) -> Result<usize> {
        let output = self.result(Self::output(operator))?;
        let said = self.lowered.tensors[output].shape;
        ensure!(said == shape, "gives {shape:?}, the file says {said:?}");
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_element_behind() {
        // 5 elements, kernel 4, stride 2: 3 outputs, (3 - 1) 2 + 4 - 5 = 3 of padding.
        assert_eq!(padded(Padding::Same, 5, 4, 2, 1).expect("fits"), ([1, 2], 3));
        assert_eq!(padded(Padding::Valid, 5, 4, 2, 1).expect("fits"), ([0, 0], 1));
        // A dilated kernel of 3 spans 5.
        assert_eq!(padded(Padding::Same, 6, 3, 1, 2).expect("fits"), ([2, 2], 6));
        assert!(padded(Padding::Valid, 3, 4, 1, 1).is_err());
        assert!(padded(Padding::Same, 3, 4, 0, 1).is_err());
    }
}
