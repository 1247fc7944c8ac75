//! What can be wrong with a rendered machine.
//!
//! A fault adds a sound of its own, made from the shaft's turns so that it follows the speed. Rollers strike a damaged race,
//! and the bearing rings, as often as kinematics says for rolling without slip while the outer race stands still: the
//! ball-pass frequencies BPFO and BPFI, as in R. B. Randall and J. Antoni, "Rolling element bearing diagnostics—A tutorial",
//! Mechanical Systems and Signal Processing 25(2), 485-520, 2011, doi:10.1016/j.ymssp.2010.07.017. In real bearings rollers
//! slip, so that impacts come one or two per cent off, at random; here the distance between two deviates by one per cent.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Machine;
use super::wave::{Resonator, cos, gauss, rms, sin};

/// The kinds of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A spall in the outer race: each roller strikes it with the same force.
    OuterRace,
    /// A spall in the inner race, which the shaft carries through the loaded side.
    InnerRace,
    /// A chipped tooth of the driven gear: one impact a turn of it.
    ChippedTooth,
    /// More at the shaft's own frequency.
    Imbalance,
    /// A slipping belt: episodes of a tone that jitters.
    BeltSqueal,
    /// Something loose that strikes at irregular times.
    LoosePart,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::OuterRace, Self::InnerRace, Self::ChippedTooth, Self::Imbalance, Self::BeltSqueal, Self::LoosePart];

    /// Name as `faults.csv` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OuterRace => "outer_race",
            Self::InnerRace => "inner_race",
            Self::ChippedTooth => "chipped_tooth",
            Self::Imbalance => "imbalance",
            Self::BeltSqueal => "belt_squeal",
            Self::LoosePart => "loose_part",
        }
    }

    /// Level of severity 1 beside the sound machine's, as a ratio of amplitudes.
    const fn share(self) -> f64 {
        match self {
            Self::OuterRace | Self::InnerRace | Self::ChippedTooth => 0.35,
            Self::Imbalance => 0.7,
            Self::BeltSqueal | Self::LoosePart => 0.3,
        }
    }
}

/// A rolling element bearing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bearing {
    /// Number of rollers (n).
    pub rollers: u32,
    /// A roller's diameter over the pitch circle's (d / D).
    pub ratio: f64,
    /// Cosine of the contact angle.
    pub cos_contact: f64,
}

impl Bearing {
    /// Impacts a turn of the shaft when the outer race is damaged: BPFO / f = n/2 (1 - d/D cos a), f being the shaft's
    /// frequency and a the contact angle (Randall and Antoni 2011).
    pub fn outer_order(&self) -> f64 {
        f64::from(self.rollers) / 2.0 * (1.0 - self.ratio * self.cos_contact)
    }

    /// Impacts a turn of the shaft when the inner race is damaged: BPFI / f = n/2 (1 + d/D cos a) (Randall and Antoni 2011).
    pub fn inner_order(&self) -> f64 {
        f64::from(self.rollers) / 2.0 * (1.0 + self.ratio * self.cos_contact)
    }
}

/// The sound of a fault alone, as loud as `severity` makes it beside a machine of level `sound`.
///
/// `turns` counts the shaft's turns at each sample.
pub(super) fn render(
    kind: FaultKind,
    machine: &Machine,
    turns: &[f64],
    rate: f64,
    sound: f64,
    severity: f64,
    rng: &mut ChaCha8Rng,
) -> Vec<f64> {
    let bearing = &machine.bearing;
    let mut samples = match kind {
        FaultKind::OuterRace => {
            let strikes = train(turns, bearing.outer_order(), 0.01, rng, |_| 1.0);
            ring(&strikes, &machine.bearing_modes, rate)
        }
        FaultKind::InnerRace => {
            // Loudest where the load presses, silent on the far side.
            let zone = rng.random_range(0.0..1.0);
            let strikes =
                train(turns, bearing.inner_order(), 0.01, rng, |turn| (0.3 + 0.7 * cos(turn + zone)).max(0.0));
            ring(&strikes, &machine.bearing_modes, rate)
        }
        FaultKind::ChippedTooth => {
            let strikes = train(turns, machine.wheel_order(), 0.0, rng, |_| 1.0);
            ring(&strikes, &machine.case_modes, rate)
        }
        FaultKind::Imbalance => {
            let phase = rng.random_range(0.0..1.0);
            turns.iter().map(|t| sin(t + phase) + 0.15 * sin(2.0 * (t + phase))).collect()
        }
        FaultKind::BeltSqueal => squeal(turns.len(), rate, rng),
        FaultKind::LoosePart => {
            let mut strikes = vec![0.0; turns.len()];
            let mut next = rng.random_range(0.02..0.4);
            while ((next * rate) as usize) < strikes.len() {
                strikes[(next * rate) as usize] += rng.random_range(0.4..1.0);
                // Now and then it bounces.
                next += if rng.random_range(0.0..1.0) < 0.25 {
                    rng.random_range(0.02..0.06)
                } else {
                    rng.random_range(0.15..0.9)
                };
            }
            ring(&strikes, &machine.loose_modes, rate)
        }
    };
    let level = rms(&samples);
    if level > 0.0 {
        let gain = kind.share() * severity * sound / level;
        samples.iter_mut().for_each(|s| *s *= gain);
    }
    samples
}

/// Unit impacts `order` times a turn, each as strong as `force` says of the turn it falls in; `slip` is the random part of
/// the distance between two.
fn train(turns: &[f64], order: f64, slip: f64, rng: &mut ChaCha8Rng, force: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut strikes = vec![0.0; turns.len()];
    let mut next = turns.first().copied().unwrap_or(0.0) + rng.random_range(0.0..1.0) / order;
    for i in 1..turns.len() {
        let (from, to) = (turns[i - 1], turns[i]);
        if next <= to {
            // Between two samples: each gets its part.
            let part = ((next - from) / (to - from)).clamp(0.0, 1.0);
            let strength = force(next);
            strikes[i - 1] += strength * (1.0 - part);
            strikes[i] += strength * part;
            next += (1.0 + slip * gauss(rng)).max(0.5) / order;
        }
    }
    strikes
}

/// What `modes` (frequency, decay, gain) ring when they are struck.
pub(super) fn ring(strikes: &[f64], modes: &[(f64, f64, f64)], rate: f64) -> Vec<f64> {
    let mut out = vec![0.0; strikes.len()];
    for &(hz, decay, gain) in modes {
        let mut mode = Resonator::new(hz, decay, rate);
        for (o, s) in out.iter_mut().zip(strikes) {
            *o += gain * mode.next(*s);
        }
    }
    out
}

/// Episodes of a tone with two overtones whose frequency wanders.
fn squeal(length: usize, rate: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut out = vec![0.0; length];
    let seconds = length as f64 / rate;
    let hz = rng.random_range(900.0..1900.0);
    // The first episode lies within the clip, however short that is.
    let mut start = rng.random_range(0.05..0.4) * seconds;
    while start < seconds {
        let duration = rng.random_range(0.15..0.8);
        let (first, count) = ((start * rate) as usize, (duration * rate) as usize);
        let (mut phase, mut wander) = (0.0, rng.random_range(-0.03..0.03));
        let strength = rng.random_range(0.5..1.0);
        for (i, o) in out.iter_mut().skip(first).take(count).enumerate() {
            wander += 0.0015 * gauss(rng) - 0.002 * wander;
            phase += hz * (1.0 + wander.clamp(-0.15, 0.15)) / rate;
            let t = i as f64 / count as f64;
            let swell = (t * (1.0 - t) * 12.0).min(1.0);
            let mut tone = sin(phase);
            for (overtone, gain) in [(2.0, 0.4), (3.0, 0.2)] {
                if overtone * hz * 1.15 < rate / 2.0 {
                    tone += gain * sin(overtone * phase);
                }
            }
            *o += strength * swell * tone;
        }
        start += duration + rng.random_range(0.3..3.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn bearing_frequencies_of_a_6205() {
        // SKF 6205-2RS JEM, at the drive end in Case Western Reserve's data: 9 balls of 0.3126 in on a circle of 1.537 in.
        // The orders published with them: outer race 3.5848, inner race 5.4152.
        let bearing = Bearing { rollers: 9, ratio: 0.3126 / 1.537, cos_contact: 1.0 };
        assert!((bearing.outer_order() - 3.5848).abs() < 1e-3, "{}", bearing.outer_order());
        assert!((bearing.inner_order() - 5.4152).abs() < 1e-3, "{}", bearing.inner_order());
    }

    #[test]
    fn a_train_strikes_as_often_as_its_order_says() {
        let turns: Vec<f64> = (0..16_000).map(|i| f64::from(i) * 25.0 / 16_000.0).collect();
        let strikes = train(&turns, 3.5, 0.0, &mut ChaCha8Rng::seed_from_u64(3), |_| 1.0);
        // 25 turns of 3.5 impacts.
        assert!((strikes.iter().sum::<f64>() - 87.5).abs() <= 1.0, "{}", strikes.iter().sum::<f64>());
    }
}
