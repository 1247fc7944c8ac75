//! The protocol does not change unnoticed: every kind of message is the same bytes as ever, and the document's example is true.
//!
//! `NEJI_BLESS=1 cargo test -p neji-link --test golden` writes the bytes anew; review the difference, and raise the version where
//! the other side would read the new bytes wrongly.

mod samples;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use neji_link::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect()
}

/// A line for each message, framed as the first, the second and so on of one sender.
fn lines() -> String {
    let (mut board, mut pc) = (Encoder::new(), Encoder::new());
    let mut lines = String::new();
    for (name, event) in samples::events() {
        let mut buffer = [0; FRAME_BYTES_MAX];
        writeln!(lines, "event {name}: {}", hex(board.encode(&event, &mut buffer).unwrap())).unwrap();
    }
    for (name, command) in samples::commands() {
        let mut buffer = [0; FRAME_BYTES_MAX];
        writeln!(lines, "command {name}: {}", hex(pc.encode(&command, &mut buffer).unwrap())).unwrap();
    }
    lines
}

/// The committed lines.
fn golden() -> &'static str {
    static GOLDEN: OnceLock<String> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1.txt");
        if std::env::var_os("NEJI_BLESS").is_some_and(|bless| bless == "1") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, lines()).unwrap();
        }
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

#[test]
fn messages_are_the_bytes_they_ever_were() {
    let golden = golden();
    for (ours, golden) in lines().lines().zip(golden.lines()) {
        assert_eq!(ours, golden);
    }
    assert_eq!(lines().len(), golden.len());
}

#[test]
fn golden_bytes_are_the_messages_they_ever_were() {
    let mut decoder = Decoder::<FRAME_BYTES_MAX>::new();
    let frames: Vec<_> = golden().lines().map(|line| bytes(line.split_once(": ").unwrap().1)).collect();
    let events = samples::events();
    for ((name, event), frame) in events.iter().zip(&frames) {
        let (last, before) = frame.split_last().unwrap();
        assert!(before.iter().all(|&byte| decoder.push::<Event>(byte).is_none()));
        assert_eq!(decoder.push::<Event>(*last).unwrap().unwrap().message, *event, "{name}");
    }
    let mut decoder = Decoder::<{ COMMAND_FRAME_BYTES_MAX - 1 }>::new();
    for ((name, command), frame) in samples::commands().iter().zip(&frames[events.len()..]) {
        let found: Vec<_> = frame.iter().filter_map(|&byte| decoder.push::<Command>(byte)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].unwrap().message, *command, "{name}");
    }
}

/// The document's worked example: lines `    hex … | what it is` of a command and of its answer.
#[test]
fn the_documents_example_is_true() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md")).unwrap();
    let (_, example) = text.split_once("## Example").expect("the example");
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for line in example.lines().take_while(|line| !line.starts_with("## ")) {
        if let Some(title) = line.strip_prefix("### ") {
            parts.push((title.to_owned(), Vec::new()));
        } else if let (Some((hex, _)), Some((_, part))) =
            (line.strip_prefix("    ").and_then(|line| line.split_once('|')), parts.last_mut())
        {
            part.extend(bytes(hex));
        }
    }
    let frame = |encoder: &mut Encoder, message: Command| {
        let mut buffer = [0; FRAME_BYTES_MAX];
        encoder.encode(&message, &mut buffer).unwrap().to_vec()
    };
    let mut pc = Encoder::new();
    let identify = frame(&mut pc, Command::Identify);
    let calibrate = frame(&mut pc, Command::Calibrate { scores: 8 });
    let mut board = Encoder::new();
    let mut buffer = [0; FRAME_BYTES_MAX];
    board.encode(&Event::Ack { command: 0 }, &mut buffer).unwrap();
    let refused = Event::Refused { command: 1, reason: Reason::Scores { least: 16, most: 4096 } };
    let refused = board.encode(&refused, &mut buffer).unwrap().to_vec();
    let found: Vec<_> = parts.iter().map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(found, [identify, calibrate, refused], "{:?}", parts.iter().map(|(title, _)| title).collect::<Vec<_>>());
}
