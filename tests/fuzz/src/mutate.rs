//! Changes of a plan that changes of single bytes do not find: a tensor stands in every operator that touches it, and is
//! refused where it is not the same everywhere.

use neji_format::header::{HEADER_BYTES, Header};
use neji_format::{Blob, Operator, Plan, Shape, Tensor};

use crate::blob;

/// Largest arena that a changed blob asks for.
const ARENA_BYTES_MAX: u32 = 1 << 17;

/// `data` with one change, as a blob whose arena is just long enough; none where it is none or cannot be changed so.
pub fn mutate(data: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut blob = decoded(data)?;
    let mut random = Random(seed.into());
    match random.below(5) {
        0 => append(&mut blob, &mut random)?,
        1 => drop(blob.operators.pop()?),
        2 => place(&mut blob, &mut random),
        3 => quantize(&mut blob, &mut random),
        _ => reshape(&mut blob, &mut random),
    }
    if let Some(last) = blob.operators.last() {
        blob.plan.output = *last.output();
    }
    blob.arena_bytes = end(&blob).min(ARENA_BYTES_MAX);
    Some(blob.encode())
}

/// What encodes to `data`, unchecked.
fn decoded(data: &[u8]) -> Option<Blob<'_>> {
    Header::parse(data).ok()?;
    let data = data.get(HEADER_BYTES..)?;
    let (section, constants) = data.split_at(blob::plan_bytes(data)?);
    let (plan, mut rest) = postcard::take_from_bytes::<Plan<'_>>(section).ok()?;
    let mut operators = Vec::new();
    while !rest.is_empty() {
        let operator;
        (operator, rest) = postcard::take_from_bytes::<Operator>(rest).ok()?;
        operators.push(operator);
    }
    let constants = constants.get(section.len().wrapping_neg() % 16..).unwrap_or(&[]).to_vec();
    Some(Blob { plan, operators, constants, arena_bytes: 0 })
}

/// A small generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn each(blob: &mut Blob<'_>, mut change: impl FnMut(&mut Tensor)) {
    change(&mut blob.plan.input);
    blob.operators.iter_mut().for_each(|operator| operator.for_each_tensor_mut(&mut change));
    change(&mut blob.plan.output);
}

/// Any tensor.
fn pick(blob: &mut Blob<'_>, random: &mut Random) -> Tensor {
    let mut tensors = Vec::new();
    each(blob, |tensor| tensors.push(*tensor));
    tensors[random.below(tensors.len())]
}

/// The first byte behind all tensors.
fn end(blob: &Blob<'_>) -> u32 {
    let size = blob.plan.element.bytes() as u32;
    let mut end = 0_u32;
    each(&mut blob.clone(), |tensor| {
        let bytes = tensor.shape.checked_len().and_then(|len| len.checked_mul(size));
        end = end.max(bytes.and_then(|bytes| bytes.checked_add(tensor.offset)).unwrap_or(u32::MAX));
    });
    end
}

/// Another run of an operator, on what came out so far.
fn append(blob: &mut Blob<'_>, random: &mut Random) -> Option<()> {
    let mut operator = blob.operators.get(random.below(blob.operators.len()))?.clone();
    let (from, to, now) = (*operator.inputs().next()?, *operator.output(), blob.plan.output);
    let offset = end(blob).checked_next_multiple_of(4)?;
    let shape = if from.shape == to.shape { now.shape } else { to.shape };
    let same = from.scale == to.scale && from.zero_point == to.zero_point;
    let (scale, zero_point) = if same { (now.scale, now.zero_point) } else { (to.scale, to.zero_point) };
    operator.for_each_tensor_mut(|tensor| {
        *tensor = if *tensor == to { Tensor { offset, shape, scale, zero_point } } else { now };
    });
    blob.operators.push(operator);
    Some(())
}

/// A tensor moves: onto another, behind it, or a little.
fn place(blob: &mut Blob<'_>, random: &mut Random) {
    let (old, other) = (pick(blob, random), pick(blob, random));
    let size = blob.plan.element.bytes() as u32;
    let little = size.saturating_mul(1 + random.below(8) as u32);
    let offset = match random.below(4) {
        0 => other.offset,
        1 => other.offset.saturating_add(other.shape.checked_len().unwrap_or(0).saturating_mul(size)),
        2 => old.offset.saturating_sub(little),
        _ => old.offset.saturating_add(little),
    };
    each(blob, |tensor| {
        if *tensor == old {
            tensor.offset = offset;
        }
    });
}

/// A tensor, or all that are quantized alike, get another zero point or scale.
fn quantize(blob: &mut Blob<'_>, random: &mut Random) {
    let (old, other) = (pick(blob, random), pick(blob, random));
    let alike = random.below(2) == 0;
    let (scale, zero_point) = match random.below(5) {
        0 => (other.scale, other.zero_point),
        1 => (f32::from_bits(random.next() as u32), old.zero_point),
        2 => (old.scale, i8::MIN),
        3 => (old.scale, i8::MAX),
        _ => (old.scale, random.next() as i8),
    };
    each(blob, |tensor| {
        if *tensor == old || alike && (tensor.scale, tensor.zero_point) == (old.scale, old.zero_point) {
            (tensor.scale, tensor.zero_point) = (scale, zero_point);
        }
    });
}

/// A tensor, or all of its shape, get another shape.
fn reshape(blob: &mut Blob<'_>, random: &mut Random) {
    let (old, other) = (pick(blob, random), pick(blob, random));
    let alike = random.below(2) == 0;
    let Shape { height, width, channels } = old.shape;
    let changed = |size: u32, random: &mut Random| match random.below(3) {
        0 => size.saturating_add(1),
        1 => size.saturating_sub(1),
        _ => 1 + random.below(20) as u32,
    };
    let shape = match random.below(6) {
        0 => other.shape,
        1 => Shape::new(width, height, channels),
        2 => Shape::new(height, channels, width),
        3 => Shape::new(changed(height, random), width, channels),
        4 => Shape::new(height, changed(width, random), channels),
        _ => Shape::new(height, width, changed(channels, random)),
    };
    each(blob, |tensor| {
        if *tensor == old || alike && tensor.shape == old.shape {
            tensor.shape = shape;
        }
    });
}

#[cfg(test)]
mod tests {
    use neji_format::{AlignedBytes, Model};

    use super::*;

    #[test]
    fn many_changes_leave_a_model() {
        let goldens: [&[u8]; 2] = [
            include_bytes!("../../../shared/tests/golden/v5_operators.neji"),
            include_bytes!("../../../shared/tests/golden/v5_int16.neji"),
        ];
        let accepted = |blob: &[u8]| Model::parse(AlignedBytes::new(blob).as_slice()).is_ok();
        for golden in goldens {
            let changed = (0..1000).filter_map(|seed| mutate(golden, seed));
            let models = changed.filter(|blob| blob != golden && accepted(blob)).count();
            assert!(models > 50, "{models} of 1000");
        }
    }
}
