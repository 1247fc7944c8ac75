//! `cargo xtask demo`: the whole path on rendered screws, from pictures to an alarm on an emulated board.
//!
//! It runs the `neji` command as a person would and reads what it prints as JSON; nothing is computed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use neji_machine::{Board, Sizes, toolchain};
use serde_json::Value;

use crate::neji;
use crate::setup;
use crate::step::{step, typed};

/// The board that runs everything.
const BOARD: &str = "qemu-mps2-an386";
/// The board with 16 KB of RAM, for the model that fits it.
const SMALL_BOARD: &str = "qemu-microbit";

/// A model of the demo.
struct Model {
    config: &'static str,
    data: &'static str,
    board: &'static str,
}

const MODELS: [Model; 3] = [
    Model { config: "screws-autoencoder", data: "screws", board: BOARD },
    Model { config: "screws-cnn", data: "screws-classes", board: BOARD },
    Model { config: "screws-small", data: "screws", board: SMALL_BOARD },
];

/// Renders, trains, quantizes, evaluates, simulates and reports.
///
/// # Errors
/// The first step that fails, with what to type.
pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    setup::boards()?;
    let root = toolchain::root()?;
    let neji = Neji { binary: neji::build(&root)?, root };
    let out = neji.root.join("runs/demo");
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;

    let screws = out.join("screws");
    if !screws.is_dir() {
        neji.step("render screws", &["data", "screws", "--out", text(&screws)?])?;
    }
    let classes = out.join("screws-classes");
    if !classes.is_dir() {
        // The defects that a classifier learns must be labelled; twenty of each are left to test it on.
        let counts = ["--layout", "classes", "--train", "250", "--test-bad", "120", "--seed", "11"];
        neji.step(
            "render screws with labelled defects",
            &[&["data", "screws", "--out", text(&classes)?], &counts[..]].concat(),
        )?;
    }

    let mut rows = Vec::new();
    for model in &MODELS {
        rows.push(neji.model(model, &out)?);
    }
    for row in &rows {
        print!("{row}");
    }
    println!("\nreports:");
    for model in &MODELS {
        println!("  {}", out.join(model.config).join("report.html").display());
    }
    println!("all of it took {:.0} s", begin.elapsed().as_secs_f32());
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: the path is not UTF-8", path.display()))
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

    /// Everything about one model; the result is its part of the table.
    fn model(&self, model: &Model, out: &Path) -> Result<String> {
        let (run, data) = (out.join(model.config), out.join(model.data));
        let (run, data) = (text(&run)?, text(&data)?);
        let config = format!("configs/{}.toml", model.config);
        let title = format!("train {}", model.config);
        self.step(&title, &["train", &config, "--data", data, "--out", run, "--force"])?;
        self.step(&format!("quantize {}", model.config), &["quantize", run])?;
        let metrics = self.json(&["eval", run, "--data", data, "--json"])?;
        let blob = format!("{run}/model.neji");
        let inspection = self.json(&["inspect", &blob, "--json"])?;
        let test = format!("{data}/test");
        eprintln!("--- {} on {}: every test image", model.config, model.board);
        let simulated =
            self.json(&["simulate", &blob, "--source", &test, "--on", model.board, "--compare", "--json"])?;
        let one = format!("{test}/good/000.png");
        let counted =
            self.json(&["simulate", &blob, "--source", &one, "--on", model.board, "--instructions", "--json"])?;
        self.step(&format!("report on {}", model.config), &["report", run])?;
        self.table(model, &metrics, &inspection, &simulated, &counted)
    }

    fn table(
        &self,
        model: &Model,
        metrics: &Value,
        inspection: &Value,
        simulated: &Value,
        counted: &Value,
    ) -> Result<String> {
        use std::fmt::Write as _;
        let board = Board::find(&self.root, model.board)?;
        let sizes = Sizes::of_image(&board.elf())?;
        let number = |value: &Value| value.as_f64().map_or("-".to_owned(), |value| format!("{value:.4}"));
        let mut out = format!("\n== {} on {} ==\n", model.config, board.settings.name);
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<28} {value}");
        };
        line(
            "AUROC float / int8",
            format!("{} / {}", number(&metrics["float"]["auroc"]), number(&metrics["quantized"]["auroc"])),
        );
        line("balanced accuracy", number(&metrics["confusion"]["balanced_accuracy"]));
        for baseline in metrics["baselines"].as_array().into_iter().flatten() {
            let name = format!("  trivial: {}", baseline["name"].as_str().unwrap_or("?"));
            line(&name, number(&baseline["folded"]));
        }
        let frames = simulated["frames"].as_array().map_or(0, Vec::len);
        let identical = simulated["identical"].as_u64().unwrap_or(0);
        line("host and board", format!("{identical} of {frames} scores identical"));
        let alarm = |good: bool| -> (usize, usize) {
            let frames = simulated["frames"].as_array().into_iter().flatten();
            let of_kind = |frame: &&Value| frame["file"].as_str().is_some_and(|file| file.contains("/good/")) == good;
            let alarms: Vec<bool> = frames.filter(of_kind).filter_map(|frame| frame["alarm"].as_bool()).collect();
            (alarms.iter().filter(|&&on| on).count(), alarms.len())
        };
        let ((bad_on, bad), (good_on, good)) = (alarm(false), alarm(true));
        line(
            "alarm pin",
            format!(
                "high on {bad_on} of {bad} abnormal and {good_on} of {good} good screws; it rose {} times",
                simulated["alarm_rises"]
            ),
        );
        let instructions = counted["instructions"].get(0).and_then(Value::as_u64);
        let macs = inspection["macs"].as_u64().unwrap_or(0);
        line(
            "instructions",
            format!("{} a frame ({macs} MACs; QEMU -icount: front end, inference, score)", instructions.unwrap_or(0)),
        );
        line("flash", format!("{} bytes of firmware, {} of model", sizes.flash(), inspection["flash_bytes"]));
        line(
            "RAM",
            format!(
                "{} bytes for the monitor, of which {} arena",
                inspection["memory_bytes"], inspection["arena_bytes"]
            ),
        );
        let confusion = &metrics["confusion"];
        let _ = writeln!(out, "confusion (rows: truth)");
        let names = confusion["classes"].as_array().context("no classes")?;
        for (name, row) in names.iter().zip(confusion["counts"].as_array().into_iter().flatten()) {
            let counts = row.as_array().into_iter().flatten().filter_map(Value::as_u64);
            let counts: String = counts.map(|count| format!("{count:>5}")).collect();
            let _ = writeln!(out, "  {:<26} {counts}", name.as_str().unwrap_or("?"));
        }
        ensure!(identical as usize == frames && frames > 0, "{out}host and board differ");
        Ok(out)
    }
}
