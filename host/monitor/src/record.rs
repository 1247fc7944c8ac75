//! Recordings as files that `neji simulate` plays again, and what the board made of them.
//!
//! A recording `alarm-3` becomes `alarm-3.wav`, or a folder `alarm-3` of pictures (or of raw frames), and `alarm-3.json`: whose it is, how it was cut, and the
//! scores that the board gave for all windows that lie wholly in it. The same samples give those scores again, bit for bit.

use std::collections::VecDeque;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use neji_link::{Cause, Event, Levels, ModelIdentity, Outcome, Recording, Score, Sensor};
use serde::{Deserialize, Serialize};

use crate::client::Heard;

/// Scores that are remembered for the recordings to come.
const SCORES: usize = 100_000;

/// What stands beside a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The board's package.
    pub board: String,
    /// Its core.
    pub core: String,
    /// The model's name.
    pub model: String,
    /// The blob's checksum, in hexadecimal.
    pub model_crc32: String,
    /// The blob's length.
    pub model_bytes: u32,
    /// What the samples are.
    pub sensor: Sensor,
    /// Of the board.
    pub recording: Recording,
    /// Files of its samples, in order, beside this one.
    pub files: Vec<PathBuf>,
    /// Bytes at the end that are less than a sample or a frame and are in no file.
    pub left_out_bytes: u32,
    /// The threshold then.
    pub threshold: i32,
    /// The release level then.
    pub release: i32,
    /// Where they came from.
    pub levels: Levels,
    /// What the board scored, as far as it was heard, where all that a score is made of lies in the recording.
    pub scores: Vec<RecordedScore>,
}

/// A score of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedScore {
    /// Which verdict it is when the recording is played from its beginning, from 0.
    pub index: u64,
    /// Which it was on the board.
    pub verdict: u32,
    /// The score.
    pub score: i32,
    /// Whether the alarm was on then.
    pub alarm: bool,
}

/// Whose recordings they are.
#[derive(Debug, Clone)]
struct Owner {
    board: String,
    core: String,
    model: String,
    crc32: u32,
    total_bytes: u32,
    sensor: Sensor,
}

/// Writes recordings into a folder.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    alarms: bool,
    owner: Option<Owner>,
    levels: (i32, i32, Levels),
    scores: VecDeque<Score>,
    seen: Vec<u32>,
}

impl Keeper {
    /// A keeper that writes into `folder`, which it makes where there is something to write: what raised alarms as well as what was
    /// asked for, or that alone.
    pub fn new(folder: &Path, alarms: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            alarms,
            owner: None,
            levels: (0, 0, Levels::Blob),
            scores: VecDeque::new(),
            seen: Vec::new(),
        }
    }

    /// Takes what is heard. Gives a recording that is to be fetched, or the file beside one that was written.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn hear(&mut self, heard: &Heard<'_>) -> Result<Option<Kept>> {
        match heard {
            // Another start of the board, which counts anew.
            Heard::Opened | Heard::Restarted => {
                self.scores.clear();
                self.seen.clear();
            }
            Heard::Event(Event::Identity(identity)) => {
                self.owner = match identity.model {
                    ModelIdentity::Running(running) => Some(Owner {
                        board: identity.board.to_owned(),
                        core: identity.core.to_owned(),
                        model: running.name.to_owned(),
                        crc32: running.crc32,
                        total_bytes: running.total_bytes,
                        sensor: running.sensor,
                    }),
                    _ => None,
                };
            }
            Heard::Event(Event::State(state)) => self.levels = (state.threshold, state.release, state.levels),
            Heard::Event(Event::Score(score)) => {
                if self.scores.len() >= SCORES {
                    self.scores.pop_front();
                }
                self.scores.push_back(*score);
            }
            Heard::Event(Event::Recording(recording)) if !self.seen.contains(&recording.id) => {
                self.seen.push(recording.id);
                if self.alarms || recording.cause == Cause::Asked {
                    return Ok(Some(Kept::Wanted(recording.id)));
                }
            }
            Heard::Fetched(recording, bytes) => return self.write(**recording, bytes).map(Some),
            _ => {}
        }
        Ok(None)
    }

    /// Writes a recording.
    fn write(&self, recording: Recording, bytes: &[u8]) -> Result<Kept> {
        let Some(owner) = &self.owner else { bail!("the board sends a recording before it says who it is") };
        make(&self.folder)?;
        let kind = match recording.cause {
            Cause::Alarm => "alarm",
            Cause::Asked => "asked",
        };
        let name = self.free_name(&format!("{kind}-{}", recording.id));
        let (files, left_out) = write_samples(&self.folder, &name, owner.sensor, bytes)?;
        let (threshold, release, levels) = self.levels;
        let recorded = Recorded {
            board: owner.board.clone(),
            core: owner.core.clone(),
            model: owner.model.clone(),
            model_crc32: format!("{:08x}", owner.crc32),
            model_bytes: owner.total_bytes,
            sensor: owner.sensor,
            recording,
            files,
            left_out_bytes: left_out as u32,
            threshold,
            release,
            levels,
            scores: self.scores.iter().filter_map(|score| within(owner.sensor, &recording, score)).collect(),
        };
        let path = self.folder.join(format!("{name}.json"));
        let mut text = serde_json::to_string_pretty(&recorded)?;
        text.push('\n');
        write_whole(&path, text.as_bytes())?;
        Ok(Kept::Written(path))
    }

    /// A name that no recording in the folder has: another session's are left as they are.
    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.folder.join(format!("{name}.json")).exists();
        let more = (2..).map(|number| format!("{name}-{number}"));
        std::iter::once(name.to_owned()).chain(more).find(|name| !taken(name)).unwrap_or_else(|| name.to_owned())
    }
}

/// Makes a folder for recordings.
pub(crate) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("creating {}: give --record a folder that may be written", folder.display()))
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// This recording is to be fetched.
    Wanted(u32),
    /// A recording was written, with this file beside it.
    Written(PathBuf),
}

/// Where a score is when the recording is played by itself, if all that it is made of lies in it.
fn within(sensor: Sensor, recording: &Recording, score: &Score) -> Option<RecordedScore> {
    let (Outcome::Scored { score: value, .. } | Outcome::Calibrating { score: value, .. }) = score.outcome else {
        return None;
    };
    let end = score.samples.checked_sub(recording.begin).filter(|&end| end <= recording.bytes.into())?;
    let (first, step, lead) = match sensor {
        Sensor::Raw { bytes } => (u64::from(bytes), u64::from(bytes), 0),
        Sensor::Image { width, height, rgb } => {
            let frame = u64::from(width) * u64::from(height) * if rgb { 3 } else { 1 };
            (frame, frame, 0)
        }
        Sensor::Sound { axes, stride, window, lead, .. } => {
            let bytes = |samples: u32| u64::from(samples) * u64::from(axes) * 2;
            (bytes(window), bytes(stride), bytes(lead))
        }
    };
    let behind = end.checked_sub(first)?;
    let index = behind.checked_div(step)?;
    // Behind the beginning of the stream there were zeros on the board too.
    let heard = recording.begin == 0 || index * step >= lead;
    (behind % step == 0 && heard).then_some(RecordedScore {
        index,
        verdict: score.verdict,
        score: value,
        alarm: score.alarm,
    })
}

/// Writes samples as files that a model's sensor is played from; their names, and how many bytes at the end are in none.
fn write_samples(folder: &Path, name: &str, sensor: Sensor, bytes: &[u8]) -> Result<(Vec<PathBuf>, usize)> {
    let frames = |frame: usize, extension: &str, encode: &dyn Fn(&[u8]) -> Result<Vec<u8>>| {
        let chunks = bytes.chunks_exact(frame.max(1));
        let rest = chunks.remainder().len();
        fs::create_dir_all(folder.join(name)).with_context(|| format!("creating {}", folder.join(name).display()))?;
        let mut files = Vec::new();
        for (index, frame) in chunks.enumerate() {
            let file = Path::new(name).join(format!("{index:05}.{extension}"));
            write_whole(&folder.join(&file), &encode(frame)?)?;
            files.push(file);
        }
        Ok((files, rest))
    };
    match sensor {
        Sensor::Raw { bytes } => frames(bytes as usize, "bin", &|frame| Ok(frame.to_vec())),
        Sensor::Image { width, height, rgb } => {
            let (width, height) = (u32::from(width), u32::from(height));
            let pixels = width as usize * height as usize;
            let color = if rgb { image::ExtendedColorType::Rgb8 } else { image::ExtendedColorType::L8 };
            frames(pixels * if rgb { 3 } else { 1 }, "png", &|frame| {
                let mut file = Vec::new();
                let encoder = image::codecs::png::PngEncoder::new(&mut file);
                image::ImageEncoder::write_image(encoder, frame, width, height, color)?;
                Ok(file)
            })
        }
        Sensor::Sound { rate, axes, .. } => {
            let channels = u16::from(axes.max(1));
            let spec = hound::WavSpec {
                channels,
                sample_rate: rate,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let chunks = bytes.chunks_exact(2 * usize::from(channels));
            let rest = chunks.remainder().len();
            let mut file = Cursor::new(Vec::new());
            let mut writer = hound::WavWriter::new(&mut file, spec)?;
            for &sample in chunks.flat_map(|chunk| chunk.as_chunks::<2>().0) {
                writer.write_sample(i16::from_le_bytes(sample))?;
            }
            writer.finalize()?;
            let name = PathBuf::from(format!("{name}.wav"));
            write_whole(&folder.join(&name), file.get_ref())?;
            Ok((vec![name], rest))
        }
    }
}

/// Writes a file beside its final name and renames it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("writing {}: check that there is room", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    file.write_all(bytes).with_context(what)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).with_context(what)?;
    }
    file.persist(path).with_context(what)?;
    Ok(())
}

impl Recorded {
    /// Reads what stands beside a recording; the files' paths are then those from here.
    ///
    /// # Errors
    /// The file can't be read, or is none that [`Keeper`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let mut recorded: Self = serde_json::from_str(&text).with_context(|| {
            format!("{}: not what `neji monitor --record` writes beside a recording", path.display())
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in &mut recorded.files {
            *file = folder.join(&*file);
        }
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    use neji_link::{Identity, ResetCause, Running, State, Trend};

    use super::*;

    const SOUND: Sensor = Sensor::Sound { rate: 8000, axes: 2, stride: 100, window: 450, lead: 50 };

    fn score(verdict: u32, samples: u64) -> Score {
        let outcome = Outcome::Scored { score: 7 * verdict as i32, smoothed: 0, class: None, abnormal: false };
        Score { verdict, samples, outcome, alarm: verdict > 5, drift: Trend::Steady, level: 0, dropped: 0 }
    }

    #[test]
    fn scores_lie_within_where_all_that_they_hear_does() {
        let recording = |begin, bytes| Recording { id: 1, verdict: 9, cause: Cause::Alarm, begin, bytes };
        let indices = |recording: Recording| -> Vec<u64> {
            // Windows end at 450, 550, ... samples of two axes.
            let scores = (0..10).map(|n| score(n, (450 + 100 * u64::from(n)) * 4));
            scores.filter_map(|score| within(SOUND, &recording, &score)).map(|score| score.index).collect()
        };
        assert_eq!(indices(recording(0, 4 * 700)), [0, 1, 2]);
        // The first window from there reaches back before the beginning.
        assert_eq!(indices(recording(4 * 300, 4 * 850)), [1, 2, 3, 4]);
        assert_eq!(indices(recording(4 * 300, 4 * 100)), [0; 0]);
    }

    fn identity(sensor: Sensor) -> Identity<'static> {
        let running = Running { format_version: 5, crc32: 0xabc, total_bytes: 64, name: "m", score_unit: 1.0, sensor };
        Identity {
            protocol: 1,
            board: "b",
            core: "c",
            firmware: "1",
            clock_hz: 1,
            reset: ResetCause::PowerOn,
            capabilities: 0,
            model: ModelIdentity::Running(running),
        }
    }

    fn state() -> State {
        State {
            threshold: 5,
            release: 4,
            levels: Levels::Set,
            alarm: false,
            drift: Trend::Steady,
            verdicts: 0,
            dropped: 0,
            unsent: 0,
            broken: 0,
            maps: false,
            spectra: false,
            recordings: 0,
            recording_bytes: 0,
        }
    }

    /// A recording is fetched once, and read again as it was written.
    #[test]
    fn recordings_are_written_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let sensor = Sensor::Image { width: 3, height: 2, rgb: false };
        let mut keeper = Keeper::new(&folder.path().join("new"), true);
        let recording = Recording { id: 4, verdict: 2, cause: Cause::Alarm, begin: 6, bytes: 14 };
        let mut hear = |heard: Heard<'_>| keeper.hear(&heard).unwrap();
        hear(Heard::Event(&Event::Identity(identity(sensor))));
        hear(Heard::Event(&Event::State(state())));
        for verdict in 0..3 {
            hear(Heard::Event(&Event::Score(score(verdict, 6 * u64::from(verdict + 1)))));
        }
        let event = Event::Recording(recording);
        assert_eq!(hear(Heard::Event(&event)), Some(Kept::Wanted(4)));
        assert_eq!(hear(Heard::Event(&event)), None);
        let bytes: Vec<u8> = (0..14).collect();
        let Some(Kept::Written(path)) = hear(Heard::Fetched(&recording, &bytes)) else { panic!("nothing written") };
        let recorded = Recorded::read(&path).unwrap();
        assert_eq!((recorded.recording, recorded.left_out_bytes, recorded.files.len()), (recording, 2, 2));
        assert_eq!(recorded.scores.iter().map(|s| (s.index, s.score)).collect::<Vec<_>>(), [(0, 7), (1, 14)]);
        let picture = image::open(&recorded.files[1]).unwrap().to_luma8();
        assert_eq!((picture.dimensions(), picture.into_raw()), ((3, 2), (6..12).collect()));
        // The same name again: the first stays.
        let Some(Kept::Written(second)) = hear(Heard::Fetched(&recording, &bytes)) else { panic!("nothing written") };
        assert!(second.ends_with("alarm-4-2.json") && path.ends_with("alarm-4.json"));
        let error = Recorded::read(&recorded.files[0]).unwrap_err().to_string();
        assert!(error.contains("00000.png"), "{error}");
    }

    #[test]
    fn sound_is_written_as_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let samples = [1, -2, i16::MIN, i16::MAX];
        let mut bytes: Vec<u8> = samples.iter().flat_map(|sample: &i16| sample.to_le_bytes()).collect();
        bytes.push(9);
        let (files, rest) = write_samples(folder.path(), "a", SOUND, &bytes).unwrap();
        let mut reader = hound::WavReader::open(folder.path().join(&files[0])).unwrap();
        assert_eq!((reader.spec().channels, reader.spec().sample_rate, rest), (2, 8000, 1));
        assert_eq!(reader.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), samples);
    }
}
