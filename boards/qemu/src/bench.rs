//! Instructions of an inference and of each of its operators, for `neji bench`.
//!
//! Where the PC has a file `bench`, the firmware counts instead of watching: the engine that the monitor calls runs on the
//! input in `samples.bin`, as a whole and then operator by operator. `bench.bin` gets a little-endian word for what each of
//! these took: a loop of [`SHORT`] turns, the same loop of [`LONG`] turns, the whole run, a run of each operator alone, a run
//! of none. The lower 24 bits are SysTick's ticks; bit 31 says that it wrapped, so that ticks are missing. No interrupt
//! counts wraps: its instructions would be among the others. The PC runs the same twice instead, with ticks of different
//! length. `outputs.bin` gets the output of the whole run and that of the operators one by one.

use core::arch::asm;
use core::sync::atomic::{Ordering, compiler_fence};

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use embedded_io::Write as _;
use neji_engine::{Engine, Isa};
use neji_format::Model;

use crate::semihosting::File;

/// Turns of the short loop.
pub const SHORT: u32 = 1;
/// Turns of the long loop: a million more. A turn is three instructions.
pub const LONG: u32 = 1_000_001;

/// Bits of SysTick.
const TICKS: u32 = (1 << 24) - 1;
/// Set where SysTick reached zero.
const WRAPPED: u32 = 1 << 31;

/// SysTick, from zero for everything that is counted.
struct Counter(SYST);

impl Counter {
    fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TICKS);
        timer.clear_current();
        timer.enable_counter();
        Self(timer)
    }

    /// What `work` takes, from one reading of the counter to the next.
    #[inline(always)]
    fn span(&mut self, work: impl FnOnce()) -> u32 {
        self.0.clear_current();
        // The clock goes on from zero one tick later. QEMU sees to that between two instructions, but not to one that follows
        // at once: that would still read zero.
        cortex_m::asm::nop();
        cortex_m::asm::nop();
        let begin = SYST::get_current();
        compiler_fence(Ordering::SeqCst);
        work();
        compiler_fence(Ordering::SeqCst);
        let end = SYST::get_current();
        let wrapped = if self.0.has_wrapped() { WRAPPED } else { 0 };
        (begin.wrapping_sub(end) & TICKS) | wrapped
    }

    /// One code for all turns, so that two spans differ by nothing but their turns.
    #[inline(never)]
    fn spin(&mut self, turns: u32) -> u32 {
        self.span(|| {
            // SAFETY: counts a register down to zero; touches neither memory nor stack.
            unsafe { asm!("2:", "nop", "subs r2, #1", "bne 2b", inout("r2") turns => _, options(nomem, nostack)) }
        })
    }

    /// One code for all runs, so that they differ by nothing but their operators.
    #[inline(never)]
    fn inference<I: Isa>(&mut self, model: Model<'_>, arena: &mut [i8]) -> Result<u32, &'static str> {
        let engine = Engine::<I>::new(model);
        let mut done = false;
        let span = self.span(|| done = engine.run(arena).is_ok());
        if done { Ok(span) } else { Err("the engine does not run this model here") }
    }
}

/// Whether the PC has the file that asks for it.
pub fn is_wanted() -> bool {
    File::read_from(b"bench\0").is_some()
}

/// Counts a model.
///
/// # Errors
/// The engine refuses to run it here, or a file of the PC is missing: for people.
#[inline(never)]
pub fn run<I: Isa>(model: Model<'_>, memory: &mut [u8], timer: SYST) -> Result<(), &'static str> {
    let mut counts = File::write_to(b"bench.bin\0").ok_or("no file for the counts")?;
    let mut outputs = File::write_to(b"outputs.bin\0").ok_or("no file for the outputs")?;
    let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
    let arena: &mut [i8] = bytemuck::cast_slice_mut(words);
    // A streaming model's phases differ in nothing but addresses.
    let state = model.plan().streaming.map_or(0, |streaming| streaming.state_bytes as usize);
    let model = model.phase(0);
    let engine = Engine::<I>::new(model);
    let begin = |arena: &mut [i8]| {
        arena.get_mut(..state).unwrap_or(&mut []).fill(0);
        fill(engine.input_mut(arena))
    };
    let mut counter = Counter::start(timer);
    let mut put = |span: u32| {
        let Ok(()) = counts.write_all(&span.to_le_bytes());
    };

    for turns in [SHORT, LONG] {
        put(counter.spin(turns));
    }
    // The first run is not counted: whatever is cached or remembered is so afterwards.
    for counted in [false, true] {
        begin(arena)?;
        let span = counter.inference::<I>(model, arena)?;
        if counted {
            put(span);
        }
    }
    let Ok(()) = outputs.write_all(bytemuck::cast_slice(engine.output(arena)));
    begin(arena)?;
    // After the last there is none: what a run takes beside its operators.
    for index in 0..=model.plan().operator_count {
        put(counter.inference::<I>(model.only(index), arena)?);
    }
    let Ok(()) = outputs.write_all(bytemuck::cast_slice(engine.output(arena)));
    Ok(())
}

/// One inference on the model in `flash`, from file to file: all that the image of the feature `inference` does.
pub fn infer<I: Isa>(flash: &[u8], memory: &mut [u8]) -> Option<()> {
    let engine = Engine::<I>::new(Model::parse(flash).ok()?);
    let (_, words, _) = bytemuck::pod_align_to_mut::<u8, u32>(memory);
    let arena: &mut [i8] = bytemuck::cast_slice_mut(words);
    fill(engine.input_mut(arena)).ok()?;
    engine.run(arena).ok()?;
    let Ok(()) = File::write_to(b"outputs.bin\0")?.write_all(bytemuck::cast_slice(engine.output(arena)));
    Some(())
}

/// Reads the input anew, since a run overwrites it.
fn fill(input: &mut [i8]) -> Result<(), &'static str> {
    let mut file = File::read_from(b"samples.bin\0").ok_or("no file of samples")?;
    let read = file.read(bytemuck::cast_slice_mut(input));
    if read == input.len() { Ok(()) } else { Err("too few samples") }
}
