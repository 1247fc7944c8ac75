//! What moves elements: joins, padding, shapes, nearest neighbours.

use anyhow::{Context, Result, ensure};
use neji_format::{Constant, Operator as Int8, Pad, ResizeNearest, Shape, push_constant};

use super::super::file::Operator;
use super::{Lowering, axis, integers, shape, single};

/// The input element nearest to output element `index`, in f32 as TensorFlow Lite's `GetNearestNeighbor` computes it.
fn nearest(index: u32, input: u32, output: u32, align_corners: bool, half_pixel_centers: bool) -> u32 {
    let scale = if align_corners && output > 1 {
        (input - 1) as f32 / (output - 1) as f32
    } else {
        input as f32 / output as f32
    };
    let offset = if half_pixel_centers { 0.5 } else { 0.0 };
    let position = (index as f32 + offset) * scale;
    let position = if align_corners { position.round() } else { position.floor() };
    // Not negative; a float beyond 32 bits would saturate.
    (position as u32).min(input - 1)
}

impl Lowering<'_, '_> {
    pub(super) fn concatenation(&mut self, operator: &Operator, along: i32) -> Result<()> {
        ensure!(!operator.inputs.is_empty(), "no inputs");
        let to = Self::output(operator);
        let along = axis(self.tensor(to)?, along)?;
        let scheme = self.scheme(self.tensor(to)?)?;
        let mut parts = Vec::new();
        let mut joined = 0_u32;
        for &input in &operator.inputs {
            let part = self.operand(input)?;
            // Bytes are copied; where the scales differ TensorFlow Lite refuses the model.
            parts.push(self.relabelled(input, part, scheme));
            let Shape { height, width, channels } = self.lowered.tensors[part].shape;
            joined = joined.checked_add([height, width, channels][along]).context("too many elements")?;
        }
        let Shape { height, width, channels } = self.lowered.tensors[parts[0]].shape;
        let mut sizes = [height, width, channels];
        sizes[along] = joined;
        let output = self.computed(operator, Shape::new(sizes[0], sizes[1], sizes[2]))?;
        let name = self.name.clone();
        self.lowered.push_concat(&name, &parts, output, along as u8);
        Ok(())
    }

    /// Rows and columns are padded by the engine; channels as the columns of another shape.
    pub(super) fn pad(&mut self, operator: &Operator) -> Result<()> {
        let [source, paddings] = self.inputs(operator)?;
        let to = Self::output(operator);
        let given = integers(self.tensor(paddings)?).context("the paddings")?;
        let rank = self.tensor(source)?.shape.len();
        ensure!(given.len() == 2 * rank, "{} paddings for {rank} dimensions", given.len());
        // [before, after] of batch, rows, columns, channels.
        let mut around = [[0_u16; 2]; 4];
        for (around, pair) in around[4 - rank..].iter_mut().zip(given.chunks(2)) {
            for (around, &count) in around.iter_mut().zip(pair) {
                *around = u16::try_from(count).context("padding must be 0 to 65,535")?;
            }
        }
        let [batch, [top, bottom], [left, right], channels] = around;
        ensure!(batch == [0, 0], "padding of the batch");
        if [top, bottom] != [0, 0] {
            single(self.tensor(source)?)?;
        }
        let scheme = self.scheme(self.tensor(to)?)?;
        let mut value = self.operand(source)?;
        // What is added is the output's zero point.
        value = self.relabelled(source, value, scheme);
        if channels != [0, 0] {
            let shape = self.lowered.tensors[value].shape;
            value = self.reshaped(to, value, Shape::new(shape.height * shape.width, shape.channels, 1))?;
            value = self.padded(to, value, [0, 0], channels)?;
            let wider = self.lowered.tensors[value].shape.width;
            value = self.reshaped(to, value, Shape::new(shape.height, shape.width, wider))?;
        }
        if [top, bottom, left, right] != [0; 4] {
            value = self.padded(to, value, [top, bottom], [left, right])?;
        }
        ensure!(self.lowered.tensors[value].shape == shape(self.tensor(to)?)?, "the output has another shape");
        self.settle(to, value)
    }

    fn padded(&mut self, to: i32, value: usize, rows: [u16; 2], columns: [u16; 2]) -> Result<usize> {
        let Shape { height, width, channels } = self.lowered.tensors[value].shape;
        let more = |size: u32, [before, after]: [u16; 2]| size.checked_add(u32::from(before) + u32::from(after));
        let (height, width) =
            (more(height, rows).context("too many rows")?, more(width, columns).context("too many columns")?);
        let output = self.between(to, Shape::new(height, width, channels), self.lowered.scheme(value));
        let pad = Pad {
            input: self.lowered.tensors[value],
            output: self.lowered.tensors[output],
            top: rows[0],
            bottom: rows[1],
            left: columns[0],
            right: columns[1],
        };
        self.lowered.push(&self.name, Int8::Pad(pad));
        Ok(output)
    }

    pub(super) fn reshape(&mut self, operator: &Operator) -> Result<()> {
        let source = *operator.inputs.first().context("no input")?;
        let value = self.operand(source)?;
        self.settle(Self::output(operator), value)
    }

    pub(super) fn resize_nearest(&mut self, operator: &Operator, align_corners: bool, half_pixel: bool) -> Result<()> {
        let source = *operator.inputs.first().context("no input")?;
        let to = Self::output(operator);
        single(self.tensor(source)?)?;
        let input = self.operand(source)?;
        let from = self.lowered.tensors[input].shape;
        let size = shape(self.tensor(to)?)?;
        if let Some(&sizes) = operator.inputs.get(1) {
            let given = integers(self.tensor(sizes)?).context("the size")?;
            let said = [i64::from(size.height), i64::from(size.width)];
            ensure!(given.iter().map(|&size| i64::from(size)).eq(said), "size {given:?}, the output has {said:?}");
        }
        let rows = self.sources(from.height, size.height, align_corners, half_pixel)?;
        let columns = self.sources(from.width, size.width, align_corners, half_pixel)?;
        let output = self.between(to, Shape::new(size.height, size.width, from.channels), self.lowered.scheme(input));
        let (input, out) = (self.lowered.tensors[input], self.lowered.tensors[output]);
        let resize = ResizeNearest { input, output: out, rows, columns };
        self.lowered.push(&self.name, Int8::ResizeNearest(resize));
        self.settle(to, output)
    }

    /// The table of one axis.
    fn sources(&mut self, input: u32, output: u32, align_corners: bool, half_pixel: bool) -> Result<Constant> {
        // The table's entries are u16; its length is bounded, since a size costs a writer nothing.
        ensure!(input.max(output) <= 1 << 16, "more than 65,536 rows or columns");
        let sources = (0..output).map(|index| nearest(index, input, output, align_corners, half_pixel) as u16);
        let bytes: Vec<u8> = sources.flat_map(u16::to_le_bytes).collect();
        Ok(push_constant(&mut self.lowered.constants, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_elements_of_each_convention() {
        let all = |input, output, align, half| -> Vec<u32> {
            (0..output).map(|index| nearest(index, input, output, align, half)).collect()
        };
        assert_eq!(all(2, 4, false, false), [0, 0, 1, 1]);
        assert_eq!(all(3, 5, false, false), [0, 0, 1, 1, 2]);
        assert_eq!(all(3, 5, true, false), [0, 1, 1, 2, 2]);
        assert_eq!(all(4, 2, false, true), [1, 3]);
        assert_eq!(all(1, 3, true, false), [0, 0, 0]);
    }
}
