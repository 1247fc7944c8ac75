//! `report.html`: one self-contained file that tells what a run is worth.
//!
//! Everything is inline (styles, SVG charts, PNG pictures as base64), so the file can be mailed, archived and opened
//! offline. It is built from the run folder's own files; the sections whose files do not exist yet are left out.

pub mod arena;
pub mod charts;
pub mod html;
pub mod images;
pub mod metrics;
pub mod run;
pub mod scores;
pub mod sections;

use std::path::{Path, PathBuf};

use anyhow::Context;

pub use metrics::Metrics;
pub use run::{RunFolder, ScoreRow};

/// Writes `run/report.html` and returns its path.
///
/// # Errors
/// When the folder has nothing to report, a file in it cannot be understood, or the report cannot be written.
pub fn write(run: &Path) -> anyhow::Result<PathBuf> {
    let folder = RunFolder::read(run)?;
    let path = run.join("report.html");
    write_whole(&path, render(&folder)?.as_bytes())?;
    Ok(path)
}

/// The report as text.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn render(folder: &RunFolder) -> anyhow::Result<String> {
    let mut body = String::new();
    body.push_str(&sections::heading(folder));
    body.push_str(&sections::figures(folder));
    body.push_str(&sections::losses(folder)?);
    body.push_str(&sections::curves(folder)?);
    body.push_str(&sections::confusion(folder));
    body.push_str(&sections::layers(folder));
    body.push_str(&sections::provenance(folder));
    Ok(html::page(&format!("neji: {}", folder.name), &body))
}

/// Writes a file beside its final name and renames it, so that a reader never sees half of it.
///
/// # Errors
/// When the folder cannot be written; the message names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let what = || format!("writing {}: check that the folder exists and may be written", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    std::io::Write::write_all(&mut file, bytes).with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}
