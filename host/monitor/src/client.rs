//! Says commands and hears events, whatever the line does.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Result;
use neji_link::{
    COMMAND_FRAME_BYTES_MAX, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX, FrameError, Reason, Recording, Which,
};

use crate::port::{Line, Port};

/// A command that was not answered for so long is said again.
const PATIENCE: Duration = Duration::from_secs(2);
/// So often at most.
const TRIES: u32 = 4;
/// A line that closed is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// What a client hears.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The line is open.
    Opened,
    /// It is not, or no longer: why. Said once, however often it is tried again.
    Closed(&'a str),
    /// The board has started anew: it knows of nothing that was asked before.
    Restarted,
    /// The board says something.
    Event(&'a Event<'a>),
    /// The board did a command, or refused it.
    Answer(Command, Result<(), Reason>),
    /// The board does not answer a command.
    Silence(Command),
    /// A recording that was asked for has come whole.
    Fetched(&'a Recording, &'a [u8]),
    /// It can't be had: it was overwritten meanwhile, or the line is too bad.
    Unfetched(u32),
    /// The board speaks another version of the protocol.
    Version(u8),
}

/// A command that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    command: Command,
    sequence: u16,
    since: Instant,
    tries: u32,
}

/// A recording that is fetched.
#[derive(Debug)]
struct Fetch {
    id: u32,
    recording: Option<Recording>,
    bytes: Vec<u8>,
    since: Instant,
    tries: u32,
}

/// One end of a link.
pub struct Client {
    line: Box<dyn Line>,
    port: Option<Box<dyn Port>>,
    next_open: Instant,
    encoder: Encoder,
    decoder: Decoder<FRAME_BYTES_MAX>,
    asked: Vec<Asked>,
    fetches: VecDeque<Fetch>,
    version: Option<u8>,
    /// Why the line is closed, as it was said.
    closed: Option<String>,
    ended: bool,
}

impl Client {
    /// A client of `line`, which it opens when it is asked to hear.
    pub fn new(line: Box<dyn Line>) -> Self {
        Self {
            line,
            port: None,
            next_open: Instant::now(),
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            asked: Vec::new(),
            fetches: VecDeque::new(),
            version: None,
            closed: None,
            ended: false,
        }
    }

    /// What people call the line.
    pub fn name(&self) -> String {
        self.line.name()
    }

    /// Whether nothing will come any more.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Frames that the line has lost, and what came that was none.
    pub fn lost(&self) -> (u32, u32) {
        (self.decoder.lost(), self.decoder.broken())
    }

    /// Says a command; where the line is closed, nothing.
    pub fn ask(&mut self, command: Command) {
        self.say(command, 1);
    }

    /// Fetches the recording `id`, behind those that are being fetched.
    pub fn fetch(&mut self, id: u32) {
        if self.fetches.iter().all(|fetch| fetch.id != id) {
            self.fetches.push_back(Fetch { id, recording: None, bytes: Vec::new(), since: Instant::now(), tries: 0 });
            if self.fetches.len() == 1 {
                self.ask_for_the_rest();
            }
        }
    }

    /// Whether recordings are still to come.
    pub fn is_fetching(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// Hears what has come, or waits a few hundredths of a second for it.
    ///
    /// # Errors
    /// `hear`'s. A line that does not open is an error only where it never was and can't come back.
    pub fn poll(&mut self, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
        if !self.open(hear)? {
            return Ok(());
        }
        let mut bytes = [0; 4096];
        let read = self.port.as_mut().map_or(Ok(0), |port| port.read(&mut bytes));
        match read {
            Ok(count) => {
                for &byte in &bytes[..count] {
                    self.take(byte, hear)?;
                }
                self.mind(hear)
            }
            Err(error) => self.close(&error.to_string(), hear),
        }
    }

    /// Opens the line where it is time to; whether it is open.
    fn open(&mut self, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<bool> {
        if self.port.is_some() {
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        let now = Instant::now();
        if now < self.next_open {
            std::thread::sleep((self.next_open - now).min(Duration::from_millis(20)));
            return Ok(false);
        }
        self.next_open = now + AGAIN;
        match self.line.open() {
            Ok(port) => {
                self.port = Some(port);
                self.closed = None;
                (self.encoder, self.decoder) = (Encoder::new(), Decoder::new());
                hear(Heard::Opened)?;
                self.write(&[0]);
                self.ask(Command::Identify);
                Ok(true)
            }
            Err(error) if self.line.comes_back() => {
                self.say_closed(format!("{error:#}"), hear)?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn close(&mut self, why: &str, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
        self.port = None;
        self.asked.clear();
        self.fetches.clear();
        self.next_open = Instant::now() + AGAIN;
        self.ended = !self.line.comes_back();
        self.say_closed(why.to_owned(), hear)
    }

    fn say_closed(&mut self, why: String, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
        if self.closed.as_ref() == Some(&why) {
            return Ok(());
        }
        let said = hear(Heard::Closed(&why));
        self.closed = Some(why);
        said
    }

    /// Takes a byte from the board.
    fn take(&mut self, byte: u8, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
        // Parted, so that an event may borrow from the decoder while the rest changes.
        let Self { decoder, asked, fetches, port, version, .. } = self;
        let message = match decoder.push::<Event<'_>>(byte) {
            None => return Ok(()),
            Some(Ok(frame)) => {
                // Only ever the first of a board.
                if frame.sequence == 0 {
                    asked.retain(|asked| asked.command == Command::Identify);
                    fetches.clear();
                    hear(Heard::Restarted)?;
                }
                frame.message
            }
            Some(Err(FrameError::Version { found })) => {
                // Once, not for each of its frames.
                return if version.replace(found) == Some(found) { Ok(()) } else { hear(Heard::Version(found)) };
            }
            Some(Err(_)) => return Ok(()),
        };
        if let Some(port) = port {
            port.connected();
        }
        hear(Heard::Event(&message))?;
        match message {
            Event::Ack { command } => answer(asked, command, Ok(()), hear)?,
            Event::Refused { command, reason } => {
                let refused = asked.iter().find(|asked| asked.sequence == command).map(|asked| asked.command);
                answer(asked, command, Err(reason), hear)?;
                if let Some(Command::FetchRecording { which: Which::Id(id), .. }) = refused {
                    fetches.retain(|fetch| fetch.id != id);
                    hear(Heard::Unfetched(id))?;
                    self.ask_for_the_rest();
                }
            }
            Event::Recording(recording) => {
                if let Some(fetch) = fetches.front_mut().filter(|fetch| fetch.id == recording.id) {
                    fetch.recording = Some(recording);
                }
            }
            Event::RecordingPiece(piece) => {
                let Some(fetch) = fetches.front_mut().filter(|fetch| fetch.id == piece.id) else { return Ok(()) };
                // A piece behind a lost one is dropped: the rest is asked for again.
                if piece.offset as usize == fetch.bytes.len() {
                    fetch.bytes.extend_from_slice(piece.bytes);
                    (fetch.since, fetch.tries) = (Instant::now(), 0);
                }
                let whole = fetch.recording.is_some_and(|recording| fetch.bytes.len() >= recording.bytes as usize);
                if whole && let Some(Fetch { recording: Some(recording), bytes, .. }) = fetches.pop_front() {
                    hear(Heard::Fetched(&recording, &bytes))?;
                    self.ask_for_the_rest();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Says again what was not answered.
    fn mind(&mut self, hear: &mut dyn FnMut(Heard<'_>) -> Result<()>) -> Result<()> {
        let now = Instant::now();
        let late = self.asked.iter().position(|asked| now.duration_since(asked.since) > PATIENCE);
        if let Some(Asked { command, tries, .. }) = late.map(|index| self.asked.remove(index)) {
            // These begin anew each time.
            let once = matches!(command, Command::Calibrate { .. } | Command::Record | Command::Restart);
            // A fetch has its own patience.
            let fetch = matches!(command, Command::FetchRecording { .. });
            if !fetch {
                if once || tries >= TRIES { hear(Heard::Silence(command))? } else { self.say(command, tries + 1) }
            }
        }
        if let Some(fetch) = self.fetches.front_mut().filter(|fetch| now.duration_since(fetch.since) > PATIENCE) {
            (fetch.since, fetch.tries) = (now, fetch.tries + 1);
            let (id, tries) = (fetch.id, fetch.tries);
            if tries > TRIES {
                self.fetches.pop_front();
                hear(Heard::Unfetched(id))?;
            }
            self.ask_for_the_rest();
        }
        Ok(())
    }

    fn ask_for_the_rest(&mut self) {
        if let Some(fetch) = self.fetches.front_mut() {
            fetch.since = Instant::now();
            let command = Command::FetchRecording { which: Which::Id(fetch.id), offset: fetch.bytes.len() as u32 };
            self.say(command, 1);
        }
    }

    fn say(&mut self, command: Command, tries: u32) {
        let sequence = self.encoder.next_sequence();
        let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
        if let Ok(frame) = self.encoder.encode(&command, &mut buffer)
            && self.write(frame)
        {
            self.asked.push(Asked { command, sequence, since: Instant::now(), tries });
        }
    }

    /// Whether the line took it; a line that does not is found closed when it is read.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.port.as_mut().is_some_and(|port| port.write(bytes).is_ok())
    }
}

fn answer(
    asked: &mut Vec<Asked>,
    sequence: u16,
    answer: Result<(), Reason>,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<()>,
) -> Result<()> {
    match asked.iter().position(|asked| asked.sequence == sequence) {
        Some(index) => hear(Heard::Answer(asked.remove(index).command, answer)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};
    use std::sync::{Arc, Mutex};

    use neji_link::{Cause, RecordingPiece};

    use super::*;

    /// A board on paper: what it was told, and what it says next.
    #[derive(Default)]
    struct Paper {
        told: Vec<Command>,
        says: VecDeque<u8>,
        is_gone: bool,
        opened: u32,
        ears: Decoder<{ COMMAND_FRAME_BYTES_MAX }>,
        mouth: Encoder,
    }

    impl Paper {
        fn say(&mut self, event: &Event<'_>) {
            let mut buffer = [0; FRAME_BYTES_MAX];
            self.says.extend(self.mouth.encode(event, &mut buffer).unwrap());
        }

        /// Says what is lost on the way.
        fn mumble(&mut self, event: &Event<'_>) {
            self.mouth.encode(event, &mut [0; FRAME_BYTES_MAX]).unwrap();
        }
    }

    #[derive(Clone, Default)]
    struct Desk(Arc<Mutex<Paper>>);

    impl Port for Desk {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let mut paper = self.0.lock().unwrap();
            if paper.is_gone {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let count = paper.says.len().min(buffer.len());
            buffer.iter_mut().zip(paper.says.drain(..count)).for_each(|(to, from)| *to = from);
            Ok(count)
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            let mut paper = self.0.lock().unwrap();
            for &byte in bytes {
                if let Some(Ok(frame)) = paper.ears.push::<Command>(byte) {
                    paper.told.push(frame.message);
                    let ack = Event::Ack { command: frame.sequence };
                    paper.say(&ack);
                }
            }
            Ok(())
        }
    }

    impl Line for Desk {
        fn name(&self) -> String {
            "a desk".to_owned()
        }

        fn open(&mut self) -> Result<Box<dyn Port>> {
            let mut paper = self.0.lock().unwrap();
            paper.opened += 1;
            anyhow::ensure!(!paper.is_gone, "nobody is there");
            Ok(Box::new(self.clone()))
        }

        fn comes_back(&self) -> bool {
            true
        }
    }

    fn heard(client: &mut Client) -> Vec<String> {
        let mut all = Vec::new();
        client
            .poll(&mut |heard| {
                all.push(format!("{heard:?}"));
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn a_recording_of_which_a_piece_is_lost_is_fetched_whole() {
        let desk = Desk::default();
        let mut client = Client::new(Box::new(desk.clone()));
        heard(&mut client);
        let recording = Recording { id: 7, verdict: 1, cause: Cause::Alarm, begin: 0, bytes: 6 };
        let piece = |offset, bytes| Event::RecordingPiece(RecordingPiece { id: 7, offset, bytes });
        client.fetch(7);
        client.fetch(7);
        {
            let mut paper = desk.0.lock().unwrap();
            assert_eq!(paper.told.last(), Some(&Command::FetchRecording { which: Which::Id(7), offset: 0 }));
            paper.say(&Event::Recording(recording));
            paper.say(&piece(0, &[1, 2]));
            paper.mumble(&piece(2, &[3, 4]));
            paper.say(&piece(4, &[5, 6]));
        }
        heard(&mut client);
        assert!(client.is_fetching());
        // Without waiting until patience is at its end.
        client.ask_for_the_rest();
        {
            let mut paper = desk.0.lock().unwrap();
            assert_eq!(paper.told.last(), Some(&Command::FetchRecording { which: Which::Id(7), offset: 2 }));
            paper.say(&piece(2, &[3, 4]));
            paper.say(&piece(4, &[5, 6]));
        }
        let all = heard(&mut client);
        assert!(
            all.iter().any(|heard| heard.starts_with("Fetched") && heard.ends_with("[1, 2, 3, 4, 5, 6])")),
            "{all:?}"
        );
        assert!(!client.is_fetching());
        assert_eq!(client.lost(), (1, 0));
    }

    #[test]
    fn a_line_that_closes_is_said_once_and_opened_again() {
        let desk = Desk::default();
        let mut client = Client::new(Box::new(desk.clone()));
        assert!(heard(&mut client).iter().any(|heard| heard == "Opened"));
        desk.0.lock().unwrap().is_gone = true;
        let mut closed = Vec::new();
        while desk.0.lock().unwrap().opened < 4 {
            closed.extend(heard(&mut client));
        }
        // Broken, and then nobody there, however often.
        assert_eq!(closed.iter().filter(|heard| heard.starts_with("Closed")).count(), 2, "{closed:?}");
        desk.0.lock().unwrap().is_gone = false;
        while !heard(&mut client).iter().any(|heard| heard == "Opened") {}
        assert_eq!(desk.0.lock().unwrap().told, [Command::Identify; 2]);
        assert!(!client.is_ended());
    }
}
