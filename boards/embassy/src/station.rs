//! The loop: samples to verdicts to lines and reports, under a watchdog.

use core::fmt::Display;

use embassy_time::{Duration, Timer};
use embedded_hal::digital::OutputPin;
use neji_app::{AlarmPolarity, Monitor, Outcome, Restart, Stage, Trend, Verdict, Why};
use neji_engine::Isa;
use neji_format::Model;

use crate::event::{Event, Tell};
use crate::restart::{self, restart, settle, stage};
use crate::samples::{Read, Source};

/// What the watchdog of a board is set to: more than the loop ever waits, and no more than any chip can.
pub const WATCHDOG: Duration = Duration::from_secs(8);
/// How often what is refused is told again.
const AGAIN: u32 = 5;

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

/// A board on watch.
pub struct Station<A, F, D, T> {
    lines: Lines<A, F>,
    dog: D,
    out: T,
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

impl<A: OutputPin, F: OutputPin, D: Feed, T: Tell> Station<A, F, D, T> {
    /// Takes over and says why the firmware started, as [`crate::restart::begin`] found it.
    pub fn new(lines: Lines<A, F>, dog: D, mut out: T, start: &Restart) -> Self {
        out.tell(&Event::Started(start));
        Self { lines, dog, out, alarm: true, drift: Trend::Steady, works: false }
    }

    /// The model in flash. Where there is none that could run this does not return, but goes on as [`Station::refuse`].
    pub async fn model(&mut self) -> Model<'static> {
        match Model::parse(region()) {
            Ok(model) => model,
            Err(error) => self.refuse(&error).await,
        }
    }

    /// Says, again and again, why nothing is watched; both lines stay active.
    pub async fn refuse(&mut self, reason: &dyn Display) -> ! {
        self.lines.set(Some(true), Some(true));
        stage(Stage::Idle);
        loop {
            self.out.tell(&Event::Refused(reason));
            for _ in 0..AGAIN {
                self.dog.feed();
                Timer::after_secs(1).await;
            }
        }
    }

    /// Watches for ever. `memory` is the monitor's.
    pub async fn watch<I: Isa>(
        mut self,
        model: Model<'static>,
        memory: &'static mut [u8],
        mut samples: impl Source,
    ) -> ! {
        let memory_bytes = Monitor::<I>::memory_bytes(&model) as u32;
        let mut monitor = match Monitor::<I>::new(model, memory) {
            Ok(monitor) => monitor,
            Err(error) => self.refuse(&error).await,
        };
        let header = model.header();
        let (model_crc32, model_bytes) = (header.crc32, header.total_bytes);
        self.out.tell(&Event::Watching { model_crc32, model_bytes, memory_bytes });
        let mut buffer = [0; 256];
        loop {
            stage(Stage::Waiting);
            match samples.read(&mut buffer).await {
                Read::Bytes(count) => {
                    let mut rest = buffer.get(..count).unwrap_or_default();
                    stage(Stage::Judging);
                    while let Some(verdict) = monitor.push(&mut rest) {
                        self.say(&verdict);
                        stage(Stage::Judging);
                    }
                }
                Read::Gap(lost) => {
                    self.out.tell(&Event::Lost(lost));
                    self.say(&monitor.gap());
                }
                Read::Silence => self.give_up(Why::SensorSilent, &"the sensor gave no samples").await,
                Read::Failed => self.give_up(Why::SensorFailed, &"the sensor does not answer").await,
            }
            self.dog.feed();
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
    async fn give_up(&mut self, why: Why, reason: &dyn Display) -> ! {
        self.lines.set(Some(true), Some(true));
        self.out.tell(&Event::Restarting(reason));
        // Time for what was said to leave the board.
        Timer::after_millis(100).await;
        restart(why)
    }
}

/// What a debugger or a command asks for: a restart that counts as none.
pub fn asked() -> ! {
    restart::restart(Why::Asked)
}
