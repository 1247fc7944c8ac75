//! Whether a model fits a board: flash, RAM, stack, kernels, and whether the board keeps up with its sensor.
//!
//! What is asked is what the device would refuse or lose samples by, before it is written; each answer has its numbers and what
//! would help.

pub mod load;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use neji_app::Monitor;
use neji_engine::Host;
use neji_format::{Element, Model};
use neji_machine::{Board, Bounds, Sizes};
use serde::Serialize;

use crate::bench::grouped;
use crate::pack;
use load::Load;

/// How sure it is that the board keeps up: what instructions are in cycles is not known exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// It does.
    Yes,
    /// Perhaps: it hangs on cycles an instruction, flash wait states and what else the firmware does.
    Barely,
    /// It does not.
    No,
}

/// Something that a board has to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What.
    pub what: &'static str,
    /// How much of it is needed.
    pub needs: u64,
    /// How much of it there is.
    pub has: u64,
    /// Of what.
    pub unit: &'static str,
    /// Whether that is enough.
    pub holds: Holds,
    /// Where the number comes from, and what would help where it is not enough.
    pub note: String,
    /// The device refuses it, or overwrites memory: it is not flashed even where that is asked for.
    pub hard: bool,
}

/// A model on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The board.
    pub board: String,
    /// What it has to have.
    pub rows: Vec<Row>,
}

/// What is known of the firmware that the model meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// What it takes.
    pub sizes: Sizes,
    /// How deep its stack may become; not known of every firmware.
    pub stack_bytes: Option<u64>,
}

impl Firmware {
    /// Looks at an image for `board`.
    ///
    /// # Errors
    /// It is no image.
    pub fn of(board: &Board, elf: &[u8]) -> Result<Self> {
        let sizes = Sizes::of(elf)?;
        // Of a user's own firmware it may have no bound, such as where it calls by register.
        let stack_bytes = Bounds::of(elf, &board.settings.target).ok().map(|bounds| bounds.whole);
        Ok(Self { sizes, stack_bytes })
    }
}

fn at_most(what: &'static str, needs: u64, has: u64, note: impl Into<String>) -> Row {
    let holds = if needs <= has { Holds::Yes } else { Holds::No };
    let note = if needs <= has { String::new() } else { note.into() };
    Row { what, needs, has, unit: "bytes", holds, note, hard: true }
}

/// What a board has to have for a model, apart from time.
///
/// # Errors
/// The board's kernels do not run it at all: its activations or packing; the message says what helps.
pub fn room(board: &Board, model: &Model<'_>, firmware: Option<&Firmware>) -> Result<Fit> {
    let settings = &board.settings;
    pack::check(board, model)?;
    if model.plan().element == Element::I16 && !settings.int16 {
        bail!("{} has no kernels for int16 activations: quantize without `activations = \"int16\"`", board.package);
    }
    let (arena, memory) = (model.arena_bytes() as u64, Monitor::<Host>::memory_bytes(model) as u64);
    let memory_bytes = firmware.map(|firmware| firmware.sizes.memory).filter(|bytes| *bytes > 0);
    let memory_bytes = memory_bytes.unwrap_or(settings.memory_bytes);
    let budget = memory_bytes.checked_sub(memory - arena).filter(|budget| *budget > 0);
    let other = "`neji boards MODEL` shows which board has more";
    let ram = match budget {
        Some(budget) => format!("`--ram-budget {budget}` of neji quantize or import plans a smaller arena; {other}"),
        None => format!("the front end alone takes more: a smaller frame, window or context; {other}"),
    };
    let flash = format!("a smaller model: fewer channels, hidden units, components or ranks; {other}");
    let mut rows = vec![
        at_most("flash of the model", model.bytes().len() as u64, settings.model_bytes, flash),
        at_most("RAM of the monitor", memory, memory_bytes, ram),
    ];
    if let Some(Firmware { sizes, stack_bytes }) = firmware {
        let fewer = "link only the operators that the model needs: `neji inspect` names their features";
        rows.push(at_most("flash of the firmware", sizes.flash(), settings.flash_bytes, fewer));
        let left = settings.ram_bytes.saturating_sub(sizes.ram());
        // A real board and its twin have a region for their stack, and the rest of RAM for nothing else.
        let left = if settings.emulator.is_some() && settings.twin_of.is_none() {
            left
        } else {
            left.min(settings.stack_bytes)
        };
        if let Some(bytes) = stack_bytes {
            let less = "less memory for the monitor, or fewer statics, leaves more of RAM to the stack";
            rows.push(at_most("stack", *bytes, left, less));
        }
    }
    Ok(Fit { board: board.package.clone(), rows })
}

/// Instructions that a core may do in a cycle at most, so that what is refused by it cannot work.
fn issue(board: &Board) -> u64 {
    // The Cortex-M7 issues two at once.
    if board.settings.name.contains("M7") { 2 } else { 1 }
}

/// Whether `board` keeps up with its sensor, at a clock of `clock_hz`.
pub fn speed(board: &Board, load: &Load, seconds: f64, clock_hz: f64) -> Row {
    let (needs, cycles) = (load.instructions, (seconds * clock_hz) as u64);
    let has = cycles * issue(board);
    let holds = match () {
        () if needs > has => Holds::No,
        // One to two cycles an instruction are usual where flash keeps up.
        () if needs > cycles / 2 => Holds::Barely,
        () => Holds::Yes,
    };
    let mut note = format!("{} each {}", load.source, time(seconds));
    match holds {
        Holds::Yes => {}
        Holds::Barely => note.push_str("; flash that waits, or other work, may make it too slow"),
        Holds::No => {
            let needed = needs as f64 / (seconds * issue(board) as f64 * 1e6);
            let _ = write!(
                note,
                "; a clock of {needed:.0} MHz or more, inputs further apart (`hop`, `stride`, --every), a smaller model, or a faster board"
            );
        }
    }
    Row { what: "time", needs, has: cycles, unit: "instructions of cycles", holds, note, hard: false }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

impl Fit {
    /// Whether all of it holds, perhaps barely.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds != Holds::No)
    }

    /// Insists that it holds; with `force` what does not is let pass where the device itself would not refuse it.
    ///
    /// # Errors
    /// It does not; the message has the numbers and what helps.
    pub fn insist(&self, model: &Path, force: bool) -> Result<()> {
        let wrong = self.rows.iter().filter(|row| row.holds == Holds::No && (row.hard || !force));
        let wrong: Vec<String> = wrong.map(Row::words).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let forced = self.rows.iter().any(|row| row.holds == Holds::No && row.hard);
        let force = if forced { "" } else { " (--force flashes it all the same)" };
        bail!("{} does not fit {}: {}{force}", model.display(), self.board, wrong.join("; "));
    }

    /// In a word or a few, for a table.
    pub fn brief(&self) -> String {
        let wrong: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.holds == Holds::No)
            .map(|row| format!("{} {} > {}", row.what, grouped(row.needs), grouped(row.has)))
            .collect();
        match (wrong.is_empty(), self.rows.iter().any(|row| row.holds == Holds::Barely)) {
            (false, _) => format!("no: {}", wrong.join(", ")),
            (true, true) => "barely".into(),
            (true, false) => "yes".into(),
        }
    }

    /// For a terminal, a line each.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let _ = writeln!(out, "  {:<22} {}", row.what, row.numbers());
        }
        out
    }
}

impl Row {
    fn numbers(&self) -> String {
        let holds = match self.holds {
            Holds::Yes => "fits",
            Holds::Barely => "fits barely",
            Holds::No => "DOES NOT FIT",
        };
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        let (needs, has) = (grouped(self.needs), grouped(self.has));
        let numbers = match self.unit.split_once(" of ") {
            Some((needed, had)) => format!("{needs} {needed} in {has} {had}"),
            None => format!("{needs} of {has} {}", self.unit),
        };
        format!("{numbers}: {holds}{note}")
    }

    fn words(&self) -> String {
        let (needs, has) = (grouped(self.needs), grouped(self.has));
        match self.unit.split_once(" of ") {
            Some((needed, had)) => format!("{}: {needs} {needed} in {has} {had}, {}", self.what, self.note),
            None => format!("{}: {needs} {} are needed, {has} are there; {}", self.what, self.unit, self.note),
        }
    }
}

/// Looks at a firmware's file.
///
/// # Errors
/// It cannot be read, or is no image.
pub fn firmware(board: &Board, path: &Path) -> Result<(Vec<u8>, Firmware)> {
    let elf = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let found = Firmware::of(board, &elf).with_context(|| format!("{} is no firmware", path.display()))?;
    Ok((elf, found))
}

#[cfg(test)]
mod tests {
    use neji_format::AlignedBytes;

    use super::*;

    fn board(change: impl FnOnce(&mut neji_machine::Settings)) -> Board {
        let mut board = Board::known().into_iter().find(|board| board.package == "qemu-microbit").unwrap();
        change(&mut board.settings);
        board
    }

    fn blob(name: &str) -> AlignedBytes {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden").join(name);
        AlignedBytes::new(&std::fs::read(path).unwrap())
    }

    #[test]
    fn what_is_too_large_is_said_with_numbers_and_a_cure() {
        let bytes = blob("v5_listener.neji");
        let model = Model::parse(bytes.as_slice()).unwrap();
        let memory = Monitor::<Host>::memory_bytes(&model) as u64;
        let exact = board(|settings| {
            settings.model_bytes = bytes.as_slice().len() as u64;
            settings.memory_bytes = memory;
        });
        let fit = room(&exact, &model, None).unwrap();
        assert!(fit.holds() && fit.brief() == "yes", "{}", fit.text());
        let small = board(|settings| {
            settings.model_bytes = bytes.as_slice().len() as u64 - 1;
            settings.memory_bytes = memory - 1;
        });
        let fit = room(&small, &model, None).unwrap();
        let error = fit.insist(Path::new("m.neji"), true).unwrap_err().to_string();
        assert!(error.starts_with("m.neji does not fit qemu-microbit: flash of the model: "), "{error}");
        assert!(
            error.contains("RAM of the monitor") && error.contains("--ram-budget") && !error.contains("--force"),
            "{error}"
        );
        assert!(fit.brief().starts_with("no: flash of the model ") && fit.text().contains("DOES NOT FIT"));
    }

    #[test]
    fn a_firmware_is_held_against_flash_and_ram() {
        let bytes = blob("v5_listener.neji");
        let model = Model::parse(bytes.as_slice()).unwrap();
        let board = board(|settings| (settings.flash_bytes, settings.ram_bytes) = (1000, 9000));
        let sizes = Sizes { code: 900, constants: 90, data: 10, zeroed: 90, memory: 8000 };
        let of = |sizes, stack| room(&board, &model, Some(&Firmware { sizes, stack_bytes: Some(stack) })).unwrap();
        assert!(of(sizes, 900).holds());
        assert!(of(sizes, 901).brief().contains("stack 901 > 900"));
        assert!(of(Sizes { code: 901, ..sizes }, 900).brief().contains("flash of the firmware 1,001 > 1,000"));
    }

    #[test]
    fn kernels_that_are_missing_are_an_error() {
        let bytes = blob("v5_int16.neji");
        let error = room(&board(|_| ()), &Model::parse(bytes.as_slice()).unwrap(), None).unwrap_err().to_string();
        assert!(error.contains("int16"), "{error}");
        let bytes = blob("v5_packed.neji");
        let error = room(&board(|_| ()), &Model::parse(bytes.as_slice()).unwrap(), None).unwrap_err().to_string();
        assert!(error.contains("neji pack"), "{error}");
    }

    #[test]
    fn a_board_that_is_too_slow_is_refused_unless_forced() {
        let load = |instructions| Load { instructions, source: "counted".into() };
        let row = |instructions| speed(&board(|_| ()), &load(instructions), 0.5, 16e6);
        assert_eq!(row(4_000_000).holds, Holds::Yes);
        assert_eq!(row(4_000_001).holds, Holds::Barely);
        assert_eq!(row(8_000_000).holds, Holds::Barely);
        assert_eq!(row(8_000_001).holds, Holds::No);
        let fast = board(|settings| settings.name = "B (Cortex-M7)".into());
        assert_eq!(speed(&fast, &load(16_000_000), 0.5, 16e6).holds, Holds::Barely);
        let fit = Fit { board: "b".into(), rows: vec![row(16_000_000)] };
        let error = fit.insist(Path::new("m"), false).unwrap_err().to_string();
        assert!(error.contains("16,000,000 instructions in 8,000,000 cycles") && error.contains("32 MHz"), "{error}");
        assert!(error.contains("--force"), "{error}");
        fit.insist(Path::new("m"), true).unwrap();
    }
}
