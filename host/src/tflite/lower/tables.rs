//! Functions of one element: TensorFlow Lite's arithmetic for each of the 256 values, kept as a table.

use anyhow::{Result, ensure};
use neji_engine::requantize::requantize;
use neji_format::{Element, LutFunction, Multiplier};

use super::super::file::{Activation, Operator};
use super::{Lowering, bounds};
use crate::quantize::scheme::{Scheme, multiplier};

/// Adds the output's zero point and clamps.
fn finish(value: i32, output: Scheme) -> i8 {
    (value.saturating_add(output.zero_point.into())).clamp(-128, 127) as i8
}

/// [`multiplier`] of a real number of any sign.
fn signed_multiplier(real: f64) -> Result<Multiplier> {
    ensure!(real.abs() < f64::from(1 << 30), "a factor of {real} between scales");
    let Multiplier { multiplier, shift } = multiplier(real.abs());
    Ok(Multiplier { multiplier: if real < 0.0 { -multiplier } else { multiplier }, shift })
}

fn scaled(value: i32, factor: Multiplier) -> i32 {
    requantize(value, factor.multiplier, factor.shift.into())
}

/// A function's value in f32, as TensorFlow Lite fills its tables; what the C library rounds is rounded from f64 here, so that
/// every PC makes the same table.
fn in_single_precision(input: Scheme, output: Scheme, q: i8, function: impl Fn(f32) -> f32) -> i8 {
    let x = input.scale * (i32::from(q) - i32::from(input.zero_point)) as f32;
    let steps = (function(x) * (1.0 / output.scale)).round();
    finish(steps as i32, output)
}

/// 16-bit fixed point, as gemmlowp defines it for hard swish.
mod narrow {
    use neji_format::Multiplier;

    fn saturated(value: i32) -> i32 {
        value.clamp(i16::MIN.into(), i16::MAX.into())
    }

    /// `2 * a * b`, its high half, rounded to nearest.
    pub(super) fn rounding_product(a: i32, b: i32) -> i32 {
        let product = a * b;
        let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
        saturated((product + nudge) / (1 << 15))
    }

    /// `2 * a * b`, its high half, cut.
    pub(super) fn product(a: i32, b: i32) -> i32 {
        saturated(a * b / (1 << 15))
    }

    pub(super) fn shifted_left(value: i32, exponent: i32) -> i32 {
        saturated(value << exponent)
    }

    /// The upper half of a 32-bit mantissa.
    pub(super) fn mantissa(factor: Multiplier) -> i32 {
        let wide = factor.multiplier;
        if wide >= i32::MAX - (1 << 15) { i16::MAX.into() } else { (wide + (1 << 15)) >> 16 }
    }
}

/// TensorFlow Lite's int8 hard swish, `x relu6(x + 3) / 6` in 16-bit fixed point.
///
/// # Errors
/// An output scale so fine that TensorFlow Lite refuses it.
fn hard_swish(input: Scheme, output: Scheme) -> Result<impl Fn(i8) -> i8> {
    use narrow::{mantissa, product, rounding_product, shifted_left};
    use neji_engine::requantize::rounding_divide_by_power_of_two as divide;
    // 7 more bits for the input; "reluish" is x + 3 on a scale where 3 is all of 16 bits.
    let fine = 1.0_f32 / 128.0 * input.scale;
    let to_output = signed_multiplier(f64::from(fine / output.scale))?;
    let to_reluish = signed_multiplier(f64::from(fine / (3.0_f32 / 32768.0)))?;
    ensure!(to_output.shift <= 0, "the output's scale {} is too fine for the input's {}", output.scale, input.scale);
    let exponent = i32::from(to_reluish.shift);
    Ok(move |q: i8| {
        let x = (i32::from(q) - i32::from(input.zero_point)) * 128;
        let x = i32::from(x as i16);
        let unshifted = rounding_product(x, mantissa(to_output));
        let mut reluish = if exponent > 0 { shifted_left(x, exponent - 1) } else { x };
        reluish = rounding_product(reluish, mantissa(to_reluish));
        if exponent > 0 {
            reluish = shifted_left(reluish, 1);
        }
        if exponent < 0 {
            reluish = divide(reluish, exponent.unsigned_abs());
        }
        let gate = (reluish + (1 << 15)) >> 1;
        finish(divide(product(gate, unshifted), i32::from(to_output.shift).unsigned_abs()), output)
    })
}

impl Lowering<'_, '_> {
    /// A table from the operator's first input to its output.
    fn table<F: Fn(i8) -> i8>(
        &mut self,
        operator: &Operator,
        function: LutFunction,
        make: impl FnOnce(Scheme, Scheme) -> Result<F>,
    ) -> Result<()> {
        ensure!(self.lowered.element == Element::I8, "int16 activations; int8 is imported here");
        let [input] = self.inputs(operator)?;
        let input = self.operand(input)?;
        let output = self.computed(operator, self.lowered.tensors[input].shape)?;
        let apply = make(self.lowered.scheme(input), self.lowered.scheme(output))?;
        let name = self.name.clone();
        self.lowered.push_table(&name, input, output, function, apply);
        Ok(())
    }

    /// A change of scale of int16, by the `real` factor of both.
    fn rescale(
        &mut self,
        operator: &Operator,
        activation: Activation,
        real: impl FnOnce(Scheme, Scheme) -> f64,
    ) -> Result<()> {
        let [input] = self.inputs(operator)?;
        let input = self.operand(input)?;
        let output = self.computed(operator, self.lowered.tensors[input].shape)?;
        let (from, to) = (self.lowered.scheme(input), self.lowered.scheme(output));
        let factor = signed_multiplier(real(from, to))?;
        let bounds = bounds(Element::I16, activation, to);
        let name = self.name.clone();
        self.lowered.push_scaled(&name, input, output, factor, bounds);
        Ok(())
    }

    fn sigmoid(&mut self, operator: &Operator, function: LutFunction) -> Result<()> {
        let [input] = self.inputs(operator)?;
        let input = self.operand(input)?;
        let output = self.computed(operator, self.lowered.tensors[input].shape)?;
        let name = self.name.clone();
        self.lowered.push_sigmoid(&name, input, output, function)
    }

    pub(super) fn requantize(&mut self, operator: &Operator) -> Result<()> {
        if self.lowered.element == Element::I16 {
            let real = |input: Scheme, output: Scheme| f64::from(input.scale) / f64::from(output.scale);
            return self.rescale(operator, Activation::None, real);
        }
        self.table(operator, LutFunction::Quantize, |input, output| {
            let factor = signed_multiplier(f64::from(input.scale) / f64::from(output.scale))?;
            Ok(move |q: i8| finish(scaled(i32::from(q) - i32::from(input.zero_point), factor), output))
        })
    }

    pub(super) fn relu(&mut self, operator: &Operator, activation: Activation, function: LutFunction) -> Result<()> {
        if self.lowered.element == Element::I16 {
            return self.rescale(operator, activation, |input, output| f64::from(input.scale / output.scale));
        }
        self.table(operator, function, |input, output| {
            let factor = signed_multiplier(f64::from(input.scale / output.scale))?;
            let (low, high) = bounds(Element::I8, activation, output);
            Ok(move |q: i8| {
                let value = scaled(i32::from(q) - i32::from(input.zero_point), factor);
                i16::from(finish(value, output)).max(low).min(high) as i8
            })
        })
    }

    pub(super) fn leaky_relu(&mut self, operator: &Operator, alpha: f32) -> Result<()> {
        self.table(operator, LutFunction::LeakyRelu, |input, output| {
            let positive = signed_multiplier(f64::from(input.scale / output.scale))?;
            let negative = signed_multiplier(f64::from(input.scale * alpha / output.scale))?;
            Ok(move |q: i8| {
                let x = i32::from(q) - i32::from(input.zero_point);
                finish(scaled(x, if x >= 0 { positive } else { negative }), output)
            })
        })
    }

    pub(super) fn logistic(&mut self, operator: &Operator) -> Result<()> {
        if self.lowered.element == Element::I16 {
            return self.sigmoid(operator, LutFunction::Logistic);
        }
        self.table(operator, LutFunction::Logistic, |input, output| {
            Ok(move |q: i8| in_single_precision(input, output, q, |x| 1.0 / (1.0 + f64::from(-x).exp() as f32)))
        })
    }

    pub(super) fn tanh(&mut self, operator: &Operator) -> Result<()> {
        if self.lowered.element == Element::I16 {
            return self.sigmoid(operator, LutFunction::Tanh);
        }
        self.table(operator, LutFunction::Tanh, |input, output| {
            Ok(move |q: i8| in_single_precision(input, output, q, |x| f64::from(x).tanh() as f32))
        })
    }

    pub(super) fn hard_swish(&mut self, operator: &Operator) -> Result<()> {
        self.table(operator, LutFunction::HardSwish, hard_swish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_swish_is_nearly_the_real_one() {
        let input = Scheme { scale: 0.05, zero_point: -3 };
        let output = Scheme { scale: 0.05, zero_point: 4 };
        let apply = hard_swish(input, output).expect("a function");
        for q in i8::MIN..=i8::MAX {
            let x = input.real(q);
            let real = x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
            assert!((output.real(apply(q)) - real).abs() < 0.06 || output.quantize(real) == apply(q), "{x}");
        }
    }
}
