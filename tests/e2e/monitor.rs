//! `neji monitor` as a person has it: the command in a pseudo-terminal, what is on its screen, keys, and the terminal afterwards. A
//! missing QEMU or compiler fails.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use neji_machine::{Board, toolchain};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

use crate::story::{binary, refuses};

/// Far more than any of these needs once the firmware is built.
const PATIENCE: Duration = Duration::from_secs(60);

/// A board with the monitor of the emulated ones, and one with the station of the real ones.
const BOARDS: [&str; 2] = ["qemu-mps2-an386", "twin-netduinoplus2"];

/// What the golden listener hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// Noise as quiet as it is used to, for ever.
    Quiet,
    /// A second of that and another of loud noise, as a person sees it, and no more.
    LoudAtLast,
}

impl Sound {
    fn write(self, path: &Path) {
        let (quiet, loud) = if self == Self::Quiet { (1600, 0) } else { (160, 160) };
        let mut state = 7_u32;
        let samples: Vec<u8> = (0..quiet + loud)
            .flat_map(|index| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 16) as i32 - 32_768;
                let loudness = if index < quiet { 30 } else { 8000 };
                ((noise * loudness / 32_768) as i16).to_le_bytes()
            })
            .collect();
        let length = samples.len() as u32;
        let mut file = b"RIFF".to_vec();
        file.extend((36 + length).to_le_bytes());
        // PCM, one channel of 8000 samples a second, 16 bits each.
        file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
        file.extend(length.to_le_bytes());
        file.extend(samples);
        fs::write(path, file).expect("written");
    }
}

/// The command in a terminal.
struct Seen {
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    keys: Box<dyn Write + Send>,
    bytes: Receiver<Vec<u8>>,
    screen: vt100::Parser,
    /// Where it was started.
    folder: TempDir,
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Seen {
    /// Starts it on `board` in a terminal of so many columns and rows, hearing `sound`.
    fn start(board: &str, (columns, rows): (u16, u16), sound: Sound) -> Self {
        let root = toolchain::root().expect("the repository");
        Board::find(&root, board).expect("a board").build().expect("firmware");
        let folder = tempfile::tempdir().expect("a folder");
        let noise = folder.path().join("noise.wav");
        sound.write(&noise);
        let pair = native_pty_system().openpty(size(rows, columns)).expect("a terminal");
        let mut command = CommandBuilder::new(binary());
        // The model has a thousand scores a second, of which nobody can see more than twenty.
        command.args(["monitor", "--qemu", board, "--pace", "0.02", "--calibration-scores", "16", "--root"]);
        command.arg(&root);
        command.arg(root.join("shared/tests/golden/v5_listener.neji"));
        command.args(["--input".as_ref(), noise.as_os_str()]);
        if sound == Sound::Quiet {
            command.arg("--loop");
        }
        command.cwd(folder.path());
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).expect("neji starts");
        // The terminal ends with its last user.
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().expect("a reader");
        let (send, bytes) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = pair.master.take_writer().expect("a writer");
        let screen = vt100::Parser::new(rows, columns, 0);
        Self { child, master: pair.master, keys, bytes, screen, folder }
    }

    fn text(&self) -> String {
        self.screen.screen().contents()
    }

    /// Looks for so long at most; false where nothing comes any more.
    fn look(&mut self, wait: Duration) -> bool {
        match self.bytes.recv_timeout(wait) {
            Ok(bytes) => self.screen.process(&bytes),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// Looks until the screen is as it should be.
    fn until(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let begin = Instant::now();
        while !is_so(self.screen.screen()) {
            let goes_on = self.look(Duration::from_millis(50)) && begin.elapsed() < PATIENCE;
            assert!(goes_on, "{what}: not on the screen\n{}", self.text());
        }
    }

    fn until_text(&mut self, text: &str) {
        self.until(text, |screen| screen.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.screen.screen_mut().set_size(rows, columns);
        self.master.resize(size(rows, columns)).expect("a terminal");
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.child.process_id().expect("it runs") as i32)
    }

    /// QEMU, which is all that the command starts.
    fn qemu(&self) -> Pid {
        let out = Command::new("pgrep").args(["-P", &self.id().to_string()]).output().expect("pgrep");
        let out = String::from_utf8(out.stdout).expect("numbers");
        Pid::from_raw(out.trim().parse().unwrap_or_else(|_| panic!("one process, not {out:?}")))
    }

    /// Looks to its end, and checks that the terminal is as it was; what is on it.
    fn end(mut self) -> String {
        let begin = Instant::now();
        while self.look(Duration::from_millis(50)) {
            assert!(begin.elapsed() < PATIENCE, "it does not end\n{}", self.text());
        }
        let status: ExitStatus = self.child.wait().expect("it ends");
        let (screen, text) = (self.screen.screen(), self.text());
        assert!(status.success(), "{status:?}: {text}");
        assert!(!screen.alternate_screen(), "the alternate screen is still there\n{text}");
        assert!(!screen.hide_cursor(), "the cursor is still hidden\n{text}");
        text
    }
}

/// How many cells of each row are drawn in a color, with symbols such as these.
fn drawn(screen: &vt100::Screen, color: [u8; 3], is_symbol: impl Fn(char) -> bool) -> Vec<usize> {
    let [red, green, blue] = color;
    let (rows, columns) = screen.size();
    let is_drawn = |row, column| {
        let cell = screen.cell(row, column).filter(|cell| cell.fgcolor() == vt100::Color::Rgb(red, green, blue));
        cell.is_some_and(|cell| cell.contents().chars().any(&is_symbol))
    };
    (0..rows).map(|row| (0..columns).filter(|&column| is_drawn(row, column)).count()).collect()
}

/// The colors of level and scores.
const LEVEL: [u8; 3] = [0xe0, 0xa0, 0x30];
const SCORE: [u8; 3] = [0x4c, 0x9f, 0xe0];

fn watched_and_asked(board: &str) {
    let mut seen = Seen::start(board, (120, 36), Sound::Quiet);
    seen.until_text(&format!("{board} cortex-m4"));
    for text in ["model golden", "no alarm", "(the model's)", "q quit"] {
        seen.until_text(text);
    }
    // The level is a line from left to right, scores are dots, and features fill a picture.
    let is_line = |symbol| ('\u{2801}'..='\u{28ff}').contains(&symbol);
    seen.until("a line of the level", |screen| drawn(screen, LEVEL, is_line).into_iter().any(|cells| cells >= 10));
    seen.until("scores", |screen| drawn(screen, SCORE, |symbol| symbol == '•').into_iter().sum::<usize>() >= 5);
    seen.until("features", |screen| screen.contents().matches('▀').count() >= 20);

    seen.press("c");
    seen.until_text("(calibrated)");
    seen.press("+");
    seen.until_text("(set by hand)");
    seen.press("0");
    seen.until_text("(calibrated)");
    seen.press("u");
    seen.until_text("(the model's)");
    seen.press("s");
    seen.until_text(".json written");
    let kept = fs::read_dir(seen.folder.path().join("recordings")).expect("a folder of recordings");
    let kept = kept.map(|entry| entry.expect("an entry").path());
    let mut kinds: Vec<_> = kept.filter_map(|path| path.extension().map(|kind| kind.to_owned())).collect();
    kinds.sort();
    assert_eq!(kinds, ["json", "wav"]);

    seen.resize(40, 10);
    seen.until("a small screen", |screen| {
        let text = screen.contents();
        text.contains("no alarm  threshold") && text.lines().last().is_some_and(|line| line.starts_with("q quit"))
    });
    seen.resize(1, 1);
    seen.resize(150, 50);
    seen.until("a large screen", |screen| {
        let text = screen.contents();
        text.contains("features,") && text.contains("verdicts") && text.contains("s save a recording")
    });

    let qemu = seen.qemu();
    seen.press("q");
    assert_eq!(seen.end().lines().filter(|line| !line.is_empty()).count(), 1, "more than what it built is left behind");
    assert!(kill(qemu, None).is_err(), "QEMU still runs");
}

#[test]
fn a_person_watches_a_board_in_a_terminal_and_asks_it() {
    thread::scope(|scope| {
        for board in BOARDS {
            scope.spawn(move || watched_and_asked(board));
        }
    });
}

#[test]
fn the_terminal_is_put_right_by_ctrl_c_and_by_an_interrupt() {
    let mut seen = Seen::start(BOARDS[0], (40, 10), Sound::Quiet);
    seen.until_text("no alarm");
    seen.press("\u{3}");
    let text = seen.end();
    assert!(!text.contains("closed") && !text.contains("panicked"), "{text}");

    let mut seen = Seen::start(BOARDS[0], (80, 24), Sound::Quiet);
    seen.until_text("no alarm");
    kill(seen.id(), Signal::SIGINT).expect("it runs");
    let text = seen.end();
    assert!(!text.contains("closed") && !text.contains("panicked"), "{text}");
}

#[test]
fn a_board_that_ends_or_dies_says_so_on_the_screen() {
    let mut seen = Seen::start(BOARDS[0], (120, 36), Sound::LoudAtLast);
    seen.until_text("ALARM at verdict");
    seen.until_text("the sensor has no more samples");
    seen.until_text("ENDED");
    // It stays for whoever looks later, and says that nobody hears keys.
    seen.press("c");
    seen.until_text("nobody hears that");
    seen.press("q");
    let text = seen.end();
    assert!(text.contains("is closed: QEMU has ended") && !text.contains("panicked"), "{text}");

    let mut seen = Seen::start(BOARDS[1], (120, 36), Sound::Quiet);
    seen.until_text("no alarm");
    kill(seen.qemu(), Signal::SIGKILL).expect("it runs");
    seen.until_text("ENDED");
    seen.until_text("QEMU has ended");
    seen.press("\u{3}");
    let text = seen.end();
    assert!(text.contains("is closed: QEMU has ended") && !text.contains("panicked"), "{text}");
}

#[test]
fn what_cannot_be_watched_says_what_can() {
    let golden = toolchain::root().expect("the repository").join("shared/tests/golden/v5_listener.neji");
    let golden = golden.to_str().expect("UTF-8");
    refuses(&["monitor", "--serial", "/dev/null"], &["no terminal", "--json"]);
    refuses(&["monitor", golden, "--qemu", "nucleo-f446re", "--input", "/dev/null"], &["real board", BOARDS[1]]);
}
