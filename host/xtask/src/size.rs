//! `cargo xtask size`: flash and RAM of each board.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use neji_machine::{Board, Options, toolchain};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, elf};

/// Print flash and RAM of each board.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only this board.
    #[arg(long)]
    board: Option<String>,
    /// The model whose run gives the stack's high-water mark; a small one by default.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Samples for that run; by default none of a part, just bytes.
    #[arg(long, requires = "model")]
    samples: Option<PathBuf>,
}

/// Bytes of an image by use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    code: u64,
    constants: u64,
    /// Statics with a value: in flash and in RAM.
    data: u64,
    /// Statics that begin as zero, the monitor's memory apart.
    zeroed: u64,
    /// The monitor's memory: arena, front end, frame.
    memory: u64,
}

impl Sizes {
    /// Reads an image's section table.
    fn of(elf_bytes: &[u8]) -> Result<Self> {
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
    pub(crate) fn of_image(image: &Path) -> Result<Self> {
        let bytes = std::fs::read(image).with_context(|| format!("reading {}", image.display()))?;
        Self::of(&bytes).with_context(|| image.display().to_string())
    }

    /// What the image takes of flash.
    pub(crate) fn flash(&self) -> u64 {
        self.code + self.constants + self.data
    }
}

/// Builds every board, or one, and prints the table.
///
/// # Errors
/// A board does not build, or does not fit what it declares.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = toolchain::root()?;
    let small = root.join("shared/tests/golden/v2_classifier.neji");
    let path = args.model.as_ref().unwrap_or(&small);
    let model = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let samples = match &args.samples {
        Some(path) => std::fs::read(path).with_context(|| format!("reading {}", path.display()))?,
        None => (0..4096u32).map(|index| (index * 37 % 251) as u8).collect(),
    };
    let boards = match &args.board {
        Some(name) => vec![Board::find(&root, name)?],
        None => Board::all(&root)?,
    };
    println!("bytes; stack is the high-water mark of a run with {}", path.display());
    println!(
        "{:<18} {:>8} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9} {:>9}",
        "board", "code", "constants", "data", "flash", "of", "memory", "statics", "stack", "RAM of", "MODEL of"
    );
    for board in &boards {
        println!("{}", row(board, &model, &samples)?);
    }
    Ok(())
}

fn row(board: &Board, model: &[u8], samples: &[u8]) -> Result<String> {
    let image: PathBuf = board.build()?;
    let sizes = Sizes::of_image(&image)?;
    let settings = &board.settings;
    if sizes.flash() > settings.flash_bytes {
        bail!("{}: {} bytes of image, {} of flash", board.package, sizes.flash(), settings.flash_bytes);
    }
    if sizes.memory != settings.memory_bytes {
        bail!(
            "{}: {} bytes for the monitor, its Cargo.toml says {}",
            board.package,
            sizes.memory,
            settings.memory_bytes
        );
    }
    let run = board.run(&image, model, samples, Options::default())?;
    let stack = match (run.stack_bytes, run.refused()) {
        (Some(bytes), _) => bytes.to_string(),
        (None, Some(reason)) => bail!("{} refuses the model: {reason}", board.package),
        (None, None) => bail!("{} failed: {}", board.package, run.stderr.trim()),
    };
    Ok(format!(
        "{:<18} {:>8} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8} {:>7} {:>9} {:>9}",
        board.package,
        sizes.code,
        sizes.constants,
        sizes.data,
        sizes.flash(),
        settings.flash_bytes,
        sizes.memory,
        sizes.data + sizes.zeroed,
        stack,
        settings.ram_bytes,
        settings.model_bytes,
    ))
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
        assert_eq!(sizes.flash(), 123);
    }
}
