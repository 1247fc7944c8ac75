//! The link over an embedded-io port, for firmware that waits where it writes.

use embedded_io::{Read, ReadReady, Write};
use neji_engine::Isa;

use super::LinkStation;

impl<I: Isa> LinkStation<'_, '_, I> {
    /// Takes what has come from the PC and sends at most `bytes_max` bytes of what waits: called again and again, between two reads
    /// of the sensor. Sending waits for the line, ten bits a byte, so `bytes_max` bounds how long that takes. Returns how many
    /// bytes were sent; 0 where nothing waits.
    ///
    /// # Errors
    /// The port's, at the first that it has. What was not sent still waits.
    pub fn serve<P: Read + ReadReady + Write>(&mut self, port: &mut P, bytes_max: usize) -> Result<usize, P::Error> {
        while port.read_ready()? {
            let mut bytes = [0; 16];
            let count = port.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            self.receive(bytes.get(..count).unwrap_or(&bytes));
        }
        let mut sent: usize = 0;
        while sent < bytes_max {
            let pending = self.pending();
            let now = pending.get(..bytes_max.saturating_sub(sent)).unwrap_or(pending);
            // A port that takes nothing, which its trait forbids, is asked again later.
            let count = if now.is_empty() { 0 } else { port.write(now)? };
            if count == 0 {
                break;
            }
            self.sent(count);
            sent = sent.saturating_add(count);
        }
        if sent > 0 {
            port.flush()?;
        }
        Ok(sent)
    }
}
