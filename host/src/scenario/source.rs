//! What sounds, sample by sample.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::config::{Colour, What};
use super::wav::Playlist;
use crate::render::item_seed;
use crate::render::machine::stream::Instant;
use crate::render::machine::wave::{Pink, gauss, sin};
use crate::render::machine::{FaultStream, Machine, MachineStream};

/// A source at work. What is computed has a root mean square of about 1; files are in steps of 16 bits.
#[derive(Debug)]
pub(super) enum Generator {
    Silence,
    White(ChaCha8Rng),
    Pink(Pink, ChaCha8Rng),
    /// Turns so far and turns a sample.
    Sine(f64, f64),
    Square(f64, f64),
    Wav(Playlist),
    Machine(Box<(Machine, MachineStream, Option<Instant>)>),
    Fault(Box<FaultStream>, usize),
}

impl Generator {
    /// Source number `index`, whose machine, where it is a fault, is in `others`.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(super) fn new(what: &What, seed: u64, rate: u32, machine: Option<&Self>) -> anyhow::Result<Self> {
        let rng = || ChaCha8Rng::seed_from_u64(seed);
        Ok(match what {
            What::Silence => Self::Silence,
            What::Noise(Colour::White) => Self::White(rng()),
            What::Noise(Colour::Pink) => Self::Pink(Pink::new(rate.into()), rng()),
            What::Sine(hz) => Self::Sine(0.0, hz / f64::from(rate)),
            What::Square(hz) => Self::Square(0.0, hz / f64::from(rate)),
            What::Wav { files, shuffle, crossfade } => {
                Self::Wav(Playlist::new(files, shuffle.then_some(seed), *crossfade)?)
            }
            What::Machine { seed: machine, factory_snr_db } => {
                // The machine of the data set of this seed.
                let machine = Machine::draw(item_seed(*machine, u64::MAX));
                let stream = MachineStream::new(&machine, seed, rate, *factory_snr_db);
                Self::Machine(Box::new((machine, stream, None)))
            }
            What::Fault { kind, severity, of } => match machine {
                Some(Self::Machine(machine)) => {
                    let stream = FaultStream::new(*kind, *severity, &machine.0, &machine.1, seed);
                    Self::Fault(Box::new(stream), *of)
                }
                _ => anyhow::bail!("a fault whose machine does not run"),
            },
        })
    }

    /// One that goes on as this one does.
    ///
    /// # Errors
    /// A file that can't be read any more.
    pub(super) fn fork(&self) -> anyhow::Result<Self> {
        Ok(match self {
            Self::Silence => Self::Silence,
            Self::White(rng) => Self::White(rng.clone()),
            Self::Pink(pink, rng) => Self::Pink(pink.clone(), rng.clone()),
            Self::Sine(turn, step) => Self::Sine(*turn, *step),
            Self::Square(turn, step) => Self::Square(*turn, *step),
            Self::Wav(list) => Self::Wav(list.fork()?),
            Self::Machine(machine) => Self::Machine(machine.clone()),
            Self::Fault(stream, of) => Self::Fault(stream.clone(), *of),
        })
    }

    /// Where it is a fault, the source that it is a fault of.
    pub(super) fn of(&self) -> Option<usize> {
        if let Self::Fault(_, of) = self { Some(*of) } else { None }
    }

    /// Where it is a machine, the sample that it gave last.
    pub(super) fn instant(&self) -> Option<Instant> {
        if let Self::Machine(machine) = self { machine.2 } else { None }
    }

    /// The next sample; `machine` is what the machine of a fault gave.
    ///
    /// # Errors
    /// A file that can't be read.
    pub(super) fn next(&mut self, machine: Option<Instant>) -> anyhow::Result<f64> {
        Ok(match self {
            Self::Silence => 0.0,
            Self::White(rng) => gauss(rng),
            // Five noises of equal power.
            Self::Pink(pink, rng) => pink.next(rng) / 5f64.sqrt(),
            Self::Sine(turn, step) => {
                let sample = std::f64::consts::SQRT_2 * sin(*turn);
                *turn = (*turn + *step).fract();
                sample
            }
            Self::Square(turn, step) => {
                let sample = if *turn < 0.5 { 1.0 } else { -1.0 };
                *turn = (*turn + *step).fract();
                sample
            }
            Self::Wav(list) => list.sample()?,
            Self::Machine(machine) => {
                let instant = machine.1.listen();
                machine.2 = Some(instant);
                instant.sound
            }
            Self::Fault(stream, _) => machine.map_or(0.0, |machine| stream.next(&machine)),
        })
    }
}
