//! `neji conformance`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use neji_machine::{Board, toolchain};
use rayon::prelude::*;

use crate::conformance::{Case, Difference, models};

/// Compare imported models with the answers of TensorFlow Lite, byte by byte.
///
/// Every X.tflite of the folders that has an X.in.npy and an X.out.npy (int8, the first axis counts samples) is imported and
/// run. The exit code is 0 where not one byte differs.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Folders of models with their vectors.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Where they run: host, a board's name, or all.
    #[arg(long, value_name = "host|BOARD|all", default_value = "host")]
    pub on: String,
    /// Name every model, not only those that differ.
    #[arg(long)]
    pub verbose: bool,
}

/// Where cases run: the host, or a board with its firmware.
struct Place(Option<(Board, PathBuf)>);

impl Place {
    fn name(&self) -> &str {
        self.0.as_ref().map_or("host", |(board, _)| &board.package)
    }

    fn run(&self, case: &Case) -> anyhow::Result<Option<Difference>> {
        match &self.0 {
            None => case.on_host().map(Some),
            Some((board, _)) if !case.fits(board) => Ok(None),
            Some((board, elf)) => case.on_board(board, elf).map(Some),
        }
    }
}

fn places(on: &str) -> anyhow::Result<Vec<Place>> {
    if on == "host" {
        return Ok(vec![Place(None)]);
    }
    let root = toolchain::root()?;
    let boards = if on == "all" { Board::emulated(&root)? } else { vec![Board::find_emulated(&root, on)?] };
    let mut places = if on == "all" { vec![Place(None)] } else { vec![] };
    for board in boards {
        let elf = board.build()?;
        places.push(Place(Some((board, elf))));
    }
    Ok(places)
}

/// Runs the command.
///
/// # Errors
/// A model that can't be imported, a board that fails, or bytes that differ: names each.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut cases = Vec::new();
    let (mut failures, mut alone) = (Vec::new(), 0);
    for folder in &args.folders {
        for path in models(folder)? {
            match Case::load(&path) {
                Ok(Some(case)) => cases.push(case),
                Ok(None) => alone += 1,
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
    }
    if alone > 0 {
        eprintln!("{alone} models have no .in.npy and .out.npy: left out");
    }
    for failure in &failures {
        eprintln!("not imported: {failure}");
    }
    let total: u128 = cases.iter().map(|case| case.import_us).sum();
    println!("{} models imported in {:.1} ms", cases.len(), total as f64 / 1000.0);
    let mut differing = 0;
    for place in places(&args.on)? {
        let done = AtomicUsize::new(0);
        let results: Vec<_> = cases
            .par_iter()
            .map(|case| {
                let found = place.run(case).with_context(|| case.path.display().to_string());
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if done.is_multiple_of(50) {
                    eprintln!("{}: {done} of {}", place.name(), cases.len());
                }
                found
            })
            .collect();
        let (mut models, mut sum, mut left) = (0, Difference::default(), 0);
        for (case, result) in cases.iter().zip(results) {
            let Some(found) = result? else {
                left += 1;
                continue;
            };
            models += 1;
            sum.bytes += found.bytes;
            sum.differing += found.differing;
            if found.differing > 0 || args.verbose {
                let Difference { bytes, differing, largest } = found;
                println!("  {}: {differing} of {bytes} bytes differ, by up to {largest}", case.path.display());
            }
        }
        let beyond = if left > 0 { format!(" ({left} models do not fit)") } else { String::new() };
        println!("{}: {models} models, {} of {} bytes differ{beyond}", place.name(), sum.differing, sum.bytes);
        differing += sum.differing;
    }
    ensure!(failures.is_empty(), "{} models could not be imported", failures.len());
    ensure!(differing == 0, "{differing} bytes differ");
    Ok(())
}
