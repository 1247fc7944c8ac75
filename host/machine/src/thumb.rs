//! What a Thumb instruction does to the stack pointer and to the flow of control, and nothing else about it.
//!
//! Encodings: Armv6-M, Armv7-M and Armv8-M Architecture Reference Manuals, chapter "Thumb instruction set encoding". The
//! architecture lets few instructions write the stack pointer. Those that do so in a way that says nothing of how far are
//! [`Effect::Unknown`], so that what this does not understand is found instead of left out.

/// The number of the stack pointer.
const SP: u16 = 13;

/// What an instruction does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that matters here; the stack may shrink.
    None,
    /// The stack grows by so many bytes.
    Grow(u32),
    /// A register is loaded with the word at this address.
    Literal { register: u16, address: u32 },
    /// A register is added to the stack pointer.
    AddToStack { register: u16 },
    /// The stack pointer becomes that of a register.
    SetStack,
    /// Registers are taken from the stack.
    Pop,
    /// A call.
    Call(u32),
    /// A jump, within the function or to another one that returns for it.
    Jump(u32),
    /// A call or a jump to where a register says.
    Indirect,
    /// The stack pointer is written in a way that is not understood.
    Unknown,
}

/// True where an instruction that begins with `first` has a second half.
pub(crate) fn is_long(first: u16) -> bool {
    first >> 11 >= 0b11101
}

/// The low `bits` of `value` as a signed number.
fn signed(value: u32, bits: u32) -> u32 {
    (value << (32 - bits)).cast_signed().wrapping_shr(32 - bits).cast_unsigned()
}

/// Decodes the short instruction at `address`.
pub(crate) fn short(address: u32, code: u16) -> Effect {
    let pc = address.wrapping_add(4);
    let low = u32::from(code);
    // The register that high-register instructions write.
    let written = (code >> 4 & 8) | (code & 7);
    match code {
        _ if code & 0xfe00 == 0xb400 => Effect::Grow(4 * (code & 0x1ff).count_ones()),
        _ if code & 0xfe00 == 0xbc00 => Effect::Pop,
        _ if code & 0xff80 == 0xb080 => Effect::Grow(4 * (low & 0x7f)),
        _ if code & 0xf800 == 0x4800 => {
            Effect::Literal { register: code >> 8 & 7, address: (pc & !3).wrapping_add(4 * (low & 0xff)) }
        }
        _ if code & 0xff00 == 0x4400 && written == SP => Effect::AddToStack { register: code >> 3 & 15 },
        _ if code & 0xff00 == 0x4600 && written == SP => Effect::SetStack,
        // BLX, and BX but for the return by LR.
        _ if code & 0xff80 == 0x4780 || code & 0xff80 == 0x4700 && code >> 3 & 15 != 14 => Effect::Indirect,
        _ if code & 0xf000 == 0xd000 && code >> 8 & 15 < 14 => Effect::Jump(pc.wrapping_add(signed(low, 8) << 1)),
        _ if code & 0xf800 == 0xe000 => Effect::Jump(pc.wrapping_add(signed(low, 11) << 1)),
        _ => Effect::None,
    }
}

/// Decodes the long instruction at `address`.
pub(crate) fn long(address: u32, first: u16, second: u16) -> Effect {
    match first >> 9 & 0x3f {
        // LDM and STM; LDRD and STRD; VLDM, VSTM, VLDR and VSTR. What does not move a base has that bit clear.
        0b11_0100 if first & 0x40 == 0 => write_back(first, first & 0x20 != 0, 4 * second.count_ones()),
        0b11_0100 | 0b11_0110 => write_back(first, first & 0x20 != 0, 4 * u32::from(second & 0xff)),
        0b11_0101 => if_written(second, Effect::Unknown),
        0b11_1100 => single(first, second),
        _ if first >> 11 == 0b11110 && second & 0x8000 == 0 => immediate(first, second),
        _ if first >> 11 == 0b11110 => branch(address, first, second),
        _ => Effect::None,
    }
}

/// `effect` where a data-processing instruction writes the stack pointer.
fn if_written(second: u16, effect: Effect) -> Effect {
    if second >> 8 & 15 == SP { effect } else { Effect::None }
}

/// A load or store that moves its base register by `bytes` where `moves`; upwards where bit 7 is set.
fn write_back(first: u16, moves: bool, bytes: u32) -> Effect {
    if moves && first & 15 == SP && first & 0x80 == 0 { Effect::Grow(bytes) } else { Effect::None }
}

/// Loads and stores of one register.
fn single(first: u16, second: u16) -> Effect {
    let loads_stack_pointer = first & 0x70 == 0x50 && second >> 12 == SP;
    let down = second & 0xb00 == 0x900;
    match loads_stack_pointer {
        true => Effect::Unknown,
        false => write_back(first, down, u32::from(second & 0xff)),
    }
}

/// Data processing with a constant.
fn immediate(first: u16, second: u16) -> Effect {
    let plain = first & 0x200 != 0;
    let operation = if plain { first >> 4 & 0x1f } else { first >> 5 & 0xf };
    let constant = u32::from((first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xff);
    let effect = match (plain, operation, first & 15) {
        (true, 0b00000, SP) | (false, 0b1000, SP) => Effect::None,
        (true, 0b01010, SP) => Effect::Grow(constant),
        (false, 0b1101, SP) => Effect::Grow(expand(constant)),
        _ => Effect::Unknown,
    };
    if_written(second, effect)
}

/// ThumbExpandImm: a byte repeated, or eight bits that begin with a one, turned.
fn expand(constant: u32) -> u32 {
    let byte = constant & 0xff;
    match constant >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte * 0x0101_0101,
        _ => (0x80 | byte & 0x7f).rotate_right(constant >> 7),
    }
}

/// BL, B and conditional B; other instructions of this space do not branch.
fn branch(address: u32, first: u16, second: u16) -> Effect {
    let (first, second) = (u32::from(first), u32::from(second));
    let bit = |word: u32, index: u32| word >> index & 1;
    let (sign, j1, j2) = (bit(first, 10), bit(second, 13), bit(second, 11));
    let pc = address.wrapping_add(4);
    if second & 0x1000 == 0 {
        // Conditions 14 and 15 are barriers, hints and moves from and to special registers.
        if second & 0x4000 != 0 || first >> 6 & 15 >= 14 {
            return Effect::None;
        }
        let offset = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3f) << 12 | (second & 0x7ff) << 1;
        return Effect::Jump(pc.wrapping_add(signed(offset, 21)));
    }
    let (i1, i2) = (1 ^ j1 ^ sign, 1 ^ j2 ^ sign);
    let offset = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3ff) << 12 | (second & 0x7ff) << 1;
    let target = pc.wrapping_add(signed(offset, 25));
    if second & 0x4000 == 0 { Effect::Jump(target) } else { Effect::Call(target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_half_tells_the_length() {
        assert!([0xe92d, 0xf000, 0xfb00, 0xed2d].into_iter().all(is_long));
        assert!(![0xb5f0, 0xe7fe, 0xdf00, 0x4770].into_iter().any(is_long));
    }

    #[test]
    fn short_instructions_on_the_stack() {
        assert_eq!(short(0, 0xb5f0), Effect::Grow(20), "push {{r4-r7, lr}}");
        assert_eq!(short(0, 0xb40f), Effect::Grow(16), "push {{r0-r3}}");
        assert_eq!(short(0, 0xb0c2), Effect::Grow(264), "sub sp, #264");
        assert_eq!(short(0, 0xb042), Effect::None, "add sp, #264");
        assert_eq!(short(0, 0xbdf0), Effect::Pop, "pop {{r4-r7, pc}}");
        assert_eq!(short(0, 0x44b5), Effect::AddToStack { register: 6 }, "add sp, r6");
        assert_eq!(short(0, 0x44b4), Effect::None, "add r12, r6");
        assert_eq!(short(0, 0x46b5), Effect::SetStack, "mov sp, r6");
        assert_eq!(short(0, 0x466e), Effect::None, "mov r6, sp");
        assert_eq!(short(0, 0xaf03), Effect::None, "add r7, sp, #12");
        let literal = Effect::Literal { register: 6, address: 0x7f0 };
        assert_eq!(short(0x778, 0x4e1d), literal, "ldr r6, [pc, #116]");
        assert_eq!(short(0x77a, 0x4e1d), literal, "the same, two bytes on");
    }

    #[test]
    fn short_branches() {
        assert_eq!(short(0x100, 0xe7fe), Effect::Jump(0x100), "b .");
        assert_eq!(short(0x100, 0xe001), Effect::Jump(0x106), "b .+6");
        assert_eq!(short(0x100, 0xd1fd), Effect::Jump(0xfe), "bne .-2");
        assert_eq!(short(0x100, 0xdeff), Effect::None, "udf");
        assert_eq!(short(0x100, 0xdf00), Effect::None, "svc");
        assert_eq!(short(0x100, 0x4770), Effect::None, "bx lr");
        assert_eq!(short(0x100, 0x4718), Effect::Indirect, "bx r3");
        assert_eq!(short(0x100, 0x4798), Effect::Indirect, "blx r3");
        assert_eq!(short(0x100, 0x469f), Effect::None, "mov pc, r3: a jump table");
    }

    #[test]
    fn long_instructions_on_the_stack() {
        assert_eq!(long(0, 0xe92d, 0x4ff0), Effect::Grow(36), "push.w {{r4-r11, lr}}");
        assert_eq!(long(0, 0xe8bd, 0x8ff0), Effect::None, "pop.w {{r4-r11, pc}}");
        assert_eq!(long(0, 0xe88d, 0x000f), Effect::None, "stm.w sp, {{r0-r3}}");
        assert_eq!(long(0, 0xe92c, 0x000f), Effect::None, "stmdb r12!, {{r0-r3}}");
        assert_eq!(long(0, 0xf84d, 0xbd04), Effect::Grow(4), "str r11, [sp, #-4]!");
        assert_eq!(long(0, 0xf85d, 0xbb04), Effect::None, "ldr r11, [sp], #4");
        assert_eq!(long(0, 0xf8cd, 0xb904), Effect::None, "str.w r11, [sp, #2308]");
        assert_eq!(long(0, 0xf8dd, 0xd004), Effect::Unknown, "ldr sp, [sp, #4]");
        assert_eq!(long(0, 0xe96d, 0x4502), Effect::Grow(8), "strd r4, r5, [sp, #-8]!");
        assert_eq!(long(0, 0xe9cd, 0x4502), Effect::None, "strd r4, r5, [sp, #8]");
        assert_eq!(long(0, 0xed2d, 0x8b04), Effect::Grow(16), "vpush {{d8, d9}}");
        assert_eq!(long(0, 0xecbd, 0x8b04), Effect::None, "vpop {{d8, d9}}");
        assert_eq!(long(0, 0xed8d, 0x8b04), Effect::None, "vstr d8, [sp, #16]");
        assert_eq!(long(0, 0xee2d, 0x0b0d), Effect::None, "vmul.f64 d0, d13, d13");
        assert_eq!(long(0, 0xe8dd, 0xf000), Effect::None, "tbb [sp, r0]");
        assert_eq!(long(0, 0xf5ad, 0x6d80), Effect::Grow(1024), "sub.w sp, sp, #1024");
        assert_eq!(long(0, 0xf2ad, 0x4d44), Effect::Grow(0x444), "subw sp, sp, #1092");
        assert_eq!(long(0, 0xf50d, 0x6d80), Effect::None, "add.w sp, sp, #1024");
        assert_eq!(long(0, 0xf60d, 0x4d44), Effect::None, "addw sp, sp, #3140");
        assert_eq!(long(0, 0xf5ad, 0x6480), Effect::None, "sub.w r4, sp, #1024");
        assert_eq!(long(0, 0xf1a7, 0x0d18), Effect::Unknown, "sub.w sp, r7, #24");
        assert_eq!(long(0, 0xebad, 0x0d04), Effect::Unknown, "sub.w sp, sp, r4");
        assert_eq!(long(0, 0xea4f, 0x0d04), Effect::Unknown, "mov.w sp, r4");
    }

    #[test]
    fn constants_are_expanded() {
        assert_eq!([0x0ab, 0x1ab, 0x2ab, 0x3ab].map(expand), [0xab, 0x00ab_00ab, 0xab00_ab00, 0xabab_abab]);
        assert_eq!([0x400, 0xf80, 0xfff].map(expand), [0x8000_0000, 0x100, 0x1fe]);
    }

    #[test]
    fn long_branches() {
        assert_eq!(long(0x100, 0xf7ff, 0xfffe), Effect::Call(0x100), "bl .");
        assert_eq!(long(0x100, 0xf000, 0xf801), Effect::Call(0x106), "bl .+6");
        assert_eq!(long(0x1_0848, 0xf7f6, 0xfc06), Effect::Call(0x7058), "bl, far back");
        assert_eq!(long(0x100, 0xf000, 0xb801), Effect::Jump(0x106), "b.w .+6");
        assert_eq!(long(0x2_d0f4, 0xf002, 0x8087), Effect::Jump(0x2_f206), "beq.w, far on");
        assert_eq!(long(0x100, 0xf47f, 0xaffe), Effect::Jump(0x100), "bne.w .");
        assert_eq!(long(0x100, 0xf3bf, 0x8f4f), Effect::None, "dsb");
        assert_eq!(long(0x100, 0xf3ef, 0x8010), Effect::None, "mrs r0, primask");
    }
}
