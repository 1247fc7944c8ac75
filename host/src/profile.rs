//! Where an inference's instructions are, and how many cycles they may be.
//!
//! The instructions are exact. The cycles are an estimate from a core's manual, and say so wherever they stand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use neji_format::Model;
use neji_machine::{Board, Cycles, Kind, Tally};
use serde::Serialize;

use crate::bench::{self, grouped};
use crate::inspect;

/// What the estimate leaves out; for terminals.
const LEFT_OUT: &str = "\
The cycles are an ESTIMATE: instructions cost what the Cortex-M4's manual says, with memory that never waits.
Low and high are its bounds for pipeline refills (1 to 3), divisions (2 to 12), stores, and loads that overlap.
Flash wait states, caches and prefetchers, bus contention and interrupts are not in it: flash slower than the core
can exceed `high`.
";

/// An operator, a function, or all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// An operator's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Instructions, exactly.
    pub instructions: u64,
    /// Of the whole, in hundredths.
    pub percent: f64,
    /// Estimated cycles, where the core's costs are known.
    pub estimated_cycles: Option<Cycles>,
}

/// Estimated milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Milliseconds {
    /// Of the fewest cycles.
    pub low: f64,
    /// Of those that are likely.
    pub likely: f64,
    /// Of the most, as long as memory does not wait.
    pub high: f64,
}

/// A model on a board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profiled {
    /// Where it was read.
    pub path: PathBuf,
    /// The board.
    pub board: String,
    /// What people call it.
    pub board_name: String,
    /// Instructions from the call of `Engine::run` to its return, as `neji bench` counts them.
    pub instructions: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Branches that led elsewhere than to the next instruction.
    pub taken_branches: u64,
    /// Operators in order, then what is none's.
    pub operators: Vec<Row>,
    /// Functions' own instructions, without what they call, most first. What the compiler put into another function is
    /// that one's.
    pub functions: Vec<Row>,
    /// What the functions that are left out have together.
    pub other_functions: u64,
    /// Estimated cycles, where the core's costs are known.
    pub estimated_cycles: Option<Cycles>,
    /// The clock for the next.
    pub clock_mhz: f64,
    /// Estimated time at that clock.
    pub estimated_milliseconds: Option<Milliseconds>,
}

/// Takes an inference apart, on the input that `neji bench` counts with; shows the `top` functions.
///
/// # Errors
/// The firmware does not build, the board has no room, fails or gives another output than the host, or counts differ.
pub fn profile(
    path: &Path,
    model: &Model<'_>,
    board: &Board,
    clock_mhz: f64,
    top: usize,
    timeout: Duration,
) -> Result<Profiled> {
    ensure!(bench::fits(board, model), "{}: {} has no room for it", path.display(), board.package);
    let input = bench::input(model);
    let found =
        board.profile(&board.build()?, model.bytes(), &input, timeout).with_context(|| path.display().to_string())?;
    bench::check_output(board, model, input, &found.counts.output)?;

    let whole = found.whole.instructions();
    let known = |tally: &Tally| board.settings.core.map(|_| tally.cycles);
    let row = |name: &str, output: Option<String>, tally: &Tally| Row {
        name: name.to_owned(),
        output,
        instructions: tally.instructions(),
        percent: (tally.instructions() as f64 / whole as f64 * 1e4).round() / 100.0,
        estimated_cycles: known(tally),
    };
    let mut operators: Vec<Row> = model
        .operators()
        .zip(&found.operators)
        .map(|(operator, tally)| row(operator.name(), Some(inspect::show(operator.output().shape)), tally))
        .collect();
    operators.push(row("call and return", None, &found.call));
    let functions: Vec<Row> = found.functions.iter().take(top).map(|(name, tally)| row(name, None, tally)).collect();
    let estimated_cycles = known(&found.whole);
    Ok(Profiled {
        path: path.to_owned(),
        board: board.package.clone(),
        board_name: board.settings.name.clone(),
        instructions: whole,
        kinds: Kind::ALL.into_iter().zip(found.whole.kinds).collect(),
        taken_branches: found.whole.taken,
        operators,
        other_functions: whole - functions.iter().map(|row| row.instructions).sum::<u64>(),
        functions,
        estimated_cycles,
        clock_mhz,
        estimated_milliseconds: estimated_cycles.map(|cycles| milliseconds(cycles, clock_mhz)),
    })
}

fn milliseconds(cycles: Cycles, clock_mhz: f64) -> Milliseconds {
    let of = |cycles: u64| cycles as f64 / (clock_mhz * 1e3);
    Milliseconds { low: of(cycles.low), likely: of(cycles.likely), high: of(cycles.high) }
}

/// A profile for a terminal.
pub fn text(profiled: &Profiled) -> String {
    let name = profiled.path.file_stem().unwrap_or_default().to_string_lossy();
    let mut out = format!(
        "{name} on {} ({}): {} instructions, exactly; `neji bench` counts the same\n",
        profiled.board,
        profiled.board_name,
        grouped(profiled.instructions)
    );
    let header = |out: &mut String, title: &str| {
        let cycles = if profiled.estimated_cycles.is_some() { "cycles, est." } else { "" };
        let line = format!("\n  {title:<56} {:>13} {:>6} {cycles:>13}", "instructions", "%");
        let _ = writeln!(out, "{}", line.trim_end());
    };
    header(&mut out, "operator");
    for (index, row) in profiled.operators.iter().enumerate() {
        let title = match &row.output {
            Some(output) => format!("{index:>3}  {:<22} {output:>16}", row.name),
            None => format!("{:>3}  {}", "", row.name),
        };
        put(&mut out, &title, row);
    }
    header(&mut out, "function, without what it calls");
    for row in &profiled.functions {
        put(&mut out, &shorter(&row.name), row);
    }
    if profiled.other_functions > 0 {
        let _ = writeln!(out, "  {:<56} {:>13}", "others", grouped(profiled.other_functions));
    }
    let _ = writeln!(out, "\n  {:<56} {:>13} {:>6}", "kind", "instructions", "%");
    for (kind, &count) in profiled.kinds.iter().filter(|(_, count)| **count > 0) {
        let percent = count as f64 / profiled.instructions as f64 * 100.0;
        let _ = writeln!(out, "  {:<56} {:>13} {percent:>6.1}", kind.name(), grouped(count));
    }
    let _ = writeln!(out, "  {:<56} {:>13}", "taken branches, among them", grouped(profiled.taken_branches));
    out.push('\n');
    match (profiled.estimated_cycles, profiled.estimated_milliseconds) {
        (Some(cycles), Some(time)) => {
            let [low, likely, high] = [cycles.low, cycles.likely, cycles.high].map(grouped);
            let _ = writeln!(out, "  estimated cycles: {likely} ({low} to {high})");
            let clock = profiled.clock_mhz;
            let Milliseconds { low, likely, high } = time;
            let _ = writeln!(out, "  estimated time at {clock} MHz: {likely:.2} ms ({low:.2} to {high:.2})\n");
            out.push_str(LEFT_OUT);
        }
        _ => out.push_str("No cycles: what instructions cost is known of a Cortex-M4 only.\n"),
    }
    out
}

fn put(out: &mut String, title: &str, row: &Row) {
    let cycles = row.estimated_cycles.map(|cycles| grouped(cycles.likely)).unwrap_or_default();
    let line = format!("  {title:<56} {:>13} {:>6.1} {cycles:>13}", grouped(row.instructions), row.percent);
    let _ = writeln!(out, "{}", line.trim_end());
}

/// The end of a long name: what a function is called stands there.
fn shorter(name: &str) -> String {
    match name.chars().count().checked_sub(56) {
        None | Some(0) => name.to_owned(),
        Some(more) => std::iter::once('…').chain(name.chars().skip(more + 1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiled(cycles: Option<Cycles>) -> Profiled {
        let row = |name: &str, output: Option<&str>, instructions| Row {
            name: name.into(),
            output: output.map(str::to_owned),
            instructions,
            percent: instructions as f64 / 100.0,
            estimated_cycles: cycles,
        };
        Profiled {
            path: "models/m.tflite".into(),
            board: "qemu-b".into(),
            board_name: "B".into(),
            instructions: 10_000,
            kinds: Kind::ALL.into_iter().zip([4000, 1000, 2000, 0, 2000, 1000, 0, 0]).collect(),
            taken_branches: 900,
            operators: vec![row("Conv2d", Some("8x8x4"), 9000), row("call and return", None, 1000)],
            functions: vec![row("neji_engine::kernels::mat_mul::run", None, 8000)],
            other_functions: 2000,
            estimated_cycles: cycles,
            clock_mhz: 100.0,
            estimated_milliseconds: cycles.map(|cycles| milliseconds(cycles, 100.0)),
        }
    }

    #[test]
    fn the_estimate_says_that_it_is_one_and_its_bounds() {
        let text = text(&profiled(Some(Cycles { low: 12_000, likely: 14_000, high: 20_000 })));
        assert!(text.starts_with("m on qemu-b (B): 10,000 instructions, exactly"), "{text}");
        assert!(text.contains("estimated cycles: 14,000 (12,000 to 20,000)"), "{text}");
        assert!(text.contains("estimated time at 100 MHz: 0.14 ms (0.12 to 0.20)"), "{text}");
        assert!(text.contains("ESTIMATE") && text.contains("wait states"));
        assert!(
            text.contains("  neji_engine::kernels::mat_mul::run ")
                && text.contains("loads  ")
                && !text.contains("divisions  "),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn without_costs_there_are_no_cycles() {
        let text = text(&profiled(None));
        assert!(!text.contains("est") && text.ends_with("of a Cortex-M4 only.\n"), "{text}");
        let json = serde_json::to_value(profiled(None)).unwrap();
        assert!(json["estimated_cycles"].is_null() && json["kinds"]["load"] == 4000, "{json}");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shorter("memcpy"), "memcpy");
        assert_eq!(shorter(&"é".repeat(56)).chars().count(), 56);
        let long = shorter(&format!("{}::run", "é".repeat(60)));
        assert!(long.starts_with('…') && long.ends_with("::run") && long.chars().count() == 56, "{long}");
    }
}
