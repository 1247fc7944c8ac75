//! What sounds are made of: sines, decays, resonances, noise, a room.
//!
//! Additions, multiplications, divisions and square roots only, which IEEE 754 rounds the same everywhere; no function of
//! the platform's mathematical library. So a seed gives the same bytes on every machine.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Sine of `turns` full turns, to 1e-9: Taylor's series on a quarter turn.
pub fn sin(turns: f64) -> f64 {
    let t = turns - turns.floor();
    // Fold to a quarter turn either side of zero.
    let t = if t < 0.25 {
        t
    } else if t < 0.75 {
        0.5 - t
    } else {
        t - 1.0
    };
    let x = t * std::f64::consts::TAU;
    let square = x * x;
    let mut term = x;
    let mut sum = x;
    for k in [6.0, 20.0, 42.0, 72.0, 110.0, 156.0] {
        term *= -square / k;
        sum += term;
    }
    sum
}

/// Cosine of `turns` full turns.
pub fn cos(turns: f64) -> f64 {
    sin(turns + 0.25)
}

/// Amplitude of a level in decibels: 10^(db / 20).
pub fn amplitude(db: f64) -> f64 {
    // e^x = (e^(x / 1024))^1024; the series of so small an exponent ends after a few terms.
    let x = db * std::f64::consts::LN_10 / 20.0 / 1024.0;
    let mut e = 1.0 + x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0)));
    for _ in 0..10 {
        e *= e;
    }
    e
}

/// Root of the mean square.
pub fn rms(samples: &[f64]) -> f64 {
    (samples.iter().map(|s| s * s).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

/// About Gaussian, mean 0, variance 1 (Irwin-Hall of four).
pub fn gauss(rng: &mut ChaCha8Rng) -> f64 {
    (0..4).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>() * 1.732_050_807_568_877_2
}

/// A slow wander within `[-1, 1]`: three sines of 0.03 to 0.4 Hz.
#[derive(Debug, Clone, Copy)]
pub struct Drift([(f64, f64); 3]);

impl Drift {
    /// Draws one.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self([(0.03, 0.08), (0.08, 0.2), (0.2, 0.4)].map(|(low, high)| {
            let hz = rng.random_range(low..high);
            (hz, rng.random_range(0.0..1.0))
        }))
    }

    /// Its value after `seconds`.
    pub fn at(&self, seconds: f64) -> f64 {
        self.0.iter().map(|(hz, phase)| sin(hz * seconds + phase)).sum::<f64>() / 3.0
    }
}

/// A mode that rings when it is struck: a two-pole filter.
#[derive(Debug, Clone, Copy)]
pub struct Resonator {
    gain: f64,
    feedback: [f64; 2],
    past: [f64; 2],
}

impl Resonator {
    /// A mode of `hz` whose amplitude falls to about 1/e in `decay` seconds.
    pub fn new(hz: f64, decay: f64, rate: f64) -> Self {
        let radius = (1.0 - 1.0 / (decay * rate)).max(0.0);
        let turn = hz / rate;
        // Struck by a unit impulse it rings with amplitude 1.
        Self { gain: sin(turn), feedback: [2.0 * radius * cos(turn), -radius * radius], past: [0.0; 2] }
    }

    /// The next sample, given what strikes it.
    pub fn next(&mut self, strike: f64) -> f64 {
        let out = self.gain * strike + self.feedback[0] * self.past[0] + self.feedback[1] * self.past[1];
        self.past = [out, self.past[0]];
        out
    }
}

/// Pinkish noise: five low-passed noises of equal power, two octaves apart.
#[derive(Debug, Clone)]
pub struct Pink {
    poles: [(f64, f64); 5],
    state: [f64; 5],
}

impl Pink {
    /// Noise that begins.
    pub fn new(rate: f64) -> Self {
        let poles = [20.0, 80.0, 320.0, 1280.0, 5120.0].map(|hz: f64| {
            let a = (std::f64::consts::TAU * hz / rate).min(1.0);
            (a, ((2.0 - a) / a).sqrt())
        });
        Self { poles, state: [0.0; 5] }
    }

    /// The next sample.
    pub fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let mut sum = 0.0;
        for (y, (a, scale)) in self.state.iter_mut().zip(self.poles) {
            *y += a * (gauss(rng) - *y);
            sum += *y * scale;
        }
        sum
    }
}

/// [`Pink`] noise of `length` samples.
pub fn pink(length: usize, rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut noise = Pink::new(rate);
    (0..length).map(|_| noise.next(rng)).collect()
}

/// A small room: early reflections from taps of a delay line (J. A. Moorer, "About this reverberation business", Computer
/// Music Journal 3(2), 1979), and beside them four parallel comb filters, the first half of the reverberator of M. R.
/// Schroeder, "Natural sounding artificial reverberation", Journal of the Audio Engineering Society 10(3), 1962. His
/// all-passes, which make echoes denser, are left out: what is heard is noise and rings by itself.
#[derive(Debug, Clone)]
pub struct Room {
    /// Delay in seconds and gain of each early reflection.
    early: Vec<(f64, f64)>,
    /// Delay in seconds and feedback of each comb.
    combs: Vec<(f64, f64)>,
    tail: f64,
}

impl Room {
    /// Draws a room.
    pub fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut range = |low: f64, high: f64| rng.random_range(low..high);
        // A wall is 0.7 to 4 m behind the machine: there and back at 343 m/s.
        let early = (0..5).map(|_| (range(0.004, 0.025), range(-0.3, 0.3))).collect();
        // The reverberation falls by 60 dB in this time: a comb's feedback is 10^(-3 delay / time). The longest delay is
        // about 1.5 times the shortest, as Schroeder asks; each room has its own, 10 % around them.
        let time = range(0.2, 0.35);
        let combs = [0.0297, 0.0371, 0.0411, 0.0437]
            .map(|delay| {
                let delay = delay * range(0.9, 1.1);
                (delay, amplitude(-60.0 * delay / time))
            })
            .to_vec();
        Self { early, combs, tail: range(0.06, 0.12) }
    }

    /// A listener in the room, which is silent.
    pub fn listen(&self, rate: f64) -> Listener {
        let early: Vec<_> = self.early.iter().map(|(delay, gain)| ((delay * rate) as usize, *gain)).collect();
        let longest = early.iter().map(|(delay, _)| *delay).max().unwrap_or(0);
        let combs = self.combs.iter().map(|(delay, feedback)| {
            let line = vec![0.0; ((delay * rate) as usize).max(1)];
            (line, 0, *feedback)
        });
        Listener { past: vec![0.0; longest + 1], now: 0, early, combs: combs.collect(), tail: self.tail }
    }

    /// What is heard of `dry` in the room.
    pub fn hear(&self, dry: &[f64], rate: f64) -> Vec<f64> {
        let mut listener = self.listen(rate);
        dry.iter().map(|d| listener.next(*d)).collect()
    }
}

/// Someone in a [`Room`]: what still rings in it.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The last dry samples, a ring, and where the next goes.
    past: Vec<f64>,
    now: usize,
    /// Delay in samples and gain of each early reflection.
    early: Vec<(usize, f64)>,
    /// Delay line, place in it and feedback of each comb.
    combs: Vec<(Vec<f64>, usize, f64)>,
    tail: f64,
}

impl Listener {
    /// What is heard of the next sample and of those before it.
    pub fn next(&mut self, dry: f64) -> f64 {
        let length = self.past.len();
        self.past[self.now] = dry;
        let mut wet = dry;
        for (delay, gain) in &self.early {
            wet += gain * self.past[(self.now + length - delay) % length];
        }
        self.now = (self.now + 1) % length;
        for (line, place, feedback) in &mut self.combs {
            let echo = line[*place];
            line[*place] = dry + *feedback * echo;
            *place = (*place + 1) % line.len();
            wet += self.tail * echo;
        }
        wet
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn sines_and_decibels_are_those_of_mathematics() {
        for i in -2000..2000 {
            let turns = f64::from(i) * 0.00173;
            assert!((sin(turns) - (turns * std::f64::consts::TAU).sin()).abs() < 1e-9, "{turns}");
        }
        for db in [-60.0, -6.0, 0.0, 20.0] {
            assert!((amplitude(db) / 10f64.powf(db / 20.0) - 1.0).abs() < 1e-9, "{db}");
        }
    }

    #[test]
    fn a_struck_mode_rings_at_its_frequency_and_decays() {
        let mut mode = Resonator::new(1000.0, 0.002, 16_000.0);
        let ring: Vec<f64> = (0..320).map(|i| mode.next(if i == 0 { 1.0 } else { 0.0 })).collect();
        // A period is 16 samples: a zero crossing upwards every 16th.
        let crossings = ring.windows(2).take(160).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
        assert!((9..=10).contains(&crossings), "{crossings}");
        let peak = |part: &[f64]| part.iter().fold(0.0f64, |a, s| a.max(s.abs()));
        let fall = peak(&ring[32..48]) / peak(&ring[..16]);
        // One decay time later.
        assert!((0.3..0.42).contains(&fall), "{fall}");
    }

    #[test]
    fn pink_noise_has_more_below_than_above() {
        let noise = pink(16_000, 16_000.0, &mut ChaCha8Rng::seed_from_u64(1));
        let slope: Vec<f64> = noise.windows(2).map(|w| w[1] - w[0]).collect();
        // White noise would give the square root of two.
        assert!(rms(&slope) < 0.9 * rms(&noise), "{} {}", rms(&slope), rms(&noise));
    }
}
