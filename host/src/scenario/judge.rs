//! What a sensor's verdicts amount to, and whether the scenario's claims hold.
//!
//! A fault is an interval of the ground truth. An alarm that rises from its beginning to its end, and as long afterwards as
//! the model remembers (`grace`), is the fault's own; every other one is false.

use neji_app::{Outcome, SensorFault};
use serde::Serialize;

use super::config::{Assert, Claim, Scores, Within};
use super::run::Record;

/// What is judged of a sensor. Times are in samples.
#[derive(Debug, Clone)]
pub struct Track {
    /// The sensor's name.
    pub sensor: String,
    /// Samples a second.
    pub rate: u32,
    /// Samples of the scenario.
    pub length: u64,
    /// When faults sounded: first sample and the one behind the last.
    pub faults: Vec<(u64, u64)>,
    /// When its power was cut.
    pub cuts: Vec<u64>,
    /// Verdicts in order.
    pub records: Vec<Record>,
    /// Real size of a score's step.
    pub unit: f64,
    /// In real units.
    pub threshold: f64,
    /// Where the alarm ends, in real units.
    pub release: f64,
    /// When the threshold was learned, where that was on the way.
    pub learned_at: Option<u64>,
    /// How long after a fault an alarm is still its own.
    pub grace: u64,
    /// Samples that found the board's buffer full, where there was one.
    pub overruns: Option<u64>,
    /// The share of its clock that the board needs, where it was measured.
    pub clock_share: Option<f64>,
}

/// A fault and what became of it; times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FaultMetrics {
    /// When it began.
    pub from: f64,
    /// When it ended.
    pub to: f64,
    /// The alarm was on before it: nobody learned of it.
    pub on_already: bool,
    /// From its beginning to the alarm, where it rose.
    pub delay: Option<f64>,
    /// From its end to that of the alarm, where both came.
    pub alarm_after_end: Option<f64>,
}

/// Figures of a sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Its name.
    pub sensor: String,
    /// Length in seconds.
    pub seconds: f64,
    /// Verdicts.
    pub verdicts: usize,
    /// Those with a score.
    pub scored: usize,
    /// Those that say that the sensor is at fault.
    pub sensor_faults: usize,
    /// Times that the alarm rose.
    pub alarms: usize,
    /// Times that it rose without a fault.
    pub false_alarms: usize,
    /// Hours without a fault.
    pub normal_hours: f64,
    /// False alarms in an hour without a fault.
    pub false_alarms_per_hour: f64,
    /// Faults.
    pub faults: Vec<FaultMetrics>,
    /// Faults without any alarm.
    pub missed_faults: usize,
    /// Mean time from a fault to its alarm in seconds, of those that had one.
    pub detection_delay: Option<f64>,
}

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The claim as it stands in the scenario.
    pub assert: String,
    /// The sensor's name.
    pub sensor: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was found.
    pub measured: String,
    /// When, in seconds.
    pub at: Option<f64>,
}

/// A word on a verdict.
pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Scored { abnormal: true, .. } => "abnormal",
        Outcome::Scored { .. } => "normal",
        Outcome::PartNotFound => "part_not_found",
        Outcome::PartCut => "part_cut",
        Outcome::PartUnlike => "part_unlike",
        Outcome::WindowNotFull => "window_not_full",
        Outcome::Calibrating { .. } => "calibrating",
        Outcome::SensorFault(SensorFault::Constant) => "sensor_constant",
        Outcome::SensorFault(SensorFault::Saturated) => "sensor_saturated",
        Outcome::SensorFault(SensorFault::Dropped) => "sensor_dropped",
    }
}

impl Track {
    pub(super) fn seconds(&self, samples: u64) -> f64 {
        samples as f64 / f64::from(self.rate)
    }

    /// When the alarm was on: from a sample to one, the end where it is on at the end.
    pub fn alarms(&self) -> Vec<(u64, u64)> {
        let mut alarms: Vec<(u64, u64)> = Vec::new();
        let mut begun = None;
        let mut cuts = self.cuts.iter().peekable();
        for record in &self.records {
            // A device that is started anew has no alarm.
            while let Some(cut) = cuts.next_if(|cut| **cut < record.at) {
                if let Some(from) = begun.take() {
                    alarms.push((from, *cut));
                }
            }
            match (begun, record.verdict.alarm) {
                (None, true) => begun = Some(record.at),
                (Some(from), false) => {
                    alarms.push((from, record.at));
                    begun = None;
                }
                _ => {}
            }
        }
        if let Some(from) = begun {
            alarms.push((from, cuts.next().copied().unwrap_or(self.length)));
        }
        alarms
    }

    /// A record's score in real units.
    pub fn score(&self, record: &Record) -> Option<f64> {
        match record.verdict.outcome {
            Outcome::Scored { score, .. } | Outcome::Calibrating { score, .. } => Some(f64::from(score) * self.unit),
            _ => None,
        }
    }

    /// A record's smoothed score in real units: what the threshold is for.
    pub fn smoothed(&self, record: &Record) -> Option<f64> {
        match record.verdict.outcome {
            Outcome::Scored { smoothed, .. } => Some(f64::from(smoothed) * self.unit),
            _ => None,
        }
    }

    /// The figures.
    pub fn metrics(&self) -> Metrics {
        let alarms = self.alarms();
        let own = |&(from, to): &(u64, u64), at: u64| at >= from && at <= to.saturating_add(self.grace);
        let false_alarms = alarms.iter().filter(|(rise, _)| !self.faults.iter().any(|fault| own(fault, *rise))).count();
        let faults: Vec<FaultMetrics> = (self.faults.iter())
            .map(|fault| {
                let &(from, to) = fault;
                // On at any time of it: one that was on before is not late.
                let seen = alarms.iter().find(|(on, off)| *off > from && own(fault, (*on).max(from)));
                let last = alarms.iter().rev().find(|(on, off)| *off > from && own(fault, (*on).max(from)));
                FaultMetrics {
                    from: self.seconds(from),
                    to: self.seconds(to),
                    on_already: seen.is_some_and(|(on, _)| *on < from),
                    delay: seen.filter(|(on, _)| *on >= from).map(|(on, _)| self.seconds(on - from)),
                    alarm_after_end: (last.filter(|(_, off)| to < self.length && *off < self.length))
                        .map(|(_, off)| self.seconds(off.saturating_sub(to))),
                }
            })
            .collect();
        let fault_samples: u64 = self.faults.iter().map(|(from, to)| to - from).sum();
        let normal_hours = self.seconds(self.length.saturating_sub(fault_samples)) / 3600.0;
        let delays: Vec<f64> = faults.iter().filter_map(|fault| fault.delay).collect();
        let is_fault = |record: &&Record| matches!(record.verdict.outcome, Outcome::SensorFault(_));
        Metrics {
            sensor: self.sensor.clone(),
            seconds: self.seconds(self.length),
            verdicts: self.records.len(),
            scored: self.records.iter().filter(|record| self.score(record).is_some()).count(),
            sensor_faults: self.records.iter().filter(is_fault).count(),
            alarms: alarms.len(),
            false_alarms,
            normal_hours,
            false_alarms_per_hour: if normal_hours > 0.0 { false_alarms as f64 / normal_hours } else { 0.0 },
            missed_faults: faults.iter().filter(|fault| fault.delay.is_none() && !fault.on_already).count(),
            detection_delay: (!delays.is_empty()).then(|| delays.iter().sum::<f64>() / delays.len() as f64),
            faults,
        }
    }

    /// Faults that sounded before the threshold was learned.
    pub fn faults_while_learning(&self) -> usize {
        let until = self.learned_at.unwrap_or(0);
        self.faults.iter().filter(|(from, _)| *from < until).count()
    }

    /// Whether a claim holds. One that nothing speaks for or against does not.
    pub fn judge(&self, assert: &Assert) -> Finding {
        let (holds, measured, at) = match assert.claim {
            Claim::Alarm(within) => self.alarm(within),
            Claim::NoAlarmBefore(seconds) => self.no_alarm_before(seconds),
            Claim::FalseAlarmsPerHour(most) => {
                let metrics = self.metrics();
                let found = metrics.false_alarms_per_hour;
                let hours = metrics.normal_hours;
                let heard = hours > 0.0 && metrics.scored > 0;
                (heard && found <= most, format!("{} in {hours:.4} h: {found:.2} an hour", metrics.false_alarms), None)
            }
            Claim::MissedFaults(most) => {
                let Metrics { missed_faults, faults, .. } = self.metrics();
                let missed = |fault: &&FaultMetrics| fault.delay.is_none() && !fault.on_already;
                let first = faults.iter().find(missed).map(|fault| fault.from);
                let holds = !faults.is_empty() && missed_faults as u64 <= most;
                (holds, format!("{missed_faults} of {} faults missed", faults.len()), first)
            }
            Claim::AlarmEndsWithin(seconds) => self.alarm_ends(seconds),
            Claim::SensorFault(within) => self.sensor_fault(within),
            Claim::SensorFaults(most) => {
                let found = self.metrics().sensor_faults;
                let is_fault = |record: &&Record| matches!(record.verdict.outcome, Outcome::SensorFault(_));
                let first = self.records.iter().find(is_fault).map(|record| self.seconds(record.at));
                let heard = !self.records.is_empty();
                (heard && found as u64 <= most, format!("{found} of {} verdicts", self.records.len()), first)
            }
            Claim::ScoreBelow(scores) => self.scores(scores, true),
            Claim::ScoreAbove(scores) => self.scores(scores, false),
            Claim::Overruns(most) => match self.overruns {
                Some(found) => (found <= most, format!("{found} samples found the buffer full"), None),
                None => (false, "not measured: add --on BOARD --paced".to_owned(), None),
            },
            Claim::ClockShare(most) => match self.clock_share {
                Some(found) => (found <= most, format!("{found:.4} of the clock"), None),
                None => (false, "not measured: add --on BOARD".to_owned(), None),
            },
        };
        Finding { assert: assert.text.clone(), sensor: self.sensor.clone(), holds, measured, at }
    }

    fn alarm(&self, Within { within, after }: Within) -> (bool, String, Option<f64>) {
        let alarms = self.alarms();
        let on = |&(from, to): &(u64, u64)| (self.seconds(from), self.seconds(to));
        if let Some((from, _)) = alarms.iter().map(on).find(|(from, to)| *from < after && *to > after) {
            return (false, format!("it was on already, since {from:.3} s"), Some(from));
        }
        match alarms.iter().map(on).find(|(from, _)| *from >= after) {
            Some((from, _)) => (from - after <= within, format!("after {:.3} s", from - after), Some(from)),
            None => (false, "no alarm".to_owned(), None),
        }
    }

    fn no_alarm_before(&self, seconds: f64) -> (bool, String, Option<f64>) {
        let scored = |record: &&Record| self.seconds(record.at) < seconds && self.score(record).is_some();
        let count = self.records.iter().filter(scored).count();
        match self.alarms().first().map(|(from, _)| self.seconds(*from)).filter(|from| *from < seconds) {
            Some(from) => (false, format!("alarm at {from:.3} s"), Some(from)),
            None => (count > 0, format!("no alarm in {count} scores"), None),
        }
    }

    fn alarm_ends(&self, seconds: f64) -> (bool, String, Option<f64>) {
        let (mut worst, mut count) = ((0.0, None), 0);
        for &(_, to) in self.faults.iter().filter(|(_, to)| *to < self.length) {
            let end = self.alarms().iter().filter(|(on, off)| *on <= to && *off > to).map(|(_, off)| *off).max();
            let late = end.map_or(0.0, |off| self.seconds(off - to));
            // On to the end: it may end whenever.
            let late = if end == Some(self.length) { f64::INFINITY } else { late };
            count += 1;
            if late >= worst.0 {
                worst = (late, Some(self.seconds(end.unwrap_or(to))));
            }
        }
        match count {
            0 => (false, "no fault ends".to_owned(), None),
            _ if worst.0.is_infinite() => (false, "it is on at the end".to_owned(), worst.1),
            _ => (worst.0 <= seconds, format!("{:.3} s at most", worst.0), worst.1),
        }
    }

    fn sensor_fault(&self, Within { within, after }: Within) -> (bool, String, Option<f64>) {
        let found = self.records.iter().find(|record| {
            self.seconds(record.at) >= after && matches!(record.verdict.outcome, Outcome::SensorFault(_))
        });
        match found {
            Some(record) => {
                let at = self.seconds(record.at);
                let measured = format!("{} after {:.3} s", word(&record.verdict.outcome), at - after);
                (at - after <= within, measured, Some(at))
            }
            None => (false, "no fault of the sensor found".to_owned(), None),
        }
    }

    fn scores(&self, scores: Scores, below: bool) -> (bool, String, Option<f64>) {
        let limit = scores.score.unwrap_or_else(|| scores.thresholds.unwrap_or(1.0) * self.threshold);
        let inside = self.records.iter().filter(|record| {
            let at = self.seconds(record.at);
            at >= scores.from && at < scores.to
        });
        let found = inside.filter_map(|record| Some((self.score(record)?, self.seconds(record.at))));
        let worst = match below {
            true => found.max_by(|a, b| a.0.total_cmp(&b.0)),
            false => found.min_by(|a, b| a.0.total_cmp(&b.0)),
        };
        let Some((score, at)) = worst else { return (false, "no score in this time".to_owned(), None) };
        let holds = if below { score < limit } else { score > limit };
        let measured = format!("{} {score:.4}, limit {limit:.4}", if below { "highest" } else { "lowest" });
        (holds, measured, Some(at))
    }
}

#[cfg(test)]
mod tests {
    use neji_app::{Trend, Verdict};

    use super::*;

    /// A verdict a second: `a` abnormal with alarm, `n` normal, `x` a fault of the sensor while the alarm stays.
    fn track(story: &str, faults: &[(u64, u64)], cuts: &[u64]) -> Track {
        let mut alarm = false;
        let mut records = Vec::new();
        for (at, letter) in (1..).zip(story.chars()) {
            let score = if letter == 'a' { 30 } else { 10 };
            let outcome = match letter {
                'x' => Outcome::SensorFault(SensorFault::Constant),
                _ => Outcome::Scored { score, smoothed: score, class: None, abnormal: letter == 'a' },
            };
            if letter != 'x' {
                alarm = letter == 'a';
            }
            records
                .push(Record { at: at * 100, verdict: Verdict { sequence: 0, outcome, alarm, drift: Trend::Steady } });
        }
        Track {
            sensor: "s".to_owned(),
            rate: 100,
            length: 100 * story.len() as u64,
            faults: faults.to_vec(),
            cuts: cuts.to_vec(),
            records,
            unit: 0.5,
            threshold: 10.0,
            release: 10.0,
            learned_at: None,
            grace: 100,
            overruns: None,
            clock_share: None,
        }
    }

    fn judged(track: &Track, claim: Claim) -> (bool, String, Option<f64>) {
        let finding = track.judge(&Assert { text: String::new(), sensor: None, claim });
        (finding.holds, finding.measured, finding.at)
    }

    #[test]
    fn alarms_are_the_faults_or_false() {
        // A false alarm at 2 s; a fault from 5 to 8 s with an alarm from 7 to 10 s.
        let track = track("nannnnaaannn", &[(500, 800)], &[]);
        assert_eq!(track.alarms(), [(200, 300), (700, 1000)]);
        let metrics = track.metrics();
        assert_eq!((metrics.alarms, metrics.false_alarms, metrics.missed_faults), (2, 1, 0));
        let fault =
            FaultMetrics { from: 5.0, to: 8.0, on_already: false, delay: Some(2.0), alarm_after_end: Some(2.0) };
        assert_eq!((metrics.faults.as_slice(), metrics.detection_delay), (&[fault][..], Some(2.0)));
        assert_eq!(metrics.false_alarms_per_hour, 400.0);
        let missed = super::tests::track("nnnnnnnn", &[(200, 400)], &[]).metrics();
        assert_eq!((missed.missed_faults, missed.detection_delay), (1, None));
        let on = super::tests::track("aaaaaaaa", &[(200, 400)], &[]).metrics();
        assert_eq!((on.missed_faults, on.faults[0].on_already, on.detection_delay), (0, true, None));
        // What rises a second after the end still belongs to it, what rises later does not.
        assert_eq!(super::tests::track("nnnnannn", &[(200, 400)], &[]).metrics().false_alarms, 0);
        assert_eq!(super::tests::track("nnnnnann", &[(200, 400)], &[]).metrics().false_alarms, 1);
        // A cut of power ends an alarm.
        assert_eq!(super::tests::track("naaaa", &[], &[350]).alarms(), [(200, 350), (400, 500)]);
    }

    #[test]
    fn claims_hold_or_say_what_was_found() {
        let track = track("nannnnaaannx", &[(500, 800)], &[]);
        let within = |within, after| Within { within, after };
        let scores = |from, to| Scores { score: None, thresholds: Some(1.2), from, to };
        let cases = [
            (Claim::Alarm(within(2.0, 5.0)), true, "after 2.000", Some(7.0)),
            (Claim::Alarm(within(1.9, 5.0)), false, "after 2.000", Some(7.0)),
            (Claim::Alarm(within(9.0, 8.0)), false, "on already", Some(7.0)),
            (Claim::Alarm(within(9.0, 11.0)), false, "no alarm", None),
            (Claim::NoAlarmBefore(2.0), true, "1 scores", None),
            (Claim::NoAlarmBefore(2.1), false, "alarm at 2.000", Some(2.0)),
            (Claim::NoAlarmBefore(0.5), false, "0 scores", None),
            (Claim::FalseAlarmsPerHour(400.0), true, "400.00", None),
            (Claim::FalseAlarmsPerHour(399.0), false, "400.00", None),
            (Claim::MissedFaults(0), true, "0 of 1", None),
            (Claim::AlarmEndsWithin(2.0), true, "2.000", Some(10.0)),
            (Claim::AlarmEndsWithin(1.5), false, "2.000", Some(10.0)),
            (Claim::SensorFault(within(4.0, 8.0)), true, "sensor_constant after 4.000", Some(12.0)),
            (Claim::SensorFault(within(3.0, 8.0)), false, "sensor_constant", Some(12.0)),
            (Claim::SensorFaults(1), true, "1 of 12", Some(12.0)),
            (Claim::SensorFaults(0), false, "1 of 12", Some(12.0)),
            (Claim::ScoreBelow(scores(3.0, 7.0)), true, "highest 5", Some(6.0)),
            (Claim::ScoreBelow(scores(2.0, 7.0)), false, "highest 15", Some(2.0)),
            (Claim::ScoreAbove(scores(7.0, 10.0)), true, "lowest 15", Some(7.0)),
            (Claim::ScoreAbove(scores(0.0, 10.0)), false, "lowest 5", Some(1.0)),
            (Claim::ScoreAbove(scores(20.0, 30.0)), false, "no score", None),
            (Claim::Overruns(0), false, "--paced", None),
            (Claim::ClockShare(1.0), false, "--on", None),
        ];
        for (claim, holds, measured, at) in cases {
            let found = judged(&track, claim);
            assert!(found.0 == holds && found.1.contains(measured) && found.2 == at, "{claim:?}: {found:?}");
        }
        // What nothing speaks for does not hold.
        let nothing = super::tests::track("", &[], &[]);
        for claim in [Claim::MissedFaults(0), Claim::FalseAlarmsPerHour(9.0), Claim::SensorFaults(9)] {
            assert!(!judged(&nothing, claim).0, "{claim:?}");
        }
        assert!(!judged(&super::tests::track("naaa", &[(100, 200)], &[]), Claim::AlarmEndsWithin(9.0)).0);
    }
}
