//! Frames to the model's input: neighbouring frames as they are, or what is typical of many.

use neji_format::WindowStatistics;

use super::columns::Columns;
use super::statistics::Statistics;
use super::steps::Steps;

/// Of which frames an input is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Frames that an input stands for, at least 1.
    pub context: u16,
    /// Frames from an input to the next, at least 1; of statistics a divisor of `context`.
    pub stride: u16,
    /// What is typical of the frames is the input, not the frames themselves.
    pub statistics: Option<WindowStatistics>,
}

impl Window {
    /// Blocks of `stride` frames in a window.
    pub(super) const fn blocks(self) -> usize {
        match self.context.checked_div(self.stride) {
            Some(blocks) => blocks as usize,
            None => 0,
        }
    }

    /// Elements of an input of frames of so many features.
    pub const fn input_len(self, features: usize) -> usize {
        let elements = match self.statistics {
            Some(statistics) => statistics.groups().saturating_mul(statistics.rows(self.blocks() as u32)) as usize,
            None => self.context as usize,
        };
        features.saturating_mul(elements)
    }
}

/// What is kept of the last frames.
#[derive(Debug)]
enum Kept<'a> {
    Frames(Columns<'a>),
    Statistics(Statistics<'a>),
}

/// The last frames, and when the next input is due.
#[derive(Debug)]
pub struct Inputs<'a> {
    window: Window,
    kept: Kept<'a>,
    /// Frames that the next input still lacks.
    missing: u16,
}

impl<'a> Inputs<'a> {
    /// Words of memory for windows of frames of so many features.
    pub const fn memory_words(features: usize, window: Window, steps: &Steps<'_>) -> usize {
        match window.statistics {
            Some(statistics) => Statistics::memory_words(features, window, statistics),
            None => Columns::memory_words(features, window, steps),
        }
    }

    /// Without any frame; `None` where `memory` is shorter than [`Inputs::memory_words`].
    pub fn new(features: usize, window: Window, steps: Steps<'a>, memory: &'a mut [u32]) -> Option<Self> {
        let kept = match window.statistics {
            Some(statistics) => Kept::Statistics(Statistics::new(features, window, statistics, steps, memory)?),
            None => Kept::Frames(Columns::new(features, window, steps, memory)?),
        };
        let mut inputs = Self { window, kept, missing: 0 };
        inputs.restart();
        Some(inputs)
    }

    /// Forgets all frames.
    pub fn restart(&mut self) {
        self.missing = self.window.context;
        match &mut self.kept {
            Kept::Frames(columns) => columns.restart(),
            Kept::Statistics(statistics) => statistics.restart(),
        }
    }

    /// Takes the next frame's features, in 1/65536 of their units; true where an input is complete and due.
    pub fn push(&mut self, features: &[i32]) -> bool {
        match &mut self.kept {
            Kept::Frames(columns) => columns.push(features),
            Kept::Statistics(statistics) => statistics.push(features),
        }
        self.missing = self.missing.saturating_sub(1);
        let due = self.missing == 0;
        if due {
            self.missing = self.window.stride;
        }
        due
    }

    /// Puts the bytes of the input that is due in `out`: frames with the oldest first, or rows of statistics.
    pub fn copy_to(&self, out: &mut [i8]) {
        match &self.kept {
            Kept::Frames(columns) => columns.copy_to(out),
            Kept::Statistics(statistics) => statistics.copy_to(out),
        }
    }

    /// The statistics, where an input is made of them.
    pub fn statistics(&self) -> Option<&Statistics<'a>> {
        match &self.kept {
            Kept::Frames(_) => None,
            Kept::Statistics(statistics) => Some(statistics),
        }
    }
}
