//! `neji flash`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use neji_flash::{Digest, Emulated, Event, Options, Outcome, Part, guarded, uf2, write};
use neji_format::Model;
use neji_machine::Board;

use super::boards::emulated;
use super::probe::{self, ProbeArgs};
use crate::bench::grouped;
use crate::files::write_whole;
use crate::fit::load::{Load, counted, estimated, period};
use crate::fit::{Fit, firmware, room, speed};
use crate::simulate::Source;

/// Write firmware and a model to a board: only what changed, read back, with the device's own word for the model.
///
/// The firmware is built for the board, or taken from --firmware. Whether the model fits and the board keeps up with its sensor is
/// checked before anything is touched. Boards in QEMU are written over its GDB stub, as a rehearsal. Real ones need a command that
/// was built with debug probes: cargo install --path host --features probe.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The blob, or an int8 .tflite model.
    pub model: PathBuf,
    /// The board: `neji boards` lists them.
    #[arg(long, value_name = "BOARD")]
    pub board: String,
    /// Which probe, and which firmware.
    #[command(flatten)]
    pub probe: ProbeArgs,
    /// Write the model only, for whatever firmware is on the board.
    #[arg(long, conflicts_with = "firmware")]
    pub keep_firmware: bool,
    /// Write a UF2 file instead, or without FILE copy one to the drive of a board in its boot loader.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub uf2: Option<Option<PathBuf>>,
    /// Flash a model that the board is too slow for.
    #[arg(long)]
    pub force: bool,
    /// Write all sectors, not only those that differ.
    #[arg(long)]
    pub all: bool,
    /// Unlock a chip that is locked against debugging, which ERASES all of it.
    #[arg(long)]
    pub erase_locked: bool,
    /// How long the device has to say which model it runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub wait: u64,
    /// Do not wait for the device's word.
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
    /// Give up where nothing moves for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub stall: u64,
    /// The board's clock, where it is another than `neji boards` says.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub clock_mhz: Option<f64>,
    /// Seconds from a picture to the next, or from one raw input to the next; sound says it itself.
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub every: Option<f64>,
    /// Estimate instructions from the plan instead of counting them in QEMU.
    #[arg(long)]
    pub estimate: bool,
    /// The repository, which holds the boards; by default the one around this folder, else those that are built in.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

/// Bytes that the sensor of a board's twin gives while it is asked for its model.
const TWIN_SAMPLES: usize = 64 << 20;

/// A number above zero.
pub(crate) fn positive(text: &str) -> std::result::Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("give a number above zero".to_owned()) }
}

/// What an input takes: counted where that is possible and wanted, else estimated.
fn load(board: &Board, boards: &[Board], model: &Model<'_>, estimate: bool) -> Load {
    let on = emulated(board, boards).filter(|on| !estimate && on.has_sources());
    let found = on.map(|on| counted(on, model, Duration::from_secs(600)));
    match found {
        Some(Ok(load)) => load,
        Some(Err(error)) => {
            eprintln!("not counted, but estimated: {error:#}");
            estimated(board, model)
        }
        None => estimated(board, model),
    }
}

/// Whether it fits, apart from what is unknown.
fn fit(
    board: &Board,
    boards: &[Board],
    model: &Model<'_>,
    image: Option<&crate::fit::Firmware>,
    args: &Args,
) -> Result<Fit> {
    let mut fit = room(board, model, image)?;
    let clock = args.clock_mhz.map(|clock| clock * 1e6).or(board.settings.clock_hz.map(|clock| clock as f64));
    match (period(model).or(args.every), clock) {
        (Some(seconds), Some(clock)) if fit.holds() => {
            fit.rows.push(speed(board, &load(board, boards, model, args.estimate), seconds, clock));
        }
        (None, _) => eprintln!("whether it is fast enough is not checked: --every says how often an input comes"),
        (_, None) => eprintln!("whether it is fast enough is not checked: --clock-mhz says the board's clock"),
        _ => {}
    }
    Ok(fit)
}

/// Runs the command.
///
/// # Errors
/// The model does not fit, the firmware does not build, or the board is not written; the message names the cure.
pub fn run(args: Args) -> Result<()> {
    let boards = Board::here(args.root.as_deref())?;
    let board = Board::find_here(args.root.as_deref(), &args.board)?;
    let source = Source::read(&args.model)?.on(&board)?;
    let model = source.model()?;
    let image = match (&args.probe.firmware, args.keep_firmware) {
        (_, true) => None,
        (Some(path), _) => Some(path.clone()),
        (None, _) => {
            eprintln!("building the firmware of {}", board.package);
            Some(board.build()?)
        }
    };
    let image = image.map(|path| firmware(&board, &path)).transpose()?;
    let fit = fit(&board, &boards, &model, image.as_ref().map(|(_, found)| found), &args)?;
    print!("{} on {} ({}):\n{}", args.model.display(), board.package, board.settings.name, fit.text());
    fit.insist(&args.model, args.force)?;

    let elf = image.map(|(elf, _)| elf);
    let firmware = elf.as_deref().map(Part::firmware).transpose()?;
    let parts: Vec<Part> =
        firmware.into_iter().chain([Part::model(board.settings.model_address, model.bytes())]).collect();
    if let Some(to) = &args.uf2 {
        return as_uf2(&board, &parts, to.as_deref());
    }
    let options = Options { wait: (!args.no_wait).then(|| Duration::from_secs(args.wait)), all: args.all };
    let bar = Bar::new();
    let outcome = if board.settings.emulator.is_some() {
        let elf = elf.with_context(|| format!("{} starts empty in QEMU: it needs its firmware too", board.package))?;
        let (board, parts) = (board.clone(), parts.clone());
        // A twin speaks while it watches, and ends where its sensor does.
        let samples = vec![0; if board.settings.twin_of.is_some() { TWIN_SAMPLES } else { 0 }];
        let work = move |told: &mut dyn FnMut(Event)| {
            let mut emulated = Emulated::start(&board, &samples)?;
            emulated.listen_to(&elf)?;
            write(&mut emulated, &parts, options, told)
        };
        guarded(Duration::from_secs(args.stall), work, &mut |event| bar.show(event))
    } else {
        on_probe(&board, elf, parts.clone(), options, &args, &bar)
    };
    bar.clear();
    print!("{}", text(&outcome?, Digest::of(model.bytes())));
    Ok(())
}

#[cfg(feature = "probe")]
fn on_probe(
    board: &Board,
    elf: Option<Vec<u8>>,
    parts: Vec<Part>,
    options: Options,
    args: &Args,
    bar: &Bar,
) -> neji_flash::Result<Outcome> {
    use neji_flash::probe::{Lister, Probed, Wanted, open};
    let choice = probe::choice(&args.probe, args.erase_locked);
    let board = board.clone();
    let work = move |told: &mut dyn FnMut(Event)| {
        let chip = board.settings.chip.clone().unwrap_or_default();
        let instead = probe::instead_of_flashing(&board);
        let wanted = Wanted { board: &board.package, chip: &chip, instead };
        let lister = Lister::new();
        let mut probed = Probed::attach(|| open(&lister, &choice, instead), &wanted, choice.erase_locked)?;
        if let Some(elf) = &elf {
            probed.listen_to(elf)?;
        }
        write(&mut probed, &parts, options, told)
    };
    guarded(Duration::from_secs(args.stall), work, &mut |event| bar.show(event))
}

#[cfg(not(feature = "probe"))]
fn on_probe(
    board: &Board,
    _: Option<Vec<u8>>,
    _: Vec<Part>,
    _: Options,
    _: &Args,
    _: &Bar,
) -> neji_flash::Result<Outcome> {
    Err(neji_flash::Error::Unsupported { reason: probe::missing(probe::instead_of_flashing(board)) })
}

/// Writes a UF2 file, or copies it to a board's boot loader.
fn as_uf2(board: &Board, parts: &[Part], to: Option<&Path>) -> Result<()> {
    let family = board.settings.uf2_family.ok_or_else(|| neji_flash::Error::NoUf2 { board: board.package.clone() })?;
    let file = uf2::file(parts, family)?;
    match to {
        Some(path) => {
            write_whole(path, &file).with_context(|| format!("writing {}", path.display()))?;
            println!("wrote {}: copy it to the drive that the board shows with BOOTSEL held", path.display());
        }
        None => {
            let drives = uf2::drives();
            let drive = drives.first().ok_or(neji_flash::Error::NoDrive)?;
            ensure!(
                drives.len() == 1,
                "several boards show a drive: unplug all but one, or --uf2 FILE and copy it by hand"
            );
            let info = fs::read_to_string(drive.join("INFO_UF2.TXT")).unwrap_or_default();
            let model =
                info.lines().find_map(|line| line.strip_prefix("Model:")).unwrap_or("a board").trim().to_owned();
            uf2::copy(drive, &file)?;
            println!(
                "copied {} bytes to {} ({model}): it starts by itself",
                grouped(file.len() as u64),
                drive.display()
            );
        }
    }
    Ok(())
}

/// What is going on, for a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(1);
        bar.set_style(
            ProgressStyle::with_template("{msg:<24} {wide_bar} {bytes:>10} of {total_bytes}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self(bar)
    }

    fn show(&self, event: Event) {
        match event {
            Event::Reading { part, bytes, of } | Event::Writing { part, bytes, of } => {
                self.0.set_message(format!("{} {part}", event.doing()));
                self.0.set_length(of);
                self.0.set_position(bytes);
            }
            Event::Verifying | Event::Starting | Event::Waiting => self.0.set_message(event.doing()),
        }
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn text(outcome: &Outcome, model: Option<Digest>) -> String {
    let mut out = String::new();
    for part in &outcome.parts {
        let what = match part.written {
            0 => "unchanged".to_owned(),
            bytes => format!("{} written and read back", grouped(bytes)),
        };
        out.push_str(&format!("  {:<10} {} bytes: {what}\n", part.part, grouped(part.bytes)));
    }
    out.push_str(&match (outcome.digest, model) {
        (Some(found), _) => format!(
            "  the device runs the model with checksum {:08x}, {} bytes: the one that was written\n",
            found.crc32,
            grouped(found.bytes.into())
        ),
        (None, Some(model)) => format!("  the device was not asked whether it runs {:08x}\n", model.crc32),
        (None, None) => String::new(),
    });
    out
}

#[cfg(test)]
mod tests {
    use neji_flash::Written;

    use super::*;

    #[test]
    fn what_was_written_is_said_part_by_part() {
        let part = |part, bytes, written| Written { part, bytes, written };
        let digest = Digest { crc32: 0xabc, bytes: 4000 };
        let parts = vec![part("firmware", 40_000, 0), part("model", 4000, 1500)];
        let said = text(&Outcome { parts: parts.clone(), digest: Some(digest) }, Some(digest));
        assert!(said.contains("firmware   40,000 bytes: unchanged"), "{said}");
        assert!(said.contains("model      4,000 bytes: 1,500 written") && said.contains("00000abc"), "{said}");
        let said = text(&Outcome { parts, digest: None }, Some(digest));
        assert!(said.ends_with("was not asked whether it runs 00000abc\n"), "{said}");
    }

    #[test]
    fn numbers_are_above_zero() {
        assert_eq!(positive("0.5"), Ok(0.5));
        assert!(["0", "-1", "inf", "NaN", "x"].iter().all(|text| positive(text).is_err()));
    }
}
