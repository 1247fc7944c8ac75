//! Runs side by side: which detector to take.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use neji_format::AlignedBytes;

use super::cases::{looked, note, ordered};
use super::charts::{self, Series};
use super::cost::Cost;
use super::html::{escape, page, section, table};
use super::intervals::{self, words};
use super::look::largest;
use super::run::{RunFolder, ScoreRow};
use super::sections::number;
use crate::bootstrap::Interval;
use crate::dataset::{Dataset, is_normal};
use crate::evaluate::roc;
use crate::files::write_whole;
use crate::inspect::{Inspection, inspect};
use crate::simulate;

/// Hardest defects, and as many most suspicious good ones, that each run adds to the pictures.
const WORST: usize = 2;

/// A run with what can be compared.
struct Compared<'a> {
    folder: &'a RunFolder,
    bytes: AlignedBytes,
    inspection: Inspection,
}

/// Compares the runs in folders and writes the page to `out`.
///
/// # Errors
/// A folder without a blob or scores, runs on different data, a file that can't be read or written.
pub fn write(runs: &[PathBuf], out: &Path) -> Result<()> {
    let folders = runs.iter().map(|run| RunFolder::read(run)).collect::<Result<Vec<_>>>()?;
    write_whole(out, render(&folders)?.as_bytes())
}

/// The page.
///
/// # Errors
/// As [`write()`].
pub fn render(folders: &[RunFolder]) -> Result<String> {
    let [first, others @ ..] = folders else { bail!("no runs to compare") };
    let runs = folders.iter().map(Compared::of).collect::<Result<Vec<_>>>()?;
    others.iter().try_for_each(|other| same_data(first, other))?;
    let names = names(folders);
    let data = first.data();
    let count = first.scores.len();
    let mut body = format!(
        "<header><h1>{}</h1><p class=\"note\">The same {count} {} for all, scored with the device's own code</p></header>\n",
        escape(&names.join(", ")),
        first.samples()
    );
    body.push_str(&overview(&names, &runs));
    body.push_str(&curves(&names, folders)?);
    body.push_str(&defects(&names, folders));
    body.push_str(&worst(&names, &runs, data.as_ref())?);
    Ok(page(&format!("neji: {}", names.join(", ")), &body))
}

/// Names that tell the runs apart: those of the folders, with a number where they are equal.
fn names(folders: &[RunFolder]) -> Vec<String> {
    let name = |(index, folder): (usize, &RunFolder)| {
        let is_same = |other: &&RunFolder| other.name == folder.name;
        match folders.iter().filter(is_same).count() {
            1 => folder.name.clone(),
            _ => format!("{} ({})", folder.name, folders[..=index].iter().filter(is_same).count()),
        }
    };
    folders.iter().enumerate().map(name).collect()
}

impl<'a> Compared<'a> {
    fn of(folder: &'a RunFolder) -> Result<Self> {
        let name = &folder.name;
        let bytes =
            folder.blob.as_ref().with_context(|| format!("{name}: no model.neji; run `neji quantize` first"))?;
        ensure!(!folder.scores.is_empty(), "{name}: no scores.csv; run `neji eval` first");
        let bytes = AlignedBytes::new(bytes);
        let inspection = inspect(&simulate::model(&Path::new(name).join("model.neji"), &bytes)?);
        Ok(Self { folder, bytes, inspection })
    }
}

/// Refuses runs that were evaluated on different samples: by the hash of their data where both know it, else by names and labels.
fn same_data(a: &RunFolder, b: &RunFolder) -> Result<()> {
    let rows = |folder: &RunFolder| -> BTreeMap<String, String> {
        folder.scores.iter().map(|row| (row.file.clone(), row.label.clone())).collect()
    };
    let hash = |folder: &RunFolder| folder.metrics.as_ref().and_then(|metrics| metrics.data_hash.clone());
    let place = |folder: &RunFolder| {
        folder.metrics.as_ref().map_or("unknown data".to_owned(), |metrics| metrics.data.display().to_string())
    };
    let hashes = hash(a).zip(hash(b));
    let (one, other) = (rows(a), rows(b));
    if one == other && hashes.is_none_or(|(a, b)| a == b) {
        return Ok(());
    }
    let apart = one.iter().find(|(file, label)| other.get(*file) != Some(label));
    let apart = apart.or_else(|| other.iter().find(|(file, label)| one.get(*file) != Some(label)));
    let why =
        apart.map_or("files of equal names differ".to_owned(), |(file, _)| format!("{file} is not the same in both"));
    bail!(
        "{} and {} were evaluated on different data ({} and {}; {why}): run `neji eval` with the same --data on both",
        a.name,
        b.name,
        place(a),
        place(b)
    )
}

/// What a row of the table says of a run.
type Said<'a> = &'a dyn Fn(&Compared<'_>) -> String;

/// One column a run.
fn overview(names: &[String], runs: &[Compared<'_>]) -> String {
    let interval = |found: Option<Interval>| found.map_or("-".to_owned(), |found| words(&found));
    let rows: [(&str, Said<'_>); 15] = [
        ("detector", &|run| run.inspection.detector.clone()),
        ("AUROC, float", &|run| interval(intervals::of_float(&run.folder.scores))),
        ("AUROC, quantized", &|run| interval(intervals::quantized(&run.folder.scores))),
        ("partial AUROC (0.1), quantized", &|run| interval(intervals::partial(&run.folder.scores))),
        ("AUROC against held-out training samples", &|run| matched(run.folder).map_or("-".to_owned(), number)),
        ("pixel AUROC", &|run| place(run.folder, |found| found.pixel_auroc)),
        ("per-region overlap", &|run| place(run.folder, |found| found.per_region_overlap)),
        ("blob in flash, bytes", &|run| run.inspection.flash_bytes.to_string()),
        ("memory of the monitor, bytes of RAM", &|run| run.inspection.memory_bytes.to_string()),
        ("multiplications of a run", &|run| run.inspection.macs.to_string()),
        ("instructions of a frame: front end, inference, score", &|run| {
            cost(run, |cost| format!("{} ({} at most) on {}", cost.instructions, cost.instructions_max, cost.name))
        }),
        ("its time at a cycle each, which is the least", &|run| {
            let mhz = |cost: &Cost| cost.clock_hz as f64 / 1e6;
            cost(run, |cost| format!("{:.2} ms at {} MHz", cost.ms(cost.instructions), mhz(cost)))
        }),
        ("threshold", &|run| format!("{:.4}", run.inspection.threshold)),
        ("what it promises", &|run| run.inspection.threshold_basis.clone()),
        ("called bad: of the good, of the bad", &|run| called_bad(run.folder)),
    ];
    let head: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    let rows =
        rows.iter().map(|(name, cell)| std::iter::once((*name).to_owned()).chain(runs.iter().map(cell)).collect());
    let rows: Vec<Vec<String>> = rows.filter(|row: &Vec<String>| row[1..].iter().any(|cell| cell != "-")).collect();
    let table = table(&head, &rows);
    section("Overview", &format!("<p class=\"note\">{}</p><div class=\"prose\">{table}</div>", intervals::NOTE))
}

/// AUROC of the test part's defects against normal samples held out of training, where `neji eval` measured it.
fn matched(folder: &RunFolder) -> Option<f64> {
    folder.metrics.as_ref()?.matched.map(|figures| figures.auroc)
}

fn place(folder: &RunFolder, figure: impl Fn(crate::localize::Localization) -> f64) -> String {
    let found = folder.metrics.as_ref().and_then(|metrics| metrics.localization);
    found.map_or("-".to_owned(), |found| number(figure(found)))
}

/// What was counted on a board.
fn cost(run: &Compared<'_>, said: impl Fn(&Cost) -> String) -> String {
    run.folder.cost.as_ref().map_or("-".to_owned(), said)
}

/// What the threshold does to the test part.
fn called_bad(folder: &RunFolder) -> String {
    let count = |normal: bool| {
        let rows = || folder.scores.iter().filter(move |row| is_normal(&row.label) == normal);
        format!("{} of {}", rows().filter(|row| !is_normal(&row.verdict)).count(), rows().count())
    };
    format!("{}, {}", count(true), count(false))
}

/// All ROC curves in one chart, then each run's histogram, since scores have units of their own.
fn curves(names: &[String], folders: &[RunFolder]) -> Result<String> {
    let line = |(name, folder): (&String, &RunFolder)| {
        let (scores, abnormal): (Vec<f64>, Vec<bool>) =
            folder.scores.iter().map(|row| (row.score, !is_normal(&row.label))).unzip();
        let points = roc(&scores, &abnormal).unwrap_or_default();
        Series { name: name.clone(), points: points.iter().map(|point| (point.false_alarms, point.detected)).collect() }
    };
    let lines: Vec<Series> = names.iter().zip(folders).map(line).collect();
    let mut content = String::from("<div class=\"charts\">");
    content.push_str(&charts::lines("ROC", ("false positives", "true positives"), &lines, true)?);
    for (name, folder) in names.iter().zip(folders) {
        let scores = |normal: bool| {
            folder.scores.iter().filter(|row| is_normal(&row.label) == normal).map(|row| row.score).collect::<Vec<_>>()
        };
        let classes = [("good".to_owned(), scores(true)), ("bad".to_owned(), scores(false))];
        let threshold = folder.metrics.as_ref().map(|metrics| metrics.threshold);
        content.push_str(&charts::histogram(name, folder.samples(), &classes, threshold)?);
    }
    content.push_str("</div>");
    Ok(section("Scores", &content))
}

/// One row a defect, one column a run.
fn defects(names: &[String], folders: &[RunFolder]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let scored = folders.first().map_or(&[][..], |folder| &folder.scores);
    for row in scored.iter().filter(|row| !is_normal(&row.label)) {
        *counts.entry(&row.label).or_default() += 1;
    }
    let row = |(defect, count): (&&str, &usize)| {
        let cell = |folder: &RunFolder| intervals::of_defect(&folder.scores, defect);
        let cells = folders.iter().map(|folder| cell(folder).map_or("-".to_owned(), |found| words(&found)));
        [(*defect).to_owned(), count.to_string()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = counts.iter().map(row).collect();
    let samples = folders.first().map_or("samples", RunFolder::samples);
    let head: Vec<&str> = ["defect", samples].into_iter().chain(names.iter().map(String::as_str)).collect();
    let note = "<p class=\"note\">AUROC of each defect against the good ones.</p>";
    section("Each defect", &format!("{note}{}", table(&head, &rows)))
}

/// The worst cases of each run, as all runs see them; empty where the data are gone.
fn worst(names: &[String], runs: &[Compared<'_>], data: Option<&Dataset>) -> Result<String> {
    let Some(data) = data else { return Ok(String::new()) };
    let mut content = String::new();
    let kinds = [("Hardest defects", false, false), ("Most suspicious good ones", true, true)];
    for (title, normal, highest_first) in kinds {
        let of = |run: &Compared<'_>| -> Vec<String> {
            let rows = ordered(&run.folder.scores, normal, highest_first);
            rows.into_iter().take(WORST).map(|row| row.file.clone()).collect()
        };
        let worst: Vec<Vec<String>> = runs.iter().map(of).collect();
        let mut files: Vec<&String> = Vec::new();
        worst.iter().flatten().for_each(|file| {
            if !files.contains(&file) {
                files.push(file)
            }
        });
        let _ = write!(content, "<h3>{title}</h3><div class=\"wide\"><table class=\"beside\"><thead><tr><th></th>");
        for name in names {
            let _ = write!(content, "<th>{}</th>", escape(name));
        }
        content.push_str("</tr></thead><tbody>");
        for file in files {
            let _ = write!(content, "<tr><td>{}</td>", escape(file));
            for (run, worst) in runs.iter().zip(&worst) {
                let row = run.folder.scores.iter().find(|row| row.file == *file).context("runs on the same data")?;
                content.push_str(&cell(run, row, data, worst.contains(file))?);
            }
            content.push_str("</tr>");
        }
        content.push_str("</tbody></table></div>");
    }
    let mut notes = String::new();
    for (name, run) in names.iter().zip(runs) {
        let model = simulate::model(Path::new(name), &run.bytes)?;
        let _ = write!(notes, "<p class=\"note\">{}: {}</p>", escape(name), escape(&note(model.plan())));
    }
    let what = "<p class=\"note\">The worst of each run, whose score is in bold there, as all runs see them.</p>";
    Ok(section("Worst cases", &format!("{what}{notes}{content}")))
}

fn cell(run: &Compared<'_>, row: &ScoreRow, data: &Dataset, bold: bool) -> Result<String> {
    let model = simulate::model(Path::new(&run.folder.name), &run.bytes)?;
    let pictures = match looked(model, data, row)? {
        Some(seen) => seen.html(largest(model.plan()))?,
        None => String::new(),
    };
    let score = format!("{:.3}", row.score);
    let score = if bold { format!("<b>{score}</b>") } else { score };
    Ok(format!("<td><div class=\"case\">{pictures}<span>{score}, {}</span></div></td>", escape(&row.verdict)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::check_balance;

    fn folder(name: &str, scores: &[(&str, &str, f64)]) -> RunFolder {
        let row = |&(file, label, score): &(&str, &str, f64)| ScoreRow {
            file: file.into(),
            label: label.into(),
            score,
            verdict: "good".into(),
            float: Some(score + 1.0),
            other: None,
        };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden/v5_autoencoder.neji");
        RunFolder {
            name: name.into(),
            scores: scores.iter().map(row).collect(),
            blob: Some(std::fs::read(golden).expect("a golden blob")),
            ..RunFolder::default()
        }
    }

    #[test]
    fn runs_are_compared_and_names_stay_text() {
        let scores = [("a", "good", 1.0), ("b", "good", 2.0), ("c", "<i>dent", 3.0), ("d", "<i>dent", 1.5)];
        let worse = scores.map(|(file, label, score)| (file, label, -score));
        let page = render(&[folder("<b>", &scores), folder("two", &worse)]).expect("rendered");
        check_balance(&page).expect("balanced");
        assert!(!page.contains("<i>") && page.contains("&lt;i&gt;dent"));
        assert!(page.contains("0.750 [") && page.contains("0.250 ["), "both AUROCs");
        assert!(!page.contains("instructions of a frame"), "nothing was counted");
        let cost = Cost {
            board: "b".into(),
            name: "a board".into(),
            model_crc32: 0,
            clock_hz: 50_000_000,
            frames: 9,
            instructions: 1_234_567,
            instructions_max: 2_000_000,
        };
        let counted = RunFolder { cost: Some(cost), ..folder("counted", &scores) };
        let beside = render(&[counted, folder("two", &worse)]).expect("rendered");
        assert!(beside.contains("1234567 (2000000 at most) on a board") && beside.contains("24.69 ms at 50 MHz"));
        // One ROC chart and a histogram for each.
        assert_eq!(page.matches("<svg").count(), 3);
        for needle in ["http://", "https://", "<script", "url("] {
            assert!(!page.contains(needle), "{needle} in the page");
        }
    }

    #[test]
    fn runs_on_different_data_are_refused_and_both_are_named() {
        let (a, b) = (folder("left", &[("a", "good", 1.0)]), folder("right", &[("b", "good", 1.0)]));
        let error = render(&[a.clone(), b]).expect_err("other files").to_string();
        assert!(error.contains("left") && error.contains("right") && error.contains("a is not the same"), "{error}");
        let error = render(&[a.clone(), folder("x", &[("a", "dent", 1.0)])]).expect_err("another label").to_string();
        assert!(error.contains("different data"), "{error}");
        let blank = RunFolder { name: "blank".into(), ..RunFolder::default() };
        let error = render(&[a, blank]).expect_err("no blob").to_string();
        assert!(error.contains("blank: no model.neji"), "{error}");
    }

    #[test]
    fn equal_names_are_numbered() {
        let folders = ["a", "b", "a"].map(|name| RunFolder { name: name.into(), ..RunFolder::default() });
        assert_eq!(names(&folders), ["a (1)", "b", "a (2)"]);
    }
}
