//! The sound of a machine: an autoencoder that has heard normal clips only, on the board as a stream.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use neji_machine::Board;
use serde_json::Value;

use super::{BOARD, Neji, Table, text};

/// The experiment.
const CONFIG: &str = "machine";
/// What then happens to the machine.
const SCENARIO: &str = "configs/scenarios/machine.toml";
/// Clips of each kind that the board hears as well.
const HEARD: usize = 6;

/// Renders, trains, quantizes, evaluates, simulates and reports; the reports.
pub(super) fn run(neji: &Neji, out: &Path) -> Result<Vec<PathBuf>> {
    let (machine, folder) = (out.join("machine-clips"), out.join(CONFIG));
    if !machine.is_dir() {
        neji.step("render a machine", &["data", "machine", "--out", text(&machine)?])?;
    }
    let (data, run) = (text(&machine)?, text(&folder)?);
    let config = format!("configs/{CONFIG}.toml");
    neji.step(&format!("train {CONFIG}"), &["train", &config, "--data", data, "--out", run, "--force"])?;
    neji.step(&format!("quantize {CONFIG}"), &["quantize", run])?;
    let metrics = neji.json(&["eval", run, "--data", data, "--json"])?;
    let blob = format!("{run}/model.neji");
    let inspection = neji.json(&["inspect", &blob, "--json"])?;

    let clips = [clips(&machine, "normal")?, clips(&machine, "anomaly")?].concat();
    eprintln!("--- {CONFIG} on {BOARD}: {} clips as one stream", clips.len());
    let mut arguments = vec!["simulate", &blob, "--on", BOARD, "--compare", "--instructions", "--json", "--source"];
    arguments.extend(clips.iter().map(String::as_str));
    let simulated = neji.json(&arguments)?;
    neji.step(&format!("report on {CONFIG}"), &["report", run])?;
    let played = folder.join("scenario");
    neji.step(
        "a bearing breaks: the scenario, on the host and on the board",
        &["simulate", &blob, "--scenario", SCENARIO, "--on", BOARD, "--compare", "--out", text(&played)?, "--force"],
    )?;
    print!("{}", table(neji, &metrics, &inspection, &simulated)?);
    Ok(vec![folder.join("report.html"), played.join("timeline.svg")])
}

/// The first test clips of a kind, by name.
fn clips(machine: &Path, kind: &str) -> Result<Vec<String>> {
    let test = machine.join("test");
    let entries = fs::read_dir(&test).with_context(|| format!("reading {}", test.display()))?;
    let mut clips = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("reading {}", test.display()))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(kind)) {
            clips.push(text(&path)?.to_owned());
        }
    }
    clips.sort();
    clips.truncate(HEARD);
    Ok(clips)
}

fn table(neji: &Neji, metrics: &Value, inspection: &Value, simulated: &Value) -> Result<String> {
    let board = Board::find_emulated(&neji.root, BOARD)?;
    let mut table = Table::new(&format!("{CONFIG} on {}", board.settings.name));
    table.figures(metrics);
    let windows = simulated["frames"].as_array().map_or(&[][..], Vec::as_slice);
    let identical = simulated["identical"].as_u64().unwrap_or(0);
    table.line("host and board", format!("{identical} of {} scores identical", windows.len()));
    // At the end of a clip what stands for the last scores stands for this clip.
    let mut ends: Vec<(&str, bool)> = Vec::new();
    for window in windows {
        let (file, alarm) = (window["file"].as_str().unwrap_or("?"), window["alarm"] == true);
        match ends.last_mut() {
            Some(last) if last.0 == file => last.1 = alarm,
            _ => ends.push((file, alarm)),
        }
    }
    let on = |kind: &str| {
        let own: Vec<bool> =
            ends.iter().filter(|(file, _)| file.contains(&format!("/{kind}"))).map(|&(_, alarm)| alarm).collect();
        format!("{} of {} {kind}", own.iter().filter(|&&alarm| alarm).count(), own.len())
    };
    table.line(
        "alarm pin",
        format!(
            "high at the end of {} and {} clips; it rose {} times",
            on("anomaly"),
            on("normal"),
            simulated["alarm_rises"]
        ),
    );
    let each: Vec<u64> = simulated["instructions"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    // The first window waits for all its frames.
    let hop = each.iter().skip(1).max().copied().unwrap_or(0);
    let macs = inspection["macs"].as_u64().unwrap_or(0);
    table.line(
        "instructions",
        format!("{hop} a window at most ({macs} MACs; QEMU -icount: front end, inference, score)"),
    );
    table.memory(&board, inspection)?;
    ensure!(identical as usize == windows.len() && identical > 0, "{}host and board differ", table.0);
    Ok(table.0)
}
