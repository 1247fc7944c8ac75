//! Pictures of screws: an autoencoder that has seen normal ones only, a classifier, and one for a small board.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use neji_machine::Board;
use serde_json::Value;

use super::{BOARD, Neji, Table, text};

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

/// Renders, trains, quantizes, evaluates, simulates and reports; the reports.
pub(super) fn run(neji: &Neji, out: &Path) -> Result<Vec<PathBuf>> {
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
        rows.push(neji.model(model, out)?);
    }
    for row in &rows {
        print!("{row}");
    }
    Ok(MODELS.iter().map(|model| out.join(model.config).join("report.html")).collect())
}

impl Neji {
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
        let board = Board::find_emulated(&self.root, model.board)?;
        let mut table = Table::new(&format!("{} on {}", model.config, board.settings.name));
        table.figures(metrics);
        let frames = simulated["frames"].as_array().map_or(0, Vec::len);
        let identical = simulated["identical"].as_u64().unwrap_or(0);
        table.line("host and board", format!("{identical} of {frames} scores identical"));
        let alarm = |good: bool| -> (usize, usize) {
            let frames = simulated["frames"].as_array().into_iter().flatten();
            let of_kind = |frame: &&Value| frame["file"].as_str().is_some_and(|file| file.contains("/good/")) == good;
            let alarms: Vec<bool> = frames.filter(of_kind).filter_map(|frame| frame["alarm"].as_bool()).collect();
            (alarms.iter().filter(|&&on| on).count(), alarms.len())
        };
        let ((bad_on, bad), (good_on, good)) = (alarm(false), alarm(true));
        table.line(
            "alarm pin",
            format!(
                "high on {bad_on} of {bad} abnormal and {good_on} of {good} good screws; it rose {} times",
                simulated["alarm_rises"]
            ),
        );
        let instructions = counted["instructions"].get(0).and_then(Value::as_u64);
        let macs = inspection["macs"].as_u64().unwrap_or(0);
        table.line(
            "instructions",
            format!("{} a frame ({macs} MACs; QEMU -icount: front end, inference, score)", instructions.unwrap_or(0)),
        );
        table.memory(&board, inspection)?;
        let confusion = &metrics["confusion"];
        table.0.push_str("confusion (rows: truth)\n");
        let names = confusion["classes"].as_array().context("no classes")?;
        for (name, row) in names.iter().zip(confusion["counts"].as_array().into_iter().flatten()) {
            let counts = row.as_array().into_iter().flatten().filter_map(Value::as_u64);
            let counts: String = counts.map(|count| format!("{count:>5}")).collect();
            table.0.push_str(&format!("  {:<26} {counts}\n", name.as_str().unwrap_or("?")));
        }
        ensure!(identical as usize == frames && frames > 0, "{}host and board differ", table.0);
        Ok(table.0)
    }
}
