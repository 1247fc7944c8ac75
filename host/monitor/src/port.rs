//! Where the bytes go.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a read waits.
pub(crate) const WAIT: Duration = Duration::from_millis(20);

/// An open line to a board.
pub trait Port: Send {
    /// Takes what has come, or waits a few hundredths of a second for it; 0 where nothing came.
    ///
    /// # Errors
    /// The line is closed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The line is closed.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Says that the board was heard.
    fn connected(&mut self) {}
}

/// A way to a board that can be opened again and again. A debug probe's is one more of these, where the command line knows probes.
pub trait Line {
    /// What people call it.
    fn name(&self) -> String;

    /// Opens it.
    ///
    /// # Errors
    /// It is not there, or something else has it.
    fn open(&mut self) -> Result<Box<dyn Port>>;

    /// Whether it may come back when it was closed, as a board does whose cable was pulled.
    fn comes_back(&self) -> bool;
}

/// A serial port, which USB CDC is too.
#[derive(Debug, Clone)]
pub struct SerialLine {
    /// Such as `/dev/ttyACM0` or `COM3`.
    pub path: String,
    /// Bits a second; USB CDC does not care.
    pub baud: u32,
}

impl Line for SerialLine {
    fn name(&self) -> String {
        self.path.clone()
    }

    fn open(&mut self) -> Result<Box<dyn Port>> {
        let port = serialport::new(&self.path, self.baud).timeout(WAIT).open();
        let mut port = port.with_context(|| match serialport::available_ports() {
            Ok(ports) if !ports.is_empty() => {
                let names: Vec<_> = ports.into_iter().map(|port| port.port_name).collect();
                format!("opening {}; there are: {}", self.path, names.join(", "))
            }
            _ => format!("opening {}; no serial port is plugged in", self.path),
        })?;
        // A board on USB takes this for somebody who listens; a port without the line does not mind.
        let _ = port.write_data_terminal_ready(true);
        Ok(Box::new(Serial(port)))
    }

    fn comes_back(&self) -> bool {
        true
    }
}

struct Serial(Box<dyn serialport::SerialPort>);

impl Port for Serial {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(0),
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
}
