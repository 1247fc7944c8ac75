//! How deep the stack can become, read off a firmware image: what each function takes of it, and who calls whom.
//!
//! A function is charged for every instruction that grows the stack, as if it passed each of them once and gave nothing
//! back before its calls. What the image does not tell is an error: recursion, a stack pointer that comes from somewhere.
//! Calls by register are not followed: inference and front end must have none, what formats texts for people has.
//!
//! An executor of embassy polls its tasks by register. They are found by their name: the one that leads to the monitor runs in thread
//! mode, all others may run in the sensor's interrupt.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use crate::thumb::{self, Effect};

/// Bytes of stack that suffice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// For `Engine::run`.
    pub run: u64,
    /// For `Monitor::push`, which calls it.
    pub push: u64,
    /// For the firmware from its reset on, with an interrupt at the worst moment.
    pub whole: u64,
    /// The functions on the deepest way from the reset on, each with what it takes itself.
    pub path: Vec<String>,
    /// Functions that call by register, which is not in `whole`.
    pub indirect: BTreeSet<String>,
}

impl Bounds {
    /// Reads them off the image of a board for `target`.
    ///
    /// # Errors
    /// The image does not tell.
    pub fn of(elf: &[u8], target: &str) -> Result<Self> {
        let image = Image::read(elf)?;
        // A generic one may be there for several types: the deepest counts.
        let method = |of: &str, name: &str| -> Result<u64> {
            let mut deepest = None;
            for address in image.all(|symbol| symbol.contains(of) && symbol.ends_with(name)) {
                let depth = image.depth(address)?;
                ensure!(depth.indirect.is_empty(), "calls by register below {name}: {:?}", depth.indirect);
                deepest = deepest.max(Some(depth.bytes));
            }
            deepest.with_context(|| format!("{name} is not in the image, or was inlined"))
        };
        let run = method("neji_engine::engine::Engine<", "::run")?;
        let push = method("neji_app::monitor::Monitor<", "::push")?;
        let mut thread = image.depth(image.find("Reset", |symbol| symbol == "Reset")?)?;
        let mut interrupt = 0;
        for &handler in &image.handlers {
            interrupt = interrupt.max(image.depth(handler)?.bytes);
        }
        // Eight registers, with those of a floating point unit 26, and a word to align.
        let registers = if target.ends_with("hf") { 26 } else { 8 };
        interrupt += 4 * (registers + 1);
        if let Some((station, others)) = image.tasks()? {
            // The executor's interrupt with its deepest task, the HAL's above it, and a fault in that.
            interrupt = 3 * interrupt + others;
            thread.bytes += station.bytes;
            thread.path.extend(station.path);
            thread.indirect.extend(station.indirect);
        }
        let whole = thread.bytes + interrupt;
        Ok(Self { run, push, whole, path: thread.path, indirect: thread.indirect })
    }
}

/// A function of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Function {
    /// What it is called in the source.
    pub(crate) name: String,
    /// The address after it.
    pub(crate) end: u32,
    /// Bytes that it takes of the stack.
    frame: u64,
    /// Addresses of what it calls, or ends in.
    calls: BTreeSet<u32>,
    /// It calls by register.
    indirect: bool,
    /// Where it writes the stack pointer in a way that is not understood.
    unknown: Option<u32>,
}

/// The functions of an image by address.
#[derive(Debug)]
pub(crate) struct Image {
    functions: BTreeMap<u32, Function>,
    /// What the vector table names, the reset handler apart.
    handlers: BTreeSet<u32>,
}

/// The deepest way down from a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Depth {
    /// Bytes of stack.
    bytes: u64,
    /// The functions on the way that needs them.
    path: Vec<String>,
    /// All functions from here that call by register, wherever that leads.
    indirect: BTreeSet<String>,
}

impl Image {
    /// Reads a 32-bit Arm image.
    ///
    /// # Errors
    /// It is none, or has no symbols.
    pub(crate) fn read(elf: &[u8]) -> Result<Self> {
        let file = object::File::parse(elf)?;
        let mut code = Code::default();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text && section.size() > 0) {
            code.sections.push((section.address() as u32, section.data()?));
        }
        // Functions have bit 0 set; mapping symbols say where data lies between instructions.
        let mut extents = BTreeMap::new();
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or_default();
            let address = symbol.address() as u32;
            if name.starts_with("$d") || name.starts_with("$t") {
                code.data.insert(address, name.starts_with("$d"));
            } else if symbol.kind() == SymbolKind::Text && code.word(address & !1).is_some() {
                let extent = extents.entry(address & !1).or_insert((0, String::new()));
                *extent = (extent.0.max(symbol.size() as u32), readable(name));
            }
        }
        ensure!(!extents.is_empty(), "the image has no symbols of functions");
        let starts: Vec<u32> = extents.keys().copied().collect();
        let mut functions = BTreeMap::new();
        for (index, (start, (size, name))) in extents.into_iter().enumerate() {
            // Assembly may leave the size out; it then reaches to the next function.
            let next = starts.get(index + 1).copied().unwrap_or(u32::MAX);
            let end = if size == 0 { next } else { start.saturating_add(size) };
            functions.insert(start, code.function(name, start, end));
        }
        let vectors = file.section_by_name(".vector_table").context("the image has no vector table")?;
        let (words, _) = vectors.data()?.as_chunks::<4>();
        // The first two are the stack's beginning and the reset handler; what is not used is zero.
        let handlers = words.iter().skip(2).map(|word| u32::from_le_bytes(*word)).filter(|&word| word != 0);
        Ok(Self { functions, handlers: handlers.map(|word| word & !1).collect() })
    }

    /// The functions whose names `matches`.
    fn all(&self, matches: impl Fn(&str) -> bool) -> impl Iterator<Item = u32> {
        self.functions.iter().filter(move |(_, function)| matches(&function.name)).map(|(&address, _)| address)
    }

    /// The one function whose name `matches`.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub(crate) fn find(&self, what: &str, matches: impl Fn(&str) -> bool) -> Result<u32> {
        let mut found = self.all(matches);
        let address = found.next().with_context(|| format!("{what} is not in the image, or was inlined"))?;
        ensure!(found.next().is_none(), "{what} is in the image more than once");
        Ok(address)
    }

    /// The function at `address`, or around it: a jump may lead into the middle.
    pub(crate) fn at(&self, address: u32) -> Option<(u32, &Function)> {
        let (&start, function) = self.functions.range(..=address).next_back()?;
        (address < function.end).then_some((start, function))
    }

    /// How deep the task is that leads to the monitor, and the deepest of all others; `None` where there are no tasks.
    ///
    /// # Errors
    /// As [`Image::depth`], or no task leads there, or several do.
    fn tasks(&self) -> Result<Option<(Depth, u64)>> {
        let is_task = |name: &str| name.starts_with("embassy_executor::raw::TaskStorage<") && name.ends_with("::poll");
        let (mut station, mut others) = (None, 0);
        let tasks: Vec<u32> = self.all(is_task).collect();
        if tasks.is_empty() {
            return Ok(None);
        }
        for task in tasks {
            let depth = self.depth(task)?;
            if depth.path.iter().any(|function| function.starts_with("neji_app::monitor::Monitor<")) {
                ensure!(station.replace(depth).is_none(), "several tasks lead to the monitor");
            } else {
                others = others.max(depth.bytes);
            }
        }
        Ok(Some((station.context("no task leads to the monitor")?, others)))
    }

    /// How deep the stack can become from the function at `address` on.
    ///
    /// # Errors
    /// Functions call each other in a circle, or one treats the stack pointer in a way that is not understood.
    fn depth(&self, address: u32) -> Result<Depth> {
        self.descend(address, &mut Vec::new(), &mut BTreeMap::new())
    }

    fn descend(&self, address: u32, above: &mut Vec<u32>, known: &mut BTreeMap<u32, Depth>) -> Result<Depth> {
        let (start, function) = self.at(address).with_context(|| format!("a call to {address:#x}, no function"))?;
        if let Some(depth) = known.get(&start) {
            return Ok(depth.clone());
        }
        let name = |address: &u32| self.at(*address).map_or("?", |(_, function)| function.name.as_str());
        if let Some(index) = above.iter().position(|&one| one == start) {
            let circle: Vec<&str> = above.iter().skip(index).map(name).collect();
            bail!("functions call each other in a circle: {}", circle.join(" -> "));
        }
        if let Some(at) = function.unknown {
            bail!("{} writes the stack pointer in a way that is not understood, at {at:#x}", function.name);
        }
        above.push(start);
        let mut deepest = Depth::default();
        for &call in &function.calls {
            let below = self.descend(call, above, known)?;
            deepest.indirect.extend(below.indirect);
            if below.bytes > deepest.bytes {
                (deepest.bytes, deepest.path) = (below.bytes, below.path);
            }
        }
        above.pop();
        deepest.bytes += function.frame;
        deepest.path.insert(0, format!("{} ({})", function.name, function.frame));
        if function.indirect {
            deepest.indirect.insert(function.name.clone());
        }
        known.insert(start, deepest.clone());
        Ok(deepest)
    }
}

/// The instructions of an image.
#[derive(Default)]
struct Code<'a> {
    /// Address and bytes.
    sections: Vec<(u32, &'a [u8])>,
    /// Where data (true) and instructions (false) begin.
    data: BTreeMap<u32, bool>,
}

impl Code<'_> {
    /// `N` bytes at `address`.
    fn bytes<const N: usize>(&self, address: u32) -> Option<[u8; N]> {
        self.sections.iter().find_map(|(start, bytes)| {
            let offset = address.checked_sub(*start)? as usize;
            bytes.get(offset..)?.first_chunk::<N>().copied()
        })
    }

    fn half(&self, address: u32) -> Option<u16> {
        self.bytes(address).map(u16::from_le_bytes)
    }

    fn word(&self, address: u32) -> Option<u32> {
        self.bytes(address).map(u32::from_le_bytes)
    }

    fn is_data(&self, address: u32) -> bool {
        self.data.range(..=address).next_back().is_some_and(|(_, &data)| data)
    }

    /// Goes through the instructions of `[start, end)`.
    fn function(&self, name: String, start: u32, end: u32) -> Function {
        let mut function = Function { name, end, ..Function::default() };
        let mut address = start;
        let mut before = Effect::None;
        while address < end {
            let Some(first) = self.half(address) else { break };
            if self.is_data(address) {
                address += 2;
                continue;
            }
            let (effect, after) = match self.half(address + 2) {
                Some(second) if thumb::is_long(first) => (thumb::long(address, first, second), address + 4),
                _ => (thumb::short(address, first), address + 2),
            };
            match effect {
                Effect::None | Effect::Pop | Effect::Literal { .. } => {}
                Effect::Grow(bytes) => function.frame += u64::from(bytes),
                // Cortex-M0: BL is also the one jump that reaches far within a function; only its beginning is called.
                Effect::Call(target) if target > start && target < end => {}
                Effect::Call(target) => _ = function.calls.insert(target),
                Effect::Jump(target) if (start..end).contains(&target) => {}
                Effect::Jump(target) => _ = function.calls.insert(target),
                Effect::Indirect => function.indirect = true,
                // Cortex-M0: a frame too long for a constant is subtracted by adding what was loaded right before.
                Effect::AddToStack { register } => match before {
                    Effect::Literal { register: loaded, address } if loaded == register => {
                        let moved = self.word(address).unwrap_or_default().cast_signed();
                        function.frame += u64::from(moved.min(0).unsigned_abs());
                    }
                    _ => function.unknown = Some(address),
                },
                // Where registers are restored next, it goes back to where they were saved.
                Effect::SetStack => match self.half(after).map(|next| thumb::short(after, next)) {
                    Some(Effect::Pop) => {}
                    _ => function.unknown = Some(address),
                },
                Effect::Unknown => function.unknown = Some(address),
            }
            (before, address) = (effect, after);
        }
        function
    }
}

/// A symbol's name as it stands in the source, without the hash.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function that `halves` at 0x100 are.
    fn function(halves: &[u16]) -> Function {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let code = Code { sections: vec![(0x100, &bytes)], data: BTreeMap::from([(0x10c, true)]) };
        code.function("f".into(), 0x100, 0x100 + bytes.len() as u32)
    }

    #[test]
    fn frames_and_calls_are_added_up() {
        // push {r4, lr}; sub sp, #16; bl 0x200; b.w 0x300; then data, which looks like push {r0-r7, lr}.
        let f = function(&[0xb510, 0xb084, 0xf000, 0xf87c, 0xf000, 0xb8fa, 0xb5ff]);
        assert_eq!((f.frame, f.indirect, f.unknown), (24, false, None));
        assert_eq!(f.calls, BTreeSet::from([0x200, 0x300]));
    }

    #[test]
    fn jumps_within_are_no_calls_and_calls_by_register_are_noted() {
        // b 0x102; bl 0x102, a far jump of the Cortex-M0; blx r3.
        let f = function(&[0xe7ff, 0xf7ff, 0xfffe, 0x4798]);
        assert_eq!((f.calls.len(), f.indirect), (0, true));
        // bl 0x100 calls itself.
        assert_eq!(function(&[0xf7ff, 0xfffe]).calls, BTreeSet::from([0x100]));
    }

    #[test]
    fn a_long_frame_is_a_literal_and_restoring_it_is_no_riddle() {
        // ldr r6, [pc, #8]; add sp, r6; mov sp, r6; pop {r4, pc}; two halves; -1024.
        let f = function(&[0x4e02, 0x44b5, 0x46b5, 0xbd10, 0xbf00, 0xbf00, 0xfc00, 0xffff]);
        assert_eq!((f.frame, f.unknown), (1024, None));
        // Without the literal, and without the pop.
        assert_eq!(function(&[0xbf00, 0x44b5]).unknown, Some(0x102));
        assert_eq!(function(&[0x46b5, 0xbf00]).unknown, Some(0x100));
    }

    fn image(calls: &[(u32, u64, &[u32])]) -> Image {
        let functions = calls.iter().map(|&(address, frame, calls)| {
            let calls = calls.iter().copied().collect();
            (address, Function { name: format!("f{address}"), end: address + 4, frame, calls, ..Function::default() })
        });
        Image { functions: functions.collect(), handlers: BTreeSet::new() }
    }

    #[test]
    fn the_deepest_way_counts() {
        let mut image = image(&[(0, 8, &[4, 10]), (4, 100, &[12]), (8, 50, &[12]), (12, 60, &[])]);
        assert_eq!(image.depth(0).unwrap().path, ["f0 (8)", "f4 (100)", "f12 (60)"]);
        assert_eq!((image.depth(0).unwrap().bytes, image.depth(8).unwrap().bytes), (168, 110));
        image.functions.get_mut(&12).unwrap().indirect = true;
        assert_eq!(image.depth(0).unwrap().indirect, BTreeSet::from(["f12".to_owned()]));
    }

    #[test]
    fn the_task_with_the_monitor_is_told_from_the_others() {
        let mut image = image(&[(0, 8, &[12]), (4, 30, &[]), (8, 50, &[]), (12, 60, &[])]);
        assert_eq!(image.tasks().unwrap(), None);
        for task in [0, 4, 8] {
            image.functions.get_mut(&task).unwrap().name = "embassy_executor::raw::TaskStorage<F>::poll".to_owned();
        }
        assert!(image.tasks().unwrap_err().to_string().starts_with("no task"));
        image.functions.get_mut(&12).unwrap().name = "neji_app::monitor::Monitor<I,T>::push".to_owned();
        let (station, others) = image.tasks().unwrap().unwrap();
        assert_eq!((station.bytes, others), (68, 50));
        image.functions.get_mut(&8).unwrap().calls.insert(12);
        assert!(image.tasks().unwrap_err().to_string().starts_with("several tasks"));
    }

    #[test]
    fn what_has_no_bound_is_an_error_with_names() {
        let mut image = image(&[(0, 8, &[4]), (4, 8, &[8]), (8, 8, &[4]), (12, 8, &[99])]);
        let error = |image: &Image, from| image.depth(from).unwrap_err().to_string();
        assert!(error(&image, 0).ends_with("in a circle: f4 -> f8"), "{}", error(&image, 0));
        assert!(error(&image, 12).contains("0x63"));
        image.functions.get_mut(&4).unwrap().unknown = Some(6);
        assert!(error(&image, 0).contains("f4 writes the stack pointer"));
        assert!(Bounds::of(b"hello", "").is_err());
    }

    #[test]
    fn names_are_those_of_the_source() {
        assert_eq!(readable("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(readable("Reset"), "Reset");
    }
}
