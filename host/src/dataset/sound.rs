//! Sounds: 16-bit samples from WAV files of any rate and depth.
//!
//! Devices take 16 bits, so every depth becomes that at the door, by one rule for each ([`from_real`], [`from_wide`]).

use std::io::Read as _;
use std::ops::Range;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hound::{SampleFormat, WavReader};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    calculate_cutoff,
};

/// Zero crossings of the resampling filter.
const CROSSINGS: usize = 256;

/// A sound, or any signal that is sampled in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second of each channel.
    pub rate: u32,
    /// Channels, or axes; at least 1.
    pub channels: u16,
    /// `frames * channels` samples: those of all channels at one moment lie side by side. 32,768 would be full scale.
    pub samples: Vec<i16>,
}

impl Sound {
    /// Moments that were sampled.
    pub fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels.max(1))
    }

    /// Duration.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate.max(1))
    }

    /// The samples of one channel, counted from 0; none where there is no such channel.
    pub fn channel(&self, channel: u16) -> Option<Self> {
        (channel < self.channels).then(|| Self {
            rate: self.rate,
            channels: 1,
            samples: (self.samples.iter().skip(channel.into()).step_by(self.channels.into())).copied().collect(),
        })
    }

    /// Root of the mean square of all samples in decibels below full scale (32,768); minus infinity for silence.
    pub fn rms_dbfs(&self) -> f64 {
        let sum: f64 = self.samples.iter().map(|&s| f64::from(s).powi(2)).sum();
        20.0 * ((sum / self.samples.len().max(1) as f64).sqrt() / 32_768.0).log10()
    }

    /// Samples at either end of the range, which are likely to be cut off.
    pub fn clipped(&self) -> usize {
        self.samples.iter().filter(|s| matches!(**s, i16::MIN | i16::MAX)).count()
    }

    /// A part in time, by frames; what lies beyond the end is left out.
    pub fn part(&self, frames: Range<usize>) -> Self {
        let channels = usize::from(self.channels);
        let end = frames.end.min(self.frames());
        let samples = self.samples[frames.start.min(end) * channels..end * channels].to_vec();
        Self { rate: self.rate, channels: self.channels, samples }
    }

    /// The sound at another rate: band-limited interpolation by a windowed sinc of 256 zero crossings (J. O. Smith and
    /// P. Gossett, "A flexible sampling-rate conversion method", ICASSP 1984), in f64, rounded to the nearest and saturated.
    ///
    /// It may be shifted by a sample or so. The same processor gives the same samples; another one may add in another order, which is seen only where a value
    /// lies on the edge between two.
    ///
    /// # Errors
    /// A rate of 0, or one more than 256 times as high or as low.
    pub fn resampled(&self, rate: u32) -> Result<Self> {
        if rate == self.rate {
            return Ok(self.clone());
        }
        let ratio = f64::from(rate) / f64::from(self.rate);
        ensure!(
            (1.0 / 256.0..=256.0).contains(&ratio),
            "{} Hz can't be resampled to {rate} Hz: at most 256 times as high or as low",
            self.rate
        );
        let window = WindowFunction::BlackmanHarris2;
        // Towards a lower rate the filter must be narrower, so as much longer.
        let parameters = SincInterpolationParameters {
            sinc_len: (CROSSINGS as f64 / ratio.min(1.0)).ceil() as usize,
            f_cutoff: Some(calculate_cutoff(CROSSINGS, window)),
            oversampling_factor: 128,
            interpolation: SincInterpolationType::Cubic,
            window,
        };
        let (channels, frames) = (usize::from(self.channels), self.frames());
        let real: Vec<f64> = self.samples.iter().map(|&s| f64::from(s)).collect();
        let input = InterleavedSlice::new(&real, channels, frames).map_err(|error| anyhow!("resampling: {error}"))?;
        let mut resampler = Async::<f64>::new_sinc(ratio, 1.0, &parameters, 1024, channels, FixedAsync::Input)
            .map_err(|error| anyhow!("resampling: {error}"))?;
        let output = resampler.process_all(&input, frames, None).map_err(|error| anyhow!("resampling: {error}"))?;
        let samples = output.take_data().into_iter().map(|x| from_real(x / 32_768.0)).collect();
        Ok(Self { rate, channels: self.channels, samples })
    }
}

/// A real sample, full scale at 1, in 16 bits: `round(32768 x)`, halves away from zero, saturated.
pub fn from_real(x: f64) -> i16 {
    (x * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

/// A sample of `bits` bits in 16: fewer are shifted up, of more the lower ones are rounded off, halves up, saturated.
///
/// `bits` is 1 to 32.
pub fn from_wide(sample: i32, bits: u16) -> i16 {
    let sample = i64::from(sample);
    let value = match bits {
        0..=16 => sample << (16 - bits),
        _ => (sample + (1 << (bits - 17))) >> (bits - 16),
    };
    value.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// What a file that is no WAV file is by its first bytes.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 9] = [
        (b"fLaC", "FLAC"),
        (b"OggS", "Ogg"),
        (b"ID3", "MP3"),
        (b"\xff\xfb", "MP3"),
        (b"FORM", "AIFF"),
        (b"RIFX", "big-endian RIFX"),
        (b"RF64", "RF64"),
        (b"caff", "CAF"),
        (b"\x93NUMPY", "NumPy"),
    ];
    starts.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| name)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// A chunk of a RIFF file: its name, where its content lies, how long it says it is.
fn chunk(bytes: &[u8], at: usize) -> Option<(&[u8], usize, usize)> {
    let name = bytes.get(at..at.checked_add(4)?)?;
    Some((name, at + 8, word(bytes, at + 4)? as usize))
}

/// Where the fmt chunk's content and the samples of a WAV file lie. What is wrong with it is said here, since a decoder
/// reports only where it stumbled.
fn chunks(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    ensure!(!bytes.is_empty(), "an empty file; copy or record it again");
    if !bytes.starts_with(b"RIFF") {
        match other_kind(bytes) {
            Some(kind) => bail!("{kind} under the name of a WAV file; convert it to WAV (PCM)"),
            None => bail!("not a WAV file: it does not begin with RIFF; convert or replace it"),
        }
    }
    ensure!(
        bytes.get(8..12) == Some(b"WAVE"),
        "a RIFF file, but no WAVE (or cut off after {} bytes); convert or replace it",
        bytes.len()
    );
    let mut at = 12;
    let mut format = None;
    let data = loop {
        let Some((name, start, length)) = chunk(bytes, at) else {
            bail!("cut off: no data chunk in its {} bytes; copy or record it again", bytes.len());
        };
        match name {
            b"fmt " => format = bytes.get(start..start.saturating_add(length)),
            b"data" => break start,
            _ => {}
        }
        // Chunks begin at even places.
        at = start.saturating_add(length).saturating_add(length % 2);
    };
    let format = format.context("no fmt chunk before the data; convert it to WAV (PCM)")?;
    let cut = "its fmt chunk is too short; convert it to WAV (PCM)";
    let (channels, rate) = (half(format, 2).context(cut)?, word(format, 4).context(cut)?);
    let block = half(format, 12).context(cut)?;
    ensure!(channels > 0, "its header says 0 channels; write the header anew (convert it to WAV)");
    ensure!(rate > 0, "its header says 0 Hz; write the header anew with the rate that it was recorded at");
    let said = word(bytes, data - 4).unwrap_or(0) as usize;
    let held = bytes.len() - data;
    let frames = |bytes: usize| bytes / usize::from(block.max(1));
    ensure!(
        said <= held,
        "its header says {} frames, but there are {}: cut off, or a recorder did not finish it; copy it again, or write \
         the header anew (convert it to WAV)",
        frames(said),
        frames(held)
    );
    if said == 0 {
        ensure!(
            held < usize::from(block.max(1)),
            "its header says 0 frames, but {held} bytes follow: a recorder did \
             not finish it; write the header anew (convert it to WAV)"
        );
        bail!("it holds no samples; record it again or remove it");
    }
    // What follows the samples must be chunks, or else the header's length is a lie.
    let mut at = data + said + said % 2;
    while let Some((name, start, length)) = chunk(bytes, at) {
        let plain = name.iter().all(|c| (b' '..=b'~').contains(c));
        ensure!(
            plain && start.saturating_add(length) <= bytes.len(),
            "its header says {} frames, but {} bytes follow them; write the header anew (convert it to WAV)",
            frames(said),
            bytes.len() - (data + said)
        );
        at = start + length + length % 2;
    }
    Ok((format, &bytes[data..data + said]))
}

/// Decodes a WAV file, all channels or one of them, counted from 0.
///
/// Integers of 8, 16, 24 and 32 bits are converted by [`from_wide`], floats of 32 bits, whose full scale is 1, by
/// [`from_real`].
///
/// # Errors
/// Not a WAV file, cut off, without samples, a header that can't be true, an encoding other than these, a float that is no
/// number, no such channel. The message says what to do, but not the file's name.
pub fn decode_wav(bytes: &[u8], channel: Option<u16>) -> Result<Sound> {
    let (format, data) = chunks(bytes)?;
    // The decoder is given these two chunks alone: it trips over others of odd length.
    let length = |chunk: &[u8]| u32::try_from(chunk.len()).context("more than 4 GB");
    let header =
        [&b"RIFF\0\0\0\0WAVEfmt "[..], &length(format)?.to_le_bytes(), format, b"data", &length(data)?.to_le_bytes()];
    let header = header.concat();
    let unreadable = |error: hound::Error| {
        anyhow!("{error}; integers of 8, 16, 24 and 32 bits and floats of 32 are read: convert it to WAV (PCM, 16 bit)")
    };
    let mut reader = WavReader::new(header.as_slice().chain(data)).map_err(unreadable)?;
    let spec = reader.spec();
    if let Some(channel) = channel {
        ensure!(channel < spec.channels, "no channel {channel}: it has {}, counted from 0", spec.channels);
    }
    let wanted =
        |index: usize| channel.is_none_or(|channel| index % usize::from(spec.channels) == usize::from(channel));
    let mut samples = Vec::with_capacity(match channel {
        Some(_) => reader.duration() as usize,
        None => reader.len() as usize,
    });
    match spec.sample_format {
        SampleFormat::Int => {
            for (index, sample) in reader.samples::<i32>().enumerate() {
                let sample = sample.map_err(unreadable)?;
                if wanted(index) {
                    samples.push(from_wide(sample, spec.bits_per_sample));
                }
            }
        }
        SampleFormat::Float => {
            for (index, sample) in reader.samples::<f32>().enumerate() {
                let sample = sample.map_err(unreadable)?;
                if wanted(index) {
                    ensure!(
                        sample.is_finite(),
                        "frame {} of channel {} is {sample}; repair or remove the file",
                        index / usize::from(spec.channels),
                        index % usize::from(spec.channels)
                    );
                    samples.push(from_real(sample.into()));
                }
            }
        }
    }
    Ok(Sound { rate: spec.sample_rate, channels: channel.map_or(spec.channels, |_| 1), samples })
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use hound::{WavSpec, WavWriter};

    use super::*;

    /// A WAV file of 16-bit samples.
    pub(in crate::dataset) fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
        write(spec, samples)
    }

    fn write<S: hound::Sample + Copy>(spec: WavSpec, samples: &[S]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).expect("a writer");
        samples.iter().for_each(|&sample| writer.write_sample(sample).expect("written"));
        writer.finalize().expect("finished");
        bytes.into_inner()
    }

    fn refused(bytes: &[u8]) -> String {
        format!("{:#}", decode_wav(bytes, None).expect_err("refused"))
    }

    #[test]
    fn every_depth_becomes_sixteen_bits() {
        let spec =
            |bits_per_sample, sample_format| WavSpec { channels: 1, sample_rate: 8000, bits_per_sample, sample_format };
        let read = |bytes: &[u8]| decode_wav(bytes, None).expect("decoded").samples;
        assert_eq!(read(&write(spec(8, SampleFormat::Int), &[-128i8, 0, 1, 127])), [-32768, 0, 256, 32512]);
        assert_eq!(read(&write(spec(16, SampleFormat::Int), &[-32768i16, -1, 32767])), [-32768, -1, 32767]);
        // 127 / 256 rounds to 0, 128 / 256 up to 1; the largest would be 32768.
        let wide = [127, 128, -128, -129, 8_388_607, -8_388_608];
        assert_eq!(read(&write(spec(24, SampleFormat::Int), &wide)), [0, 1, 0, -1, 32767, -32768]);
        assert_eq!(read(&write(spec(32, SampleFormat::Int), &[i32::MAX, i32::MIN, 1 << 16])), [32767, -32768, 1]);
        let real = [0.5f32, -1.0, 1.0, 2.0, -3.0, 0.5 / 32768.0];
        assert_eq!(read(&write(spec(32, SampleFormat::Float), &real)), [16384, -32768, 32767, 32767, -32768, 1]);
        for bad in [f32::NAN, f32::INFINITY] {
            let message = refused(&write(spec(32, SampleFormat::Float), &[0.0, 0.25, bad]));
            assert!(message.contains("frame 2 of channel 0"), "{message}");
        }
    }

    #[test]
    fn channels_lie_side_by_side_or_one_is_chosen() {
        let bytes = wav(16_000, 3, &[1, 2, 3, 4, 5, 6]);
        let all = decode_wav(&bytes, None).expect("decoded");
        assert_eq!((all.channels, all.frames(), all.samples.as_slice()), (3, 2, &[1, 2, 3, 4, 5, 6][..]));
        let one = decode_wav(&bytes, Some(1)).expect("decoded");
        assert_eq!((one.channels, one.samples.as_slice()), (1, &[2, 5][..]));
        assert_eq!(all.channel(1), Some(one));
        assert_eq!(all.part(1..9).samples, [4, 5, 6]);
        let message = format!("{:#}", decode_wav(&bytes, Some(3)).expect_err("no such channel"));
        assert!(message.contains("no channel 3: it has 3"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_what_it_says_is_refused_with_what_to_do() {
        let good = wav(16_000, 1, &[5; 100]);
        let changed = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            file
        };
        assert!(refused(&[]).contains("an empty file"));
        assert!(refused(b"fLaC....").contains("FLAC under the name of a WAV file"));
        assert!(refused(b"hello, this is text").contains("does not begin with RIFF"));
        assert!(refused(&changed(8, b"AVI ")).contains("no WAVE"));
        assert!(refused(&good[..30]).contains("cut off"));
        let message = refused(&good[..good.len() - 50]);
        assert!(message.contains("says 100 frames, but there are 75"), "{message}");
        // The fmt chunk begins at 12: channels at 22, rate at 24, the data's length at 40.
        assert!(refused(&changed(22, &[0, 0])).contains("0 channels"));
        assert!(refused(&changed(24, &[0; 8])).contains("0 Hz"));
        assert!(refused(&changed(20, &[2, 0])).contains("convert it to WAV"));
        assert!(refused(&changed(40, &[0; 4])).contains("says 0 frames, but 200 bytes follow"));
        let message = refused(&changed(40, &[20, 0, 0, 0]));
        assert!(message.contains("says 10 frames, but 180 bytes follow them"), "{message}");
        assert!(refused(&changed(40, &[0xff; 4])).contains("cut off, or a recorder did not finish it"));
        assert!(refused(&wav(16_000, 1, &[])).contains("no samples"));
        // Chunks behind the samples are allowed.
        let mut tagged = good.clone();
        tagged.extend_from_slice(b"LIST\x04\0\0\0abcd");
        assert_eq!(decode_wav(&tagged, None).expect("decoded").frames(), 100);
        // So are those before them, of odd length too, which a byte follows.
        let odd = [&good[..12], b"LIST\x03\0\0\0abc\0", &good[12..]].concat();
        assert_eq!(decode_wav(&odd, None).expect("decoded").frames(), 100);
    }

    #[test]
    fn no_header_makes_it_panic() {
        let spec = WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: 24, sample_format: SampleFormat::Int };
        for good in [wav(16_000, 1, &[5; 20]), write(spec, &[1, 2, 3, 4])] {
            let mut accepted = 0;
            for at in 0..good.len() {
                for value in [0, 1, 2, 16, 127, 128, 255] {
                    let mut file = good.clone();
                    file[at] = value;
                    accepted += usize::from(decode_wav(&file, Some(0)).is_ok_and(|sound| sound.channels == 1));
                }
                assert!(decode_wav(&good[..at], None).is_err(), "{at}");
            }
            assert!(accepted > 0);
        }
    }

    #[test]
    fn a_tone_stays_itself_at_another_rate_and_what_would_fold_is_gone() {
        let tone = |hz: f64, rate: u32, seconds: f64| -> Sound {
            let count = (seconds * f64::from(rate)) as usize;
            let at = |i: usize| from_real(0.5 * (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin());
            Sound { rate, channels: 1, samples: (0..count).map(at).collect() }
        };
        for (from, to) in [(44_100, 16_000), (8_000, 16_000), (48_000, 8_000)] {
            let out = tone(1000.0, from, 0.5).resampled(to).expect("resampled");
            let expected = tone(1000.0, to, 0.5);
            assert!(out.frames().abs_diff(expected.frames()) <= 1, "{}", out.frames());
            // Away from the edges, where the filter sees zeros, and over whole periods: what is left beside a sine.
            let period = (to / 1000) as usize;
            let middle = &out.samples[period * 100..period * 300];
            let turn = |i: usize| std::f64::consts::TAU * i as f64 / period as f64;
            let project = |wave: fn(f64) -> f64| {
                let sum: f64 = middle.iter().enumerate().map(|(i, &s)| f64::from(s) * wave(turn(i))).sum();
                2.0 * sum / middle.len() as f64
            };
            let (a, b) = (project(f64::sin), project(f64::cos));
            assert!((a.hypot(b) - 16_384.0).abs() < 1.0, "{from} to {to}: {}", a.hypot(b));
            // Shifted by a sample or so.
            assert!(b.atan2(a).abs() < 1.5 * turn(1), "{from} to {to}: {}", b.atan2(a) / turn(1));
            for (i, &sample) in middle.iter().enumerate() {
                let sine = a * turn(i).sin() + b * turn(i).cos();
                assert!((f64::from(sample) - sine).abs() < 1.5, "{from} to {to} at {i}: {sample}, {sine}");
            }
        }
        // 7 kHz lies above half of 8 kHz.
        let folded = tone(7000.0, 48_000, 0.5).resampled(8_000).expect("resampled");
        assert!(folded.part(1000..3000).rms_dbfs() < -80.0, "{}", folded.part(1000..3000).rms_dbfs());
        // Channels stay apart.
        let two = Sound { rate: 32_000, channels: 2, samples: [1000, -1000].repeat(3200) };
        let out = two.resampled(16_000).expect("resampled");
        assert_eq!((out.channels, out.frames()), (2, 1600));
        assert_eq!(out.part(800..801).samples, [1000, -1000]);
        assert!(two.resampled(1).is_err() && two.resampled(0).is_err());
    }

    #[test]
    fn level_of_a_square_wave() {
        let sound = Sound { rate: 8000, channels: 1, samples: [16_384, -16_384].repeat(50) };
        assert!((sound.rms_dbfs() + 6.0206).abs() < 1e-4, "{}", sound.rms_dbfs());
        assert_eq!(sound.clipped(), 0);
        let silent = Sound { rate: 8000, channels: 1, samples: vec![0; 8] };
        assert_eq!((silent.rms_dbfs(), silent.seconds()), (f64::NEG_INFINITY, 0.001));
        assert_eq!(Sound { samples: vec![i16::MIN, i16::MAX, 3], ..silent }.clipped(), 2);
    }
}
