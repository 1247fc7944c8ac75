//! From which operator to which a tensor must be kept.

use super::over::Over;

/// One operator as the planner sees it: tensors by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Use {
    /// Tensors it reads.
    pub inputs: Vec<usize>,
    /// The tensor it writes.
    pub output: usize,
    /// The output may lie exactly over the first input where that is not read again: elementwise operators, reshape.
    pub in_place: bool,
    /// How the output may lie over the first input where that is not read again.
    pub over: Option<Over>,
}

/// A tensor's size and the operators between which it is alive, both included.
///
/// Time `t + 1` is the run of operator `t`; the model's input is alive from time 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Size in the arena.
    pub bytes: usize,
    /// When it is written.
    pub first: usize,
    /// When it is last read.
    pub last: usize,
    /// The tensor whose memory it takes over.
    pub shares: Option<usize>,
    /// The tensor that it may lie over when it is written, and how.
    pub over: Option<(usize, Over)>,
}

/// The lifetime of each tensor.
///
/// Tensor `input` is there from the beginning, to the end where `keep_input`; `output` is kept to the end.
///
/// # Panics
/// Where an operator reads a tensor that nothing has written.
pub fn lifetimes(bytes: &[usize], uses: &[Use], input: usize, output: usize, keep_input: bool) -> Vec<Lifetime> {
    let end = uses.len() + 1;
    let mut alive: Vec<Option<Lifetime>> = vec![None; bytes.len()];
    alive[input] = Some(Lifetime {
        bytes: bytes[input],
        first: 0,
        last: if keep_input { end } else { 0 },
        shares: None,
        over: None,
    });
    for (time, used) in uses.iter().enumerate().map(|(index, used)| (index + 1, used)) {
        for &read in &used.inputs {
            let lifetime = alive[read].as_mut().expect("a tensor is written before it is read");
            lifetime.last = lifetime.last.max(time);
        }
        // A tensor that is written in bands is there from the first.
        let written = Lifetime { bytes: bytes[used.output], first: time, last: time, shares: None, over: None };
        alive[used.output].get_or_insert(written).last = time;
    }
    let mut alive: Vec<Lifetime> = alive.into_iter().map(|l| l.expect("every tensor is written")).collect();
    alive[output].last = end;
    for (time, used) in uses.iter().enumerate().map(|(index, used)| (index + 1, used)) {
        let Some(&first) = used.inputs.first() else { continue };
        if alive[first].last != time {
            continue;
        }
        if used.in_place && alive[first].bytes == alive[used.output].bytes {
            alive[used.output].shares = Some(first);
        } else if alive[used.output].first == time {
            alive[used.output].over = used.over.map(|over| (first, over));
        }
    }
    alive
}
