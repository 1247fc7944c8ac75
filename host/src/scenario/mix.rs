//! From sources and events to what a sensor gives: samples, gaps, cuts of power, in blocks of any length.
//!
//! Everything is computed in f64 by additions, multiplications, divisions and square roots, which IEEE 754 rounds alike
//! everywhere, and is rounded to 16 bits once. So a scenario has the same samples on every PC, and the SHA-256 to show it.

use std::collections::VecDeque;

use anyhow::{Context, ensure};

use super::config::{Event, Happening, Level, Scenario, SensorPlan, Source};
use super::source::Generator;
use crate::render::item_seed;
use crate::render::machine::wave::{cos, sin};

/// Seconds over which a source and what else plays are compared.
const COMPARED_SECONDS: u64 = 10;
/// Samples of a block.
const BLOCK: u64 = 4096;

/// The sources of a sensor, added up.
#[derive(Debug)]
struct Mixer<'s> {
    sources: &'s [Source],
    seeds: Vec<u64>,
    rate: u32,
    at: u64,
    playing: Vec<Option<Generator>>,
    gains: Vec<f64>,
    /// The last sample of each, before gain and fade.
    outputs: Vec<f64>,
}

impl<'s> Mixer<'s> {
    fn new(scenario: &Scenario, sensor: usize, plan: &'s SensorPlan) -> Self {
        let count = plan.sources.len();
        let sensor = item_seed(scenario.seed, sensor as u64);
        let seeds = (0..count).map(|index| item_seed(sensor, index as u64)).collect();
        let playing = std::iter::repeat_with(|| None).take(count).collect();
        let (gains, outputs) = (vec![0.0; count], vec![0.0; count]);
        Self { sources: &plan.sources, seeds, rate: scenario.rate, at: 0, playing, gains, outputs }
    }

    fn fork(&self) -> anyhow::Result<Self> {
        let playing = self.playing.iter().map(|one| one.as_ref().map(Generator::fork).transpose());
        let playing = playing.collect::<anyhow::Result<_>>()?;
        let (seeds, gains, outputs) = (self.seeds.clone(), self.gains.clone(), self.outputs.clone());
        Ok(Self { playing, seeds, gains, outputs, ..*self })
    }

    /// Begins source `index`.
    fn begin(&mut self, index: usize) -> anyhow::Result<()> {
        let source = &self.sources[index];
        let machine = match source.what {
            super::config::What::Fault { of, .. } => self.playing[of].as_ref(),
            _ => None,
        };
        let generator = Generator::new(&source.what, self.seeds[index], self.rate, machine);
        self.playing[index] = Some(generator.with_context(|| source.place.clone())?);
        Ok(())
    }

    /// Begins what begins now and ends what ends; of those that are measured by others only where `measured`.
    fn turn_over(&mut self, measured: bool) -> anyhow::Result<()> {
        for index in 0..self.sources.len() {
            let source = &self.sources[index];
            if source.end() <= self.at {
                self.playing[index] = None;
            }
            if let (Level::Gain(gain), true) = (source.level, source.from == self.at) {
                self.gains[index] = gain;
                self.begin(index)?;
            }
        }
        for index in 0..self.sources.len() {
            let source = &self.sources[index];
            if let (Level::OverOthers(ratio), true, true) = (source.level, source.from == self.at, measured) {
                self.begin(index)?;
                let (own, others) = self.compare(index)?;
                let seconds = self.at as f64 / f64::from(self.rate);
                ensure!(others > 0.0, "{}: snr_db: nothing else plays at {seconds} s", source.place);
                ensure!(own > 0.0, "{}: snr_db: the source is silent at first", source.place);
                self.gains[index] = ratio * others / own;
            }
        }
        Ok(())
    }

    /// Level of source `index` at gain 1 and of all with a gain of their own, over the next seconds.
    fn compare(&self, index: usize) -> anyhow::Result<(f64, f64)> {
        let mut ahead = self.fork()?;
        let count = self.sources[index].length.min(COMPARED_SECONDS * u64::from(self.rate));
        let (mut own, mut others) = (0.0, 0.0);
        for step in 0..count {
            if step > 0 {
                ahead.turn_over(false)?;
            }
            ahead.step()?;
            let sum: f64 = (self.sources.iter().enumerate())
                .filter(|(_, source)| matches!(source.level, Level::Gain(_)))
                .map(|(other, source)| ahead.gains[other] * ahead.fade(source) * ahead.outputs[other])
                .sum();
            own += ahead.outputs[index].powi(2);
            others += sum.powi(2);
            ahead.at += 1;
        }
        let count = count.max(1) as f64;
        Ok(((own / count).sqrt(), (others / count).sqrt()))
    }

    /// A sample of each source that plays.
    fn step(&mut self) -> anyhow::Result<()> {
        for index in 0..self.playing.len() {
            let of = self.playing[index].as_ref().and_then(Generator::of);
            let machine = of.and_then(|of| self.playing[of].as_ref()).and_then(Generator::instant);
            self.outputs[index] = match &mut self.playing[index] {
                Some(generator) => generator.next(machine).with_context(|| self.sources[index].place.clone())?,
                None => 0.0,
            };
        }
        Ok(())
    }

    /// A source's share at this sample, from 0 to 1.
    fn fade(&self, source: &Source) -> f64 {
        let (since, left) = (self.at.saturating_sub(source.from), source.end().saturating_sub(self.at));
        let share = |samples: u64, fade: u64| if samples < fade { samples as f64 / fade as f64 } else { 1.0 };
        share(since, source.fade_in).min(share(left, source.fade_out))
    }

    /// The next sample, and whether a fault sounds in it.
    fn next(&mut self) -> anyhow::Result<(f64, bool)> {
        self.turn_over(true)?;
        self.step()?;
        let (mut sum, mut fault) = (0.0, false);
        for (index, source) in self.sources.iter().enumerate() {
            if self.playing[index].is_some() {
                sum += self.gains[index] * self.fade(source) * self.outputs[index];
                fault |= source.fault;
            }
        }
        self.at += 1;
        Ok((sum, fault))
    }
}

/// Samples to either side that are weighed where a clock drifts.
const SIDE: usize = 16;

/// A sensor whose clock is not the world's: band-limited interpolation, a sine cardinal under Hann's window.
#[derive(Debug)]
struct Resampler {
    /// The samples around the place, and whether a fault sounds in them; none where no clock drifts.
    around: VecDeque<(f64, bool)>,
    /// How far behind the sample in the middle the place is, 0 to below 1.
    behind: f64,
}

impl Resampler {
    /// `drifts` is false where the samples are taken as they are.
    fn new(mixer: &mut Mixer<'_>, drifts: bool) -> anyhow::Result<Self> {
        let mut around = VecDeque::new();
        if drifts {
            around.extend([(0.0, false); SIDE - 1]);
            for _ in 0..=SIDE {
                around.push_back(mixer.next()?);
            }
        }
        Ok(Self { around, behind: 0.0 })
    }

    /// The sample at the place; then the place moves by a sample of a clock that is fast by `ppm`.
    fn next(&mut self, mixer: &mut Mixer<'_>, ppm: f64) -> anyhow::Result<(f64, bool)> {
        if self.around.is_empty() {
            return mixer.next();
        }
        let (middle, fault) = self.around[SIDE - 1];
        let sample = match self.behind > 0.0 {
            false => middle,
            true => {
                // sin(pi x) changes its sign from one sample to the next.
                let wave = sin(self.behind / 2.0) / std::f64::consts::PI;
                (self.around.iter().enumerate())
                    .map(|(index, (sample, _))| {
                        let x = index as f64 - (SIDE - 1) as f64 - self.behind;
                        let sign = if (index + SIDE).is_multiple_of(2) { 1.0 } else { -1.0 };
                        let window = 0.5 + 0.5 * cos(x / (2 * SIDE) as f64);
                        sample * window * sign * wave / x
                    })
                    .sum()
            }
        };
        // A clock that is fast takes its samples closer to each other.
        self.behind += 1.0 / (1.0 + ppm * 1e-6);
        while self.behind >= 1.0 {
            self.behind -= 1.0;
            self.around.pop_front();
            self.around.push_back(mixer.next()?);
        }
        Ok((sample, fault))
    }
}

/// What a sensor gives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// Samples; they are in the block.
    Samples,
    /// So many samples are lost; the monitor is told or not.
    Lost {
        /// How many.
        samples: u64,
        /// The monitor is told.
        told: bool,
    },
    /// The power is off for so many samples, and what the monitor knew is gone.
    PowerCut {
        /// How many samples nobody takes.
        samples: u64,
    },
}

/// A sensor of a scenario, from its first sample to its last.
#[derive(Debug)]
pub struct SensorStream<'s> {
    plan: &'s SensorPlan,
    mixer: Mixer<'s>,
    resampler: Resampler,
    /// Where the sensor is, in samples since the beginning.
    at: u64,
    last: i16,
    /// What was lost since the last block, and is still to be said.
    missing: Option<Item>,
    faults: Vec<(u64, u64)>,
}

impl<'s> SensorStream<'s> {
    /// Sensor number `sensor`.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn new(scenario: &'s Scenario, sensor: usize) -> anyhow::Result<Self> {
        let plan = &scenario.sensors[sensor];
        let mut mixer = Mixer::new(scenario, sensor, plan);
        let drifts = plan.events.iter().any(|event| matches!(event.what, Happening::Drift(_)));
        let resampler = Resampler::new(&mut mixer, drifts)?;
        Ok(Self { plan, mixer, resampler, at: 0, last: 0, missing: None, faults: Vec::new() })
    }

    /// Samples since the beginning that were given or lost.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// When faults sounded so far: first sample and the one behind the last.
    pub fn faults(&self) -> &[(u64, u64)] {
        &self.faults
    }

    /// What is next; samples are put in `block`. `None` at the end.
    ///
    /// # Errors
    /// A file that can't be read, or an `snr_db` over silence.
    pub fn next(&mut self, block: &mut Vec<i16>) -> anyhow::Result<Option<Item>> {
        block.clear();
        while self.at < self.plan.length && (block.len() as u64) < BLOCK {
            let now = self.lost(self.at);
            match (self.missing, now) {
                // Samples come first, then what was lost behind them; cuts end what is lost untold, and so on.
                (None, Some(_)) if !block.is_empty() => return Ok(Some(Item::Samples)),
                (Some(item), now) if !now.is_some_and(|now| same(item, now)) => {
                    self.missing = None;
                    return Ok(Some(item));
                }
                _ => {}
            }
            let sample = self.sample()?;
            match now {
                Some(item) => self.missing = Some(longer(self.missing, item)),
                None => block.push(sample),
            }
            self.at += 1;
            // A cut without duration still is one.
            if self.cut_at(self.at) && self.missing.is_none() {
                self.missing = Some(Item::PowerCut { samples: 0 });
                if !block.is_empty() {
                    return Ok(Some(Item::Samples));
                }
            }
        }
        if !block.is_empty() {
            return Ok(Some(Item::Samples));
        }
        Ok(self.missing.take())
    }

    /// What takes sample `at` away.
    fn lost(&self, at: u64) -> Option<Item> {
        let events = || self.plan.events.iter().filter(|event| event.at(at)).map(|event| event.what);
        if events().any(|what| what == Happening::PowerCut) {
            return Some(Item::PowerCut { samples: 1 });
        }
        let told = |told| Item::Lost { samples: 1, told };
        let found = |wanted| events().any(|what| what == Happening::Drop { told: wanted });
        [true, false].into_iter().find(|wanted| found(*wanted)).map(told)
    }

    fn cut_at(&self, at: u64) -> bool {
        let cut = |event: &&Event| event.what == Happening::PowerCut && event.length == 0;
        self.plan.events.iter().filter(cut).any(|event| event.from == at)
    }

    /// What the sensor would give now, whether it is lost or not.
    fn sample(&mut self) -> anyhow::Result<i16> {
        let going_on = || self.plan.events.iter().filter(|event| event.at(self.at)).map(|event| event.what);
        let ppm = going_on().map(|what| if let Happening::Drift(ppm) = what { ppm } else { 0.0 }).sum();
        let (mut sample, fault) = self.resampler.next(&mut self.mixer, ppm)?;
        for what in going_on() {
            if let Happening::Offset(steps) = what {
                sample += steps;
            }
        }
        for what in going_on() {
            if let Happening::Clip(limit) = what {
                sample = sample.clamp(-limit, limit);
            }
        }
        let mut rounded = sample.round().clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        for what in going_on() {
            if let Happening::Stuck(value) = what {
                rounded = value.unwrap_or(self.last);
            }
        }
        self.last = rounded;
        if fault {
            match self.faults.last_mut() {
                Some((_, end)) if *end == self.at => *end += 1,
                _ => self.faults.push((self.at, self.at + 1)),
            }
        }
        Ok(rounded)
    }
}

fn same(a: Item, b: Item) -> bool {
    match (a, b) {
        (Item::Lost { told: a, .. }, Item::Lost { told: b, .. }) => a == b,
        (Item::PowerCut { .. }, Item::PowerCut { .. }) => true,
        _ => false,
    }
}

fn longer(missing: Option<Item>, item: Item) -> Item {
    match missing {
        Some(Item::Lost { samples, told }) => Item::Lost { samples: samples + 1, told },
        Some(Item::PowerCut { samples }) => Item::PowerCut { samples: samples + 1 },
        Some(Item::Samples) | None => item,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::render::machine::wave::rms;

    /// Samples, what came behind how many of them, and faults.
    type Heard = (Vec<i16>, Vec<(usize, Item)>, Vec<(u64, u64)>);

    fn play(text: &str) -> Heard {
        let scenario = Scenario::parse(text, Path::new("a.toml")).expect("a scenario");
        let mut stream = SensorStream::new(&scenario, 0).expect("a stream");
        let (mut samples, mut items, mut block) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(item) = stream.next(&mut block).expect("plays") {
            samples.extend_from_slice(&block);
            if item != Item::Samples {
                items.push((samples.len(), item));
            }
        }
        assert_eq!(stream.at(), scenario.sensors[0].length);
        (samples, items, stream.faults().to_vec())
    }

    fn level(samples: &[i16]) -> f64 {
        rms(&samples.iter().map(|s| f64::from(*s)).collect::<Vec<_>>())
    }

    const SINE: &str = "rate = 8000\n[[source]]\nsine = 1000\nfor = 2\n";

    #[test]
    fn computed_sources_have_their_level_and_gain() {
        for source in ["sine = 440", "square = 100", "noise = \"white\"", "noise = \"pink\"", "machine = {}"] {
            let (samples, _, faults) =
                play(&format!("rate = 8000\n[[source]]\n{source}\nfor = 10\ngain_db = 6.0206\n"));
            let expected = 2.0 * 32_768.0 * 10f64.powf(-1.5);
            let found = level(&samples) / expected;
            assert!((found - 1.0).abs() < 0.1, "{source}: {found}");
            assert!(faults.is_empty());
        }
        assert!(play("rate = 8000\n[[source]]\nsilence = true\nfor = 1\n").0.iter().all(|s| *s == 0));
        let square = play("rate = 8000\n[[source]]\nsquare = 100\nfor = 1\ngain_db = 60\n").0;
        assert!(square.iter().all(|s| [i16::MIN, i16::MAX].contains(s)));
    }

    #[test]
    fn a_ratio_is_that_of_the_sources_alone() {
        let noise = "rate = 8000\nseed = 5\n[[source]]\nnoise = \"pink\"\nfor = 8\ngain_db = -3\n";
        let over = |snr: i32| {
            format!(
                "{noise}[[source]]\nsine = 700\nfrom = 2\nfor = 6\nfade_in = 1\nsnr_db = {snr}\ntruth = \"fault\"\n"
            )
        };
        let alone = play(noise).0;
        for snr in [-6, 0, 12] {
            let (both, _, faults) = play(&over(snr));
            assert_eq!(faults, [(16_000, 64_000)]);
            assert_eq!(both[..16_000], alone[..16_000]);
            let sine: Vec<i16> = both.iter().zip(&alone).map(|(b, a)| b - a).collect();
            let found = 20.0 * (level(&sine[24_000..]) / level(&alone[16_000..])).log10();
            assert!((found - f64::from(snr)).abs() < 0.2, "{snr}: {found}");
            // Half way of the fade.
            let half = level(&sine[19_500..20_500]) / level(&sine[24_000..]);
            assert!((half - 0.5).abs() < 0.05, "{half}");
        }
    }

    #[test]
    fn a_fault_follows_its_machine_and_what_is_before_it_does_not_change() {
        let machine = "rate = 8000\n[[source]]\nmachine = { seed = 3 }\nfor = 6\n";
        let fault = "[[source]]\nfault = { kind = \"outer_race\" }\nfrom = 3\nfor = 3\nsnr_db = 0\n";
        let (normal, _, _) = play(machine);
        let (broken, _, faults) = play(&format!("{machine}{fault}"));
        assert_eq!(faults, [(24_000, 48_000)]);
        assert_eq!(normal[..24_000], broken[..24_000]);
        let sound: Vec<i16> = broken.iter().zip(&normal).map(|(b, n)| b - n).collect();
        let ratio = level(&sound[24_000..]) / level(&normal[24_000..]);
        assert!((ratio - 1.0).abs() < 0.02, "{ratio}");
    }

    #[test]
    fn an_snr_over_silence_is_refused_with_its_place() {
        let scenario = "rate = 8000\n[[source]]\nsine = 700\nfor = 1\nsnr_db = 3\n";
        let scenario = Scenario::parse(scenario, Path::new("a.toml")).expect("a scenario");
        let mut stream = SensorStream::new(&scenario, 0).expect("a stream");
        let error = stream.next(&mut Vec::new()).expect_err("refused").to_string();
        assert!(error.contains("a.toml:2") && error.contains("nothing else plays"), "{error}");
    }

    #[test]
    fn events_do_what_they_say_and_nothing_else() {
        let with = |event: &str| play(&format!("{SINE}[[event]]\nfrom = 0.5\n{event}\n"));
        let (plain, none, _) = play(SINE);
        assert!(none.is_empty());
        let changed = |samples: &[i16]| {
            assert_eq!((&samples[..4000], &samples[8000..]), (&plain[..4000], &plain[8000..]));
            samples[4000..8000].to_vec()
        };
        assert_eq!(changed(&with("clip_db = -40\nfor = 0.5").0).into_iter().max(), Some(328));
        let offset = changed(&with("offset = 100\nfor = 0.5").0);
        assert!(offset.iter().zip(&plain[4000..]).all(|(o, p)| o - p == 100));
        assert_eq!(changed(&with("stuck = -5\nfor = 0.5").0), [-5; 4000]);
        assert_eq!(changed(&with("stuck = \"last\"\nfor = 0.5").0), [plain[3999]; 4000]);
        for (event, item) in [
            ("drop = 100", Item::Lost { samples: 100, told: true }),
            ("drop = 100\ntold = false", Item::Lost { samples: 100, told: false }),
            ("power_cut = 0.0125", Item::PowerCut { samples: 100 }),
        ] {
            let (samples, items, _) = with(event);
            assert_eq!(items, [(4000, item)], "{event}");
            assert_eq!((&samples[..4000], &samples[4000..]), (&plain[..4000], &plain[4100..]), "{event}");
        }
        let (samples, items, _) = with("power_cut = 0");
        assert_eq!((samples, items), (plain, vec![(4000, Item::PowerCut { samples: 0 })]));
    }

    #[test]
    fn a_clock_that_is_fast_hears_everything_lower() {
        // A tenth fast: 1000 Hz in the world are 909 in the sensor's time.
        let (samples, _, _) = play(&format!("{SINE}[[event]]\nfrom = 0\nfor = 2\ndrift_ppm = 100000\n"));
        let crossings = samples[100..15_000].windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count() as f64;
        let hz = crossings / (14_900.0 / 8000.0);
        assert!((hz - 909.0).abs() < 2.0, "{hz}");
        // It is still a sine: nothing is left when the next two samples say what the second is.
        let turn = 1000.0 / 1.1 / 8000.0;
        let worst = (samples[100..15_000].windows(3))
            .map(|w| (f64::from(w[0]) + f64::from(w[2]) - 2.0 * cos(turn) * f64::from(w[1])).abs())
            .fold(0.0, f64::max);
        assert!(worst < 4.0, "{worst}");
        let still = play(&format!("{SINE}[[event]]\nfrom = 1\nfor = 1\ndrift_ppm = 50\n")).0;
        assert_eq!(still[..8000], play(SINE).0[..8000]);
    }

    #[test]
    fn the_same_seed_plays_the_same() {
        let text = |seed: u32| format!("rate = 8000\nseed = {seed}\n[[source]]\nmachine = {{}}\nfor = 1\n");
        assert_eq!(play(&text(1)).0, play(&text(1)).0);
        assert_ne!(play(&text(1)).0, play(&text(2)).0);
    }
}
