//! Boards in QEMU written as a probe would write them: firmware and model by the GDB stub, read back, booted, and the
//! firmware's own word for its model. A missing QEMU or compiler fails.

use std::path::Path;
use std::time::{Duration, Instant};

use neji_flash::rtt::{Link, Place};
use neji_flash::{Digest, Emulated, Error, Options, Part, Sector, Target, write};
use neji_link::{COMMAND_FRAME_BYTES_MAX, Command, Decoder, Encoder, Event, FRAME_BYTES_MAX};
use neji_machine::Board;

fn board(name: &str) -> Board {
    Board::find_here(None, name).expect("a board")
}

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tests/golden");
    std::fs::read(folder.join(name)).expect("a golden blob")
}

fn options() -> Options {
    Options { wait: Some(Duration::from_secs(120)), all: false }
}

/// More than the firmware hears while it is asked for its model: a sensor does not end.
const SAMPLES: usize = 64 << 20;

#[test]
fn a_board_is_written_boots_and_says_which_model_it_runs() {
    let board = board("qemu-mps2-an386");
    let image = std::fs::read(board.build().expect("firmware")).expect("an image");
    let firmware = Part::firmware(&image).expect("an image");
    let part = |blob: &[u8]| Part::model(board.settings.model_address, blob);
    let (old, new) = (golden("v5_autoencoder.neji"), golden("v5_operators.neji"));
    let mut target = Emulated::start(&board, &vec![7; SAMPLES]).expect("QEMU");

    // An empty board.
    let first = write(&mut target, &[firmware.clone(), part(&old)], options(), &mut |_| ()).expect("written");
    assert!(first.parts.iter().all(|part| part.written == part.bytes), "{:?}", first.parts);
    assert_eq!(first.digest, Digest::of(&old));

    // A new model: the firmware stays.
    let second = write(&mut target, &[firmware.clone(), part(&new)], options(), &mut |_| ()).expect("written");
    assert_eq!(second.parts[0].written, 0);
    assert!(second.parts[1].written > 0);
    assert_eq!(second.digest, Digest::of(&new));

    // The same again: nothing is written.
    let third = write(&mut target, &[firmware.clone(), part(&new)], options(), &mut |_| ()).expect("written");
    assert!(third.parts.iter().all(|part| part.written == 0), "{:?}", third.parts);
    assert_eq!(third.digest, Digest::of(&new));

    // What the firmware refuses is said in its words.
    let mut broken = new.clone();
    broken[new.len() / 2] ^= 1;
    let error = write(&mut target, &[firmware, part(&broken)], options(), &mut |_| ()).expect_err("refused");
    assert!(matches!(&error, Error::Refused { reason } if reason.contains("checksum")), "{error}");
}

#[test]
fn flash_of_every_board_in_qemu_is_written_and_read_back() {
    let boards = Board::here(None).expect("boards");
    for board in boards.into_iter().filter(|board| board.settings.emulator.is_some()) {
        let mut target = Emulated::start(&board, &[]).expect("QEMU");
        let bytes: Vec<u8> = (0..5000u32).map(|index| (index * 31 % 253) as u8).collect();
        for address in [board.settings.image_address, board.settings.model_address] {
            let sectors = target.sectors(address..address + 5000);
            assert_eq!(sectors, [Sector { address, bytes: 4096 }, Sector { address: address + 4096, bytes: 4096 }]);
            target.erase(&sectors).expect("erased");
            target.program(&[(address, &bytes[..256]), (address + 256, &bytes[256..])]).expect("programmed");
            let mut found = vec![0; 8192];
            target.read(address, &mut found).expect("read");
            assert!(found[..5000] == bytes && found[5000..].iter().all(|&byte| byte == 0xff), "{}", board.package);
        }
        // An image that is for another board is none for this one.
        let elsewhere = Part::model(0x6000_0000, &bytes);
        let error = write(&mut target, &[elsewhere], options(), &mut |_| ()).expect_err("refused");
        assert!(matches!(error, Error::NoFlash { address: 0x6000_0000, .. }), "{error}");
    }
}

/// The firmware of a twin, which is that of real boards, over its RTT: a probe reads and writes memory as the GDB stub does.
struct Heard {
    target: Emulated,
    link: Link,
    mouth: Encoder,
    ears: Decoder<FRAME_BYTES_MAX>,
}

impl Heard {
    fn say(&mut self, command: Command) {
        let mut buffer = [0; COMMAND_FRAME_BYTES_MAX];
        let frame = self.mouth.encode(&command, &mut buffer).expect("short");
        self.target.with_memory(|memory| self.link.say(memory, frame)).expect("said");
    }

    /// Listens until an event is `wanted`, which is asked for again and again where `asking` says how.
    fn until<T>(&mut self, what: &str, asking: Option<Command>, wanted: impl Fn(&Event<'_>) -> Option<T>) -> T {
        let begin = Instant::now();
        let mut due = Duration::ZERO;
        loop {
            if let Some(command) = asking.filter(|_| begin.elapsed() >= due) {
                due += Duration::from_millis(300);
                self.say(command);
            }
            let mut bytes = [0; 300];
            let heard = self.target.with_memory(|memory| self.link.hear(memory, &mut bytes));
            for &byte in &bytes[..heard.expect("heard")] {
                if let Some(Ok(frame)) = self.ears.push::<Event<'_>>(byte)
                    && let Some(found) = wanted(&frame.message)
                {
                    return found;
                }
            }
            assert!(begin.elapsed() < Duration::from_secs(100), "no {what}: {}", self.target.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn the_firmware_of_real_boards_is_asked_for_its_model_over_rtt_and_found_again_behind_a_restart() {
    let board = board("twin-netduinoplus2");
    let image = std::fs::read(board.build().expect("firmware")).expect("an image");
    let blob = golden("v5_autoencoder.neji");
    let parts = [Part::firmware(&image).expect("an image"), Part::model(board.settings.model_address, &blob)];
    let mut target = Emulated::start(&board, &vec![7; SAMPLES]).expect("QEMU");
    target.listen_to(&image).expect("an image");
    // Until it is asked it says everything over its serial port.
    let outcome = write(&mut target, &parts, options(), &mut |_| ()).expect("written");
    assert_eq!(outcome.digest, Digest::of(&blob));

    let place = Place::of(&image).expect("an image").expect("RTT");
    let link = target.with_memory(|memory| Link::open(memory, place)).expect("a live link");
    let mut heard = Heard { target, link, mouth: Encoder::new(), ears: Decoder::new() };
    let name = board.package.as_str();
    let identity = |event: &Event<'_>| match event {
        Event::Identity(identity) => Some(identity.board == name),
        _ => None,
    };
    let verdict = |event: &Event<'_>| match event {
        Event::Score(score) => Some(score.verdict),
        _ => None,
    };
    assert!(heard.until("identity", Some(Command::Identify), identity));
    let late = heard.until("late score", None, |event| verdict(event).filter(|&verdict| verdict > 3000));

    heard.say(Command::Restart);
    heard.until("answer", None, |event| matches!(event, Event::Ack { .. }).then_some(()));
    // It begins with its serial port again, so it has to be asked through a ring that is a new one.
    let early = Some(Command::Identify);
    let again = heard.until("early score", early, |event| verdict(event).filter(|&verdict| verdict < late));
    assert!(again < 3000, "{again} behind {late}");
}
