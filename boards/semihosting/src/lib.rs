//! What firmware in QEMU has of the PC, through Arm semihosting (Arm "Semihosting for AArch32 and AArch64", 2.0): its files and an exit
//! code; and how much of the stack was used.
#![no_std]

mod file;

// Named so that it is linked: it paints the stack.
use cortex_m_rt as _;
use cortex_m_semihosting::debug;

pub use file::File;

/// Ends QEMU: status 0 where all went well, 1 otherwise.
pub fn exit(well: bool) -> ! {
    loop {
        debug::exit(if well { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

/// What cortex-m-rt paints the stack with before main.
const PAINT: u32 = 0xcccc_cccc;

/// Bytes of stack that were ever used, by what is left of the paint.
pub fn stack_bytes() -> u32 {
    unsafe extern "C" {
        static mut _stack_end: u32;
        static mut _stack_start: u32;
    }
    let mut word = (&raw const _stack_end).cast::<u32>();
    let top = (&raw const _stack_start).cast::<u32>();
    // SAFETY: the linker puts both symbols word-aligned in RAM, the first below the second; the volatile reads stay
    // between them, and what they read is initialized: painted, or used.
    while word < top && unsafe { word.read_volatile() } == PAINT {
        // SAFETY: `word` is below `top`, so the next word is at most one past the stack.
        word = unsafe { word.add(1) };
    }
    (top.addr() - word.addr()) as u32
}
