//! The link over lines that are not waited for, for firmware whose loop has other things to do.

use neji_engine::Isa;

use super::LinkStation;

/// A line to a PC.
pub trait Wire {
    /// Takes what has come; how many bytes, 0 where nothing has.
    fn hear(&mut self, buffer: &mut [u8]) -> usize;

    /// Sends as much of the front of `bytes` as there is room for now; how many bytes.
    fn say(&mut self, bytes: &[u8]) -> usize;

    /// Says that what was heard last was a command.
    fn understood(&mut self) {}
}

/// Two lines, of which the PC takes either: what the board says goes over the one that the last command came on, and before that over
/// the first. Noise on a line that nobody holds is no command.
#[derive(Debug)]
pub struct Either<A, B> {
    first: A,
    second: B,
    heard_second: bool,
    says_second: bool,
}

impl<A, B> Either<A, B> {
    /// Begins with `first`.
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second, heard_second: false, says_second: false }
    }
}

impl<A: Wire, B: Wire> Wire for Either<A, B> {
    fn hear(&mut self, buffer: &mut [u8]) -> usize {
        self.heard_second = false;
        match self.first.hear(buffer) {
            0 => {
                self.heard_second = true;
                self.second.hear(buffer)
            }
            count => count,
        }
    }

    fn say(&mut self, bytes: &[u8]) -> usize {
        if self.says_second { self.second.say(bytes) } else { self.first.say(bytes) }
    }

    fn understood(&mut self) {
        self.says_second = self.heard_second;
    }
}

impl<I: Isa> LinkStation<'_, '_, I> {
    /// Takes some of what has come from the PC and sends at most about `bytes_max` bytes of what waits, as far as the line has room: called
    /// again and again, between two reads of the sensor. Returns how many bytes were sent.
    pub fn exchange(&mut self, wire: &mut impl Wire, bytes_max: usize) -> usize {
        let mut bytes = [0; 64];
        let count = wire.hear(&mut bytes);
        if self.receive(bytes.get(..count).unwrap_or(&bytes)) {
            wire.understood();
        }
        let mut sent: usize = 0;
        while sent < bytes_max {
            let count = wire.say(self.pending());
            if count == 0 {
                break;
            }
            self.sent(count);
            sent = sent.saturating_add(count);
        }
        sent
    }
}
