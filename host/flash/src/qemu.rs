//! A board in QEMU as a chip to be written: its GDB stub stands for the debug probe.
//!
//! QEMU starts with an empty board that is halted. Flash is written as a probe would write it, and the firmware starts from
//! its vectors by a reset; nothing is loaded in any other way. Sectors are those of most small chips.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::iter;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use neji_machine::Board;
use neji_machine::qemu::{REPORTS, SAMPLES, machine};
use neji_machine::toolchain::{QEMU, qemu_is_missing};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::gdb::Remote;
use crate::rtt::{Ears, Heard, Memory, Place};
use crate::target::{ERASED, Sector, Target};

/// Bytes of a sector.
const SECTOR: u64 = 4096;
/// Bytes of a page.
const PAGE: u64 = 256;
/// Where a Cortex-M has RAM (ARMv7-M Architecture Reference Manual, B3.1).
const RAM: Range<u64> = 0x2000_0000..0x4000_0000;
/// QEMU answers at once; a machine that is busy takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A board in QEMU. It ends with this.
#[derive(Debug)]
pub struct Emulated {
    board: Board,
    folder: TempDir,
    child: Child,
    remote: Remote,
    /// Bytes of the reports that were heard.
    heard: u64,
    ears: Ears,
}

/// Memory of a core that stands still.
struct Halted<'r>(&'r mut Remote);

impl Memory for Halted<'_> {
    fn ram(&self) -> Vec<Range<u64>> {
        iter::once(RAM).collect()
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.read(address, buffer)
    }

    fn read_words(&mut self, address: u64, words: &mut [u32]) -> Result<()> {
        let mut bytes = vec![0; words.len() * 4];
        self.0.read(address, &mut bytes)?;
        let (bytes, _) = bytes.as_chunks();
        words.iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.0.write(address, bytes)
    }

    fn write_word(&mut self, address: u64, word: u32) -> Result<()> {
        self.0.write(address, &word.to_le_bytes())
    }
}

impl Emulated {
    /// Starts `board` with nothing in its flash; once its firmware runs, its sensor gives `samples`, then ends.
    ///
    /// # Errors
    /// QEMU is missing, or does not start; or the board has no twin there.
    pub fn start(board: &Board, samples: &[u8]) -> Result<Self> {
        let io = |doing: &str| Error::io(doing.to_owned());
        let emulator =
            board.emulator().map_err(|error| Error::Device { doing: "starting QEMU", reason: error.to_string() })?;
        let folder = tempfile::Builder::new().prefix("neji-").tempdir();
        let folder = folder.map_err(io("making a folder for QEMU"))?;
        std::fs::write(folder.path().join(SAMPLES), samples).map_err(io("writing samples"))?;
        let errors = File::create(folder.path().join("stderr")).map_err(io("writing QEMU's errors"))?;
        let mut command = Command::new(QEMU);
        command.args(machine(emulator, "none"));
        command.args(["-S", "-chardev", "stdio,id=gdb,signal=off", "-gdb", "chardev:gdb"]);
        command.current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Device { doing: "starting QEMU", reason: qemu_is_missing() },
            _ => Error::Io { doing: "starting QEMU".into(), source: error },
        })?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped");
        };
        let remote = Remote::new(from, to, TIMEOUT);
        Ok(Self { board: board.clone(), folder, child, remote, heard: 0, ears: Ears::new(None) })
    }

    /// Where the firmware of this image reports, if it does so over RTT.
    ///
    /// # Errors
    /// It is no image.
    pub fn listen_to(&mut self, image: &[u8]) -> Result<()> {
        self.ears = Ears::new(Place::of(image)?);
        Ok(())
    }

    /// Does `act` with the memory of the firmware that runs, which stands still meanwhile.
    ///
    /// # Errors
    /// `act`'s, or QEMU does not answer.
    pub fn with_memory<T>(&mut self, act: impl FnOnce(&mut dyn Memory) -> Result<T>) -> Result<T> {
        let done = paused(&mut self.remote, act);
        self.explain(done)
    }

    /// What QEMU and the firmware wrote to stderr so far.
    pub fn stderr(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Flash of the image and of the model.
    fn flash(&self) -> [Range<u64>; 2] {
        let settings = &self.board.settings;
        let model = settings.model_address..settings.model_address + settings.model_bytes;
        let image = settings.image_address;
        [image..image + settings.flash_bytes, model]
    }

    /// What is said where the stub fails: QEMU's own words are worth more.
    fn explain<T>(&mut self, done: Result<T>) -> Result<T> {
        done.map_err(|error| match self.child.try_wait() {
            Ok(Some(status)) => Error::Device { doing: "running QEMU", reason: format!("{status}: {}", self.stderr()) },
            _ => error,
        })
    }
}

/// Does `act` between a stop and a start of the core.
fn paused<T>(remote: &mut Remote, act: impl FnOnce(&mut dyn Memory) -> Result<T>) -> Result<T> {
    remote.stop()?;
    let done = act(&mut Halted(remote));
    remote.go()?;
    done
}

impl Drop for Emulated {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target for Emulated {
    fn chip(&self) -> String {
        self.board.package.clone()
    }

    fn sectors(&self, range: Range<u64>) -> Vec<Sector> {
        let sectors = self.flash().into_iter().flat_map(|region| {
            let from = range.start.max(region.start) / SECTOR;
            let to = range.end.min(region.end).div_ceil(SECTOR);
            (from..to).map(|index| Sector { address: index * SECTOR, bytes: SECTOR })
        });
        sectors.collect()
    }

    fn page_bytes(&self, _: Sector) -> u64 {
        PAGE
    }

    fn halt(&mut self) -> Result<()> {
        let done = self.remote.stop();
        self.explain(done)
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        let done = self.remote.read(address, buffer);
        self.explain(done)
    }

    fn erase(&mut self, sectors: &[Sector]) -> Result<()> {
        let done = sectors
            .iter()
            .try_for_each(|sector| self.remote.write(sector.address, &vec![ERASED; sector.bytes as usize]));
        self.explain(done)
    }

    fn program(&mut self, chunks: &[(u64, &[u8])]) -> Result<()> {
        let done = chunks.iter().try_for_each(|(address, bytes)| self.remote.write(*address, bytes));
        self.explain(done)
    }

    fn start(&mut self) -> Result<()> {
        self.heard = 0;
        // What an earlier run said must not be taken for this one's word.
        match std::fs::remove_file(self.folder.path().join(REPORTS)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::Io { doing: "removing old reports".into(), source: error });
            }
            _ => {}
        }
        let done = self.ears.begin(&mut Halted(&mut self.remote));
        let done = done.and_then(|()| self.remote.monitor("system_reset")).and_then(|()| self.remote.go());
        self.explain(done)
    }

    fn hear(&mut self) -> Result<Heard> {
        // Asked before the file is read: what was written before the end is read then.
        let ended = self.child.try_wait().map_err(Error::io("watching QEMU"))?;
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.folder.path().join(REPORTS)) {
            let read = file.seek(SeekFrom::Start(self.heard)).and_then(|_| file.read_to_end(&mut bytes));
            self.heard += read.map_err(Error::io("reading the reports"))? as u64;
        }
        match ended {
            Some(status) if bytes.is_empty() => {
                let reason = format!("it has ended, {status}: {}", self.stderr());
                Err(Error::Device { doing: "running the firmware", reason })
            }
            _ if bytes.is_empty() && self.ears.are_open() => {
                let done = paused(&mut self.remote, |memory| self.ears.hear(memory));
                self.explain(done)
            }
            _ if bytes.is_empty() => Ok(vec![]),
            _ => Ok(vec![(0, bytes)]),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.ears.are_open() {
            return Ok(());
        }
        let done = paused(&mut self.remote, |memory| self.ears.say(memory, bytes));
        self.explain(done)
    }

    fn line(&self) -> &'static str {
        if self.ears.are_open() { "RTT" } else { "a file of the PC, by semihosting" }
    }
}
