//! From a folder of images to a report: the steps of the README, their errors, and that they repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use neji::experiment::ActivationsName;
use neji::quantize::{self, Request};
use neji::render::Layout;
use neji::run::Run;
use neji::train::Ended;
use neji_format::{Element, Shape};
use neji_tests::{blob, data, models, root, train_into};
use tempfile::TempDir;

#[test]
fn the_same_seed_gives_the_same_blob_and_int8_stays_close_to_float() {
    let screws = data(Layout::Mvtec);
    let (first, summary) = blob(models::SMALL, &screws).expect("a blob");
    let (again, _) = blob(models::SMALL, &screws).expect("a blob");
    assert_eq!(first.as_slice(), again.as_slice());
    let (float, int8) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
    assert!((float - int8).abs() < 0.05, "float {float}, int8 {int8}");
    assert!(int8 > 0.6, "{int8}");
    for layer in &summary.layers {
        assert!(layer.sqnr_db.is_none_or(|db| db > 15.0), "{layer:?}");
    }
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one() {
    resumes(models::CNN, &data(Layout::Classes));
    resumes(models::DEFECTS, &data(Layout::Mvtec));
    // Stopped between what one network learns and the next.
    resumes(models::STUDENT, &data(Layout::Mvtec));
    resumes(models::ONE_CLASS, &data(Layout::Mvtec));
}

/// A training of `model`, which has four epochs, ends in the same bits when it was interrupted.
fn resumes(model: &str, data: &Path) {
    let toml = |epochs: usize| model.replace("epochs = 4", &format!("epochs = {epochs}"));
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let never = AtomicBool::new(false);
    let ended = train_into(&whole, &toml(4), data, &never).expect("trained");
    assert!(matches!(ended, Ended::Finished(_)));

    // Stopped at once, and gone on with from a checkpoint of two epochs that the whole run would have written.
    let stopped = train_into(&parts, &toml(4), data, &AtomicBool::new(true)).expect("stopped");
    assert_eq!(stopped, Ended::Interrupted(0));
    interrupt_after(2, &parts, &toml(4), data, Run::checkpoint);
    train_into(&parts, &toml(4), data, &never).expect("resumed");
    let graph = |run: &Path| fs::read(Run::new(run).graph()).expect("a graph");
    assert!(graph(&whole) == graph(&parts), "the resumed weights differ");
    let other = train_into(&parts, &toml(5), data, &never).expect_err("other settings");
    assert!(format!("{other:#}").contains("settings were others"), "{other:#}");
}

#[test]
fn a_training_with_rounding_resumes_and_its_ranges_reach_the_blob() {
    let screws = data(Layout::Mvtec);
    let toml = format!("{}\n[train.quantization_aware]\nepochs = 3", models::CONV);
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let never = AtomicBool::new(false);
    train_into(&whole, &toml, &screws, &never).expect("trained");
    interrupt_after(1, &parts, &toml, &screws, Run::aware_checkpoint);
    train_into(&parts, &toml, &screws, &never).expect("resumed");
    for name in ["graph.neji-graph", "ranges.json", "losses.csv"] {
        let read = |run: &Path| fs::read(run.join(name)).expect("a file");
        assert!(read(&whole) == read(&parts), "{name} differs");
    }
    let losses = fs::read_to_string(whole.join("losses.csv")).expect("losses");
    assert!(losses.lines().count() == 8 && losses.lines().last().is_some_and(|row| row.starts_with("7,")), "{losses}");

    let run = Run::new(&whole);
    let learned = run.learned_ranges().expect("whole").expect("ranges");
    let (bytes, summary) = quantize::quantize(&run).expect("a blob");
    assert!(summary.learned_ranges);
    // Every tensor's steps are those of its learned range.
    let model = neji_format::Model::parse(bytes.as_slice()).expect("a model");
    let output = model.plan().output;
    let last = learned.ranges.last().expect("the output has a range");
    assert!((output.scale - (last.high - last.low) / 255.0).abs() < 1e-6 * output.scale, "{output:?} {last:?}");
    // Another kind of activations has other steps, which were not learned.
    let request = Request { activations: Some(ActivationsName::Int16), ..Request::default() };
    assert!(!quantize::quantize_as(&run, &request).expect("a blob").1.learned_ranges);
}

#[test]
fn int8_or_int16_is_chosen_by_what_it_does_to_made_defects() {
    let screws = data(Layout::Mvtec);
    let toml = format!("{}\n[quantize]\nactivations = \"auto\"", models::CONV);
    let folder = tempfile::tempdir().expect("a folder");
    train_into(folder.path(), &toml, &screws, &AtomicBool::new(false)).expect("trained");
    let run = Run::new(folder.path());
    let request = Request { sensitivity: true, ..Request::default() };
    let found = quantize::quantize_all(&run, &request).expect("a blob");
    let choice = found.summary.choice.as_ref().expect("a choice");
    assert_eq!(choice.chosen, found.summary.activations);
    assert!(choice.normals > 0 && choice.defects >= 200, "{choice:?}");
    let better = choice.difference.zip(choice.error).is_some_and(|(by, error)| by > error);
    assert_eq!(choice.chosen == ActivationsName::Int16, better, "{choice:?}");
    let element = |bytes: &neji_format::AlignedBytes| {
        neji_format::Model::parse(bytes.as_slice()).expect("a model").plan().element
    };
    assert_ne!(element(&found.bytes), element(found.other.as_ref().expect("the other blob")));

    // Rounding everything is noisier than rounding any layer alone.
    let sensitivity = found.summary.sensitivity.expect("asked for");
    let all = sensitivity.all.both_db.expect("noise");
    assert!(!sensitivity.layers.is_empty());
    for layer in &sensitivity.layers {
        assert!(layer.both_db.is_none_or(|db| db > all - 1.0), "{layer:?} of {all}");
    }
    // No more flash than the larger kind takes, and the smaller is left where that is too little.
    let (small, large) = (choice.int8.flash, choice.int16.flash);
    assert!(small < large, "{choice:?}");
    let mut experiment = run.experiment().expect("an experiment");
    experiment.auto.flash = large.map(|flash| flash - 1);
    fs::write(run.config(), experiment.to_toml()).expect("written");
    let found = quantize::quantize_all(&run, &Request::default()).expect("a blob");
    let choice = found.summary.choice.expect("a choice");
    assert_eq!(choice.chosen, ActivationsName::Int8);
    assert!(choice.reason.contains("auto.flash"), "{choice:?}");
}

/// Trains until the checkpoint holds `epochs` epochs, then stops.
fn interrupt_after(epochs: usize, run: &Path, toml: &str, data: &Path, checkpoint: impl Fn(&Run) -> PathBuf) {
    use neji::train::checkpoint::Checkpoint;
    use std::sync::atomic::Ordering;
    let stop = AtomicBool::new(false);
    let checkpoint = checkpoint(&Run::new(run));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !Checkpoint::load(&checkpoint).is_ok_and(|found| found.epochs.len() >= epochs) {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        // Either it is stopped in time, or it has ended: the comparison holds for both.
        train_into(run, toml, data, &stop).expect("trains");
    });
}

/// The command. The test binary lies in target/<profile>/deps; cargo built the command beside it.
pub(crate) fn binary() -> PathBuf {
    let mut binary = std::env::current_exe().expect("a path");
    binary.pop();
    binary.pop();
    let binary = binary.join("neji");
    assert!(binary.exists(), "{} is missing; type: cargo build --package neji", binary.display());
    binary
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

fn neji(arguments: &[&str]) -> Output {
    command(arguments).output().expect("neji starts")
}

/// As `neji inspect … | true` has it.
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let golden = root().join("shared/tests/golden/v5_autoencoder.neji");
    let golden = golden.to_str().expect("UTF-8");
    for arguments in [&["inspect", golden][..], &["inspect", golden, "--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let out = command(arguments).stdout(writer).output().expect("neji starts");
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(141), ""), "{arguments:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed.
pub(crate) fn does(arguments: &[&str]) -> String {
    let out = neji(arguments);
    assert!(out.status.success(), "neji {arguments:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// Runs a command that must be refused with each of `parts` in its message, and without a panic.
pub(crate) fn refuses(arguments: &[&str], parts: &[&str]) {
    let out = neji(arguments);
    let error = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "neji {arguments:?}: {error}");
    assert!(error.contains("error: ") && !error.contains("panicked"), "neji {arguments:?}: {error}");
    for part in parts {
        assert!(error.contains(part), "neji {arguments:?}: no {part:?} in {error}");
    }
}

/// The report that the tour ends with.
pub(crate) fn report() -> PathBuf {
    tour().join("run/report.html")
}

/// The folder of the tour: `a.toml` and `run`, as the commands leave them. It is taken once.
fn tour() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let take = || {
        let folder = tempfile::tempdir().expect("a folder");
        take_tour(folder.path());
        folder
    };
    FOLDER.get_or_init(take).path()
}

fn take_tour(folder: &Path) {
    let screws = data(Layout::Mvtec);
    let screws = screws.to_str().expect("UTF-8");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (config, run, blob) = (path("a.toml"), path("run"), path("run/model.neji"));
    fs::write(&config, models::SMALL).expect("written");

    refuses(&["train", &config, "--data", &path("nowhere"), "--out", &run], &["no such folder"]);
    fs::create_dir_all(path("empty/train/good")).expect("made");
    refuses(&["train", &config, "--data", &path("empty"), "--out", &run], &["no PNG, JPEG or BMP"]);
    refuses(&["train", &config, "--data", screws, "--out", &run, "--resume"], &["no checkpoint"]);
    refuses(&["train", &config, "--data", screws, "--set", "train.speed=3"], &["speed"]);
    refuses(&["quantize", &path("empty")], &["holds no run"]);

    let quick = ["train", &config, "--data", screws, "--out", &run, "--set", "train.epochs=40"];
    does(&quick);
    refuses(&quick, &["holds a run already", "--resume", "--force"]);
    refuses(&["eval", &run, "--data", screws], &["neji quantize"]);
    assert!(does(&["quantize", &run]).contains("AUROC float"));
    let metrics: serde_json::Value =
        serde_json::from_str(&does(&["eval", &run, "--data", screws, "--json"])).expect("JSON");
    assert_eq!(metrics["images"], 20);
    let scores = fs::read_to_string(path("run/scores.csv")).expect("scores");
    assert!(scores.starts_with("file,label,score,verdict,float,other\n") && scores.lines().count() == 21, "{scores}");
    assert!(does(&["inspect", &blob]).contains("FullyConnected"));
    let inspection: serde_json::Value = serde_json::from_str(&does(&["inspect", &blob, "--json"])).expect("JSON");
    assert_eq!(inspection["name"], "small");
    assert!(does(&["simulate", &blob, "--source", &format!("{screws}/test")]).contains("20 frames"));
    does(&["report", &run]);
}

#[test]
fn the_tour_of_the_readme_and_what_goes_wrong_on_the_way() {
    let screws = data(Layout::Mvtec);
    let screws = screws.to_str().expect("UTF-8");
    let path = |name: &str| tour().join(name).to_str().expect("UTF-8").to_owned();
    let (config, blob) = (path("a.toml"), path("run/model.neji"));
    let report = fs::read_to_string(report()).expect("a report");
    for needle in ["http://", "https://", "<script", "url("] {
        assert!(!report.contains(needle), "the report has {needle}");
    }
    for part in ["Best and worst cases", "anomaly map", "ROC", "Confusion matrix", "Arena", "data:image/png"] {
        assert!(report.contains(part), "the report lacks {part}");
    }
    neji::report::html::check_balance(&report).expect("balanced");

    raw_tensors(&blob, &path("x.npy"), &path("y.npy"));
    let bytes = fs::read(&blob).expect("a blob");
    fs::write(path("cut.neji"), &bytes[..bytes.len() / 2]).expect("written");
    refuses(&["inspect", &path("cut.neji")], &["cut.neji", "bytes"]);
    let mut flipped = bytes;
    flipped[100] ^= 1;
    fs::write(path("flipped.neji"), flipped).expect("written");
    refuses(&["simulate", &path("flipped.neji"), "--source", screws], &["flipped.neji", "checksum"]);
    refuses(&["inspect", &config], &["a.toml", "not a model blob"]);
}

/// `neji run` on tensors of the right and of a wrong shape.
fn raw_tensors(blob: &str, x: &str, y: &str) {
    use neji::tensor_file::{read, write};
    let shape = Shape::new(12, 40, 1);
    let samples: Vec<Vec<i8>> = (0..3).map(|n| (0..480).map(|i| (i * (n + 3)) as i8).collect()).collect();
    write(x.as_ref(), Element::I8, shape, &samples).expect("written");
    does(&["run", blob, "--input", x, "--output", y]);
    assert_eq!(read(y.as_ref(), Element::I8, shape).expect("read").len(), 3);
    write(x.as_ref(), Element::I8, Shape::new(1, 1, 7), &[vec![0; 7]]).expect("written");
    refuses(&["run", blob, "--input", x, "--output", y], &["x.npy", "takes 480"]);
}
