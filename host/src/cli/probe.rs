//! A real board behind a debug probe: the options that say which, and its live link as a line of `neji monitor`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use neji_machine::Board;

/// The way to a real board.
#[derive(Debug, Clone, Default, PartialEq, Eq, ClapArgs)]
pub struct ProbeArgs {
    /// The debug probe, VID:PID or VID:PID:SERIAL; needed where there are several.
    #[arg(long, value_name = "PROBE")]
    pub probe: Option<String>,
    /// Clock of the debug wires; lower where the chip is not found.
    #[arg(long, value_name = "KHZ")]
    pub speed: Option<u32>,
    /// The firmware's image, instead of the board's own.
    #[arg(long, value_name = "ELF")]
    pub firmware: Option<PathBuf>,
}

/// What else can be done with `board`, to end a sentence with; nothing where there is nothing.
pub(crate) fn instead_of_flashing(board: &Board) -> &'static str {
    if board.settings.uf2_family.is_some() { "; or --uf2, which needs no probe" } else { "" }
}

/// What to do without debug probes.
#[cfg(not(feature = "probe"))]
pub(crate) fn missing(instead: &str) -> String {
    format!(
        "this neji was built without debug probes: cargo install --path host --features probe, in neji's repository{instead}"
    )
}

#[cfg(feature = "probe")]
pub(crate) use with_probe::{Line, choice};

#[cfg(feature = "probe")]
mod with_probe {
    use std::io;
    use std::thread;
    use std::time::{Duration, Instant};

    use anyhow::{Context, Result};
    use neji_flash::probe::{self, Choice, Linked, Lister, Probed, Wanted};
    use neji_flash::rtt::Place;
    use neji_machine::Board;
    use neji_monitor::Port;

    use super::ProbeArgs;

    /// How long a read waits.
    const WAIT: Duration = Duration::from_millis(20);
    /// How often it looks meanwhile: a look at a ring that is empty takes a probe some milliseconds.
    const LOOK: Duration = Duration::from_millis(4);

    /// Which probe, and how it is used.
    pub(crate) fn choice(args: &ProbeArgs, erase_locked: bool) -> Choice {
        Choice { selector: args.probe.clone(), speed_khz: args.speed, erase_locked }
    }

    /// A real board's live link over RTT.
    pub(crate) struct Line {
        board: String,
        chip: String,
        choice: Choice,
        place: Place,
    }

    impl Line {
        /// The line to `board`. RTT is where its image says, which is looked into where it is given or was built, and else searched for.
        ///
        /// # Errors
        /// The board is none with a chip, or the image that is given has no RTT.
        pub(crate) fn to(board: &Board, args: &ProbeArgs) -> Result<Self> {
            let chip = board.settings.chip.clone();
            let chip = chip.with_context(|| format!("{} has no chip that a probe knows", board.package))?;
            let place = match &args.firmware {
                Some(path) => {
                    let image = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                    Place::of(&image)?.with_context(|| {
                        format!("{} has no RTT (no symbol _SEGGER_RTT): give the image of the firmware", path.display())
                    })?
                }
                None => built(board).unwrap_or(Place::Ram),
            };
            Ok(Self { board: board.package.clone(), chip, choice: choice(args, false), place })
        }
    }

    /// What the image that was built last says, where there is one. It need not be the one on the board: where nothing is there RAM is
    /// searched.
    fn built(board: &Board) -> Option<Place> {
        let image = board.has_sources().then(|| std::fs::read(board.elf()).ok()).flatten()?;
        Place::of(&image).ok().flatten()
    }

    impl neji_monitor::Line for Line {
        fn name(&self) -> String {
            format!("{} at its debug probe", self.board)
        }

        fn open(&mut self) -> Result<Box<dyn Port>> {
            let instead = "; or --serial PORT, where the board shows one";
            let wanted = Wanted { board: &self.board, chip: &self.chip, instead };
            let lister = Lister::new();
            let probed = Probed::attach(|| probe::open(&lister, &self.choice, instead), &wanted, false)?;
            Ok(Box::new(Rtt(probed.link(self.place)?)))
        }

        fn comes_back(&self) -> bool {
            true
        }
    }

    struct Rtt(Linked);

    impl Port for Rtt {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let begin = Instant::now();
            loop {
                let count = self.0.hear(buffer).map_err(io::Error::other)?;
                if count > 0 || begin.elapsed() >= WAIT {
                    return Ok(count);
                }
                thread::sleep(LOOK);
            }
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.say(bytes).map_err(io::Error::other)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(words: &str) -> Result<ProbeArgs, String> {
        let cli = Cli::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Flash(args) => Ok(args.probe),
            Command::Monitor(args) => Ok(args.probe),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flash_and_monitor_take_the_same_options() {
        let options = "--probe 0d28:0204 --speed 400 --firmware mine.elf";
        for command in ["flash model.neji --board rpi-pico", "monitor --board rpi-pico"] {
            let args = parsed(&format!("neji {command} {options}")).unwrap();
            assert_eq!((args.probe.as_deref(), args.speed), (Some("0d28:0204"), Some(400)), "{command}");
            assert_eq!(args.firmware, Some("mine.elf".into()));
        }
        assert_eq!(parsed("neji monitor --board rpi-pico").unwrap(), ProbeArgs::default());
        for option in ["--probe 0d28:0204", "--speed 400", "--firmware mine.elf"] {
            let error = refused(&format!("neji monitor --serial /dev/ttyACM0 {option}"));
            assert!(error.contains("give --board B"), "{option}: {error}");
        }
    }

    fn refused(words: &str) -> String {
        match Cli::try_parse_from(words.split(' ')).unwrap().command {
            Command::Monitor(args) => crate::cli::monitor::run(args).unwrap_err().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_board_that_no_probe_reaches_says_what_does() {
        let emulated = refused("neji monitor --board qemu-mps2-an386");
        assert!(emulated.contains("neji monitor MODEL.neji --qemu qemu-mps2-an386"), "{emulated}");
        #[cfg(not(feature = "probe"))]
        {
            let missing = refused("neji monitor --board rpi-pico");
            assert!(missing.contains("cargo install --path host --features probe"), "{missing}");
            assert!(missing.contains("--serial PORT"), "{missing}");
        }
    }

    #[cfg(feature = "probe")]
    #[test]
    fn an_image_that_is_given_has_to_have_rtt() {
        // This test's own executable has none.
        let image = std::env::current_exe().unwrap();
        let error = refused(&format!("neji monitor --board rpi-pico --firmware {}", image.display()));
        assert!(error.contains("_SEGGER_RTT"), "{error}");
        let error = refused("neji monitor --board rpi-pico --firmware /no/such/image.elf");
        assert!(error.contains("reading /no/such/image.elf"), "{error}");
    }

    #[cfg(feature = "probe")]
    #[test]
    fn a_line_to_a_real_board_may_come_back() {
        use neji_monitor::Line as _;

        let board = Board::find_here(None, "rpi-pico").unwrap();
        let line = Line::to(&board, &ProbeArgs::default()).unwrap();
        assert!(line.comes_back() && line.name().contains("rpi-pico"));
    }
}
