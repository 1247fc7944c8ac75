//! `neji boards`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use neji_machine::Board;
use serde::Serialize;

use crate::fit::load::{counted, estimated, period};
use crate::fit::{Fit, room, speed};
use crate::simulate::Source;

/// List the boards that neji knows, and whether a model fits them.
///
/// Flash and RAM are exact. Whether a board keeps up with its sensor is estimated from the plan; with --count it is counted in
/// QEMU, on the board or on its twin there.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// A blob or an int8 .tflite model, which is held against each board.
    pub model: Option<PathBuf>,
    /// Seconds from a picture to the next, or from one raw input to the next; sound says it itself.
    #[arg(long, value_name = "SECONDS", value_parser = super::flash::positive)]
    pub every: Option<f64>,
    /// Count instructions instead of estimating them, where QEMU has the board or its twin.
    #[arg(long, requires = "model")]
    pub count: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The repository, which holds the boards; by default the one around this folder, else those that are built in.
    #[arg(long)]
    pub root: Option<PathBuf>,
}

/// A board, for a row.
#[derive(Debug, Serialize)]
struct Row {
    board: String,
    name: String,
    core: String,
    clock_hz: Option<u64>,
    /// For image and model.
    flash_bytes: [u64; 2],
    ram_bytes: u64,
    /// What of RAM the firmware keeps for the monitor.
    memory_bytes: u64,
    sensors: Vec<String>,
    chip: Option<String>,
    /// True where QEMU runs the board itself.
    emulated: bool,
    twin: Option<String>,
    uf2: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fits: Option<Result<Fit, String>>,
}

/// The core, as the board's name has it.
pub(crate) fn core(board: &Board) -> String {
    let name = &board.settings.name;
    let word = name.split(['(', ')', ',', ' ']).find(|word| word.starts_with("Cortex-"));
    word.unwrap_or(&board.settings.target).to_owned()
}

/// Whether QEMU runs it with the PC's files as sensor and line, so that it can be fed and its instructions counted.
pub(crate) fn takes_files(board: &Board) -> bool {
    board.settings.emulator.as_ref().is_some_and(|emulator| emulator.systick_hz > 0)
}

/// The board that QEMU runs in place of `board`: itself, its twin, or one with the same core and kernels.
pub(crate) fn emulated<'b>(board: &Board, boards: &'b [Board]) -> Option<&'b Board> {
    let settings = &board.settings;
    // The floating point unit makes no difference: all is whole numbers.
    let kind = |board: &Board| core(board).trim_end_matches(['F', '+']).to_owned();
    let alike = |other: &&Board| {
        other.settings.target == settings.target && other.settings.pairs == settings.pairs && kind(other) == kind(board)
    };
    let all = || boards.iter().filter(|other| takes_files(other));
    let itself = all().find(|other| other.package == board.package);
    let twin = all().find(|other| settings.twin.as_ref() == Some(&other.package));
    itself.or(twin).or_else(|| all().find(alike))
}

fn fits(board: &Board, boards: &[Board], source: &Source, args: &Args) -> anyhow::Result<Fit> {
    let source = source.on(board)?;
    let model = source.model()?;
    let mut fit = room(board, &model, None)?;
    if let (Some(seconds), Some(clock)) = (period(&model).or(args.every), board.settings.clock_hz) {
        let on = emulated(board, boards).filter(|_| args.count);
        let load = match on {
            Some(on) => counted(on, &model, Duration::from_secs(600))?,
            None => estimated(board, &model),
        };
        fit.rows.push(speed(board, &load, seconds, clock as f64));
    }
    Ok(fit)
}

/// Runs the command.
///
/// # Errors
/// A model that can't be read, or boards whose tables are wrong.
pub fn run(args: Args) -> anyhow::Result<()> {
    let boards = Board::here(args.root.as_deref())?;
    let source = args.model.as_deref().map(Source::read).transpose()?;
    if let Some(source) = &source {
        source.model()?;
    }
    let row = |board: &Board| {
        let settings = &board.settings;
        let fits =
            source.as_ref().map(|source| fits(board, &boards, source, &args).map_err(|error| format!("{error:#}")));
        Row {
            board: board.package.clone(),
            name: settings.name.clone(),
            core: core(board),
            clock_hz: settings.clock_hz,
            flash_bytes: [settings.flash_bytes, settings.model_bytes],
            ram_bytes: settings.ram_bytes,
            memory_bytes: settings.memory_bytes,
            sensors: settings.sensors.clone(),
            chip: settings.chip.clone(),
            emulated: settings.emulator.is_some(),
            twin: settings.twin.clone(),
            uf2: settings.uf2_family.is_some(),
            fits,
        }
    };
    let rows: Vec<Row> = boards.iter().map(row).collect();
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&rows)?),
        false => print!("{}", text(&rows)),
    }
    Ok(())
}

/// `1.5 MB` and the like, in units of 1024.
fn size(bytes: u64) -> String {
    if bytes < 1024 * 1024 { format!("{}K", bytes.div_ceil(1024)) } else { format!("{:.1}M", bytes as f64 / 1048576.0) }
}

fn text(rows: &[Row]) -> String {
    let mut lines =
        vec![["board", "core", "clock", "flash", "model", "RAM", "monitor", "sensors", ""].map(String::from)];
    for row in rows {
        let clock = row.clock_hz.map_or_else(|| "-".into(), |clock| format!("{} MHz", clock / 1_000_000));
        let sensors = match (row.sensors.is_empty(), &row.twin) {
            (true, _) if row.emulated => "QEMU: files of the PC".to_owned(),
            (true, _) => "-".into(),
            (false, _) => row.sensors.join(", "),
        };
        let fits = match &row.fits {
            None => row.twin.as_ref().map_or_else(String::new, |twin| format!("in QEMU as {twin}")),
            Some(Ok(fit)) => fit.brief(),
            Some(Err(error)) => format!("no: {error}"),
        };
        let [flash, model] = row.flash_bytes.map(size);
        let (ram, monitor) = (size(row.ram_bytes), size(row.memory_bytes));
        lines.push([row.board.clone(), row.core.clone(), clock, flash, model, ram, monitor, sensors, fits]);
    }
    if rows.iter().any(|row| row.fits.is_some()) {
        lines[0][8] = "the model fits".into();
    }
    let widths: Vec<usize> =
        (0..9).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_have_a_line_each_with_their_core() {
        let row = Row {
            board: "b".into(),
            name: "B (Cortex-M4F)".into(),
            core: "Cortex-M4F".into(),
            clock_hz: Some(64_000_000),
            flash_bytes: [512 * 1024, 3 * 512 * 1024],
            ram_bytes: 256 * 1024,
            memory_bytes: 1000,
            sensors: vec!["microphone".into(), "motion".into()],
            chip: Some("nRF".into()),
            emulated: false,
            twin: Some("q".into()),
            uf2: false,
            fits: None,
        };
        let text = text(&[row]);
        assert!(
            text.ends_with("Cortex-M4F  64 MHz  512K   1.5M   256K  1K       microphone, motion  in QEMU as q\n"),
            "{text}"
        );
        let boards = Board::known();
        for board in &boards {
            assert!(core(board).starts_with("Cortex-M"), "{}: its name has the core in it", board.package);
        }
    }
    #[test]
    fn a_board_without_a_twin_is_counted_on_one_with_its_core() {
        let boards = Board::known();
        let find = |name: &str| boards.iter().find(|board| board.package == name).unwrap();
        let on = |board: &Board| emulated(board, &boards).map(|board| board.package.as_str());
        let mut real = find("qemu-mps2-an386").clone();
        assert_eq!(on(&real), Some("qemu-mps2-an386"));
        (real.package, real.settings.emulator) = ("real".into(), None);
        real.settings.name = "R (nRF52840, Cortex-M4)".into();
        assert_eq!(on(&real), Some("qemu-mps2-an386"));
        real.settings.twin = Some("qemu-mps2-an500".into());
        assert_eq!(on(&real), Some("qemu-mps2-an500"));
        (real.settings.twin, real.settings.name) = (None, "R (Cortex-A7)".into());
        assert_eq!(on(&real), None);
    }
}
