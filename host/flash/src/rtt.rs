//! RTT: rings of bytes in a chip's memory, which a debug probe reads and writes while the firmware runs.
//!
//! A control block begins with [`ID`]; behind it are how many channels there are to the PC (up) and from it (down), and six words of
//! each: its name, its ring, the ring's length, where the next byte is written, where the next is read, flags. Who writes owns the first
//! of the two offsets, who reads the second; a ring is empty where they are the same, so it holds a byte less than it is long. The
//! firmware makes the block anew whenever it starts, its ID last.
//!
//! Nothing here knows a probe: it works on any [`Memory`].

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use object::{Object, ObjectSymbol};

use crate::error::{Error, Result};

/// What a control block begins with.
pub const ID: [u8; 16] = *b"SEGGER RTT\0\0\0\0\0\0";
/// The live link's channels, one in each direction.
pub const CHANNEL: &str = "neji";
/// The symbol of the control block in a firmware's image.
const SYMBOL: &str = "_SEGGER_RTT";
/// Bytes of ID and counts.
const HEADER_BYTES: u64 = 24;
/// Bytes of what is said of a channel.
const RING_BYTES: u64 = 24;
/// More channels than this in a direction are none.
const CHANNELS_MAX: u32 = 32;
/// Longest name that is read.
const NAME_BYTES: usize = 32;
/// Bytes of memory that are searched at once.
const PIECE: u64 = 4096;
/// How long a firmware may take from its reset to its RTT.
const START: Duration = Duration::from_secs(3);
/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// Memory of a chip that runs.
pub trait Memory {
    /// Where its RAM is, in order.
    fn ram(&self) -> Vec<Range<u64>>;

    /// Fills `buffer` with what lies at `address`.
    ///
    /// # Errors
    /// Nothing is there, or the chip does not answer.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()>;

    /// Fills `words` with the little-endian words at `address`, which is a multiple of 4, each read at once.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn read_words(&mut self, address: u64, words: &mut [u32]) -> Result<()>;

    /// Writes `bytes` to `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()>;

    /// Writes a word to `address`, which is a multiple of 4, at once.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn write_word(&mut self, address: u64, word: u32) -> Result<()>;
}

/// Where the control block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this address.
    At(u64),
    /// Anywhere in RAM: all of it is read, some seconds of a slow probe.
    Ram,
}

impl Place {
    /// What a firmware's image says; `None` where it has no RTT.
    ///
    /// # Errors
    /// It is no image.
    pub fn of(image: &[u8]) -> Result<Option<Self>> {
        let file = object::File::parse(image).map_err(|error| Error::Image { reason: error.to_string() })?;
        Ok(file.symbol_by_name(SYMBOL).map(|symbol| Self::At(symbol.address())))
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the PC.
    Up,
    /// From the PC.
    Down,
}

/// A channel's ring.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ring {
    way: Way,
    name: String,
    /// Of its six words.
    at: u64,
    /// The first three, which the firmware leaves as they are: addresses of name and ring, the ring's length.
    made: [u32; 3],
    /// The offset that the PC owns, as it was left.
    ours: u32,
}

/// Whether all of `range` lies in `memory`.
fn lies_in(memory: &[Range<u64>], range: Range<u64>) -> bool {
    let mut at = range.start;
    while at < range.end {
        match memory.iter().find(|part| part.contains(&at)) {
            Some(part) => at = part.end,
            None => return false,
        }
    }
    true
}

impl Ring {
    /// The channel at `at`; `None` where the firmware has made none.
    fn read(memory: &mut dyn Memory, ram: &[Range<u64>], way: Way, at: u64) -> Result<Option<Self>> {
        let mut words = [0; 5];
        memory.read_words(at, &mut words)?;
        let [name, start, length, write, read] = words;
        let ring = u64::from(start)..u64::from(start) + u64::from(length);
        // Memory that a start has not come to yet holds anything.
        if start == 0 || length < 2 || write >= length || read >= length || !lies_in(ram, ring) {
            return Ok(None);
        }
        let ours = if way == Way::Up { read } else { write };
        let name = if name == 0 { String::new() } else { text(memory, name.into())? };
        Ok(Some(Self { way, name, at, made: [words[0], start, length], ours }))
    }

    fn length(&self) -> u32 {
        self.made[2]
    }

    /// The firmware's offset; `None` where the channel is no longer as it was left, as after a reset.
    fn theirs(&self, memory: &mut dyn Memory) -> Result<Option<u32>> {
        let mut words = [0; 5];
        memory.read_words(self.at, &mut words)?;
        let [name, start, length, write, read] = words;
        let (ours, theirs) = if self.way == Way::Up { (read, write) } else { (write, read) };
        let same = [name, start, length] == self.made && ours == self.ours && theirs < length;
        Ok(same.then_some(theirs))
    }

    /// Bytes from `from` to `to`, the way round that the ring goes.
    fn distance(&self, from: u32, to: u32) -> usize {
        if to >= from { (to - from) as usize } else { (self.length() - from) as usize + to as usize }
    }

    /// Where `count` bytes from the PC's offset lie: up to the ring's end, and from its beginning.
    fn pieces(&self, count: usize) -> [(u64, Range<usize>); 2] {
        let first = count.min((self.length() - self.ours) as usize);
        let start = u64::from(self.made[1]);
        [(start + u64::from(self.ours), 0..first), (start, first..count)]
    }

    /// Moves the PC's offset on.
    fn go_on(&mut self, memory: &mut dyn Memory, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let ours = ((u64::from(self.ours) + count as u64) % u64::from(self.length())) as u32;
        let offset = if self.way == Way::Up { 16 } else { 12 };
        memory.write_word(self.at + offset, ours)?;
        self.ours = ours;
        Ok(())
    }

    /// Takes what waits, as far as `buffer` has room; `None` where the channel is no longer as it was left.
    fn take(&mut self, memory: &mut dyn Memory, buffer: &mut [u8]) -> Result<Option<usize>> {
        let Some(theirs) = self.theirs(memory)? else { return Ok(None) };
        let count = self.distance(self.ours, theirs).min(buffer.len());
        for (address, range) in self.pieces(count).into_iter().filter(|(_, range)| !range.is_empty()) {
            memory.read(address, &mut buffer[range])?;
        }
        self.go_on(memory, count)?;
        Ok(Some(count))
    }

    /// Gives the front of `bytes`, as far as there is room; `None` where the channel is no longer as it was left.
    fn give(&mut self, memory: &mut dyn Memory, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(theirs) = self.theirs(memory)? else { return Ok(None) };
        let room = self.length() as usize - 1 - self.distance(theirs, self.ours);
        let count = room.min(bytes.len());
        for (address, range) in self.pieces(count).into_iter().filter(|(_, range)| !range.is_empty()) {
            memory.write(address, &bytes[range])?;
        }
        self.go_on(memory, count)?;
        Ok(Some(count))
    }

    /// Drops what waits.
    fn skip(&mut self, memory: &mut dyn Memory) -> Result<()> {
        match self.theirs(memory)? {
            Some(theirs) => self.go_on(memory, self.distance(self.ours, theirs)),
            None => Ok(()),
        }
    }
}

/// The text at `address`, up to its zero; nothing where that is not near.
fn text(memory: &mut dyn Memory, address: u64) -> Result<String> {
    let mut bytes = [0; NAME_BYTES];
    memory.read(address, &mut bytes)?;
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(0);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Bytes by the number of their channel, which is its place in the block.
pub type Heard = Vec<(usize, Vec<u8>)>;

/// A firmware's RTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtt {
    /// Of the control block.
    address: u64,
    up: Vec<Ring>,
    down: Vec<Ring>,
}

impl Rtt {
    /// The one at `place`, as far as the firmware has made it; `None` where it has made none, or not yet.
    ///
    /// # Errors
    /// The chip does not answer, or there are several.
    pub fn find(memory: &mut dyn Memory, place: Place) -> Result<Option<Self>> {
        match place {
            Place::At(address) => Self::at(memory, address),
            Place::Ram => {
                let mut found = Vec::new();
                for address in search(memory)? {
                    found.extend(Self::at(memory, address)?);
                }
                if found.len() > 1 {
                    let addresses: Vec<String> = found.iter().map(|rtt| format!("{:#x}", rtt.address)).collect();
                    return Err(Error::SeveralRtts { addresses: addresses.join(", ") });
                }
                Ok(found.pop())
            }
        }
    }

    fn at(memory: &mut dyn Memory, address: u64) -> Result<Option<Self>> {
        let ram = memory.ram();
        if !address.is_multiple_of(4) || !lies_in(&ram, address..address + HEADER_BYTES) {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES as usize / 4];
        memory.read_words(address, &mut header)?;
        let id = header[..4].iter().flat_map(|word| word.to_le_bytes());
        let [ups, downs] = [header[4], header[5]];
        let count = u64::from(ups) + u64::from(downs);
        let is_block = id.eq(ID) && ups <= CHANNELS_MAX && downs <= CHANNELS_MAX;
        if !is_block || !lies_in(&ram, address..address + HEADER_BYTES + count * RING_BYTES) {
            return Ok(None);
        }
        let mut rtt = Self { address, up: Vec::new(), down: Vec::new() };
        for index in 0..count {
            let is_up = index < u64::from(ups);
            let (way, rings) = if is_up { (Way::Up, &mut rtt.up) } else { (Way::Down, &mut rtt.down) };
            rings.extend(Ring::read(memory, &ram, way, address + HEADER_BYTES + index * RING_BYTES)?);
        }
        Ok(Some(rtt))
    }

    /// Makes sure that no RTT is found at `place` before a firmware has made one: RAM outlives a reset.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn clear(memory: &mut dyn Memory, place: Place) -> Result<()> {
        let blocks = match place {
            Place::At(address) => vec![address],
            Place::Ram => search(memory)?,
        };
        let words = |address: u64| (0..ID.len() as u64 / 4).map(move |index| address + index * 4);
        blocks.into_iter().flat_map(words).try_for_each(|address| memory.write_word(address, 0))
    }

    /// Some of the bytes that wait in channels to the PC; `None` where the firmware has begun anew, or is about to.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn hear(&mut self, memory: &mut dyn Memory) -> Result<Option<Heard>> {
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        for (number, ring) in self.up.iter_mut().enumerate() {
            let Some(count) = ring.take(memory, &mut buffer)? else { return Ok(None) };
            if count > 0 {
                heard.push((number, buffer[..count].to_vec()));
            }
        }
        Ok(Some(heard))
    }

    /// Gives the front of `bytes` to the live link's channel; how many there was room for, 0 where there is no such channel or the
    /// firmware has begun anew.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn say(&mut self, memory: &mut dyn Memory, bytes: &[u8]) -> Result<usize> {
        let ring = self.down.iter_mut().find(|ring| ring.name == CHANNEL);
        ring.map_or(Ok(0), |ring| Ok(ring.give(memory, bytes)?.unwrap_or(0)))
    }

    /// The live link's channels, to the PC and from it.
    fn link(&mut self) -> Option<(&mut Ring, &mut Ring)> {
        let named = |ring: &&mut Ring| ring.name == CHANNEL;
        Some((self.up.iter_mut().find(named)?, self.down.iter_mut().find(named)?))
    }

    /// The channels, for people.
    fn names(&self) -> String {
        let name = |ring: &Ring| if ring.name.is_empty() { "one without a name".into() } else { ring.name.clone() };
        let list = |rings: &[Ring]| match rings {
            [] => "none".to_owned(),
            _ => rings.iter().map(name).collect::<Vec<_>>().join(", "),
        };
        format!("to the PC {}, from it {}", list(&self.up), list(&self.down))
    }
}

/// Where IDs of control blocks lie in RAM. What can't be read is passed over, such as RAM whose clock is off.
///
/// # Errors
/// None of it can be read.
fn search(memory: &mut dyn Memory) -> Result<Vec<u64>> {
    let (mut found, mut failed, mut is_read) = (Vec::new(), None, false);
    for part in memory.ram() {
        let mut at = part.start;
        // Pieces overlap, for an ID that lies across the end of one.
        while at + HEADER_BYTES <= part.end {
            let end = (at + PIECE + ID.len() as u64 - 4).min(part.end);
            let mut bytes = vec![0; (end - at) as usize];
            if let Err(error) = memory.read(at, &mut bytes) {
                failed = Some(error);
                break;
            }
            is_read = true;
            let ids = bytes.windows(ID.len()).step_by(4).enumerate().filter(|(_, window)| *window == ID);
            found.extend(ids.map(|(index, _)| at + index as u64 * 4));
            at += PIECE;
        }
    }
    match failed {
        Some(error) if !is_read => Err(error),
        _ => Ok(found),
    }
}

/// All that a firmware says over RTT from its start on, whichever channels it has.
#[derive(Debug)]
pub struct Ears {
    /// `None` where the firmware has no RTT.
    place: Option<Place>,
    rtt: Option<Rtt>,
}

impl Ears {
    /// For a firmware whose RTT is at `place`; `None` is for one without, of which nothing is heard.
    pub fn new(place: Option<Place>) -> Self {
        Self { place, rtt: None }
    }

    /// Whether there is anything to listen to.
    pub fn are_open(&self) -> bool {
        self.place.is_some()
    }

    /// Prepares for a reset: RAM outlives it, and what an earlier firmware left there must not be taken for the next one's.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn begin(&mut self, memory: &mut dyn Memory) -> Result<()> {
        self.rtt = None;
        self.place.map_or(Ok(()), |place| Rtt::clear(memory, place))
    }

    /// Some of what the firmware says; nothing until it has come to its RTT.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn hear(&mut self, memory: &mut dyn Memory) -> Result<Heard> {
        let Some(place) = self.place else { return Ok(vec![]) };
        if self.rtt.is_none() {
            self.rtt = Rtt::find(memory, place)?;
        }
        let heard = self.rtt.as_mut().map_or(Ok(None), |rtt| rtt.hear(memory))?;
        // It begins anew.
        if heard.is_none() {
            self.rtt = None;
        }
        Ok(heard.unwrap_or_default())
    }

    /// Says `bytes` over the live link; what there is no room for is dropped.
    ///
    /// # Errors
    /// The chip does not answer.
    pub fn say(&mut self, memory: &mut dyn Memory, bytes: &[u8]) -> Result<()> {
        self.rtt.as_mut().map_or(Ok(0), |rtt| rtt.say(memory, bytes)).map(drop)
    }
}

/// The live link over a chip's memory.
#[derive(Debug)]
pub struct Link {
    rtt: Option<Rtt>,
    address: u64,
    /// Said, and still without room.
    unsaid: VecDeque<u8>,
    /// When the firmware was last found.
    seen: Instant,
    start: Duration,
}

impl Link {
    /// The link of the firmware that runs; what that has said before is dropped. Where nothing is at the address of `place`, RAM is
    /// searched.
    ///
    /// # Errors
    /// There is no RTT within some seconds, no channel of the live link in it, or the chip does not answer.
    pub fn open(memory: &mut dyn Memory, place: Place) -> Result<Self> {
        Self::open_within(memory, place, START)
    }

    fn open_within(memory: &mut dyn Memory, place: Place, start: Duration) -> Result<Self> {
        let begin = Instant::now();
        let mut rtt = loop {
            // An image that is not the one on the board has it elsewhere.
            let found = match (Rtt::find(memory, place)?, place) {
                (None, Place::At(_)) => Rtt::find(memory, Place::Ram)?,
                (found, _) => found,
            };
            match found {
                Some(rtt) => break rtt,
                None if begin.elapsed() >= start => return Err(Error::NoRtt),
                None => std::thread::sleep(AGAIN),
            }
        };
        let Some((up, _)) = rtt.link() else { return Err(Error::NoChannel { found: rtt.names() }) };
        up.skip(memory)?;
        let address = rtt.address;
        Ok(Self { rtt: Some(rtt), address, unsaid: VecDeque::new(), seen: Instant::now(), start })
    }

    /// Takes what has come, 0 where nothing has, and says what waits to be said. A firmware that starts anew is found again, with all
    /// that it says from its beginning.
    ///
    /// # Errors
    /// It is not found again within some seconds, or the chip does not answer.
    pub fn hear(&mut self, memory: &mut dyn Memory, buffer: &mut [u8]) -> Result<usize> {
        if self.rtt.is_none() {
            self.rtt = Rtt::find(memory, Place::At(self.address))?;
        }
        let rings = self.rtt.as_mut().and_then(Rtt::link);
        let taken = match rings {
            Some((up, down)) => match (push(&mut self.unsaid, down, memory)?, up.take(memory, buffer)?) {
                (true, Some(count)) => Some(count),
                _ => None,
            },
            None => None,
        };
        match taken {
            Some(count) => {
                self.seen = Instant::now();
                Ok(count)
            }
            None => {
                self.rtt = None;
                if self.seen.elapsed() > self.start { Err(Error::RttGone) } else { Ok(0) }
            }
        }
    }

    /// Says `bytes`: now as far as there is room, the rest while it is heard.
    ///
    /// # Errors
    /// The chip does not answer; the bytes are kept.
    pub fn say(&mut self, memory: &mut dyn Memory, bytes: &[u8]) -> Result<()> {
        self.unsaid.extend(bytes);
        if let Some((_, down)) = self.rtt.as_mut().and_then(Rtt::link)
            && !push(&mut self.unsaid, down, memory)?
        {
            self.rtt = None;
        }
        Ok(())
    }
}

/// Gives the ring what there is room for; whether it is as it was left.
fn push(unsaid: &mut VecDeque<u8>, down: &mut Ring, memory: &mut dyn Memory) -> Result<bool> {
    if unsaid.is_empty() {
        return Ok(true);
    }
    let Some(count) = down.give(memory, unsaid.make_contiguous())? else { return Ok(false) };
    unsaid.drain(..count);
    Ok(true)
}

#[cfg(test)]
mod tests;
