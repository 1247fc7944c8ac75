//! A scenario's file: TOML, checked, every time turned to samples. An error names the file, the line and the key.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use toml::Spanned;

use super::wav;
use crate::render::machine::FaultKind;
use crate::render::machine::wave::amplitude;

/// Root mean square of what is made by computation where its gain is 0 dB, in dB of full scale.
pub const LEVEL_DB: f64 = -30.0;
/// Full scale of a sample.
pub const FULL_SCALE: f64 = 32_768.0;
/// Longest scenario in seconds: a month.
const SECONDS_MAX: f64 = 31.0 * 86_400.0;

/// A checked scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Samples a second.
    pub rate: u32,
    /// Decides everything random.
    pub seed: u64,
    /// How long after a fault's end an alarm still counts as its own, in seconds; by default the model's memory.
    pub grace: Option<f64>,
    /// The sensors, at least one.
    pub sensors: Vec<SensorPlan>,
    /// What must come of it.
    pub asserts: Vec<Assert>,
}

/// What a sensor hears and what happens to it.
#[derive(Debug, Clone)]
pub struct SensorPlan {
    /// Its name.
    pub name: String,
    /// Samples that it takes, lost ones included.
    pub length: u64,
    /// What it hears.
    pub sources: Vec<Source>,
    /// What happens to it.
    pub events: Vec<Event>,
}

/// Something that sounds for a time.
#[derive(Debug, Clone)]
pub struct Source {
    /// What.
    pub what: What,
    /// First sample.
    pub from: u64,
    /// Number of samples.
    pub length: u64,
    /// Samples of its rise.
    pub fade_in: u64,
    /// Samples of its fall.
    pub fade_out: u64,
    /// How loud.
    pub level: Level,
    /// Whether an alarm is right while it sounds.
    pub fault: bool,
    /// Where it stands, for errors.
    pub place: String,
}

impl Source {
    /// The sample behind its last.
    pub fn end(&self) -> u64 {
        self.from.saturating_add(self.length)
    }
}

/// How loud a source is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    /// A factor of its own level.
    Gain(f64),
    /// Its root mean square over that of all that plays and has no level of this kind.
    OverOthers(f64),
}

/// What sounds.
#[derive(Debug, Clone)]
pub enum What {
    /// Nothing.
    Silence,
    /// Noise.
    Noise(Colour),
    /// A sine of so many Hz.
    Sine(f64),
    /// A square wave of so many Hz.
    Square(f64),
    /// Files, again and again.
    Wav {
        /// In the order of their names.
        files: Vec<PathBuf>,
        /// In another order each time.
        shuffle: bool,
        /// Samples that two files overlap by.
        crossfade: u64,
    },
    /// The rendered machine, normal.
    Machine {
        /// As of `neji data machine`.
        seed: u64,
        /// Over the factory's noise.
        factory_snr_db: f64,
    },
    /// A fault of the machine that is source number `of`.
    Fault {
        /// What is wrong.
        kind: FaultKind,
        /// 1 is that of the test clips of `neji data machine`.
        severity: f64,
        /// Index of a source.
        of: usize,
    },
}

/// Colour of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// All frequencies alike.
    White,
    /// All octaves alike.
    Pink,
}

/// Something that happens to a sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// What.
    pub what: Happening,
    /// First sample.
    pub from: u64,
    /// Number of samples.
    pub length: u64,
}

impl Event {
    /// Whether it is going on at a sample.
    pub fn at(&self, sample: u64) -> bool {
        sample >= self.from && sample - self.from < self.length
    }
}

/// What happens to a sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happening {
    /// Samples beyond this many steps are cut off.
    Clip(f64),
    /// Samples are lost; the monitor is told, or not.
    Drop {
        /// The monitor is told.
        told: bool,
    },
    /// The same value again and again: this one, or the last.
    Stuck(Option<i16>),
    /// The sensor's clock runs faster by so many millionths.
    Drift(f64),
    /// Steps are added.
    Offset(f64),
    /// The device is without power and then begins anew.
    PowerCut,
}

impl Happening {
    /// One word for people and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clip(_) => "clip",
            Self::Drop { told: true } => "drop",
            Self::Drop { told: false } => "drop_untold",
            Self::Stuck(_) => "stuck",
            Self::Drift(_) => "drift",
            Self::Offset(_) => "offset",
            Self::PowerCut => "power_cut",
        }
    }
}

/// Something that must be so.
#[derive(Debug, Clone, PartialEq)]
pub struct Assert {
    /// As it stands in the file.
    pub text: String,
    /// Index of the sensor; all where there is none.
    pub sensor: Option<usize>,
    /// What.
    pub claim: Claim,
}

/// What must be so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Claim {
    /// The alarm rises within so many seconds after a time.
    Alarm(Within),
    /// It does not rise before.
    NoAlarmBefore(f64),
    /// At most so many alarms without a fault in an hour without a fault.
    FalseAlarmsPerHour(f64),
    /// At most so many faults without an alarm.
    MissedFaults(u64),
    /// So many seconds after a fault's end at the latest the alarm is off.
    AlarmEndsWithin(f64),
    /// The sensor is found to be at fault within so many seconds after a time.
    SensorFault(Within),
    /// At most so many verdicts say that the sensor is at fault.
    SensorFaults(u64),
    /// All scores of a time lie below.
    ScoreBelow(Scores),
    /// All scores of a time lie above.
    ScoreAbove(Scores),
    /// At most so many samples found the board's buffer full.
    Overruns(u64),
    /// The board spends at most this share of its clock.
    ClockShare(f64),
}

/// Within so many seconds after a time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// Seconds.
    pub within: f64,
    /// Seconds since the beginning.
    #[serde(default)]
    pub after: f64,
}

/// Scores of a time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// In the units of `neji eval`.
    #[serde(default)]
    pub score: Option<f64>,
    /// In thresholds of the model.
    #[serde(default)]
    pub thresholds: Option<f64>,
    /// Seconds since the beginning.
    #[serde(default)]
    pub from: f64,
    /// Seconds since the beginning.
    #[serde(default = "forever")]
    pub to: f64,
}

fn forever() -> f64 {
    f64::INFINITY
}

fn default_seed() -> u64 {
    1
}

fn default_crossfade() -> f64 {
    0.01
}

fn default_factory() -> f64 {
    6.0
}

fn default_machine() -> u64 {
    7
}

fn default_severity() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rate: Spanned<u32>,
    #[serde(default = "default_seed")]
    seed: u64,
    seconds: Option<Spanned<f64>>,
    grace: Option<Spanned<f64>>,
    #[serde(default)]
    source: Vec<Spanned<SourceTable>>,
    #[serde(default)]
    event: Vec<Spanned<EventTable>>,
    #[serde(default)]
    sensor: Vec<Spanned<SensorTable>>,
    #[serde(default)]
    assert: Vec<Spanned<AssertTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SensorTable {
    name: Spanned<String>,
    seconds: Option<Spanned<f64>>,
    #[serde(default)]
    source: Vec<Spanned<SourceTable>>,
    #[serde(default)]
    event: Vec<Spanned<EventTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    wav: Option<Spanned<PathBuf>>,
    silence: Option<Spanned<bool>>,
    noise: Option<Spanned<Colour>>,
    sine: Option<Spanned<f64>>,
    square: Option<Spanned<f64>>,
    machine: Option<Spanned<MachineTable>>,
    fault: Option<Spanned<FaultTable>>,
    shuffle: Option<Spanned<bool>>,
    crossfade: Option<Spanned<f64>>,
    from: Option<Spanned<f64>>,
    #[serde(rename = "for")]
    lasting: Option<Spanned<f64>>,
    fade_in: Option<Spanned<f64>>,
    fade_out: Option<Spanned<f64>>,
    gain_db: Option<Spanned<f64>>,
    snr_db: Option<Spanned<f64>>,
    truth: Option<Truth>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineTable {
    #[serde(default = "default_machine")]
    seed: u64,
    #[serde(default = "default_factory")]
    factory_snr_db: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultTable {
    kind: Spanned<String>,
    #[serde(default = "default_severity")]
    severity: f64,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Truth {
    Normal,
    Fault,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventTable {
    from: Spanned<f64>,
    #[serde(rename = "for")]
    lasting: Option<Spanned<f64>>,
    clip_db: Option<Spanned<f64>>,
    drop: Option<Spanned<u64>>,
    #[serde(default = "yes")]
    told: bool,
    stuck: Option<Spanned<Stuck>>,
    drift_ppm: Option<Spanned<f64>>,
    offset: Option<Spanned<f64>>,
    power_cut: Option<Spanned<f64>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged, expecting = "a value of 16 bits, or \"last\"")]
enum Stuck {
    At(i16),
    Word(Last),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Last {
    Last,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssertTable {
    sensor: Option<Spanned<String>>,
    alarm: Option<Spanned<Within>>,
    no_alarm_before: Option<Spanned<f64>>,
    false_alarms_per_hour: Option<Spanned<f64>>,
    missed_faults: Option<Spanned<u64>>,
    alarm_ends_within: Option<Spanned<f64>>,
    sensor_fault: Option<Spanned<Within>>,
    sensor_faults: Option<Spanned<u64>>,
    score_below: Option<Spanned<Scores>>,
    score_above: Option<Spanned<Scores>>,
    overruns: Option<Spanned<u64>>,
    clock_share: Option<Spanned<f64>>,
}

/// The file's text, to say where in it something stands.
struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    folder: &'t Path,
    rate: u32,
}

impl Scenario {
    /// Reads a scenario; paths in it are relative to its folder.
    ///
    /// # Errors
    /// A file that can't be read or that says what it can't: the message names file, line and key.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("reading {}: give a scenario, such as configs/scenarios/machine.toml", path.display())
        })?;
        Self::parse(&text, path)
    }

    /// The scenario of `text`, which was read from `path`.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let rate = *file.rate.get_ref();
        let reader = Reader { path, text, folder, rate };
        if !(1000..=192_000).contains(&rate) {
            return Err(reader.error(&file.rate, "rate", format!("{rate}: 1000 to 192000 samples a second")));
        }
        let grace = file.grace.as_ref().map(|grace| reader.seconds(grace, "grace")).transpose()?;
        let mut sensors = Vec::new();
        if let Some(first) = file.sensor.first() {
            if !file.source.is_empty() || !file.event.is_empty() || file.seconds.is_some() {
                return Err(reader.error(first, "sensor", "sources, events and `seconds` then belong to the sensors"));
            }
            for sensor in &file.sensor {
                let table = sensor.get_ref();
                let name = table.name.get_ref();
                if name.is_empty() || sensors.iter().any(|other: &SensorPlan| other.name == *name) {
                    return Err(reader.error(&table.name, "name", "each sensor has a name of its own"));
                }
                sensors.push(reader.sensor(name, table.seconds.as_ref(), &table.source, &table.event)?);
            }
        } else {
            sensors.push(reader.sensor("sensor", file.seconds.as_ref(), &file.source, &file.event)?);
        }
        let asserts = file.assert.iter().map(|table| reader.assert(table, &sensors)).collect::<anyhow::Result<_>>()?;
        Ok(Self { rate, seed: file.seed, grace, sensors, asserts })
    }
}

impl Reader<'_> {
    fn error<T>(&self, at: &Spanned<T>, key: &str, problem: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: {key}: {problem}", self.place(at.span()))
    }

    fn place(&self, span: Range<usize>) -> String {
        let line = 1 + self.text.get(..span.start).unwrap_or_default().matches('\n').count();
        format!("{}:{line}", self.path.display())
    }

    /// A time in seconds, not negative.
    fn seconds(&self, at: &Spanned<f64>, key: &str) -> anyhow::Result<f64> {
        let seconds = *at.get_ref();
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(self.error(at, key, format!("{seconds}: 0 to {SECONDS_MAX} seconds")));
        }
        Ok(seconds)
    }

    /// A time in samples.
    fn samples(&self, at: &Spanned<f64>, key: &str) -> anyhow::Result<u64> {
        Ok((self.seconds(at, key)? * f64::from(self.rate)).round() as u64)
    }

    fn in_range(
        &self,
        at: &Spanned<f64>,
        key: &str,
        range: std::ops::RangeInclusive<f64>,
        unit: &str,
    ) -> anyhow::Result<f64> {
        let value = *at.get_ref();
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            return Err(self.error(at, key, format!("{value}: {low} to {high} {unit}")));
        }
        Ok(value)
    }

    fn sensor(
        &self,
        name: &str,
        seconds: Option<&Spanned<f64>>,
        sources: &[Spanned<SourceTable>],
        events: &[Spanned<EventTable>],
    ) -> anyhow::Result<SensorPlan> {
        let mut plan = SensorPlan { name: name.to_owned(), length: 0, sources: Vec::new(), events: Vec::new() };
        for table in sources {
            let source = self.source(table, &plan.sources)?;
            plan.sources.push(source);
        }
        if plan.sources.is_empty() {
            bail!("{}: {name} has nothing to hear: add a [[source]]", self.path.display());
        }
        let end = plan.sources.iter().map(Source::end).max().unwrap_or(0);
        plan.length = match seconds {
            Some(seconds) => self.samples(seconds, "seconds")?,
            None => end,
        };
        if plan.length == 0 {
            bail!("{}: {name} hears for no time at all", self.path.display());
        }
        plan.events = events.iter().map(|table| self.event(table)).collect::<anyhow::Result<_>>()?;
        Ok(plan)
    }

    fn source(&self, at: &Spanned<SourceTable>, before: &[Source]) -> anyhow::Result<Source> {
        let table = at.get_ref();
        let from = match &table.from {
            Some(from) => self.samples(from, "from")?,
            None => before.last().map_or(0, Source::end),
        };
        let mut length = table.lasting.as_ref().map(|lasting| self.samples(lasting, "for")).transpose()?;
        if length == Some(0) {
            return Err(self.error(at, "for", "0: a source that never sounds"));
        }
        let frequency = |hz: &Spanned<f64>, key| self.in_range(hz, key, 0.01..=f64::from(self.rate) / 2.0, "Hz");
        let mut found = Vec::new();
        if let Some(path) = &table.wav {
            let files =
                wav::files(&self.folder.join(path.get_ref())).map_err(|e| self.error(path, "wav", format!("{e:#}")))?;
            let mut total = 0;
            for file in &files {
                total += wav::length(file, self.rate).map_err(|e| self.error(path, "wav", format!("{e:#}")))?;
            }
            let seconds = table.crossfade.as_ref().map_or(Ok(default_crossfade()), |c| self.seconds(c, "crossfade"))?;
            length = length.or(Some(total));
            let crossfade = (seconds * f64::from(self.rate)).round() as u64;
            found.push(What::Wav { files, shuffle: table.shuffle.as_ref().is_some_and(|s| *s.get_ref()), crossfade });
        } else {
            let wrong = table.shuffle.as_ref().map(|s| (s.span(), "shuffle"));
            if let Some((span, key)) = wrong.or(table.crossfade.as_ref().map(|c| (c.span(), "crossfade"))) {
                bail!("{}: {key}: for a source of `wav` only", self.place(span));
            }
        }
        if let Some(silence) = &table.silence {
            if !silence.get_ref() {
                return Err(self.error(silence, "silence", "true, or leave it out"));
            }
            found.push(What::Silence);
        }
        found.extend(table.noise.as_ref().map(|colour| What::Noise(*colour.get_ref())));
        if let Some(hz) = &table.sine {
            found.push(What::Sine(frequency(hz, "sine")?));
        }
        if let Some(hz) = &table.square {
            found.push(What::Square(frequency(hz, "square")?));
        }
        if let Some(machine) = &table.machine {
            let &MachineTable { seed, factory_snr_db } = machine.get_ref();
            if !(-40.0..=60.0).contains(&factory_snr_db) {
                return Err(self.error(machine, "factory_snr_db", format!("{factory_snr_db}: -40 to 60 dB")));
            }
            if !(8000..=48_000).contains(&self.rate) {
                return Err(self.error(machine, "machine", "is rendered at 8000 to 48000 samples a second"));
            }
            found.push(What::Machine { seed, factory_snr_db });
        }
        if let Some(fault) = &table.fault {
            let FaultTable { kind, severity } = fault.get_ref();
            let known = FaultKind::ALL.into_iter().find(|known| known.name() == kind.get_ref());
            let names = FaultKind::ALL.map(FaultKind::name).join(", ");
            let kind = known.ok_or_else(|| self.error(kind, "kind", format!("{}: one of {names}", kind.get_ref())))?;
            if !(0.01..=10.0).contains(severity) {
                return Err(self.error(fault, "severity", format!("{severity}: 0.01 to 10")));
            }
            let plays = |source: &Source| {
                matches!(source.what, What::Machine { .. })
                    && source.from <= from
                    && length.is_some_and(|length| from.saturating_add(length) <= source.end())
            };
            let of = before.iter().rposition(plays);
            let problem = "no `machine` that stands before it plays for all of its time";
            let of = of.ok_or_else(|| self.error(fault, "fault", problem))?;
            found.push(What::Fault { kind, severity: *severity, of });
        }
        let kinds = "one of wav, silence, noise, sine, square, machine, fault";
        let what = match <[What; 1]>::try_from(found) {
            Ok([what]) => what,
            Err(found) => {
                return Err(self.error(at, "source", format!("has {} of what it needs one of: {kinds}", found.len())));
            }
        };
        let length = length.ok_or_else(|| self.error(at, "for", "is missing: how long it sounds, in seconds"))?;
        let fade = |seconds: &Option<Spanned<f64>>, key| seconds.as_ref().map_or(Ok(0), |s| self.samples(s, key));
        let (fade_in, fade_out) = (fade(&table.fade_in, "fade_in")?, fade(&table.fade_out, "fade_out")?);
        if fade_in.saturating_add(fade_out) > length {
            return Err(self.error(at, "fade_in", "fades last longer than the source"));
        }
        let own = if matches!(what, What::Wav { .. }) { 1.0 } else { amplitude(LEVEL_DB) * FULL_SCALE };
        let level = match (&table.gain_db, &table.snr_db) {
            (Some(_), Some(snr)) => {
                return Err(self.error(snr, "snr_db", "says how loud, and so does gain_db: one of them"));
            }
            (None, Some(snr)) if matches!(what, What::Silence) => {
                return Err(self.error(snr, "snr_db", "of silence"));
            }
            (None, Some(snr)) => Level::OverOthers(amplitude(self.in_range(snr, "snr_db", -80.0..=80.0, "dB")?)),
            (Some(gain), None) => Level::Gain(own * amplitude(self.in_range(gain, "gain_db", -120.0..=80.0, "dB")?)),
            (None, None) => Level::Gain(own),
        };
        let fault = table.truth.map_or(matches!(what, What::Fault { .. }), |truth| truth == Truth::Fault);
        Ok(Source { what, from, length, fade_in, fade_out, level, fault, place: self.place(at.span()) })
    }

    fn event(&self, at: &Spanned<EventTable>) -> anyhow::Result<Event> {
        let table = at.get_ref();
        let from = self.samples(&table.from, "from")?;
        let mut found = Vec::new();
        if let Some(level) = &table.clip_db {
            let level = self.in_range(level, "clip_db", -120.0..=0.0, "dB of full scale")?;
            found.push((Happening::Clip(amplitude(level) * FULL_SCALE), None));
        }
        if let Some(count) = &table.drop {
            found.push((Happening::Drop { told: table.told }, Some(*count.get_ref())));
        }
        if let Some(stuck) = &table.stuck {
            let value = match *stuck.get_ref() {
                Stuck::At(value) => Some(value),
                Stuck::Word(Last::Last) => None,
            };
            found.push((Happening::Stuck(value), None));
        }
        if let Some(ppm) = &table.drift_ppm {
            found.push((Happening::Drift(self.in_range(ppm, "drift_ppm", -100_000.0..=100_000.0, "ppm")?), None));
        }
        if let Some(offset) = &table.offset {
            let steps = self.in_range(offset, "offset", -65_536.0..=65_536.0, "steps of 16 bits")?;
            found.push((Happening::Offset(steps), None));
        }
        if let Some(off) = &table.power_cut {
            found.push((Happening::PowerCut, Some(self.samples(off, "power_cut")?)));
        }
        let kinds = "one of clip_db, drop, stuck, drift_ppm, offset, power_cut";
        let [(what, own)] = found.as_slice() else {
            return Err(self.error(at, "event", format!("has {} of what it needs one of: {kinds}", found.len())));
        };
        let length = match (own, &table.lasting) {
            (Some(length), None) => *length,
            (None, Some(lasting)) => self.samples(lasting, "for")?,
            (None, None) => return Err(self.error(at, "for", "is missing: how long it goes on, in seconds")),
            (Some(_), Some(lasting)) => return Err(self.error(lasting, "for", "drop and power_cut say it themselves")),
        };
        if length == 0 && !matches!(what, Happening::PowerCut) {
            return Err(self.error(at, "event", "lasts for no time at all"));
        }
        Ok(Event { what: *what, from, length })
    }

    fn assert(&self, at: &Spanned<AssertTable>, sensors: &[SensorPlan]) -> anyhow::Result<Assert> {
        let table = at.get_ref();
        let mut sensor = None;
        if let Some(name) = &table.sensor {
            let index = sensors.iter().position(|sensor| sensor.name == *name.get_ref());
            sensor = Some(index.ok_or_else(|| self.error(name, "sensor", format!("there is no {}", name.get_ref())))?);
        }
        let not_negative = |at: &Spanned<f64>, key| self.in_range(at, key, 0.0..=1e9, "");
        let within = |at: &Spanned<Within>, key| {
            let Within { within, after } = *at.get_ref();
            let known = (0.0..=SECONDS_MAX).contains(&within) && (0.0..=SECONDS_MAX).contains(&after);
            if known { Ok(*at.get_ref()) } else { Err(self.error(at, key, format!("0 to {SECONDS_MAX} seconds"))) }
        };
        let scores = |at: &Spanned<Scores>, key| {
            let scores = at.get_ref();
            if scores.score.is_some() == scores.thresholds.is_some() {
                return Err(self.error(at, key, "score = … or thresholds = …"));
            }
            if scores.from.is_nan() || scores.from >= scores.to {
                return Err(self.error(at, key, "from lies before to"));
            }
            Ok(*scores)
        };
        let mut found: Vec<(Claim, Range<usize>, &str)> = Vec::new();
        let mut push = |claim, span, key| found.push((claim, span, key));
        if let Some(x) = &table.alarm {
            push(Claim::Alarm(within(x, "alarm")?), x.span(), "alarm");
        }
        if let Some(x) = &table.no_alarm_before {
            push(Claim::NoAlarmBefore(self.seconds(x, "no_alarm_before")?), x.span(), "no_alarm_before");
        }
        if let Some(x) = &table.false_alarms_per_hour {
            let rate = not_negative(x, "false_alarms_per_hour")?;
            push(Claim::FalseAlarmsPerHour(rate), x.span(), "false_alarms_per_hour");
        }
        if let Some(x) = &table.missed_faults {
            push(Claim::MissedFaults(*x.get_ref()), x.span(), "missed_faults");
        }
        if let Some(x) = &table.alarm_ends_within {
            push(Claim::AlarmEndsWithin(self.seconds(x, "alarm_ends_within")?), x.span(), "alarm_ends_within");
        }
        if let Some(x) = &table.sensor_fault {
            push(Claim::SensorFault(within(x, "sensor_fault")?), x.span(), "sensor_fault");
        }
        if let Some(x) = &table.sensor_faults {
            push(Claim::SensorFaults(*x.get_ref()), x.span(), "sensor_faults");
        }
        if let Some(x) = &table.score_below {
            push(Claim::ScoreBelow(scores(x, "score_below")?), x.span(), "score_below");
        }
        if let Some(x) = &table.score_above {
            push(Claim::ScoreAbove(scores(x, "score_above")?), x.span(), "score_above");
        }
        if let Some(x) = &table.overruns {
            push(Claim::Overruns(*x.get_ref()), x.span(), "overruns");
        }
        if let Some(x) = &table.clock_share {
            push(Claim::ClockShare(not_negative(x, "clock_share")?), x.span(), "clock_share");
        }
        let count = found.len();
        let Ok([(claim, span, key)]) = <[_; 1]>::try_from(found) else {
            return Err(self.error(at, "assert", format!("has {count} claims: one each")));
        };
        let text = format!("{key} = {}", self.text.get(span).unwrap_or_default());
        Ok(Assert { text, sensor, claim })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Scenario> {
        Scenario::parse(text, Path::new("a.toml"))
    }

    const MACHINE: &str = "rate = 16000\n[[source]]\nmachine = { seed = 3 }\nfor = 120\n\
        [[source]]\nfault = { kind = \"outer_race\" }\nfrom = 60\nfor = 60\nfade_in = 10\nsnr_db = -3\n";

    #[test]
    fn times_become_samples_and_sources_follow_one_another() {
        let scenario = parse(MACHINE).expect("a scenario");
        let [sensor] = scenario.sensors.as_slice() else { panic!("{scenario:?}") };
        assert_eq!((sensor.length, scenario.seed), (120 * 16_000, 1));
        let fault = &sensor.sources[1];
        assert_eq!((fault.from, fault.length, fault.fade_in, fault.fault), (960_000, 960_000, 160_000, true));
        assert!(matches!(fault.what, What::Fault { kind: FaultKind::OuterRace, of: 0, .. }));
        let two = parse(
            "rate = 8000\n[[source]]\nnoise = \"pink\"\nfor = 1\n[[source]]\nsine = 440\nfor = 0.5\ntruth = \"fault\"",
        );
        let sources = two.expect("a scenario").sensors.remove(0).sources;
        assert_eq!((sources[1].from, sources[1].end(), sources[1].fault), (8000, 12_000, true));
    }

    #[test]
    fn errors_name_line_and_key() {
        let cases = [
            ("rate = 16000\nspeed = 3\n", "line 2", "speed"),
            ("rate = 7\n", "a.toml:1", "rate"),
            ("rate = 16000\n", "a.toml", "[[source]]"),
            ("rate = 16000\n[[source]]\nfor = 1\n", "a.toml:2", "one of wav"),
            ("rate = 16000\n[[source]]\nsine = 440\n", "a.toml:2", "for: is missing"),
            ("rate = 16000\n[[source]]\nsine = 9000\nfor = 1\n", "a.toml:3", "sine"),
            ("rate = 16000\n[[source]]\nsine = 440\nnoise = \"white\"\nfor = 1\n", "a.toml:2", "has 2"),
            ("rate = 16000\n[[source]]\nsine = 440\nfor = 1\ngain_db = 1\nsnr_db = 1\n", "a.toml:6", "snr_db"),
            ("rate = 16000\n[[source]]\nsine = 440\nfor = 1\nfade_in = 2\n", "a.toml:2", "fade_in"),
            ("rate = 16000\n[[source]]\nwav = \"none.wav\"\n", "a.toml:3", "none.wav"),
            ("rate = 16000\n[[source]]\nfault = { kind = \"rust\" }\nfor = 1\n", "a.toml:3", "outer_race"),
            ("rate = 16000\n[[source]]\nfault = { kind = \"imbalance\" }\nfor = 1\n", "a.toml:3", "no `machine`"),
            ("rate = 16000\n[[source]]\nnoise = \"blue\"\nfor = 1\n", "line 3", "blue"),
            (
                "rate = 16000\n[[source]]\nsine = 440\nfor = 1\n[[event]]\nfrom = 0\ndrop = 3\nfor = 1\n",
                "a.toml:8",
                "for",
            ),
            ("rate = 16000\n[[source]]\nsine = 440\nfor = 1\n[[event]]\nfrom = -1\ndrop = 3\n", "a.toml:6", "from"),
            (
                "rate = 16000\n[[source]]\nsine = 440\nfor = 1\n[[assert]]\nsensor = \"b\"\noverruns = 0\n",
                "a.toml:6",
                "sensor",
            ),
            (
                "rate = 16000\n[[source]]\nsine = 440\nfor = 1\n[[assert]]\nscore_below = { from = 1 }\n",
                "a.toml:6",
                "score",
            ),
        ];
        for (text, place, key) in cases {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(place) && error.contains(key), "{text}\n{error}");
        }
    }

    #[test]
    fn sensors_have_sources_of_their_own() {
        let text = "rate = 8000\n[[sensor]]\nname = \"a\"\n[[sensor.source]]\nsine = 100\nfor = 1\n\
            [[sensor]]\nname = \"b\"\nseconds = 2\n[[sensor.source]]\nsilence = true\nfor = 1\n\
            [[sensor.event]]\nfrom = 0.5\nstuck = \"last\"\nfor = 0.1\n[[assert]]\nsensor = \"b\"\nmissed_faults = 0\n";
        let scenario = parse(text).expect("a scenario");
        assert_eq!(scenario.sensors.iter().map(|s| s.length).collect::<Vec<_>>(), [8000, 16_000]);
        let event = scenario.sensors[1].events[0];
        assert_eq!((event.what, event.from, event.length), (Happening::Stuck(None), 4000, 800));
        let assert = &scenario.asserts[0];
        assert_eq!((assert.sensor, assert.text.as_str()), (Some(1), "missed_faults = 0"));
        let twice = text.replace("\"b\"\nseconds", "\"a\"\nseconds");
        assert!(parse(&twice).is_err());
    }
}
