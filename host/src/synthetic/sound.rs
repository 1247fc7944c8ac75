//! Defects of sounds: what is added has the strength as its amplitude over that of the recording (root mean squares), so 1 is
//! as loud as the machine and 0.1 is 20 dB below.
//!
//! Additions, multiplications, divisions and roots only, and sines of [`wave`]: the same bytes on every machine.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::dataset::Sound;
use crate::render::machine::wave::{self, Resonator, amplitude, cos, gauss, rms, sin};

/// Added sounds are measured against a recording of this level at least, in steps of 16 bits, so that silence has defects too.
const LEVEL_MIN: f64 = 8.0;
/// Gain in dB of a band at strength 1.
const GAIN_DB: f64 = 15.0;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SoundDefect {
    /// Something strikes again and again and rings.
    Impacts,
    /// A tone with a harmonic, steady or by episodes.
    Tone,
    /// Hissing or rumbling: noise in a band.
    Noise,
    /// A band is louder or quieter than it was.
    Level,
}

impl SoundDefect {
    pub(super) const ALL: [Self; 4] = [Self::Impacts, Self::Tone, Self::Noise, Self::Level];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Impacts => "impacts",
            Self::Tone => "tone",
            Self::Noise => "band_noise",
            Self::Level => "band_level",
        }
    }
}

/// A filter of two poles and two zeros, direct form 1 (R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad
/// filter coefficients").
#[derive(Debug, Clone, Copy)]
struct Biquad {
    /// Divided by `a[0]`.
    b: [f64; 3],
    a: [f64; 2],
    heard: [f64; 2],
    said: [f64; 2],
}

impl Biquad {
    fn new(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|b| b / a[0]), a: [a[1] / a[0], a[2] / a[0]], heard: [0.0; 2], said: [0.0; 2] }
    }

    /// Passes what is about `turn` cycles a sample, with a peak of 0 dB; `quality` is that frequency over the width.
    fn band_pass(turn: f64, quality: f64) -> Self {
        let alpha = sin(turn) / (2.0 * quality);
        Self::new([alpha, 0.0, -alpha], [1.0 + alpha, -2.0 * cos(turn), 1.0 - alpha])
    }

    /// Changes the level of what is about `turn` by `db`.
    fn peaking(turn: f64, quality: f64, db: f64) -> Self {
        let (alpha, root) = (sin(turn) / (2.0 * quality), amplitude(db / 2.0));
        let middle = -2.0 * cos(turn);
        Self::new([1.0 + alpha * root, middle, 1.0 - alpha * root], [1.0 + alpha / root, middle, 1.0 - alpha / root])
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.b[1] * self.heard[0] + self.b[2] * self.heard[1]
            - self.a[0] * self.said[0]
            - self.a[1] * self.said[1];
        self.heard = [x, self.heard[0]];
        self.said = [y, self.said[0]];
        y
    }
}

/// A frequency in cycles a sample, about even in its logarithm over four octaves and more.
fn turn(rng: &mut ChaCha8Rng) -> f64 {
    // 2^-k and up to twice that: from 1/64 to 7/16 of the rate.
    let octave = rng.random_range(2..=6);
    (rng.random_range(1.0..1.75) / f64::from(1 << octave)).min(0.4375)
}

fn impacts(length: usize, rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let period = rng.random_range(0.03..0.4) * rate;
    let mut next = rng.random_range(0.0..period);
    let mut ring = Resonator::new(turn(rng) * rate, rng.random_range(0.001..0.008), rate);
    let strike = |i: usize| {
        let struck = i as f64 >= next;
        if struck {
            // The distance deviates by two hundredths, as rolling elements slip.
            next += period * (1.0 + 0.02 * gauss(rng)).max(0.5);
        }
        ring.next(if struck { 1.0 + 0.2 * gauss(rng) } else { 0.0 })
    };
    (0..length).map(strike).collect()
}

fn tone(length: usize, rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let (turn, harmonic) = (turn(rng) / 2.0, rng.random_range(0.0..0.5));
    // Steady, or on for half of each second or so.
    let episodes = rng.random_bool(0.5).then(|| (rng.random_range(0.5..2.0) * rate, rng.random_range(0.0..1.0)));
    let mut phase: f64 = rng.random_range(0.0..1.0);
    (0..length)
        .map(|i| {
            let on = episodes.is_none_or(|(period, start)| sin(i as f64 / period + start) > 0.0);
            // Its frequency jitters by a thousandth.
            phase += turn * (1.0 + 0.001 * gauss(rng));
            if on { sin(phase) + harmonic * sin(2.0 * phase) } else { 0.0 }
        })
        .collect()
}

fn noise(length: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut filter = Biquad::band_pass(turn(rng), rng.random_range(1.0..6.0));
    (0..length).map(|_| filter.next(gauss(rng))).collect()
}

/// `sound` with a defect of strength above 0 to 1, the same in all channels; none where it has no samples, or too few steps to
/// show it.
pub(super) fn defective(sound: &Sound, kind: SoundDefect, strength: f64, rng: &mut ChaCha8Rng) -> Option<Sound> {
    let channels = usize::from(sound.channels.max(1));
    let length = sound.samples.len() / channels;
    let rate = f64::from(sound.rate);
    let heard: Vec<f64> = sound.samples.iter().map(|&sample| sample.into()).collect();
    let changed = match kind {
        SoundDefect::Level => {
            let (turn, quality) = (turn(rng), rng.random_range(0.7..4.0));
            let db = strength * GAIN_DB * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
            let mut filters = vec![Biquad::peaking(turn, quality, db); channels];
            heard.iter().enumerate().map(|(i, &s)| filters[i % channels].next(s)).collect()
        }
        _ => {
            let added = match kind {
                SoundDefect::Impacts => impacts(length, rate, rng),
                SoundDefect::Tone => tone(length, rate, rng),
                _ => noise(length, rng),
            };
            let own = wave::rms(&added);
            let gain = if own > 0.0 { strength * rms(&heard).max(LEVEL_MIN) / own } else { 0.0 };
            heard.iter().enumerate().map(|(i, s)| s + gain * added[i / channels]).collect::<Vec<f64>>()
        }
    };
    let cut = |sample: &f64| sample.round().clamp(i16::MIN.into(), i16::MAX.into()) as i16;
    let samples: Vec<i16> = changed.iter().map(cut).collect();
    (samples != sound.samples).then_some(Sound { samples, ..*sound })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::baselines::sound::kurtosis;

    /// Noise of one second, about 1000 steps strong, in two channels.
    fn heard() -> Sound {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let samples = (0..16_000).map(|_| (1000.0 * gauss(&mut rng)) as i16).collect();
        Sound { rate: 8000, channels: 2, samples }
    }

    /// What a defect added to the first channel, and to the second, to a step.
    fn added(kind: SoundDefect, strength: f64, seed: u64) -> Vec<f64> {
        let heard = heard();
        let made = defective(&heard, kind, strength, &mut ChaCha8Rng::seed_from_u64(seed)).expect("made");
        let by = made.samples.iter().zip(&heard.samples).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let by: Vec<f64> = by.collect();
        assert!(by.chunks(2).all(|pair| (pair[0] - pair[1]).abs() <= 1.0));
        by.into_iter().step_by(2).collect()
    }

    #[test]
    fn what_is_added_is_as_loud_as_asked() {
        let level = rms(&heard().samples.iter().map(|&s| f64::from(s)).collect::<Vec<_>>());
        for kind in [SoundDefect::Impacts, SoundDefect::Tone, SoundDefect::Noise] {
            for (seed, strength) in [(1, 1.0), (2, 0.3), (3, 0.06)] {
                let ratio = rms(&added(kind, strength, seed)) / level;
                assert!((ratio / strength - 1.0).abs() < 0.02, "{kind:?}: {ratio} {strength}");
            }
        }
    }

    #[test]
    fn impacts_are_spiky_tones_are_not_and_noise_is_narrow() {
        for seed in 0..5 {
            assert!(kurtosis(&added(SoundDefect::Impacts, 1.0, seed)) > 8.0);
            assert!(kurtosis(&added(SoundDefect::Tone, 1.0, seed)) < 4.0);
        }
        let gain = |turn: f64| {
            let mut filter = Biquad::band_pass(0.1, 4.0);
            let out: Vec<f64> = (0..4000).map(|i| filter.next(sin(f64::from(i) * turn))).collect();
            rms(&out[2000..]) / 0.5_f64.sqrt()
        };
        assert!((gain(0.1) - 1.0).abs() < 1e-3 && gain(0.02) < 0.06 && gain(0.4) < 0.06);
    }

    #[test]
    fn a_peak_has_its_gain_at_its_frequency_and_none_far_away() {
        let gain = |turn: f64| {
            let mut filter = Biquad::peaking(0.1, 2.0, 12.0);
            let out: Vec<f64> = (0..4000).map(|i| filter.next(sin(f64::from(i) * turn))).collect();
            rms(&out[2000..]) / 0.5_f64.sqrt()
        };
        assert!((gain(0.1) / amplitude(12.0) - 1.0).abs() < 1e-3, "{}", gain(0.1));
        assert!((gain(0.005) - 1.0).abs() < 0.02 && (gain(0.45) - 1.0).abs() < 0.02);
    }

    #[test]
    fn silence_gets_what_is_added_and_no_other_level() {
        let silence = Sound { rate: 8000, channels: 1, samples: vec![0; 4000] };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(defective(&silence, SoundDefect::Tone, 1.0, &mut rng).is_some());
        assert!(defective(&silence, SoundDefect::Level, 1.0, &mut rng).is_none());
        let loud = Sound { rate: 8000, channels: 1, samples: vec![i16::MAX; 4000] };
        assert!(defective(&loud, SoundDefect::Noise, 1.0, &mut rng).is_some(), "cut, and no overflow");
    }
}
