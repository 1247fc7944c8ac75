//! A scenario from beginning to end: the host's monitors, a board's where there is one, what came of it, and the files that
//! tell.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, ensure};
use neji_app::{Outcome, Trend};
use neji_format::Model;
use serde_json::{Value, json};

use super::board::{Agreement, Load, OnBoard, Stage, compare};
use super::config::{Happening, Scenario};
use super::judge::{Finding, Metrics, Track, word};
use super::run::{Heard, Listening, Spool, on_host};
use super::timeline::{Lane, draw};
use crate::begin::Begin;
use crate::files::write_folder;
use crate::threshold;

/// What came of a sensor's part of a scenario.
#[derive(Debug)]
pub struct SensorPlayed {
    /// On the host.
    pub heard: Heard,
    /// On the board.
    pub board: Option<OnBoard>,
    /// Whether they agree.
    pub agreement: Option<Agreement>,
    /// What the board spends.
    pub load: Option<Load>,
    /// What is judged: the board's verdicts where there is a board.
    pub track: Track,
    /// The figures.
    pub metrics: Metrics,
    /// The scenario's claims.
    pub findings: Vec<Finding>,
}

/// What came of a scenario.
#[derive(Debug)]
pub struct Played {
    /// The scenario.
    pub scenario: Scenario,
    /// What it is called.
    pub name: String,
    /// The board's name.
    pub board: Option<String>,
    /// What is to be known of the threshold on a stream.
    pub note: Option<String>,
    /// Each sensor.
    pub sensors: Vec<SensorPlayed>,
}

/// Plays a scenario to `model`, on `stage` as well where there is one.
///
/// # Errors
/// Another rate or front end than the model's, a source that can't be played, a board that fails, or `stop`.
pub fn play(
    name: &str,
    model: Model<'_>,
    scenario: Scenario,
    begin: &Begin,
    stage: Option<Stage<'_>>,
    stop: &AtomicBool,
) -> anyhow::Result<Played> {
    let listening = Listening::of(model.plan()).with_context(|| name.to_owned())?;
    listening.check(&scenario).with_context(|| name.to_owned())?;
    let folder = tempfile::Builder::new().prefix("neji-").tempdir().context("making a folder for the samples")?;
    let decision = model.plan().decision;
    let unit = f64::from(decision.score_unit);
    let grace = match scenario.grace {
        Some(seconds) => (seconds * f64::from(scenario.rate)).round() as u64,
        None => listening.memory,
    };
    let mut sensors = Vec::new();
    for (index, plan) in scenario.sensors.iter().enumerate() {
        let spool = stage.map(|_| Spool::new(folder.path(), index));
        // How the stream is cut makes no difference, so it is cut anyhow.
        let heard = on_host(model, &scenario, index, scenario.seed.max(1), begin, spool, stop)?;
        let played = match &stage {
            Some(stage) => Some(stage.play(&model, scenario.rate, &heard, (folder.path(), index), stop)?),
            None => None,
        };
        let parts = played.as_ref().map_or(&heard.parts, |played| &played.parts);
        let load = played
            .as_ref()
            .zip(stage)
            .and_then(|(played, stage)| Load::of(&played.instructions, &listening, scenario.rate, stage.clock_hz));
        let learned = heard.learned;
        let paced = stage.is_some_and(|stage| stage.buffer.is_some());
        let track = Track {
            sensor: plan.name.clone(),
            rate: scenario.rate,
            length: plan.length,
            faults: heard.faults.clone(),
            cuts: parts.iter().rev().skip(1).rev().map(|part| part.until).collect(),
            records: parts.iter().flat_map(|part| part.records.iter().copied()).collect(),
            unit,
            threshold: f64::from(learned.map_or(decision.threshold, |own| own.threshold)) * unit,
            release: f64::from(learned.map_or(decision.release, |own| own.release)) * unit,
            learned_at: learned.map(|own| own.at).filter(|&at| at > 0),
            grace,
            overruns: played.as_ref().filter(|_| paced).map(|played| played.overruns),
            clock_share: load.map(|load| load.clock_share),
        };
        let metrics = track.metrics();
        let own = scenario.asserts.iter().filter(|assert| assert.sensor.is_none_or(|sensor| sensor == index));
        let findings = own.map(|assert| track.judge(assert)).collect();
        let agreement = played.as_ref().map(|played| compare(&played.parts, &played.expected));
        sensors.push(SensorPlayed { heard, board: played, agreement, load, track, metrics, findings });
    }
    let board = stage.map(|stage| stage.board.package.clone());
    Ok(Played { scenario, name: name.to_owned(), board, note: threshold::on_a_stream(model.plan()), sensors })
}

impl SensorPlayed {
    /// What was learned, as `metrics.json` has it.
    fn calibration(&self) -> Option<Value> {
        let track = &self.track;
        let own = self.heard.learned?;
        Some(json!({
            "at": track.seconds(own.at), "threshold": track.threshold, "release": track.release, "tables": own.tables,
            "faults_meanwhile": track.faults_while_learning(),
        }))
    }

    /// The same in words.
    fn calibration_line(&self) -> Option<String> {
        let track = &self.track;
        let learning = track.records.last().is_some_and(|r| matches!(r.verdict.outcome, Outcome::Calibrating { .. }));
        if learning {
            return Some("the scenario ends before the calibration does: nothing was judged".to_owned());
        }
        let own = self.heard.learned?;
        let when = match own.at {
            0 => "calibrated before".to_owned(),
            at => format!("calibrated after {:.3} s", track.seconds(at)),
        };
        let tables = if own.tables { ", by tables of its own" } else { "" };
        let meanwhile = match track.faults_while_learning() {
            0 => String::new(),
            count => format!("; {count} faults sounded meanwhile, so that it takes them for normal"),
        };
        Some(format!("{when}: threshold {:.4}{tables}{meanwhile}", track.threshold))
    }
}

impl Played {
    /// Claims that do not hold, and all.
    pub fn failed(&self) -> (usize, usize) {
        let all = || self.sensors.iter().flat_map(|sensor| &sensor.findings);
        (all().filter(|finding| !finding.holds).count(), all().count())
    }

    /// Whether host and board gave the same verdicts; true where there is no board.
    ///
    /// # Errors
    /// They did not: where they differ first.
    pub fn check_agreement(&self) -> anyhow::Result<()> {
        for sensor in &self.sensors {
            let Some(Agreement { identical, verdicts, first_difference }) = sensor.agreement else { continue };
            let at = first_difference.map_or(0.0, |at| at as f64 / f64::from(self.scenario.rate));
            ensure!(
                identical == verdicts,
                "{}: {identical} of {verdicts} verdicts are the same on host and board; they differ at {at:.3} s first: \
                 rebuild both from one source",
                sensor.track.sensor
            );
        }
        Ok(())
    }

    /// All figures, as `metrics.json` has them.
    pub fn as_json(&self) -> Value {
        let sensor = |sensor: &SensorPlayed| {
            let heard = &sensor.heard;
            let seconds = sensor.metrics.seconds;
            let board = sensor.board.as_ref().map(|board| {
                json!({
                    "agreement": sensor.agreement, "load": sensor.load, "overruns": sensor.track.overruns,
                    "stack_bytes": board.stack_bytes,
                })
            });
            json!({
                "metrics": sensor.metrics, "sha256": heard.sha256, "calibration": sensor.calibration(),
                "real_time_factor": seconds / heard.time.as_secs_f64().max(1e-9),
                "real_time_factor_of_monitor": seconds / heard.monitor_time.as_secs_f64().max(1e-9),
                "board": board, "asserts": sensor.findings,
            })
        };
        json!({
            "scenario": self.name, "rate": self.scenario.rate, "seed": self.scenario.seed, "board": self.board,
            "sensors": self.sensors.iter().map(sensor).collect::<Vec<_>>(),
        })
    }

    /// What people read.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}: {} samples a second, seed {}", self.name, self.scenario.rate, self.scenario.seed);
        if let Some(note) = &self.note {
            let _ = writeln!(text, "{note}");
        }
        for sensor in &self.sensors {
            let (heard, metrics) = (&sensor.heard, &sensor.metrics);
            let times = |time: std::time::Duration| metrics.seconds / time.as_secs_f64().max(1e-9);
            let _ = writeln!(text, "{}: SHA-256 of its samples {}", metrics.sensor, heard.sha256);
            let _ = writeln!(
                text,
                "  host: {:.1} s in {:.2} s, {:.0} times real time (the monitor alone {:.0} times)",
                metrics.seconds,
                heard.time.as_secs_f64(),
                times(heard.time),
                times(heard.monitor_time)
            );
            if let (Some(name), Some(agreement)) = (&self.board, sensor.agreement) {
                let Agreement { identical, verdicts, .. } = agreement;
                let _ = writeln!(text, "  {name}: {identical} of {verdicts} verdicts as on the host, bit by bit");
            }
            if let Some(load) = sensor.load {
                let _ = writeln!(
                    text,
                    "  {:.0} instructions a hop: {:.1} % of {} MHz at best, where each takes one cycle",
                    load.instructions_per_hop,
                    100.0 * load.clock_share,
                    load.clock_hz as f64 / 1e6
                );
            }
            if let Some(overruns) = sensor.track.overruns {
                let _ = writeln!(text, "  {overruns} samples found the buffer full");
            }
            let delay = metrics
                .detection_delay
                .map_or("none was found".to_owned(), |delay| format!("found after {delay:.3} s"));
            let on = metrics.faults.iter().filter(|fault| fault.on_already).count();
            let faults = match (metrics.faults.len(), on) {
                (0, _) => "no faults".to_owned(),
                (count, 0) => format!("{count} faults, {} missed, {delay}", metrics.missed_faults),
                (count, on) => {
                    format!("{count} faults, {} missed, {on} with the alarm on already, {delay}", metrics.missed_faults)
                }
            };
            let _ = writeln!(
                text,
                "  {faults}; {} false alarms in {:.4} h ({:.2} an hour); {} of {} verdicts are faults of the sensor",
                metrics.false_alarms,
                metrics.normal_hours,
                metrics.false_alarms_per_hour,
                metrics.sensor_faults,
                metrics.verdicts
            );
            if let Some(line) = sensor.calibration_line() {
                let _ = writeln!(text, "  {line}");
            }
            for finding in &sensor.findings {
                let at = finding.at.map_or(String::new(), |at| format!(" (at {at:.3} s)"));
                let word = if finding.holds { "ok" } else { "FAILED" };
                let _ = writeln!(text, "{word:<7} {}: {}{at}", finding.assert, finding.measured);
            }
        }
        text
    }

    /// Writes `timeline.svg`, `events.csv`, `scores.csv` and `metrics.json` into the folder `out`, in whose place they come.
    ///
    /// # Errors
    /// `out` holds something else and `force` is not set, or writing fails.
    pub fn write(&self, out: &Path, force: bool) -> anyhow::Result<()> {
        let ours = out.join("metrics.json").exists() && out.join("timeline.svg").exists();
        write_folder(out, force || ours, |folder| {
            let put = |name: &str, bytes: &[u8]| {
                let path = folder.join(name);
                fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
            };
            put("timeline.svg", self.timeline()?.as_bytes())?;
            put("events.csv", self.events_csv()?.as_bytes())?;
            put("scores.csv", self.scores_csv()?.as_bytes())?;
            put("metrics.json", serde_json::to_string_pretty(&self.as_json())?.as_bytes())
        })
    }

    /// The picture.
    ///
    /// # Errors
    /// When plotters fails.
    pub fn timeline(&self) -> anyhow::Result<String> {
        let lanes: Vec<Lane<'_>> = (self.sensors.iter().zip(&self.scenario.sensors))
            .map(|(sensor, plan)| Lane { track: &sensor.track, heard: &sensor.heard.spectrogram, events: &plan.events })
            .collect();
        draw(&self.name, &lanes)
    }

    /// What happened, in the order of time: `time,sensor,kind,score,detail`.
    fn events_csv(&self) -> anyhow::Result<String> {
        let seconds = |samples: u64| samples as f64 / f64::from(self.scenario.rate);
        let mut rows: Vec<(u64, &str, String, Option<f64>, String)> = Vec::new();
        for (sensor, plan) in self.sensors.iter().zip(&self.scenario.sensors) {
            let name = plan.name.as_str();
            let mut row =
                |at: u64, kind: &str, score, detail: String| rows.push((at, name, kind.to_owned(), score, detail));
            for &(from, to) in &sensor.track.faults {
                row(from, "fault_begins", None, String::new());
                row(to, "fault_ends", None, String::new());
            }
            for event in &plan.events {
                let detail = match event.what {
                    Happening::Clip(level) => format!("beyond {level:.0}"),
                    Happening::Drop { .. } | Happening::PowerCut => format!("{} samples", event.length),
                    Happening::Stuck(value) => value.map_or("last value".to_owned(), |value| value.to_string()),
                    Happening::Drift(ppm) => format!("{ppm} ppm"),
                    Happening::Offset(steps) => format!("{steps} steps"),
                };
                row(event.from, &format!("{}_begins", event.what.name()), None, detail);
                row(event.from + event.length, &format!("{}_ends", event.what.name()), None, String::new());
            }
            for (on, off) in sensor.track.alarms() {
                let score = |at: u64| {
                    let index = sensor.track.records.partition_point(|record| record.at < at);
                    sensor
                        .track
                        .records
                        .get(index)
                        .filter(|record| record.at == at)
                        .and_then(|r| sensor.track.smoothed(r))
                };
                row(on, "alarm_on", score(on), String::new());
                if off < plan.length {
                    row(off, "alarm_off", score(off), String::new());
                }
            }
            if let Some(at) = sensor.track.learned_at {
                row(at, "calibrated", None, format!("threshold {}", sensor.track.threshold));
            }
            let mut drift = Trend::Steady;
            for record in &sensor.track.records {
                if std::mem::replace(&mut drift, record.verdict.drift) != record.verdict.drift {
                    let kind = match record.verdict.drift {
                        Trend::Steady => "drift_ends",
                        Trend::Higher => "drift_higher",
                        Trend::Lower => "drift_lower",
                    };
                    row(record.at, kind, sensor.track.score(record), String::new());
                }
            }
            let mut before = None;
            for record in &sensor.track.records {
                let fault =
                    matches!(record.verdict.outcome, Outcome::SensorFault(_)).then(|| word(&record.verdict.outcome));
                if fault != before
                    && let Some(fault) = fault
                {
                    row(record.at, fault, None, String::new());
                }
                before = fault;
            }
        }
        // What happens at the same time stays in its order.
        rows.sort_by_key(|row| row.0);
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["time", "sensor", "kind", "score", "detail"])?;
        for (at, sensor, kind, score, detail) in rows {
            let score = score.map_or(String::new(), |score| score.to_string());
            csv.write_record([&format!("{:.6}", seconds(at)), sensor, &kind, &score, &detail])?;
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }

    /// Every verdict: `time,sensor,verdict,score,smoothed,alarm`.
    fn scores_csv(&self) -> anyhow::Result<String> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["time", "sensor", "verdict", "score", "smoothed", "alarm"])?;
        for sensor in &self.sensors {
            let track = &sensor.track;
            for record in &track.records {
                let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                let (score, smoothed) = (number(track.score(record)), number(track.smoothed(record)));
                let time = format!("{:.6}", record.at as f64 / f64::from(track.rate));
                let alarm = if record.verdict.alarm { "on" } else { "off" };
                csv.write_record([&time, &track.sensor, word(&record.verdict.outcome), &score, &smoothed, alarm])?;
            }
        }
        Ok(String::from_utf8(csv.into_inner()?)?)
    }
}

#[cfg(test)]
mod tests {
    use neji_format::{AlignedBytes, Blob, Decision, Normal, Plan};

    use super::super::double;
    use super::*;

    const STORY: &str = "rate = 8000\n[[sensor]]\nname = \"quiet\"\n[[sensor.source]]\nnoise = \"pink\"\nfor = 3\n\
        gain_db = -20\n[[sensor]]\nname = \"broken\"\n[[sensor.source]]\nnoise = \"pink\"\nfor = 3\ngain_db = -20\n\
        [[sensor.source]]\nnoise = \"white\"\nfrom = 1\nfor = 1\nsnr_db = 30\ntruth = \"fault\"\n\
        [[sensor.event]]\nfrom = 2.5\nfor = 0.25\nstuck = \"last\"\n\
        [[assert]]\nsensor = \"quiet\"\nno_alarm_before = 3\n\
        [[assert]]\nsensor = \"broken\"\nalarm = { within = 0.5, after = 1 }\n\
        [[assert]]\nsensor = \"broken\"\nsensor_fault = { within = 0.1, after = 2.5 }\n\
        [[assert]]\nfalse_alarms_per_hour = 0\n[[assert]]\nsensor = \"quiet\"\nmissed_faults = 0\n";

    #[test]
    fn a_story_is_played_judged_and_written() {
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        let scenario = Scenario::parse(STORY, Path::new("a.toml")).expect("a scenario");
        let played = play("a.toml", model, scenario, &Begin::default(), None, &AtomicBool::new(false)).expect("plays");
        let text = played.text();
        // The quiet sensor has no fault to be missed: nothing speaks for that claim.
        assert_eq!(played.failed(), (1, 6), "{text}");
        assert!(text.contains("FAILED  missed_faults = 0: 0 of 0") && text.contains("times real time"), "{text}");
        played.check_agreement().expect("no board");

        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        played.write(&out, false).expect("written");
        played.write(&out, false).expect("replaced");
        let read = |name: &str| fs::read_to_string(out.join(name)).expect(name);
        let events = read("events.csv");
        let kinds: Vec<&str> = events.lines().skip(1).filter_map(|line| line.split(',').nth(2)).collect();
        assert_eq!(kinds.first().copied(), Some("fault_begins"), "{events}");
        for kind in ["alarm_on", "alarm_off", "fault_ends", "stuck_begins", "sensor_constant", "stuck_ends"] {
            assert!(kinds.contains(&kind), "{kind}: {events}");
        }
        let metrics: Value = serde_json::from_str(&read("metrics.json")).expect("JSON");
        assert_eq!(metrics["sensors"][1]["metrics"]["faults"][0]["from"], 1.0);
        assert!(read("scores.csv").lines().count() > 600 && read("timeline.svg").contains("threshold"));
        fs::remove_file(out.join("metrics.json")).expect("removed");
        assert!(played.write(&out, false).expect_err("not ours").to_string().contains("--force"));
    }

    /// The listener with an idea of normal scores, so that it can be calibrated.
    fn calibratable() -> AlignedBytes {
        let blob = double::listener();
        let model = Model::parse(blob.as_slice()).expect("a model");
        let normal = Some(Normal { location: 20_000, scale: 5_000 });
        let plan = Plan { decision: Decision { normal, ..model.plan().decision }, ..*model.plan() };
        let (operators, constants) = (model.operators().collect(), model.constants().to_vec());
        AlignedBytes::new(&Blob { plan, operators, constants, arena_bytes: model.header().arena_bytes }.encode())
    }

    #[test]
    fn a_story_begins_with_a_calibration_and_its_state_is_kept() {
        const HUM: &str = "rate = 8000\n[[source]]\nnoise = \"pink\"\nfor = 4\ngain_db = -20\n\
            [[source]]\nnoise = \"white\"\nfrom = 0.1\nfor = 0.1\nsnr_db = 1\ntruth = \"fault\"\n\
            [[event]]\nfrom = 2\npower_cut = 0.25\n[[assert]]\nno_alarm_before = 0.1\n";
        let blob = calibratable();
        let model = Model::parse(blob.as_slice()).expect("a model");
        let told = |begin: &Begin| {
            let scenario = Scenario::parse(HUM, Path::new("a.toml")).expect("a scenario");
            play("a.toml", model, scenario, begin, None, &AtomicBool::new(false))
        };
        let fresh = told(&Begin::default()).expect("plays");
        assert!(fresh.sensors[0].heard.learned.is_none() && !fresh.text().contains("calibrated"));
        let played = told(&Begin::calibrated(Some(40))).expect("plays");
        let sensor = &played.sensors[0];
        let learning = |r: &&super::super::run::Record| matches!(r.verdict.outcome, Outcome::Calibrating { .. });
        assert_eq!(sensor.track.records.iter().filter(learning).count(), 40);
        let own = sensor.heard.learned.expect("learned");
        // Behind the cut nothing is learned anew.
        assert_eq!(Some(own.at), sensor.track.records.iter().rfind(learning).map(|record| record.at));
        assert!((sensor.track.threshold - fresh.sensors[0].track.threshold).abs() > 0.0);
        let text = played.text();
        assert!(text.contains("calibrated after") && text.contains("1 faults sounded meanwhile"), "{text}");
        assert!(played.events_csv().expect("CSV").contains("calibrated"));
        assert!(played.timeline().expect("SVG").contains("calibrating"));
        let calibration = &played.as_json()["sensors"][0]["calibration"];
        assert_eq!((&calibration["tables"], &calibration["faults_meanwhile"]), (&json!(false), &json!(1)));

        let kept = Begin { state: Some(sensor.heard.state.clone()), ..Begin::default() };
        let later = told(&kept).expect("plays");
        assert_eq!(later.sensors[0].track.threshold, sensor.track.threshold);
        assert!(later.text().contains("calibrated before"), "{}", later.text());
        let refused = told(&Begin { tables: true, ..Begin::calibrated(Some(40)) }).expect_err("no distance");
        assert!(refused.to_string().contains("--tables"), "{refused}");
        let damaged = Begin { state: Some(vec![0; 68]), ..Begin::default() };
        assert!(told(&damaged).expect_err("no state").to_string().contains("--state"));
        let short = told(&Begin::calibrated(Some(4000))).expect("plays");
        assert!(short.text().contains("ends before the calibration does"), "{}", short.text());
    }
}
