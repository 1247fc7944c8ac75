//! The report in a real browser: it shows what it should and asks nobody for anything.

use std::fs;
use std::path::Path;

use neji::baselines::{Baseline, Separation};
use neji::report::html::page;
use neji::report::metrics::{ClassFigures, Confusion, DefectFigure, Figures, Metrics};
use neji::report::run::LossRow;
use neji::report::{RunFolder, ScoreRow, compare, render};
use neji_tests::browser::{Seen, browser, look};

use crate::story;

/// What a browser makes of a page.
fn seen(browser: &Path, html: &str) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page with a space.html");
    fs::write(&file, html).expect("written");
    look(browser, &file).expect("a browser that works")
}

#[test]
fn a_browser_shows_the_report_of_the_tour_and_asks_for_nothing() {
    let Some(browser) = browser() else { return };
    let report = story::report();
    let seen = look(&browser, &report).expect("a browser that works");
    assert!(seen.faults.is_empty(), "{}: {:#?}", report.display(), seen.faults);
    // Twelve cases of three pictures, and training samples; loss, ROC, precision, histogram, latent space and arena.
    let written = fs::read_to_string(&report).expect("the report");
    assert_eq!((seen.images, seen.drawings), (written.matches("<img").count(), 6));
    assert!(seen.images > 36, "{}", seen.images);
    assert!(seen.text.contains("Best and worst cases"), "{}", seen.text);
}

#[test]
fn names_that_look_like_markup_stay_text() {
    let Some(browser) = browser() else { return };
    let name = |n: usize| format!("</title></style></pre></svg><script>throw {n}</script><img src=http://{n}.invalid>");
    let classes = vec!["good".to_owned(), name(1)];
    let figures =
        |class: &String| ClassFigures { class: class.clone(), count: 2, recall: None, precision: None, f1: None };
    let row = |label: &String, score| ScoreRow {
        file: name(2),
        label: label.clone(),
        score,
        verdict: name(3),
        float: Some(score),
        other: None,
    };
    let both = Figures { auroc: 1.0, partial_auroc: 1.0, average_precision: 1.0 };
    let chance = Separation { auroc: 0.5, folded: 0.5, partial_auroc: 0.5 };
    let folder = RunFolder {
        name: name(4),
        losses: vec![LossRow { epoch: 1.0, train: 0.5, validation: 0.6 }],
        scores: vec![row(&classes[0], 1.0), row(&classes[1], 2.0)],
        metrics: Some(Metrics {
            data: "/nowhere".into(),
            options: None,
            data_hash: None,
            localization: None,
            images: 2,
            part_not_found: 0,
            sensor_faults: 0,
            threshold: 1.5,
            quantized: both,
            float: None,
            confusion: Confusion {
                counts: vec![vec![2, 0], vec![0, 2]],
                figures: classes.iter().map(figures).collect(),
                classes,
                balanced_accuracy: 1.0,
            },
            per_defect: vec![DefectFigure { defect: name(5), count: 2, auroc: 1.0 }],
            matched: None,
            baselines: vec![Baseline { name: name(6), official: chance, matched: Some(chance) }],
        }),
        quantization: Some(serde_json::json!({"layers": [{name(7): name(8)}]})),
        config: name(9),
        ..RunFolder::default()
    };
    let seen = seen(&browser, &render(&folder).expect("rendered"));
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    for n in [1, 4, 5, 6, 7, 8, 9] {
        assert!(seen.text.contains(&name(n)), "{n} is not shown: {}", seen.text);
    }
}

#[test]
fn a_comparison_asks_for_nothing_either() {
    let Some(browser) = browser() else { return };
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden/v5_autoencoder.neji");
    let name =
        |n: usize| format!("</title></style></table></svg><script>throw {n}</script><img src=http://{n}.invalid>");
    let row = |n: usize, label: String, score| ScoreRow {
        file: name(n),
        label,
        score,
        verdict: name(3),
        float: Some(score),
        other: None,
    };
    let folder = |n: usize, better: f64| RunFolder {
        name: name(n),
        scores: vec![row(1, "good".into(), 1.0), row(2, name(4), 1.0 + better), row(5, name(4), 3.0)],
        blob: Some(fs::read(&golden).expect("a golden blob")),
        ..RunFolder::default()
    };
    let page = compare::render(&[folder(6, 1.0), folder(7, -1.0)]).expect("rendered");
    let seen = seen(&browser, &page);
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    // ROC and a histogram of each.
    assert_eq!((seen.images, seen.drawings), (0, 3));
    for text in [name(4), name(6), name(7), "1.000 [".to_owned(), "0.500 [".to_owned()] {
        assert!(seen.text.contains(&text), "{text} is not shown: {}", seen.text);
    }
}

#[test]
fn the_browser_finds_out_what_a_report_must_not_do() {
    let Some(browser) = browser() else { return };
    let plain = |body: &str| format!("<!doctype html><title>x</title><link rel=icon href=data:,><body>{body}</body>");
    let good = seen(&browser, &plain("<p>nothing <svg width=9 height=9><path d='M0 0L9 9'/></svg></p>"));
    assert!(good.faults.is_empty() && good.drawings == 1, "{good:?}");

    // Each with a name of its own, so that all can be in one page.
    let cases = [
        ("<img src=http://image.invalid/x.png>", "a request for http://image.invalid/x.png"),
        ("<img src=http://10.1.2.3/x.png>", "the network was asked for http://10.1.2.3/x.png"),
        ("<link rel=dns-prefetch href=https://name.invalid>", "the network was asked for https://"),
        ("<link rel=stylesheet href=missing.css>", "missing.css: net::ERR_FILE_NOT_FOUND"),
        ("<style>p { background: url(http://style.invalid) }</style><p>x</p>", "a request for http://style.invalid/"),
        ("<iframe src=http://frame.invalid/></iframe>", "a request for http://frame.invalid/"),
        ("<script>new WebSocket('ws://socket.invalid')</script>", "a request for ws://socket.invalid/"),
        ("<script>setTimeout(() => { throw new Error('late') }, 50)</script>", "an exception: Uncaught Error: late"),
        ("<script>Promise.reject(new Error('lost'))</script>", "an exception: Uncaught (in promise) Error: lost"),
        (
            "<script>console.error('said')</script>",
            "an error on the console: [{\"type\":\"string\",\"value\":\"said\"}]",
        ),
        ("<img src=data:image/png;base64,iVBORw0KGgo=>", "a picture that cannot be decoded: <img src=\"data:"),
        ("<svg width=0 height=9><path d='M0 0L9 9'/></svg>", "a drawing without a size: <svg width=\"0\""),
        ("<svg width=9 height=9></svg>", "a drawing without a size: <svg width=\"9\""),
    ];
    let bad = seen(&browser, &plain(&cases.map(|(body, _)| body).concat()));
    for (body, fault) in cases {
        assert!(bad.faults.iter().any(|found| found.contains(fault)), "{body}: no {fault:?} in {:#?}", bad.faults);
    }

    // What the report's own page keeps a browser from, even if it were written into it.
    let kept = seen(&browser, &page("x", "<img src=http://image.invalid><script>throw new Error('ran')</script>"));
    let count = |part: &str| kept.faults.iter().filter(|fault| fault.contains(part)).count();
    assert_eq!(count("Content Security Policy"), 2, "{kept:#?}");
    assert_eq!(count("the network was asked") + count("an exception"), 0, "{kept:#?}");
}
