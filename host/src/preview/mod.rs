//! What a data set looks like on its way into a model: recordings, what the front end makes of them, what training changes
//! them to, and synthetic defects.

mod sheet;

pub use sheet::{Row, sheet};

use anyhow::{Context, Result};
use image::{Rgb, RgbImage};
use neji_format::Element;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::augment::waveform::Varier;
use crate::augment::{Augment, Augmenter};
use crate::dataset::{Dataset, GreyImage, Kind, Sample, Signal, Sound};
use crate::experiment::Experiment;
use crate::frontend::{self, Extractor, Fitted};
use crate::quantize::scheme::Scheme;
use crate::render::item_seed;
use crate::report::images::heat;
use crate::run::split;
use crate::{baselines, synthetic};

/// Width and height of the picture of a waveform.
const WAVE: (u32, u32) = (160, 48);
/// Strength of the defects in their row, from 0 to 1.
const STRENGTHS: [f64; 3] = [1.0, 0.3, 0.1];
/// Windows of a recording that are changed for a picture.
const CHANGED: usize = 3;

/// Sets the front end of sounds and features where the experiment says none, so that there is something to see.
pub fn front_end_for(experiment: &mut Experiment, data: &Dataset) -> Result<()> {
    if data.kind() == Kind::Images || experiment.front_end.sound.is_some() {
        return Ok(());
    }
    let first = data.train.first().context("no training samples")?;
    let settings = match &first.signal {
        Signal::Features(features) => neji_tables::Settings {
            mels: u16::try_from(features.bands).context("at most 65,535 bands")?,
            ..neji_tables::Settings::MLPERF
        },
        _ => baselines::sound::default_settings(first.sound()?)?,
    };
    experiment.front_end.sound = Some(settings);
    Ok(())
}

/// The sheet's rows: `columns` normal training samples in each, and as many of each class that is tested.
///
/// # Errors
/// The front end does not take the data.
pub fn rows(experiment: &Experiment, data: &Dataset, columns: usize) -> Result<Vec<Row>> {
    let (train, _) = split(experiment, data)?;
    let fitted = frontend::fit(&experiment.front_end, &train)?;
    let prepared = fitted.prepare(Element::I8);
    let seen = Seen { fitted: &fitted, extractor: prepared.extractor(), scheme: fitted.scheme(Element::I8)? };
    let normal: Vec<&Sample> = train.into_iter().filter(|sample| sample.label == 0).take(columns).collect();
    let row = |caption: String, pictures: Vec<RgbImage>| Row { caption, pictures };
    let mut rows = vec![row("normal, for training".into(), normal.iter().map(|s| recording(&s.signal)).collect())];
    let shape = fitted.shape().context("a front end that was fitted has a shape")?;
    let inputs = normal.iter().map(|sample| seen.input(sample)).collect::<Result<Vec<_>>>()?;
    rows.push(row(format!("what the front end makes of them: inputs of {} x {}", shape.width, shape.height), inputs));
    for label in 0..data.classes.len() {
        let own: Vec<&Sample> = data.test.iter().filter(|sample| sample.label == label).take(columns).collect();
        if !own.is_empty() {
            let pictures = own.iter().map(|sample| seen.both(sample)).collect::<Result<Vec<_>>>()?;
            rows.push(row(format!("test: {}", data.classes[label]), pictures.into_iter().flatten().collect()));
        }
    }
    let augment = &experiment.train.augment;
    if *augment == Augment::default() {
        rows.push(row("augmented: nothing is asked for in [train.augment]".into(), Vec::new()));
    } else {
        let pictures = seen.changed(augment, &normal, experiment.seed)?;
        rows.push(row("augmented inputs, as [train.augment] asks".into(), pictures));
    }
    let Some(first) = normal.first() else { return Ok(rows) };
    let waveform = &experiment.train.waveform;
    if waveform.copies > 0 {
        let varier = Varier::new(waveform, first.sound()?)?;
        let mut rng = ChaCha8Rng::seed_from_u64(experiment.seed);
        let mut pictures = Vec::new();
        for &sample in &normal {
            let signal = Signal::Sound(varier.variant(sample.sound()?, &mut rng)?);
            pictures.extend(seen.both(&Sample { signal, ..sample.clone() })?);
        }
        rows.push(row("variants of recordings, as [train.waveform] asks".into(), pictures));
    }
    for (index, kind) in (0..).zip(synthetic::kinds(&first.signal)) {
        let mut pictures = Vec::new();
        for (column, sample) in (0..).zip(&normal) {
            let strength = STRENGTHS[column % STRENGTHS.len()];
            let seed = item_seed(experiment.seed, 1000 * index + column as u64);
            if let Some(made) = synthetic::with(sample, kind, strength, seed) {
                pictures.extend(seen.both(&made)?);
            }
        }
        let strengths = STRENGTHS.map(|strength| strength.to_string()).join(", ");
        rows.push(row(format!("synthetic: {kind}, strength {strengths} in turn"), pictures));
    }
    Ok(rows)
}

/// What a model sees.
struct Seen<'a> {
    fitted: &'a Fitted,
    extractor: Extractor<'a>,
    scheme: Scheme,
}

impl Seen<'_> {
    fn inputs(&self, sample: &Sample) -> Result<Option<Vec<Vec<i8>>>> {
        Ok(self.extractor.inputs(sample)?.ok())
    }

    /// The strip, or the spectrogram of each window's middle frame; a blank where the front end refuses.
    fn input(&self, sample: &Sample) -> Result<RgbImage> {
        let Some(inputs) = self.inputs(sample)? else { return Ok(RgbImage::from_pixel(24, 24, Rgb([160; 3]))) };
        let (width, height) = self.size();
        Ok(match self.fitted {
            Fitted::Sound(_) => {
                let columns: Vec<&[i8]> = inputs.iter().map(|input| &input[height / 2 * width..][..width]).collect();
                spectrum(&columns)
            }
            _ => grey(width as u32, inputs[0].iter().map(|&q| shade(q)).collect()),
        })
    }

    /// The recording and what the model sees of it.
    fn both(&self, sample: &Sample) -> Result<[RgbImage; 2]> {
        Ok([recording(&sample.signal), self.input(sample)?])
    }

    /// Inputs under random changes: a picture of each image, some windows of each recording.
    fn changed(&self, augment: &Augment, samples: &[&Sample], seed: u64) -> Result<Vec<RgbImage>> {
        let (width, height) = self.size();
        let augmenter = Augmenter::new(augment, self.fitted, height, width);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pictures = Vec::new();
        for sample in samples {
            let Some(inputs) = self.inputs(sample)? else { continue };
            let real: Vec<Vec<f32>> =
                inputs.iter().map(|input| input.iter().map(|&q| self.scheme.real(q) as f32).collect()).collect();
            let apart = (real.len() / CHANGED).max(1);
            for input in real.iter().step_by(apart).take(CHANGED) {
                let changed = augmenter.change(input, &mut rng, |_| &real[real.len() / 2]);
                let back: Vec<i8> = changed.iter().map(|&value| self.scheme.quantize(value.into())).collect();
                pictures.push(match self.fitted {
                    Fitted::Sound(_) => spectrum(&back.chunks_exact(width).collect::<Vec<_>>()),
                    _ => grey(width as u32, back.iter().map(|&q| shade(q)).collect()),
                });
            }
        }
        Ok(pictures)
    }

    fn size(&self) -> (usize, usize) {
        self.fitted.shape().map_or((1, 1), |shape| (shape.width as usize, shape.height as usize))
    }
}

fn shade(value: i8) -> u8 {
    (i16::from(value) + 128) as u8
}

fn grey(width: u32, pixels: Vec<u8>) -> RgbImage {
    let height = pixels.len() as u32 / width.max(1);
    RgbImage::from_fn(width, height, |x, y| Rgb([pixels[(y * width + x) as usize]; 3]))
}

/// Columns of bands, the lowest first, as a picture with time to the right and frequency up.
fn spectrum(columns: &[&[i8]]) -> RgbImage {
    let bands = columns.first().map_or(0, |column| column.len() as u32);
    RgbImage::from_fn(columns.len() as u32, bands, |x, y| {
        Rgb(heat(f32::from(shade(columns[x as usize][(bands - 1 - y) as usize])) / 255.0))
    })
}

/// What was recorded: the picture, the waveform, or the features from their least to their largest value.
fn recording(signal: &Signal) -> RgbImage {
    match signal {
        Signal::Image { image: GreyImage { size, pixels }, .. } => grey(size.width.into(), pixels.clone()),
        Signal::Sound(sound) => waveform(sound),
        Signal::Features(features) => {
            let least = features.values.iter().copied().fold(f32::MAX, f32::min);
            let span = (features.values.iter().copied().fold(f32::MIN, f32::max) - least).max(f32::MIN_POSITIVE);
            let step = |value: f32| ((value - least) / span * 255.0 - 128.0).round() as i8;
            let rows: Vec<Vec<i8>> = features.rows().map(|row| row.iter().map(|&v| step(v)).collect()).collect();
            spectrum(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
        }
    }
}

/// From the least to the largest sample of each column, the loudest of all at the edge.
fn waveform(sound: &Sound) -> RgbImage {
    let (width, height) = WAVE;
    let peak = sound.samples.iter().map(|s| f32::from(s.unsigned_abs().min(i16::MAX as u16))).fold(1.0, f32::max);
    let mut picture = RgbImage::from_pixel(width, height, Rgb([235; 3]));
    let part = sound.samples.len().div_ceil(width as usize).max(1);
    for (x, samples) in (0..width).zip(sound.samples.chunks(part)) {
        let row = |sample: i16| ((1.0 - f32::from(sample) / peak) * (height - 1) as f32 / 2.0) as u32;
        let (Some(least), Some(largest)) = (samples.iter().min(), samples.iter().max()) else { continue };
        (row(*largest)..=row(*least).min(height - 1)).for_each(|y| picture.put_pixel(x, y, Rgb([42, 111, 176])));
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Layout;
    use crate::render::{MachineSettings, SetSettings, write_machine_set, write_set};

    fn captions(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.caption.as_str()).collect()
    }

    #[test]
    fn screws_are_shown_with_strips_changes_and_defects_and_a_seed_repeats() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("screws");
        let layout = crate::render::Layout::Mvtec;
        let set = SetSettings { layout, train: 12, test_good: 2, test_bad: 6, size: 64, seed: 3 };
        write_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let text = "name = \"a\"\n[front_end]\nstrip = [40, 12]\n[train.augment]\nrotation = 5";
        let mut experiment = Experiment::from_toml(text, &[]).expect("an experiment");
        front_end_for(&mut experiment, &data).expect("images need none");
        let rows = rows(&experiment, &data, 3).expect("shown");
        let found = captions(&rows);
        // Two, two of good and six kinds tested, one of changes, seven defects.
        assert_eq!(found.len(), 2 + 7 + 1 + 7, "{found:?}");
        assert!(found[1].contains("40 x 12") && found.contains(&"test: rust"));
        assert_eq!(rows[1].pictures[0].dimensions(), (40, 12));
        assert!(rows.iter().all(|row| !row.pictures.is_empty()));
        let again = super::rows(&experiment, &data, 3).expect("shown");
        assert_eq!(sheet(&rows, 80), sheet(&again, 80));
    }

    #[test]
    fn sounds_get_a_front_end_and_captions_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("machine");
        let set = MachineSettings {
            train: 3,
            test_normal: 1,
            test_anomaly: 1,
            seconds: 1,
            rate: 16_000,
            snr_db: 6.0,
            severity: 1.0,
            seed: 1,
        };
        write_machine_set(&root, &set, false).expect("rendered");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        let mut experiment = Experiment::from_toml("name = \"a\"", &[]).expect("an experiment");
        front_end_for(&mut experiment, &data).expect("a rate that has one");
        let rows = rows(&experiment, &data, 2).expect("shown");
        let found = captions(&rows);
        assert!(found.iter().any(|caption| caption.contains("nothing is asked for")));
        assert!(found.iter().any(|caption| caption.starts_with("synthetic: impacts")), "{found:?}");
        assert_eq!((rows[0].pictures[0].dimensions(), rows[1].pictures[0].height()), (WAVE, 128));
    }
}
