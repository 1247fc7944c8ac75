//! `cargo xtask no-panic`: nothing from the model's parser on can panic, shown by the linker for every target.
//!
//! `boards/no-panic` calls all of it, with a panic handler that needs a function that does not exist: it links only where
//! no call of the handler is left. With kernels that can panic it must not link, which is tried as well, so that the
//! check cannot become one that always holds.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use neji_machine::toolchain::{self, TARGETS};

use crate::step::{step, typed};

/// What the linker misses where a panic is left.
const MISSING: &str = "neji_panic_is_reachable";

/// The targets whose boards run the kernels of `ArmDsp`.
const DSP: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];
/// The target of the board that runs those of `ArmMve`.
const MVE: &str = "thumbv8m.main-none-eabihf";

/// The target whose board runs the kernels of `ArmV7m`.
const V7M: &str = "thumbv7m-none-eabi";

/// Links for every target.
///
/// # Errors
/// A panic is left, or the check cannot fail.
pub(crate) fn run() -> Result<()> {
    let boards = toolchain::root()?.join("boards");
    for target in TARGETS {
        step(&format!("no panic from the parser on, for {target}"), &mut link(&boards, target)?).with_context(
            || format!("where the linker misses {MISSING}, boards/no-panic/src/main.rs says how to go on"),
        )?;
        if DSP.contains(&target) {
            let name = format!("no panic with DSP instructions, for {target}");
            step(&name, link(&boards, target)?.args(["--features", "dsp"]))?;
        }
        if target == V7M {
            let name = format!("no panic with the kernels of ARMv7-M, for {target}");
            step(&name, link(&boards, target)?.args(["--features", "v7m"]))?;
        }
        if target == MVE {
            let name = format!("no panic with vector instructions, for {target}");
            step(&name, link(&boards, target)?.args(["--features", "mve"]))?;
        }
        must_fail(link(&boards, target)?.args(["--features", "control"]))?;
    }
    Ok(())
}

fn link(boards: &Path, target: &str) -> Result<Command> {
    let mut command = toolchain::firmware_cargo(target)?;
    command.current_dir(boards).args(["build", "--locked", "--release", "-p", "no-panic", "--target", target]);
    command.arg("--target-dir").arg(boards.join("target"));
    Ok(command)
}

/// Runs a link that must fail for the missing function, and for nothing else.
fn must_fail(command: &mut Command) -> Result<()> {
    eprintln!("--- a kernel that can panic is noticed");
    let out = command.output().context("starting cargo")?;
    if out.status.success() {
        bail!("a kernel that can panic goes unnoticed, so the check is worth nothing: {}", typed(command));
    }
    let errors = String::from_utf8_lossy(&out.stderr);
    if !errors.contains(&format!("undefined symbol: {MISSING}")) {
        bail!("a kernel that can panic fails for another reason: {}\n{errors}", typed(command));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn only_the_missing_function_is_the_failure_that_is_wanted() {
        must_fail(&mut shell("echo error: undefined symbol: neji_panic_is_reachable >&2; exit 1")).unwrap();
        let linked = must_fail(&mut shell("exit 0")).unwrap_err().to_string();
        assert!(linked.contains("goes unnoticed"), "{linked}");
        let other = must_fail(&mut shell("echo no space left on device >&2; exit 1")).unwrap_err().to_string();
        assert!(other.contains("another reason") && other.contains("no space left"), "{other}");
    }
}
