//! Sound from files to alarms: the same bits everywhere, and figures on real recordings where they are.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use neji::baselines::How;
use neji::dataset::{Dataset, Options};
use neji::experiment::Experiment;
use neji::quantize;
use neji::report::scores::{self, Judged};
use neji::run::Run;
use neji::simulate::{Frame, image_files, on_host, read_frame};
use neji::tflite::{FrontEndKind, Request, to_monitor};
use neji_app::Outcome;
use neji_format::{AlignedBytes, Model};
use neji_machine::Board;
use neji_tests::{blob, clips, models, root, train_into};
use tempfile::TempDir;

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
fn what_is_typical_of_a_sound_gives_the_same_bits_on_all_larger_boards() {
    let toml = models::SOUND
        .replace("name = \"sound\"", "name = \"sound\"\ntask = \"features\"")
        .replace("context = 3", "context = 24\nstride = 8\nstatistics = {}")
        .replace("[detector]", "[detector]\nkind = \"fusion\"\nrank = 4\ncomponents = 8");
    let (bytes, summary) = blob(&toml, &clips()).expect("a blob");
    assert!(summary.auroc_quantized.expect("measured") > 0.6, "{summary:?}");
    let larger: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    let frames = stream(&Model::parse(bytes.as_slice()).expect("a model"));
    same_everywhere(&bytes, &frames, &larger);
}

#[test]
fn machines_are_told_apart_to_hear_what_is_none_of_them() {
    let toml = "name = \"machines\"\ntask = \"cnn\"\n[front_end.sound]\nfft_len = 512\nhop = 512\nmels = 24\ncontext = 16\nstride = 8\n\
        [model]\nchannels = [4, 8]\nconvs_per_block = 1\ndense = [8]\n[train]\nsections = true\nepochs = 6\n\
        [detector]\nkind = \"mahalanobis\"\nrank = 2\nsmooth_radius = 0\ntop_k = 0";
    let one = format!("{:#}", blob(toml, &clips()).expect_err("there is one machine"));
    assert!(one.contains("train.sections") && one.contains("id_00 alone"), "{one}");
    // A second machine, which sounds the other way round.
    let folder = TempDir::new().expect("a folder");
    for part in ["train", "test"] {
        fs::create_dir(folder.path().join(part)).expect("a folder");
        for entry in fs::read_dir(clips().join(part)).expect("clips") {
            let path = entry.expect("a clip").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let bytes = fs::read(&path).expect("a clip");
            let (header, samples) = bytes.split_at(44);
            let other: Vec<u8> =
                samples.chunks_exact(4).flat_map(|pair| [pair[0], pair[1], pair[0], pair[1]]).collect();
            fs::write(folder.path().join(part).join(&name), &bytes).expect("written");
            let name = name.replace("id_00", "id_02");
            fs::write(folder.path().join(part).join(name), [header, &other].concat()).expect("written");
        }
    }
    let (bytes, summary) = blob(toml, folder.path()).expect("a blob");
    assert!(summary.auroc_quantized.is_some() && summary.threshold.is_finite(), "{summary:?}");
    let model = Model::parse(bytes.as_slice()).expect("a model");
    assert_eq!(model.plan().output.shape.len(), 8, "what the last layer reads");
    let larger: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    same_everywhere(&bytes, &stream(&model), &larger);
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

/// The clips as two classes to learn, `normal` and `faulty`.
fn labelled() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, file) in image_files(&[clips()]).expect("clips").into_iter().enumerate() {
        let normal = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("normal"));
        let part = if number % 2 == 0 { "train" } else { "test" };
        let class = folder.path().join(part).join(if normal { "normal" } else { "faulty" });
        fs::create_dir_all(&class).expect("a folder");
        fs::copy(&file, class.join(format!("{number:03}.wav"))).expect("copied");
    }
    folder
}

#[test]
fn a_classifier_that_streams_says_what_the_whole_windows_say_on_all_larger_boards() {
    const HOP: u16 = 2;
    let toml = "name = \"stream\"\ntask = \"cnn\"\n[front_end.sound]\nfft_len = 512\nhop = 512\nmels = 16\ncontext = 16\n\
        stride = 2\n[model]\nchannels = [4]\nconvs_per_block = 2\ndense = []\n[train]\nepochs = 2\n[decision]\nscores = 4";
    let (data, run) = (labelled(), tempfile::tempdir().expect("a folder"));
    train_into(run.path(), toml, data.path(), &AtomicBool::new(false)).expect("trained");
    let run = Run::new(run.path());
    let (whole, _) = quantize::quantize(&run).expect("a blob");
    let request = quantize::Request { hop: Some(HOP), ..quantize::Request::default() };
    let (streaming, _) = quantize::quantize_as(&run, &request).expect("a blob");
    let outcomes = |bytes: &AlignedBytes| {
        let model = Model::parse(bytes.as_slice()).expect("a model");
        let mut outcomes = Vec::new();
        on_host(model, &stream(&model), false, |_, verdict, _| {
            outcomes.push(verdict.outcome);
            Ok(())
        })
        .expect("runs");
        outcomes
    };
    let (given, expected) = (outcomes(&streaming), outcomes(&whole));
    // Sixteen frames, two a run: the eighth run is the first window.
    assert!(given[..7].iter().all(|outcome| *outcome == Outcome::WindowNotFull), "{:?}", &given[..8]);
    assert!(given[7..] == expected[..] && expected.len() > 100, "{} windows", expected.len());
    let macs = |bytes: &AlignedBytes| {
        let model = Model::parse(bytes.as_slice()).expect("a model");
        let phases = model.plan().streaming.map_or(1, |streaming| u64::from(streaming.phases));
        model.operators().map(|operator| neji::inspect::macs(&operator)).sum::<u64>() / phases
    };
    assert!(macs(&streaming) * 2 < macs(&whole), "{} of {} MACs", macs(&streaming), macs(&whole));
    let frames = stream(&Model::parse(streaming.as_slice()).expect("a model"));
    let larger: Vec<Board> = boards().into_iter().filter(|board| board.settings.ram_bytes > 64 * 1024).collect();
    same_everywhere(&streaming, &frames, &larger);
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
    let settings =
        "name = \"ad01\"\n[detector]\nnormalise = false\nsmooth_radius = 0\ntop_k = 0\n[threshold]\nalpha = 0.1";
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
    let judged = Judged { rows: &rows, float: None, held_out: &[] };
    let metrics = scores::measure(&model, &folder, &data, &judged, &How::default()).expect("figures");
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
