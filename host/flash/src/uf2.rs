//! UF2: flash contents as a file to be copied to the USB drive that a boot loader shows.
//!
//! A file is blocks of 512 bytes, each with an address of its own and 256 bytes for it, so a loader needs to know nothing of
//! file systems and the order does not matter (Microsoft, "USB Flashing Format (UF2)", github.com/microsoft/uf2).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::Part;
use crate::target::ERASED;

/// Length of a block.
pub const BLOCK: usize = 512;
/// Bytes of flash in a block.
pub const PAYLOAD: usize = 256;
/// What the boot loaders of the RP2040 and RP2350 erase at once. All of it has to be in the file: the RP2040's erases when it
/// first meets a sector and may lose a page that comes to a sector which is not filled (RP2040 datasheet, erratum E14).
pub const SECTOR: u64 = 4096;
/// The family of the RP2040.
pub const RP2040: u32 = 0xe48b_ff56;
/// The family of the RP2350's Arm cores, secure.
pub const RP2350_ARM_S: u32 = 0xe48b_ff59;

const MAGIC_START: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;
/// The word at 28 is the family.
const FAMILY_PRESENT: u32 = 0x2000;
/// What the boot loader's drive says of itself.
const INFO: &str = "INFO_UF2.TXT";

/// The file that writes `parts` to a chip of `family`. Every sector that they touch is written whole.
///
/// # Errors
/// Parts share a sector, or overlap.
pub fn file(parts: &[Part], family: u32) -> Result<Vec<u8>> {
    let mut sectors: BTreeMap<u64, (&'static str, Vec<u8>)> = BTreeMap::new();
    for part in parts {
        for chunk in &part.chunks {
            for (index, &byte) in chunk.bytes.iter().enumerate() {
                let address = chunk.address + index as u64;
                let sector = address - address % SECTOR;
                let (owner, bytes) =
                    sectors.entry(sector).or_insert_with(|| (part.name, vec![ERASED; SECTOR as usize]));
                if *owner != part.name {
                    let (first, second) = (*owner, part.name);
                    return Err(Error::SharedSector { first, second, address: sector, bytes: SECTOR });
                }
                bytes[(address - sector) as usize] = byte;
            }
        }
    }
    let pages: Vec<(u64, &[u8])> = sectors
        .iter()
        .flat_map(|(sector, (_, bytes))| {
            bytes.chunks(PAYLOAD).enumerate().map(move |(index, page)| (sector + (index * PAYLOAD) as u64, page))
        })
        .collect();
    let mut file = Vec::with_capacity(pages.len() * BLOCK);
    for (index, (address, page)) in pages.iter().enumerate() {
        let address = u32::try_from(*address).map_err(|_| Error::NoFlash {
            part: parts[0].name,
            address: *address,
            chip: "UF2".into(),
        })?;
        let words = [FAMILY_PRESENT, address, PAYLOAD as u32, index as u32, pages.len() as u32, family];
        let start = file.len();
        file.extend(MAGIC_START.iter().chain(&words).flat_map(|word| word.to_le_bytes()));
        file.extend_from_slice(page);
        file.resize(start + BLOCK - 4, 0);
        file.extend(MAGIC_END.to_le_bytes());
    }
    Ok(file)
}

/// Folders below which systems show drives.
const MOUNTS: [&str; 4] = ["/media", "/run/media", "/mnt", "/Volumes"];

/// The drives of boot loaders that take UF2 files: folders with an `INFO_UF2.TXT`, where systems show drives.
pub fn drives() -> Vec<PathBuf> {
    let letters = (b'D'..=b'Z').map(|letter| PathBuf::from(format!("{}:\\", char::from(letter))));
    let letters: Vec<PathBuf> = if cfg!(windows) { letters.collect() } else { vec![] };
    let below = MOUNTS.iter().flat_map(|folder| drives_below(Path::new(folder)));
    letters.into_iter().filter(|drive| drive.join(INFO).is_file()).chain(below).collect()
}

/// The drives at most two folders below `folder`: the first may be the user's.
pub fn drives_below(folder: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let first = inside(folder);
    let second: Vec<PathBuf> = first.iter().flat_map(|folder| inside(folder)).collect();
    let mut found: Vec<PathBuf> = first.into_iter().chain(second).filter(|path| path.join(INFO).is_file()).collect();
    found.sort();
    found
}

/// Copies a UF2 file to a boot loader's drive. The board starts by itself once it has all of it, and the drive goes.
///
/// # Errors
/// It cannot be written; where the drive goes as the last block arrives, that is success.
pub fn copy(drive: &Path, file: &[u8]) -> Result<()> {
    let path = drive.join("neji.uf2");
    let written = fs::File::create(&path).and_then(|mut to| {
        use std::io::Write;
        to.write_all(file)?;
        // The board restarts when it has the last block: from then on the drive is gone.
        let _ = to.sync_all();
        Ok(())
    });
    written.map_err(Error::io(format!("copying to {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Chunk;

    fn part(name: &'static str, chunks: &[(u64, &[u8])]) -> Part {
        let chunk = |(address, bytes): &(u64, &[u8])| Chunk { address: *address, bytes: bytes.to_vec() };
        Part { name, chunks: chunks.iter().map(chunk).collect() }
    }

    /// What a boot loader does with a file, by the specification's table and nothing of this module: block by block, each
    /// checked by itself.
    fn loaded(file: &[u8], family: u32) -> BTreeMap<u32, Vec<u8>> {
        let mut flash = BTreeMap::new();
        assert_eq!(file.len() % 512, 0);
        let of = file.len() / 512;
        for number in 0..of {
            let block = &file[number * 512..(number + 1) * 512];
            let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            assert_eq!(&block[..4], b"UF2\n");
            assert_eq!((word(4), word(508)), (0x9E5D5157, 0x0AB16F30));
            assert_eq!(word(8) & 0x2000, 0x2000, "the family is present");
            assert_eq!(word(8) & 0x0001, 0, "it is for main flash");
            let (address, length) = (word(12), word(16) as usize);
            assert_eq!((length, address % 256), (256, 0));
            assert_eq!((word(20) as usize, word(24) as usize, word(28)), (number, of, family));
            assert!(block[32 + length..508].iter().all(|&byte| byte == 0));
            assert!(flash.insert(address, block[32..32 + length].to_vec()).is_none(), "a page twice");
        }
        flash
    }

    #[test]
    fn a_loader_finds_every_byte_where_it_belongs() {
        let text: Vec<u8> = (0..5000u32).map(|i| (i * 7 % 251) as u8).collect();
        let model: Vec<u8> = (0..300u32).map(|i| (i * 3 % 249) as u8).collect();
        let parts = [
            part("firmware", &[(0x1000_0000, &[9; 252]), (0x1000_0100, &text)]),
            part("model", &[(0x1010_0000, &model)]),
        ];
        let flash = loaded(&file(&parts, RP2040).unwrap(), 0xe48bff56);
        let at = |address: u64| flash[&(address as u32 & !255)][address as usize & 255];
        for chunk in parts.iter().flat_map(|part| &part.chunks) {
            for (index, &byte) in chunk.bytes.iter().enumerate() {
                assert_eq!(at(chunk.address + index as u64), byte, "{:#x} + {index}", chunk.address);
            }
        }
        // Between them and to the sectors' ends it is as if erased: two sectors of firmware, one of model.
        assert_eq!((at(0x1000_00fd), at(0x1000_1fff), at(0x1010_0fff)), (0xff, 0xff, 0xff));
        assert_eq!(flash.len(), 3 * 16);
        assert!(!flash.contains_key(&0x1000_2000));
    }

    #[test]
    fn parts_in_one_sector_are_refused() {
        let parts = [part("firmware", &[(0x1000_0000, &[1; 5000])]), part("model", &[(0x1000_1800, &[2; 10])])];
        let error = file(&parts, RP2350_ARM_S).unwrap_err().to_string();
        assert!(error.contains("firmware and model share the sector of 4096 bytes at 0x10001000"), "{error}");
    }

    #[test]
    fn drives_are_found_by_what_they_say_and_take_the_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(drives_below(folder.path()).is_empty());
        for (drive, info) in [("me/RPI-RP2", true), ("stick", false), ("RP2350", true)] {
            fs::create_dir_all(folder.path().join(drive)).unwrap();
            if info {
                fs::write(folder.path().join(drive).join(INFO), "UF2 Bootloader v3.0\n").unwrap();
            }
        }
        let found = drives_below(folder.path());
        assert_eq!(found, [folder.path().join("RP2350"), folder.path().join("me/RPI-RP2")]);
        copy(&found[0], b"blocks").unwrap();
        assert_eq!(fs::read(found[0].join("neji.uf2")).unwrap(), b"blocks");
        assert!(copy(&folder.path().join("none"), b"").unwrap_err().to_string().contains("neji.uf2"));
    }
}
