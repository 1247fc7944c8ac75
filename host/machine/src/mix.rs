//! What kind of instruction it is, what it does to a Cortex-M4's pipeline, and what it costs there.
//!
//! Encodings: Armv7-M Architecture Reference Manual, chapter "Thumb instruction set encoding". Costs: Cortex-M4 Technical
//! Reference Manual, "Instruction set summary" and "Load/store timings", with memory that never waits.

use serde::Serialize;

use crate::thumb::is_long;

/// Kinds of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads memory; several registers are one instruction.
    Load,
    /// Writes memory.
    Store,
    /// Multiplies, with or without adding; halves and pairs of halves too.
    Multiply,
    /// Divides whole numbers.
    Divide,
    /// Everything else between registers.
    Alu,
    /// Changes the flow, or may: jumps, calls, returns.
    Branch,
    /// The floating point unit's, and vectors'; their loads and stores are loads and stores.
    Float,
    /// If-then, hints, barriers, special registers.
    Other,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Load, Self::Store, Self::Multiply, Self::Divide, Self::Alu, Self::Branch, Self::Float, Self::Other];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "loads",
            Self::Store => "stores",
            Self::Multiply => "multiplications",
            Self::Divide => "divisions",
            Self::Alu => "other arithmetic",
            Self::Branch => "branches",
            Self::Float => "floating point",
            Self::Other => "other",
        }
    }
}

/// Cycles between which a cost lies, and one that is likely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Cycles {
    /// Not fewer.
    pub low: u64,
    /// Refills take two cycles, divisions seven; a load right behind one that does not give its address takes one.
    pub likely: u64,
    /// Not more, as long as memory does not wait.
    pub high: u64,
}

impl Cycles {
    const fn of(low: u64, likely: u64, high: u64) -> Self {
        Self { low, likely, high }
    }

    const fn exactly(cycles: u64) -> Self {
        Self::of(cycles, cycles, cycles)
    }

    /// So many times.
    pub(crate) fn times(self, count: u64) -> Self {
        Self::of(self.low * count, self.likely * count, self.high * count)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self::of(self.low + other.low, self.likely + other.likely, self.high + other.high)
    }

    pub(crate) fn minus(self, other: Self) -> Option<Self> {
        Some(Self::of(
            self.low.checked_sub(other.low)?,
            self.likely.checked_sub(other.likely)?,
            self.high.checked_sub(other.high)?,
        ))
    }
}

/// Refilling the pipeline, where the flow changes.
pub(crate) const REFILL: Cycles = Cycles::of(1, 2, 3);

/// What behind a load of a single register takes a cycle less.
pub(crate) const PIPELINED: u64 = 1;

/// An instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) kind: Kind,
    /// What it takes alone, the refill apart.
    pub(crate) cycles: Cycles,
    /// The register that it loads, where it loads one: what comes next may overlap with it.
    pub(crate) loads: Option<u16>,
    /// Loads or stores a single register: the registers that make the address, by bits.
    pub(crate) address: Option<u16>,
}

impl Instruction {
    const fn new(kind: Kind, cycles: Cycles) -> Self {
        Self { kind, cycles, loads: None, address: None }
    }

    const ALU: Self = Self::new(Kind::Alu, Cycles::exactly(1));
    const BRANCH: Self = Self::new(Kind::Branch, Cycles::exactly(1));
    const MULTIPLY: Self = Self::new(Kind::Multiply, Cycles::exactly(1));
    const FLOAT: Self = Self::new(Kind::Float, Cycles::exactly(1));
    const OTHER: Self = Self::new(Kind::Other, Cycles::exactly(1));

    /// A load of `register`.
    const fn load(register: u16, address: u16) -> Self {
        // What loads the program counter jumps.
        let kind = if register == 15 { Kind::Branch } else { Kind::Load };
        Self { loads: Some(register), address: Some(address), ..Self::new(kind, Cycles::exactly(2)) }
    }

    /// A store: the write buffer takes it where the address is a register and a constant.
    const fn store(address: u16, by_register: bool) -> Self {
        let cycles = if by_register { Cycles::of(1, 2, 2) } else { Cycles::of(1, 1, 2) };
        Self { address: Some(address), ..Self::new(Kind::Store, cycles) }
    }

    /// Several words; `jumps` where one is the program counter's.
    const fn several(loads: bool, words: u32, jumps: bool) -> Self {
        let kind = match (loads, jumps) {
            (true, true) => Kind::Branch,
            (true, false) => Kind::Load,
            _ => Kind::Store,
        };
        Self::new(kind, Cycles::exactly(1 + words as u64))
    }

    /// Decodes an instruction; `second` does not matter where `first` is all of it.
    pub(crate) fn of(first: u16, second: u16) -> Self {
        if is_long(first) { long(first, second) } else { short(first) }
    }
}

/// Whether `code` is `pattern` where `mask` has ones.
const fn is(code: u16, mask: u16, pattern: u16) -> bool {
    code & mask == pattern
}

fn short(code: u16) -> Instruction {
    let low = |from: u16| code >> from & 7;
    let register = |number: u16| 1 << number;
    match code >> 12 {
        0..=3 => Instruction::ALU,
        4 if is(code, 0xffc0, 0x4340) => Instruction::MULTIPLY,
        4 if is(code, 0xff00, 0x4700) => Instruction::BRANCH,
        // ADD and MOV to the program counter.
        4 if is(code, 0xfd87, 0x4487) => Instruction::BRANCH,
        4 if is(code, 0xf800, 0x4800) => Instruction::load(low(8), 0),
        4 => Instruction::ALU,
        5 => {
            let address = register(low(3)) | register(low(6));
            if low(9) < 3 { Instruction::store(address, true) } else { Instruction::load(low(0), address) }
        }
        6..=8 if is(code, 0x800, 0) => Instruction::store(register(low(3)), false),
        6..=8 => Instruction::load(low(0), register(low(3))),
        9 if is(code, 0x800, 0) => Instruction::store(register(13), false),
        9 => Instruction::load(low(8), register(13)),
        10 => Instruction::ALU,
        11 => miscellaneous(code),
        12 => Instruction::several(is(code, 0x800, 0x800), (code & 0xff).count_ones(), false),
        // UDF and SVC.
        13 if code >> 8 & 15 >= 14 => Instruction::OTHER,
        _ => Instruction::BRANCH,
    }
}

fn miscellaneous(code: u16) -> Instruction {
    match code >> 8 & 15 {
        // ADD and SUB of the stack pointer, extensions, reversals.
        0 | 2 | 10 => Instruction::ALU,
        1 | 3 | 9 | 11 => Instruction::BRANCH,
        4 | 5 => Instruction::several(false, (code & 0x1ff).count_ones(), false),
        12 | 13 => Instruction::several(true, (code & 0x1ff).count_ones(), code & 0x100 != 0),
        // If-then may be folded into the instruction before it.
        15 if code & 15 != 0 => Instruction::new(Kind::Other, Cycles::of(0, 1, 1)),
        _ => Instruction::OTHER,
    }
}

fn long(first: u16, second: u16) -> Instruction {
    let loads = first & 0x10 != 0;
    match first >> 9 & 0x3f {
        0b11_0100 if first & 0x40 == 0 => {
            Instruction::several(loads, second.count_ones(), loads && second & 0x8000 != 0)
        }
        0b11_0100 if is(first, 0xfff0, 0xe8d0) && is(second, 0xffe0, 0xf000) => {
            // TBB and TBH load an offset first.
            Instruction::new(Kind::Branch, Cycles::exactly(2))
        }
        // Exclusive ones, of a word and of less.
        0b11_0100 if is(first, 0xffe0, 0xe840) || is(first, 0xffe0, 0xe8c0) => {
            Instruction::new(if loads { Kind::Load } else { Kind::Store }, Cycles::exactly(2))
        }
        0b11_0100 => Instruction::several(loads, 2, false),
        0b11_0101 => Instruction::ALU,
        0b11_0110 | 0b11_0111 | 0b11_1110 | 0b11_1111 => coprocessor(first, second),
        0b11_1000..=0b11_1011 if second & 0x8000 == 0 => Instruction::ALU,
        0b11_1000..=0b11_1011 => branch(first, second),
        0b11_1100 => single(first, second),
        0b11_1101 if first & 0x100 == 0 => Instruction::ALU,
        0b11_1101 => match first >> 4 & 15 {
            0b1001 | 0b1011 => Instruction::new(Kind::Divide, Cycles::of(2, 7, 12)),
            _ => Instruction::MULTIPLY,
        },
        _ => Instruction::OTHER,
    }
}

/// Branches, and what stands between them: special registers, hints, barriers.
fn branch(first: u16, second: u16) -> Instruction {
    match second & 0x5000 {
        0 if first >> 6 & 15 >= 14 => Instruction::OTHER,
        _ => Instruction::BRANCH,
    }
}

/// Loads and stores of one register.
fn single(first: u16, second: u16) -> Instruction {
    let base = first & 15;
    let by_register = base != 15 && first & 0x80 == 0 && second & 0x800 == 0;
    let index = if by_register { 1 << (second & 15) } else { 0 };
    // The program counter is no result to wait for.
    let address = if base == 15 { 0 } else { 1 << base | index };
    let register = second >> 12;
    match first & 0x70 {
        0x00 | 0x20 | 0x40 => Instruction::store(address, by_register),
        // Of less than a word into the program counter: preloading hints.
        0x10 | 0x30 if register == 15 => Instruction::OTHER,
        _ => Instruction::load(register, address),
    }
}

/// The floating point unit.
fn coprocessor(first: u16, second: u16) -> Instruction {
    let loads = first & 0x10 != 0;
    let moves = first >> 9 == 0b111_0110;
    match () {
        // Two registers at once.
        () if is(first, 0xffe0, 0xec40) => Instruction::new(Kind::Float, Cycles::exactly(2)),
        // VLDR and VSTR.
        () if moves && is(first, 0x0120, 0x0100) => {
            Instruction::several(loads, if second & 0x100 == 0 { 1 } else { 2 }, false)
        }
        () if moves => Instruction::several(loads, u32::from(second & 0xff), false),
        () if first >> 8 != 0xee || second & 0x10 != 0 => Instruction::FLOAT,
        // VDIV; VSQRT.
        () if is(first, 0xffb0, 0xee80) || is(first, 0xffbf, 0xeeb1) && is(second, 0xc0, 0xc0) => {
            Instruction::new(Kind::Float, Cycles::exactly(14))
        }
        // VMLA, VMLS, VNMLA, VNMLS; VFNMA, VFNMS; VFMA, VFMS.
        () if is(first, 0xffa0, 0xee00) || is(first, 0xffb0, 0xee90) || is(first, 0xffb0, 0xeea0) => {
            Instruction::new(Kind::Float, Cycles::exactly(3))
        }
        () => Instruction::FLOAT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(first: u16, second: u16) -> Kind {
        Instruction::of(first, second).kind
    }

    fn likely(first: u16, second: u16) -> u64 {
        Instruction::of(first, second).cycles.likely
    }

    #[test]
    fn short_instructions() {
        for (code, expected, what) in [
            (0x1840, Kind::Alu, "adds r0, r0, r1"),
            (0x2801, Kind::Alu, "cmp r0, #1"),
            (0x4348, Kind::Multiply, "muls r0, r1, r0"),
            (0x4308, Kind::Alu, "orrs r0, r1"),
            (0x4388, Kind::Alu, "bics r0, r1"),
            (0x4408, Kind::Alu, "add r0, r1"),
            (0x4487, Kind::Branch, "add pc, r0"),
            (0x4587, Kind::Alu, "cmp pc, r0"),
            (0x468f, Kind::Branch, "mov pc, r1"),
            (0x4770, Kind::Branch, "bx lr"),
            (0x4798, Kind::Branch, "blx r3"),
            (0x4e1d, Kind::Load, "ldr r6, [pc, #116]"),
            (0x5088, Kind::Store, "str r0, [r1, r2]"),
            (0x5688, Kind::Load, "ldrsb r0, [r1, r2]"),
            (0x6008, Kind::Store, "str r0, [r1]"),
            (0x7808, Kind::Load, "ldrb r0, [r1]"),
            (0x8808, Kind::Load, "ldrh r0, [r1]"),
            (0x9001, Kind::Store, "str r0, [sp, #4]"),
            (0x9801, Kind::Load, "ldr r0, [sp, #4]"),
            (0xa801, Kind::Alu, "add r0, sp, #4"),
            (0xb0c2, Kind::Alu, "sub sp, #264"),
            (0xb108, Kind::Branch, "cbz r0"),
            (0xb908, Kind::Branch, "cbnz r0"),
            (0xb240, Kind::Alu, "sxtb r0, r0"),
            (0xba00, Kind::Alu, "rev r0, r0"),
            (0xb5f0, Kind::Store, "push {r4-r7, lr}"),
            (0xbc10, Kind::Load, "pop {r4}"),
            (0xbdf0, Kind::Branch, "pop {r4-r7, pc}"),
            (0xbf18, Kind::Other, "it ne"),
            (0xbf00, Kind::Other, "nop"),
            (0xc003, Kind::Store, "stm r0!, {r0, r1}"),
            (0xc803, Kind::Load, "ldm r0, {r0, r1}"),
            (0xd1fd, Kind::Branch, "bne"),
            (0xdf00, Kind::Other, "svc"),
            (0xe7fe, Kind::Branch, "b"),
        ] {
            assert_eq!(kind(code, 0), expected, "{what}");
        }
    }

    #[test]
    fn long_instructions() {
        for (first, second, expected, what) in [
            (0xe92d, 0x4ff0, Kind::Store, "push.w {r4-r11, lr}"),
            (0xe8bd, 0x8ff0, Kind::Branch, "pop.w {r4-r11, pc}"),
            (0xe891, 0x000f, Kind::Load, "ldm.w r1, {r0-r3}"),
            (0xe9cd, 0x4502, Kind::Store, "strd r4, r5, [sp, #8]"),
            (0xe9d0, 0x4502, Kind::Load, "ldrd r4, r5, [r0, #8]"),
            (0xe8d0, 0x4502, Kind::Load, "not tbb: an exclusive load's place"),
            (0xe8df, 0xf001, Kind::Branch, "tbb [pc, r1]"),
            (0xe8df, 0xf011, Kind::Branch, "tbh [pc, r1, lsl #1]"),
            (0xe851, 0x0f00, Kind::Load, "ldrex r0, [r1]"),
            (0xeb00, 0x0241, Kind::Alu, "add.w r2, r0, r1, lsl #1"),
            (0xeac0, 0x4201, Kind::Alu, "pkhbt r2, r0, r1, lsl #16"),
            (0xf100, 0x0201, Kind::Alu, "add.w r2, r0, #1"),
            (0xf300, 0x0207, Kind::Alu, "ssat r2, #8, r0"),
            (0xf7ff, 0xfffe, Kind::Branch, "bl"),
            (0xf47f, 0xaffe, Kind::Branch, "bne.w"),
            (0xf000, 0xb801, Kind::Branch, "b.w"),
            (0xf3bf, 0x8f4f, Kind::Other, "dsb"),
            (0xf3ef, 0x8010, Kind::Other, "mrs r0, primask"),
            (0xf851, 0x0b04, Kind::Load, "ldr r0, [r1], #4"),
            (0xf8df, 0x0010, Kind::Load, "ldr.w r0, [pc, #16]"),
            (0xf851, 0xf022, Kind::Branch, "ldr.w pc, [r1, r2, lsl #2]"),
            (0xf991, 0x0000, Kind::Load, "ldrsb.w r0, [r1]"),
            (0xf8c1, 0x0010, Kind::Store, "str.w r0, [r1, #16]"),
            (0xf891, 0xf000, Kind::Other, "pld [r1]"),
            (0xfa2f, 0xf081, Kind::Alu, "sxtb16 r0, r1"),
            (0xfa00, 0xf001, Kind::Alu, "lsl.w r0, r0, r1"),
            (0xfb20, 0x3001, Kind::Multiply, "smlad r0, r0, r1, r3"),
            (0xfb10, 0x3001, Kind::Multiply, "smlabb r0, r0, r1, r3"),
            (0xfb00, 0x3011, Kind::Multiply, "mls r0, r0, r1, r3"),
            (0xfb80, 0x0123, Kind::Multiply, "smull r0, r1, r0, r3"),
            (0xfbc0, 0x0123, Kind::Multiply, "smlal r0, r1, r0, r3"),
            (0xfb90, 0xf0f1, Kind::Divide, "sdiv r0, r0, r1"),
            (0xfbb0, 0xf0f1, Kind::Divide, "udiv r0, r0, r1"),
            (0xed9d, 0x8b04, Kind::Load, "vldr d8, [sp, #16]"),
            (0xed2d, 0x8b04, Kind::Store, "vpush {d8, d9}"),
            (0xee20, 0x0a20, Kind::Float, "vmul.f32 s0, s0, s1"),
            (0xec51, 0x0b10, Kind::Float, "vmov r0, r1, d0"),
        ] {
            assert_eq!(kind(first, second), expected, "{what}");
        }
    }

    #[test]
    fn costs_are_the_manuals() {
        assert_eq!(likely(0xe92d, 0x4ff0), 10, "push.w of nine");
        assert_eq!(likely(0xbdf0, 0), 6, "pop of five, without the refill");
        assert_eq!(likely(0xe9d0, 0x4502), 3, "ldrd");
        assert_eq!(likely(0xed9d, 0x8b04), 3, "vldr of a double");
        assert_eq!(likely(0xed9d, 0x8a04), 2, "vldr of a single");
        assert_eq!(Instruction::of(0xfb90, 0xf0f1).cycles, Cycles::of(2, 7, 12), "sdiv");
        assert_eq!(likely(0xfb20, 0x3001), 1, "smlad");
        assert_eq!((likely(0xee80, 0x0a20), likely(0xeeb1, 0x0ac0), likely(0xee00, 0x0a20)), (14, 14, 3));
        assert_eq!((likely(0xeea0, 0x0a20), likely(0xeeb0, 0x0a40), likely(0xeeb1, 0x0a40)), (3, 1, 1));
        assert_eq!((likely(0x6008, 0), likely(0x5088, 0)), (1, 2), "a store with a constant, with a register");
    }

    #[test]
    fn loads_say_what_the_next_instruction_must_wait_for() {
        let load = Instruction::of(0xf851, 0x0022);
        assert_eq!((load.loads, load.address), (Some(0), Some(0b110)), "ldr.w r0, [r1, r2, lsl #2]");
        assert_eq!(Instruction::of(0x9801, 0).address, Some(1 << 13), "ldr r0, [sp, #4]");
        assert_eq!(Instruction::of(0xf8df, 0x0010).address, Some(0), "ldr.w r0, [pc, #16]");
        let store = Instruction::of(0x6008, 0);
        assert_eq!((store.loads, store.address), (None, Some(0b10)), "str r0, [r1]");
        assert_eq!(Instruction::of(0xe9d0, 0x4502).address, None, "ldrd is not pipelined");
    }
}
