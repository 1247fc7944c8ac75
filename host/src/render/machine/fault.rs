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

    /// What brings a fault of level `level` to where `severity` puts it beside a machine of level `sound`.
    pub(super) fn gain(self, level: f64, sound: f64, severity: f64) -> f64 {
        if level > 0.0 { self.share() * severity * sound / level } else { 1.0 }
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
    let seconds = turns.len() as f64 / rate;
    let mut source = Sound::new(kind, machine, turns.first().copied().unwrap_or(0.0), rate, seconds, rng.clone());
    let following = turns.iter().skip(1).chain(turns.last());
    let mut samples: Vec<f64> = turns.iter().zip(following).map(|(turn, next)| source.next(*turn, *next)).collect();
    let gain = kind.gain(rms(&samples), sound, severity);
    samples.iter_mut().for_each(|s| *s *= gain);
    samples
}

/// A fault that sounds, sample by sample; its level is any.
#[derive(Debug, Clone)]
pub(super) struct Sound {
    rng: ChaCha8Rng,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Race { train: Train, zone: Option<f64>, ring: Ring },
    Tooth { train: Train, ring: Ring },
    Imbalance { phase: f64 },
    Squeal(Squeal),
    Loose { index: u64, next: f64, rate: f64, ring: Ring },
}

impl Sound {
    /// A fault that begins when the shaft has turned `turn` times. The first of a belt's episodes lies within `seconds`.
    pub(super) fn new(
        kind: FaultKind,
        machine: &Machine,
        turn: f64,
        rate: f64,
        seconds: f64,
        mut rng: ChaCha8Rng,
    ) -> Self {
        let bearing = &machine.bearing;
        let source = match kind {
            FaultKind::OuterRace => {
                let train = Train::new(turn, bearing.outer_order(), 0.01, &mut rng);
                Source::Race { train, zone: None, ring: Ring::new(&machine.bearing_modes, rate) }
            }
            FaultKind::InnerRace => {
                // Loudest where the load presses, silent on the far side.
                let zone = Some(rng.random_range(0.0..1.0));
                let train = Train::new(turn, bearing.inner_order(), 0.01, &mut rng);
                Source::Race { train, zone, ring: Ring::new(&machine.bearing_modes, rate) }
            }
            FaultKind::ChippedTooth => {
                let train = Train::new(turn, machine.wheel_order(), 0.0, &mut rng);
                Source::Tooth { train, ring: Ring::new(&machine.case_modes, rate) }
            }
            FaultKind::Imbalance => Source::Imbalance { phase: rng.random_range(0.0..1.0) },
            FaultKind::BeltSqueal => Source::Squeal(Squeal::new(rate, seconds, &mut rng)),
            FaultKind::LoosePart => {
                let next = rng.random_range(0.02..0.4);
                Source::Loose { index: 0, next, rate, ring: Ring::new(&machine.loose_modes, rate) }
            }
        };
        Self { rng, source }
    }

    /// The next sample, at which the shaft has turned `turn` times, and `following` times at the one behind it.
    pub(super) fn next(&mut self, turn: f64, following: f64) -> f64 {
        let rng = &mut self.rng;
        match &mut self.source {
            Source::Race { train, zone, ring } => {
                let force = |turn: f64| zone.map_or(1.0, |zone| (0.3 + 0.7 * cos(turn + zone)).max(0.0));
                ring.next(train.next(turn, following, rng, force))
            }
            Source::Tooth { train, ring } => ring.next(train.next(turn, following, rng, |_| 1.0)),
            Source::Imbalance { phase } => sin(turn + *phase) + 0.15 * sin(2.0 * (turn + *phase)),
            Source::Squeal(squeal) => squeal.next(rng),
            Source::Loose { index, next, rate, ring } => {
                let mut strike = 0.0;
                if (*next * *rate) as u64 == *index {
                    strike = rng.random_range(0.4..1.0);
                    // Now and then it bounces.
                    *next += if rng.random_range(0.0..1.0) < 0.25 {
                        rng.random_range(0.02..0.06)
                    } else {
                        rng.random_range(0.15..0.9)
                    };
                }
                *index += 1;
                ring.next(strike)
            }
        }
    }
}

/// Unit impacts `order` times a turn, each as strong as a force says of the turn it falls in; `slip` is the random part of
/// the distance between two.
#[derive(Debug, Clone)]
struct Train {
    order: f64,
    slip: f64,
    next: f64,
    /// What the last impact left for this sample.
    rest: f64,
}

impl Train {
    fn new(turn: f64, order: f64, slip: f64, rng: &mut ChaCha8Rng) -> Self {
        Self { order, slip, next: turn + rng.random_range(0.0..1.0) / order, rest: 0.0 }
    }

    fn next(&mut self, from: f64, to: f64, rng: &mut ChaCha8Rng, force: impl Fn(f64) -> f64) -> f64 {
        let mut strike = std::mem::take(&mut self.rest);
        if self.next <= to {
            // Between two samples: each gets its part.
            let part = ((self.next - from) / (to - from)).clamp(0.0, 1.0);
            let strength = force(self.next);
            strike += strength * (1.0 - part);
            self.rest = strength * part;
            self.next += (1.0 + self.slip * gauss(rng)).max(0.5) / self.order;
        }
        strike
    }
}

/// What `modes` (frequency, decay, gain) ring when they are struck.
#[derive(Debug, Clone)]
pub(super) struct Ring(Vec<(Resonator, f64)>);

impl Ring {
    pub(super) fn new(modes: &[(f64, f64, f64)], rate: f64) -> Self {
        Self(modes.iter().map(|&(hz, decay, gain)| (Resonator::new(hz, decay, rate), gain)).collect())
    }

    pub(super) fn next(&mut self, strike: f64) -> f64 {
        self.0.iter_mut().fold(0.0, |sum, (mode, gain)| sum + *gain * mode.next(strike))
    }
}

/// Episodes of a tone with two overtones whose frequency wanders.
#[derive(Debug, Clone)]
struct Squeal {
    rate: f64,
    hz: f64,
    index: u64,
    start: f64,
    episode: Option<Episode>,
}

#[derive(Debug, Clone)]
struct Episode {
    first: u64,
    count: u64,
    duration: f64,
    phase: f64,
    wander: f64,
    strength: f64,
}

impl Squeal {
    fn new(rate: f64, seconds: f64, rng: &mut ChaCha8Rng) -> Self {
        let hz = rng.random_range(900.0..1900.0);
        // The first episode lies within the clip, however short that is.
        let start = rng.random_range(0.05..0.4) * seconds;
        Self { rate, hz, index: 0, start, episode: None }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let index = self.index;
        self.index += 1;
        let rate = self.rate;
        if self.episode.is_none() && index >= (self.start * rate) as u64 {
            let duration = rng.random_range(0.15..0.8);
            let (first, count) = ((self.start * rate) as u64, (duration * rate) as u64);
            let wander = rng.random_range(-0.03..0.03);
            let strength = rng.random_range(0.5..1.0);
            self.episode = Some(Episode { first, count, duration, phase: 0.0, wander, strength });
        }
        let Some(episode) = &mut self.episode else { return 0.0 };
        let i = index - episode.first;
        episode.wander += 0.0015 * gauss(rng) - 0.002 * episode.wander;
        episode.phase += self.hz * (1.0 + episode.wander.clamp(-0.15, 0.15)) / rate;
        let t = i as f64 / episode.count as f64;
        let swell = (t * (1.0 - t) * 12.0).min(1.0);
        let mut tone = sin(episode.phase);
        for (overtone, gain) in [(2.0, 0.4), (3.0, 0.2)] {
            if overtone * self.hz * 1.15 < rate / 2.0 {
                tone += gain * sin(overtone * episode.phase);
            }
        }
        let sample = episode.strength * swell * tone;
        if i + 1 >= episode.count {
            self.start += episode.duration + rng.random_range(0.3..3.0);
            self.episode = None;
        }
        sample
    }
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
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut train = Train::new(0.0, 3.5, 0.0, &mut rng);
        let sum: f64 = turns.windows(2).map(|pair| train.next(pair[0], pair[1], &mut rng, |_| 1.0)).sum();
        // 25 turns of 3.5 impacts.
        assert!((sum - 87.5).abs() <= 1.0, "{sum}");
    }
}
