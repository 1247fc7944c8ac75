//! The machine as a sound that goes on for as long as it is listened to, one sample after the other.
//!
//! What a clip normalises by its own level is normalised by the level of the first ten seconds, those of a clip; so a
//! stream begins as a clip of ten seconds does, but for the tones of other machines, and has a gain that is told.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fault::Sound;
use super::wave::{Listener, Pink, amplitude, rms, sin};
use super::{FaultKind, Machine, Running, Turns, random};

/// Seconds that levels are taken from.
const LEVEL_SECONDS: u64 = 10;

/// A sample of a running machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instant {
    /// What the microphone hears, at a level of about 1.
    pub sound: f64,
    /// The shaft's turns at this sample.
    pub turn: f64,
    /// Its turns at the next one.
    pub following: f64,
}

/// A machine without fault in its room and factory. A copy goes on as the original does.
#[derive(Debug, Clone)]
pub struct MachineStream {
    rate: f64,
    index: u64,
    shaft: Turns,
    following: f64,
    rng: ChaCha8Rng,
    running: Running,
    rolling_gain: f64,
    listener: Listener,
    factory: Factory,
    factory_gain: f64,
    /// Level of what runs, before the room.
    dry_level: f64,
    gain: f64,
}

impl MachineStream {
    /// A machine that begins to be heard: at `rate` samples a second, `snr_db` over the factory's noise. The seed decides
    /// its speed and how it is today, as a clip's does.
    pub fn new(machine: &Machine, seed: u64, rate: u32, snr_db: f64) -> Self {
        let rate = f64::from(rate);
        let mut rng = random(seed, 0);
        let mut shaft = Turns::draw(rate, &mut rng);
        let running = Running::draw(machine, rate, &mut rng);
        let following = shaft.next();
        let mut stream = Self {
            rate,
            index: 0,
            shaft,
            following,
            rng,
            running,
            rolling_gain: 0.0,
            listener: machine.room.listen(rate),
            factory: Factory::new(rate, random(seed, 2), random(seed, 4)),
            factory_gain: 0.0,
            dry_level: 0.0,
            gain: 1.0,
        };
        // Each level needs those before it.
        let count = 0..LEVEL_SECONDS * rate as u64;
        let (mut running, mut rng) = (stream.running.clone(), stream.rng.clone());
        let rolling: Vec<f64> = count.clone().map(|_| running.rolling(&mut rng)).collect();
        stream.rolling_gain = stream.running.roll / rms(&rolling).max(f64::MIN_POSITIVE);
        let (mut ahead, mut noise) = (stream.clone(), stream.factory.clone());
        let dry: Vec<f64> = count.clone().map(|_| ahead.dry().0).collect();
        stream.dry_level = rms(&dry);
        let heard: Vec<f64> = dry.iter().map(|dry| ahead.listener.next(*dry)).collect();
        let noise: Vec<f64> = count.map(|_| noise.noise()).collect();
        stream.factory.level = rms(&noise);
        stream.factory_gain = rms(&heard) / amplitude(snr_db) / stream.factory.level.max(f64::MIN_POSITIVE);
        let both: Vec<f64> = heard.iter().zip(&noise).map(|(h, n)| h + stream.factory_gain * n).collect();
        stream.gain = 1.0 / rms(&both).max(f64::MIN_POSITIVE);
        stream
    }

    /// What runs, before the room; with the shaft's turns at this sample and at the next.
    fn dry(&mut self) -> (f64, f64, f64) {
        let turn = std::mem::replace(&mut self.following, self.shaft.next());
        let rolling = self.running.rolling(&mut self.rng);
        let dry = self.running.sample(self.index, turn, rolling, self.rolling_gain);
        self.index += 1;
        (dry, turn, self.following)
    }

    /// The next sample.
    pub fn listen(&mut self) -> Instant {
        let (dry, turn, following) = self.dry();
        let sound = self.listener.next(dry) + self.factory_gain * self.factory.next();
        Instant { sound: self.gain * sound, turn, following }
    }
}

/// The factory's noise and the tones of other machines, which come and go.
#[derive(Debug, Clone)]
struct Factory {
    rate: f64,
    pink: Pink,
    rng: ChaCha8Rng,
    /// Level of the noise, which tones are measured by.
    level: f64,
    index: u64,
    tones: Vec<Tone>,
    tones_rng: ChaCha8Rng,
}

#[derive(Debug, Clone)]
struct Tone {
    hz: f64,
    gain: f64,
    /// When it comes and how long it stays, in seconds.
    from: f64,
    lasting: f64,
    phase: f64,
}

impl Factory {
    fn new(rate: f64, rng: ChaCha8Rng, tones_rng: ChaCha8Rng) -> Self {
        Self { rate, pink: Pink::new(rate), rng, level: 0.0, index: 0, tones: Vec::new(), tones_rng }
    }

    fn noise(&mut self) -> f64 {
        self.pink.next(&mut self.rng)
    }

    fn next(&mut self) -> f64 {
        let at = self.index as f64 / self.rate;
        if self.index.is_multiple_of(LEVEL_SECONDS * self.rate as u64) {
            self.draw(at);
        }
        self.index += 1;
        let mut sum = self.noise();
        for tone in &self.tones {
            let t = (at - tone.from) / tone.lasting;
            if (0.0..1.0).contains(&t) {
                // Comes and goes within a tenth of its time.
                let swell = (10.0 * t.min(1.0 - t)).min(1.0);
                let turn = tone.hz * at + tone.phase;
                sum += tone.gain * swell * (sin(turn) + 0.5 * sin(2.0 * turn) + 0.25 * sin(3.0 * turn));
            }
        }
        sum
    }

    /// Draws the tones of the next ten seconds, about as many as a clip has; forgets those that are over.
    fn draw(&mut self, at: f64) {
        self.tones.retain(|tone| at < tone.from + tone.lasting);
        let rng = &mut self.tones_rng;
        let seconds = LEVEL_SECONDS as f64;
        // Only in the first are there some that had begun before.
        let earliest = if at == 0.0 { -0.5 } else { 0.0 };
        for _ in 0..rng.random_range(0..4u32) {
            let hz = rng.random_range(60.0..1200.0);
            let gain = self.level * rng.random_range(0.1..0.5);
            let from = at + rng.random_range(earliest..1.0) * seconds;
            let lasting = rng.random_range(0.2..1.2) * seconds;
            self.tones.push(Tone { hz, gain, from, lasting, phase: rng.random_range(0.0..1.0) });
        }
    }
}

/// A fault of a machine that runs, in its room.
#[derive(Debug, Clone)]
pub struct FaultStream {
    sound: Sound,
    listener: Listener,
    gain: f64,
}

impl FaultStream {
    /// A fault that begins with the sample that `running` gives next, as loud as `severity` makes it in a clip.
    pub fn new(kind: FaultKind, severity: f64, machine: &Machine, running: &MachineStream, seed: u64) -> Self {
        let rate = running.rate;
        let sound = Sound::new(kind, machine, running.following, rate, LEVEL_SECONDS as f64, random(seed, 1));
        let (mut ahead, mut shaft, mut following) = (sound.clone(), running.shaft.clone(), running.following);
        let count = 0..LEVEL_SECONDS * rate as u64;
        let level: Vec<f64> = count
            .map(|_| {
                let turn = std::mem::replace(&mut following, shaft.next());
                ahead.next(turn, following)
            })
            .collect();
        let gain = running.gain * kind.gain(rms(&level), running.dry_level, severity);
        Self { sound, listener: machine.room.listen(rate), gain }
    }

    /// What the fault adds to a sample of the machine's.
    pub fn next(&mut self, of: &Instant) -> f64 {
        self.listener.next(self.gain * self.sound.next(of.turn, of.following))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::machine::running;

    const RATE: u32 = 8000;

    fn level(samples: impl Iterator<Item = f64>) -> f64 {
        rms(&samples.take(10 * RATE as usize).collect::<Vec<_>>())
    }

    #[test]
    fn a_stream_runs_as_a_clip_of_ten_seconds_and_goes_on() {
        let machine = Machine::draw(7);
        let mut rng = random(5, 0);
        let mut shaft = Turns::draw(RATE.into(), &mut rng);
        let turns: Vec<f64> = (0..10 * RATE).map(|_| shaft.next()).collect();
        let clip = running(&machine, &turns, RATE.into(), &mut rng);
        let mut stream = MachineStream::new(&machine, 5, RATE, 6.0);
        assert!(clip.iter().zip(&turns).all(|(sample, turn)| {
            let (dry, now, _) = stream.dry();
            (dry, now) == (*sample, *turn)
        }));
    }

    #[test]
    fn the_level_stays_about_one_and_a_copy_goes_on_alike() {
        let machine = Machine::draw(3);
        for seed in 0..3 {
            let mut stream = MachineStream::new(&machine, seed, RATE, 6.0);
            for _ in 0..3 {
                let now = level(std::iter::from_fn(|| Some(stream.listen().sound)));
                assert!((0.8..1.25).contains(&now), "{seed}: {now}");
            }
            let mut copy = stream.clone();
            assert!((0..1000).all(|_| stream.listen() == copy.listen()));
        }
    }

    #[test]
    fn a_fault_is_as_loud_beside_the_machine_as_in_a_clip() {
        let machine = Machine::draw(1);
        for kind in FaultKind::ALL {
            let mut running = MachineStream::new(&machine, 2, RATE, 60.0);
            for _ in 0..RATE {
                running.listen();
            }
            let mut fault = FaultStream::new(kind, 1.0, &machine, &running, 9);
            let found = level(std::iter::from_fn(|| Some(fault.next(&running.listen()))));
            // The room answers to a hiss otherwise than to a hum.
            let expected = kind.gain(1.0, 1.0, 1.0);
            assert!((0.4..2.0).contains(&(found / expected)), "{kind:?}: {found}, expected {expected}");
        }
    }
}
