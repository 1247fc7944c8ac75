//! Running a board's firmware in QEMU: a blob and samples in, the stream of reports and the pins' writes out.
//!
//! Samples and reports are files that the firmware opens by semihosting, under fixed names in a folder made for the run;
//! so no path needs quoting, and runs do not meet. The blob goes straight to its region: the image is the same for all.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::board::{Board, Emulator};
use crate::toolchain::{QEMU, qemu_is_missing};

/// The file that the firmware reads samples from.
pub const SAMPLES: &str = "samples.bin";
/// The file that the firmware writes reports to.
pub const REPORTS: &str = "reports.bin";
/// The file that the firmware writes the model's outputs to, where there is no detector to judge them.
pub const OUTPUTS: &str = "outputs.bin";
/// The file that says where samples are missing.
pub(crate) const GAPS: &str = "gaps.bin";
/// The file that has samples arrive by the board's clock.
pub(crate) const PACE: &str = "pace.bin";
/// The file that has the monitor calibrated, by so many scores.
pub(crate) const CALIBRATE: &str = "calibrate.bin";
/// The file that has something go wrong in a twin.
const FAULT: &str = "fault.bin";
pub(crate) const MODEL: &str = "model.neji";
const TRACE: &str = "trace.log";

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The run is ended with an error after this long.
    pub timeout: Duration,
    /// One nanosecond of virtual time an instruction (`-icount shift=0`), so that SysTick counts instructions. Slower.
    pub count_instructions: bool,
    /// The monitor learns from so many scores first.
    pub calibrate: Option<u16>,
    /// The first half of them teach it where normal outputs lie.
    pub tables: bool,
    /// What goes wrong when half of the samples are through, in a twin.
    pub fault: Option<Fault>,
}

impl Options {
    /// What the file [`CALIBRATE`] says: the scores in 16 bits, and 1 where tables are learned.
    pub(crate) fn calibration(&self) -> Option<[u8; 3]> {
        let [low, high] = self.calibrate?.to_le_bytes();
        Some([low, high, self.tables.into()])
    }
}

/// What can go wrong in a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sensor gives nothing more.
    Silence,
    /// The sensor's driver gives up.
    Failure,
    /// The core refuses an instruction.
    HardFault,
    /// A check of the firmware's own fails.
    Panic,
    /// The firmware hangs.
    Hang,
}

impl Fault {
    /// As the firmware reads it.
    const fn byte(self) -> u8 {
        match self {
            Self::Silence => b'S',
            Self::Failure => b'F',
            Self::HardFault => b'H',
            Self::Panic => b'P',
            Self::Hang => b'L',
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(300),
            count_instructions: false,
            calibrate: None,
            tables: false,
            fault: None,
        }
    }
}

/// What came out of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emulation {
    /// The bytes of the report stream.
    pub stream: Vec<u8>,
    /// The int8 outputs of a model without a detector, frame after frame.
    pub outputs: Vec<i8>,
    /// QEMU's exit status: 0 where the firmware ended well, 1 where it reported a failure; `None` where a signal ended it.
    pub exit: Option<i32>,
    /// What QEMU and the firmware wrote to stderr.
    pub stderr: String,
    /// Every value written to the pins' register, as QEMU's device saw it, in order.
    pub pin_writes: Vec<u32>,
}

impl Emulation {
    /// What a run left in its folder.
    pub(crate) fn of(ended: Ended) -> Self {
        let pin_writes = pin_writes(&String::from_utf8_lossy(&ended.read(TRACE)));
        let outputs = ended.read(OUTPUTS).into_iter().map(u8::cast_signed).collect();
        Self { stream: ended.read(REPORTS), outputs, exit: ended.exit, stderr: ended.stderr, pin_writes }
    }
}

/// QEMU's arguments for the machine itself, with its first serial port at `serial`.
pub fn machine<'a>(emulator: &'a Emulator, serial: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["-machine", &emulator.machine, "-display", "none", "-monitor", "none", "-serial", serial];
    arguments.extend(["-semihosting-config", "enable=on,target=native"]);
    arguments.extend(emulator.args.iter().map(String::as_str));
    arguments
}

/// QEMU's arguments for `board`, whose firmware is `elf` and whose first serial port is `serial`; paths other than `elf` are relative
/// to the run's folder.
///
/// With `shift` an instruction takes 2^`shift` nanoseconds of virtual time.
///
/// # Errors
/// The board is real.
pub(crate) fn arguments(board: &Board, elf: &Path, serial: &str, shift: Option<u32>) -> Result<Vec<OsString>> {
    let (settings, emulator) = (&board.settings, board.emulator()?);
    let mut arguments: Vec<OsString> = machine(emulator, serial).into_iter().map(OsString::from).collect();
    if let Some(shift) = shift {
        arguments.extend(["-icount".into(), format!("shift={shift}").into()]);
    }
    let loader = format!("loader,file={MODEL},addr={:#x},force-raw=on", settings.model_address);
    arguments.extend(["-device".into(), loader.into()]);
    if !emulator.pin_trace.is_empty() {
        arguments.extend(["-trace".into(), emulator.pin_trace.clone().into(), "-D".into(), TRACE.into()]);
    }
    arguments.extend(["-kernel".into(), elf.into()]);
    Ok(arguments)
}

/// The written values in QEMU's trace, lines such as `mps2_fpgaio_write MPS2 FPGAIO write: offset 0x0 data 0x1 size 4`
/// or `nrf51_gpio_write offset 0x504 value 0x8`. Only the register of the outputs counts: offset 0 or 0x504.
fn pin_writes(trace: &str) -> Vec<u32> {
    let number = |line: &str, name: &str| -> Option<u32> {
        let text = line.split_once(name)?.1.trim_start().split([' ', ',']).next()?;
        u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let write = |line: &str| -> Option<u32> {
        if !matches!(number(line, "offset ")?, 0 | 0x504) {
            return None;
        }
        number(line, "data ").or_else(|| number(line, "value "))
    };
    trace.lines().filter_map(write).collect()
}

/// A run that ended, with the files that it wrote.
pub(crate) struct Ended {
    folder: TempDir,
    /// QEMU's exit status.
    pub(crate) exit: Option<i32>,
    /// What QEMU and the firmware wrote to stderr.
    pub(crate) stderr: String,
}

impl Ended {
    /// A file that the firmware wrote; empty where it did not.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name)).unwrap_or_default()
    }
}

/// What QEMU counts with.
pub(crate) enum Count {
    /// Nothing.
    Nothing,
    /// Virtual time: an instruction takes two to this many nanoseconds.
    Time(u32),
    /// A plugin, with its arguments.
    Plugin(OsString),
}

/// What is in a file of a run's folder.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Those of another file.
    File(&'a Path),
}

/// Runs `elf` on `board` to its end, with the blob `model` in its region and `files` in its folder.
///
/// # Errors
/// As [`emulate`].
pub(crate) fn start(
    board: &Board,
    elf: &Path,
    model: &[u8],
    files: &[(&str, Content<'_>)],
    count: Count,
    timeout: Duration,
    stop: Option<&AtomicBool>,
) -> Result<Ended> {
    let room = board.settings.model_bytes;
    if model.len() as u64 > room {
        bail!("the model has {} bytes, {} has room for {room}", model.len(), board.package);
    }
    let folder = tempfile::Builder::new().prefix("neji-").tempdir().context("making a folder for the run")?;
    let path = |name: &str| folder.path().join(name);
    for (name, content) in [(MODEL, Content::Bytes(model))].iter().chain(files) {
        match content {
            Content::Bytes(bytes) => fs::write(path(name), bytes)?,
            Content::File(file) => {
                // Another name of the same file where that is possible: hours of sound are not copied.
                fs::hard_link(file, path(name)).or_else(|_| fs::copy(file, path(name)).map(drop))?;
            }
        }
    }
    let errors = fs::File::create(path("stderr"))?;

    let mut command = Command::new(QEMU);
    let shift = if let Count::Time(shift) = count { Some(shift) } else { None };
    command.args(arguments(board, elf, "none", shift)?).current_dir(folder.path());
    if let Count::Plugin(plugin) = count {
        command.arg("-plugin").arg(plugin);
    }
    command.stdin(Stdio::null()).stdout(errors.try_clone()?).stderr(errors);
    let mut child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(qemu_is_missing());
        }
        other => other.context("starting QEMU")?,
    };

    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        let stopped = stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if stopped || begin.elapsed() > timeout {
            child.kill()?;
            child.wait()?;
            if stopped {
                bail!("interrupted");
            }
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let stderr = String::from_utf8_lossy(&fs::read(path("stderr")).unwrap_or_default()).into_owned();
    let Some(status) = status else {
        bail!("{} did not end within {} s\n{stderr}", board.package, timeout.as_secs());
    };
    Ok(Ended { folder, exit: status.code(), stderr })
}

/// Runs `elf` on `board` with the blob `model` in its region and `samples` as its sensor, to the firmware's end.
///
/// # Errors
/// The blob does not fit the region, QEMU is missing or does not start, or the time is up; the message says what QEMU
/// wrote. A firmware that reports a failure is not an error: see [`Emulation::exit`].
pub fn emulate(board: &Board, elf: &Path, model: &[u8], samples: &[u8], options: Options) -> Result<Emulation> {
    let count = if options.count_instructions { Count::Time(0) } else { Count::Nothing };
    let calibrate = options.calibration();
    let mut files = vec![(SAMPLES, Content::Bytes(samples))];
    files.extend(calibrate.as_ref().map(|scores| (CALIBRATE, Content::Bytes(scores))));
    let fault = options.fault.map(|fault| [fault.byte()]);
    files.extend(fault.as_ref().map(|fault| (FAULT, Content::Bytes(fault))));
    Ok(Emulation::of(start(board, elf, model, &files, count, options.timeout, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Settings;

    fn board() -> Board {
        let settings = Settings {
            name: "B".into(),
            target: "thumbv7m-none-eabi".into(),
            emulator: Some(Emulator {
                machine: "mps2-an385".into(),
                args: vec!["-x".into()],
                systick_hz: 25_000_000,
                pin_trace: "mps2_fpgaio_write".into(),
                alarm_mask: 1,
                fault_mask: 2,
            }),
            chip: None,
            twin: None,
            twin_of: None,
            uf2_family: None,
            sensors: Vec::new(),
            clock_hz: None,
            image_address: 0,
            model_address: 0x10_0000,
            model_bytes: 4,
            flash_bytes: 8,
            ram_bytes: 8,
            memory_bytes: 4,
            pairs: false,
            int16: true,
            stack_bytes: 4,
            core: None,
            live: false,
        };
        Board { package: "b".into(), settings, workspace: "/w".into() }
    }

    #[test]
    fn the_blob_is_loaded_at_the_boards_address_and_counting_is_asked_for() {
        let line = |shift| {
            let words = arguments(&board(), Path::new("/f.elf"), "none", shift).unwrap();
            words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let plain = line(None);
        assert!(plain.starts_with("-machine mps2-an385 "), "{plain}");
        assert!(plain.contains("-device loader,file=model.neji,addr=0x100000,force-raw=on"), "{plain}");
        assert!(plain.ends_with("-kernel /f.elf") && plain.contains(" -x "), "{plain}");
        assert!(!plain.contains("-icount"));
        assert!(line(Some(10)).contains("-icount shift=10"));
    }

    #[test]
    fn a_blob_that_does_not_fit_is_refused_before_qemu_starts() {
        let error = emulate(&board(), Path::new("/none"), &[0; 5], &[], Options::default()).unwrap_err();
        assert_eq!(error.to_string(), "the model has 5 bytes, b has room for 4");
    }

    #[test]
    fn the_trace_gives_the_values_of_the_output_register_only() {
        let trace = "mps2_fpgaio_write MPS2 FPGAIO write: offset 0x0 data 0x1 size 4\n\
                     mps2_fpgaio_write MPS2 FPGAIO write: offset 0x14 data 0x7 size 4\n\
                     nrf51_gpio_write offset 0x504 value 0x8\nnoise\n";
        assert_eq!(pin_writes(trace), [1, 8]);
    }
}
