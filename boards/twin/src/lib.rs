//! What a real board's chip is to neji-embassy, QEMU is to a twin.
//!
//! A twin runs the station of the real boards, its samples, its restarts and their reasons, with a file of the PC as its sensor.
//! The sensor's task runs in an interrupt, as theirs do. SysTick is its clock and its watchdog, as QEMU has none of the chips'. Everything
//! it says, its lines too, goes to the PC as text, and the live link over a serial port.
//!
//! A file `fault.bin` says what goes wrong when half of the samples are through, in the first life of the firmware: see [`Fault`].
#![no_std]

pub mod clock;
pub mod pc;
pub mod uart;

use cortex_m::Peripherals;
use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use embassy_executor::raw::Executor;
use embassy_executor::{InterruptExecutor, SendSpawner, Spawner};
use embassy_time::{Duration, Timer};
use embedded_hal::digital::{ErrorType, OutputPin};
use neji_app::link::Wire;
use neji_app::{AlarmPolarity, Cause};
use neji_embassy::{Board, Lines, Room, Samples, Station, restart};
use neji_engine::Isa;
use neji_semihosting::File;
use static_cell::StaticCell;

use crate::pc::{Console, console};

static SAMPLES: Samples = Samples::new();
static SENSOR: InterruptExecutor = InterruptExecutor::new();

/// An interrupt that no device of QEMU's machines raises, the last that ARMv6-M has.
#[derive(Clone, Copy)]
struct Spare;

// SAFETY: the number is always the same, and one of the vector table.
unsafe impl InterruptNumber for Spare {
    fn number(self) -> u16 {
        31
    }
}

#[exception]
unsafe fn DefaultHandler(number: i16) {
    assert_eq!(number, Spare.number().cast_signed());
    // SAFETY: this is the interrupt that the executor is started with.
    unsafe { SENSOR.on_interrupt() }
}

/// The executor of the sensor's task, in an interrupt above the loop and below the clock's.
fn sensor_executor(mut controller: NVIC) -> SendSpawner {
    // SAFETY: no critical section counts on priorities: they disable interrupts.
    unsafe { controller.set_priority(Spare, 0x80) };
    SENSOR.start(Spare)
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The sensor gives nothing more.
    Silence,
    /// The sensor's driver gives up.
    Failure,
    /// A jump to where no code is.
    Jump,
    /// A check that fails.
    Panic,
    /// A loop without end in the sensor's task, which the loop of the station never comes back from.
    Hang,
}

impl Fault {
    /// By the PC's file; nothing where there is none.
    fn read() -> Option<Self> {
        let mut byte = [0];
        File::read_from(b"fault.bin\0")?.read(&mut byte);
        match byte {
            [b'S'] => Some(Self::Silence),
            [b'F'] => Some(Self::Failure),
            [b'H'] => Some(Self::Jump),
            [b'P'] => Some(Self::Panic),
            [b'L'] => Some(Self::Hang),
            _ => None,
        }
    }
}

/// A line whose levels are told to the PC.
struct Line(&'static str, Option<bool>);

impl ErrorType for Line {
    type Error = core::convert::Infallible;
}

impl Line {
    fn set(&mut self, high: bool) {
        if self.1.replace(high) != Some(high) {
            console(format_args!("{}: {}", self.0, if high { "high" } else { "low" }));
        }
    }
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), Self::Error> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Self::Error> {
        self.set(true);
        Ok(())
    }
}

/// In so much time the loop has judged and said what it has, and waits for samples: so the same goes wrong at the same place.
const REST: Duration = Duration::from_secs(2);

/// The PC's samples, as a sensor's task would take them: a few each millisecond, as of sound of 8 kHz. So the core rests between them, and
/// QEMU has time for its serial port then only. Ends QEMU at their end.
#[embassy_executor::task]
async fn sensor(fault: Option<Fault>) {
    let Some(mut file) = File::read_from(b"samples.bin\0") else { pc::exit(false) };
    let half = file.length() / 2;
    let (mut block, mut taken) = ([0; 16], 0);
    // A PC that listens gives samples once it has heard the board, and to wait for its file stops the core: so the loop speaks first.
    Timer::after(REST).await;
    loop {
        Timer::after_millis(1).await;
        if SAMPLES.waiting() > block.len() {
            continue;
        }
        if taken >= half
            && let Some(fault) = fault
        {
            Timer::after(REST).await;
            match fault {
                Fault::Silence => return,
                Fault::Failure => return SAMPLES.fail(),
                // SAFETY: it is not: the address is no code's, and the core's answer is what is asked for.
                Fault::Jump => unsafe { core::mem::transmute::<usize, extern "C" fn()>(0xf000_0001)() },
                Fault::Panic => panic!("as asked for"),
                Fault::Hang => loop {
                    cortex_m::asm::nop();
                },
            }
        }
        let count = file.read(&mut block);
        if count == 0 && SAMPLES.waiting() == 0 {
            Timer::after(REST).await;
            pc::exit(true);
        }
        taken += count;
        SAMPLES.push(block.get(..count).unwrap_or_default().iter().map(|&byte| [byte]));
    }
}

/// Runs tasks for ever. While there is nothing to do the core waits for an interrupt, where QEMU's clock jumps to the next one;
/// the executor that real boards use waits for an event, where QEMU goes on counting instructions.
pub fn execute(begin: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    // What the executor of threads is called by its wakers.
    let executor = EXECUTOR.init(Executor::new(usize::MAX as *mut ()));
    begin(executor.spawner());
    loop {
        // SAFETY: it is polled here alone, and not by one of its own tasks.
        unsafe { executor.poll() };
        cortex_m::asm::wfi();
    }
}

/// Has accesses fault that do so on ARMv6-M, where the machine's core is a larger one: those that are not aligned to their size
/// (ARMv7-M Architecture Reference Manual, B3.2.8), and those in the 16 MiB below RAM, which the machines of MPS boards have answer with
/// zeros. A stack that grows too deep ends there, in faults too.
pub fn fault_as_armv6m(core: &mut Peripherals) {
    const UNALIGN_TRP: u32 = 1 << 3;
    const BELOW_RAM: u32 = 0x1f00_0000;
    const IS_VALID: u32 = 1 << 4;
    // No access, of 2^(23 + 1) bytes, enabled.
    const REGION: u32 = 1 << 28 | 23 << 1 | 1;
    // All else as without the unit; on in faults as well.
    const CONTROL: u32 = 1 << 2 | 1 << 1 | 1 << 0;
    // SAFETY: nobody takes such an access but for one that faults.
    unsafe {
        core.SCB.ccr.modify(|bits| bits | UNALIGN_TRP);
        core.MPU.rbar.write(BELOW_RAM | IS_VALID);
        core.MPU.rasr.write(REGION);
        core.MPU.ctrl.write(CONTROL);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// Memory of a twin.
pub struct Memory<I: Isa + 'static> {
    /// The station's.
    pub room: &'static Room<I>,
    /// The monitor's: arena, front end and frame.
    pub monitor: &'static mut [u8],
    /// What samples wait in.
    pub waiting: &'static mut [u8],
}

/// Runs the station until the samples end. `wire` is its line to the PC.
pub async fn run<I: Isa>(board: Board, core: Peripherals, wire: impl Wire, memory: Memory<I>) -> ! {
    let cause = clock::start(core.SYST, board.clock_hz);
    let start = restart::begin(cause, None);
    let lines = Lines::new(Line("alarm", None), Line("fault", None), AlarmPolarity::ActiveLow);
    // A life after a fault is a good one.
    let is_first = start.why.is_none() && cause != Cause::Watchdog;
    // Where the PC listens it has a file `live`, and ends QEMU itself.
    let console = Console { ends: File::read_from(b"live\0").is_none() };
    let mut station = Station::new(memory.room, board, lines, clock::feed, console, wire, start);
    let model = station.model().await;
    let fault = if is_first { Fault::read() } else { None };
    SAMPLES.begin(memory.waiting, 1);
    sensor_executor(core.NVIC).spawn(sensor(fault).expect("once"));
    station.watch(model, memory.monitor, &SAMPLES).await
}
