//! What real boards' images take of flash and RAM, held to `boards/budget.toml`, and how deep their stack can become.
//!
//! A budget is what an image took when somebody last looked, and some: who goes beyond it says so in the same commit, by the
//! file's diff.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use neji_machine::{Board, Bounds, Sizes};
use serde::Deserialize;

use crate::size::measured;

/// Where budgets are, under the root.
const FILE: &str = "boards/budget.toml";

/// Most bytes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// Code, constants, initial values.
    flash: u64,
    /// Statics, the monitor's memory among them; the stack apart.
    ram: u64,
}

/// The budgets by board.
///
/// # Errors
/// The file is missing or wrong.
pub(crate) fn read(root: &Path) -> Result<BTreeMap<String, Budget>> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// Builds the boards and prints their table.
///
/// # Errors
/// One does not build, has no budget, takes more than it or than the chip has, or may need more stack than there is.
pub(crate) fn hold(root: &Path, boards: &[Board]) -> Result<()> {
    let budgets = read(root)?;
    println!("\nreal boards, bytes. RAM is without the stack, which has a region of its own and a bound.");
    println!(
        "{:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "board", "flash", "budget", "of", "memory", "RAM", "budget", "of", "stack", "of"
    );
    for board in boards {
        let (_, sizes, bounds) = measured(board)?;
        println!("{}", row(board, &sizes, &bounds, budgets.get(&board.package).copied())?);
    }
    Ok(())
}

fn row(board: &Board, sizes: &Sizes, bounds: &Bounds, budget: Option<Budget>) -> Result<String> {
    let (package, settings) = (&board.package, &board.settings);
    let (flash, ram) = (sizes.flash(), sizes.ram());
    let Some(budget) = budget else {
        bail!("{package} has no budget; add to {FILE}: {package} = {{ flash = {flash}, ram = {ram} }}");
    };
    for (what, taken, most) in [("flash", flash, budget.flash), ("RAM", ram, budget.ram)] {
        if taken > most {
            bail!("{package} takes {taken} bytes of {what}, its budget in {FILE} is {most}");
        }
    }
    if budget.flash > settings.flash_bytes || budget.ram + settings.stack_bytes > settings.ram_bytes {
        bail!("{package}: the budget is more than the chip has");
    }
    // The static cell around it has a byte of its own.
    if !(settings.memory_bytes..settings.memory_bytes + 8).contains(&sizes.memory) {
        bail!("{package}: {} bytes for the monitor, its Cargo.toml says {}", sizes.memory, settings.memory_bytes);
    }
    if bounds.whole > settings.stack_bytes {
        let (bound, path) = (bounds.whole, bounds.path.join(" -> "));
        bail!("{package}: the stack may need {bound} bytes, it has {}: {path}", settings.stack_bytes);
    }
    Ok(format!(
        "{package:<20} {flash:>8} {:>8} {:>8} {:>8} {ram:>8} {:>8} {:>8} {:>8} {:>8}",
        budget.flash,
        settings.flash_bytes,
        settings.memory_bytes,
        budget.ram,
        settings.ram_bytes,
        bounds.whole,
        settings.stack_bytes
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let table = r#"{"name":"B","target":"t","chip":"c","model_address":100,"model_bytes":1,"flash_bytes":100,"ram_bytes":100,
            "memory_bytes":40,"stack_bytes":10}"#;
        Board { package: "b".into(), settings: serde_json::from_str(table).unwrap(), workspace: "/w".into() }
    }

    #[test]
    fn more_than_the_budget_is_an_error_that_names_it() {
        let sizes = Sizes { code: 30, constants: 5, data: 5, zeroed: 5, memory: 41 };
        let most = Budget { flash: 40, ram: 51 };
        let mut bounds = Bounds { run: 1, push: 2, whole: 10, path: vec!["Reset".to_owned()], indirect: [].into() };
        assert!(row(&board(), &sizes, &bounds, Some(most)).unwrap().starts_with("b "));
        let error = |budget| row(&board(), &sizes, &bounds, budget).unwrap_err().to_string();
        assert!(error(Some(Budget { flash: 39, ..most })).contains("takes 40 bytes of flash"));
        assert!(error(Some(Budget { ram: 50, ..most })).contains("takes 51 bytes of RAM"));
        assert!(error(Some(Budget { ram: 91, ..most })).contains("more than the chip has"));
        assert!(error(None).contains("b = { flash = 40, ram = 51 }"));
        bounds.whole = 11;
        let error = row(&board(), &sizes, &bounds, Some(most)).unwrap_err().to_string();
        assert!(error.ends_with("may need 11 bytes, it has 10: Reset"), "{error}");
    }
}
