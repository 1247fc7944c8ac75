//! A real board behind a debug probe, by probe-rs.
//!
//! Sectors are those of the chip's flash algorithm in probe-rs; what it says in its errors is turned into what to do.

use std::fmt::Write as _;
use std::ops::Range;

use probe_rs::architecture::arm::ArmError;
use probe_rs::config::{FlashProperties, Registry, RegistryError, TargetSelector};
use probe_rs::flashing::{DownloadOptions, FlashProgress, erase};
pub use probe_rs::probe::list::Lister;
use probe_rs::probe::list::{Accessibility, ProbeListItem};
use probe_rs::probe::{DebugProbeError, DebugProbeInfo, DebugProbeSelector, Probe, ProbeCreationError};
use probe_rs::{Core, MemoryInterface, Permissions, Session};

use crate::error::{Error, Result};
use crate::rtt::{Ears, Heard, Link, Memory, Place};
use crate::target::{Sector, Target};

/// The core whose flash and reports it is.
const CORE: usize = 0;

/// Which probe, and how it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// `VID:PID` or `VID:PID:SERIAL`; without it there has to be one probe.
    pub selector: Option<String>,
    /// Clock of the debug wires; by default the probe's.
    pub speed_khz: Option<u32>,
    /// A chip that is locked is erased, all of it, which unlocks it.
    pub erase_locked: bool,
}

/// What is wanted of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its name.
    pub board: &'a str,
    /// Its chip, as probe-rs calls it.
    pub chip: &'a str,
    /// What else could be done where there is no probe; begins with a semicolon, or is empty.
    pub instead: &'a str,
}

/// The probes that are plugged in, for people.
pub fn list() -> Vec<String> {
    Lister::new().list_all_with_access().iter().map(named).collect()
}

fn named(item: &ProbeListItem) -> String {
    let DebugProbeInfo { vendor_id, product_id, serial_number, identifier, .. } = &item.info;
    let mut text = format!("{vendor_id:04x}:{product_id:04x}");
    if let Some(serial) = serial_number {
        let _ = write!(text, ":{serial}");
    }
    let _ = write!(text, " ({identifier}");
    if item.accessibility == Accessibility::PermissionDenied {
        text.push_str(", no permission");
    }
    text.push(')');
    text
}

/// The one probe of those that `lister` finds that `choice` names.
///
/// # Errors
/// There is none, or more than one, or it may not be opened, or does not open.
pub fn open(lister: &Lister, choice: &Choice, instead: &str) -> Result<Probe> {
    let all = lister.list_all_with_access();
    let found = |items: &[&ProbeListItem]| items.iter().map(|item| named(item)).collect::<Vec<_>>().join(", ");
    let every: Vec<&ProbeListItem> = all.iter().collect();
    let fitting: Vec<&ProbeListItem> = match &choice.selector {
        None => every.clone(),
        Some(text) => {
            let none = || Error::NoSuchProbe { wanted: text.clone(), found: found(&every) };
            let selector = text.parse::<DebugProbeSelector>().map_err(|_| none())?;
            every.iter().copied().filter(|item| selector.matches_probe(&item.info)).collect()
        }
    };
    let item = match (fitting.as_slice(), &choice.selector) {
        ([item], _) => *item,
        ([], Some(wanted)) if !all.is_empty() => {
            return Err(Error::NoSuchProbe { wanted: wanted.clone(), found: found(&every) });
        }
        ([], _) => return Err(Error::NoProbe { hint: instead.to_owned() }),
        (several, _) => return Err(Error::SeveralProbes { found: found(several) }),
    };
    let denied = || Error::Permission { probe: named(item), vendor: item.info.vendor_id };
    if item.accessibility == Accessibility::PermissionDenied {
        return Err(denied());
    }
    let mut probe = lister.open(&item.info).map_err(|error| match error {
        DebugProbeError::ProbeCouldNotBeCreated(ProbeCreationError::Usb(cause)) | DebugProbeError::Usb(cause)
            if cause.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            denied()
        }
        other => Error::Cable { reason: reasons(&other) },
    })?;
    if let Some(speed) = choice.speed_khz {
        probe
            .set_speed(speed)
            .map_err(|error| Error::Device { doing: "setting the speed", reason: reasons(&error) })?;
    }
    Ok(probe)
}

/// An error with what it comes from, each once.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What an error of probe-rs means for who sits before the board.
fn cause(doing: &'static str, error: &probe_rs::Error) -> Error {
    let reason = reasons(error);
    let of_probe = |error: &DebugProbeError| match error {
        DebugProbeError::TargetNotFound => Some(Error::NoChip { reason: reason.clone() }),
        DebugProbeError::Usb(_) | DebugProbeError::ProbeCouldNotBeCreated(_) | DebugProbeError::Timeout => {
            Some(Error::Cable { reason: reason.clone() })
        }
        _ => None,
    };
    let found = match error {
        probe_rs::Error::MissingPermissions(_) | probe_rs::Error::Arm(ArmError::MissingPermissions(_)) => {
            Some(Error::Locked { reason: reason.clone() })
        }
        probe_rs::Error::Arm(ArmError::NoTargetResponse { .. } | ArmError::Dap(_)) => {
            Some(Error::NoChip { reason: reason.clone() })
        }
        probe_rs::Error::Timeout => Some(Error::Cable { reason: reason.clone() }),
        probe_rs::Error::Probe(error) | probe_rs::Error::Arm(ArmError::Probe(error)) => of_probe(error),
        _ => None,
    };
    found.unwrap_or(Error::Device { doing, reason })
}

/// The family of chips that probe-rs puts `chip` into.
fn family<'r>(registry: &'r Registry, chip: &str) -> Option<&'r str> {
    // The name of a package stands for its chip.
    let target = registry.get_target_by_name(chip).ok()?;
    let is_it = |name: &str| name.eq_ignore_ascii_case(&target.name);
    let family = registry.families().iter().find(|family| {
        family.variants.iter().any(|variant| is_it(&variant.name) || variant.package_variants().any(|name| is_it(name)))
    });
    family.map(|family| family.name.as_str())
}

/// Whether what answers cannot be the chip that is wanted. One that is known by its family only is taken for what it may be.
fn is_another(registry: &Registry, found: &str, wanted: &str) -> bool {
    match (family(registry, found), family(registry, wanted)) {
        (Some(found), Some(wanted)) => found != wanted,
        _ => false,
    }
}

/// Whether probe-rs has the chip, before a probe is touched.
fn known(registry: &Registry, chip: &str) -> Result<()> {
    let Err(RegistryError::ChipNotFound(_)) = registry.get_target_by_name(chip) else { return Ok(()) };
    // The whole name fits nothing: what begins as it does may be meant.
    let alike = (4..chip.len()).rev().find_map(|length| {
        let names = registry.search_chips(chip.get(..length)?);
        (!names.is_empty()).then(|| format!("; like it are {}", names[..names.len().min(5)].join(", ")))
    });
    Err(Error::UnknownChip { chip: chip.into(), alike: alike.unwrap_or_default() })
}

/// A chip behind a probe.
pub struct Probed {
    session: Session,
    ears: Ears,
}

impl std::fmt::Debug for Probed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probed").field("chip", &self.session.target().name).finish_non_exhaustive()
    }
}

impl Probed {
    /// Attaches to the chip that is `wanted`, through a probe that `open` gives; it is asked twice, since the first time
    /// whatever chip there is may say what it is.
    ///
    /// # Errors
    /// There is no such chip, another one, none at all, or it is locked.
    pub fn attach(mut open: impl FnMut() -> Result<Probe>, wanted: &Wanted<'_>, erase_locked: bool) -> Result<Self> {
        let registry = Registry::from_builtin_families();
        known(&registry, wanted.chip)?;
        if let Ok(session) = open()?.attach(TargetSelector::Auto, Permissions::new()) {
            let found = session.target().name.clone();
            if is_another(&registry, &found, wanted.chip) {
                let (expected, board) = (wanted.chip.into(), wanted.board.into());
                return Err(Error::WrongChip { found, expected, board });
            }
        }
        Self::attach_named(open()?, wanted.chip, erase_locked)
    }

    /// Attaches to what is taken to be `chip`.
    fn attach_named(probe: Probe, chip: &str, erase_locked: bool) -> Result<Self> {
        let permissions = if erase_locked { Permissions::new().allow_erase_all() } else { Permissions::new() };
        let session = probe.attach(chip, permissions).map_err(|error| cause("attaching to the chip", &error))?;
        Ok(Self { session, ears: Ears::new(Some(Place::Ram)) })
    }

    /// Where the firmware of this image reports. What runs without its image being known is looked for in all of RAM.
    ///
    /// # Errors
    /// It is no image.
    pub fn listen_to(&mut self, image: &[u8]) -> Result<()> {
        self.ears = Ears::new(Place::of(image)?);
        Ok(())
    }

    /// The live link of the firmware that runs; the chip stops for some milliseconds when it is attached to, and never again.
    ///
    /// # Errors
    /// The chip does not answer, or its firmware has no live link over RTT.
    pub fn link(mut self, place: Place) -> Result<Linked> {
        let doing = "looking for the live link";
        let mut ram = ram(&mut self.session, doing)?;
        // As another debugger may have left it.
        if ram.core.core_halted().map_err(|error| cause(doing, &error))? {
            ram.core.run().map_err(|error| cause(doing, &error))?;
        }
        let link = Link::open(&mut ram, place)?;
        drop(ram);
        Ok(Linked { probed: self, link })
    }

    /// How flash is written around `region`.
    fn properties(&self, region: &Range<u64>) -> Option<&FlashProperties> {
        let algorithms = || {
            self.session.target().flash_algorithms.iter().filter(|algorithm| {
                let range = &algorithm.flash_properties.address_range;
                range.start <= region.start && region.end <= range.end
            })
        };
        let algorithm = algorithms().find(|algorithm| algorithm.default).or(algorithms().next())?;
        Some(&algorithm.flash_properties)
    }
}

impl Target for Probed {
    fn chip(&self) -> String {
        self.session.target().name.clone()
    }

    fn sectors(&self, range: Range<u64>) -> Vec<Sector> {
        let target = self.session.target();
        let regions = target.memory_map.iter().filter_map(|region| region.as_nvm_region());
        let mut sectors = Vec::new();
        for region in regions.filter(|region| !region.is_alias) {
            let region = &region.range;
            let Some(properties) = self.properties(region) else { continue };
            for (index, kind) in properties.sectors.iter().enumerate() {
                // Sectors of one size, until those of another begin.
                let base = properties.address_range.start;
                let next = properties.sectors.get(index + 1).map(|next| base + next.address);
                let end = next.unwrap_or(properties.address_range.end).min(range.end).min(region.end);
                let first = base + kind.address;
                let skipped = range.start.max(region.start).saturating_sub(first) / kind.size.max(1);
                let mut address = first + skipped * kind.size;
                while address < end && kind.size > 0 {
                    sectors.push(Sector { address, bytes: kind.size });
                    address += kind.size;
                }
            }
        }
        sectors.sort();
        sectors.dedup();
        sectors
    }

    fn page_bytes(&self, sector: Sector) -> u64 {
        let page = self.properties(&(sector.address..sector.end())).map(|properties| properties.page_size.into());
        page.unwrap_or(sector.bytes)
    }

    fn halt(&mut self) -> Result<()> {
        let (doing, timeout) = ("halting the chip", std::time::Duration::from_secs(1));
        ram(&mut self.session, doing)?.core.halt(timeout).map(drop).map_err(|error| cause(doing, &error))
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        ram(&mut self.session, "reading flash, which a chip that is protected refuses,")?.read(address, buffer)
    }

    fn erase(&mut self, sectors: &[Sector]) -> Result<()> {
        let mut rest = sectors;
        while let [first, ..] = rest {
            // Neighbours at once: each call prepares the chip anew.
            let together = rest.windows(2).take_while(|pair| pair[0].end() == pair[1].address).count() + 1;
            let (now, after) = rest.split_at(together);
            let end = now.last().map_or(first.end(), |last| last.end());
            erase(&mut self.session, &mut FlashProgress::empty(), first.address, end, false)
                .map_err(|error| Error::Device { doing: "erasing flash", reason: reasons(&error) })?;
            rest = after;
        }
        Ok(())
    }

    fn program(&mut self, chunks: &[(u64, &[u8])]) -> Result<()> {
        let failed = |error| Error::Device { doing: "writing flash", reason: reasons(&error) };
        let mut loader = self.session.target().flash_loader();
        for (address, bytes) in chunks {
            loader.add_data(*address, bytes).map_err(failed)?;
        }
        let mut options = DownloadOptions::default();
        options.skip_erase = true;
        loader.commit(&mut self.session, options).map_err(failed)
    }

    fn start(&mut self) -> Result<()> {
        let doing = "starting the firmware";
        let mut ram = ram(&mut self.session, doing)?;
        self.ears.begin(&mut ram)?;
        ram.core.reset().map_err(|error| cause(doing, &error))
    }

    fn hear(&mut self) -> Result<Heard> {
        self.ears.hear(&mut ram(&mut self.session, "listening to the firmware")?)
    }

    fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.ears.say(&mut ram(&mut self.session, "asking the firmware")?, bytes)
    }

    fn line(&self) -> &'static str {
        if self.ears.are_open() { "RTT" } else { "RTT (the firmware has no symbol _SEGGER_RTT)" }
    }
}

/// A core and its memory, and what they are used for.
struct Ram<'c> {
    core: Core<'c>,
    doing: &'static str,
}

/// That of the chip's core.
fn ram<'c>(session: &'c mut Session, doing: &'static str) -> Result<Ram<'c>> {
    let core = session.core(CORE).map_err(|error| cause(doing, &error))?;
    Ok(Ram { core, doing })
}

impl Memory for Ram<'_> {
    fn ram(&self) -> Vec<Range<u64>> {
        let regions = self.core.memory_regions().filter_map(|region| region.as_ram_region());
        let mut ranges: Vec<_> = regions.filter(|region| !region.is_alias).map(|region| region.range.clone()).collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.core.read(address, buffer).map_err(|error| cause(self.doing, &error))
    }

    fn read_words(&mut self, address: u64, words: &mut [u32]) -> Result<()> {
        self.core.read_32(address, words).map_err(|error| cause(self.doing, &error))
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.core.write(address, bytes).map_err(|error| cause(self.doing, &error))
    }

    fn write_word(&mut self, address: u64, word: u32) -> Result<()> {
        self.core.write_word_32(address, word).map_err(|error| cause(self.doing, &error))
    }
}

/// The live link of a chip that runs.
#[derive(Debug)]
pub struct Linked {
    probed: Probed,
    link: Link,
}

impl Linked {
    /// Takes what has come; 0 where nothing has. It does not wait.
    ///
    /// # Errors
    /// The probe or the chip does not answer, or the firmware has gone and does not come back within some seconds.
    pub fn hear(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.link.hear(&mut ram(&mut self.probed.session, "listening to the firmware")?, buffer)
    }

    /// Says `bytes`: now as far as there is room for them, the rest while it is heard.
    ///
    /// # Errors
    /// The probe or the chip does not answer.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.link.say(&mut ram(&mut self.probed.session, "telling the firmware")?, bytes)
    }
}

#[cfg(test)]
mod tests;
