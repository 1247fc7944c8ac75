//! What a twin tells the PC.

use core::fmt::Write as _;

use cortex_m_semihosting::hio;
use neji_embassy::{Event, Tell};
use neji_semihosting::stack_bytes;

/// Writes a line to the PC's stderr.
pub fn console(line: core::fmt::Arguments<'_>) {
    if let Ok(mut stderr) = hio::hstderr() {
        let _ = writeln!(stderr, "{line}");
    }
}

/// Ends QEMU, and says how much of the stack was used: status 0 where all went well, 1 otherwise.
pub fn exit(well: bool) -> ! {
    console(format_args!("stack: {}", stack_bytes()));
    neji_semihosting::exit(well)
}

/// Events as lines of text.
pub struct Console {
    /// A refusal ends QEMU, which nobody would end otherwise.
    pub ends: bool,
}

impl Tell for Console {
    fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(restart) => console(format_args!("start: {restart}")),
            Event::Watching { model_crc32, .. } => console(format_args!("watching: {model_crc32:08x}")),
            Event::Refused(reason) => {
                console(format_args!("refused: {reason}"));
                if self.ends {
                    exit(false)
                }
            }
            Event::Verdict(verdict) => console(format_args!("verdict: {verdict:?}")),
            Event::Alarm(verdict) => console(format_args!("alarm at: {}", verdict.sequence)),
            Event::Drift(trend) => console(format_args!("drift: {trend:?}")),
            Event::Lost(samples) => console(format_args!("lost: {samples}")),
            Event::Restarting(reason) => console(format_args!("restarting: {reason}")),
        }
    }
}
