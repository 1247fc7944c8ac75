//! The sections of the report; each is empty where the run has nothing to show in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use neji_format::{AlignedBytes, Model};

use super::charts::{self, Series};
use super::html::{escape, section, table};
use super::metrics::{Figures, Metrics};
use super::run::RunFolder;
use crate::baselines::{Baseline, Separation};
use crate::dataset::is_normal;
use crate::{evaluate, inspect, threshold};

/// A figure of 0 to 1.
pub fn number(value: f64) -> String {
    format!("{value:.3}")
}

/// The title and one line on the run.
pub fn heading(folder: &RunFolder) -> String {
    let images = folder.metrics.as_ref().map_or("not evaluated yet: run `neji eval`".into(), |metrics| {
        let missing = match metrics.part_not_found {
            0 => String::new(),
            count => format!("; no part found on {count}, which count as the largest score"),
        };
        format!("{} {} scored with the device's own code{missing}", metrics.images, folder.samples())
    });
    format!("<header><h1>{}</h1><p class=\"note\">{}</p></header>\n", escape(&folder.name), escape(&images))
}

/// AUROC, average precision, balanced accuracy as tiles, and what features without a model reach.
pub fn figures(folder: &RunFolder) -> String {
    let Some(metrics) = &folder.metrics else { return String::new() };
    let mut tiles = String::from("<div class=\"tiles\">");
    let mut tile = |name: &str, value: f64| {
        let _ = write!(tiles, "<div class=\"tile\"><b>{}</b>{}</div>", number(value), escape(name));
    };
    tile("AUROC, quantized", metrics.quantized.auroc);
    if let Some(float) = &metrics.float {
        tile("AUROC, float", float.auroc);
    }
    tile("partial AUROC (0.1)", metrics.quantized.partial_auroc);
    tile("average precision", metrics.quantized.average_precision);
    tile("balanced accuracy", metrics.confusion.balanced_accuracy);
    tiles.push_str("</div>");
    let mut out = tiles;
    out.push_str(&beside(metrics));
    out
}

/// The model's figures beside what is reached without it.
fn beside(metrics: &Metrics) -> String {
    let cell = |value: Option<f64>| value.map_or("-".to_owned(), number);
    let row = |name: &str, official: [f64; 2], matched: Option<[f64; 2]>| {
        let values = [Some(official[0]), Some(official[1]), matched.map(|m| m[0]), matched.map(|m| m[1])];
        std::iter::once(name.to_owned()).chain(values.map(cell)).collect::<Vec<_>>()
    };
    let model = |figures: &Figures| [figures.auroc, figures.partial_auroc];
    let plain = |separation: &Separation| [separation.folded, separation.partial_auroc];
    let mut rows = vec![row("the model, quantized", model(&metrics.quantized), metrics.matched.as_ref().map(model))];
    rows.extend(metrics.float.iter().map(|figures| row("the model, float", model(figures), None)));
    rows.extend(metrics.baselines.iter().map(|b| row(&b.name, plain(&b.official), b.matched.as_ref().map(plain))));
    let mut note = String::from(
        "<p class=\"note\">Official: against the test set's normal samples. Matched: against normal samples of the training \
         set, held out of training. Where the two differ much, the test set was recorded in another way. A number that tells \
         either way round is given the better way. The model must beat all of them clearly.</p>",
    );
    let better = |b: &&Baseline| b.official.folded >= metrics.quantized.auroc;
    let names: Vec<_> = metrics.baselines.iter().filter(better).map(|b| escape(&b.name)).collect();
    if !names.is_empty() {
        let _ = write!(note, "<p><strong>Beware:</strong> as good as the model without it: {}.</p>", names.join("; "));
    }
    let head = ["", "AUROC, official", "partial (0.1)", "AUROC, matched", "partial (0.1)"];
    section("With the model and without it", &format!("{note}{}", table(&head, &rows)))
}

/// Loss by epoch.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn losses(folder: &RunFolder) -> Result<String> {
    if folder.losses.is_empty() {
        return Ok(String::new());
    }
    // Losses fall over decades; on a linear axis only the first epochs would be seen.
    let train = folder.losses.iter().map(|row| (row.epoch, row.train.log10())).collect();
    let validation = folder.losses.iter().map(|row| (row.epoch, row.validation.log10())).collect();
    let series =
        [Series { name: "train".into(), points: train }, Series { name: "validation".into(), points: validation }];
    let chart = charts::lines("Loss", ("epoch", "log10 of the loss"), &series, false)?;
    Ok(section("Training", &format!("<div class=\"charts\">{chart}</div>")))
}

/// ROC, precision-recall and the histogram of scores.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn curves(folder: &RunFolder) -> Result<String> {
    if folder.scores.is_empty() {
        return Ok(String::new());
    }
    let scores: Vec<_> = folder.scores.iter().map(|row| (row.score, !is_normal(&row.label))).collect();
    let (values, abnormal): (Vec<f64>, Vec<bool>) = scores.into_iter().unzip();
    let roc = evaluate::roc(&values, &abnormal).unwrap_or_default();
    let roc = roc.iter().map(|point| (point.false_alarms, point.detected)).collect();
    let precision = evaluate::precision_recall(&values, &abnormal).unwrap_or_default();
    let precision = precision.iter().map(|point| (point.recall, point.precision)).collect();
    let one = |points| [Series { name: "quantized".into(), points }];
    let mut classes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in &folder.scores {
        classes.entry(if is_normal(&row.label) { "good" } else { "bad" }).or_default().push(row.score);
    }
    let classes: Vec<_> = classes.into_iter().rev().map(|(name, scores)| (name.to_owned(), scores)).collect();
    let threshold = folder.metrics.as_ref().map(|metrics| metrics.threshold);
    let mut content = String::from("<div class=\"charts\">");
    content.push_str(&charts::lines("ROC", ("false positives", "true positives"), &one(roc), true)?);
    content.push_str(&charts::lines("Precision and recall", ("recall", "precision"), &one(precision), true)?);
    content.push_str(&charts::histogram("Scores", folder.samples(), &classes, threshold)?);
    content.push_str("</div>");
    Ok(section("Scores", &content))
}

/// The confusion matrix as a heat table, with recall, precision and F.
pub fn confusion(folder: &RunFolder) -> String {
    let Some(metrics) = &folder.metrics else { return String::new() };
    let mut out = String::from("<div class=\"wide\"><table><thead><tr><th>truth \\ verdict</th>");
    for class in &metrics.confusion.classes {
        // Names like scratch_head may break, so that a matrix of many classes fits the page.
        let _ = write!(out, "<th class=\"cell\">{}</th>", escape(class).replace('_', "_<wbr>"));
    }
    out.push_str("<th>recall</th><th>precision</th><th>F</th></tr></thead><tbody>");
    for (row, figures) in metrics.confusion.counts.iter().zip(&metrics.confusion.figures) {
        let _ = write!(out, "<tr><td>{}</td>", escape(&figures.class));
        let total = row.iter().sum::<usize>().max(1);
        for count in row {
            let percent = 70.0 * *count as f64 / total as f64;
            let style = format!("background: color-mix(in srgb, var(--accent) {percent:.0}%, transparent)");
            let _ = write!(out, "<td class=\"cell\" style=\"{style}\">{count}</td>");
        }
        for value in [figures.recall, figures.precision, figures.f1] {
            let _ = write!(out, "<td>{}</td>", value.map_or("-".to_owned(), number));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    section("Confusion matrix", &out)
}

/// What quantization cost each layer, as `quantize.json` lists it.
pub fn layers(folder: &RunFolder) -> String {
    let Some(value) = &folder.quantization else { return String::new() };
    let list = value.as_array().or_else(|| value.as_object()?.values().find_map(|value| value.as_array()));
    let Some(list) = list else { return String::new() };
    let Some(first) = list.first().and_then(|row| row.as_object()) else { return String::new() };
    let mut head: Vec<&str> = first.keys().map(String::as_str).collect();
    // JSON has them by alphabet; what a layer is comes before its figures.
    head.sort_by_key(|key| !["name", "operator", "shape"].contains(key));
    let cell = |value: Option<&serde_json::Value>| match value {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) if value.is_f64() => match value.as_f64().unwrap_or(f64::NAN) {
            small if small.abs() < 1.0 => format!("{small:.4}"),
            figure => format!("{figure:.2}"),
        },
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let rows: Vec<_> = list.iter().map(|row| head.iter().map(|key| cell(row.get(key))).collect()).collect();
    section("Layers and what quantization cost", &table(&head, &rows))
}

/// Where the blob comes from, its sizes, and the experiment.
pub fn provenance(folder: &RunFolder) -> String {
    let mut out = String::new();
    if let Some(bytes) = &folder.blob {
        let aligned = AlignedBytes::new(bytes);
        match Model::parse(aligned.as_slice()) {
            Ok(model) => {
                let provenance = model.plan().provenance;
                let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let rows = [
                    ("blob in flash", format!("{} bytes", model.bytes().len())),
                    ("arena in RAM", format!("{} bytes", model.arena_bytes())),
                    ("threshold", threshold::words(&model.plan().decision.basis)),
                    ("drift", inspect::drift(&model.plan().decision)),
                    ("checksum", format!("{:08x}", model.header().crc32)),
                    ("written by", format!("neji {}", provenance.neji_version)),
                    ("task", provenance.name.to_owned()),
                    ("seed", provenance.seed.to_string()),
                    ("data, SHA-256", hex(&provenance.data_hash)),
                    ("settings, SHA-256", hex(&provenance.config_hash)),
                ];
                let rows: Vec<_> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
                out.push_str(&section("Blob", &table(&["", ""], &rows)));
                let note = format!(
                    "<p class=\"note\">{} bytes of RAM, of which {} are alive at one time: addresses upward, operators to the \
                     right; point at a block.</p>",
                    model.arena_bytes(),
                    super::arena::lower_bound(&model)
                );
                let map = super::arena::map(&model);
                out.push_str(&section("Arena", &format!("{note}<div class=\"charts\">{map}</div>")));
            }
            Err(error) => {
                let text = format!("model.neji is refused: {error:?}. Run `neji quantize` again.");
                out.push_str(&section("Blob", &format!("<p>{}</p>", escape(&text))));
            }
        }
    }
    if !folder.config.is_empty() {
        out.push_str(&section("Settings", &format!("<pre>{}</pre>", escape(&folder.config))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{ClassFigures, Confusion, DefectFigure};
    use super::super::run::{LossRow, ScoreRow};
    use super::*;
    use crate::report::{html::check_balance, render};

    #[test]
    fn the_report_is_balanced_and_asks_the_network_for_nothing() {
        let figures = Figures { auroc: 0.975, partial_auroc: 0.9, average_precision: 0.9 };
        let class =
            |name: &str| ClassFigures { class: name.into(), count: 4, recall: Some(0.75), precision: None, f1: None };
        let confusion = Confusion {
            classes: vec!["good".to_owned(), "<script src=x>".to_owned()],
            counts: vec![vec![3, 1], vec![0, 4]],
            figures: vec![class("good"), class("<script src=x>")],
            balanced_accuracy: 0.85,
        };
        let row = |label: &str, score| ScoreRow {
            file: "test/a.png".into(),
            label: label.into(),
            score,
            verdict: "normal".into(),
            float: None,
            other: None,
        };
        let light = Separation { auroc: 0.0, folded: 1.0, partial_auroc: 1.0 };
        let dim = Separation { auroc: 0.432, folded: 0.568, partial_auroc: 0.5 };
        let folder = RunFolder {
            cost: None,
            name: "a & <b>".into(),
            losses: vec![LossRow { epoch: 1.0, train: 0.5, validation: 0.6 }],
            scores: vec![row("good", 1.0), row("<i>", 2.0)],
            metrics: Some(Metrics {
                data: "/nowhere".into(),
                options: None,
                data_hash: None,
                localization: None,
                images: 8,
                sensor_faults: 0,
                part_not_found: 1,
                threshold: 1.5,
                quantized: figures,
                float: Some(figures),
                confusion,
                per_defect: vec![DefectFigure { defect: "<u>".into(), count: 4, auroc: 0.5 }],
                matched: Some(Figures { auroc: 0.876, ..figures }),
                baselines: vec![
                    Baseline { name: "brightness <w>".into(), official: light, matched: Some(dim) },
                    Baseline { name: "contrast".into(), official: dim, matched: None },
                ],
            }),
            quantization: Some(serde_json::json!({"layers": [{"name": "<em>", "sqnr_db": 33.25}]})),
            config: "name = \"<x>\"".into(),
            path: None,
            auto: None,
            blob: Some(vec![0; 64]),
        };
        let page = render(&folder).expect("rendered");
        check_balance(&page).expect("balanced");
        for needle in ["http://", "https://", "<script", "<i>", "<em>", "<x>", "<u>", "<w>", "@import", "url("] {
            assert!(!page.contains(needle), "{needle} in the report");
        }
        let beware = "as good as the model without it: brightness &lt;w&gt;.";
        for text in ["0.975", "33.25", beware, "0.876", "0.568", "no part found on 1", "model.neji is refused"] {
            assert!(page.contains(text), "{text} is missing");
        }
    }
}
