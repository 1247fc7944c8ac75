//! A motor with a gearbox and a bearing as a microphone in a factory hears it.
//!
//! Everything follows the shaft's turns, whose speed drifts: harmonics of the shaft, the gears' mesh with sidebands a
//! shaft's frequency apart, rolling noise that rings in the housing. The load drifts as well. A fault ([`fault`]) adds
//! a sound of its own. The room ([`wave::Room`]) answers, the factory's noise lies over it at a given ratio, and the
//! microphone's gain is any: the level says nothing.

pub mod fault;
pub mod set;
pub mod stream;
pub mod wave;

pub use fault::{Bearing, FaultKind};
pub use set::{MachineSettings, write_machine_set};
pub use stream::{FaultStream, MachineStream};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use wave::{Drift, Room, amplitude, cos, gauss, pink, rms, sin};

/// One machine in its place: what all clips of it have in common.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Amplitude and phase of each harmonic of the shaft.
    harmonics: Vec<(f64, f64)>,
    /// Teeth of the shaft's gear and of the wheel that it drives.
    teeth: (u32, u32),
    /// Amplitude and phase of each harmonic of the mesh.
    mesh: Vec<(f64, f64)>,
    bearing: Bearing,
    /// Frequency, decay and gain of what rings.
    bearing_modes: Vec<(f64, f64, f64)>,
    case_modes: Vec<(f64, f64, f64)>,
    loose_modes: Vec<(f64, f64, f64)>,
    room: Room,
}

impl Machine {
    /// Draws a machine.
    pub fn draw(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut range = |low: f64, high: f64| rng.random_range(low..high);
        let harmonics = (1..=8).map(|k| (range(0.3, 1.0) / f64::from(k), range(0.0, 1.0))).collect();
        let mesh = (1..=4).map(|k| (range(0.5, 0.8) / f64::from(k), range(0.0, 1.0))).collect();
        let teeth = (range(17.0, 23.99) as u32, range(41.0, 59.99) as u32);
        let bearing =
            Bearing { rollers: range(8.0, 11.99) as u32, ratio: range(0.18, 0.26), cos_contact: range(0.94, 1.0) };
        let bearing_modes = vec![(range(2300.0, 2700.0), 0.0015, 1.0), (range(3000.0, 3500.0), 0.001, 0.6)];
        let case_modes = vec![(range(900.0, 1200.0), 0.006, 1.0), (range(1500.0, 1900.0), 0.004, 0.7)];
        let loose_modes = vec![(range(600.0, 900.0), 0.008, 0.8), (range(2000.0, 2800.0), 0.003, 1.0)];
        Self { harmonics, teeth, mesh, bearing, bearing_modes, case_modes, loose_modes, room: Room::draw(&mut rng) }
    }

    /// Its bearing.
    pub const fn bearing(&self) -> &Bearing {
        &self.bearing
    }

    /// Turns of the driven wheel a turn of the shaft.
    pub fn wheel_order(&self) -> f64 {
        f64::from(self.teeth.0) / f64::from(self.teeth.1)
    }
}

/// How a clip is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recording {
    /// Samples of the clip.
    pub length: usize,
    /// Samples a second.
    pub rate: u32,
    /// Level of the sound machine over the factory's noise, in dB.
    pub snr_db: f64,
}

/// One recorded clip.
#[derive(Debug, Clone)]
pub struct Clip {
    /// 16-bit samples.
    pub samples: Vec<i16>,
    /// Mean speed of the shaft in turns a second.
    pub shaft_hz: f64,
}

/// The generator of one part: what one draws does not move the others.
fn random(seed: u64, part: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(part);
    rng
}

/// Renders a clip of `machine`, with a fault of a kind and severity or without. With and without it the rest is the same
/// but for the gain.
pub fn render(machine: &Machine, seed: u64, recording: &Recording, fault: Option<(FaultKind, f64)>) -> Clip {
    let stream = |number| random(seed, number);
    let rate = f64::from(recording.rate);
    let length = recording.length;
    let mut rng = stream(0);
    let mut shaft = Turns::draw(rate, &mut rng);
    let turns: Vec<f64> = (0..length).map(|_| shaft.next()).collect();
    let running = running(machine, &turns, rate, &mut rng);
    let mut heard = machine.room.hear(&running, rate);
    let loud = rms(&heard);
    if let Some((kind, severity)) = fault {
        let sound = fault::render(kind, machine, &turns, rate, rms(&running), severity, &mut stream(1));
        for (h, f) in heard.iter_mut().zip(machine.room.hear(&sound, rate)) {
            *h += f;
        }
    }
    let noise = factory(length, rate, &mut stream(2));
    let noise_gain = loud / amplitude(recording.snr_db) / rms(&noise).max(f64::MIN_POSITIVE);
    for (h, n) in heard.iter_mut().zip(&noise) {
        *h += noise_gain * n;
    }
    // Any gain, so that the level tells nothing; peaks ten times the root mean square still fit.
    let level = amplitude(stream(3).random_range(-38.0..-20.0)) * 32_767.0;
    let gain = level / rms(&heard).max(f64::MIN_POSITIVE);
    let samples = heard.iter().map(|h| (h * gain).round().clamp(-32_767.0, 32_767.0) as i16).collect();
    let turned = turns.last().copied().unwrap_or(0.0) - turns.first().copied().unwrap_or(0.0);
    Clip { samples, shaft_hz: turned * rate / length.max(2).saturating_sub(1) as f64 }
}

/// The shaft's turns: 24 to 30 a second, drifting by up to one per cent.
#[derive(Debug, Clone)]
struct Turns {
    rate: f64,
    shaft_hz: f64,
    drift: Drift,
    turned: f64,
    index: u64,
}

impl Turns {
    fn draw(rate: f64, rng: &mut ChaCha8Rng) -> Self {
        let shaft_hz = rng.random_range(24.25..29.75);
        let drift = Drift::draw(rng);
        Self { rate, shaft_hz, drift, turned: rng.random_range(0.0..1.0), index: 0 }
    }

    /// The turns at the next sample.
    fn next(&mut self) -> f64 {
        let at = self.index as f64 / self.rate;
        self.index += 1;
        self.turned += self.shaft_hz * (1.0 + 0.01 * self.drift.at(at)) / self.rate;
        self.turned
    }
}

/// The machine without fault, dry.
#[derive(Debug, Clone)]
struct Running {
    rate: f64,
    load: Drift,
    load_depth: f64,
    harmonics: Vec<(f64, f64)>,
    mesh: Vec<(f64, f64)>,
    sideband: f64,
    eccentric: f64,
    /// Level of the rolling noise.
    roll: f64,
    teeth: f64,
    rolling: fault::Ring,
}

impl Running {
    fn draw(machine: &Machine, rate: f64, rng: &mut ChaCha8Rng) -> Self {
        let load = Drift::draw(rng);
        let load_depth = rng.random_range(0.1..0.35);
        // A machine is never twice quite the same: warm or cold, greased or not.
        let mut varied = |parts: &[(f64, f64)]| -> Vec<(f64, f64)> {
            parts.iter().map(|(gain, phase)| (gain * rng.random_range(0.75..1.25), *phase)).collect()
        };
        let (harmonics, mesh) = (varied(&machine.harmonics), varied(&machine.mesh));
        let sideband = rng.random_range(0.15..0.4);
        let eccentric = rng.random_range(0.0..1.0);
        let roll = rng.random_range(0.1..0.25);
        let teeth = f64::from(machine.teeth.0);
        let rolling = fault::Ring::new(&machine.bearing_modes, rate);
        Self { rate, load, load_depth, harmonics, mesh, sideband, eccentric, roll, teeth, rolling }
    }

    /// The next sample of the rolling noise, of any level.
    fn rolling(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        self.rolling.next(gauss(rng))
    }

    /// Sample `index`, at which the shaft has turned `turn` times.
    fn sample(&self, index: u64, turn: f64, rolling: f64, rolling_gain: f64) -> f64 {
        let load = 1.0 + self.load_depth * self.load.at(index as f64 / self.rate);
        let shaft: f64 =
            (self.harmonics.iter().zip(1..)).map(|((gain, phase), k)| gain * sin(f64::from(k) * turn + phase)).sum();
        // Amplitude and phase modulation at the shaft's frequency make the sidebands.
        let swing = cos(turn + self.eccentric);
        let gears: f64 = (self.mesh.iter().zip(1..))
            .map(|((gain, phase), k)| {
                let order = f64::from(k) * self.teeth;
                if order * 31.0 < self.rate / 2.0 { gain * sin(order * turn + phase + 0.02 * swing) } else { 0.0 }
            })
            .sum();
        0.5 * shaft + load * (1.0 + self.sideband * swing) * gears + load * rolling_gain * rolling
    }
}

/// The machine without fault, dry.
fn running(machine: &Machine, turns: &[f64], rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut running = Running::draw(machine, rate, rng);
    let rolling: Vec<f64> = turns.iter().map(|_| running.rolling(rng)).collect();
    let gain = running.roll / rms(&rolling).max(f64::MIN_POSITIVE);
    (turns.iter().zip(rolling).zip(0..)).map(|((turn, rolling), i)| running.sample(i, *turn, rolling, gain)).collect()
}

/// The factory: pinkish noise and, now and then, the tones of other machines.
fn factory(length: usize, rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut noise = pink(length, rate, rng);
    let level = rms(&noise);
    let others = rng.random_range(0..4u32);
    for _ in 0..others {
        let hz = rng.random_range(60.0..1200.0);
        let gain = level * rng.random_range(0.1..0.5);
        let from = rng.random_range(-0.5..0.8) * length as f64;
        let lasting = rng.random_range(0.2..1.2) * length as f64;
        let phase = rng.random_range(0.0..1.0);
        for (i, n) in noise.iter_mut().enumerate() {
            let t = (i as f64 - from) / lasting;
            if (0.0..1.0).contains(&t) {
                // Comes and goes within a tenth of its time.
                let swell = (10.0 * t.min(1.0 - t)).min(1.0);
                let turn = hz * i as f64 / rate + phase;
                *n += gain * swell * (sin(turn) + 0.5 * sin(2.0 * turn) + 0.25 * sin(3.0 * turn));
            }
        }
    }
    noise
}

#[cfg(test)]
mod tests {
    use super::wave::Resonator;
    use super::*;

    const RATE: u32 = 16_000;
    const RECORDING: Recording = Recording { length: 4 * RATE as usize, rate: RATE, snr_db: 6.0 };

    /// Amplitude of `hz` in `samples`.
    fn line(samples: &[f64], hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, s) in samples.iter().enumerate() {
            let turn = hz * i as f64 / f64::from(RATE);
            re += s * cos(turn);
            im += s * sin(turn);
        }
        2.0 * (re * re + im * im).sqrt() / samples.len() as f64
    }

    /// Squared envelope of what rings in `mode`, without its mean and with the clip's level taken out.
    fn envelope(clip: &Clip, (hz, decay, _): (f64, f64, f64)) -> Vec<f64> {
        let mut filter = Resonator::new(hz, decay, f64::from(RATE));
        let mut square: Vec<f64> = clip.samples.iter().map(|s| filter.next(f64::from(*s)).powi(2)).collect();
        let mean = square.iter().sum::<f64>() / square.len() as f64;
        square.iter_mut().for_each(|s| *s = *s / mean - 1.0);
        square
    }

    #[test]
    fn the_envelope_of_a_damaged_race_peaks_at_its_frequency() {
        let machine = Machine::draw(7);
        let bearing = *machine.bearing();
        for (kind, order) in
            [(FaultKind::OuterRace, bearing.outer_order()), (FaultKind::InnerRace, bearing.inner_order())]
        {
            for seed in 0..2 {
                let sound = render(&machine, seed, &RECORDING, None);
                let broken = render(&machine, seed, &RECORDING, Some((kind, 1.0)));
                let (quiet, loud) =
                    (envelope(&sound, machine.bearing_modes[0]), envelope(&broken, machine.bearing_modes[0]));
                let expected = order * broken.shaft_hz;
                // Every quarter of a hertz, between the shaft's first harmonics and the second of the race.
                let scan = |signal: &[f64]| {
                    let hz = (0..).map(|i| 70.0 + 0.25 * f64::from(i)).take_while(|hz| *hz < 1.4 * expected);
                    hz.map(|hz| (line(signal, hz), hz)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
                };
                let (height, peak) = scan(&loud);
                assert!((peak / expected - 1.0).abs() < 0.015, "{kind:?} {seed}: {peak} Hz, not {expected}");
                let around =
                    |signal: &[f64]| (-4..=4).map(|i| line(signal, expected + 0.25 * f64::from(i))).fold(0.0, f64::max);
                assert!(height > 3.0 * around(&quiet), "{kind:?} {seed}: {height} over {}", around(&quiet));
            }
        }
    }

    #[test]
    fn every_fault_changes_the_clip_and_severity_how_much() {
        let machine = Machine::draw(1);
        let unit = |clip: &Clip| -> Vec<f64> {
            let samples: Vec<f64> = clip.samples.iter().map(|s| f64::from(*s)).collect();
            let level = rms(&samples);
            samples.iter().map(|s| s / level).collect()
        };
        let sound = unit(&render(&machine, 5, &RECORDING, None));
        for kind in FaultKind::ALL {
            let change = |severity: f64| {
                let broken = unit(&render(&machine, 5, &RECORDING, Some((kind, severity))));
                let difference: Vec<f64> = sound.iter().zip(&broken).map(|(a, b)| a - b).collect();
                rms(&difference)
            };
            assert!(change(0.5) > 0.05 && change(2.0) > 2.0 * change(0.5), "{kind:?}");
        }
    }

    #[test]
    fn same_seed_same_clip() {
        let machine = Machine::draw(2);
        let short = Recording { length: 8000, ..RECORDING };
        assert_eq!(render(&machine, 3, &short, None).samples, render(&machine, 3, &short, None).samples);
        assert_ne!(render(&machine, 3, &short, None).samples, render(&machine, 4, &short, None).samples);
    }
}
