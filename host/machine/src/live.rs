//! A board in QEMU that goes on until it is told to end, with a live link: its serial port is a socket, its sensor a pipe.
//!
//! Both break where this process ends, however it does: the firmware then has no more samples and ends QEMU.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::board::Board;
use crate::qemu::{MODEL, SAMPLES, arguments};
use crate::toolchain::{QEMU, qemu_is_missing};

/// The file that asks the firmware for its live link.
const LIVE: &str = "live";
const ERRORS: &str = "stderr";
/// How long QEMU may take to connect its serial port, which it does before anything runs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running board; ended where it is dropped.
#[derive(Debug)]
pub struct Live {
    child: Child,
    folder: TempDir,
    /// An end of the sensor's pipe that nobody reads: without it the feed breaks before the board has opened its own.
    _end: File,
}

/// The board's sensor: what is written is what it gives, as fast as it is written. Where it is dropped the samples end; where
/// [`Live`] is, it breaks.
#[derive(Debug)]
pub struct Feed(File);

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Live {
    /// Starts `elf` (of [`Board::build`]) on `board` with the blob `model` in its region; the stream is the board's serial port.
    ///
    /// # Errors
    /// The board has no live link, the blob does not fit, QEMU is missing or does not start, or there are no pipes with names here.
    pub fn start(board: &Board, elf: &Path, model: &[u8]) -> Result<(Self, TcpStream, Feed)> {
        if !board.settings.live {
            bail!("{} has no live link; take a larger board, such as qemu-mps2-an386", board.package);
        }
        let room = board.settings.model_bytes;
        if model.len() as u64 > room {
            bail!("the model has {} bytes, {} has room for {room}", model.len(), board.package);
        }
        let folder = tempfile::Builder::new().prefix("neji-").tempdir().context("making a folder for the run")?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path(MODEL), model)?;
        fs::write(path(LIVE), [])?;
        let samples = path(SAMPLES);
        // The standard library makes none.
        let made = Command::new("mkfifo").arg(&samples).stderr(Stdio::null()).status();
        if !made.is_ok_and(|status| status.success()) {
            bail!("mkfifo does not make a pipe in {}: a board's sensor needs one", folder.path().display());
        }
        // Open at both ends first, so that neither end waits for the other to be opened.
        let what = "opening the sensor's pipe";
        let both = OpenOptions::new().read(true).write(true).open(&samples).context(what)?;
        let end = File::open(&samples).context(what)?;
        let feed = OpenOptions::new().write(true).open(&samples).context(what)?;
        drop(both);
        let errors = File::create(path(ERRORS))?;
        let what = "opening the board's serial port";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
        listener.set_nonblocking(true)?;
        let port = format!("tcp:{},nodelay=on", listener.local_addr().context(what)?);
        let mut command = Command::new(QEMU);
        command.args(arguments(board, elf, &port, None)?).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
        // Ctrl-C is the PC's side's: it ends the board when it has shown what it has to.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(qemu_is_missing());
            }
            other => other.context("starting QEMU")?,
        };
        let mut live = Self { child, folder, _end: end };
        let serial = live.connect(&listener)?;
        Ok((live, serial, Feed(feed)))
    }

    /// Waits for QEMU's end of the serial port.
    fn connect(&mut self, listener: &TcpListener) -> Result<TcpStream> {
        let begin = Instant::now();
        loop {
            match listener.accept() {
                Ok((serial, _)) => {
                    serial.set_nonblocking(false)?;
                    serial.set_nodelay(true)?;
                    return Ok(serial);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("waiting for QEMU"),
            }
            if !self.is_running()? || begin.elapsed() > PATIENCE {
                bail!("QEMU does not start: {}", self.stderr().trim_end());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What QEMU and the firmware wrote to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(ERRORS)).unwrap_or_default()).into_owned()
    }

    /// Whether QEMU still runs.
    fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
