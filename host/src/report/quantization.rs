//! What quantization cost in detection: the float model beside int8 and, where both were made, int16 activations, on the same samples.

use std::collections::BTreeSet;

use neji_format::{AlignedBytes, Element, Model};

use super::html::{escape, section, table};
use super::intervals::{NOTE, words};
use super::run::{RunFolder, ScoreRow};
use super::sections::number;
use crate::bootstrap::{self, Interval};
use crate::dataset::is_normal;
use crate::evaluate::auroc;
use crate::quantize::choice::{Choice, Tried};
use crate::quantize::sensitivity::{Alone, Sensitivity};

/// Seed of the draws: a report that is written twice says the same.
const SEED: u64 = 1;
/// Samples whose scores changed most.
const CHANGED: usize = 8;

/// A column of scores.
struct Scores {
    name: &'static str,
    values: Vec<f64>,
}

/// The section; empty without scores of the float graph.
pub fn cost(folder: &RunFolder) -> String {
    let rows = &folder.scores;
    let Some(float) = rows.iter().map(|row| row.float).collect::<Option<Vec<f64>>>() else { return String::new() };
    let abnormal: Vec<bool> = rows.iter().map(|row| !is_normal(&row.label)).collect();
    let (own, other) = names(folder);
    let mut quantized = vec![Scores { name: own, values: rows.iter().map(|row| row.score).collect() }];
    if let Some(values) = rows.iter().map(|row| row.other).collect::<Option<Vec<f64>>>() {
        quantized.push(Scores { name: other, values });
    }
    let Some(overall) = overall(&float, &quantized, &abnormal) else { return String::new() };
    let content = [overall, defects(rows, &float, &quantized), changed(rows, &float, &quantized[0])].concat();
    section("What quantization cost in detection", &format!("{}{content}", choice(folder)))
}

/// What the blob's activations are called, and the others.
fn names(folder: &RunFolder) -> (&'static str, &'static str) {
    let bytes = folder.blob.as_ref().map(|bytes| AlignedBytes::new(bytes));
    let element = bytes.as_ref().and_then(|bytes| Some(Model::parse(bytes.as_slice()).ok()?.plan().element));
    match element {
        Some(Element::I8) => ("int8", "16x8"),
        Some(Element::I16) => ("16x8", "int8"),
        None => ("quantized", "the other kind of activations"),
    }
}

fn signed(found: &Interval) -> String {
    format!("{:+.4} [{:+.4}, {:+.4}]", found.value, found.low, found.high)
}

fn overall(float: &[f64], quantized: &[Scores], abnormal: &[bool]) -> Option<String> {
    let of = |scores: &[f64]| bootstrap::of_scores(scores, abnormal, SEED, auroc).ok();
    let mut rows = vec![vec!["float".to_owned(), words(&of(float)?), String::new()]];
    for Scores { name, values } in quantized {
        let difference = bootstrap::auroc_difference(values, float, abnormal, SEED).ok()?;
        rows.push(vec![(*name).to_owned(), words(&of(values)?), signed(&difference)]);
    }
    let note = format!("<p class=\"note\">{NOTE} A difference is of the same draws of both.</p>");
    Some(format!("{note}{}", table(&["", "AUROC", "less that of float"], &rows)))
}

/// The change of each defect's AUROC.
fn defects(rows: &[ScoreRow], float: &[f64], quantized: &[Scores]) -> String {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).filter(|label| !is_normal(label)).collect();
    let line = |defect: &&str| {
        let own: Vec<usize> =
            (0..rows.len()).filter(|&index| is_normal(&rows[index].label) || rows[index].label == *defect).collect();
        let pick = |values: &[f64]| own.iter().map(|&index| values[index]).collect::<Vec<f64>>();
        let abnormal: Vec<bool> = own.iter().map(|&index| !is_normal(&rows[index].label)).collect();
        let count = abnormal.iter().filter(|bad| **bad).count();
        let before = auroc(&pick(float), &abnormal).map_or("-".to_owned(), number);
        let mut cells = vec![(*defect).to_owned(), count.to_string(), before];
        for Scores { values, .. } in quantized {
            let found = bootstrap::auroc_difference(&pick(values), &pick(float), &abnormal, SEED);
            cells.push(found.map_or("-".to_owned(), |found| signed(&found)));
        }
        cells
    };
    let lines: Vec<_> = names.iter().map(line).collect();
    if lines.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = quantized.iter().map(|scores| format!("{} less float", scores.name)).collect();
    let head: Vec<&str> =
        ["defect", "samples", "AUROC, float"].into_iter().chain(heads.iter().map(String::as_str)).collect();
    table(&head, &lines)
}

/// Where samples stand by their scores, 1 is the highest; of equals the first.
fn places(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut places = vec![0; scores.len()];
    order.into_iter().enumerate().for_each(|(place, index)| places[index] = place + 1);
    places
}

/// The samples whose scores moved most, in deviations of normal ones.
fn changed(rows: &[ScoreRow], float: &[f64], quantized: &Scores) -> String {
    let normal: Vec<f64> =
        float.iter().zip(rows).filter(|(x, row)| is_normal(&row.label) && x.is_finite()).map(|(x, _)| *x).collect();
    let mean = normal.iter().sum::<f64>() / normal.len().max(1) as f64;
    let deviation = (normal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / normal.len().max(1) as f64).sqrt();
    if deviation <= 0.0 {
        return String::new();
    }
    let moved = |index: usize| (quantized.values[index] - float[index]) / deviation;
    let mut order: Vec<usize> = (0..rows.len()).filter(|&index| moved(index).is_finite()).collect();
    order.sort_by(|&a, &b| moved(b).abs().total_cmp(&moved(a).abs()));
    let (before, after) = (places(float), places(&quantized.values));
    let line = |&index: &usize| {
        vec![
            rows[index].file.clone(),
            rows[index].label.clone(),
            format!("{:.3}", float[index]),
            format!("{:.3}", quantized.values[index]),
            format!("{:+.2}", moved(index)),
            format!("{} → {}", before[index], after[index]),
        ]
    };
    let lines: Vec<_> = order.iter().take(CHANGED).map(line).collect();
    let head = ["the largest changes", "", "float", quantized.name, "in deviations of normal ones", "place by score"];
    table(&head, &lines)
}

/// How int8 or int16 was chosen; empty where one was asked for.
fn choice(folder: &RunFolder) -> String {
    let found =
        folder.quantization.as_ref().and_then(|value| serde_json::from_value(value.get("choice")?.clone()).ok());
    let Some(Choice { chosen, reason, normals, defects, int8, int16, .. }) = found else { return String::new() };
    let line = |name: &str, tried: &Tried| {
        let count = |value: Option<usize>| value.map_or("-".to_owned(), |value| value.to_string());
        vec![
            if name == chosen.name() { format!("{name} (chosen)") } else { name.to_owned() },
            tried.auroc.map_or("-".to_owned(), number),
            count(tried.flash),
            count(tried.ram),
            tried.out.clone().unwrap_or_default(),
        ]
    };
    format!(
        "<p>{}: {}.</p><p class=\"note\">Judged on {normals} normal samples held out of training and {defects} defects made of them, none of \
         them real.</p>{}",
        chosen.name(),
        escape(reason.trim_end_matches('.')),
        table(
            &["activations", "AUROC of made defects", "flash, bytes", "RAM, bytes", "out"],
            &[line("int8", &int8), line("int16", &int16)]
        )
    )
}

/// What each layer's rounding does by itself; empty where that was not measured.
pub fn sensitivity(folder: &RunFolder) -> String {
    let value = folder.quantization.as_ref().and_then(|value| value.get("sensitivity"));
    let found = value.and_then(|value| serde_json::from_value(value.clone()).ok());
    let Some(Sensitivity { normals, defects, auroc_float, layers, all }) = found else { return String::new() };
    let db = |value: Option<f64>| value.map_or("-".to_owned(), |db| format!("{db:.1}"));
    let line = |one: &Alone| {
        let change = format!("{:+.4} ± {:.4}", one.auroc_change, one.error);
        vec![one.name.clone(), db(one.weights_db), db(one.values_db), db(one.both_db), change]
    };
    let lines: Vec<_> = layers.iter().chain([&all]).map(line).collect();
    let note = format!(
        "<p class=\"note\">Signal over noise at the model's output, in decibels, where one layer alone is rounded and all others are float, \
         and what that does to the AUROC of {defects} defects made of {normals} normal samples held out of training ({} in floats); ± is a \
         standard error of the difference.</p>",
        number(auroc_float)
    );
    let head = ["layer", "weights", "values", "both", "AUROC of made defects"];
    section("Each layer alone rounded", &format!("{note}{}", table(&head, &lines)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::check_balance;

    fn row(file: &str, label: &str, score: f64, float: f64, other: Option<f64>) -> ScoreRow {
        ScoreRow { file: file.into(), label: label.into(), score, verdict: "good".into(), float: Some(float), other }
    }

    #[test]
    fn each_kind_is_compared_with_float_on_the_same_samples() {
        let scores = vec![
            row("a", "good", 1.0, 1.0, Some(1.0)),
            row("b", "good", 4.5, 2.0, Some(2.0)),
            row("c", "<dent>", 4.0, 4.0, Some(4.0)),
            row("d", "scratch", 5.0, 5.0, Some(5.0)),
        ];
        let html = cost(&RunFolder { scores: scores.clone(), ..RunFolder::default() });
        check_balance(&html).expect("balanced");
        // Three of four pairs are right; the dent is above one of two.
        for text in
            ["1.000 [1.000, 1.000]", "0.750 [", "-0.2500 [", "+0.0000 [+0.0000, +0.0000]", "&lt;dent&gt;", "-0.5000 ["]
        {
            assert!(html.contains(text), "{text} is missing from {html}");
        }
        // The normal scores deviate by a half; b moved by five of that, from the third place to the second.
        assert!(html.contains("<td>+5.00</td><td>3 → 2</td>"), "{html}");
        let one: Vec<ScoreRow> = scores.into_iter().map(|row| ScoreRow { float: None, ..row }).collect();
        assert_eq!(cost(&RunFolder { scores: one, ..RunFolder::default() }), "");
    }

    #[test]
    fn choice_and_sensitivity_are_shown_where_they_are() {
        let tried = |auroc| Tried { auroc: Some(auroc), flash: Some(10), ram: Some(20), out: None };
        let found = Choice {
            chosen: crate::experiment::ActivationsName::Int16,
            reason: "int16 is <better>".into(),
            normals: 9,
            defects: 200,
            int8: tried(0.8),
            int16: tried(0.9),
            difference: Some(0.1),
            error: Some(0.01),
        };
        let alone = |name: &str| Alone {
            name: name.into(),
            weights_db: Some(31.25),
            values_db: None,
            both_db: Some(30.0),
            auroc_change: -0.0123,
            error: 0.004,
        };
        let measured =
            Sensitivity { normals: 9, defects: 100, auroc_float: 0.9, layers: vec![alone("code")], all: alone("all") };
        let value = serde_json::json!({"choice": found, "sensitivity": measured});
        let folder = RunFolder { quantization: Some(value), ..RunFolder::default() };
        let html = choice(&folder);
        check_balance(&html).expect("balanced");
        assert!(html.contains("int16 (chosen)") && html.contains("int16 is &lt;better&gt;."), "{html}");
        let html = sensitivity(&folder);
        check_balance(&html).expect("balanced");
        assert!(html.contains("<td>code</td>") && html.contains("-0.0123 ± 0.0040") && html.contains("31.2"), "{html}");
        assert_eq!(sensitivity(&RunFolder::default()), "");
    }
}
