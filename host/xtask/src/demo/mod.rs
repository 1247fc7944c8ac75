//! `cargo xtask demo`: a task's whole path on rendered data, from files to an alarm on an emulated board.
//!
//! It runs the `neji` command as a person would and reads what it prints as JSON; nothing is computed here.

mod screws;
mod sound;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use neji_machine::{Board, Sizes, toolchain};
use serde_json::Value;

use crate::neji;
use crate::setup;
use crate::step::{step, typed};

/// The board that runs everything.
const BOARD: &str = "qemu-mps2-an386";

/// What the demo shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// Find the abnormal screw among pictures.
    Screws,
    /// Hear the abnormal machine.
    Sound,
}

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is to be found.
    #[arg(long, value_enum, default_value_t = Task::Screws)]
    task: Task,
}

/// Renders, trains, quantizes, evaluates, simulates and reports.
///
/// # Errors
/// The first step that fails, with what to type.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begin = Instant::now();
    setup::boards()?;
    let root = toolchain::root()?;
    let neji = Neji { binary: neji::build(&root)?, root };
    let out = neji.root.join("runs/demo");
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let reports = match args.task {
        Task::Screws => screws::run(&neji, &out)?,
        Task::Sound => sound::run(&neji, &out)?,
    };
    println!("\nto look at:");
    for report in reports {
        println!("  {}", report.display());
    }
    println!("all of it took {:.0} s", begin.elapsed().as_secs_f32());
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: the path is not UTF-8", path.display()))
}

/// A number of JSON for people.
fn number(value: &Value) -> String {
    value.as_f64().map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// Lines of a name and a value.
#[derive(Debug, Default)]
struct Table(String);

impl Table {
    fn new(title: &str) -> Self {
        Self(format!("\n== {title} ==\n"))
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name:<28} {value}\n"));
    }

    /// What the model reaches, and what is reached without it.
    fn figures(&mut self, metrics: &Value) {
        let both =
            |name: &str| format!("{} / {}", number(&metrics["float"][name]), number(&metrics["quantized"][name]));
        self.line("AUROC float / int8", both("auroc"));
        self.line("partial AUROC (0.1)", both("partial_auroc"));
        self.line("balanced accuracy", number(&metrics["confusion"]["balanced_accuracy"]));
        for baseline in metrics["baselines"].as_array().into_iter().flatten() {
            let name = format!("  {}", baseline["name"].as_str().unwrap_or("?"));
            self.line(&name, number(&baseline["official"]["folded"]));
        }
    }

    /// What the model takes of a board.
    fn memory(&mut self, board: &Board, inspection: &Value) -> Result<()> {
        let sizes = Sizes::of_image(&board.elf())?;
        self.line("flash", format!("{} bytes of firmware, {} of model", sizes.flash(), inspection["flash_bytes"]));
        let (memory, arena) = (&inspection["memory_bytes"], &inspection["arena_bytes"]);
        self.line("RAM", format!("{memory} bytes for the monitor, of which {arena} arena"));
        Ok(())
    }
}

struct Neji {
    binary: PathBuf,
    root: PathBuf,
}

impl Neji {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.root).args(arguments);
        command
    }

    fn step(&self, title: &str, arguments: &[&str]) -> Result<()> {
        step(title, &mut self.command(arguments))
    }

    /// Runs a command that prints JSON.
    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(arguments);
        let out = command.stderr(Stdio::inherit()).output().context("starting neji")?;
        if !out.status.success() {
            bail!("{} ({})", typed(&command), out.status);
        }
        serde_json::from_slice(&out.stdout).with_context(|| typed(&command))
    }
}
