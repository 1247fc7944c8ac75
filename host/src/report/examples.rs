//! What the model was trained on and judged by: samples as it sees them, changed as training asks, and defects made of them.

use anyhow::Result;

use super::html::section;
use super::images::picture;
use super::run::RunFolder;
use crate::dataset::Dataset;
use crate::preview;
use crate::run::Run;

/// Samples of each kind.
const COLUMNS: usize = 5;
/// Pixels of a picture, either way.
const CELL: u32 = 96;

/// The contact sheet of `neji data preview`, by the run's experiment; empty without one or its data.
///
/// # Errors
/// Data that the front end does not take, or a picture that can't be drawn.
pub fn examples(folder: &RunFolder, data: Option<&Dataset>) -> Result<String> {
    let (Some(path), Some(data)) = (&folder.path, data) else { return Ok(String::new()) };
    // An imported model has no experiment.
    let Ok(experiment) = Run::new(path).experiment() else { return Ok(String::new()) };
    let sheet = preview::sheet(&preview::rows(&experiment, data, COLUMNS)?, CELL);
    let sheet = picture(&sheet, "samples, augmentation and made defects")?;
    Ok(section("Samples, augmentation and made defects", &format!("<div class=\"wide\">{sheet}</div>")))
}
