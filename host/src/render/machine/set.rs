//! A whole data set of a rendered machine, laid out as DCASE's task 2 lays out its own, written at once or not at all.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{FaultKind, Machine, Recording, render};
use crate::files;
use crate::render::{item_seed, progress};

/// How much of what is rendered.
#[derive(Debug, Clone, Copy)]
pub struct MachineSettings {
    /// Normal clips to train on.
    pub train: u32,
    /// Normal test clips.
    pub test_normal: u32,
    /// Anomalous test clips, the kinds of fault in turn.
    pub test_anomaly: u32,
    /// Length of a clip.
    pub seconds: u32,
    /// Samples a second.
    pub rate: u32,
    /// Level of the sound machine over the factory's noise, in dB.
    pub snr_db: f64,
    /// Level of the faults; each clip's own lies 30 % around it.
    pub severity: f64,
    /// Decides everything.
    pub seed: u64,
}

/// A clip to be rendered.
struct Job {
    file: PathBuf,
    fault: Option<(FaultKind, f64)>,
}

/// A row of `faults.csv`.
#[derive(Debug, serde::Serialize)]
struct Row<'a> {
    file: &'a str,
    kind: &'a str,
    severity: f64,
}

fn jobs(settings: &MachineSettings) -> Vec<Job> {
    let job = |folder: &str, name: &str, i: u32, fault: Option<(FaultKind, f64)>| Job {
        file: [folder, &format!("{name}_id_00_{i:08}.wav")].iter().collect(),
        fault,
    };
    let train = (0..settings.train).map(|i| job("train", "normal", i, None));
    let normal = (0..settings.test_normal).map(|i| job("test", "normal", i, None));
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let anomaly = FaultKind::ALL.into_iter().cycle().zip(0..settings.test_anomaly).map(|(kind, i)| {
        // To three decimals, as the table has it.
        let severity = (settings.severity * rng.random_range(0.7..1.3) * 1000.0f64).round() / 1000.0;
        job("test", "anomaly", i, Some((kind, severity)))
    });
    train.chain(normal).chain(anomaly).collect()
}

fn check(settings: &MachineSettings) -> anyhow::Result<()> {
    if settings.train == 0 || settings.test_normal == 0 {
        bail!("--train and --test-normal must be at least 1");
    }
    if !(1..=60).contains(&settings.seconds) {
        bail!("--seconds {}: clips are 1 to 60 seconds long", settings.seconds);
    }
    if !(8000..=48_000).contains(&settings.rate) {
        bail!("--rate {}: 8000 to 48000 samples a second", settings.rate);
    }
    if !(-40.0..=60.0).contains(&settings.snr_db) {
        bail!("--snr-db {}: -40 to 60 dB", settings.snr_db);
    }
    if !(0.01..=10.0).contains(&settings.severity) {
        bail!("--severity {}: 0.01 to 10", settings.severity);
    }
    Ok(())
}

fn wav(samples: &[i16], rate: u32) -> Result<Vec<u8>, hound::Error> {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec)?;
    for sample in samples {
        writer.write_sample(*sample)?;
    }
    writer.finalize()?;
    Ok(bytes.into_inner())
}

/// Renders a data set into the folder `out`: `train/normal_id_00_*.wav`, `test/normal_id_00_*.wav`,
/// `test/anomaly_id_00_*.wav` and `faults.csv`, which says what each anomaly is; returns the number of clips.
///
/// # Errors
/// `out` is not empty and `force` is not set, a setting is out of range, or writing fails; `out` is then as it was before.
pub fn write_machine_set(out: &Path, settings: &MachineSettings, force: bool) -> anyhow::Result<usize> {
    check(settings)?;
    let jobs = jobs(settings);
    let machine = Machine::draw(item_seed(settings.seed, u64::MAX));
    let recording =
        Recording { length: (settings.seconds * settings.rate) as usize, rate: settings.rate, snr_db: settings.snr_db };
    files::write_folder(out, force, |content| {
        for folder in ["train", "test"].map(|part| content.join(part)) {
            fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let table = content.join("faults.csv");
        let rows = || -> anyhow::Result<()> {
            let mut rows = csv::Writer::from_path(&table)?;
            for (job, (kind, severity)) in jobs.iter().filter_map(|job| Some((job, job.fault?))) {
                let file = job.file.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
                rows.serialize(Row { file: &file, kind: kind.name(), severity })?;
            }
            rows.flush().map_err(Into::into)
        };
        rows().with_context(|| format!("writing {}", table.display()))?;
        let bar = progress(jobs.len());
        jobs.par_iter().enumerate().try_for_each(|(index, job)| -> anyhow::Result<()> {
            let clip = render(&machine, item_seed(settings.seed, index as u64), &recording, job.fault);
            let path = content.join(&job.file);
            let bytes = wav(&clip.samples, settings.rate)?;
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
            bar.inc(1);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(())
    })?;
    Ok(jobs.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baselines;
    use crate::dataset::{Dataset, Layout};

    const SETTINGS: MachineSettings = MachineSettings {
        train: 3,
        test_normal: 2,
        test_anomaly: 7,
        seconds: 1,
        rate: 16_000,
        snr_db: 6.0,
        severity: 1.0,
        seed: 7,
    };

    fn files(root: &Path, part: &str) -> Vec<String> {
        let mut names: Vec<String> = (fs::read_dir(root.join(part)).expect("a folder"))
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writes_dcases_layout_deterministically_and_overwrites_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (a, b, c) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        assert_eq!(write_machine_set(&a, &SETTINGS, false).expect("written"), 12);
        write_machine_set(&b, &SETTINGS, false).expect("written");
        write_machine_set(&c, &MachineSettings { seed: 8, ..SETTINGS }, false).expect("written");
        assert_eq!(files(&a, "train"), [0, 1, 2].map(|i| format!("normal_id_00_0000000{i}.wav")));
        assert_eq!(files(&a, "test").len(), 9);
        assert_eq!(files(&a, "test")[6], "anomaly_id_00_00000006.wav");
        for part in ["train", "test"] {
            for name in files(&a, part) {
                let read = |root: &Path| fs::read(root.join(part).join(&name)).expect("a clip");
                assert_eq!(read(&a), read(&b), "{name}");
                assert_ne!(read(&a), read(&c), "{name}");
            }
        }
        let clip = hound::WavReader::open(a.join("train/normal_id_00_00000000.wav")).expect("a WAV file");
        let spec = clip.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample, clip.len()), (1, 16_000, 16, 16_000));
        let table = fs::read_to_string(a.join("faults.csv")).expect("a table");
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!((rows.len(), rows[0]), (8, "file,kind,severity"));
        assert!(rows[3].starts_with("test/anomaly_id_00_00000002.wav,chipped_tooth,"), "{}", rows[3]);
        let refusal = write_machine_set(&a, &SETTINGS, false).expect_err("not empty");
        assert!(refusal.to_string().contains("--force"), "{refusal}");
        assert_eq!(write_machine_set(&a, &MachineSettings { train: 1, ..SETTINGS }, true).expect("replaced"), 10);
        assert_eq!(files(&a, "train").len(), 1);
        assert_eq!(files(folder.path(), ".").len(), 3);
    }

    #[test]
    fn settings_out_of_range_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (settings, named) in [
            (MachineSettings { train: 0, ..SETTINGS }, "--train"),
            (MachineSettings { seconds: 0, ..SETTINGS }, "--seconds"),
            (MachineSettings { rate: 4000, ..SETTINGS }, "--rate"),
            (MachineSettings { snr_db: f64::NAN, ..SETTINGS }, "--snr-db"),
            (MachineSettings { severity: 0.0, ..SETTINGS }, "--severity"),
        ] {
            let error = write_machine_set(&folder.path().join("set"), &settings, false).expect_err("refused");
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(files(folder.path(), ".").is_empty());
    }

    #[test]
    fn the_level_tells_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("machine");
        let settings = MachineSettings { train: 1, test_normal: 60, test_anomaly: 60, ..SETTINGS };
        write_machine_set(&root, &settings, false).expect("written");
        let data = Dataset::load(&root, Layout::Auto).expect("loads");
        assert_eq!((data.train.len(), data.test.len(), data.sections()), (1, 120, vec!["id_00"]));
        let baselines = baselines::measure(&data, &baselines::How::default()).expect("both classes");
        let level = baselines.iter().find(|b| b.name == "level").expect("the level");
        assert!(level.official.folded < 0.65, "{level:?}");
    }
}
