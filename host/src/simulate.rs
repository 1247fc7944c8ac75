//! Files as a sensor: the device's monitor fed frame by frame.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use neji_app::{Monitor, Outcome, Report, SensorFault, Tables, Verdict};
use neji_engine::Host;
use neji_format::{AlignedBytes, Blob, Detector, FrontEnd, LogMelFrontEnd, Model, PixelFormat, Plan};
use neji_machine::{Board, Options, Run};

use crate::begin::{self, Begin, LearningMonitor};
use crate::dataset::size::{at_size, grey_at_size};
use crate::dataset::{Sample, Signal, decode_wav, grey, is_mask};
use crate::frontend::{Extractor, sound};
use crate::synthetic::SYNTHETIC;
use crate::{pack, tensor_file, tflite};

/// A file as the sensor would give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where it was read.
    pub path: PathBuf,
    /// One frame of samples.
    pub samples: Vec<u8>,
}

/// A blob and the file that it comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The blob, which [`Source::model`] checks.
    pub bytes: AlignedBytes,
    /// Whether the file is a `.tflite` model.
    pub imported: bool,
}

impl Source {
    /// Reads a blob, or imports a `.tflite` model.
    ///
    /// # Errors
    /// The file cannot be read or imported.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            fs::read(path).with_context(|| format!("reading {}: give a model.neji that exists", path.display()))?;
        let imported = tflite::is_tflite(&bytes);
        let bytes = match imported {
            true => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                tflite::to_blob(&bytes, &name).with_context(|| format!("importing {}", path.display()))?
            }
            false => AlignedBytes::new(&bytes),
        };
        Ok(Self { path: path.to_owned(), bytes, imported })
    }

    /// The checked model.
    ///
    /// # Errors
    /// The decoder's reason.
    pub fn model(&self) -> anyhow::Result<Model<'_>> {
        model(&self.path, &self.bytes)
    }

    /// What runs on a board: what was imported is packed for it, a blob stays as it is.
    ///
    /// # Errors
    /// The decoder's reason, or a blob that is packed for other kernels.
    pub fn on(&self, board: &Board) -> anyhow::Result<Self> {
        let mut source = self.clone();
        if self.imported {
            source.bytes = pack::for_board(board, &self.model()?)?;
        }
        pack::check(board, &source.model()?).with_context(|| self.path.display().to_string())?;
        Ok(source)
    }
}

/// The blob of [`Source::read`].
///
/// # Errors
/// The file cannot be read or imported.
pub fn read_blob(path: &Path) -> anyhow::Result<AlignedBytes> {
    Ok(Source::read(path)?.bytes)
}

/// Checks a blob that was read from `path`.
///
/// # Errors
/// The decoder's reason.
pub fn model<'a>(path: &Path, bytes: &'a AlignedBytes) -> anyhow::Result<Model<'a>> {
    Model::parse(bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("{}: {error}; `neji quantize` writes a new one", path.display()))
}

/// Images and recordings of folders and files in the order of their names; a folder's own folders are entered, masks beside their
/// images left out.
///
/// # Errors
/// A path that does not exist or holds no image.
pub fn image_files(sources: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for source in sources {
        if source.is_file() {
            files.push(source.clone());
            continue;
        }
        let before = files.len();
        for entry in walkdir::WalkDir::new(source).sort_by_file_name() {
            let entry = entry.with_context(|| format!("reading {}: give a folder or image files", source.display()))?;
            let extension = entry.path().extension().unwrap_or_default().to_ascii_lowercase();
            if entry.file_type().is_file()
                && ["png", "jpg", "jpeg", "bmp", "wav"].iter().any(|known| extension == *known)
                && !is_mask(entry.path())
            {
                files.push(entry.into_path());
            }
        }
        ensure!(files.len() > before, "{}: no PNG, JPEG, BMP or WAV files in it", source.display());
    }
    Ok(files)
}

/// Reads a file as frames for `plan`'s front end: each sample of an `.npy` for a raw one, else as [`read_frame`].
///
/// # Errors
/// As [`read_frame`].
pub fn read_frames(plan: &Plan<'_>, path: &Path) -> anyhow::Result<Vec<Frame>> {
    let tensors = matches!(plan.front_end, FrontEnd::Raw) && path.extension().is_some_and(|e| e == "npy");
    if !tensors {
        return Ok(vec![read_frame(plan, path)?]);
    }
    let samples = tensor_file::read(path, plan.element, plan.input.shape)?;
    let frame =
        |sample: Vec<i8>| Frame { path: path.to_owned(), samples: sample.into_iter().map(i8::cast_unsigned).collect() };
    Ok(samples.into_iter().map(frame).collect())
}

/// Reads a file as one frame for `plan`'s front end: an image, brought to the sensor's size as those of a data set are, or for a raw
/// front end the int8 samples themselves.
///
/// # Errors
/// The file cannot be read, or is none that the model's sensor could give; the message says what it gives.
pub fn read_frame(plan: &Plan<'_>, path: &Path) -> anyhow::Result<Frame> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let samples = match &plan.front_end {
        FrontEnd::Raw => {
            let (given, wanted) = (bytes.len(), plan.element.bytes_of(&plan.input));
            ensure!(given == wanted, "{}: {given} bytes, the model takes {wanted} of raw samples", path.display());
            bytes
        }
        FrontEnd::Image(config) => {
            let image = image::load_from_memory(&bytes).with_context(|| {
                format!("reading {}: not a readable PNG, JPEG or BMP; replace or remove it", path.display())
            })?;
            let wanted = config.sensor;
            ensure!(
                image.width() <= 4096 && image.height() <= 4096,
                "{}: {} x {} pixels; at most 4096 x 4096",
                path.display(),
                image.width(),
                image.height()
            );
            match config.pixel_format {
                PixelFormat::Grey8 => grey_at_size(&grey(&image), wanted).pixels,
                PixelFormat::Rgb888 => at_size(&image.to_rgb8(), wanted).into_raw(),
            }
        }
        FrontEnd::LogMel(config) => recording(path, &bytes, config)?,
    };
    Ok(Frame { path: path.to_owned(), samples })
}

/// Which of `files` are pictures of another size than the model's sensor gives, and what is done with them; none where all have it.
pub fn resized(plan: &Plan<'_>, files: &[PathBuf]) -> Option<String> {
    let FrontEnd::Image(config) = &plan.front_end else { return None };
    let own = |path: &PathBuf| image::image_dimensions(path).ok();
    let (width, height) = (config.sensor.width.into(), config.sensor.height.into());
    let others = files.iter().filter(|path| own(path).is_some_and(|size| size != (width, height))).count();
    (others > 0).then(|| {
        format!(
            "{others} of {} pictures are not {width} x {height}, as the model's sensor gives them: those of its aspect are scaled, others \
             shrunk where they are larger and mirrored at their edges to fill it",
            files.len()
        )
    })
}

/// A data set's sample as the model's sensor gives it; features, which no sensor gives, as the inputs that a model
/// [`without_front_end`] takes.
///
/// # Errors
/// A sample of another kind, size or rate than the model's sensor gives; names the file.
pub fn frame_of(model: &Model<'_>, sample: &Sample) -> anyhow::Result<Frame> {
    let plan = *model.plan();
    let samples = match (&plan.front_end, &sample.signal) {
        (FrontEnd::Image(config), _) if config.pixel_format == PixelFormat::Rgb888 => {
            return read_frame(&plan, &sample.path);
        }
        (FrontEnd::Image(_), _) => sample.image()?.pixels.clone(),
        (FrontEnd::LogMel(_), Signal::Features(_)) => {
            let inputs = Extractor::of(model).inputs(sample)?;
            let inputs = inputs.map_err(|rejection| anyhow::anyhow!("{}: {rejection}", sample.path.display()))?;
            inputs.concat().into_iter().map(i8::cast_unsigned).collect()
        }
        (FrontEnd::LogMel(config), _) => {
            sound::heard(config, sample)?;
            sound::bytes(&sample.sound()?.samples)
        }
        (FrontEnd::Raw, _) => return read_frame(&plan, &sample.path),
    };
    Ok(Frame { path: sample.path.clone(), samples })
}

/// The blob of a model whose samples are its inputs, for features that were made elsewhere; the rest is as it was.
pub fn without_front_end(model: &Model<'_>) -> AlignedBytes {
    let constants = model.constants().to_vec();
    let plan = Plan { front_end: FrontEnd::Raw, ..*model.plan() };
    let blob =
        Blob { plan, operators: model.operators().collect(), constants, arena_bytes: model.header().arena_bytes };
    AlignedBytes::new(&blob.encode())
}

/// The samples of a WAV file that has a channel for each axis.
fn recording(path: &Path, bytes: &[u8], config: &LogMelFrontEnd) -> anyhow::Result<Vec<u8>> {
    let sound = decode_wav(bytes, None).with_context(|| format!("reading {}", path.display()))?;
    let (axes, rate) = (u16::from(config.axes), config.sample_rate);
    ensure!(
        (sound.channels, sound.rate) == (axes, rate),
        "{}: {} channels at {} Hz, the model's sensor gives {axes} at {rate}; convert the file",
        path.display(),
        sound.channels,
        sound.rate
    );
    Ok(sound::bytes(&sound.samples))
}

/// Runs the device's monitor over frames; `look` sees each frame's index, a verdict and the monitor behind it: one of an image, of a recording
/// one of each window.
///
/// With `alone` the monitor forgets between frames, so that each is judged for itself.
///
/// # Errors
/// The monitor's at setup, or `look`'s.
pub fn on_host(
    model: Model<'_>,
    frames: &[Frame],
    alone: bool,
    look: impl FnMut(usize, Verdict, &Monitor<'_, Host>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut memory = vec![0; Monitor::<Host>::memory_bytes(&model)];
    let mut monitor = Monitor::<Host>::new(model, &mut memory).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    feed(&mut monitor, frames, alone, look)
}

/// [`on_host`] with a monitor that begins as `begin` says; what it keeps over a restart.
///
/// # Errors
/// As [`on_host`]; or the model can't be calibrated, or has another state.
pub fn on_host_begun(
    model: Model<'_>,
    frames: &[Frame],
    begin: &Begin,
    look: impl FnMut(usize, Verdict, &LearningMonitor<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let (mut memory, mut room) = (vec![0; Monitor::<Host>::memory_bytes(&model)], begin.room(&model)?);
    let mut monitor =
        LearningMonitor::with_learner(model, &mut memory, &mut room).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    begin.tell(&mut monitor)?;
    feed(&mut monitor, frames, false, look)?;
    Ok(begin::state(&monitor))
}

/// Feeds a monitor as [`on_host`] says.
fn feed<'m, T: Tables>(
    monitor: &mut Monitor<'m, Host, T>,
    frames: &[Frame],
    alone: bool,
    mut look: impl FnMut(usize, Verdict, &Monitor<'m, Host, T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let sound = matches!(monitor.model().plan().front_end, FrontEnd::LogMel(_));
    for (index, frame) in frames.iter().enumerate() {
        if alone {
            monitor.reset();
        }
        let (mut samples, mut found) = (frame.samples.as_slice(), 0);
        while let Some(verdict) = monitor.push(&mut samples) {
            found += 1;
            look(index, verdict, monitor)?;
        }
        // Files of sound make one stream, unless each is judged for itself.
        if sound && !alone {
            continue;
        }
        if let Some(verdict) = monitor.end_of_frame() {
            found += 1;
            look(index, verdict, monitor)?;
        }
        ensure!(found > 0, "{}: too short for a verdict", frame.path.display());
    }
    Ok(())
}

/// Builds a board's firmware and runs it in QEMU on the same frames.
///
/// # Errors
/// No compiler or QEMU, a refused blob with the board's reason, or reports that are broken or missing.
pub fn on_board(board: &Board, model: &Model<'_>, frames: &[Frame], options: Options) -> anyhow::Result<Run> {
    on_firmware(board, &board.build()?, model, frames, options)
}

/// Runs a firmware that is there, such as a user's own, in QEMU on the same frames.
///
/// # Errors
/// As [`on_board`].
pub fn on_firmware(
    board: &Board,
    elf: &Path,
    model: &Model<'_>,
    frames: &[Frame],
    options: Options,
) -> anyhow::Result<Run> {
    let samples: Vec<u8> = frames.iter().flat_map(|frame| &frame.samples).copied().collect();
    let run = board.run(elf, model.bytes(), &samples, options)?;
    if let Some(reason) = run.refused() {
        bail!("{} refuses the model: {reason}", board.package);
    }
    let done = matches!(run.reports.last(), Some(Report::Done { .. }));
    ensure!(done && run.exit == Some(0), "{} ended early (status {:?})\n{}", board.package, run.exit, run.stderr);
    let (given, wanted) = (run.verdicts.len(), frames.len());
    let sound = matches!(model.plan().front_end, FrontEnd::LogMel(_));
    ensure!(sound || given == wanted, "{}: {given} verdicts for {wanted} frames", board.package);
    Ok(run)
}

/// A frame's score in real units; a frame without a part counts as the largest there is, a sensor's fault as none.
pub fn real_score(plan: &Plan<'_>, outcome: &Outcome) -> Option<f64> {
    match outcome {
        Outcome::Scored { score, .. } | Outcome::Calibrating { score, .. } => {
            Some(f64::from(*score) * f64::from(plan.decision.score_unit))
        }
        Outcome::PartNotFound | Outcome::PartCut | Outcome::PartUnlike => Some(f64::INFINITY),
        Outcome::SensorFault(_) | Outcome::WindowNotFull => None,
    }
}

/// Whether the model tells classes of the data apart, rather than normal from abnormal.
pub fn tells_classes(plan: &Plan<'_>) -> bool {
    matches!(plan.detector, Detector::Classifier(_)) && plan.provenance.classes.lines().nth(1) != Some(SYNTHETIC)
}

/// One word on a frame: a class, `good` or `bad`, or why there is no score.
pub fn word<'a>(plan: &Plan<'a>, outcome: &Outcome) -> &'a str {
    match outcome {
        Outcome::Scored { class: Some(class), .. } if tells_classes(plan) => {
            plan.provenance.classes.lines().nth(usize::from(*class)).unwrap_or("unnamed")
        }
        Outcome::Scored { abnormal: true, .. } => "bad",
        Outcome::Scored { .. } => "good",
        Outcome::PartNotFound => "part_not_found",
        Outcome::PartCut => "part_cut",
        Outcome::PartUnlike => "part_unlike",
        Outcome::WindowNotFull => "window_not_full",
        Outcome::Calibrating { .. } => "calibrating",
        Outcome::SensorFault(SensorFault::Constant) => "sensor_constant",
        Outcome::SensorFault(SensorFault::Saturated) => "sensor_saturated",
        Outcome::SensorFault(SensorFault::Dropped) => "sensor_dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_blobs_run_on_the_monitor_and_pictures_get_the_sensors_size() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/golden/v5_autoencoder.neji");
        let bytes = read_blob(&golden).expect("read");
        let model = model(&golden, &bytes).expect("a model");
        let plan = *model.plan();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.png");
        image::GrayImage::new(3, 5).save(&path).expect("saved");
        let length = match plan.front_end {
            FrontEnd::Raw | FrontEnd::LogMel(_) => plan.input.shape.len(),
            FrontEnd::Image(config) => usize::from(config.sensor.width) * usize::from(config.sensor.height),
        };
        let FrontEnd::Image(config) = plan.front_end else { panic!("the golden autoencoder has an image front end") };
        let bytes = neji_app::frontend::image::frame_bytes(&config);
        assert_eq!(read_frame(&plan, &path).expect("a picture").samples, vec![0; bytes]);
        let notice = resized(&plan, std::slice::from_ref(&path)).expect("another size");
        assert!(notice.starts_with("1 of 1 pictures"), "{notice}");
        let frame = Frame { path, samples: (0..length).map(|i| (i * 37) as u8).collect() };
        let mut seen = Vec::new();
        on_host(model, &[frame.clone(), frame], true, |_, verdict, _| {
            seen.push(verdict);
            Ok(())
        })
        .expect("runs");
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].outcome, seen[1].outcome);
    }
}
