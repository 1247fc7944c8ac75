//! Instructions of an inference on a board, exact to one.
//!
//! SysTick has 24 bits and a tick is as long as its clock says, so one run cannot count both far and finely. QEMU decides
//! how long an instruction is: the firmware, which does the same whatever the time, runs once with instructions of a
//! nanosecond, where a tick is dozens of them and no count wraps, and once with instructions of 1024, where an instruction
//! is dozens of ticks. The first says how often the second wrapped.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::board::Board;
use crate::qemu::{Content, Count, OUTPUTS, SAMPLES, start};

/// The file that has the firmware count.
pub(crate) const BENCH: &str = "bench";
/// The file that the firmware writes counts to; boards/qemu/src/bench.rs says what is in it.
const COUNTS: &str = "bench.bin";

/// A nanosecond an instruction.
const FAR: u32 = 0;
/// 1024 nanoseconds an instruction.
const FINE: u32 = 10;

/// What the firmware's loop of known length takes longer when it is the long one: a million turns of three instructions.
const LOOP: u64 = 3_000_000;

/// The lower bits of a word are SysTick's.
const TICKS: u64 = 1 << 24;
/// Set in a word where SysTick reached zero.
const WRAPPED: u32 = 1 << 31;

const NANOSECONDS: u64 = 1_000_000_000;

/// Instructions, each counted from the call of `Engine::run` to its return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// One inference.
    pub whole: u64,
    /// What of it is no operator's: call and return.
    pub call: u64,
    /// Each operator's, decoding it included; with `call` they are the whole.
    pub operators: Vec<u64>,
    /// The bytes of the output.
    pub output: Vec<i8>,
}

impl Board {
    /// Counts the inference of the blob `model` on `input`, by the firmware `elf` (of [`Board::build`]).
    ///
    /// # Errors
    /// QEMU is missing or fails, the firmware refuses the model, or a count is not certain: a loop of known length is
    /// counted wrongly, the operators are not the whole, the two runs do not agree.
    pub fn count(&self, elf: &Path, model: &[u8], input: &[u8], timeout: Duration) -> Result<Counts> {
        let (far, fine) = std::thread::scope(|scope| {
            let far = scope.spawn(|| run(self, elf, model, input, FAR, timeout));
            let fine = run(self, elf, model, input, FINE, timeout);
            (far.join(), fine)
        });
        let far = far.map_err(|_| anyhow::anyhow!("a run has panicked"))??;
        counts(&far, &fine?, self.emulator()?.systick_hz).with_context(|| format!("counting on {}", self.package))
    }
}

/// What a run wrote.
struct Words {
    counts: Vec<u32>,
    output: Vec<i8>,
}

fn run(board: &Board, elf: &Path, model: &[u8], input: &[u8], shift: u32, timeout: Duration) -> Result<Words> {
    let files = [(SAMPLES, Content::Bytes(input)), (BENCH, Content::Bytes(&[]))];
    let ended = start(board, elf, model, &files, Count::Time(shift), timeout, None)?;
    if ended.exit != Some(0) {
        bail!("{} does not count: {}", board.package, ended.stderr.trim());
    }
    let bytes = ended.read(COUNTS);
    let (words, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "{COUNTS} has {} bytes", bytes.len());
    let counts = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    Ok(Words { counts, output: ended.read(OUTPUTS).into_iter().map(u8::cast_signed).collect() })
}

/// Instructions in a span: `far` are its ticks with instructions of a nanosecond, `fine` with instructions of 1024.
fn instructions(far: u32, fine: u32, ticks_per_second: u64) -> Result<u64> {
    ensure!(
        far & WRAPPED == 0,
        "more instructions than can be counted: {} at most",
        TICKS * NANOSECONDS / ticks_per_second
    );
    let expected = u64::from(far) << FINE;
    let low = u64::from(fine) % TICKS;
    // The number with these lower bits that is nearest to what is expected.
    let ticks = low + (expected + TICKS / 2).saturating_sub(low) / TICKS * TICKS;
    // Both counts are off by less than a tick of their own.
    ensure!(ticks.abs_diff(expected) <= (1 << FINE) + 1, "{far} and {fine:#x} ticks do not fit each other");
    let nanoseconds = u128::from(ticks) * u128::from(NANOSECONDS);
    let one = u128::from(ticks_per_second) << FINE;
    let count = (nanoseconds + one / 2) / one;
    ensure!(nanoseconds.abs_diff(count * one) <= u128::from(NANOSECONDS), "{ticks} ticks are no whole number");
    Ok(count as u64)
}

fn counts(far: &Words, fine: &Words, ticks_per_second: u64) -> Result<Counts> {
    ensure!(far.counts.len() == fine.counts.len() && far.output == fine.output, "two runs differ");
    let mut spans = Vec::new();
    for (&far, &fine) in far.counts.iter().zip(&fine.counts) {
        spans.push(instructions(far, fine, ticks_per_second)?);
    }
    let [short, long, whole, operators @ .., call] = spans.as_slice() else { bail!("{} counts", spans.len()) };
    let found = long.saturating_sub(*short);
    ensure!(found == LOOP, "a loop of {LOOP} instructions is counted as {found}");
    let operators: Vec<u64> = operators.iter().map(|one| one.saturating_sub(*call)).collect();
    let sum = call + operators.iter().sum::<u64>();
    ensure!(sum == *whole, "operators one by one take {sum} instructions, together {whole}");
    let (output, stepwise) = far.output.split_at(far.output.len() / 2);
    ensure!(output == stepwise, "operators one by one give another output than together");
    Ok(Counts { whole: *whole, call: *call, operators, output: output.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SysTick shows after `count` instructions, when it was read `early` nanoseconds after a tick.
    fn ticks(count: u64, shift: u32, clock: u64, early: u64) -> u32 {
        let tick = |nanoseconds: u128| nanoseconds * u128::from(clock) / u128::from(NANOSECONDS);
        let passed = tick(u128::from(early) + (u128::from(count) << shift)) - tick(early.into());
        let passed = passed as u64;
        (passed % TICKS) as u32 | if passed >= TICKS { WRAPPED } else { 0 }
    }

    #[test]
    fn two_scales_make_one_exact_count() {
        for clock in [16_000_000, 20_000_000, 25_000_000, 32_000_000] {
            for count in (0..2000).chain((0..400).map(|i| 200_000 + i * 1_234_567)) {
                for early in [0, 7, 31, 40, 61] {
                    let (far, fine) = (ticks(count, FAR, clock, early), ticks(count, FINE, clock, early * 3));
                    assert_eq!(instructions(far, fine, clock).unwrap(), count, "{clock} Hz");
                }
            }
        }
    }

    #[test]
    fn what_is_not_certain_is_an_error() {
        let clock = 25_000_000;
        let far = |count| ticks(count, FAR, clock, 0);
        let fine = |count| ticks(count, FINE, clock, 0);
        let error = |far, fine| instructions(far, fine, clock).unwrap_err().to_string();
        assert!(error(far(700_000_000), fine(700_000_000)).contains("671088640 at most"));
        assert!(error(far(1_000_000), fine(1_000_300)).contains("do not fit"));
        assert!(error(far(1_000_000), fine(1_000_000) + 9).contains("no whole number"));
    }

    fn words(counts: &[u64], shift: u32) -> Words {
        let counts = counts.iter().map(|&count| ticks(count, shift, 25_000_000, 0)).collect();
        Words { counts, output: vec![1, 2, 1, 2] }
    }

    fn of(spans: &[u64]) -> Result<Counts> {
        counts(&words(spans, FAR), &words(spans, FINE), 25_000_000)
    }

    #[test]
    fn operators_are_the_whole_and_the_loop_is_as_long_as_it_is() {
        let found = of(&[4, 3_000_004, 5_000_052, 2_000_052, 3_000_052, 52]).unwrap();
        let operators = vec![2_000_000, 3_000_000];
        assert_eq!(found, Counts { whole: 5_000_052, call: 52, operators, output: vec![1, 2] });
        let error = |spans: &[u64]| of(spans).unwrap_err().to_string();
        assert!(error(&[4, 3_000_003, 52, 52]).contains("is counted as 2999999"));
        assert!(error(&[4, 3_000_004, 153, 152, 52]).contains("take 152 instructions, together 153"));
        assert!(error(&[4, 3_000_004]).contains("2 counts"));
        let mut other = words(&[4, 3_000_004, 52, 52], FINE);
        other.output[3] = 9;
        assert!(counts(&words(&[4, 3_000_004, 52, 52], FAR), &other, 25_000_000).is_err());
    }
}
