//! `cargo xtask size`: flash, RAM and stack of each board, against what it has and promises.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use neji_format::{AlignedBytes, Element, Model, Packing};
use neji_machine::board::Settings;
use neji_machine::{Board, Bounds, Options, Sizes, toolchain};

use crate::budget;

/// Print flash, RAM and stack of each board.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Args {
    /// Only this board.
    #[arg(long)]
    board: Option<String>,
    /// The model whose run shows how much of the stack is used; the format's samples by default.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Samples for that run; by default none of a part, just bytes.
    #[arg(long, requires = "model")]
    samples: Option<PathBuf>,
}

/// The models of which a run shows how much of the stack is used: one that was asked for, or the format's samples.
fn models(root: &Path, asked: Option<&PathBuf>) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let read = |path: PathBuf| -> Result<(PathBuf, Vec<u8>)> {
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok((path, bytes))
    };
    if let Some(path) = asked {
        return Ok(vec![read(path.clone())?]);
    }
    let folder = root.join("shared/tests/golden");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "neji")).map(read).collect()
}

/// Builds every board, or one, and prints the table.
///
/// # Errors
/// A board does not build, does not fit what it declares, or may need more of the stack than it promises.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = toolchain::root()?;
    let models = models(&root, args.model.as_ref())?;
    let samples = match &args.samples {
        Some(path) => std::fs::read(path).with_context(|| format!("reading {}", path.display()))?,
        None => (0..4096u32).map(|index| (index * 37 % 251) as u8).collect(),
    };
    // Real boards and their twins have another loop around the monitor, in tasks, and a budget; their runs say nothing of the stack.
    let is_held = |board: &Board| board.settings.emulator.is_none() || board.settings.twin_of.is_some();
    let mut held: Vec<Board> = Board::all(&root)?.into_iter().filter(is_held).collect();
    if let Some(name) = &args.board {
        held.retain(|board| board.package == *name);
        if !held.is_empty() {
            return budget::hold(&root, &held);
        }
    }
    let boards = match &args.board {
        Some(name) => vec![Board::find_emulated(&root, name)?],
        None => Board::emulated(&root)?,
    };
    println!("bytes. Stack: bounds of Engine::run, of Monitor::push and of all, what runs used, what is promised.");
    println!(
        "{:<16} {:>7} {:>9} {:>5} {:>7} {:>8} {:>7} {:>8} {:>5} {:>5} {:>5} {:>5} {:>6} {:>8} {:>8}",
        "board",
        "code",
        "constants",
        "data",
        "flash",
        "of",
        "memory",
        "statics",
        "run",
        "push",
        "all",
        "used",
        "of",
        "RAM of",
        "MODEL of"
    );
    let mut indirect = BTreeSet::new();
    for board in &boards {
        println!("{}", row(board, &models, &samples, &mut indirect)?);
    }
    if !indirect.is_empty() {
        let names = Vec::from_iter(indirect).join(", ");
        println!(
            "all is without what {names} call by register: texts for people, before the first frame or at the end."
        );
    }
    if args.board.is_none() {
        budget::hold(&root, &held)?;
    }
    Ok(())
}

/// Whether a board is made for a blob's activations and weights; what is no blob it will refuse, with its reason.
fn runs(settings: &Settings, model: &[u8]) -> bool {
    let aligned = AlignedBytes::new(model);
    let Ok(model) = Model::parse(aligned.as_slice()) else { return true };
    let pairs = model.operators().any(|operator| operator.packing() == Packing::Pairs);
    (settings.int16 || model.plan().element == Element::I8) && (settings.pairs || !pairs)
}

/// Builds a board's image and measures it.
///
/// # Errors
/// It does not build, or does not tell.
pub(crate) fn measured(board: &Board) -> Result<(PathBuf, Sizes, Bounds)> {
    let image = board.build()?;
    let elf = std::fs::read(&image).with_context(|| format!("reading {}", image.display()))?;
    let sizes = Sizes::of(&elf).with_context(|| image.display().to_string())?;
    let bounds = Bounds::of(&elf, &board.settings.target).with_context(|| image.display().to_string())?;
    Ok((image, sizes, bounds))
}

/// Checks a board and gives its line of the table.
fn row(
    board: &Board,
    models: &[(PathBuf, Vec<u8>)],
    samples: &[u8],
    indirect: &mut BTreeSet<String>,
) -> Result<String> {
    let (image, sizes, bounds) = measured(board)?;
    let (package, settings) = (&board.package, &board.settings);
    if sizes.flash() > settings.flash_bytes {
        bail!("{package}: {} bytes of image, {} of flash", sizes.flash(), settings.flash_bytes);
    }
    if sizes.memory != settings.memory_bytes {
        bail!("{package}: {} bytes for the monitor, its Cargo.toml says {}", sizes.memory, settings.memory_bytes);
    }
    let mut used = 0;
    for (path, model) in models {
        if !runs(settings, model) {
            continue;
        }
        let run = board.run(&image, model, samples, Options::default())?;
        used = used.max(match (run.stack_bytes, run.refused()) {
            (Some(bytes), _) => bytes,
            (None, Some(reason)) => bail!("{package} refuses {}: {reason}", path.display()),
            (None, None) => bail!("{package} failed: {}", run.stderr.trim()),
        });
    }
    check_stack(settings, &sizes, &bounds, used).with_context(|| package.clone())?;
    indirect.extend(bounds.indirect);
    Ok(format!(
        "{:<16} {:>7} {:>9} {:>5} {:>7} {:>8} {:>7} {:>8} {:>5} {:>5} {:>5} {:>5} {:>6} {:>8} {:>8}",
        package,
        sizes.code,
        sizes.constants,
        sizes.data,
        sizes.flash(),
        settings.flash_bytes,
        sizes.memory,
        sizes.data + sizes.zeroed,
        bounds.run,
        bounds.push,
        bounds.whole,
        used,
        settings.stack_bytes,
        settings.ram_bytes,
        settings.model_bytes,
    ))
}

/// The promise fits into RAM, the bound into the promise, and what was used into the bound.
fn check_stack(settings: &Settings, sizes: &Sizes, bounds: &Bounds, used: u64) -> Result<()> {
    let promised = settings.stack_bytes;
    let left = settings.ram_bytes.saturating_sub(sizes.ram());
    if promised > left {
        bail!("a stack of {promised} bytes is promised, {left} are left of RAM");
    }
    if bounds.whole > promised {
        let path = bounds.path.join(" -> ");
        bail!("the stack may need {} bytes, {promised} are promised: {path}", bounds.whole);
    }
    if used > bounds.whole {
        bail!("a run used {used} bytes of stack, more than the bound of {}: the bound is wrong", bounds.whole);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_is_too_small_is_an_error_that_names_the_way_down() {
        let table = r#"{"name":"B","target":"t","machine":"m","model_address":0,"model_bytes":0,"flash_bytes":0,
            "ram_bytes":1093,"memory_bytes":40,"stack_bytes":1000,"systick_hz":1,"pin_trace":"","alarm_mask":1,"fault_mask":2}"#;
        let mut settings: Settings = serde_json::from_str(table).unwrap();
        let sizes = Sizes { code: 100, constants: 20, data: 3, zeroed: 50, memory: 40 };
        let path = vec!["Reset".to_owned(), "main".to_owned()];
        let bounds = Bounds { run: 100, push: 200, whole: 1000, path, indirect: BTreeSet::new() };
        check_stack(&settings, &sizes, &bounds, 1000).unwrap();
        let error = |settings: &Settings, used| check_stack(settings, &sizes, &bounds, used).unwrap_err().to_string();
        assert!(error(&settings, 1001).contains("the bound is wrong"));
        settings.stack_bytes = 999;
        assert!(error(&settings, 0).ends_with("may need 1000 bytes, 999 are promised: Reset -> main"));
        settings.stack_bytes = 1001;
        assert!(error(&settings, 0).contains("1000 are left of RAM"));
    }
}
