//! Files of the PC.

use core::convert::Infallible;

use cortex_m_semihosting::{nr, syscall};

/// An open file of the PC.
#[derive(Debug)]
pub struct File {
    handle: usize,
}

impl File {
    /// Opens `name`, which must end in a zero byte, or nothing where the PC refuses. `mode` as in fopen: see [`nr::open`].
    fn open(name: &[u8], mode: usize) -> Option<Self> {
        // The length excludes the zero byte that the call requires.
        // SAFETY: SYS_OPEN reads `name.len()` bytes at the pointer, all inside the slice, and writes nothing.
        let handle = unsafe { syscall!(OPEN, name.as_ptr(), mode, name.len().saturating_sub(1)) };
        (handle != usize::MAX).then_some(Self { handle })
    }

    /// Opens a file to read from.
    pub fn read_from(name: &[u8]) -> Option<Self> {
        Self::open(name, nr::open::R_BINARY)
    }

    /// Opens a file to write to; what was in it is lost.
    pub fn write_to(name: &[u8]) -> Option<Self> {
        Self::open(name, nr::open::RW_TRUNC_BINARY)
    }

    /// Its bytes; 0 where it is a pipe.
    pub fn length(&self) -> usize {
        // SAFETY: SYS_FLEN touches no memory but its argument.
        unsafe { syscall!(FLEN, self.handle) }
    }

    /// Reads up to `buffer.len()` bytes; returns how many, 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        // SAFETY: SYS_READ writes at most `buffer.len()` bytes at the pointer, all inside the slice.
        let missing = unsafe { syscall!(READ, self.handle, buffer.as_mut_ptr(), buffer.len()) };
        buffer.len().saturating_sub(missing)
    }
}

impl embedded_io::ErrorType for File {
    type Error = Infallible;
}

impl embedded_io::Write for File {
    /// Takes all of `bytes`: what the PC's disk refuses is lost, and the PC sees that the stream ends early.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        // SAFETY: SYS_WRITE reads `bytes.len()` bytes at the pointer, all inside the slice.
        unsafe { syscall!(WRITE, self.handle, bytes.as_ptr(), bytes.len()) };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
