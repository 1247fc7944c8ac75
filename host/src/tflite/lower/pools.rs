//! Pools, means and softmax: what reduces.

use anyhow::{Context, Result, bail, ensure};
use neji_format::{Element, Mean, Multiplier, Operator as Int8, Pool2d, PoolKind, Shape, Window};

use super::super::builtin;
use super::super::file::{Operator, Options, Padding};
use super::layers::window;
use super::{Lowering, axis_of_each, bounds, integers, single, sizes};
use crate::lowered::softmax;
use crate::quantize::scheme::{Scheme, multiplier};

/// The factor of a mean of `count` elements: TensorFlow Lite divides the mantissa in integers, moved up as far as the count's
/// bits allow.
fn mean_multiplier(input: Scheme, output: Scheme, count: u32) -> Result<Multiplier> {
    let real = f64::from(input.scale) / f64::from(output.scale);
    ensure!(real < f64::from(1 << 30), "a factor of {real} between scales");
    let Multiplier { multiplier, shift } = multiplier(real);
    let up = i32::try_from(count.ilog2())?.min(31 + i32::from(shift)).max(0);
    let divided = (i64::from(multiplier) << up) / i64::from(count);
    Ok(Multiplier { multiplier: i32::try_from(divided)?, shift: i8::try_from(i32::from(shift) - up)? })
}

impl Lowering<'_, '_> {
    pub(super) fn pool(&mut self, operator: &Operator, options: &Options) -> Result<()> {
        let Options::Pool { padding, stride, kernel, activation } = *options else { bail!("no options") };
        let [input] = self.inputs(operator)?;
        let to = Self::output(operator);
        single(self.tensor(input)?)?;
        let input = self.operand(input)?;
        let shape = self.lowered.tensors[input].shape;
        let size = |size: i32| u32::try_from(size).context("a kernel below 0");
        let (window, size) = window(padding, shape, [size(kernel[0])?, size(kernel[1])?], stride, [1, 1])?;
        // The bounds are in the output's scale, the bytes are the input's.
        let (activation_min, activation_max) = bounds(self.lowered.element, activation, self.scheme(self.tensor(to)?)?);
        let output = self.between(to, Shape::new(size[0], size[1], shape.channels), self.lowered.scheme(input));
        let kind = if operator.code == builtin::MAX_POOL_2D { PoolKind::Max } else { PoolKind::Average };
        let pool = Pool2d {
            kind,
            input: self.lowered.tensors[input],
            output: self.lowered.tensors[output],
            window,
            multiplier: Multiplier { multiplier: 0, shift: 0 },
            activation_min,
            activation_max,
        };
        self.lowered.push(&self.name, Int8::Pool2d(pool));
        self.settle(to, output)
    }

    /// A mean over any of the last three dimensions: over rows and columns the engine's own, else a sum over a window of a
    /// shape in which what is summed lies side by side.
    pub(super) fn mean(&mut self, operator: &Operator) -> Result<()> {
        let [source, axes] = self.inputs(operator)?;
        let mut over = [false; 3];
        for &index in &integers(self.tensor(axes)?).context("the axes")? {
            over[axis_of_each(self.tensor(source)?, index)?] = true;
        }
        let to = Self::output(operator);
        let output_scheme = self.scheme(self.tensor(to)?)?;
        let input = self.operand(source)?;
        let [batch, height, width, channels] = sizes(self.tensor(source)?)?;
        let rows = batch * height;
        let input_scheme = self.lowered.scheme(input);
        let count =
            [height, width, channels].iter().zip(over).filter(|(_, over)| *over).map(|(size, _)| size).product();
        let multiplier = mean_multiplier(input_scheme, output_scheme, count)?;
        if over == [true, true, false] && batch == 1 {
            let output = self.between(to, Shape::new(1, 1, channels), output_scheme);
            let (input, out) = (self.lowered.tensors[input], self.lowered.tensors[output]);
            self.lowered.push(&self.name, Int8::Mean(Mean { input, output: out, multiplier }));
            return self.settle(to, output);
        }
        let high = if over[0] { height } else { 1 };
        // (shape, kernel, horizontal stride): with the channels in the sum, columns and channels become columns.
        let (shape, columns, stride) = match (over[1], over[2]) {
            (columns, false) => (Shape::new(rows, width, channels), if columns { width } else { 1 }, 1),
            (false, true) => (Shape::new(rows, width * channels, 1), channels, channels),
            (true, true) => (Shape::new(rows, width * channels, 1), width * channels, 1),
        };
        let input = self.reshaped(source, input, shape)?;
        let strides = [i32::try_from(high)?, i32::try_from(stride)?];
        let (window, size): (Window, _) = window(Padding::Valid, shape, [high, columns], strides, [1, 1])?;
        let output = self.between(to, Shape::new(size[0], size[1], shape.channels), output_scheme);
        let (activation_min, activation_max) = self.lowered.element.range();
        let pool = Pool2d {
            kind: PoolKind::Sum,
            input: self.lowered.tensors[input],
            output: self.lowered.tensors[output],
            window,
            multiplier,
            activation_min,
            activation_max,
        };
        self.lowered.push(&self.name, Int8::Pool2d(pool));
        self.settle(to, output)
    }

    pub(super) fn softmax(&mut self, operator: &Operator, beta: f32) -> Result<()> {
        let [input] = self.inputs(operator)?;
        ensure!(self.lowered.element == Element::I8, "int16 activations; int8 is imported here");
        let input = self.operand(input)?;
        let output = self.computed(operator, self.lowered.tensors[input].shape)?;
        let operator = softmax(self.lowered.tensors[input], self.lowered.tensors[output], beta)?;
        self.lowered.push(&self.name, operator);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_three_divides_the_mantissa() {
        let scheme = Scheme { scale: 0.5, zero_point: 0 };
        // 1.0 is 2^30 with shift 1; up one bit, by 3: floor(2^31 / 3) with shift 0.
        let third = mean_multiplier(scheme, scheme, 3).expect("a factor");
        assert_eq!(third, Multiplier { multiplier: 715_827_882, shift: 0 });
        let one = mean_multiplier(scheme, scheme, 1).expect("a factor");
        assert_eq!(one, Multiplier { multiplier: 1 << 30, shift: 1 });
    }
}
