//! Outputs over inputs: where a window moves over the rows of an input that nobody reads again, the output may be written
//! over the rows that it has left ([`Rows`]).
//!
//! The device computes as many rows at a time as lie between the two, and each time has its price: constants are prepared
//! anew. So outputs lie over inputs only where the arena would else be larger, and with as many rows between as it has room
//! for.

use neji_format::{Operator, Rows};

use super::arena::{ALIGNMENT, lay_out, lay_out_within, lower_bound, needed_at};
use super::lifetime::Lifetime;
use crate::inspect::macs;
use crate::lowered::{Lowered, Step};
use crate::quantize::assemble::lifetimes;

/// How far an output and the input that it lies over must be apart, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Where the output begins first.
    pub below: usize,
    /// Where the input begins first.
    pub above: usize,
}

impl Over {
    /// For `height` rows of the output at once; none where it can't lie over the input, or gains nothing.
    pub fn of(rows: &Rows, height: u32) -> Option<Self> {
        let [whole_in, whole_out] = [rows.input * rows.input_bytes, rows.output * rows.output_bytes];
        let apart = |needed: &mut dyn Iterator<Item = i64>, most: u32| needed.max().unwrap_or(0).clamp(0, most.into());
        let [bytes_in, bytes_out] = [rows.input_bytes, rows.output_bytes].map(i64::from);
        let below = apart(
            &mut (0..rows.output).map(|from| {
                let to = rows.output.min(from.saturating_add(height));
                i64::from(to) * bytes_out - i64::from(rows.first(from)) * bytes_in
            }),
            whole_out,
        );
        let above = apart(
            &mut (1..=rows.output).map(|to| {
                let from = to.saturating_sub(height);
                i64::from(rows.end(to - 1)) * bytes_in - i64::from(from) * bytes_out
            }),
            whole_in,
        );
        let gains = below < whole_out.into() || above < whole_in.into();
        let over = Self { below: below as usize, above: above as usize };
        (gains && rows.may_overlap(below as u32, 0)).then_some(over)
    }
}

/// How many more instructions it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// A hundredth of all.
    Little,
    /// Any number.
    Any,
}

/// About how many instructions an operator takes, and how many more for each time that it is begun again: measured on a
/// Cortex-M55, to which beginning costs most beside the rest.
fn price(operator: &Operator) -> (u64, u64) {
    let channels = u64::from(operator.output().shape.channels);
    match operator {
        Operator::DepthwiseConv2d(op) if (op.window.kernel_height, op.window.kernel_width) == (3, 3) => {
            (macs(operator) * 2, 8 * channels + 100)
        }
        // Other cores expand none of these at once.
        Operator::DepthwiseConv2d(_) => (macs(operator) * 2, 24 * channels + 100),
        // Sums of weights and windows are made anew, and the last pixels are less than are computed together.
        Operator::Conv2d(op) => {
            let windows = if (op.window.kernel_height, op.window.kernel_width) == (1, 1) { 100 } else { 500 };
            let pixel = macs(operator) / u64::from(op.output.shape.height * op.output.shape.width).max(1);
            (macs(operator) / 4, u64::from(op.weights.bytes.min(4000)) + windows + pixel)
        }
        _ => (operator.output().shape.len() as u64 * 10, 300),
    }
}

/// The operators with their outputs over their inputs, where that takes the arena to as little as it can with this effort,
/// or to `enough`.
pub fn over(mut lowered: Lowered, keep_input: bool, effort: Effort, enough: usize) -> Lowered {
    let plain = lifetimes(&lowered, keep_input);
    let whole = lay_out(&plain).bytes;
    if whole <= enough {
        return lowered;
    }
    let steps = Steps::of(&lowered, plain);
    let most = match effort {
        Effort::Little => lowered.steps.iter().map(|step| price(&step.operator).0).sum::<u64>() / 100,
        Effort::Any => u64::MAX,
    };
    let least = closest(lowered.clone());
    let lifetimes_of = |lowered: &Lowered| lifetimes(lowered, keep_input);
    let words = |bytes: usize| bytes.div_ceil(ALIGNMENT);
    // Between what surely is too little and what surely is enough, in words.
    let (mut low, mut high) = (words(lower_bound(&lifetimes_of(&least)).max(enough)), words(whole));
    let mut best = None;
    let mut target = low;
    while low < high {
        let found = steps.within(target * ALIGNMENT).filter(|&(_, price)| price <= most);
        let fits = found.is_some_and(|(over, _)| {
            set(&mut lowered, &over);
            let target = target * ALIGNMENT;
            let fits = lay_out_within(&lifetimes_of(&lowered), target).bytes <= target;
            if fits {
                best = Some(over);
            }
            fits
        });
        if fits {
            high = target
        } else {
            low = target + 1
        }
        target = low + (high - low) / 2;
    }
    set(&mut lowered, &best.unwrap_or_default());
    let bytes = |lowered: &Lowered| lay_out(&lifetimes_of(lowered)).bytes;
    let found = bytes(&lowered);
    if effort == Effort::Any && found > enough && bytes(&least) < found { least } else { lowered }
}

/// What each step may do.
struct Steps {
    plain: Vec<Lifetime>,
    /// Those that compute rows, with their input, their output and what beginning costs.
    rows: Vec<Option<(Rows, usize, usize, u64)>>,
}

impl Steps {
    fn of(lowered: &Lowered, plain: Vec<Lifetime>) -> Self {
        let of = |(index, step): (usize, &Step)| {
            let rows = rows(lowered, index)?;
            Some((rows, *step.tensors.inputs.first()?, step.tensors.output, price(&step.operator).1))
        };
        Self { plain, rows: lowered.steps.iter().enumerate().map(of).collect() }
    }

    /// For an arena of `bytes`, outputs over inputs where they must be and with as many rows between as there is room for,
    /// and the price; none where that does not suffice.
    fn within(&self, bytes: usize) -> Option<(Vec<Option<Over>>, u64)> {
        let mut price = 0;
        let mut all = Vec::new();
        let mut lifetimes = self.plain.clone();
        for (step, rows) in self.rows.iter().enumerate() {
            let fits = |lifetimes: &[Lifetime]| needed_at(lifetimes, step + 1) <= bytes;
            if fits(&lifetimes) {
                all.push(None);
                continue;
            }
            let (rows, input, output, again) = rows.as_ref()?;
            // The most rows at once that fit; more take more.
            let (mut height, mut beyond, mut found) = (0, rows.output, None);
            while height + 1 < beyond {
                let middle = height + (beyond - height) / 2;
                let over = Over::of(rows, middle);
                lifetimes[*output].over = over.map(|over| (*input, over));
                if fits(&lifetimes) { (height, found) = (middle, over) } else { beyond = middle }
            }
            lifetimes[*output].over = None;
            all.push(Some(found?));
            price += again * u64::from(rows.output.div_ceil(height) - 1);
        }
        Some((all, price))
    }
}

/// The operators with all outputs over their inputs that can be, as close as they can be.
pub fn closest(mut lowered: Lowered) -> Lowered {
    let over = |step| rows(&lowered, step).and_then(|rows| Over::of(&rows, 1));
    let all: Vec<Option<Over>> = (0..lowered.steps.len()).map(over).collect();
    set(&mut lowered, &all);
    lowered
}

/// The rows of a step whose tensors are whole and whose input nobody reads again.
fn rows(lowered: &Lowered, step: usize) -> Option<Rows> {
    let step_at = &lowered.steps[step];
    let rows = step_at.operator.rows(lowered.element)?;
    let &[input] = &step_at.tensors.inputs[..] else { return None };
    let whole =
        |name: u32, index: usize, height: u32| name as usize == index && lowered.tensors[index].shape.height == height;
    let from = step_at.operator.inputs().next()?;
    let to = step_at.operator.output();
    (whole(from.offset, input, rows.input) && whole(to.offset, step_at.tensors.output, rows.output)).then_some(rows)
}

fn set(lowered: &mut Lowered, over: &[Option<Over>]) {
    for (index, step) in lowered.steps.iter_mut().enumerate() {
        step.tensors.over = over.get(index).copied().flatten();
    }
}

#[cfg(test)]
mod tests {
    use neji_format::Element;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::bands::tests::{blob_in, network, run};
    use super::*;
    use crate::quantize::assemble::Memory;

    #[test]
    fn distances_by_hand() {
        // Eight rows of 10 bytes, a kernel of three, padded: as in neji-format's tests, then with four rows at once.
        let rows = Rows { input: 8, output: 8, input_bytes: 10, output_bytes: 10, stride: 1, extent: 3, above: 1 };
        assert_eq!(Over::of(&rows, 1), Some(Over { below: 20, above: 20 }));
        assert_eq!(Over::of(&rows, 4), Some(Over { below: 50, above: 50 }));
        assert_eq!(Over::of(&rows, 7), None);
        // Pixels that grow: the last row of the output ends 20 bytes behind the input's last row.
        let wider = Rows { output_bytes: 20, extent: 1, above: 0, ..rows };
        assert_eq!(Over::of(&wider, 1), Some(Over { below: 90, above: 10 }));
    }

    #[test]
    fn the_least_distance_is_the_least_that_is_accepted() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for _ in 0..200 {
            for step in network(&mut random).steps {
                let Some(rows) = step.operator.rows(Element::I8) else { continue };
                let Some(Over { below, above }) = Over::of(&rows, 1) else { continue };
                let (below, above) = (below as u32, above as u32);
                if below < rows.output * rows.output_bytes {
                    assert!(rows.may_overlap(below, 0) && !rows.may_overlap(below - 1, 0), "{rows:?}");
                }
                if above < rows.input * rows.input_bytes {
                    assert!(rows.may_overlap(0, above) && !rows.may_overlap(0, above - 1), "{rows:?}");
                }
            }
        }
    }

    #[test]
    fn outputs_over_inputs_give_the_same_bytes() {
        let mut random = ChaCha8Rng::seed_from_u64(12);
        let (mut smaller, mut compared, mut between) = (0, 0, 0);
        for _ in 0..60 {
            let lowered = network(&mut random);
            let input: Vec<i8> = (0..lowered.tensors[0].shape.len()).map(|_| random.random()).collect();
            let expected = run(&blob_in(&lowered, Memory::Separate), &input);
            let bytes = |lowered: &Lowered| lay_out(&lifetimes(lowered, false)).bytes;
            let whole = bytes(&lowered);
            let least = bytes(&closest(lowered.clone()));
            assert!(least <= whole);
            for enough in [0, (least + whole) / 2, whole - 1] {
                let found = over(lowered.clone(), false, Effort::Any, enough);
                assert!(bytes(&found) <= least.max(enough), "{} {least} {enough}", bytes(&found));
                assert_eq!(run(&blob_in(&found, Memory::Planned), &input), expected, "{found:?}");
                between += usize::from(bytes(&found) > least && bytes(&found) < whole);
                compared += usize::from(found.steps.iter().any(|step| step.tensors.over.is_some()));
            }
            smaller += usize::from(least < whole);
        }
        // No closer than is asked for.
        assert!(between > 5, "{between} between");
        assert!(smaller > 20 && compared > 60, "{smaller} smaller, {compared} over inputs");
    }
}
