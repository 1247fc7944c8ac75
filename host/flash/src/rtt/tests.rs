use super::*;

const BASE: u64 = 0x2000_0000;
/// Where the tests' firmware has its control block.
const BLOCK: u64 = BASE + 0x1ffc;

/// A chip's memory, and its firmware's side of RTT.
struct Chip {
    ram: Vec<u8>,
    /// Addresses where a clock is off.
    off: Range<u64>,
    /// The cable is pulled.
    is_gone: bool,
    /// Bytes that were read.
    read: usize,
    /// So many looks at words until the firmware has come to its RTT.
    starting: Option<u32>,
}

/// One of the firmware's channels: its name, and the length of its ring.
type Channel = (&'static str, u32);

impl Chip {
    /// With what RAM has when it is switched on.
    fn new() -> Self {
        Self { ram: vec![0xa5; 0x4000], off: 0..0, is_gone: false, read: 0, starting: None }
    }

    fn running(up: &[Channel], down: &[Channel]) -> Self {
        let mut chip = Self::new();
        chip.make(BLOCK, up, down);
        chip
    }

    fn at(&mut self, address: u64, length: usize) -> Result<&mut [u8]> {
        let cut = || Error::Cable { reason: "pulled".into() };
        if self.is_gone {
            return Err(cut());
        }
        let range = address..address + length as u64;
        if range.start < self.off.end && self.off.start < range.end {
            return Err(Error::Device { doing: "reading", reason: format!("no clock at {address:#x}") });
        }
        let from = address.checked_sub(BASE).ok_or_else(cut)? as usize;
        self.ram.get_mut(from..from + length).ok_or_else(cut)
    }

    fn word(&mut self, address: u64) -> u32 {
        u32::from_le_bytes(self.at(address, 4).unwrap().try_into().unwrap())
    }

    fn set(&mut self, address: u64, word: u32) {
        self.at(address, 4).unwrap().copy_from_slice(&word.to_le_bytes());
    }

    /// What a firmware does first: a new block at `block`, rings behind it, names behind them; the ID last.
    fn make(&mut self, block: u64, up: &[Channel], down: &[Channel]) {
        let count = (up.len() + down.len()) as u64;
        let mut free = block + HEADER_BYTES + count * RING_BYTES;
        self.at(block, (free - block) as usize).unwrap().fill(0);
        for (index, (name, length)) in up.iter().chain(down).enumerate() {
            let at = block + HEADER_BYTES + index as u64 * RING_BYTES;
            let text = free + u64::from(*length);
            for (offset, word) in [(0, text as u32), (4, free as u32), (8, *length)] {
                self.set(at + offset, word);
            }
            self.at(text, name.len() + 1).unwrap().copy_from_slice(format!("{name}\0").as_bytes());
            free = (text + name.len() as u64 + 1).next_multiple_of(4);
        }
        self.set(block + 16, up.len() as u32);
        self.set(block + 20, down.len() as u32);
        self.at(block, ID.len()).unwrap().copy_from_slice(&ID);
    }

    /// Words of the channel with this index: its ring, the length, the offsets for writing and reading.
    fn ring(&mut self, index: u64) -> [u32; 4] {
        let at = BLOCK + HEADER_BYTES + index * RING_BYTES;
        [4, 8, 12, 16].map(|offset| self.word(at + offset))
    }

    /// The firmware says as many of `bytes` as have room, one at a time.
    fn say(&mut self, index: u64, bytes: &[u8]) -> usize {
        for (count, byte) in bytes.iter().enumerate() {
            let [start, length, write, read] = self.ring(index);
            let next = (write + 1) % length;
            if next == read {
                return count;
            }
            self.at(u64::from(start + write), 1).unwrap()[0] = *byte;
            self.set(BLOCK + HEADER_BYTES + index * RING_BYTES + 12, next);
        }
        bytes.len()
    }

    /// The firmware hears at most `most` bytes.
    fn hear(&mut self, index: u64, most: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < most {
            let [start, length, write, read] = self.ring(index);
            if read == write {
                break;
            }
            heard.push(self.at(u64::from(start + read), 1).unwrap()[0]);
            self.set(BLOCK + HEADER_BYTES + index * RING_BYTES + 16, (read + 1) % length);
        }
        heard
    }
}

impl Memory for Chip {
    fn ram(&self) -> Vec<Range<u64>> {
        let middle = BASE + 0x2010;
        // In two parts, as some chips have it, one of which the block lies across.
        vec![BASE..middle, middle..BASE + self.ram.len() as u64]
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(self.at(address, buffer.len())?);
        self.read += buffer.len();
        Ok(())
    }

    fn read_words(&mut self, address: u64, words: &mut [u32]) -> Result<()> {
        assert_eq!(address % 4, 0);
        self.starting = self.starting.map(|looks| looks.saturating_sub(1));
        if self.starting == Some(0) {
            self.starting = None;
            self.make(BLOCK, &UP, &DOWN);
        }
        let bytes = self.at(address, words.len() * 4)?;
        let (bytes, _) = bytes.as_chunks();
        words.iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.at(address, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn write_word(&mut self, address: u64, word: u32) -> Result<()> {
        assert_eq!(address % 4, 0);
        self.write(address, &word.to_le_bytes())
    }
}

/// As the real boards have it, with shorter rings: logs, and the live link.
const UP: [Channel; 2] = [("defmt", 16), (CHANNEL, 8)];
const DOWN: [Channel; 2] = [("none", 4), (CHANNEL, 8)];
/// Indices of the live link's channels in the block.
const UP_INDEX: u64 = 1;
const DOWN_INDEX: u64 = 3;

fn open(chip: &mut Chip, place: Place) -> Result<Link> {
    Link::open_within(chip, place, Duration::from_millis(120))
}

fn heard(link: &mut Link, chip: &mut Chip) -> Vec<u8> {
    let mut buffer = [0; 64];
    let count = link.hear(chip, &mut buffer).unwrap();
    buffer[..count].to_vec()
}

#[test]
fn bytes_go_both_ways_through_rings_that_are_shorter_than_they() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    let sent: Vec<u8> = (0..=255).collect();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    link.say(&mut chip, &sent[..100]).unwrap();
    link.say(&mut chip, &sent[100..]).unwrap();
    let mut given = 0;
    for turn in 0.. {
        // In pieces of all lengths, so that rings are empty, full and anything between when they come to their ends.
        given += chip.say(UP_INDEX, &sent[given..(given + turn % 9).min(sent.len())]);
        let mut buffer = [0; 5];
        let count = link.hear(&mut chip, &mut buffer[..1 + turn % 5]).unwrap();
        up.extend_from_slice(&buffer[..count]);
        down.extend(chip.hear(DOWN_INDEX, turn % 4));
        if up.len() == sent.len() && down.len() == sent.len() {
            break;
        }
        assert!(turn < 2000, "{} up, {} down", up.len(), down.len());
    }
    assert_eq!((up, down), (sent.clone(), sent));
    assert_eq!(chip.word(BLOCK + HEADER_BYTES + 12), 0, "another channel is left alone");
}

#[test]
fn what_has_no_room_is_kept_until_it_has() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    link.say(&mut chip, b"0123456789").unwrap();
    // A ring holds a byte less than it is long.
    let [start, length, write, read] = chip.ring(DOWN_INDEX);
    assert_eq!((length, write, read), (8, 7, 0));
    assert_eq!(chip.at(start.into(), 7).unwrap(), b"0123456");
    assert!(heard(&mut link, &mut chip).is_empty());
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"0123456");
    assert!(heard(&mut link, &mut chip).is_empty());
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"789");
}

#[test]
fn a_full_ring_of_the_board_is_taken_whole() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    for _ in 0..9 {
        assert_eq!(chip.say(UP_INDEX, b"abcdefghij"), 7);
        assert_eq!(heard(&mut link, &mut chip), b"abcdefg");
        let [_, _, write, read] = chip.ring(UP_INDEX);
        assert_eq!(write, read, "the firmware has room again");
    }
}

#[test]
fn it_is_found_in_ram_wherever_it_lies() {
    // At the beginning, across a piece that is searched at once, at the end.
    for block in [BASE, BASE + PIECE - 4, BASE + PIECE - 12, BASE + PIECE, BASE + 0x3f00] {
        let mut chip = Chip::new();
        chip.make(block, &UP, &DOWN);
        assert_eq!(search(&mut chip).unwrap(), [block]);
        let rtt = Rtt::find(&mut chip, Place::Ram).unwrap().unwrap();
        assert_eq!((rtt.address, rtt.up.len(), rtt.down.len()), (block, 2, 2));
    }
}

#[test]
fn an_address_saves_the_search_and_a_wrong_one_costs_it() {
    let mut chip = Chip::running(&UP, &DOWN);
    open(&mut chip, Place::At(BLOCK)).unwrap();
    assert!(chip.read < 1000, "{} bytes were read", chip.read);
    let link = open(&mut chip, Place::At(BLOCK + 64)).unwrap();
    assert_eq!(link.address, BLOCK);
    assert!(chip.read >= chip.ram.len());
}

#[test]
fn ram_whose_clock_is_off_is_passed_over() {
    let mut chip = Chip::running(&UP, &DOWN);
    chip.off = BASE + 0x2010..BASE + 0x4000;
    chip.make(BASE + 64, &UP, &DOWN);
    chip.at(BLOCK, 4).unwrap().fill(0);
    assert_eq!(search(&mut chip).unwrap(), [BASE + 64]);
    chip.is_gone = true;
    assert!(matches!(search(&mut chip), Err(Error::Cable { .. })));
}

#[test]
fn what_is_missing_is_said_with_its_cure() {
    let error = |chip: &mut Chip| open(chip, Place::Ram).unwrap_err().to_string();
    let none = error(&mut Chip::new());
    assert!(none.contains("has not started") && none.contains("neji flash MODEL --board"), "{none}");

    let old = error(&mut Chip::running(&[("defmt", 16), ("", 8)], &[]));
    assert!(old.contains("to the PC defmt, one without a name, from it none"), "{old}");
    assert!(old.contains("\"neji\"") && old.contains("neji flash MODEL --board"), "{old}");
    // One way is not enough.
    let deaf = error(&mut Chip::running(&UP, &[("none", 4)]));
    assert!(deaf.contains("to the PC defmt, neji, from it none"), "{deaf}");

    let mut two = Chip::running(&UP, &DOWN);
    two.make(BASE + 64, &UP, &DOWN);
    let two = error(&mut two);
    assert!(two.contains("0x20000040, 0x20001ffc") && two.contains("--firmware ELF"), "{two}");
}

#[test]
fn one_that_is_half_made_or_no_longer_one_is_none() {
    let broken: [fn(&mut Chip); 5] = [
        // Not all of its ID.
        |chip| chip.set(BLOCK + 12, 0xa5a5_a5a5),
        |chip| chip.set(BLOCK + 16, 1000),
        // More channels than RAM has room for them.
        |chip| chip.make(BASE + 0x3f80, &UP, &DOWN[..0]),
        |chip| chip.set(BLOCK + HEADER_BYTES + RING_BYTES + 4, 0x4000_0000),
        |chip| chip.set(BLOCK + HEADER_BYTES + RING_BYTES + 12, 8),
    ];
    for (index, break_it) in broken.into_iter().enumerate() {
        let mut chip = Chip::running(&UP, &DOWN);
        let place = if index == 2 { BASE + 0x3f80 } else { BLOCK };
        break_it(&mut chip);
        if index == 2 {
            chip.set(place + 16, 32);
        }
        let found = Rtt::find(&mut chip, Place::At(place)).unwrap();
        assert!(found.is_none_or(|mut rtt| rtt.link().is_none()), "{index}");
    }
    let mut chip = Chip::running(&UP, &DOWN);
    for elsewhere in [0, BLOCK + 2, BASE + 0x3ff0, u64::from(u32::MAX) - 3] {
        assert_eq!(Rtt::find(&mut chip, Place::At(elsewhere)).unwrap(), None, "{elsewhere:#x}");
    }
}

#[test]
fn what_lay_there_before_anybody_listened_is_dropped() {
    let mut chip = Chip::running(&UP, &DOWN);
    chip.say(UP_INDEX, b"old");
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    chip.say(UP_INDEX, b"new");
    assert_eq!(heard(&mut link, &mut chip), b"new");
}

#[test]
fn a_firmware_that_starts_late_is_waited_for() {
    let mut chip = Chip::new();
    chip.starting = Some(3);
    assert!(Link::open_within(&mut chip, Place::At(BLOCK), Duration::from_secs(20)).is_ok());
    assert_eq!(chip.starting, None);
}

#[test]
fn a_firmware_that_starts_anew_is_found_again_and_heard_from_its_beginning() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    chip.say(UP_INDEX, b"before");
    assert_eq!(heard(&mut link, &mut chip), b"before");
    link.say(&mut chip, b"12345").unwrap();
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"12345");

    // In reset, until the firmware is there again.
    let length = (HEADER_BYTES + 4 * RING_BYTES) as usize;
    chip.at(BLOCK, length).unwrap().fill(0);
    assert!(heard(&mut link, &mut chip).is_empty());
    link.say(&mut chip, b"678").unwrap();
    chip.make(BLOCK, &UP, &DOWN);
    chip.say(UP_INDEX, b"anew");
    assert_eq!(heard(&mut link, &mut chip), b"anew");
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"678", "what was said meanwhile");

    // Faster than it is looked at: offsets that are not as they were left tell it.
    chip.make(BLOCK, &UP, &DOWN);
    chip.say(UP_INDEX, b"again");
    let found = [heard(&mut link, &mut chip), heard(&mut link, &mut chip)].concat();
    assert_eq!(found, b"again");
    link.say(&mut chip, b"9").unwrap();
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"9");
}

#[test]
fn a_firmware_that_does_not_come_back_and_a_cable_that_is_pulled_end_it() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut link = open(&mut chip, Place::At(BLOCK)).unwrap();
    chip.ram.fill(0);
    let begin = Instant::now();
    let error = loop {
        match link.hear(&mut chip, &mut [0; 8]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::RttGone) && begin.elapsed() >= Duration::from_millis(100), "{error}");
    chip.is_gone = true;
    assert!(matches!(link.hear(&mut chip, &mut [0; 8]), Err(Error::Cable { .. })));
}

#[test]
fn all_channels_are_heard_and_the_live_link_is_told() {
    let mut chip = Chip::running(&UP, &DOWN);
    let mut rtt = Rtt::find(&mut chip, Place::At(BLOCK)).unwrap().unwrap();
    chip.say(0, b"log");
    chip.say(UP_INDEX, b"frame");
    let heard = rtt.hear(&mut chip).unwrap();
    assert_eq!(heard, Some(vec![(0, b"log".to_vec()), (1, b"frame".to_vec())]));
    assert_eq!(rtt.say(&mut chip, b"0123456789").unwrap(), 7);
    assert_eq!(chip.hear(DOWN_INDEX, 9), b"0123456");
    chip.make(BLOCK, &UP, &DOWN);
    assert_eq!((rtt.say(&mut chip, b"x").unwrap(), rtt.hear(&mut chip).unwrap()), (0, None));
}

#[test]
fn what_an_earlier_firmware_left_is_not_taken_for_the_next() {
    for place in [Place::At(BLOCK), Place::Ram] {
        let mut chip = Chip::running(&UP, &DOWN);
        chip.say(UP_INDEX, b"old");
        let mut ears = Ears::new(Some(place));
        ears.begin(&mut chip).unwrap();
        ears.say(&mut chip, b"nobody").unwrap();
        assert!(ears.hear(&mut chip).unwrap().is_empty());
        chip.make(BLOCK, &UP, &DOWN);
        chip.say(UP_INDEX, b"new");
        assert_eq!(ears.hear(&mut chip).unwrap(), [(1, b"new".to_vec())]);
        ears.say(&mut chip, b"who").unwrap();
        assert_eq!(chip.hear(DOWN_INDEX, 9), b"who");
        // And once more, without being told.
        chip.make(BLOCK, &UP, &DOWN);
        chip.say(UP_INDEX, b"anew");
        assert!(ears.hear(&mut chip).unwrap().is_empty());
        assert_eq!(ears.hear(&mut chip).unwrap(), [(1, b"anew".to_vec())]);
    }
    let mut chip = Chip::running(&UP, &DOWN);
    chip.say(UP_INDEX, b"new");
    assert!(Ears::new(None).hear(&mut chip).unwrap().is_empty());
}

#[test]
fn an_image_says_where_it_is() {
    assert!(matches!(Place::of(b"no image"), Err(Error::Image { .. })));
    // This test's own executable has no RTT.
    let image = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(Place::of(&image).unwrap(), None);
}
