//! Scores to alarm: exponential mean, threshold with hysteresis, k of the last n.

use neji_format::Decision;

/// Fraction bits of the exponential mean's state, so that small steps do not get lost.
const STATE_BITS: u32 = 8;

/// What a score led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The exponential mean of the scores up to this one.
    pub smoothed: i32,
    /// The smoothed score is above the threshold, or above the release level while the alarm is on.
    pub abnormal: bool,
    /// At least `required` of the last `window` scores were abnormal.
    pub alarm: bool,
}

/// The decision's state. The first score is its own mean.
#[derive(Debug, Clone, Copy)]
pub struct Decider {
    threshold: i32,
    release: i32,
    smoothing: u16,
    required: u8,
    window: u8,
    /// The exponential mean, in 1/256 steps.
    pub(crate) state: Option<i64>,
    /// A bit for each of the last scores, the newest lowest: it was abnormal.
    pub(crate) history: u32,
    alarm: bool,
}

impl Decider {
    /// A decider that has seen nothing.
    pub fn new(decision: Decision) -> Self {
        let Decision { threshold, release, smoothing, required, window, .. } = decision;
        let window = window.clamp(1, 32);
        Self { threshold, release, smoothing, required, window, state: None, history: 0, alarm: false }
    }

    /// Forgets all scores and the alarm.
    pub fn reset(&mut self) {
        (self.state, self.history, self.alarm) = (None, 0, false);
    }

    /// Goes on with other levels; mean, history and alarm stay.
    pub fn set_levels(&mut self, threshold: i32, release: i32) {
        (self.threshold, self.release) = (threshold, release);
    }

    /// Threshold and release level.
    pub fn levels(&self) -> (i32, i32) {
        (self.threshold, self.release)
    }

    /// Takes mean and history of a decider like this one; false, and all is as it was, where they can't be of one.
    pub(crate) fn restore(&mut self, state: Option<i64>, history: u32) -> bool {
        let means = i64::from(i32::MIN) << STATE_BITS..=i64::from(i32::MAX) << STATE_BITS;
        let sound = state.is_none_or(|state| means.contains(&state)) && history & !self.newest() == 0;
        if sound {
            (self.state, self.history, self.alarm) = (state, history, self.is_alarm(history));
        }
        sound
    }

    /// The bits of the history that count.
    fn newest(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.window))
    }

    fn is_alarm(&self, history: u32) -> bool {
        history.count_ones() >= u32::from(self.required).max(1)
    }

    /// Whether the alarm is on; it stays as it is while there are no scores.
    pub fn alarm(&self) -> bool {
        self.alarm
    }

    /// Takes the next score.
    pub fn push(&mut self, score: i32) -> Decided {
        let score = i64::from(score) << STATE_BITS;
        let state = match self.state {
            None => score,
            Some(state) => state + (((score - state) * i64::from(self.smoothing.min(1 << 15))) >> 15),
        };
        self.state = Some(state);
        // A mean of i32 values, so it is one.
        let smoothed = ((state + (1 << (STATE_BITS - 1))) >> STATE_BITS) as i32;
        let level = if self.alarm { self.release } else { self.threshold };
        let abnormal = smoothed > level;
        self.history = ((self.history << 1) | u32::from(abnormal)) & self.newest();
        self.alarm = self.is_alarm(self.history);
        Decided { smoothed, abnormal, alarm: self.alarm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decider(smoothing: u16, required: u8, window: u8) -> Decider {
        Decider::new(Decision { threshold: 100, release: 50, smoothing, required, window, ..Decision::EACH })
    }

    #[test]
    fn one_score_is_not_an_alarm_two_of_three_are() {
        let mut decider = decider(1 << 15, 2, 3);
        let alarms = [0, 200, 0, 200, 60, 60, 40, 40, 40].map(|score| decider.push(score).alarm);
        // 60 counts as abnormal only while the alarm is on.
        assert_eq!(alarms, [false, false, false, true, true, true, true, false, false]);
    }

    #[test]
    fn mean_begins_with_the_first_score_and_halves() {
        let mut decider = decider(1 << 14, 1, 1);
        assert_eq!([80, 0, 0, 80].map(|score| decider.push(score).smoothed), [80, 40, 20, 50]);
    }

    #[test]
    fn extreme_scores_do_not_overflow() {
        let mut decider = decider(1 << 15, 1, 32);
        for score in [i32::MIN, i32::MAX, i32::MIN, i32::MAX] {
            assert_eq!(decider.push(score).smoothed, score);
        }
    }

    #[test]
    fn other_levels_hold_from_the_next_score_on() {
        let mut decider = decider(1 << 15, 1, 1);
        assert!(decider.push(200).alarm);
        decider.set_levels(300, 250);
        assert!(decider.alarm() && decider.levels() == (300, 250));
        assert_eq!([260, 240, 260, 301].map(|score| decider.push(score).alarm), [true, false, false, true]);
    }

    #[test]
    fn reset_forgets_the_alarm() {
        let mut decider = decider(1 << 15, 1, 1);
        assert!(decider.push(500).alarm);
        decider.reset();
        assert!(!decider.alarm());
        assert!(!decider.push(60).alarm);
    }
}
