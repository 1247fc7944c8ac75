//! How a monitor begins on the host: with a state that was kept, and with a calibration.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use neji_app::calibrate::levels;
use neji_app::{Calibration, Learner, Monitor, STATE_BYTES};
use neji_engine::Host;
use neji_format::{Decision, Model};
use neji_machine::Options;

/// A monitor that can learn tables where it is given room.
pub type LearningMonitor<'m> = Monitor<'m, Host, Learner<'m>>;

/// What a monitor is told before the first samples.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    /// It learns from so many scores.
    pub calibrate: Option<u16>,
    /// The first half of them teach it where normal outputs lie.
    pub tables: bool,
    /// It goes on from this state.
    pub state: Option<Vec<u8>>,
}

impl Begin {
    /// Anew, but for a calibration by so many scores.
    pub fn calibrated(scores: Option<u16>) -> Self {
        Self { calibrate: scores, ..Self::default() }
    }

    /// Goes on from the state in `path`, where there is such a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read_state(&mut self, path: &Path) -> Result<()> {
        if path.exists() {
            self.state = Some(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?);
        }
        Ok(())
    }

    /// Whether it is anything else than a fresh monitor.
    pub fn is_fresh(&self) -> bool {
        self.calibrate.is_none() && self.state.is_none()
    }

    /// Room for what is learned: bytes.
    ///
    /// # Errors
    /// Tables are asked for, and the model's detector has none that could be learned.
    pub fn room(&self, model: &Model<'_>) -> Result<Vec<u8>> {
        let bytes = Learner::memory_bytes(model);
        ensure!(
            !self.tables || bytes > 0,
            "--tables: the model's detector measures no distance from normal outputs, so there are no tables to learn; leave it \
             out, and scores are learned from"
        );
        let keeps_tables = self.state.as_ref().is_some_and(|state| state.len() > STATE_BYTES + 64);
        Ok(vec![0; if self.tables || keeps_tables { bytes } else { 0 }])
    }

    /// Tells `monitor`, which has the [`Begin::room`].
    ///
    /// # Errors
    /// A state of another model, or a calibration that the model or its state does not allow.
    pub fn tell(&self, monitor: &mut LearningMonitor<'_>) -> Result<()> {
        if let Some(state) = &self.state {
            monitor.import_from(state).map_err(|error| anyhow!("--state: {error}"))?;
        }
        if let Some(scores) = self.calibrate {
            monitor.calibrate(scores).map_err(|error| anyhow!("--calibrate {scores}: {error}"))?;
        }
        Ok(())
    }

    /// `options` of a board that begins alike.
    pub fn options(&self, options: Options) -> Options {
        Options { calibrate: self.calibrate, tables: self.tables, ..options }
    }
}

/// What `monitor` keeps over a restart.
pub fn state(monitor: &LearningMonitor<'_>) -> Vec<u8> {
    let mut state = vec![0; monitor.state_bytes()];
    // There are as many bytes as it says.
    let written = monitor.export_to(&mut state).unwrap_or(0);
    state.truncate(written);
    state
}

/// The decision with the levels that `monitor` has learned; none where it has learned nothing.
pub fn learned(monitor: &LearningMonitor<'_>) -> Option<Decision> {
    let decision = monitor.model().plan().decision;
    match (decision.normal, monitor.calibration()) {
        (Some(blob), Calibration::Learned(own)) => Some(levels(&decision, blob, own)),
        _ => None,
    }
}
