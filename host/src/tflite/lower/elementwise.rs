//! Sums, differences and products of two operands.

use anyhow::{Result, ensure};
use neji_format::{Mul, Operator as Int8};

use super::super::builtin;
use super::super::file::{Activation, Operator};
use super::{Lowering, bounds, sizes};
use crate::lowered::add;
use crate::quantize::scheme::multiplier;

impl Lowering<'_, '_> {
    pub(super) fn binary(&mut self, operator: &Operator, activation: Activation) -> Result<()> {
        let [a, b] = self.inputs(operator)?;
        // Rows of a batch are one dimension here: they broadcast together or not at all.
        for operand in [a, b] {
            let [batch, height, ..] = sizes(self.tensor(operand)?)?;
            let [batch_out, height_out, ..] = sizes(self.tensor(Self::output(operator))?)?;
            let whole = (batch, height) == (batch_out, height_out);
            ensure!(batch_out == 1 || whole || (batch, height) == (1, 1), "broadcasting within a batch");
        }
        let (a, b) = (self.operand(a)?, self.operand(b)?);
        let output = self.result(Self::output(operator))?;
        let element = self.lowered.element;
        let bounds = bounds(element, activation, self.lowered.scheme(output));
        let [a, b, out] = [a, b, output].map(|index| self.lowered.tensors[index]);
        let lowered = match operator.code {
            builtin::MUL => {
                // A product and quotient of f32, as there.
                let real = f64::from(a.scale * b.scale / out.scale);
                ensure!((0.0..f64::from(1 << 30)).contains(&real), "a factor of {real} between scales");
                let multiplier = multiplier(real);
                let (activation_min, activation_max) = bounds;
                Int8::Mul(Mul { input_a: a, input_b: b, output: out, multiplier, activation_min, activation_max })
            }
            code => {
                let larger = f64::from(a.scale.max(b.scale));
                ensure!(
                    larger / f64::from(out.scale) < 1e6,
                    "a factor of {} between scales",
                    larger / f64::from(out.scale)
                );
                let add = add(element, a, b, out, bounds);
                if code == builtin::SUB { Int8::Sub(add) } else { Int8::Add(add) }
            }
        };
        self.lowered.push(&self.name, lowered);
        Ok(())
    }
}
