//! A client of the GDB remote serial protocol, as far as flash needs it: memory, reset, go, stop.
//!
//! Packets are `$data#checksum`, the sum of the bytes as two hex digits, and are acknowledged by `+` (GDB manual,
//! appendix "GDB Remote Serial Protocol"). What comes is read by a thread, so that waiting for it can end.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Bytes of memory in a packet: two digits each, and a packet of QEMU's stub has 4096.
const STEP: usize = 2000;

/// A connection to a stub.
pub struct Remote {
    to: Box<dyn Write + Send>,
    from: Receiver<Vec<u8>>,
    /// What came and was not looked at yet.
    ahead: VecDeque<u8>,
    timeout: Duration,
    running: bool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("timeout", &self.timeout).field("running", &self.running).finish_non_exhaustive()
    }
}

fn broken(reason: impl Into<String>) -> Error {
    Error::Device { doing: "talking to the GDB stub", reason: reason.into() }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &[u8]) -> Result<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| std::str::from_utf8(pair).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    bytes.filter(|_| rest.is_empty()).ok_or_else(|| broken("digits that are none"))
}

impl Remote {
    /// A connection whose core is halted; each answer has to come within `timeout`.
    pub fn new(from: impl Read + Send + 'static, to: impl Write + Send + 'static, timeout: Duration) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut from = from;
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { to: Box::new(to), from: receiver, ahead: VecDeque::new(), timeout, running: false }
    }

    /// Whether the core runs, as far as is known.
    pub fn is_running(&self) -> bool {
        self.running
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.to.write_all(bytes).and_then(|()| self.to.flush());
        sent.map_err(|error| broken(error.to_string()))
    }

    fn byte(&mut self, deadline: Instant) -> Result<u8> {
        loop {
            if let Some(byte) = self.ahead.pop_front() {
                return Ok(byte);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.ahead.extend(self.from.recv_timeout(left).map_err(|error| match error {
                RecvTimeoutError::Timeout => Error::Stalled { doing: "talking to the GDB stub", after: self.timeout },
                RecvTimeoutError::Disconnected => broken("it has ended"),
            })?);
        }
    }

    /// The next packet's data; one with a wrong checksum is asked for again.
    fn packet(&mut self) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        loop {
            while self.byte(deadline)? != b'$' {}
            let (mut data, mut sum) = (Vec::new(), 0u8);
            loop {
                match self.byte(deadline)? {
                    b'#' => break,
                    byte => {
                        sum = sum.wrapping_add(byte);
                        data.push(byte);
                    }
                }
            }
            let given = bytes(&[self.byte(deadline)?, self.byte(deadline)?])?;
            if given == [sum] {
                self.send(b"+")?;
                return Ok(data);
            }
            self.send(b"-")?;
        }
    }

    fn request(&mut self, data: &str) -> Result<()> {
        let sum = data.bytes().fold(0u8, u8::wrapping_add);
        self.send(format!("${data}#{sum:02x}").as_bytes())
    }

    /// Asks and takes the answer.
    fn ask(&mut self, data: &str) -> Result<Vec<u8>> {
        self.request(data)?;
        let answer = self.packet()?;
        match answer.first() {
            Some(b'E') if answer.len() == 3 => {
                let what = data.split_once(':').map_or(data, |(what, _)| what);
                Err(broken(format!("{} to {what}", String::from_utf8_lossy(&answer))))
            }
            None => Err(broken(format!("it does not know {data}"))),
            _ => Ok(answer),
        }
    }

    fn agree(&mut self, data: &str) -> Result<()> {
        let answer = self.ask(data)?;
        if answer == b"OK" { Ok(()) } else { Err(broken(String::from_utf8_lossy(&answer))) }
    }

    /// Reads memory of the halted core.
    ///
    /// # Errors
    /// The stub refuses, or does not answer.
    pub fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        let mut at = address;
        for part in buffer.chunks_mut(STEP) {
            let found = bytes(&self.ask(&format!("m{at:x},{:x}", part.len()))?)?;
            if found.len() != part.len() {
                return Err(broken(format!("{} bytes of {} at {at:#x}", found.len(), part.len())));
            }
            part.copy_from_slice(&found);
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes memory of the halted core; QEMU writes what its cores cannot as well.
    ///
    /// # Errors
    /// The stub refuses, or does not answer.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<()> {
        let mut at = address;
        for part in data.chunks(STEP) {
            self.agree(&format!("M{at:x},{:x}:{}", part.len(), digits(part)))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Gives QEMU's monitor a command; what it prints is dropped.
    ///
    /// # Errors
    /// The stub refuses, or does not answer.
    pub fn monitor(&mut self, command: &str) -> Result<()> {
        self.request(&format!("qRcmd,{}", digits(command.as_bytes())))?;
        loop {
            let answer = self.packet()?;
            match answer.as_slice() {
                b"OK" => return Ok(()),
                [b'O', ..] => {}
                other => return Err(broken(format!("{} to {command}", String::from_utf8_lossy(other)))),
            }
        }
    }

    /// Lets the core run.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn go(&mut self) -> Result<()> {
        self.running = true;
        self.request("c")
    }

    /// Stops the core, if it runs.
    ///
    /// # Errors
    /// It does not stop, or the program has ended.
    pub fn stop(&mut self) -> Result<()> {
        if !self.running {
            return Ok(());
        }
        self.send(&[3])?;
        loop {
            let answer = self.packet()?;
            match answer.first() {
                Some(b'T' | b'S') => break,
                Some(b'W' | b'X') => return Err(broken("the program has ended")),
                _ => {}
            }
        }
        self.running = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Answers that were prepared, and what was sent.
    #[derive(Clone, Default)]
    struct Sent(Arc<Mutex<Vec<u8>>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn remote(answers: &[u8]) -> (Remote, Sent) {
        let sent = Sent::default();
        let answers = std::io::Cursor::new(answers.to_vec());
        (Remote::new(answers, sent.clone(), Duration::from_secs(20)), sent)
    }

    fn said(sent: &Sent) -> String {
        String::from_utf8(sent.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn memory_goes_in_packets_with_checksums() {
        // The sum of "m20,2" is 0x6d + 0x32 + 0x30 + 0x2c + 0x32 = 0x12d, that of "0aff" 0x30 + 0x61 + 0x66 + 0x66 = 0x15d.
        let (mut remote, sent) = remote(b"+$OK#9a+$0aff#5d");
        remote.write(0x20, &[1, 0xab]).unwrap();
        let mut buffer = [0; 2];
        remote.read(0x20, &mut buffer).unwrap();
        assert_eq!(buffer, [10, 255]);
        assert_eq!(said(&sent), "$M20,2:01ab#6b+$m20,2#2d+");
    }

    #[test]
    fn a_packet_that_was_garbled_is_asked_for_again() {
        let (mut remote, sent) = remote(b"+$0bff#5d$0aff#5d");
        remote.read(0, &mut [0; 2]).unwrap();
        assert!(said(&sent).ends_with("-+"));
    }

    #[test]
    fn refusals_silence_and_ends_are_errors() {
        let error = |answers: &[u8]| remote(answers).0.read(0x40, &mut [0; 2]).unwrap_err().to_string();
        assert!(error(b"+$E14#aa").contains("E14 to m40,2"));
        assert!(error(b"+$#00").contains("does not know"));
        assert!(error(b"+$0a#91").contains("1 bytes of 2"));
        assert!(error(b"+$0x#a8").contains("digits"));
        assert!(error(b"+$0").contains("ended"));
        let (hold, from) = std::io::pipe().unwrap();
        let _open = from;
        let mut silent = Remote::new(hold, Sent::default(), Duration::from_millis(30));
        assert!(matches!(silent.stop(), Ok(())), "a halted core stops at once");
        assert!(matches!(silent.read(0, &mut [0]), Err(Error::Stalled { .. })));
    }

    #[test]
    fn the_monitor_may_print_before_it_agrees() {
        let (mut remote, sent) = remote(b"+$O0a#e0$OK#9a");
        remote.monitor("hi").unwrap();
        assert_eq!(said(&sent), "$qRcmd,6869#00++");
    }
}
