//! Sound from files to alarms: the same bits everywhere, and figures on real recordings where they are.

use std::fs;
use std::path::PathBuf;

use neji::dataset::{Dataset, Options};
use neji::experiment::Experiment;
use neji::report::scores;
use neji::simulate::{Frame, image_files, read_frame};
use neji::tflite::{FrontEndKind, Request, to_monitor};
use neji_format::{AlignedBytes, Model};
use neji_machine::Board;
use neji_tests::{blob, clips, models, root};

use crate::boards::{boards, same_everywhere};

/// All test clips as one stream, and what a microphone's life brings besides.
fn stream(model: &Model<'_>) -> Vec<Frame> {
    let files = image_files(&[clips().join("test")]).expect("clips");
    let mut frames: Vec<Frame> = files.iter().map(|file| read_frame(model.plan(), file).expect("a clip")).collect();
    let pattern = |samples: &[i16]| samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>();
    let lives = [
        vec![0; 9000],
        vec![i16::MIN; 9000],
        (0..9000).map(|n| if n / 40 % 2 == 0 { i16::MAX } else { i16::MIN }).collect(),
        (0..9000).map(|n| 20_000 + (n % 7)).collect(),
    ];
    frames.extend(lives.iter().map(|life| Frame { path: "generated".into(), samples: pattern(life) }));
    frames
}

#[test]
fn a_stream_of_sound_gives_the_same_bits_on_all_boards() {
    let (bytes, summary) = blob(models::SOUND, &clips()).expect("a blob");
    let (float, int8) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
    assert!((float - int8).abs() < 0.1 && int8 > 0.6, "float {float}, int8 {int8}");
    let (again, _) = blob(models::SOUND, &clips()).expect("a blob");
    assert_eq!(bytes.as_slice(), again.as_slice(), "the same seed gives the same blob");
    let frames = stream(&Model::parse(bytes.as_slice()).expect("a model"));
    assert!(same_everywhere(&bytes, &frames, &boards()) > 0, "no alarm on six faults");
}

#[test]
fn a_stream_of_sound_in_int16_and_through_convolutions() {
    let int16 = format!("{}\n[quantize]\nactivations = \"int16\"", models::SOUND);
    let conv = models::SOUND
        .replace("hidden = []", "kind = \"conv\"\nchannels = [4, 8]")
        .replace("context = 3", "context = 16\nstride = 4")
        .replace("epochs = 20", "epochs = 2");
    let larger: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    for toml in [int16, conv] {
        let (bytes, _) = blob(&toml, &clips()).expect("a blob");
        let frames = stream(&Model::parse(bytes.as_slice()).expect("a model"));
        same_everywhere(&bytes, &frames, &larger);
    }
}

/// A folder of real data beside the repository, or where a variable says.
fn real(variable: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map_or_else(|| root().join("../shared").join(name), PathBuf::from);
    if !folder.exists() {
        println!("skipped: nothing at {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn real_machines_are_heard_better_than_by_the_published_baseline() {
    for (name, least) in [("toycar", 0.87), ("slider", 0.92)] {
        let Some(folder) = real(&format!("NEJI_{}", name.to_uppercase()), &format!("data/{name}")) else { continue };
        let toml = fs::read_to_string(root().join(format!("configs/{name}.toml"))).expect("the experiment");
        // A few epochs show the way.
        let toml = toml.lines().map(|line| if line.starts_with("epochs") { "epochs = 6" } else { line });
        let (_, summary) = blob(&toml.collect::<Vec<_>>().join("\n"), &folder).expect("a blob");
        let (float, int8) = (summary.auroc_float.expect("measured"), summary.auroc_quantized.expect("measured"));
        println!("{name}: AUROC float {float:.4}, int8 {int8:.4}");
        assert!(int8 > least && (float - int8).abs() < 0.02, "{name}: float {float}, int8 {int8}");
    }
}

#[test]
fn the_imported_autoencoder_of_mlperf_is_a_monitor_of_real_sound() {
    let (Some(model), Some(folder)) =
        (real("NEJI_AD01", "models/ad01_int8.tflite"), real("NEJI_TOYCAR", "data/toycar"))
    else {
        return;
    };
    let bytes = fs::read(model).expect("a model");
    let settings = "name = \"ad01\"\n[detector]\nnormalise = false\nsmooth_radius = 0\ntop_k = 0\nfalse_alarms = 0.1";
    let experiment = Experiment::from_toml(settings, &[]).expect("settings");
    let request = Request {
        experiment: &experiment,
        front_end: FrontEndKind::LogMel,
        normal: Some(&folder),
        threshold: None,
        classes: &[],
        hop: None,
    };
    let blob = to_monitor(&bytes, &request).expect("a monitor");
    let model = Model::parse(blob.as_slice()).expect("a model");
    let data = Dataset::load(&folder, Options { bands: Some(128), ..Options::default() }).expect("features");
    let rows = scores::quantized(model, &data.test).expect("scores");
    let metrics = scores::measure(&model, &folder, &data, &rows, None).expect("figures");
    println!("ad01: AUROC {:.4}, partial {:.4}", metrics.quantized.auroc, metrics.quantized.partial_auroc);
    // TensorFlow Lite's answers give 0.900 on every fourth window.
    assert!((metrics.quantized.auroc - 0.9).abs() < 0.01, "{:?}", metrics.quantized);

    let Some(wavs) = real("NEJI_TOYCAR_WAV", "data/toycar-wav") else { return };
    let frames: Vec<Frame> = image_files(&[wavs])
        .expect("clips")
        .iter()
        .map(|file| read_frame(model.plan(), file).expect("a clip"))
        .collect();
    let boards: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    let blob: &AlignedBytes = &blob;
    same_everywhere(blob, &frames, &boards);
}
