//! Where an inference's instructions are, by operator and by function, and an estimate of their cycles.
//!
//! The firmware counts itself, as for [`Board::count`]; a plugin of QEMU counts beside it how often each address runs
//! between the two readings of the clock. What [`Board::count`] finds must be the sum of that, to the instruction.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

use crate::bench::{BENCH, Counts};
use crate::board::Board;
use crate::mix::{Cycles, Instruction, Kind, PIPELINED, REFILL};
use crate::plugin;
use crate::qemu::{Content, Count, SAMPLES, start};
use crate::stack::Image;
use crate::thumb::{self, Effect};

/// The file that the plugin writes.
const WINDOWS: &str = "windows.txt";
/// Windows before the whole: the first inference is not counted.
const WARM: usize = 1;

/// Instructions, and what they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many of each kind, in the order of [`Kind::ALL`].
    pub kinds: [u64; Kind::ALL.len()],
    /// Branches that led elsewhere than to the next instruction.
    pub taken: u64,
    /// What they would cost a Cortex-M4 whose memory never waits.
    pub cycles: Cycles,
}

impl Tally {
    /// All of them.
    pub fn instructions(&self) -> u64 {
        self.kinds.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        for (sum, kind) in self.kinds.iter_mut().zip(other.kinds) {
            *sum += kind;
        }
        self.taken += other.taken;
        self.cycles = self.cycles.plus(other.cycles);
    }

    /// What is more than `other`; none where something is less.
    fn minus(mut self, other: &Self) -> Option<Self> {
        for (kind, less) in self.kinds.iter_mut().zip(other.kinds) {
            *kind = kind.checked_sub(less)?;
        }
        Some(Self { taken: self.taken.checked_sub(other.taken)?, cycles: self.cycles.minus(other.cycles)?, ..self })
    }
}

/// An inference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// What the firmware counted, which is the same.
    pub counts: Counts,
    /// All of it.
    pub whole: Tally,
    /// What of it is no operator's.
    pub call: Tally,
    /// Each operator's; with `call` they are the whole but for a load or two that overlap otherwise.
    pub operators: Vec<Tally>,
    /// Each function's own, without what it calls, most instructions first; they are the whole.
    pub functions: Vec<(String, Tally)>,
}

impl Board {
    /// Takes the inference of the blob `model` on `input` apart, by the firmware `elf` (of [`Board::build`]).
    ///
    /// # Errors
    /// As [`Board::count`]; the plugin does not build or QEMU does not take it, or the two do not count the same.
    pub fn profile(&self, elf: &Path, model: &[u8], input: &[u8], timeout: Duration) -> Result<Profile> {
        let counts = self.count(elf, model, input, timeout)?;
        let bytes = std::fs::read(elf).with_context(|| format!("reading {}", elf.display()))?;
        let image = Image::read(&bytes)?;
        let marks = marks(&bytes, &image)?;
        let root = self.workspace.parent().context("the boards are in no repository")?;
        let arguments = arguments(&plugin::build(root)?, marks);
        let files = [(SAMPLES, Content::Bytes(input)), (BENCH, Content::Bytes(&[]))];
        let ended = start(self, elf, model, &files, Count::Plugin(arguments.into()), timeout, None)?;
        if ended.exit != Some(0) {
            bail!("{} does not run with the plugin: {}", self.package, ended.stderr.trim());
        }
        let windows = windows(&String::from_utf8_lossy(&ended.read(WINDOWS)))?;
        profile(counts, &windows, |address| image.at(address).map_or("?", |(_, function)| &function.name))
            .with_context(|| format!("profiling on {}", self.package))
    }
}

/// Where the firmware reads its clock before and after what it counts: see [`readings`].
fn marks(elf: &[u8], image: &Image) -> Result<Range<u32>> {
    let counter = "neji_qemu::bench::Counter::inference";
    let from = image.find(counter, |symbol| symbol.starts_with(counter))?;
    let run = "neji_engine::engine::Engine<";
    let run = image.find(run, |symbol| symbol.contains(run) && symbol.ends_with("::run"))?;
    let to = image.at(from).map_or(from, |(_, function)| function.end);
    let file = object::File::parse(elf)?;
    let size = u64::from(to.saturating_sub(from));
    let code = file.sections().find_map(|section| section.data_range(from.into(), size).ok().flatten());
    readings(code.with_context(|| format!("no code of {counter}"))?, from, run)
        .with_context(|| format!("{counter} does not read its clock before and after a call of Engine::run"))
}

/// The last load before the call of `run` in the `code` at `from`, and the first behind it from the same register.
/// The clock is not on the stack.
fn readings(code: &[u8], from: u32, run: u32) -> Option<Range<u32>> {
    let half = |at: usize| Some(u16::from_le_bytes(*code.get(at..)?.first_chunk()?));
    let (mut at, mut before, mut called) = (0, None, false);
    while let Some(first) = half(at) {
        let address = from.wrapping_add(at as u32);
        let second = if thumb::is_long(first) { half(at + 2)? } else { 0 };
        let instruction = Instruction::of(first, second);
        if thumb::is_long(first) && thumb::long(address, first, second) == Effect::Call(run) {
            called = true;
        } else if let (Some(_), Some(registers)) = (instruction.loads, instruction.address)
            && registers & 1 << 13 == 0
        {
            match before {
                Some((start, same)) if called && same == registers => return Some(start..address),
                _ if !called => before = Some((address, registers)),
                _ => {}
            }
        }
        at += if thumb::is_long(first) { 4 } else { 2 };
    }
    None
}

/// What QEMU is told of the plugin. A comma in a path is doubled.
fn arguments(file: &Path, marks: Range<u32>) -> String {
    let file = file.display().to_string().replace(',', ",,");
    format!("{file},from={:#x},to={:#x},out={WINDOWS}", marks.start, marks.end)
}

/// An address that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site {
    runs: u64,
    /// How often something else than the next instruction followed.
    taken: u64,
    /// Bytes that it takes.
    size: u32,
    instruction: Instruction,
}

/// What ran between two marks, by address.
type Window = BTreeMap<u32, Site>;

fn windows(text: &str) -> Result<Vec<Window>> {
    let mut all = Vec::new();
    let mut window = Window::new();
    for line in text.lines() {
        if line.is_empty() {
            all.push(std::mem::take(&mut window));
            continue;
        }
        let (address, site) = site(line).with_context(|| format!("a line of the plugin: {line}"))?;
        window.insert(address, site);
    }
    ensure!(window.is_empty(), "the plugin did not finish");
    Ok(all)
}

fn site(line: &str) -> Option<(u32, Site)> {
    let mut words = line.split(' ');
    let address = u32::from_str_radix(words.next()?, 16).ok()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (runs, taken) = (number()?, number()?);
    let code = words.next()?;
    let half = |at: usize| Some(u16::from_str_radix(code.get(at..at + 4)?, 16).ok()?.swap_bytes());
    let (first, second) = (half(0)?, half(4).unwrap_or(0));
    Some((address, Site { runs, taken, size: code.len() as u32 / 2, instruction: Instruction::of(first, second) }))
}

/// The tally of an address, with what lies before it.
fn tally(before: Option<(&u32, &Site)>, address: u32, site: &Site) -> Tally {
    let mut tally = Tally { taken: site.taken, ..Tally::default() };
    let Site { runs, instruction, .. } = *site;
    if let Some(kind) = tally.kinds.get_mut(instruction.kind as usize) {
        *kind = runs;
    }
    let overlapping = match before {
        Some((at, before)) if at.wrapping_add(before.size) == address => overlap(before, site),
        _ => Cycles::default(),
    };
    let alone = instruction.cycles.times(runs).plus(REFILL.times(site.taken));
    tally.cycles = Cycles {
        low: alone.low.saturating_sub(overlapping.low),
        likely: alone.likely.saturating_sub(overlapping.likely),
        high: alone.high,
    };
    tally
}

/// What a load or store saves right behind a load. Where the address waits for what was loaded, nothing.
fn overlap(before: &Site, site: &Site) -> Cycles {
    let (Some(loaded), Some(address)) = (before.instruction.loads, site.instruction.address) else {
        return Cycles::default();
    };
    // Where more run than came from the load, they came by a branch.
    let saved = before.runs.saturating_sub(before.taken).min(site.runs) * PIPELINED;
    let of = |alone: u64| if address >> loaded & 1 == 0 && alone > 1 { saved } else { 0 };
    let alone = site.instruction.cycles;
    Cycles { low: of(alone.low), likely: of(alone.likely), high: 0 }
}

/// The tallies of all addresses, in their order.
fn tallies(window: &Window) -> impl Iterator<Item = (u32, Tally)> {
    let before = std::iter::once(None).chain(window.iter().map(Some));
    before.zip(window).map(|(before, (&address, site))| (address, tally(before, address, site)))
}

fn sum(window: &Window) -> Tally {
    let mut sum = Tally::default();
    tallies(window).for_each(|(_, tally)| sum.add(&tally));
    sum
}

/// Puts windows and what the firmware counted together; `name` tells an address' function.
fn profile<'a>(counts: Counts, windows: &[Window], name: impl Fn(u32) -> &'a str) -> Result<Profile> {
    let Some([whole, operators @ .., call]) = windows.get(WARM..) else { bail!("{} windows", windows.len()) };
    let mut functions = BTreeMap::<&str, Tally>::new();
    for (address, tally) in tallies(whole) {
        functions.entry(name(address)).or_default().add(&tally);
    }
    let mut functions: Vec<_> = functions.into_iter().map(|(name, tally)| (name.to_owned(), tally)).collect();
    functions.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.instructions()));
    let (whole, call) = (sum(whole), sum(call));
    let operator = |window| sum(window).minus(&call).context("an operator takes less than none");
    let operators = operators.iter().map(operator).collect::<Result<Vec<_>>>()?;
    let each: Vec<u64> = operators.iter().map(Tally::instructions).collect();
    ensure!(
        (whole.instructions(), call.instructions()) == (counts.whole, counts.call) && each == counts.operators,
        "the plugin counts {} instructions, of a call {}, of operators {each:?}; the board {}, {}, {:?}",
        whole.instructions(),
        call.instructions(),
        counts.whole,
        counts.call,
        counts.operators
    );
    Ok(Profile { counts, whole, call, operators, functions })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop: ldr r0, [r1]; ldr r2, [r3]; ldr r4, [r2]; str r4, [r5, r6]; subs; bne, with a nop behind.
    const LOOP: &str = "100 10 0 0868\n102 10 0 1a68\n104 10 0 1468\n106 10 0 ac51\n108 10 0 013f\n10a 10 9 f9d1\n";

    fn counts(whole: u64, call: u64, operators: &[u64]) -> Counts {
        Counts { whole, call, operators: operators.to_vec(), output: vec![] }
    }

    #[test]
    fn lines_are_windows() {
        let found = windows("100 3 0 fbe7\n\n\n102 1 0 20fb0130\n\n").unwrap();
        assert_eq!(found.iter().map(Window::len).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!((found[0][&0x100].instruction.kind, found[0][&0x100].size), (Kind::Branch, 2));
        assert_eq!((found[2][&0x102].instruction.kind, found[2][&0x102].size), (Kind::Multiply, 4));
        assert!(windows("100 3 0 fbe7\n").unwrap_err().to_string().contains("did not finish"));
        assert!(windows("100 x 0 fbe7\n\n").unwrap_err().to_string().contains("100 x 0 fbe7"));
        assert!(windows("100 1 0 f\n\n").is_err());
    }

    #[test]
    fn cycles_are_those_of_a_pipeline() {
        let window = windows(&(LOOP.to_owned() + "\n")).unwrap().remove(0);
        let found = sum(&window);
        assert_eq!((found.instructions(), found.taken), (60, 9));
        // The second load overlaps with the first, the third waits for the second, the store overlaps with the third.
        assert_eq!(found.cycles.likely, 10 * (2 + 1 + 2 + 1 + 1 + 1) + 9 * 2);
        assert_eq!(found.cycles.low, 10 * (2 + 1 + 2 + 1 + 1 + 1) + 9);
        assert_eq!(found.cycles.high, 10 * (2 + 2 + 2 + 2 + 1 + 1) + 9 * 3);
    }

    #[test]
    fn what_does_not_come_from_the_instruction_before_does_not_overlap() {
        // The first load runs once, the second ten times: by a jump.
        let window = windows("100 1 0 0868\n102 10 0 1a68\n\n").unwrap().remove(0);
        assert_eq!(sum(&window).cycles.likely, 2 + 10 * 2 - 1);
        // A hole between.
        let window = windows("100 1 0 0868\n104 1 0 1a68\n\n").unwrap().remove(0);
        assert_eq!(sum(&window).cycles.likely, 4);
    }

    #[test]
    fn instructions_are_their_operators_and_their_functions() {
        let text = "100 9 0 00bf\n\n100 2 0 00bf\n200 7 1 fbe7\n\n100 2 0 00bf\n200 4 1 fbe7\n\n\
                    100 2 0 00bf\n200 3 0 fbe7\n\n100 2 0 00bf\n\n";
        let found = windows(text).unwrap();
        let name = |address| if address < 0x200 { "call" } else { "kernel" };
        let made = profile(counts(9, 2, &[4, 3]), &found, name).unwrap();
        assert_eq!(made.operators.iter().map(Tally::instructions).collect::<Vec<_>>(), [4, 3]);
        let functions: Vec<_> = made.functions.iter().map(|(name, tally)| (&**name, tally.instructions())).collect();
        assert_eq!(functions, [("kernel", 7), ("call", 2)]);
        assert_eq!((made.whole.kinds[Kind::Branch as usize], made.whole.kinds[Kind::Other as usize]), (7, 2));

        let error = |counts| profile(counts, &found, name).unwrap_err().to_string();
        assert!(error(counts(10, 2, &[4, 3])).contains("the board 10, 2, [4, 3]"));
        assert!(error(counts(9, 2, &[4, 4])).contains("of operators [4, 3]"));
        assert!(profile(counts(0, 0, &[]), &found[..1], name).unwrap_err().to_string().contains("1 windows"));
    }

    #[test]
    fn an_operator_takes_more_than_none() {
        let found = windows("\n100 1 0 00bf\n\n100 1 0 00bf\n\n100 2 0 00bf\n\n").unwrap();
        let error = profile(counts(1, 2, &[0]), &found, |_| "f").unwrap_err().to_string();
        assert_eq!(error, "an operator takes less than none");
    }

    #[test]
    fn the_clock_is_read_around_the_call() {
        // ldr r1, [r0]; ldr r5, [r4]; ldr r0, [sp]; bl 0x100; ldr r0, [sp]; ldr r3, [r4].
        let halves = [0x6801u16, 0x6825, 0x9800, 0xf7ff, 0xfffb, 0x9800, 0x6823];
        let code: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        assert_eq!(readings(&code, 0x100, 0x100), Some(0x102..0x10c));
        assert_eq!(readings(&code, 0x100, 0x200), None, "another call");
        assert_eq!(readings(&code[..12], 0x100, 0x100), None, "not read again");
    }

    #[test]
    fn a_comma_in_a_path_is_none_between_arguments() {
        let line = arguments(Path::new("/a,b/x.so"), 0x100..0x180);
        assert_eq!(line, "/a,,b/x.so,from=0x100,to=0x180,out=windows.txt");
    }
}
