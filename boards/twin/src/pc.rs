//! Files and console of the PC, through Arm semihosting (Arm "Semihosting for AArch32 and AArch64", 2.0).

use cortex_m_semihosting::{debug, nr, syscall};
use neji_embassy::{Event, Tell};

use crate::console;

/// An open file of the PC.
pub struct File(usize);

impl File {
    /// Opens `name`, which must end in a zero byte, or nothing where the PC has none.
    pub fn read_from(name: &[u8]) -> Option<Self> {
        // SAFETY: SYS_OPEN reads `name.len()` bytes at the pointer, all inside the slice, and writes nothing.
        let handle = unsafe { syscall!(OPEN, name.as_ptr(), nr::open::R_BINARY, name.len().saturating_sub(1)) };
        (handle != usize::MAX).then_some(Self(handle))
    }

    /// Its bytes.
    pub fn length(&self) -> usize {
        // SAFETY: SYS_FLEN touches no memory but its argument.
        unsafe { syscall!(FLEN, self.0) }
    }

    /// Reads up to `buffer.len()` bytes; returns how many, 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        // SAFETY: SYS_READ writes at most `buffer.len()` bytes at the pointer, all inside the slice.
        let missing = unsafe { syscall!(READ, self.0, buffer.as_mut_ptr(), buffer.len()) };
        buffer.len().saturating_sub(missing)
    }
}

/// Bytes of stack that were in use at the deepest moment so far, from what is left of cortex-m-rt's paint.
fn stack_bytes() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
        static _stack_end: u32;
    }
    const PAINT: u32 = 0xcccc_cccc;
    let (low, high) = (&raw const _stack_end, &raw const _stack_start);
    let mut word = low;
    // SAFETY: all words between the two symbols of memory.x are RAM, word-aligned, and reading them has no effect.
    while word < high && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    high.addr() - word.addr()
}

/// Ends QEMU: status 0 where all went well, 1 otherwise.
pub fn exit(well: bool) -> ! {
    console(format_args!("stack: {}", stack_bytes()));
    loop {
        debug::exit(if well { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

/// Events as lines of text.
pub struct Console {
    /// A refusal ends QEMU, which nobody would end otherwise.
    pub ends: bool,
}

impl Tell for Console {
    fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(restart) => console(format_args!("start: {restart}")),
            Event::Watching { model_crc32, .. } => console(format_args!("watching: {model_crc32:08x}")),
            Event::Refused(reason) => {
                console(format_args!("refused: {reason}"));
                if self.ends {
                    exit(false)
                }
            }
            Event::Verdict(verdict) => console(format_args!("verdict: {verdict:?}")),
            Event::Alarm(verdict) => console(format_args!("alarm at: {}", verdict.sequence)),
            Event::Drift(trend) => console(format_args!("drift: {trend:?}")),
            Event::Lost(samples) => console(format_args!("lost: {samples}")),
            Event::Restarting(reason) => console(format_args!("restarting: {reason}")),
        }
    }
}
