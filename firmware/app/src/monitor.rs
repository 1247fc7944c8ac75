//! The device's pipeline: samples to verdicts, without I/O.
//!
//! Memory is one slice that the caller owns. What lives from frame to frame comes first: the last scores, the samples and
//! columns of a stream of sound, a frame's resized image and sums. What follows is used again and again: for the labels while
//! the part is looked for or for the spectrum, then for the arena and the anomaly map.

use neji_engine::{Engine, Isa};
use neji_format::{FrontEnd, ImageFrontEnd, Model, Size};
use serde::{Deserialize, Serialize};

use crate::calibrate::CalibrationError;
use crate::drift::Trend;
use crate::error::{MonitorError, Rejection, SensorFault, SetupError};
use crate::frontend::image::{self, Layout};
use crate::frontend::log_mel::{LogMel, LogMelStream};
use crate::frontend::resize::AreaResize;
use crate::judge::{Calibration, Judge};
use crate::learn::sealed::Tables as _;
use crate::learn::{Fixed, Learner, Tables};
use crate::score;
use crate::state::{self, STATE_BYTES, StateError};

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The model was run.
    Scored {
        /// This frame's score.
        score: i32,
        /// The exponential mean of what stands for the last scores; until there are enough of them, what stands for those.
        smoothed: i32,
        /// The class of a classifier.
        class: Option<u16>,
        /// The smoothed score counts as abnormal.
        abnormal: bool,
    },
    /// No part of the expected size; no score.
    PartNotFound,
    /// The sensor is at fault; no score.
    SensorFault(SensorFault),
    /// The model, which streams, has not seen a whole window yet; no score.
    WindowNotFull,
    /// The model was run, and its score is learned from: see [`Monitor::calibrate`].
    Calibrating {
        /// This frame's score.
        score: i32,
        /// Scores to come; after none the threshold is this machine's.
        left: u16,
    },
    /// The part lies partly outside of the picture; no score.
    PartCut,
    /// What was found does not look like the part; no score.
    PartUnlike,
}

/// The monitor's word on one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Counts verdicts from 0; wraps.
    pub sequence: u32,
    /// What the frame turned out to be.
    pub outcome: Outcome,
    /// Whether the alarm is on. Frames without a score leave it as it was.
    pub alarm: bool,
    /// Where scores have drifted to; nothing follows from it. Frames without a score leave it as it was.
    pub drift: Trend,
}

/// Words of the caller's memory, by use.
#[derive(Debug, Clone, Copy)]
struct Regions {
    score_words: usize,
    sound_words: usize,
    image_words: usize,
    sum_words: usize,
    label_words: usize,
    /// What a frame's spectrum is computed in: the last words.
    spectrum_words: usize,
    arena_words: usize,
    map_words: usize,
    /// The arena lives from run to run.
    streams: bool,
}

impl Regions {
    fn of(model: &Model<'_>) -> Self {
        let plan = model.plan();
        let mut frame = Layout { image_words: 0, sum_words: 0, label_words: 0 };
        let (mut sound_words, mut spectrum_words) = (0, 0);
        match &plan.front_end {
            FrontEnd::Raw => {}
            FrontEnd::Image(config) => frame = Layout::of(config),
            FrontEnd::LogMel(config) => {
                let config = LogMel::of(model, config);
                (sound_words, spectrum_words) = (config.memory_words(), config.work_words());
            }
        }
        Self {
            score_words: if plan.decision.scores > 1 { plan.decision.scores.into() } else { 0 },
            sound_words,
            image_words: frame.image_words,
            sum_words: frame.sum_words,
            label_words: frame.label_words,
            spectrum_words,
            streams: plan.streaming.is_some(),
            arena_words: model.arena_bytes().div_ceil(4),
            map_words: score::map_words(plan),
        }
    }

    /// Words from the image on.
    fn frame_words(self) -> usize {
        let inference = self.arena_words.saturating_add(self.map_words);
        let work = match self.streams {
            false => self.label_words.max(self.spectrum_words).max(inference),
            true => self.spectrum_words.saturating_add(inference),
        };
        self.image_words.saturating_add(self.sum_words).saturating_add(work)
    }

    fn words(self) -> usize {
        self.score_words.saturating_add(self.sound_words).saturating_add(self.frame_words())
    }
}

/// Takes samples in any pieces and gives a verdict for each frame.
///
/// Its third parameter says who knows what normal outputs are: [`Fixed`], the blob alone, or a [`Learner`].
pub struct Monitor<'a, I: Isa, T: Tables = Fixed> {
    engine: Engine<'a, I>,
    /// The last scores.
    scores: &'a mut [i32],
    /// From the image on.
    memory: &'a mut [u32],
    regions: Regions,
    resize: Option<AreaResize>,
    sound: Option<LogMelStream<'a>>,
    filled: usize,
    /// Runs of a streaming model since its window was empty; stops counting where that changes nothing.
    runs: u32,
    judge: Judge,
    tables: T,
    sequence: u32,
    has_map: bool,
}

impl<'a, I: Isa> Monitor<'a, I> {
    /// A monitor that has seen nothing.
    ///
    /// # Errors
    /// Where the memory is smaller than [`Monitor::memory_bytes`] or the model's parts do not fit together.
    pub fn new(model: Model<'a>, memory: &'a mut [u8]) -> Result<Self, MonitorError> {
        Self::with(model, memory, Fixed)
    }

    /// Calibration, decision and drift, to be kept over a restart; see [`crate::state`].
    pub fn export(&self) -> [u8; STATE_BYTES] {
        state::export(&self.judge, self.engine.model().header())
    }

    /// Goes on from what [`Monitor::export`] gave, with the first frame.
    ///
    /// # Errors
    /// See [`StateError`]; nothing has changed then.
    pub fn import(&mut self, state: &[u8]) -> Result<(), StateError> {
        let judge = self.restored(state)?;
        self.reset();
        self.judge = judge;
        Ok(())
    }
}

impl<'a, 'r, I: Isa> Monitor<'a, I, Learner<'r>> {
    /// A monitor that has seen nothing, and learns tables in `room` of [`Learner::memory_bytes`] when it is calibrated; where there
    /// is no room at all, scores alone.
    ///
    /// # Errors
    /// As [`Monitor::new`]; or the room is too small, but for none.
    pub fn with_learner(model: Model<'a>, memory: &'a mut [u8], room: &'r mut [u8]) -> Result<Self, MonitorError> {
        let tables = Learner::new(&model, room)?;
        Self::with(model, memory, tables)
    }

    /// What was learned.
    pub fn learner(&self) -> &Learner<'r> {
        &self.tables
    }

    /// Bytes of [`Monitor::export_to`].
    pub fn state_bytes(&self) -> usize {
        STATE_BYTES.saturating_add(self.tables.state_bytes())
    }

    /// Writes calibration, decision, drift and tables, to be kept over a restart, to the front of `bytes`: [`crate::state`], then
    /// what stands at [`crate::learn`]. Returns how many bytes that is.
    ///
    /// # Errors
    /// Fewer bytes than [`Monitor::state_bytes`]; nothing is written then.
    pub fn export_to(&self, bytes: &mut [u8]) -> Result<usize, StateError> {
        let length = StateError::Length { given: bytes.len() };
        let (first, rest) = bytes.split_first_chunk_mut::<STATE_BYTES>().ok_or(length)?;
        let tables = rest.get_mut(..self.tables.state_bytes()).ok_or(length)?;
        let header = self.engine.model().header();
        *first = state::export(&self.judge, header);
        self.tables.export(header, state::crc(first), tables);
        Ok(self.state_bytes())
    }

    /// Goes on from what [`Monitor::export_to`] gave, with the first frame; or from a state without tables, where the blob's are
    /// then measured by.
    ///
    /// # Errors
    /// See [`StateError`]; nothing has changed then.
    pub fn import_from(&mut self, state: &[u8]) -> Result<(), StateError> {
        let (first, tables) =
            state.split_first_chunk::<STATE_BYTES>().ok_or(StateError::Length { given: state.len() })?;
        let judge = self.restored(first)?;
        if !tables.is_empty() {
            self.tables.check(self.engine.model(), state::crc(first), tables)?;
        }
        self.reset();
        self.judge = judge;
        self.tables.forget();
        self.tables.import(tables);
        Ok(())
    }
}

impl<'a, I: Isa, T: Tables> Monitor<'a, I, T> {
    /// Memory that a model needs in bytes, with 3 to spare so that it may begin anywhere.
    pub fn memory_bytes(model: &Model<'_>) -> usize {
        Regions::of(model).words().saturating_mul(4).saturating_add(3)
    }

    // A function of its own: what it copies of the plan is off the stack when the monitor runs.
    #[inline(never)]
    fn with(model: Model<'a>, memory: &'a mut [u8], tables: T) -> Result<Self, MonitorError> {
        check(&model)?;
        let engine = Engine::new(model);
        engine.check().map_err(MonitorError::NotLinked)?;
        let regions = Regions::of(&model);
        let small = SetupError::MemoryTooSmall { needed: Self::memory_bytes(&model), given: memory.len() };
        let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
        let words = words.get_mut(..regions.words()).ok_or(MonitorError::Setup(small))?;
        let (scores, words) = words.split_at_mut(regions.score_words.min(words.len()));
        let (sound, memory) = words.split_at_mut(regions.sound_words.min(words.len()));
        let plan = model.plan();
        let (mut resize, mut stream) = (None, None);
        match &plan.front_end {
            FrontEnd::Raw => {}
            FrontEnd::Image(config) => resize = Some(AreaResize::new(config)),
            FrontEnd::LogMel(config) => stream = LogMelStream::new(LogMel::of(&model, config), sound),
        }
        Ok(Self {
            engine,
            scores: bytemuck::cast_slice_mut(scores),
            memory,
            regions,
            resize,
            sound: stream,
            filled: 0,
            runs: 0,
            judge: Judge::new(plan.decision),
            tables,
            sequence: 0,
            has_map: false,
        })
    }

    /// Takes samples off the front of `samples`, up to the end of a frame (of sound: of a window of frames that is due); its
    /// verdict, or `None` when all samples are taken and the frame is not yet complete. How the stream is cut makes no
    /// difference.
    // A function of its own in every image, so that what it takes of the stack can be read there.
    #[inline(never)]
    pub fn push(&mut self, samples: &mut &[u8]) -> Option<Verdict> {
        // Copied is what is needed alone: a plan takes some of the stack.
        match self.engine.model().plan().front_end {
            FrontEnd::Raw => {
                let input = self.engine.input_mut(arena(self.memory, self.regions));
                let count = samples.len().min(input.len().saturating_sub(self.filled));
                let (now, rest) = samples.split_at_checked(count)?;
                for (to, &from) in input.iter_mut().skip(self.filled).zip(now) {
                    *to = from as i8;
                }
                *samples = rest;
                self.filled += count;
                self.has_map &= count == 0;
                if self.filled < input.len() || count == 0 {
                    return None;
                }
                self.filled = 0;
                let outcome = self.infer();
                Some(self.verdict(outcome))
            }
            FrontEnd::Image(config) => {
                let resize = self.resize.as_mut()?;
                let (image, sums, _) = frame(self.memory, self.regions, &config);
                if !resize.push(samples, image, sums) {
                    return None;
                }
                let outcome = self.look(&config);
                if let Some(resize) = &mut self.resize {
                    resize.restart();
                }
                Some(self.verdict(outcome))
            }
            FrontEnd::LogMel(_) => {
                let outcome = self.listen(samples)?;
                Some(self.verdict(outcome))
            }
        }
    }

    /// Says that the sensor's frame is over: one of which samples are missing is [`SensorFault::Dropped`], and the next
    /// sample begins a new frame. `None` where no frame was begun, and of sound, which has no frames of its own and may end
    /// anywhere.
    pub fn end_of_frame(&mut self) -> Option<Verdict> {
        let begun = self.filled > 0 || self.resize.as_ref().is_some_and(|resize| !resize.is_empty());
        let verdict = begun.then(|| self.gap());
        self.discard();
        verdict
    }

    /// Says that samples were lost: what was begun is [`SensorFault::Dropped`], and the next sample begins a new frame or
    /// window. Scores and alarm stay.
    pub fn gap(&mut self) -> Verdict {
        self.discard();
        // Rows before a gap and rows behind it make no window.
        self.runs = 0;
        self.verdict(Outcome::SensorFault(SensorFault::Dropped))
    }

    /// Forgets scores, alarm, drift and a frame that was begun; numbering goes on, and so does a calibration.
    pub fn reset(&mut self) {
        self.discard();
        self.runs = 0;
        self.judge.reset();
        self.has_map = false;
    }

    /// Learns how this machine's normal scores lie from the next `scores` frames that have one, and moves the threshold by it;
    /// what the threshold then promises stands at [`crate::calibrate`]. Meanwhile nothing is decided
    /// ([`Outcome::Calibrating`]); frames without a score, such as those of a sensor at fault, do not count.
    ///
    /// With a [`Learner`] that has room, the first half of the frames (rounded down) teach it what normal outputs are: see
    /// [`crate::learn`].
    ///
    /// # Errors
    /// See [`CalibrationError`]; nothing has changed then.
    pub fn calibrate(&mut self, scores: u16) -> Result<(), CalibrationError> {
        let first = self.tables.share(scores)?;
        self.judge.calibrate(scores.saturating_sub(first))?;
        self.tables.begin(first);
        Ok(())
    }

    /// Goes back to the blob's threshold and tables, and forgets all scores.
    pub fn uncalibrate(&mut self) {
        self.judge.set(Calibration::Blob);
        self.tables.forget();
    }

    /// The judge of a state that was exported.
    fn restored(&self, state: &[u8]) -> Result<Judge, StateError> {
        state::import(Judge::new(self.engine.model().plan().decision), self.engine.model().header(), state)
    }

    /// Puts the threshold elsewhere, and the release level as far below it as it was; with `None` back. Scores and alarm stay. It
    /// holds until the next [`Monitor::reset`], [`Monitor::import`] or beginning or end of a calibration.
    pub fn set_threshold(&mut self, threshold: Option<i32>) {
        self.judge.set_threshold(threshold);
    }

    /// Threshold and release level that the next score is compared with.
    pub fn levels(&self) -> (i32, i32) {
        self.judge.decider.levels()
    }

    /// What is known of this machine.
    pub fn calibration(&self) -> Calibration {
        self.judge.calibration()
    }

    /// Drops a frame that was begun.
    fn discard(&mut self) {
        self.filled = 0;
        if let Some(resize) = &mut self.resize {
            resize.restart();
        }
        if let Some(sound) = &mut self.sound {
            sound.restart();
        }
    }

    /// The model.
    pub fn model(&self) -> &Model<'a> {
        self.engine.model()
    }

    /// Whether the alarm is on.
    pub fn alarm(&self) -> bool {
        self.judge.alarm()
    }

    /// Where scores have drifted to.
    pub fn drift(&self) -> Trend {
        self.judge.trend()
    }

    /// The anomaly map of the last frame, rows of pixels of the input or of the output; `None` where it was not scored or the
    /// detector makes none.
    pub fn map(&self) -> Option<(&[u32], Size)> {
        let shape = score::map_shape(self.engine.model().plan())?;
        let begin = self.regions.image_words + self.regions.sum_words + self.regions.arena_words;
        let map = self.memory.get(begin..)?.get(..shape.height as usize * shape.width as usize)?;
        let size = Size { width: shape.width.try_into().ok()?, height: shape.height.try_into().ok()? };
        self.has_map.then_some((map, size))
    }

    /// The features of the last frame of sound in 1/65536 dB, the lowest band first; none of other front ends.
    pub fn decibels(&self) -> &[i32] {
        self.sound.as_ref().map_or(&[], LogMelStream::decibels)
    }

    /// The bytes of the model's input as the last inference left it: itself where the plan keeps it to the end, until the
    /// next samples come.
    pub fn input(&self) -> &[i8] {
        self.engine.input(self.arena())
    }

    /// The bytes of the model's output.
    pub fn output(&self) -> &[i8] {
        self.engine.output(self.arena())
    }

    fn arena(&self) -> &[i8] {
        let begin = self.regions.image_words + self.regions.sum_words;
        bytemuck::cast_slice(self.memory.get(begin..begin + self.regions.arena_words).unwrap_or(&[]))
    }

    fn verdict(&mut self, outcome: Outcome) -> Verdict {
        if !matches!(outcome, Outcome::Scored { .. }) {
            self.has_map = false;
        }
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Verdict { sequence, outcome, alarm: self.judge.alarm(), drift: self.judge.trend() }
    }

    /// From a complete frame to its outcome.
    fn look(&mut self, config: &ImageFrontEnd) -> Outcome {
        let Some(resize) = &self.resize else { return Outcome::PartNotFound };
        if let Err(fault) = image::check_sensor(config, resize.statistics()) {
            return Outcome::SensorFault(fault);
        }
        let (image, _, work) = frame(self.memory, self.regions, config);
        match image::prepare(config, image::template(self.engine.model(), config), image, work) {
            Ok(pose) => {
                let arena = bytemuck::cast_slice_mut(work);
                let element = self.engine.model().plan().element;
                image::emit(config, image, pose.as_ref(), element, self.engine.input_mut(arena));
                self.infer()
            }
            Err(Rejection::SensorFault(fault)) => Outcome::SensorFault(fault),
            Err(Rejection::PartCut) => Outcome::PartCut,
            Err(Rejection::PartUnlike) => Outcome::PartUnlike,
            Err(Rejection::PartNotFound | Rejection::Setup(_)) => Outcome::PartNotFound,
        }
    }

    /// Takes sound up to the next window that is due, and looks at it.
    fn listen(&mut self, samples: &mut &[u8]) -> Option<Outcome> {
        let sound = self.sound.as_mut()?;
        let begin = self.regions.frame_words().saturating_sub(self.regions.spectrum_words);
        while !sound.push(samples, self.memory.get_mut(begin..).unwrap_or(&mut []))? {
            self.has_map = false;
        }
        if let Err(fault) = sound.check_sensor() {
            return Some(Outcome::SensorFault(fault));
        }
        sound.input(self.engine.input_mut(arena(self.memory, self.regions)));
        Some(self.infer())
    }

    /// Runs the model on the input in the arena, scores and decides.
    fn infer(&mut self) -> Outcome {
        let plan = self.engine.model().plan();
        let begin = self.regions.image_words + self.regions.sum_words;
        let work = self.memory.get_mut(begin..).unwrap_or(&mut []);
        let (arena, map) = work.split_at_mut(self.regions.arena_words.min(work.len()));
        let arena: &mut [i8] = bytemuck::cast_slice_mut(arena);
        let run = self.runs;
        // `new` has checked the only reason why this could fail, the arena's length.
        let _ = match plan.streaming {
            None => self.engine.run(arena),
            Some(_) => self.engine.run_phase(run, arena),
        };
        if let Some(streaming) = plan.streaming {
            self.runs = streaming.after(run);
            if self.runs < streaming.full_after.into() {
                return Outcome::WindowNotFull;
            }
        }
        let elements = score::Bytes::new(plan, self.engine.input(arena), self.engine.output(arena));
        let (score, class) = self.tables.score(self.engine.model(), &elements, map);
        self.has_map = score::map_shape(plan).is_some();
        if let Some(left) = self.tables.learn(self.engine.model(), &elements, map) {
            return Outcome::Calibrating { score, left: left.saturating_add(self.judge.left()) };
        }
        self.judge.push(score, class, self.scores)
    }
}

fn arena(memory: &mut [u32], regions: Regions) -> &mut [i8] {
    let begin = regions.image_words + regions.sum_words;
    bytemuck::cast_slice_mut(memory.get_mut(begin..begin + regions.arena_words).unwrap_or(&mut []))
}

/// Image, sums and work area.
fn frame<'m>(
    memory: &'m mut [u32],
    regions: Regions,
    config: &ImageFrontEnd,
) -> (&'m mut [u8], &'m mut [u32], &'m mut [u32]) {
    let (image, rest) = memory.split_at_mut(regions.image_words.min(memory.len()));
    let (sums, work) = rest.split_at_mut(regions.sum_words.min(rest.len()));
    let pixels = usize::from(config.resize.width) * usize::from(config.resize.height);
    let image = bytemuck::cast_slice_mut::<u32, u8>(image);
    let pixels = pixels.min(image.len());
    (&mut image[..pixels], sums, work)
}

fn check(model: &Model<'_>) -> Result<(), MonitorError> {
    let plan = model.plan();
    let input = plan.input.shape.len();
    if let FrontEnd::Image(config) = &plan.front_end {
        image::check(config).map_err(MonitorError::Setup)?;
        let front_end = image::output_len(config);
        if front_end != input {
            return Err(MonitorError::InputLength { front_end, model: input });
        }
    }
    Ok(())
}
