//! A board in QEMU that goes on until it is told to end, with a live link: its serial port is the process's standard input and
//! output, its sensor a pipe.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::board::Board;
use crate::qemu::{MODEL, SAMPLES, arguments};
use crate::toolchain::{QEMU, qemu_is_missing};

/// The file that asks the firmware for its live link.
const LIVE: &str = "live";
const ERRORS: &str = "stderr";

/// A running board; ended where it is dropped.
#[derive(Debug)]
pub struct Live {
    child: Child,
    folder: TempDir,
    /// Another end of the pipe, until the board has opened its own.
    hold: Option<File>,
}

/// The two ends of the board's serial port.
#[derive(Debug)]
pub struct Serial {
    /// What the board hears.
    pub to_board: ChildStdin,
    /// What it says.
    pub from_board: ChildStdout,
}

/// The board's sensor: what is written is what it gives, as fast as it is written.
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
    /// Starts `elf` (of [`Board::build`]) on `board` with the blob `model` in its region.
    ///
    /// # Errors
    /// The board has no live link, the blob does not fit, QEMU is missing or does not start, or there are no pipes with names here.
    pub fn start(board: &Board, elf: &Path, model: &[u8]) -> Result<(Self, Serial, Feed)> {
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
        // Open at both ends, so that neither side waits for the other to open it.
        let what = "opening the sensor's pipe";
        let hold = OpenOptions::new().read(true).write(true).open(&samples).context(what)?;
        let feed = OpenOptions::new().write(true).open(&samples).context(what)?;
        let errors = File::create(path(ERRORS))?;
        let mut command = Command::new(QEMU);
        command.args(arguments(board, elf, "stdio", None)?).current_dir(folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        // Ctrl-C is the PC's side's: it ends the board when it has shown what it has to.
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let mut child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!(qemu_is_missing());
            }
            other => other.context("starting QEMU")?,
        };
        let (Some(to_board), Some(from_board)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("QEMU has no serial port");
        };
        Ok((Self { child, folder, hold: Some(hold) }, Serial { to_board, from_board }, Feed(feed)))
    }

    /// What QEMU and the firmware wrote to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join(ERRORS)).unwrap_or_default()).into_owned()
    }

    /// Says that the board has been heard, so its sensor is open. From now on a feed that is dropped ends its samples, and one whose
    /// board has ended fails.
    pub fn connected(&mut self) {
        self.hold = None;
    }

    /// Whether QEMU still runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
