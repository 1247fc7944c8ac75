//! What an image takes of flash and RAM.

use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

/// Bytes of an image by use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Instructions.
    pub code: u64,
    /// What is read only.
    pub constants: u64,
    /// Statics with a value: in flash and in RAM.
    pub data: u64,
    /// Statics that begin as zero, the monitor's memory apart.
    pub zeroed: u64,
    /// The monitor's memory: arena, front end, frame.
    pub memory: u64,
}

impl Sizes {
    /// Reads an image's section table.
    ///
    /// # Errors
    /// It is no image of a board.
    pub fn of(elf_bytes: &[u8]) -> Result<Self> {
        let file = object::File::parse(elf_bytes)?;
        let mut sizes = Self::default();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { bail!("not an ELF image") };
            let flag = |bit: elf::SectionFlags| sh_flags.0 & bit.0 != 0;
            if !flag(elf::SHF_ALLOC) {
                continue;
            }
            let size = section.size();
            match (flag(elf::SHF_EXECINSTR), flag(elf::SHF_WRITE), section.kind()) {
                (_, _, object::SectionKind::UninitializedData) => sizes.zeroed += size,
                (true, _, _) => sizes.code += size,
                (_, true, _) => sizes.data += size,
                _ => sizes.constants += size,
            }
        }
        let memory = file.symbols().filter(|symbol| symbol.name().is_ok_and(|name| name.contains("MEMORY")));
        sizes.memory = memory.map(|symbol| symbol.size()).sum();
        sizes.zeroed =
            sizes.zeroed.checked_sub(sizes.memory).context("the monitor's memory is not among the zeroed")?;
        Ok(sizes)
    }

    /// Reads an image's file.
    ///
    /// # Errors
    /// As [`Sizes::of`]; or it cannot be read.
    pub fn of_image(image: &Path) -> Result<Self> {
        let bytes = std::fs::read(image).with_context(|| format!("reading {}", image.display()))?;
        Self::of(&bytes).with_context(|| image.display().to_string())
    }

    /// What the image takes of flash.
    pub fn flash(&self) -> u64 {
        self.code + self.constants + self.data
    }

    /// What the image takes of RAM, the stack apart.
    pub fn ram(&self) -> u64 {
        self.data + self.zeroed + self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_an_error() {
        assert!(Sizes::of(b"hello").is_err());
    }

    #[test]
    fn flash_holds_code_constants_and_initial_values() {
        let sizes = Sizes { code: 100, constants: 20, data: 3, zeroed: 50, memory: 40 };
        assert_eq!((sizes.flash(), sizes.ram()), (123, 93));
    }
}
