//! What goes wrong between a PC and a board, each with its cure.

use std::time::Duration;

/// Why a board was not written, or did not answer.
///
/// The text names the cure where there is one; what was already written when it happened is refused by the device until
/// it is whole (see [`write`](crate::write())).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No debug probe is plugged in.
    #[error(
        "no debug probe found: plug the board's debug port in, by a cable that carries data and not only power; \
         `lsusb` must show it{hint}"
    )]
    NoProbe {
        /// Another way, where the board has one.
        hint: String,
    },
    /// The selector fits no probe.
    #[error("no debug probe {wanted}; there are: {found}")]
    NoSuchProbe {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// More than one probe, and none was named.
    #[error("several debug probes: name one by --probe VID:PID:SERIAL; there are: {found}")]
    SeveralProbes {
        /// What there is.
        found: String,
    },
    /// The operating system keeps the probe from this user.
    #[error(
        "no permission to open the probe {probe}: type\n  \
         echo 'SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor:04x}\", MODE=\"0660\", TAG+=\"uaccess\"' | \
         sudo tee /etc/udev/rules.d/69-neji.rules\n  sudo udevadm control --reload && sudo udevadm trigger\nand plug it in again"
    )]
    Permission {
        /// The probe.
        probe: String,
        /// Its vendor's number.
        vendor: u16,
    },
    /// probe-rs has no chip of this name.
    #[error("the chip {chip} is unknown{alike}: correct `chip` in the board's [package.metadata.neji]")]
    UnknownChip {
        /// What the board says that it has.
        chip: String,
        /// Names like it.
        alike: String,
    },
    /// Another chip answers than the board is said to have.
    #[error("the chip is {found}, {board} has {expected}: give the --board that is plugged in, or plug in that one")]
    WrongChip {
        /// What answers.
        found: String,
        /// The board's.
        expected: String,
        /// The board.
        board: String,
    },
    /// The chip is protected against debugging.
    #[error(
        "the chip is locked against debugging: neji flash --erase-locked unlocks it and erases ALL of it, whatever it holds ({reason})"
    )]
    Locked {
        /// What the probe says.
        reason: String,
    },
    /// The probe answers, the chip behind it does not.
    #[error(
        "the probe finds no chip: is the board powered? Try another cable, shorter debug wires, a lower --speed ({reason})"
    )]
    NoChip {
        /// What the probe says.
        reason: String,
    },
    /// The probe went away or does not answer.
    #[error("the probe does not answer: another cable or port, no hub between, plug it in again ({reason})")]
    Cable {
        /// What was said last.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("nothing happened for {} s while {doing}: plug board and probe in again, then type the same once more", .after.as_secs())]
    Stalled {
        /// The step.
        doing: &'static str,
        /// How long.
        after: Duration,
    },
    /// The bytes are for an address where this chip has no flash.
    #[error("{part} has bytes for {address:#x}, where {chip} has no flash: is it made for another board?")]
    NoFlash {
        /// Firmware or model.
        part: &'static str,
        /// The address.
        address: u64,
        /// The chip.
        chip: String,
    },
    /// Firmware and model, or two segments of an image, want the same bytes.
    #[error("{first} and {second} overlap at {address:#x}: the board's memory.x has to keep them apart")]
    Overlap {
        /// What lies there.
        first: &'static str,
        /// What would lie there too.
        second: &'static str,
        /// Where.
        address: u64,
    },
    /// Flash is erased by sectors, and one holds parts of both.
    #[error(
        "{first} and {second} share the sector of {bytes} bytes at {address:#x}, which is erased as a whole: \
         in memory.x, begin the model's region at a sector"
    )]
    SharedSector {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Where the sector begins.
        address: u64,
        /// Its length.
        bytes: u64,
    },
    /// What is read back is not what was written.
    #[error(
        "{part}: {address:#x} reads {found:#04x}, {wanted:#04x} was written; the device refuses it. Type the same once more; \
         if it stays so, the flash is worn out or protected"
    )]
    Verify {
        /// Firmware or model.
        part: &'static str,
        /// The first byte that differs.
        address: u64,
        /// What is there.
        found: u8,
        /// What should be.
        wanted: u8,
    },
    /// The probe or chip refuses an operation.
    #[error("{doing} failed: {reason}; plug board and probe in again, then type the same once more")]
    Device {
        /// The step.
        doing: &'static str,
        /// What was said.
        reason: String,
    },
    /// No RTT in the chip's memory.
    #[error(
        "the chip's memory has no RTT: its firmware has not started, or it is another one or an older one than has the live link; \
         `neji flash MODEL --board BOARD` writes it"
    )]
    NoRtt,
    /// More than one RTT in it.
    #[error(
        "the chip's memory has several RTTs, at {addresses}, as an earlier firmware leaves one: --firmware ELF says which one runs, or \
         take the board's power away for a moment"
    )]
    SeveralRtts {
        /// Where their control blocks are.
        addresses: String,
    },
    /// RTT without the live link.
    #[error(
        "the firmware's RTT has no live link, which is a channel \"neji\" in both directions, but {found}: it is another firmware or an \
         older one; `neji flash MODEL --board BOARD` writes the board's own"
    )]
    NoChannel {
        /// The channels that there are.
        found: String,
    },
    /// RTT was there and is no more.
    #[error(
        "the firmware's RTT is gone and does not come back: the chip is held in reset, or has another firmware now"
    )]
    RttGone,
    /// The firmware said nothing in time.
    #[error(
        "all is written and verified, but the device says nothing within {} s: does its firmware report over {way}? \
         --no-wait does not wait", .after.as_secs()
    )]
    Silent {
        /// Where it was listened.
        way: &'static str,
        /// How long.
        after: Duration,
    },
    /// The firmware refuses the model.
    #[error("all is written and verified, but the firmware refuses the model: {reason}")]
    Refused {
        /// The device's words.
        reason: String,
    },
    /// The firmware runs another model.
    #[error(
        "the device runs a model of {found_bytes} bytes with checksum {found:08x}, not the one of {bytes} bytes with \
         {expected:08x} that was written: does the firmware read its model at {address:#x}?"
    )]
    OtherModel {
        /// Its checksum.
        found: u32,
        /// Its length.
        found_bytes: u32,
        /// What was written.
        expected: u32,
        /// The length of that.
        bytes: u32,
        /// Where.
        address: u64,
    },
    /// The image is none.
    #[error("the firmware is no ELF image for a board: {reason}")]
    Image {
        /// Why.
        reason: String,
    },
    /// No UF2 for this board.
    #[error("{board} takes no UF2 files: they are for boards whose [package.metadata.neji] has `uf2_family`")]
    NoUf2 {
        /// The board.
        board: String,
    },
    /// No drive of a board in its loader.
    #[error(
        "no UF2 drive found: hold the board's BOOTSEL button while you plug it in, wait for the drive, then type the same \
         once more; or --uf2 FILE writes a file to copy by hand"
    )]
    NoDrive,
    /// This build cannot do it.
    #[error("{reason}")]
    Unsupported {
        /// What it lacks, and how to get it.
        reason: String,
    },
    /// A file or a process of the PC.
    #[error("{doing}: {source}")]
    Io {
        /// What for.
        doing: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What all of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the system.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
