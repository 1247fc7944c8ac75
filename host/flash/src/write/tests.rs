use std::collections::VecDeque;
use std::ops::Range;

use neji_app::Report;
use neji_app::report::FRAME_BYTES_MAX;
use neji_format::{AlignedBytes, Model};

use super::*;
use crate::target::ERASED;

const OLD: &[u8] = include_bytes!("../../../../shared/tests/golden/v5_int16.neji");
const NEW: &[u8] = include_bytes!("../../../../shared/tests/golden/v5_autoencoder.neji");
/// Where the model's region begins.
const REGION: u64 = 0x0800_0400;
const BASE: u64 = 0x0800_0000;
/// Sectors of several sizes, as many chips have them.
const SECTORS: [u64; 10] = [256, 256, 512, 256, 256, 512, 1024, 2048, 2048, 4096];
/// What is programmed at once.
const PAGE: usize = 32;

/// NOR flash of a chip whose power fails after some operations, and what its firmware would say.
struct Chip {
    flash: Vec<u8>,
    /// Operations on flash until the power fails.
    power: usize,
    /// Sectors that were erased.
    erased: Vec<u64>,
    /// Addresses of pages that were programmed.
    programmed: Vec<u64>,
    halted: bool,
    line: VecDeque<Vec<u8>>,
    /// The firmware says nothing.
    mute: bool,
    /// This byte reads wrong.
    worn: Option<u64>,
    /// This step fails.
    broken: Option<&'static str>,
}

impl Chip {
    fn new() -> Self {
        Self {
            flash: vec![ERASED; SECTORS.iter().sum::<u64>() as usize],
            power: usize::MAX,
            erased: vec![],
            programmed: vec![],
            halted: false,
            line: VecDeque::new(),
            mute: false,
            worn: None,
            broken: None,
        }
    }

    fn holding(parts: &[Part]) -> Self {
        let mut chip = Self::new();
        for chunk in parts.iter().flat_map(|part| &part.chunks) {
            let from = (chunk.address - BASE) as usize;
            chip.flash[from..from + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
        }
        chip
    }

    fn region(&self) -> AlignedBytes {
        AlignedBytes::new(&self.flash[(REGION - BASE) as usize..])
    }

    fn spend(&mut self) -> Result<()> {
        self.power = self.power.checked_sub(1).ok_or(Error::Cable { reason: "power".into() })?;
        Ok(())
    }

    fn step(&self, name: &'static str) -> Result<()> {
        if self.broken == Some(name) {
            return Err(Error::Device { doing: name, reason: "broken".into() });
        }
        Ok(())
    }
}

impl Target for Chip {
    fn chip(&self) -> String {
        "mock".into()
    }

    fn sectors(&self, range: Range<u64>) -> Vec<Sector> {
        let mut address = BASE;
        let all = SECTORS.iter().map(|&bytes| {
            address += bytes;
            Sector { address: address - bytes, bytes }
        });
        all.filter(|sector| sector.address < range.end && sector.end() > range.start).collect()
    }

    fn page_bytes(&self, _: Sector) -> u64 {
        PAGE as u64
    }

    fn halt(&mut self) -> Result<()> {
        self.step("halt")?;
        self.halted = true;
        Ok(())
    }

    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.step("read")?;
        let from = (address - BASE) as usize;
        buffer.copy_from_slice(&self.flash[from..from + buffer.len()]);
        if let Some(worn) = self.worn.filter(|worn| (address..address + buffer.len() as u64).contains(worn)) {
            buffer[(worn - address) as usize] ^= 0x10;
        }
        Ok(())
    }

    fn erase(&mut self, sectors: &[Sector]) -> Result<()> {
        self.step("erase")?;
        assert!(self.halted, "the firmware runs from what is erased");
        for sector in sectors {
            let from = (sector.address - BASE) as usize;
            let bytes = &mut self.flash[from..from + sector.bytes as usize];
            // An erase that is cut off leaves bits that are neither.
            bytes.iter_mut().step_by(3).for_each(|byte| *byte |= 0x5a);
            self.spend()?;
            self.flash[from..from + sector.bytes as usize].fill(ERASED);
            self.erased.push(sector.address);
        }
        Ok(())
    }

    fn program(&mut self, chunks: &[(u64, &[u8])]) -> Result<()> {
        self.step("program")?;
        for (address, bytes) in chunks {
            for (index, page) in bytes.chunks(PAGE).enumerate() {
                self.spend()?;
                let from = (address - BASE) as usize + index * PAGE;
                let there = &mut self.flash[from..from + page.len()];
                assert!(there.iter().all(|&byte| byte == ERASED), "written without being erased");
                there.copy_from_slice(page);
                self.programmed.push(BASE + from as u64);
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        self.step("start")?;
        self.halted = false;
        let region = self.region();
        let report = match Model::parse(region.as_slice()) {
            Ok(model) => Report::Hello {
                format_version: 5,
                model_crc32: model.header().crc32,
                model_bytes: model.header().total_bytes,
                memory_bytes: 1,
            },
            Err(error) => Report::refused(error),
        };
        if !self.mute {
            let frame = report.to_frame(&mut [0; FRAME_BYTES_MAX]).to_vec();
            // The end of an earlier frame, then a frame in two pieces.
            self.line.extend([vec![1, 2, 3, 0], frame[..5].to_vec(), vec![], frame[5..].to_vec()]);
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<Vec<(usize, Vec<u8>)>> {
        self.step("hear")?;
        // Another channel talks in between.
        Ok(self.line.pop_front().map(|bytes| vec![(1, vec![9, 9]), (0, bytes)]).unwrap_or_default())
    }

    fn line(&self) -> &'static str {
        "a mock"
    }
}

fn firmware(seed: u8) -> Part {
    let bytes = |length: u8| (0..length).map(|i| i.wrapping_mul(seed)).collect::<Vec<u8>>();
    let chunks = [(BASE, 200), (BASE + 200, 255), (BASE + 512, 100)];
    let chunk = |(address, length)| crate::image::Chunk { address, bytes: bytes(length) };
    Part { name: crate::image::FIRMWARE, chunks: chunks.map(chunk).to_vec() }
}

fn model(blob: &[u8]) -> Part {
    Part::model(REGION, blob)
}

fn quick() -> Options {
    Options { wait: Some(Duration::from_millis(20)), all: false }
}

fn run(chip: &mut Chip, parts: &[Part], options: Options) -> Result<Outcome> {
    write(chip, parts, options, &mut |_| {})
}

fn written(outcome: &Outcome) -> Vec<(u64, u64)> {
    outcome.parts.iter().map(|part| (part.bytes, part.written)).collect()
}

#[test]
fn an_empty_chip_gets_all_of_it_and_says_which_model_it_runs() {
    let mut chip = Chip::new();
    let outcome = run(&mut chip, &[firmware(3), model(NEW)], quick()).unwrap();
    let length = NEW.len() as u64;
    assert_eq!(written(&outcome), [(555, 555), (length, length)]);
    assert_eq!(outcome.digest, Digest::of(NEW));
    assert_eq!(&chip.region().as_slice()[..NEW.len()], NEW);
    assert!(!chip.halted);
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let parts = [firmware(3), model(NEW)];
    let mut chip = Chip::holding(&parts);
    let outcome = run(&mut chip, &parts, quick()).unwrap();
    assert_eq!(outcome.parts.iter().map(|part| part.written).sum::<u64>(), 0);
    assert!(chip.erased.is_empty() && chip.programmed.is_empty());
    assert_eq!(outcome.digest, Digest::of(NEW));
    // Unless it is asked for.
    let outcome = run(&mut chip, &parts, Options { all: true, ..quick() }).unwrap();
    assert!(outcome.parts.iter().all(|part| part.written == part.bytes));
}

#[test]
fn a_new_model_leaves_the_firmware_alone() {
    let mut chip = Chip::holding(&[firmware(3), model(OLD)]);
    run(&mut chip, &[firmware(3), model(NEW)], quick()).unwrap();
    assert!(chip.erased.iter().chain(&chip.programmed).all(|&address| address >= REGION), "{:?}", chip.erased);
}

#[test]
fn one_byte_that_differs_costs_its_sector_and_the_first() {
    let parts = [model(NEW)];
    let mut chip = Chip::holding(&parts);
    let last = REGION as usize - BASE as usize + NEW.len() - 1;
    chip.flash[last] ^= 1;
    let sector = chip.sectors(BASE + last as u64..BASE + last as u64 + 1)[0];
    assert_ne!(sector.address, REGION, "the model is too short for this test");
    run(&mut chip, &parts, quick()).unwrap();
    assert_eq!(chip.erased, [REGION, sector.address]);
    assert_eq!(chip.programmed.last(), Some(&REGION), "the header is last");
}

/// What a device does when its power comes back: it has no vectors, or runs one of the two firmwares; it refuses the
/// model, or runs one of the two.
fn check_after_the_cut(chip: &Chip, old: &[Part; 2], new: &[Part; 2], cut: usize) {
    let holds = |part: &Part| {
        part.chunks.iter().all(|chunk| {
            let from = (chunk.address - BASE) as usize;
            chip.flash[from..from + chunk.bytes.len()] == *chunk.bytes
        })
    };
    let vectors = &chip.flash[..8];
    let starts = vectors == &old[0].chunks[0].bytes[..8] || vectors == &new[0].chunks[0].bytes[..8];
    assert!(!starts || holds(&old[0]) || holds(&new[0]), "cut {cut}: half a firmware starts");
    let region = chip.region();
    if let Ok(model) = Model::parse(region.as_slice()) {
        assert!(model.bytes() == OLD || model.bytes() == NEW, "cut {cut}: half a model is accepted");
    }
    // Half a model has no header of a model, so its refusal does not hang on a checksum.
    let whole = holds(&old[1]) || holds(&new[1]);
    assert!(whole || !region.as_slice().starts_with(b"NEJI"), "cut {cut}: a header without its model");
}

#[test]
fn power_may_fail_after_any_operation() {
    let (old, new) = ([firmware(3), model(OLD)], [firmware(5), model(NEW)]);
    let mut cut = 0;
    loop {
        let mut chip = Chip::holding(&old);
        chip.power = cut;
        let done = run(&mut chip, &new, quick());
        check_after_the_cut(&chip, &old, &new, cut);
        // What was interrupted is done by the same command.
        chip.power = usize::MAX;
        let again = run(&mut chip, &new, quick()).unwrap();
        assert_eq!(again.digest, Digest::of(NEW), "cut {cut}");
        if done.is_ok() {
            assert_eq!(written(&again), [(555, 0), (NEW.len() as u64, 0)]);
            break;
        }
        cut += 1;
    }
    assert!(cut > 60, "{cut} operations");
}

#[test]
fn power_may_fail_while_only_a_model_is_written() {
    let (old, new) = ([firmware(3), model(OLD)], [firmware(3), model(NEW)]);
    for cut in 0.. {
        let mut chip = Chip::holding(&old);
        chip.power = cut;
        let done = run(&mut chip, &new, quick());
        check_after_the_cut(&chip, &old, &new, cut);
        let from = |chunk: &crate::image::Chunk| (chunk.address - BASE) as usize;
        let kept = |chunk: &crate::image::Chunk| chip.flash[from(chunk)..][..chunk.bytes.len()] == *chunk.bytes;
        assert!(old[0].chunks.iter().all(kept), "cut {cut}: the firmware was touched");
        if done.is_ok() {
            break;
        }
    }
}

#[test]
fn every_step_that_fails_is_an_error_that_names_it() {
    for step in ["halt", "read", "erase", "program", "start", "hear"] {
        let mut chip = Chip::new();
        chip.broken = Some(step);
        let error = run(&mut chip, &[firmware(3), model(NEW)], quick()).unwrap_err();
        assert!(matches!(error, Error::Device { doing, .. } if doing == step), "{error}");
        assert!(error.to_string().starts_with(&format!("{step} failed: broken; ")), "{error}");
    }
}

#[test]
fn a_byte_that_reads_wrong_is_named() {
    let mut chip = Chip::new();
    chip.worn = Some(REGION + 70);
    let error = run(&mut chip, &[model(NEW)], quick()).unwrap_err().to_string();
    let (found, wanted) = (NEW[70] ^ 0x10, NEW[70]);
    let words = format!("model: 0x8000446 reads {found:#04x}, {wanted:#04x} was written");
    assert!(error.contains(&words), "{error}");
}

#[test]
fn the_devices_word_counts() {
    let parts = [firmware(3), model(NEW)];
    let mut mute = Chip::new();
    mute.mute = true;
    let error = run(&mut mute, &parts, quick()).unwrap_err().to_string();
    assert!(error.contains("says nothing") && error.contains("a mock") && error.contains("--no-wait"), "{error}");
    assert_eq!(run(&mut mute, &parts, Options { wait: None, ..quick() }).unwrap().digest, None);

    // A blob that the firmware refuses: its checksum is wrong.
    let mut broken = NEW.to_vec();
    broken[100] ^= 1;
    let error = run(&mut Chip::new(), &[firmware(3), model(&broken)], quick()).unwrap_err().to_string();
    assert!(error.contains("refuses the model") && error.contains("checksum"), "{error}");

    // Firmware that looks elsewhere.
    let mut other = Chip::holding(&parts);
    other.line.push_back(
        Report::Hello { format_version: 5, model_crc32: 0xabcd, model_bytes: 9, memory_bytes: 1 }
            .to_frame(&mut [0; FRAME_BYTES_MAX])
            .to_vec(),
    );
    let error = run(&mut other, &parts, quick()).unwrap_err().to_string();
    assert!(error.contains("0000abcd") && error.contains("read its model at 0x8000400"), "{error}");
}

#[test]
fn parts_that_cannot_lie_there_are_refused_before_anything_is_touched() {
    let mut chip = Chip::new();
    chip.broken = Some("halt");
    let error = |chip: &mut Chip, parts: &[Part]| run(chip, parts, quick()).unwrap_err().to_string();
    let ram = Part { name: "firmware", chunks: vec![crate::image::Chunk { address: 0x2000_0000, bytes: vec![1] }] };
    assert!(error(&mut chip, &[ram]).contains("0x20000000, where mock has no flash"));
    let end = BASE + SECTORS.iter().sum::<u64>();
    let long = Part::model(end - 8, &[1; 9]);
    assert!(error(&mut chip, &[long]).contains(&format!("{end:#x}")));
    let inside = Part::model(BASE + 700, NEW);
    let said = error(&mut chip, &[firmware(3), inside]);
    assert!(said.contains("share the sector of 512 bytes at 0x8000200"), "{said}");
}

#[test]
fn progress_ends_with_all_of_what_differs() {
    let mut chip = Chip::holding(&[firmware(3), model(OLD)]);
    let mut last = None;
    let mut told = |event| {
        if let Event::Writing { part, bytes, of } = event {
            assert_eq!(part, "model");
            assert!(bytes <= of);
            last = Some((bytes, of));
        }
    };
    let outcome = write(&mut chip, &[firmware(3), model(NEW)], quick(), &mut told).unwrap();
    let of = outcome.parts[1].written;
    assert_eq!(last, Some((of, of)));
}
