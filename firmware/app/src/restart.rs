//! Why the firmware started, and what of its last life is known.
//!
//! A chip's register says what reset it; why it came to that, only the firmware knew. So a few words of RAM that no start
//! touches ([`Retained`]) hold what it was doing ([`Stage`]) and, where it restarts itself, why ([`Why`]). The memory is
//! random after power came: what has no valid checksum counts as nothing.

use core::fmt;

/// What reset the chip, by its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The register does not say.
    Unknown,
    /// Power came.
    PowerOn,
    /// The reset pin.
    Pin,
    /// The supply was too low.
    BrownOut,
    /// A watchdog that was not fed.
    Watchdog,
    /// The firmware.
    Software,
    /// The core could not even run its fault handler.
    Lockup,
    /// A debugger.
    Debugger,
}

impl Cause {
    /// By RESETREAS of a chip of the nRF52 series (nRF52840 product specification, POWER). No bit is set where power came or was
    /// too low, which the register doesn't tell apart.
    pub const fn of_nrf52(register: u32) -> Self {
        match register {
            0 => Self::PowerOn,
            _ if register & 1 << 1 != 0 => Self::Watchdog,
            _ if register & 1 << 3 != 0 => Self::Lockup,
            _ if register & 1 << 2 != 0 => Self::Software,
            _ if register & 1 << 0 != 0 => Self::Pin,
            _ if register & 1 << 18 != 0 => Self::Debugger,
            _ => Self::Unknown,
        }
    }

    /// By RCC_CSR of an STM32F4 (RM0390, 6.3.21). The pin's bit is set by every reset, the brown-out's by power, too.
    pub const fn of_stm32f4(register: u32) -> Self {
        match register >> 25 {
            bits if bits & 0b001_0000 != 0 || bits & 0b010_0000 != 0 => Self::Watchdog,
            bits if bits & 0b000_1000 != 0 => Self::Software,
            bits if bits & 0b000_0100 != 0 => Self::PowerOn,
            bits if bits & 0b000_0001 != 0 => Self::BrownOut,
            bits if bits & 0b000_0010 != 0 => Self::Pin,
            _ => Self::Unknown,
        }
    }

    /// By RCC_RSR of an STM32H7 of one core (RM0433, 8.7.39), in the same order.
    pub const fn of_stm32h7(register: u32) -> Self {
        match register >> 16 {
            bits if bits & (1 << 10 | 1 << 12) != 0 => Self::Watchdog,
            bits if bits & 1 << 8 != 0 => Self::Software,
            bits if bits & 1 << 7 != 0 => Self::PowerOn,
            bits if bits & 1 << 5 != 0 => Self::BrownOut,
            bits if bits & 1 << 6 != 0 => Self::Pin,
            _ => Self::Unknown,
        }
    }

    /// By WATCHDOG_REASON and VREG_AND_CHIP_RESET's CHIP_RESET of an RP2040 (datasheet, 4.7 and 2.10.7). What the firmware does
    /// itself by SYSRESETREQ leaves the latter as it was: the retained words tell.
    pub const fn of_rp2040(reason: u32, chip_reset: u32) -> Self {
        match chip_reset {
            _ if reason & 0b01 != 0 => Self::Watchdog,
            _ if reason & 0b10 != 0 => Self::Software,
            _ if chip_reset & 1 << 20 != 0 => Self::Debugger,
            _ if chip_reset & 1 << 16 != 0 => Self::Pin,
            _ if chip_reset & 1 << 8 != 0 => Self::PowerOn,
            _ => Self::Unknown,
        }
    }

    /// By WATCHDOG_REASON and POWMAN's CHIP_RESET of an RP2350 (datasheet, 12.9 and 6.4).
    pub const fn of_rp2350(reason: u32, chip_reset: u32) -> Self {
        match chip_reset {
            _ if reason & 0b01 != 0 => Self::Watchdog,
            _ if reason & 0b10 != 0 => Self::Software,
            _ if chip_reset & 1 << 17 != 0 => Self::BrownOut,
            _ if chip_reset & 1 << 16 != 0 => Self::PowerOn,
            _ if chip_reset & 1 << 18 != 0 => Self::Pin,
            _ if chip_reset & (1 << 19 | 1 << 21) != 0 => Self::Debugger,
            _ if chip_reset & (1 << 22 | 1 << 23 | 1 << 24 | 1 << 28) != 0 => Self::Watchdog,
            _ if chip_reset & 1 << 27 != 0 => Self::Software,
            _ => Self::Unknown,
        }
    }

    /// Whether the firmware was running and did not come to an end by itself or by somebody's hand.
    const fn is_failure(self) -> bool {
        matches!(self, Self::Watchdog | Self::Lockup | Self::Software | Self::Unknown)
    }
}

/// Why the firmware restarted itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It did not, or it was asked to.
    Asked,
    /// An instruction or an access that the core refuses.
    HardFault {
        /// Where the instruction is.
        pc: u32,
        /// What called the function.
        lr: u32,
        /// The fault's status register (CFSR); 0 on cores without one.
        status: u32,
    },
    /// A check of its own failed.
    Panic {
        /// Line of the source.
        line: u32,
    },
    /// The sensor gave no samples for too long.
    SensorSilent,
    /// The sensor's driver gave up.
    SensorFailed,
    /// The supply was about to be too low.
    SupplyLow,
}

/// What the firmware is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Setting up.
    Starting,
    /// Waiting for samples.
    Waiting,
    /// In the monitor: front end, inference, score.
    Judging,
    /// Setting pins, reporting.
    Telling,
    /// Doing nothing any more, since there is no model that it could run.
    Idle,
}

impl Stage {
    const fn number(self) -> u32 {
        self as u32
    }

    const fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Starting,
            1 => Self::Waiting,
            2 => Self::Judging,
            3 => Self::Telling,
            4 => Self::Idle,
            _ => return None,
        })
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Starting => "setting up",
            Self::Waiting => "waiting for samples",
            Self::Judging => "running the model",
            Self::Telling => "reporting",
            Self::Idle => "without a model",
        }
    }
}

/// Bytes of a panic's file that are kept: its end.
const PLACE_BYTES: usize = 32;
/// Words that a restart leaves alone.
pub const RETAINED_WORDS: usize = 20;

const MAGIC: u32 = 0x4e4a_5254;
const STAGE: u32 = 0x4e4a_5300;

/// Words: 0 magic, 1 checksum, 2 why, 3 restarts in a row, 4 to 6 numbers of why, 7 to 14 the panic's file; 16 the stage,
/// which changes too often for a checksum and is its own.
const CHECKED: core::ops::Range<usize> = 2..15;
const STAGE_WORD: usize = 16;

/// The words that outlive a restart.
#[derive(Debug)]
pub struct Retained<'m> {
    words: &'m mut [u32; RETAINED_WORDS],
}

impl<'m> Retained<'m> {
    /// Over memory that neither the start of the firmware nor another part of it writes.
    pub fn new(words: &'m mut [u32; RETAINED_WORDS]) -> Self {
        Self { words }
    }

    fn checked(&self) -> &[u32] {
        self.words.get(CHECKED).unwrap_or_default()
    }

    /// FNV-1a over words: enough against RAM that was never written.
    fn sum(&self) -> u32 {
        self.checked().iter().fold(0x811c_9dc5, |sum, word| (sum ^ word).wrapping_mul(0x0100_0193))
    }

    fn is_valid(&self) -> bool {
        self.words[0] == MAGIC && self.words[1] == self.sum()
    }

    fn seal(&mut self) {
        self.words[0] = MAGIC;
        self.words[1] = self.sum();
    }

    /// At the start: what is known of the end before, and a clean sheet.
    pub fn begin(&mut self, cause: Cause) -> Restart {
        let valid = self.is_valid() && !matches!(cause, Cause::PowerOn);
        let code = if valid { self.words[2] } else { 0 };
        let numbers = [self.words[4], self.words[5], self.words[6]];
        let why = match code {
            1 => Some(Why::Asked),
            2 => Some(Why::HardFault { pc: numbers[0], lr: numbers[1], status: numbers[2] }),
            3 => Some(Why::Panic { line: numbers[0] }),
            4 => Some(Why::SensorSilent),
            5 => Some(Why::SensorFailed),
            6 => Some(Why::SupplyLow),
            _ => None,
        };
        let mut place = [0; PLACE_BYTES];
        for (bytes, word) in place.chunks_exact_mut(4).zip(self.words.iter().skip(7)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let stage = self.words[STAGE_WORD];
        let stage = if valid && stage & !0xff == STAGE { Stage::of(stage & 0xff) } else { None };
        // What the register does not know the firmware does: it was itself.
        let known =
            if why.is_some() && !matches!(cause, Cause::Watchdog | Cause::Lockup) { Cause::Software } else { cause };
        let failed = match why {
            Some(Why::Asked) => false,
            Some(_) => true,
            None => known.is_failure() && stage.is_some(),
        };
        let row = if valid && failed { self.words[3].saturating_add(1) } else { 0 };
        self.words.fill(0);
        self.words[3] = row;
        self.seal();
        self.stage(Stage::Starting);
        Restart { cause: known, why, stage, row, place }
    }

    /// Says what is done from now on.
    pub fn stage(&mut self, stage: Stage) {
        self.words[STAGE_WORD] = STAGE | stage.number();
    }

    /// Says why the firmware is about to restart. Of a panic, `place` is the file.
    pub fn end(&mut self, why: Why, place: &str) {
        let row = if self.is_valid() { self.words[3] } else { 0 };
        let (code, numbers) = match why {
            Why::Asked => (1, [0; 3]),
            Why::HardFault { pc, lr, status } => (2, [pc, lr, status]),
            Why::Panic { line } => (3, [line, 0, 0]),
            Why::SensorSilent => (4, [0; 3]),
            Why::SensorFailed => (5, [0; 3]),
            Why::SupplyLow => (6, [0; 3]),
        };
        let stage = self.words[STAGE_WORD];
        self.words.fill(0);
        self.words[2] = code;
        self.words[3] = row;
        self.words[STAGE_WORD] = stage;
        for (to, from) in self.words.iter_mut().skip(4).zip(numbers) {
            *to = from;
        }
        let bytes = place.as_bytes();
        let tail = bytes.get(bytes.len().saturating_sub(PLACE_BYTES)..).unwrap_or_default();
        for (to, bytes) in self.words.iter_mut().skip(7).zip(tail.chunks(4)) {
            let mut word = [0; 4];
            for (to, &from) in word.iter_mut().zip(bytes) {
                *to = from;
            }
            *to = u32::from_le_bytes(word);
        }
        self.seal();
    }

    /// Says that the firmware has proved to work: the next failure is the first again.
    pub fn settle(&mut self) {
        if self.words[3] != 0 {
            self.words[3] = 0;
            self.seal();
        }
    }
}

/// What is known of the start. Its text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// What reset the chip.
    pub cause: Cause,
    /// What the firmware said before, if it did.
    pub why: Option<Why>,
    /// What it was doing then.
    pub stage: Option<Stage>,
    /// Failures in a row with no verdict between them, this one included.
    pub row: u32,
    place: [u8; PLACE_BYTES],
}

impl Restart {
    /// The end of the name of the file that panicked, where one did.
    pub fn place(&self) -> &str {
        let end = self.place.iter().position(|&byte| byte == 0).unwrap_or(PLACE_BYTES);
        let bytes = self.place.get(..end).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or("?")
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            Cause::Unknown => "started, nothing says why",
            Cause::PowerOn => "started: power came",
            Cause::Pin => "restarted by the reset pin",
            Cause::BrownOut => "restarted: the supply was too low",
            Cause::Watchdog => "restarted by the watchdog",
            Cause::Software => "restarted by the firmware",
            Cause::Lockup => "restarted: the core was locked up",
            Cause::Debugger => "restarted by a debugger",
        })?;
        match self.why {
            None => {}
            Some(Why::Asked) => f.write_str(", as asked")?,
            Some(Why::HardFault { pc, lr, status }) => {
                write!(f, " after a hard fault at {pc:#010x}, called from {lr:#010x}, status {status:#010x}")?;
            }
            Some(Why::Panic { line }) => write!(f, " after a panic in {}:{line}", self.place())?,
            Some(Why::SensorSilent) => f.write_str(": the sensor gave no samples")?,
            Some(Why::SensorFailed) => f.write_str(": the sensor does not answer")?,
            Some(Why::SupplyLow) => f.write_str(": the supply was about to be too low")?,
        }
        match self.stage {
            Some(stage) if self.row > 0 => write!(f, ", while {}", stage.text())?,
            _ => {}
        }
        if self.row > 1 {
            write!(f, "; {} times in a row", self.row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const RANDOM: [u32; RETAINED_WORDS] = [0xdead_beef; RETAINED_WORDS];

    #[test]
    fn random_memory_after_power_says_nothing() {
        for cause in [Cause::PowerOn, Cause::Watchdog, Cause::Pin] {
            let mut words = RANDOM;
            let restart = Retained::new(&mut words).begin(cause);
            assert_eq!((restart.cause, restart.why, restart.stage, restart.row), (cause, None, None, 0));
        }
        // Nor does memory that happens to have outlived the power.
        let mut words = RANDOM;
        let mut retained = Retained::new(&mut words);
        retained.end(Why::SensorSilent, "");
        assert_eq!(retained.begin(Cause::PowerOn).why, None);
    }

    #[test]
    fn what_was_said_before_the_end_is_told_once() {
        let mut words = RANDOM;
        let mut retained = Retained::new(&mut words);
        retained.begin(Cause::PowerOn);
        retained.stage(Stage::Judging);
        retained.end(Why::HardFault { pc: 0x1234, lr: 0x55, status: 0x200 }, "");
        let restart = retained.begin(Cause::Software);
        let text = "restarted by the firmware after a hard fault at 0x00001234, called from 0x00000055, status 0x00000200, \
                    while running the model";
        assert_eq!(restart.to_string(), text);
        assert_eq!(retained.begin(Cause::Pin).to_string(), "restarted by the reset pin");
    }

    #[test]
    fn failures_in_a_row_are_counted_until_the_firmware_works() {
        let mut words = RANDOM;
        let mut retained = Retained::new(&mut words);
        retained.begin(Cause::PowerOn);
        for row in 1..4 {
            retained.stage(Stage::Waiting);
            retained.end(Why::SensorSilent, "");
            assert_eq!(retained.begin(Cause::Unknown).row, row);
        }
        retained.settle();
        retained.stage(Stage::Waiting);
        let restart = retained.begin(Cause::Watchdog);
        assert_eq!((restart.row, restart.why, restart.stage), (1, None, Some(Stage::Waiting)));
        assert_eq!(restart.to_string(), "restarted by the watchdog, while waiting for samples");
        retained.stage(Stage::Waiting);
        let text = retained.begin(Cause::Watchdog).to_string();
        assert_eq!(text, "restarted by the watchdog, while waiting for samples; 2 times in a row");
        retained.end(Why::Asked, "");
        assert_eq!(retained.begin(Cause::Software).row, 0);
    }

    #[test]
    fn a_panic_keeps_the_end_of_its_files_name() {
        let mut words = RANDOM;
        let mut retained = Retained::new(&mut words);
        retained.end(Why::Panic { line: 7 }, "/a/long/way/to/the/sources/of/boards/embassy/src/watch.rs");
        let restart = retained.begin(Cause::Unknown);
        assert_eq!(restart.place(), "urces/of/boards/embassy/src/watch.rs".split_at(4).1);
        assert!(restart.to_string().starts_with("restarted by the firmware after a panic in "), "{restart}");
        retained.end(Why::Panic { line: 7 }, "src/main.rs");
        assert_eq!(retained.begin(Cause::Unknown).place(), "src/main.rs");
    }

    #[test]
    fn every_changed_word_makes_it_say_nothing() {
        let mut good = RANDOM;
        Retained::new(&mut good).end(Why::Panic { line: 9 }, "src/main.rs");
        for index in 0..CHECKED.end {
            let mut words = good;
            words[index] ^= 0x10;
            assert_eq!(Retained::new(&mut words).begin(Cause::Unknown).why, None, "{index}");
        }
    }

    #[test]
    fn registers_of_known_resets() {
        // Power-on values of the reference manuals, then a watchdog's, where the others' bits stay set.
        assert_eq!(
            [0, 1 << 1, 1 << 2, 1].map(Cause::of_nrf52),
            [Cause::PowerOn, Cause::Watchdog, Cause::Software, Cause::Pin]
        );
        assert_eq!(
            [0x0e00_0000, 0x2400_0000, 0x1400_0000, 0x0400_0000, 0x0600_0000].map(Cause::of_stm32f4),
            [Cause::PowerOn, Cause::Watchdog, Cause::Software, Cause::Pin, Cause::BrownOut]
        );
        assert_eq!(
            [0x00e8_0000, 0x0440_0000, 0x0140_0000, 0x0040_0000, 0x0060_0000].map(Cause::of_stm32h7),
            [Cause::PowerOn, Cause::Watchdog, Cause::Software, Cause::Pin, Cause::BrownOut]
        );
        assert_eq!(Cause::of_rp2040(1, 1 << 8), Cause::Watchdog);
        assert_eq!(Cause::of_rp2040(0, 1 << 8), Cause::PowerOn);
        assert_eq!(Cause::of_rp2350(0, 1 << 17), Cause::BrownOut);
    }
}
