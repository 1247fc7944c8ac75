//! From the line to whoever looks: a terminal or lines, and the recordings beside.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use neji_link::{Command, Event, LogLevel, ModelIdentity};

use crate::client::{Client, Heard};
use crate::lines;
use crate::record::{self, Keeper, Kept};
use crate::view::View;

/// Says when to end.
pub type Stop = AtomicBool;

/// What is wanted of a session.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where recordings go: all that the board keeps while it is watched.
    pub record: Option<PathBuf>,
    /// Scores that a calibration takes.
    pub calibration_scores: u16,
    /// Asked for once the board is known.
    pub commands: Vec<Command>,
    /// Ends the session behind so many scores, once what is fetched has come.
    pub scores_max: Option<u64>,
    /// Ends it after this long.
    pub time_max: Option<Duration>,
    /// Where recordings go that are asked for by a key, where `record` says nothing.
    pub saves: PathBuf,
}

/// A board that is watched.
pub struct Session {
    client: Client,
    settings: Settings,
    keeper: Keeper,
    /// What a person sees.
    pub view: View,
    start: Instant,
    scores: u64,
    greeted: bool,
    with_maps: bool,
}

impl Session {
    /// A session over `client`; `with_maps` asks the board for maps and spectra.
    ///
    /// # Errors
    /// The folder for recordings can't be made.
    pub fn new(client: Client, settings: Settings, with_maps: bool) -> Result<Self> {
        if let Some(folder) = &settings.record {
            // Before anything happens that would be lost.
            record::make(folder)?;
        }
        let keeper = Keeper::new(settings.record.as_ref().unwrap_or(&settings.saves), settings.record.is_some());
        let view = View::new(client.name(), settings.calibration_scores);
        Ok(Self { client, settings, keeper, view, start: Instant::now(), scores: 0, greeted: false, with_maps })
    }

    /// How long it has lasted.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether it is over: all that was wanted has come, or nothing will come any more.
    pub fn is_over(&self) -> bool {
        self.is_done() || self.client.is_ended()
    }

    /// Whether all that was wanted has come.
    pub fn is_done(&self) -> bool {
        let enough = self.settings.scores_max.is_some_and(|most| self.scores >= most) && !self.client.is_fetching();
        enough || self.settings.time_max.is_some_and(|most| self.now() >= most)
    }

    /// Says a command.
    pub fn ask(&mut self, command: Command) {
        self.client.ask(command);
    }

    /// Has the board keep what it heard last, and fetches it.
    pub fn save(&mut self) {
        self.client.ask(Command::Record);
    }

    /// Hears what has come and passes it on.
    ///
    /// # Errors
    /// A line that never opens, a file that can't be written, or `hear`'s.
    pub fn step(&mut self, hear: &mut dyn FnMut(&Heard<'_>) -> Result<()>) -> Result<()> {
        let at = self.start.elapsed();
        let Self { client, keeper, view, scores, greeted, .. } = self;
        let (mut wanted, mut written, mut greet) = (Vec::new(), Vec::new(), false);
        client.poll(&mut |heard| {
            view.hear(at, &heard);
            match heard {
                Heard::Opened | Heard::Restarted => *greeted = false,
                Heard::Event(Event::Score(_)) => *scores += 1,
                Heard::Event(Event::Identity(identity)) => {
                    // A board may say who it is twice at once: by itself, and asked for.
                    greet |= matches!(identity.model, ModelIdentity::Running(_)) && !std::mem::replace(greeted, true);
                }
                _ => {}
            }
            match keeper.hear(&heard)? {
                Some(Kept::Wanted(id)) => wanted.push(id),
                Some(Kept::Written(path)) => written.push(path),
                None => {}
            }
            hear(&heard)
        })?;
        view.lost = client.lost();
        if client.is_ended() && view.ended.is_none() {
            view.ended = Some(at);
        }
        for path in written {
            self.view.say(at, LogLevel::Info, format!("{} written", path.display()));
        }
        if greet {
            if self.with_maps {
                self.client.ask(Command::Subscribe { maps: true, spectra: true });
            }
            // A calibration that was asked for is not asked for again where a board starts anew.
            for command in std::mem::take(&mut self.settings.commands) {
                self.client.ask(command);
            }
        }
        // What is kept behind the last score that was asked for is not waited for.
        if self.settings.scores_max.is_none_or(|most| self.scores < most) {
            wanted.into_iter().for_each(|id| self.client.fetch(id));
        }
        Ok(())
    }

    /// Writes lines of JSON until it is over or `stop` is set.
    ///
    /// # Errors
    /// As [`Session::step`]; a reader that has gone is none.
    pub fn write_lines(mut self, out: &mut dyn Write, stop: &Stop) -> Result<()> {
        while !self.is_over() && !stop.load(Ordering::Relaxed) {
            match self.step(&mut |heard| lines::write(out, heard)) {
                Err(error) if lines::nobody_reads(&error) => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use neji_link::{
        COMMAND_FRAME_BYTES_MAX, Decoder, Encoder, FRAME_BYTES_MAX, Identity, PROTOCOL_VERSION, ResetCause, Running,
        Sensor,
    };

    use super::*;
    use crate::port::{Line, Port};

    /// A board that says who it is twice before anybody listens, and then nothing; what it was told.
    #[derive(Clone, Default)]
    struct Hasty {
        told: Arc<Mutex<Vec<Command>>>,
    }

    impl Line for Hasty {
        fn name(&self) -> String {
            "a board".to_owned()
        }

        fn open(&mut self) -> Result<Box<dyn Port>> {
            let model = ModelIdentity::Running(Running {
                crc32: 1,
                total_bytes: 2,
                format_version: 5,
                name: "m",
                score_unit: 1.0,
                sensor: Sensor::Raw { bytes: 1 },
            });
            let identity = Event::Identity(Identity {
                protocol: PROTOCOL_VERSION,
                board: "b",
                core: "c",
                firmware: "1",
                clock_hz: 0,
                reset: ResetCause::Unknown,
                capabilities: 0,
                model,
            });
            let mut mouth = Encoder::new();
            let mut frame = || mouth.encode(&identity, &mut [0; FRAME_BYTES_MAX]).unwrap().to_vec();
            let says = [frame(), frame()].concat();
            Ok(Box::new(Mouth { says, told: Arc::clone(&self.told), ears: Decoder::new() }))
        }

        fn comes_back(&self) -> bool {
            true
        }
    }

    struct Mouth {
        says: Vec<u8>,
        told: Arc<Mutex<Vec<Command>>>,
        ears: Decoder<COMMAND_FRAME_BYTES_MAX>,
    }

    impl Port for Mouth {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.says.len().min(buffer.len());
            buffer.iter_mut().zip(self.says.drain(..count)).for_each(|(to, from)| *to = from);
            Ok(count)
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let frames = bytes.iter().filter_map(|&byte| self.ears.push::<Command>(byte)?.ok());
            self.told.lock().unwrap().extend(frames.map(|frame| frame.message));
            Ok(())
        }
    }

    #[test]
    fn a_board_that_says_twice_at_once_who_it_is_is_subscribed_to_once() {
        let board = Hasty::default();
        let mut session = Session::new(Client::new(Box::new(board.clone())), Settings::default(), true).unwrap();
        for _ in 0..3 {
            session.step(&mut |_| Ok(())).unwrap();
        }
        let subscribe = Command::Subscribe { maps: true, spectra: true };
        assert_eq!(*board.told.lock().unwrap(), [Command::Identify, subscribe]);
    }
}
