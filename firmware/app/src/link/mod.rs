//! A monitor with a live link to a PC: `shared/link/PROTOCOL.md` says what goes over it.
//!
//! [`LinkStation`] does no I/O, as [`Monitor`] does none: it takes samples and what came from the PC, and has bytes to send. So it
//! serves a blocking loop ([`LinkStation::serve`], over embedded-io), one that never waits ([`LinkStation::exchange`], over a [`Wire`]),
//! one that awaits the line and hands over bytes, and a PC. All memory is the caller's: where none is given for recordings there are none, and where what is to be
//! sent finds no room, it is dropped and counted, so a slow line never holds the monitor up.

mod convert;
mod pieces;
mod queue;
mod recorder;
mod serve;
mod wire;

use core::fmt::Display;

use neji_engine::Isa;
use neji_format::FrontEnd;
use neji_link::{
    COMMAND_FRAME_BYTES_MAX, Cause, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX, Identity, Levels, Log, LogLevel,
    ModelIdentity, PIECE_BYTES_MAX, PROTOCOL_VERSION, REASON_BYTES_MAX, Reason, Recording, RecordingPiece, ResetCause,
    Running, Score, State, TEXT_BYTES_MAX, Text, Which, capability, cut,
};

use self::pieces::SmallMap;
use self::queue::Queue;
use self::recorder::Recorder;
pub use self::recorder::SLOTS_MAX;
pub use self::wire::{Either, Wire};
use crate::judge::Calibration;
use crate::monitor::{Monitor, Verdict};
use crate::score;

/// Least memory for what waits to be sent: the longest frame, and a state or score beside it.
pub const QUEUE_BYTES_MIN: usize = FRAME_BYTES_MAX + 128;

/// Room that is kept for the answer to a command: however many scores wait, the PC is answered.
const ANSWER_BYTES: usize = 32;

/// What a board says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// Name of its package.
    pub board: &'a str,
    /// Its core, such as `cortex-m4`.
    pub core: &'a str,
    /// Version of the firmware.
    pub firmware: &'a str,
    /// The core's clock in Hz; 0 where it is not known.
    pub clock_hz: u32,
    /// Why the firmware started.
    pub reset: ResetCause,
    /// The caller starts anew where [`LinkStation::is_restart_due`] says so.
    pub restarts: bool,
}

/// Memory of a [`LinkStation`].
#[derive(Debug)]
pub struct Memory<'m> {
    /// For what waits to be sent: [`QUEUE_BYTES_MIN`], and what a burst takes, such as a map, whose cells take half of it at most.
    pub queue: &'m mut [u8],
    /// For recordings; may be empty.
    pub recordings: &'m mut [u8],
    /// Parts of `recordings`, [`SLOTS_MAX`] at most: one is what comes last, the others are the last alarms. Fewer than two keep none.
    pub slots: usize,
}

/// Why no model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The checksum in the blob's header.
    pub crc32: u32,
    /// The length in the blob's header.
    pub total_bytes: u32,
    reason: Text<REASON_BYTES_MAX>,
}

impl Refusal {
    /// Of a blob, whose header says so, for this reason.
    pub fn new(crc32: u32, total_bytes: u32, reason: impl Display) -> Self {
        Self { crc32, total_bytes, reason: Text::of(reason) }
    }

    /// Of what lies in the blob's region, or `None` where that is empty: neither a blob nor anything else was written there.
    pub fn of(region: &[u8], reason: impl Display) -> Option<Self> {
        let is_empty =
            region.iter().take(64).all(|&byte| byte == 0xff) || region.iter().take(64).all(|&byte| byte == 0);
        let word = |offset: usize| {
            region.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        (!is_empty).then(|| Self::new(word(neji_format::header::CRC_OFFSET), word(24), reason))
    }
}

/// What is under way of a recording.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    id: u32,
    offset: u32,
}

/// A monitor and its link.
pub struct LinkStation<'s, 'a, I: Isa> {
    monitor: Option<&'s mut Monitor<'a, I>>,
    refusal: Option<Refusal>,
    about: About<'s>,
    queue: Queue<'s>,
    recorder: Recorder<'s>,
    encoder: Encoder,
    decoder: Decoder<{ COMMAND_FRAME_BYTES_MAX - 1 }>,
    /// Bytes of samples since the start.
    position: u64,
    /// The last verdict's number.
    verdict: Option<u32>,
    verdicts: u32,
    dropped: u32,
    unsent: u32,
    /// A threshold that the PC has set.
    set: Option<i32>,
    maps: bool,
    spectra: bool,
    fetch: Option<Fetch>,
    restart: bool,
    alarm: bool,
    told: Option<State>,
}

impl<'s, 'a, I: Isa> LinkStation<'s, 'a, I> {
    /// A station around `monitor`, which says who it is first.
    pub fn new(about: About<'s>, monitor: &'s mut Monitor<'a, I>, memory: Memory<'s>) -> Self {
        let step = convert::step_bytes(monitor.model());
        let alarm = monitor.alarm();
        Self::with(about, Some(monitor), None, memory, step, alarm)
    }

    /// A station without a model, which can say no more than that, and why.
    pub fn without_model(about: About<'s>, refusal: Option<Refusal>, memory: Memory<'s>) -> Self {
        Self::with(about, None, refusal, memory, 1, false)
    }

    fn with(
        about: About<'s>,
        monitor: Option<&'s mut Monitor<'a, I>>,
        refusal: Option<Refusal>,
        memory: Memory<'s>,
        step: u64,
        alarm: bool,
    ) -> Self {
        let slots = if monitor.is_some() { memory.slots } else { 0 };
        let mut station = Self {
            monitor,
            refusal,
            about,
            queue: Queue::new(memory.queue),
            recorder: Recorder::new(memory.recordings, slots, step),
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            position: 0,
            verdict: None,
            verdicts: 0,
            dropped: 0,
            unsent: 0,
            set: None,
            maps: false,
            spectra: false,
            fetch: None,
            restart: false,
            alarm,
            told: None,
        };
        // What the line carried before ends here.
        station.queue.push(&[0]);
        station.identify();
        station
    }

    /// The monitor, where a model runs.
    pub fn monitor(&self) -> Option<&Monitor<'a, I>> {
        self.monitor.as_deref()
    }

    /// Whether the alarm is on.
    pub fn alarm(&self) -> bool {
        self.alarm
    }

    /// Takes samples off the front of `samples` up to the end of a frame, as [`Monitor::push`] does, and has its score sent. Without a
    /// model all are taken and there is no verdict.
    pub fn push(&mut self, samples: &mut &[u8]) -> Option<Verdict> {
        let Some(monitor) = self.monitor.as_deref_mut() else {
            *samples = &[];
            return None;
        };
        let before = *samples;
        let verdict = monitor.push(samples);
        let taken = before.get(..before.len().saturating_sub(samples.len())).unwrap_or(&[]);
        self.position = self.position.saturating_add(taken.len() as u64);
        self.recorder.push(taken);
        let verdict = verdict?;
        self.tell(verdict);
        Some(verdict)
    }

    /// Says that samples were lost before the next one, of all axes, 0 where it is not known how many; see [`Monitor::gap`].
    pub fn gap(&mut self, samples: u32) -> Option<Verdict> {
        let verdict = self.monitor.as_deref_mut()?.gap();
        self.dropped = self.dropped.saturating_add(samples);
        self.recorder.restart(self.position);
        self.tell(verdict);
        Some(verdict)
    }

    /// Says that the sensor's frame is over; see [`Monitor::end_of_frame`].
    pub fn end_of_frame(&mut self) -> Option<Verdict> {
        let verdict = self.monitor.as_deref_mut()?.end_of_frame();
        if let Some(monitor) = self.monitor.as_deref() {
            // A sound's frames have no end that anybody knows, and a whole image's is where the next begins anyway.
            if verdict.is_some() || matches!(monitor.model().plan().front_end, FrontEnd::LogMel(_)) {
                self.recorder.restart(self.position);
            }
        }
        let verdict = verdict?;
        self.tell(verdict);
        Some(verdict)
    }

    /// Takes what came from the PC, in any pieces, and does what it asks for; whether there was a command in it.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        let mut understood = false;
        for &byte in bytes {
            if let Some(Ok(frame)) = self.decoder.push::<Command>(byte) {
                self.obey(frame.sequence, frame.message);
                understood = true;
            }
        }
        understood
    }

    /// Has a line sent to whoever listens, cut where it is too long.
    pub fn log(&mut self, level: LogLevel, text: impl Display) {
        let text = Text::<PIECE_BYTES_MAX>::of(text);
        self.send(&Event::Log(Log { level, text: text.as_str() }));
    }

    /// The next bytes to send; empty where nothing waits. What of them was sent is told by [`LinkStation::sent`].
    pub fn pending(&mut self) -> &[u8] {
        if self.queue.is_empty() {
            self.fetch_on();
        }
        self.queue.pending()
    }

    /// Says that the first `count` bytes of [`LinkStation::pending`] were sent.
    pub fn sent(&mut self, count: usize) {
        self.queue.sent(count);
    }

    /// Copies bytes to send to `out`; how many.
    pub fn transmit(&mut self, out: &mut [u8]) -> usize {
        let mut filled: usize = 0;
        loop {
            let room = out.get_mut(filled..).unwrap_or(&mut []);
            let pending = self.pending();
            let count = pending.len().min(room.len());
            if count == 0 {
                return filled;
            }
            for (to, from) in room.iter_mut().zip(pending) {
                *to = *from;
            }
            self.sent(count);
            filled = filled.saturating_add(count);
        }
    }

    /// Whether the PC has asked for a restart and has been told that it comes.
    pub fn is_restart_due(&self) -> bool {
        self.restart && self.queue.is_empty()
    }

    /// Sends a verdict and what belongs to it.
    fn tell(&mut self, verdict: Verdict) {
        self.verdicts = self.verdicts.saturating_add(1);
        self.verdict = Some(verdict.sequence);
        let rises = verdict.alarm && !self.alarm;
        self.alarm = verdict.alarm;
        let (threshold, release) = self.monitor.as_deref().map_or((0, 0), Monitor::levels);
        let score = Score {
            verdict: verdict.sequence,
            samples: self.position,
            outcome: convert::outcome(verdict.outcome),
            alarm: verdict.alarm,
            drift: convert::trend(verdict.drift),
            level: if verdict.alarm { release } else { threshold },
            dropped: self.dropped,
        };
        self.send(&Event::Score(score));
        // The recording before the map: it is what cannot be had again.
        if rises && let Some(recording) = self.recorder.keep(verdict.sequence, Cause::Alarm) {
            self.send(&Event::Recording(recording));
        }
        let state = self.state();
        if self.told.is_none_or(|told| is_news(&told, &state)) {
            self.send_state();
        }
        if self.maps {
            self.send_map(verdict.sequence);
        }
        if self.spectra && matches!(verdict.outcome, crate::Outcome::Scored { .. } | crate::Outcome::Calibrating { .. })
        {
            self.send_spectrum(verdict.sequence);
        }
    }

    /// Queues a frame; whether it had room. Not inlined, so that its buffer is on the stack once.
    #[inline(never)]
    fn queued(&mut self, event: &Event<'_>) -> bool {
        let mut buffer = [0; FRAME_BYTES_MAX];
        let mut encoder = self.encoder;
        let spare = if matches!(event, Event::Ack { .. } | Event::Refused { .. }) { 0 } else { ANSWER_BYTES };
        match encoder.encode(event, &mut buffer) {
            // Numbered only where it goes out: a gap in the numbers is what the line has lost.
            Ok(frame) if frame.len().saturating_add(spare) <= self.queue.room() && self.queue.push(frame) => {
                self.encoder = encoder;
                true
            }
            _ => false,
        }
    }

    /// Queues a frame, or counts it where it has no room.
    fn send(&mut self, event: &Event<'_>) {
        if !self.queued(event) {
            self.unsent = self.unsent.saturating_add(1);
        }
    }

    /// Queues a state; one without room is not lost, since the next says it all again.
    fn send_state(&mut self) {
        let state = self.state();
        if self.queued(&Event::State(state)) {
            self.told = Some(state);
        }
    }

    fn send_map(&mut self, verdict: u32) {
        // Parted, so that the map may lie in the monitor while the queue fills.
        let Self { monitor, queue, encoder, unsent, .. } = self;
        let Some((cells, size)) = monitor.as_deref().and_then(Monitor::map) else { return };
        let Some(map) = SmallMap::new(cells, size, queue.capacity() / 2) else { return };
        let frames = map.len().div_ceil(PIECE_BYTES_MAX);
        if queue.room().saturating_sub(ANSWER_BYTES)
            < map.len().saturating_add(frames.saturating_mul(FRAME_BYTES_MAX - PIECE_BYTES_MAX))
        {
            *unsent = unsent.saturating_add(1);
            return;
        }
        for index in 0..frames {
            let (mut piece, mut buffer) = ([0; PIECE_BYTES_MAX], [0; FRAME_BYTES_MAX]);
            let offset = u16::try_from(index.saturating_mul(PIECE_BYTES_MAX)).unwrap_or(u16::MAX);
            let event = Event::Map(map.piece(verdict, offset, &mut piece));
            queue.push(encoder.encode(&event, &mut buffer).unwrap_or(&[]));
        }
    }

    fn send_spectrum(&mut self, verdict: u32) {
        let Self { monitor, queue, encoder, unsent, .. } = self;
        let decibels = monitor.as_deref().map_or(&[][..], Monitor::decibels);
        let frames = decibels.len().div_ceil(PIECE_BYTES_MAX / 2);
        if queue.room().saturating_sub(ANSWER_BYTES) < frames.saturating_mul(FRAME_BYTES_MAX) {
            *unsent = unsent.saturating_add(1);
            return;
        }
        for index in 0..frames {
            let (mut piece, mut buffer) = ([0; PIECE_BYTES_MAX], [0; FRAME_BYTES_MAX]);
            let offset = u16::try_from(index.saturating_mul(PIECE_BYTES_MAX / 2)).unwrap_or(u16::MAX);
            let event = Event::Spectrum(pieces::spectrum(verdict, decibels, offset, &mut piece));
            queue.push(encoder.encode(&event, &mut buffer).unwrap_or(&[]));
        }
    }

    /// Makes the next piece of a recording that is fetched. Called where nothing else waits, so that scores go first.
    fn fetch_on(&mut self) {
        let Some(Fetch { id, offset }) = self.fetch else { return };
        let bytes = self.recorder.bytes(id, offset, PIECE_BYTES_MAX);
        let count = bytes.len() as u32;
        if count == 0 {
            self.fetch = None;
            return;
        }
        let mut buffer = [0; FRAME_BYTES_MAX];
        let mut encoder = self.encoder;
        let piece = Event::RecordingPiece(RecordingPiece { id, offset, bytes });
        self.fetch = match encoder.encode(&piece, &mut buffer) {
            Ok(frame) if self.queue.push(frame) => {
                self.encoder = encoder;
                Some(Fetch { id, offset: offset.saturating_add(count) })
            }
            // A queue that has no room while it is empty never has.
            _ => None,
        };
    }

    /// Does what a command says.
    fn obey(&mut self, number: u16, command: Command) {
        match self.done(number, command) {
            Ok(()) => {}
            Err(reason) => self.send(&Event::Refused { command: number, reason }),
        }
    }

    /// Does what a command says and answers it.
    fn done(&mut self, number: u16, command: Command) -> Result<(), Reason> {
        let ack = Event::Ack { command: number };
        match command {
            Command::Identify => {
                self.send(&ack);
                self.identify();
                return Ok(());
            }
            Command::Subscribe { maps, spectra } => (self.maps, self.spectra) = (maps, spectra),
            Command::Restart => {
                if !self.about.restarts {
                    return Err(Reason::Unsupported);
                }
                (self.restart, self.fetch) = (true, None);
            }
            Command::Calibrate { scores } => {
                self.running()?.calibrate(scores).map_err(convert::reason)?;
                self.set = None;
            }
            Command::Uncalibrate => {
                self.running()?.uncalibrate();
                (self.set, self.alarm) = (None, false);
            }
            Command::SetThreshold { threshold } => {
                let monitor = self.running()?;
                if matches!(monitor.calibration(), Calibration::Learning(_)) {
                    return Err(Reason::Calibrating);
                }
                monitor.set_threshold(threshold);
                self.set = threshold;
            }
            Command::Reset => {
                let set = self.set;
                let monitor = self.running()?;
                monitor.reset();
                if set.is_some() {
                    monitor.set_threshold(set);
                }
                self.alarm = false;
                self.recorder.restart(self.position);
            }
            Command::Record => {
                self.running()?;
                let verdict = self.verdict.ok_or(Reason::NothingHeard)?;
                let recording = self.recorder.keep(verdict, Cause::Asked).ok_or(Reason::NothingHeard)?;
                self.send(&ack);
                self.send(&Event::Recording(recording));
                return Ok(());
            }
            Command::ListRecordings => {
                self.send(&ack);
                let mut listed: [Option<Recording>; SLOTS_MAX] = [None; SLOTS_MAX];
                listed.iter_mut().zip(self.recorder.recordings()).for_each(|(to, from)| *to = Some(from));
                for recording in listed.into_iter().flatten() {
                    self.send(&Event::Recording(recording));
                }
                return Ok(());
            }
            Command::FetchRecording { which, offset } => {
                let found = self.recorder.recordings().filter(|found| match which {
                    Which::Newest => true,
                    Which::Id(id) => found.id == id,
                });
                let recording = found.last().ok_or(Reason::NoRecording)?;
                if offset > recording.bytes {
                    return Err(Reason::Offset { bytes: recording.bytes });
                }
                self.send(&ack);
                self.send(&Event::Recording(recording));
                self.fetch = Some(Fetch { id: recording.id, offset });
                return Ok(());
            }
        }
        self.send(&ack);
        self.send_state();
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Monitor<'a, I>, Reason> {
        self.monitor.as_deref_mut().ok_or(Reason::NoModel)
    }

    /// Sends identity and state.
    // A function of its own: texts and plan are off the stack afterwards.
    #[inline(never)]
    fn identify(&mut self) {
        let About { board, core, firmware, clock_hz, reset, restarts } = self.about;
        let text = |text| cut(text, TEXT_BYTES_MAX);
        let mut capabilities = 0;
        let mut can = |bit, can: bool| capabilities |= if can { bit } else { 0 };
        can(capability::RESTART, restarts);
        can(capability::RECORDINGS, self.recorder.slot_bytes() > 0);
        let refusal = self.refusal;
        let model = match (self.monitor.as_deref(), &refusal) {
            (None, None) => ModelIdentity::None,
            (None, Some(Refusal { crc32, total_bytes, reason })) => {
                ModelIdentity::Refused { crc32: *crc32, total_bytes: *total_bytes, reason: reason.as_str() }
            }
            (Some(monitor), _) => {
                let (plan, header) = (monitor.model().plan(), monitor.model().header());
                can(capability::MAPS, score::map_shape(plan).is_some());
                can(capability::SPECTRA, matches!(plan.front_end, FrontEnd::LogMel(_)));
                can(capability::CALIBRATE, plan.decision.normal.is_some());
                ModelIdentity::Running(Running {
                    format_version: neji_format::header::FORMAT_VERSION,
                    crc32: header.crc32,
                    total_bytes: header.total_bytes,
                    name: text(plan.provenance.name),
                    score_unit: plan.decision.score_unit,
                    sensor: convert::sensor(plan),
                })
            }
        };
        let identity = Identity {
            protocol: PROTOCOL_VERSION,
            board: text(board),
            core: text(core),
            firmware: text(firmware),
            clock_hz,
            reset,
            capabilities,
            model,
        };
        if !self.queued(&Event::Identity(identity)) {
            self.unsent = self.unsent.saturating_add(1);
        }
        self.send_state();
    }

    fn state(&self) -> State {
        let monitor = self.monitor.as_deref();
        let (threshold, release) = monitor.map_or((0, 0), Monitor::levels);
        let levels = match (monitor.map(Monitor::calibration), self.set) {
            (Some(Calibration::Learning(calibrator)), _) => Levels::Learning { left: calibrator.left() },
            (_, Some(_)) => Levels::Set,
            (Some(calibration), None) => convert::levels(calibration),
            (None, None) => Levels::Blob,
        };
        State {
            threshold,
            release,
            levels,
            alarm: self.alarm,
            drift: convert::trend(monitor.map_or(crate::Trend::Steady, Monitor::drift)),
            verdicts: self.verdicts,
            dropped: self.dropped,
            unsent: self.unsent,
            broken: self.decoder.broken(),
            maps: self.maps,
            spectra: self.spectra,
            recordings: self.recorder.recordings().count() as u16,
            recording_bytes: u32::try_from(self.recorder.slot_bytes()).unwrap_or(u32::MAX),
        }
    }
}

/// Whether a state says more than the scores do that came behind the last one that was told.
fn is_news(told: &State, now: &State) -> bool {
    let learning = |levels| matches!(levels, Levels::Learning { .. });
    let levels = told.levels != now.levels && !(learning(told.levels) && learning(now.levels));
    let lost = (told.dropped, told.unsent, told.broken) != (now.dropped, now.unsent, now.broken);
    levels || lost || told.alarm != now.alarm || told.recordings != now.recordings
}
