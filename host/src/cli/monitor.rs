//! `neji monitor`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args as ClapArgs;
use neji_format::{FrontEnd, Plan};
use neji_link::Command;
use neji_machine::Board;
use neji_monitor::emulated::{Emulated, Input, Pace};
use neji_monitor::{Client, Line, SerialLine, Session, Settings, terminal};

use super::probe::{self, ProbeArgs};
use crate::scenario::Scenario;
use crate::scenario::mix::{Item, SensorStream};
use crate::simulate::{self, Frame, Source};

/// Watch a board over its live link: score against threshold, anomaly map or spectrogram, state and log, in the terminal.
///
/// A real board at its debug probe (--board) goes on while it is attached to; where its firmware's RTT is says --firmware, or the image
/// that was built last, else all of RAM is searched. That needs a command that was built with debug probes: cargo install --path host
/// --features probe. Without, there are its serial port (--serial) and boards in QEMU (--qemu).
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where the board is.
    #[command(flatten)]
    pub place: Place,
    /// Which probe a board is at, and which firmware it runs.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Bits a second of a serial port; USB does not care.
    #[arg(long, default_value_t = 115_200, requires = "serial")]
    pub baud: u32,
    /// What a board in QEMU watches, and with what.
    #[command(flatten)]
    pub emulation: Emulation,
    /// Print lines of JSON instead, one a message.
    #[arg(long)]
    pub json: bool,
    /// Write what the board keeps of its last alarms into this folder, in files that `neji simulate --recorded` plays.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Have the board calibrate at once, by so many scores.
    #[arg(long, value_name = "N")]
    pub calibrate: Option<u16>,
    /// Scores that the key `c` calibrates by.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub calibration_scores: u16,
    /// End behind so many scores.
    #[arg(long, value_name = "N")]
    pub scores: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "S", value_parser = positive)]
    pub seconds: Option<f64>,
}

/// Where a board is.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// A board at a debug probe, by its package's name.
    #[arg(long, value_name = "B")]
    pub board: Option<String>,
    /// A board at a serial port, such as /dev/ttyACM0.
    #[arg(long, value_name = "PORT")]
    pub serial: Option<String>,
    /// A board whose firmware is built and run in QEMU.
    #[arg(long, value_name = "B", requires = "blob")]
    pub qemu: Option<String>,
}

/// Of a board in QEMU.
#[derive(Debug, ClapArgs)]
pub struct Emulation {
    /// The blob in its flash.
    #[arg(requires = "qemu")]
    pub blob: Option<PathBuf>,
    /// Folders or files that its sensor plays, as for `neji simulate --source`.
    #[arg(long, num_args = 1.., requires = "qemu", conflicts_with = "scenario")]
    pub input: Vec<PathBuf>,
    /// A scenario that its sensor plays; what a scenario's sensor loses is left out.
    #[arg(long, value_name = "FILE.toml", requires = "qemu")]
    pub scenario: Option<PathBuf>,
    /// Play it again and again.
    #[arg(long = "loop")]
    pub again: bool,
    /// Times as fast as sound is; of images so many of two a second.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = positive)]
    pub pace: f64,
    /// Play as fast as the board watches.
    #[arg(long, conflicts_with = "pace")]
    pub unpaced: bool,
    /// The repository, which holds the boards; by default the one around this folder, else those that are built in.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("a number above 0".to_owned()) }
}

/// Images a second where nothing else is asked for.
const IMAGES_PER_SECOND: f64 = 2.0;

/// Runs the command.
///
/// # Errors
/// No such board or port, unreadable input, a folder or file that can't be written, or no terminal to draw in.
pub fn run(args: Args) -> anyhow::Result<()> {
    // clap asks for no option that one which was given excludes.
    let Place { board, qemu, .. } = &args.place;
    let ProbeArgs { probe, speed, firmware } = &args.probe;
    ensure!(
        board.is_some() || (probe.is_none() && speed.is_none()),
        "--probe and --speed are for a board at a debug probe: give --board B"
    );
    ensure!(
        board.is_some() || qemu.is_some() || firmware.is_none(),
        "--firmware is for a board at a debug probe or in QEMU: give --board B or --qemu B"
    );
    let line: Box<dyn Line> = match &args.place {
        Place { serial: Some(path), .. } => Box::new(SerialLine { path: path.clone(), baud: args.baud }),
        Place { qemu: Some(name), .. } => Box::new(emulated(name, firmware.as_deref(), &args.emulation)?),
        Place { board: Some(name), .. } => probed(name, &args)?,
        _ => bail!("where is the board? give --board B, --serial PORT or --qemu B"),
    };
    let settings = Settings {
        record: args.record,
        calibration_scores: args.calibration_scores,
        commands: args.calibrate.map(|scores| Command::Calibrate { scores }).into_iter().collect(),
        scores_max: args.scores,
        time_max: args.seconds.map(Duration::from_secs_f64),
        saves: PathBuf::from("recordings"),
    };
    let stop = super::stop_on_interrupt()?;
    let session = Session::new(Client::new(line), settings, !args.json)?;
    match args.json {
        true => session.write_lines(&mut io::stdout().lock(), &stop),
        false => terminal::show(session, &stop),
    }
}

/// The line to a real board at a debug probe.
fn probed(name: &str, args: &Args) -> anyhow::Result<Box<dyn Line>> {
    let board = Board::find_here(args.emulation.root.as_deref(), name)?;
    ensure!(
        board.settings.emulator.is_none(),
        "{name} is a board in QEMU, which has no debug probe: neji monitor MODEL.neji --qemu {name} --input DIR"
    );
    #[cfg(feature = "probe")]
    return Ok(Box::new(probe::Line::to(&board, &args.probe)?));
    #[cfg(not(feature = "probe"))]
    bail!(probe::missing("; or --serial PORT, where the board shows one, such as /dev/ttyACM0"))
}

fn emulated(name: &str, firmware: Option<&Path>, emulation: &Emulation) -> anyhow::Result<Emulated> {
    let board = Board::find_here(emulation.root.as_deref(), name)?;
    // Before anything is built for it.
    board.emulator()?;
    let blob =
        emulation.blob.as_deref().context("--qemu needs a blob: neji monitor MODEL.neji --qemu B --input DIR")?;
    let source = Source::read(blob)?.on(&board)?;
    let model = source.model()?;
    let plan = *model.plan();
    let (input, frame_bytes) = match &emulation.scenario {
        Some(path) => (scenario(path, &plan, emulation.again)?, None),
        None => {
            ensure!(
                !emulation.input.is_empty(),
                "what does the board's sensor see? give --input DIR or --scenario FILE"
            );
            let files = simulate::image_files(&emulation.input)?;
            let frames = files.iter().map(|file| simulate::read_frames(&plan, file));
            let frames = frames.collect::<anyhow::Result<Vec<_>>>()?.concat();
            let bytes = frames.first().map(|frame| frame.samples.len());
            (recordings(frames, emulation.again), bytes)
        }
    };
    let rate = match &plan.front_end {
        FrontEnd::LogMel(config) => f64::from(config.sample_rate) * f64::from(config.axes) * 2.0,
        _ => frame_bytes.unwrap_or(1) as f64 * IMAGES_PER_SECOND,
    };
    let pace = if emulation.unpaced { Pace::None } else { Pace::BytesPerSecond(rate * emulation.pace) };
    let elf = match firmware {
        // QEMU runs in a folder of its own.
        Some(elf) => elf.canonicalize().with_context(|| format!("no firmware {}", elf.display()))?,
        None => {
            // Which takes a minute the first time, and the picture comes behind it.
            eprintln!("building the firmware of {name}");
            board.build()?
        }
    };
    Ok(Emulated { board, elf, model: model.bytes().to_vec(), input, pace })
}

/// Frames one after the other, once or for ever.
fn recordings(frames: Vec<Frame>, again: bool) -> Input {
    Arc::new(move |give| {
        loop {
            frames.iter().try_for_each(|frame| give(&frame.samples))?;
            if !again {
                return Ok(());
            }
        }
    })
}

/// The first sensor of a scenario.
fn scenario(path: &Path, plan: &Plan<'_>, again: bool) -> anyhow::Result<Input> {
    let scenario = Scenario::load(path)?;
    let FrontEnd::LogMel(config) = &plan.front_end else {
        bail!("{}: a model of sound hears scenarios", path.display())
    };
    let (given, wanted) = ((scenario.rate, 1), (config.sample_rate, config.axes));
    ensure!(
        given == wanted,
        "{}: {} Hz of one axis, the model hears {} of {}",
        path.display(),
        given.0,
        wanted.0,
        wanted.1
    );
    // A file that can't be read is said before the board starts.
    SensorStream::new(&scenario, 0)?;
    Ok(Arc::new(move |give| {
        loop {
            let mut stream = SensorStream::new(&scenario, 0).map_err(io::Error::other)?;
            let mut block = Vec::new();
            while let Some(item) = stream.next(&mut block).map_err(io::Error::other)? {
                if item == Item::Samples {
                    give(&block.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>())?;
                }
            }
            if !again {
                return Ok(());
            }
        }
    }))
}
