//! WAV files as a source: one or many, read as they are needed.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hound::{SampleFormat, WavReader};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Reader = WavReader<BufReader<File>>;

/// The WAV files of a path: itself, or what lies in the folder and its folders, by name.
///
/// # Errors
/// A path that does not exist or holds none.
pub fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.with_context(|| format!("reading {}: give a folder or a WAV file", path.display()))?;
        let wav = entry.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wav"));
        if wav && entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    ensure!(!files.is_empty(), "{}: no WAV files in it", path.display());
    Ok(files)
}

/// Samples of a file, which must be of one channel and of this rate.
///
/// # Errors
/// Another file.
pub fn length(path: &Path, rate: u32) -> anyhow::Result<u64> {
    let reader = open(path)?;
    let spec = reader.spec();
    ensure!(spec.channels == 1, "{}: {} channels, a sensor has one", path.display(), spec.channels);
    ensure!(
        spec.sample_rate == rate,
        "{}: {} samples a second, the scenario has {rate}; resample the file",
        path.display(),
        spec.sample_rate
    );
    ensure!(reader.len() > 0, "{}: no samples in it", path.display());
    Ok(reader.len().into())
}

fn open(path: &Path) -> anyhow::Result<Reader> {
    WavReader::open(path).with_context(|| format!("reading {}: not a readable WAV file", path.display()))
}

/// A file at a place in it.
struct Playing {
    path: PathBuf,
    reader: Reader,
    scale: f64,
    at: u32,
}

impl std::fmt::Debug for Playing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.path.display(), self.at)
    }
}

impl Playing {
    fn open(path: &Path, at: u32) -> anyhow::Result<Self> {
        let mut reader = open(path)?;
        reader.seek(at).with_context(|| format!("reading {}", path.display()))?;
        let spec = reader.spec();
        // In steps of 16 bits.
        let scale = match spec.sample_format {
            SampleFormat::Float => 32_768.0,
            SampleFormat::Int => 32_768.0 / (1_u64 << spec.bits_per_sample.saturating_sub(1).min(63)) as f64,
        };
        Ok(Self { path: path.to_owned(), reader, scale, at })
    }

    fn left(&self) -> u64 {
        u64::from(self.reader.len().saturating_sub(self.at))
    }

    fn next(&mut self) -> anyhow::Result<f64> {
        let sample = match self.reader.spec().sample_format {
            SampleFormat::Float => self.reader.samples::<f32>().next().map(|s| s.map(f64::from)),
            SampleFormat::Int => self.reader.samples::<i32>().next().map(|s| s.map(f64::from)),
        };
        self.at += 1;
        let what = || format!("reading {} at sample {}", self.path.display(), self.at - 1);
        let sample = sample.with_context(what)?.with_context(what)?;
        ensure!(sample.is_finite(), "{}: sample {} is no number", self.path.display(), self.at - 1);
        Ok(sample * self.scale)
    }
}

/// Files one after the other, for ever.
#[derive(Debug)]
pub struct Playlist {
    files: Vec<PathBuf>,
    /// The order of this round, and the place in it.
    order: Vec<usize>,
    place: usize,
    shuffle: Option<ChaCha8Rng>,
    crossfade: u64,
    playing: Vec<Playing>,
}

impl Playlist {
    /// Begins with the first file; `shuffle` is the seed of another order.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn new(files: &[PathBuf], shuffle: Option<u64>, crossfade: u64) -> anyhow::Result<Self> {
        let order = (0..files.len()).collect();
        let shuffle = shuffle.map(ChaCha8Rng::seed_from_u64);
        let mut list = Self { files: files.to_vec(), order, place: 0, shuffle, crossfade, playing: Vec::new() };
        list.reorder();
        list.begin()?;
        Ok(list)
    }

    /// One that goes on as this one does.
    ///
    /// # Errors
    /// A file that can't be read any more.
    pub fn fork(&self) -> anyhow::Result<Self> {
        let playing = self.playing.iter().map(|p| Playing::open(&p.path, p.at)).collect::<anyhow::Result<_>>()?;
        let (files, order, shuffle) = (self.files.clone(), self.order.clone(), self.shuffle.clone());
        Ok(Self { files, order, place: self.place, shuffle, crossfade: self.crossfade, playing })
    }

    /// Fisher and Yates.
    fn reorder(&mut self) {
        if let Some(rng) = &mut self.shuffle {
            for last in (1..self.order.len()).rev() {
                self.order.swap(last, rng.random_range(0..=last));
            }
        }
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        if self.place == self.order.len() {
            self.place = 0;
            self.reorder();
        }
        self.playing.push(Playing::open(&self.files[self.order[self.place]], 0)?);
        self.place += 1;
        Ok(())
    }

    /// The next sample in steps of 16 bits.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn sample(&mut self) -> anyhow::Result<f64> {
        let overlap = |playing: &Playing| self.crossfade.min(u64::from(playing.reader.len()) / 2);
        let ends = self.playing.last().is_none_or(|last| last.left() <= overlap(last));
        if ends && self.playing.len() < 2 {
            self.begin()?;
        }
        let left = self.playing[0].left();
        if left == 0 {
            self.playing.remove(0);
            return self.sample();
        }
        let sample = self.playing[0].next()?;
        let Some(second) = self.playing.get_mut(1) else { return Ok(sample) };
        // From the first to the second in a straight line.
        let share = (left as f64 / (self.crossfade + 1) as f64).min(1.0);
        Ok(share * sample + (1.0 - share) * second.next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, samples: &[i16], rate: u32, channels: u16) {
        let spec =
            hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = hound::WavWriter::create(path, spec).expect("created");
        samples.iter().for_each(|s| writer.write_sample(*s).expect("written"));
        writer.finalize().expect("written");
    }

    #[test]
    fn files_follow_one_another_and_a_fork_goes_on_alike() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, value) in [("b.wav", 200), ("a.wav", 100), ("c.WAV", 300)] {
            write(&folder.path().join(name), &[value; 50], 8000, 1);
        }
        std::fs::write(folder.path().join("notes.txt"), "").expect("written");
        let files = files(folder.path()).expect("files");
        assert_eq!((files.len(), length(&files[0], 8000).expect("a length")), (3, 50));
        let mut list = Playlist::new(&files, None, 0).expect("a list");
        let heard: Vec<f64> = (0..200).map(|_| list.sample().expect("a sample")).collect();
        let expected: Vec<f64> = [100.0, 200.0, 300.0, 100.0].into_iter().flat_map(|v| [v; 50]).collect();
        assert_eq!(heard, expected);

        // Two files overlap by nine samples on a straight line.
        let mut list = Playlist::new(&files, None, 9).expect("a list");
        let heard: Vec<f64> = (0..60).map(|_| list.sample().expect("a sample")).collect();
        assert_eq!((heard[40], heard[45], heard[50]), (100.0, 150.0, 200.0));

        let mut list = Playlist::new(&files, Some(3), 5).expect("a list");
        for _ in 0..170 {
            list.sample().expect("a sample");
        }
        let mut fork = list.fork().expect("a fork");
        assert!((0..400).all(|_| list.sample().expect("a sample") == fork.sample().expect("a sample")));
    }

    #[test]
    fn another_rate_and_two_channels_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wav");
        write(&path, &[1; 10], 44_100, 1);
        let error = length(&path, 16_000).expect_err("another rate").to_string();
        assert!(error.contains("a.wav") && error.contains("44100") && error.contains("16000"), "{error}");
        write(&path, &[1; 10], 16_000, 2);
        assert!(length(&path, 16_000).expect_err("stereo").to_string().contains("2 channels"));
        std::fs::write(&path, b"RIFF").expect("written");
        assert!(format!("{:#}", length(&path, 16_000).expect_err("broken")).contains("a.wav"));
        assert!(files(&folder.path().join("none")).is_err());
    }
}
