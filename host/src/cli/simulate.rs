//! `neji simulate`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use neji_app::{Outcome, Trend, Verdict};
use neji_format::{FrontEnd, Model, Plan};
use neji_machine::{Board, Options, rises};
use neji_monitor::Recorded;
use serde_json::json;

use crate::begin::Begin;
use crate::files::write_whole;
use crate::scenario::Scenario;
use crate::scenario::board::Stage;
use crate::scenario::play::play;
use crate::simulate::{self, Frame, Source};

/// Feed the firmware's monitor from files, on the host or on an emulated board.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The blob that `neji quantize` wrote.
    pub blob: PathBuf,
    /// Folders or image files, in the order in which the sensor sees them; for a model without a front end int8 .npy files,
    /// whose first axis counts samples.
    #[arg(long, required_unless_present_any = ["scenario", "recorded"], num_args = 1..)]
    pub source: Vec<PathBuf>,
    /// The file that `neji monitor --record` wrote beside a recording: plays it, and compares the scores with those that the board
    /// gave then. The exit status says whether they are the same.
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["source", "scenario", "calibrate"])]
    pub recorded: Option<PathBuf>,
    /// A scenario instead: sources of sound, faults, events and what must come of them, in virtual time;
    /// configs/scenarios has examples. The exit status says whether its claims hold.
    #[arg(long, value_name = "FILE.toml", conflicts_with_all = ["source", "instructions", "events"])]
    pub scenario: Option<PathBuf>,
    /// `host`, or a board whose firmware is built and run in QEMU.
    #[arg(long, default_value = "host")]
    pub on: String,
    /// A firmware of your own for that board, instead of its own: `neji new` writes one.
    #[arg(long, value_name = "ELF", conflicts_with = "scenario")]
    pub firmware: Option<PathBuf>,
    /// Also run the host and compare its verdicts with the board's bit by bit.
    #[arg(long)]
    pub compare: bool,
    /// Count a board's instructions for each frame: front end, inference and score. Slower.
    #[arg(long)]
    pub instructions: bool,
    /// Learn from the first N scores how this machine's normal ones lie, and move the threshold by it; there is no verdict
    /// meanwhile.
    #[arg(long, value_name = "N")]
    pub calibrate: Option<u16>,
    /// Of a detector of distances, learn from the first half of them where this machine's normal outputs lie as well.
    #[arg(long, requires = "calibrate")]
    pub tables: bool,
    /// Go on from the state in this file, where there is one, and write what the monitor keeps over a restart at the end.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Write the alarm's changes to this CSV file.
    #[arg(long)]
    pub events: Option<PathBuf>,
    /// The repository, which holds the boards; by default the one around this folder, else those that are built in.
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// Of a scenario.
    #[command(flatten)]
    pub playing: Playing,
}

/// How a scenario is played.
#[derive(Debug, ClapArgs)]
pub struct Playing {
    /// Write timeline.svg, events.csv, scores.csv and metrics.json into this folder, in whose place they come.
    #[arg(long, value_name = "DIR", requires = "scenario")]
    pub out: Option<PathBuf>,
    /// Replace the folder whatever is in it.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// The clock that the board is taken to have, an instruction a cycle; by default its own.
    #[arg(long, value_name = "N", requires = "scenario", value_parser = clock)]
    pub clock_mhz: Option<f64>,
    /// The board's samples arrive by its clock and do not wait: what finds the buffer full is lost and counted.
    #[arg(long, requires = "scenario")]
    pub paced: bool,
    /// Samples of that buffer.
    #[arg(long, value_name = "SAMPLES", requires = "paced", default_value_t = 1024)]
    pub buffer: u32,
}

pub(super) fn clock(text: &str) -> Result<f64, String> {
    let clock: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if clock.is_finite() && (0.001..=10_000.0).contains(&clock) {
        Ok(clock)
    } else {
        Err("0.001 to 10000 MHz".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// Unreadable files, a refused blob, frames of another size than the sensor's, a board that fails, or, with `--compare`,
/// verdicts that differ; a scenario whose claims do not hold.
pub fn run(args: Args) -> anyhow::Result<()> {
    let on_host = args.on == "host";
    ensure!(!on_host || !args.compare, "--compare needs a board to compare with: add --on BOARD");
    ensure!(!on_host || args.firmware.is_none(), "--firmware runs on a board: add --on BOARD");
    ensure!(!on_host || !args.instructions, "--instructions are counted on a board: add --on BOARD");
    ensure!(on_host || args.state.is_none(), "--state is kept on the host; leave out --on");
    let mut begin = Begin { calibrate: args.calibrate, tables: args.tables, state: None };
    if let Some(path) = &args.state {
        begin.read_state(path)?;
    }
    let mut source = Source::read(&args.blob)?;
    let board = match on_host {
        true => None,
        false => {
            let board = Board::find_emulated_here(args.root.as_deref(), &args.on)?;
            source = source.on(&board)?;
            Some(board)
        }
    };
    let model = source.model()?;
    if let Some(path) = &args.scenario {
        return run_scenario(path, &args, &begin, board.as_ref(), model);
    }
    let plan = *model.plan();
    let recorded = args.recorded.as_deref().map(Recorded::read).transpose()?;
    if let (Some(recorded), Some(path)) = (&recorded, &args.recorded) {
        ensure_same_model(path, recorded, &model)?;
    }
    let files = match &recorded {
        Some(recorded) => recorded.files.clone(),
        None => simulate::image_files(&args.source)?,
    };
    if let Some(notice) = simulate::resized(&plan, &files) {
        eprintln!("{notice}");
    }
    let frames =
        files.iter().map(|file| simulate::read_frames(&plan, file)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let host = || -> anyhow::Result<(Vec<usize>, Vec<Verdict>, Vec<u8>)> {
        let (mut of, mut verdicts) = (Vec::new(), Vec::new());
        let state = simulate::on_host_begun(model, &frames, &begin, |index, verdict, _| {
            of.push(index);
            verdicts.push(verdict);
            Ok(())
        })?;
        Ok((of, verdicts, state))
    };
    let found = if let Some(board) = &board {
        let options = begin.options(Options { count_instructions: args.instructions, ..Options::default() });
        let run = match &args.firmware {
            // QEMU runs in a folder of its own.
            Some(elf) => {
                let elf = elf.canonicalize().with_context(|| format!("no firmware {}", elf.display()))?;
                simulate::on_firmware(board, &elf, &model, &frames, options)?
            }
            None => simulate::on_board(board, &model, &frames, options)?,
        };
        // Files of sound are one stream: which of them a window ends in is known from running the host as well.
        let sound = matches!(plan.front_end, FrontEnd::LogMel(_));
        let host = if args.compare || sound { Some(host()?) } else { None };
        let identical = host.as_ref().filter(|_| args.compare).map(|(_, verdicts, _)| {
            let same = verdicts.iter().zip(&run.verdicts).filter(|(a, b)| a == b).count();
            if verdicts.len() == run.verdicts.len() { same } else { 0 }
        });
        let of = host.map_or_else(|| (0..frames.len()).collect(), |(of, ..)| of);
        let alarm_rises = Some(rises(&run.pin_writes, board.emulator()?.alarm_mask));
        Found { verdicts: run.verdicts, of, identical, alarm_rises, instructions: run.instructions }
    } else {
        let (of, verdicts, state) = host()?;
        if let Some(path) = &args.state {
            write_whole(path, &state)?;
        }
        Found { verdicts, of, ..Found::default() }
    };
    let events = alarm_changes(&found.verdicts);
    if let Some(path) = &args.events {
        write_whole(path, events_csv(&frames, &found, &events).as_bytes())?;
    }
    // Files of sound are one stream; of all of them together nothing was heard that fills a window.
    ensure!(
        !found.verdicts.is_empty() || frames.is_empty(),
        "{}: too short for one window of the model, so there is no verdict; give longer recordings",
        frames.first().map_or_else(String::new, |frame| shown(&frame.path))
    );
    match args.json {
        true => println!("{}", as_json(&plan, &frames, &found)),
        false => print_lines(&plan, &frames, &found, &events),
    }
    let same = found.identical.is_none_or(|count| count == found.verdicts.len());
    ensure!(same, "host and {} differ: rebuild both from one source", args.on);
    if let Some(recorded) = &recorded {
        let (same, all) = as_recorded(recorded, &found.verdicts);
        if !args.json {
            println!("{same} of {all} scores are those that the board gave");
        }
        ensure!(same == all, "{} of {all} scores are not those that the board gave", all - same);
    }
    Ok(())
}

/// Whether a recording is of this model's sensor; another blob may be tried on it, but not be compared.
fn ensure_same_model(path: &Path, recorded: &Recorded, model: &Model<'_>) -> anyhow::Result<()> {
    let header = model.header();
    let (given, wanted) =
        ((format!("{:08x}", header.crc32), header.total_bytes), (&recorded.model_crc32, recorded.model_bytes));
    ensure!(
        (&given.0, given.1) == wanted,
        "{}: recorded with the model {} ({}), this one is {}; to try it on the recording give its files as --source",
        path.display(),
        recorded.model,
        recorded.model_crc32,
        given.0
    );
    Ok(())
}

/// How many of the board's scores come again, and of how many. A window that a streaming model had not filled yet has none.
fn as_recorded(recorded: &Recorded, verdicts: &[Verdict]) -> (usize, usize) {
    let again = recorded.scores.iter().filter_map(|score| {
        let verdict = usize::try_from(score.index).ok().and_then(|index| verdicts.get(index));
        match verdict.map(|verdict| verdict.outcome) {
            Some(Outcome::WindowNotFull) => None,
            Some(Outcome::Scored { score: again, .. }) => Some(again == score.score),
            _ => Some(false),
        }
    });
    again.fold((0, 0), |(same, all), is_same| (same + usize::from(is_same), all + 1))
}

/// Plays a scenario; the board is asked for its instructions as well.
fn run_scenario(
    path: &Path,
    args: &Args,
    begin: &Begin,
    board: Option<&Board>,
    model: Model<'_>,
) -> anyhow::Result<()> {
    let scenario = Scenario::load(path)?;
    ensure!(
        args.state.is_none() || scenario.sensors.len() == 1,
        "--state is one monitor's, the scenario has {} sensors",
        scenario.sensors.len()
    );
    ensure!(board.is_some() || !args.playing.paced, "--paced needs a board: add --on BOARD");
    let stop = super::stop_on_interrupt()?;
    // QEMU takes a minute for a few of sound, and may have to share the PC.
    let seconds = scenario.sensors.iter().map(|sensor| sensor.length / u64::from(scenario.rate)).max().unwrap_or(0);
    let stage = |board| -> anyhow::Result<Stage<'_>> {
        let ticks = Board::emulator(board)?.systick_hz;
        Ok(Stage {
            board,
            begin,
            clock_hz: args.playing.clock_mhz.map_or(ticks, |clock| (clock * 1e6).round() as u64),
            buffer: args.playing.paced.then_some(args.playing.buffer),
            timeout: Duration::from_secs(600 + 20 * seconds),
        })
    };
    let stage = board.map(stage).transpose()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let played = play(&name, model, scenario, begin, stage, &stop)?;
    if let Some(out) = &args.playing.out {
        played.write(out, args.playing.force)?;
    }
    if let (Some(path), Some(sensor)) = (&args.state, played.sensors.first()) {
        write_whole(path, &sensor.heard.state)?;
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&played.as_json())?),
        false => print!("{}", played.text()),
    }
    if args.compare {
        played.check_agreement()?;
    }
    let (failed, all) = played.failed();
    ensure!(failed == 0, "{failed} of {all} claims of {} do not hold", path.display());
    Ok(())
}

/// What a simulation showed.
#[derive(Debug, Default)]
struct Found {
    verdicts: Vec<Verdict>,
    /// Index of the file in which each ended.
    of: Vec<usize>,
    /// Verdicts that are the host's bit by bit, where they were compared.
    identical: Option<usize>,
    /// How often the board's alarm pin went high, as the emulated port saw it.
    alarm_rises: Option<usize>,
    /// Of each frame, where they were counted.
    instructions: Vec<u64>,
}

/// Indices of the verdicts that changed the alarm.
fn alarm_changes(verdicts: &[Verdict]) -> Vec<usize> {
    let before = std::iter::once(false).chain(verdicts.iter().map(|verdict| verdict.alarm));
    verdicts.iter().zip(before).enumerate().filter(|(_, (now, was))| now.alarm != *was).map(|(i, _)| i).collect()
}

impl Found {
    /// Each verdict with its file.
    fn rows<'f>(&self, frames: &'f [Frame]) -> impl Iterator<Item = (&'f Frame, &Verdict)> {
        self.of.iter().zip(&self.verdicts).filter_map(|(&index, verdict)| Some((frames.get(index)?, verdict)))
    }
}

fn events_csv(frames: &[Frame], found: &Found, events: &[usize]) -> String {
    let rows: Vec<_> = found.rows(frames).collect();
    let line = |&index: &usize| {
        let (frame, verdict) = rows[index];
        let state = if verdict.alarm { "on" } else { "off" };
        format!("{},\"{}\",{state}\n", verdict.sequence, shown(&frame.path).replace('"', "\"\""))
    };
    std::iter::once("sequence,file,alarm\n".to_owned()).chain(events.iter().map(line)).collect()
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn print_lines(plan: &Plan<'_>, frames: &[Frame], found: &Found, events: &[usize]) {
    let verdicts = &found.verdicts;
    let mut drift = Trend::Steady;
    for (index, (frame, verdict)) in found.rows(frames).enumerate() {
        let score = match simulate::real_score(plan, &verdict.outcome) {
            Some(score) => format!("{score:12.4}"),
            None => format!("{:>12}", "-"),
        };
        println!("{score}  {:<16}  {}", simulate::word(plan, &verdict.outcome), shown(&frame.path));
        if events.contains(&index) {
            println!("{:>12}  alarm {}", "", if verdict.alarm { "ON" } else { "off" });
        }
        if std::mem::replace(&mut drift, verdict.drift) != verdict.drift {
            println!("{:>12}  {}", "", drifted(verdict.drift));
        }
        if let Outcome::Calibrating { left: 0, .. } = verdict.outcome {
            println!("{:>12}  calibrated", "");
        }
    }
    let count = |word: &str| verdicts.iter().filter(|v| simulate::word(plan, &v.outcome) == word).count();
    println!(
        "{} frames, alarm changed {} times, no part found on {}, scores drifted on {}",
        verdicts.len(),
        events.len(),
        count("part_not_found"),
        verdicts.iter().filter(|verdict| verdict.drift != Trend::Steady).count()
    );
    if let Some(count) = found.alarm_rises {
        println!("the alarm pin went high {count} times");
    }
    if let Some(count) = found.identical {
        println!("{count} of {} scores identical on host and board", verdicts.len());
    }
    if let (Some(least), Some(most)) = (found.instructions.iter().min(), found.instructions.iter().max()) {
        println!("{least} to {most} instructions a frame: front end, inference and score");
    }
}

/// What is said where the drift changes.
fn drifted(drift: Trend) -> &'static str {
    match drift {
        Trend::Steady => "no drift any more",
        Trend::Higher => "scores have DRIFTED above normal",
        Trend::Lower => "scores have DRIFTED below normal",
    }
}

fn as_json(plan: &Plan<'_>, frames: &[Frame], found: &Found) -> serde_json::Value {
    let row = |(frame, verdict): (&Frame, &Verdict)| {
        // JSON has no infinity: a frame without a part has no number, and says why in its verdict.
        let score = simulate::real_score(plan, &verdict.outcome).filter(|score| score.is_finite());
        json!({
            "file": shown(&frame.path), "score": score, "alarm": verdict.alarm, "drift": verdict.drift,
            "verdict": simulate::word(plan, &verdict.outcome),
        })
    };
    let rows: Vec<_> = found.rows(frames).map(row).collect();
    json!({
        "frames": rows, "identical": found.identical, "alarm_rises": found.alarm_rises,
        "instructions": found.instructions,
    })
}

/// Checks of the parts that need no model.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_begins_off() {
        let verdict = |alarm| Verdict { sequence: 0, outcome: Outcome::PartNotFound, alarm, drift: Trend::Steady };
        assert_eq!(alarm_changes(&[verdict(false), verdict(true), verdict(true), verdict(false)]), [1, 3]);
        assert_eq!(alarm_changes(&[verdict(true)]), [0]);
    }
}
