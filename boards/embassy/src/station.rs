//! The loop: samples to verdicts to lines and the PC, under a watchdog.

use core::fmt::Display;
use core::pin::pin;

use embassy_time::{Duration, Timer, WithTimeout as _};
use embedded_hal::digital::OutputPin;
use neji_app::link::{About, Memory, QUEUE_BYTES_MIN, Refusal, Wire};
use neji_app::{AlarmPolarity, LinkStation, Monitor, MonitorError, Outcome, Restart, Stage, Trend, Verdict, Why};
use neji_engine::Isa;
use neji_format::Model;
use neji_link::LogLevel;
use static_cell::{ConstStaticCell, StaticCell};

use crate::event::{Event, Tell};
use crate::restart::{restart, settle, stage};
use crate::samples::{Read, Source};

/// What the watchdog of a board is set to: more than the loop ever waits, and no more than any chip can.
pub const WATCHDOG: Duration = Duration::from_secs(8);
/// How often the PC is listened to while there are no samples.
const TURN: Duration = Duration::from_millis(20);
/// After so many turns what is refused is told again.
const AGAIN: u32 = 250;
/// Bytes for the PC at once, so that it does not hold up the samples.
const TURN_BYTES: usize = 1024;
/// Memory for what waits to be sent.
const QUEUE_BYTES: usize = 1024;
const _: () = assert!(QUEUE_BYTES >= QUEUE_BYTES_MIN);
/// Recordings in the memory that the monitor leaves: one is what comes last, the others are the last alarms.
const SLOTS: usize = 3;
/// Time for what was said to leave the board before it restarts.
const FAREWELL: Duration = Duration::from_millis(100);

/// A watchdog that runs.
pub trait Feed {
    /// Puts off the restart by [`WATCHDOG`].
    fn feed(&mut self);
}

impl<F: FnMut()> Feed for F {
    fn feed(&mut self) {
        self();
    }
}

/// The alarm's line and the fault's. Both are active from the start, until the first score says that all is well.
#[derive(Debug)]
pub struct Lines<A, F> {
    alarm: A,
    fault: F,
    polarity: AlarmPolarity,
}

impl<A: OutputPin, F: OutputPin> Lines<A, F> {
    /// Makes both active. With [`AlarmPolarity::ActiveLow`] they are so without power as well, and while the chip is in reset,
    /// where a resistor pulls them down.
    pub fn new(alarm: A, fault: F, polarity: AlarmPolarity) -> Self {
        let mut lines = Self { alarm, fault, polarity };
        lines.set(Some(true), Some(true));
        lines
    }

    /// Sets what is not `None`. A pin that cannot be set is one of no real board.
    fn set(&mut self, alarm: Option<bool>, fault: Option<bool>) {
        let level = |active: bool| (active == (self.polarity == AlarmPolarity::ActiveHigh)).into();
        if let Some(active) = alarm {
            let _ = self.alarm.set_state(level(active));
        }
        if let Some(active) = fault {
            let _ = self.fault.set_state(level(active));
        }
    }
}

/// What a board says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// Name of its package.
    pub name: &'static str,
    /// Its core, such as `cortex-m4`.
    pub core: &'static str,
    /// The core's clock in Hz.
    pub clock_hz: u32,
}

/// A monitor with its link, for ever.
type Link<I> = LinkStation<'static, 'static, I>;

/// What a station works with beside the monitor's memory: in a static, since what a task awaits with passes over the stack. Kernels are
/// those of the instruction set `I`.
pub struct Room<I: Isa + 'static> {
    monitor: StaticCell<Monitor<'static, I>>,
    link: StaticCell<Link<I>>,
    queue: ConstStaticCell<[u8; QUEUE_BYTES]>,
}

impl<I: Isa> Room<I> {
    /// For one station.
    pub const fn new() -> Self {
        Self { monitor: StaticCell::new(), link: StaticCell::new(), queue: ConstStaticCell::new([0; QUEUE_BYTES]) }
    }
}

impl<I: Isa> Default for Room<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// A board on watch.
pub struct Station<I: Isa + 'static, A, F, D, T, W> {
    room: &'static Room<I>,
    lines: Lines<A, F>,
    dog: D,
    out: T,
    wire: W,
    about: About<'static>,
    start: Restart,
    alarm: bool,
    drift: Trend,
    works: bool,
}

/// The MODEL region of memory.x.
fn region() -> &'static [u8] {
    unsafe extern "C" {
        static _model_start: u8;
        static _model_end: u8;
    }
    let (start, end) = (&raw const _model_start, &raw const _model_end);
    // SAFETY: memory.x lays the region out in flash that nobody writes while the firmware runs; both symbols are its ends,
    // and all bytes of it are readable.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

impl<I: Isa, A: OutputPin, F: OutputPin, D: Feed, T: Tell, W: Wire> Station<I, A, F, D, T, W> {
    /// Takes over and says why the firmware started, as [`crate::restart::begin`] found it.
    pub fn new(
        room: &'static Room<I>,
        board: Board,
        lines: Lines<A, F>,
        dog: D,
        mut out: T,
        wire: W,
        start: Restart,
    ) -> Self {
        out.tell(&Event::Started(&start));
        let about = About {
            board: board.name,
            core: board.core,
            firmware: env!("CARGO_PKG_VERSION"),
            clock_hz: board.clock_hz,
            reset: start.cause.into(),
            restarts: true,
        };
        Self { room, lines, dog, out, wire, about, start, alarm: true, drift: Trend::Steady, works: false }
    }

    /// The model in flash. Where there is none that could run this does not return, but goes on as [`Station::refuse`].
    pub async fn model(&mut self) -> Model<'static> {
        match Model::parse(region()) {
            Ok(model) => model,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Says, again and again and to the PC that asks, why nothing is watched; both lines stay active.
    pub async fn refuse(&mut self, reason: &dyn Display) -> ! {
        self.lines.set(Some(true), Some(true));
        stage(Stage::Idle);
        let link = self.without_model(reason);
        loop {
            self.out.tell(&Event::Refused(reason));
            for _ in 0..AGAIN {
                self.dog.feed();
                self.serve(link).await;
                Timer::after(TURN).await;
            }
        }
    }

    /// Watches for ever. `memory` is the monitor's; recordings of the last alarms are kept in what it leaves.
    pub async fn watch(mut self, model: Model<'static>, memory: &'static mut [u8], mut samples: impl Source) -> ! {
        let link = match self.with_model(model, memory) {
            Ok(link) => link,
            Err(error) => self.refuse(&error).await,
        };
        let mut buffer = [0; 256];
        loop {
            stage(Stage::Waiting);
            match self.next(link, &mut samples, &mut buffer).await {
                Read::Bytes(count) => {
                    let mut rest = buffer.get(..count).unwrap_or_default();
                    stage(Stage::Judging);
                    while let Some(verdict) = link.push(&mut rest) {
                        self.say(&verdict);
                        stage(Stage::Judging);
                    }
                }
                Read::Gap(lost) => {
                    self.out.tell(&Event::Lost(lost));
                    if let Some(verdict) = link.gap(lost) {
                        self.say(&verdict);
                    }
                }
                Read::Silence => self.give_up(link, Why::SensorSilent, &"the sensor gave no samples").await,
                Read::Failed => self.give_up(link, Why::SensorFailed, &"the sensor does not answer").await,
            }
            self.dog.feed();
        }
    }

    /// Makes the monitor and its link. Not inlined, so that what they are made of leaves the stack.
    #[inline(never)]
    fn with_model(
        &mut self,
        model: Model<'static>,
        memory: &'static mut [u8],
    ) -> Result<&'static mut Link<I>, MonitorError> {
        let memory_bytes = Monitor::<I>::memory_bytes(&model);
        let (memory, recordings) = memory.split_at_mut(memory_bytes.min(memory.len()));
        let monitor = self.room.monitor.init(Monitor::new(model, memory)?);
        let header = model.header();
        let (model_crc32, model_bytes) = (header.crc32, header.total_bytes);
        self.out.tell(&Event::Watching { model_crc32, model_bytes, memory_bytes: memory_bytes as u32 });
        let memory = Memory { queue: self.room.queue.take(), recordings, slots: SLOTS };
        let link = self.room.link.init_with(|| LinkStation::new(self.about, monitor, memory));
        self.greet(link);
        Ok(link)
    }

    /// Makes the link of a board that watches nothing.
    #[inline(never)]
    fn without_model(&mut self, reason: &dyn Display) -> &'static mut Link<I> {
        let memory = Memory { queue: self.room.queue.take(), recordings: &mut [], slots: 0 };
        let refusal = Refusal::of(region(), reason);
        let link = self.room.link.init_with(|| LinkStation::without_model(self.about, refusal, memory));
        self.greet(link);
        link
    }

    /// The next samples; the PC is served before them and while they are waited for.
    async fn next(&mut self, link: &mut Link<I>, samples: &mut impl Source, buffer: &mut [u8]) -> Read {
        let mut read = pin!(samples.read(buffer));
        loop {
            self.serve(link).await;
            if let Ok(read) = read.as_mut().with_timeout(TURN).await {
                return read;
            }
        }
    }

    /// Tells the PC why the firmware started; who it is the link says by itself.
    fn greet(&self, link: &mut Link<I>) {
        let level = if self.start.row == 0 { LogLevel::Info } else { LogLevel::Warning };
        link.log(level, self.start);
    }

    /// Takes what has come from the PC and sends what waits, as far as the line takes it.
    async fn serve(&mut self, link: &mut Link<I>) {
        link.exchange(&mut self.wire, TURN_BYTES);
        if link.is_restart_due() {
            Timer::after(FAREWELL).await;
            restart(Why::Asked)
        }
    }

    /// The lines first: a report that blocks must not delay them.
    fn say(&mut self, verdict: &Verdict) {
        stage(Stage::Telling);
        let scored = matches!(verdict.outcome, Outcome::Scored { .. } | Outcome::Calibrating { .. });
        if scored && !self.works {
            self.works = true;
            settle();
        }
        // Nobody has looked yet: what was not scored is no reason to call it well.
        if self.works {
            self.lines.set(Some(verdict.alarm), Some(matches!(verdict.outcome, Outcome::SensorFault(_))));
        }
        self.out.tell(&Event::Verdict(verdict));
        if self.works && core::mem::replace(&mut self.alarm, verdict.alarm) != verdict.alarm {
            self.out.tell(&Event::Alarm(verdict));
        }
        if core::mem::replace(&mut self.drift, verdict.drift) != verdict.drift {
            self.out.tell(&Event::Drift(verdict.drift));
        }
    }

    /// Restarts, since nothing else cures a sensor that hangs.
    async fn give_up(&mut self, link: &mut Link<I>, why: Why, reason: &dyn Display) -> ! {
        self.lines.set(Some(true), Some(true));
        self.out.tell(&Event::Restarting(reason));
        link.log(LogLevel::Error, format_args!("restarting: {reason}"));
        link.exchange(&mut self.wire, TURN_BYTES);
        Timer::after(FAREWELL).await;
        restart(why)
    }
}
