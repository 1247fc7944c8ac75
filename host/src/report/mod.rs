//! `report.html`: one self-contained file that tells what a run is worth.
//!
//! Everything is inline (styles, SVG charts, PNG pictures as base64), so the file can be mailed, archived and opened
//! offline; a browser refuses whatever else it should ask for. It is built from the run folder's own files; the sections
//! whose files do not exist yet are left out.

pub mod arena;
pub mod cases;
pub mod charts;
pub mod choice;
pub mod compare;
pub mod cost;
pub mod examples;
pub mod html;
pub mod images;
pub mod intervals;
pub mod latent;
pub mod look;
pub mod metrics;
pub mod quantization;
pub mod run;
pub mod scores;
pub mod sections;

use std::path::{Path, PathBuf};

pub use metrics::{Figures, Metrics};
pub use run::{RunFolder, ScoreRow};

use crate::files::write_whole;

/// Writes `run/report.html` and returns its path.
///
/// # Errors
/// When the folder has nothing to report, a file in it cannot be understood, or the report cannot be written.
pub fn write(run: &Path) -> anyhow::Result<PathBuf> {
    let path = run.join("report.html");
    write_to(run, &path)?;
    Ok(path)
}

/// [`write()`] into another file.
///
/// # Errors
/// As [`write()`].
pub fn write_to(run: &Path, out: &Path) -> anyhow::Result<()> {
    write_whole(out, render(&RunFolder::read(run)?)?.as_bytes())
}

/// The report as text.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn render(folder: &RunFolder) -> anyhow::Result<String> {
    let data = folder.data();
    let mut body = String::new();
    body.push_str(&sections::heading(folder));
    body.push_str(&sections::figures(folder));
    body.push_str(&choice::choice(folder));
    body.push_str(&quantization::cost(folder));
    body.push_str(&intervals::defects(folder));
    body.push_str(&intervals::places(folder));
    body.push_str(&sections::losses(folder)?);
    body.push_str(&sections::curves(folder)?);
    body.push_str(&sections::confusion(folder));
    body.push_str(&cases::cases(folder, data.as_ref())?);
    body.push_str(&latent::latent(folder, data.as_ref())?);
    body.push_str(&examples::examples(folder, data.as_ref())?);
    body.push_str(&quantization::sensitivity(folder));
    body.push_str(&sections::layers(folder));
    body.push_str(&sections::provenance(folder));
    Ok(html::page(&format!("neji: {}", folder.name), &body))
}
