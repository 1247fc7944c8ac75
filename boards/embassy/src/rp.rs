//! What the boards of the RP2040 and the RP2350 share: start, watchdog, an I2S microphone by the programmable I/O.

use embassy_executor::{InterruptExecutor, SendSpawner, Spawner};
use embassy_rp::dma::{self, Channel};
use embassy_rp::interrupt::{InterruptExt as _, Priority};
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{self, Common, Direction, FifoJoin, Pio, PioPin, ShiftConfig, ShiftDirection, StateMachine};
use embassy_rp::pio_programs::clock_divider::calculate_pio_clock_divider;
use embassy_rp::usb::{self, Driver};
use embassy_rp::watchdog::Watchdog;
use embassy_rp::{Peri, Peripherals, bind_interrupts, interrupt, pac, peripherals};
use embassy_usb::class::cdc_acm::{BufferedReceiver, CdcAcmClass, Sender, State};
use embassy_usb::{Builder, UsbDevice};
use neji_app::{Cause, Restart};
use static_cell::{ConstStaticCell, StaticCell};

use crate::restart;
use crate::samples::Samples;
use crate::serial::Serial;
use crate::station::{Feed, WATCHDOG};

static SENSOR: InterruptExecutor = InterruptExecutor::new();
static SERIAL: Serial = Serial::new();

bind_interrupts!(struct Irqs {
    PIO0_IRQ_0 => pio::InterruptHandler<peripherals::PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<peripherals::DMA_CH0>;
    USBCTRL_IRQ => usb::InterruptHandler<peripherals::USB>;
});

/// Starts the chip, with the brown-out detector of the core's supply set to its default of 0.86 V.
pub fn start() -> (Peripherals, Restart) {
    let reason = pac::WATCHDOG.reason().read().0;
    #[cfg(feature = "rp2040")]
    let cause = {
        pac::VREG_AND_CHIP_RESET.bod().modify(|w| w.set_en(true));
        Cause::of_rp2040(reason, pac::VREG_AND_CHIP_RESET.chip_reset().read().0)
    };
    #[cfg(feature = "rp235x")]
    let cause = {
        // The upper half is the password that the power manager asks for.
        pac::POWMAN.bod().modify(|w| {
            w.0 = w.0 & 0xffff | 0x5afe << 16;
            w.set_en(true);
        });
        Cause::of_rp2350(reason, pac::POWMAN.chip_reset().read().0)
    };
    let start = restart::begin(cause, Some(reset));
    (embassy_rp::init(Default::default()), start)
}

/// By the watchdog's trigger, since the core's own request leaves most of the chip as it is, and with every part but the two
/// oscillators.
fn reset() -> ! {
    pac::PSM.wdsel().write_value(pac::psm::regs::Wdsel(0x1_fffc));
    pac::WATCHDOG.ctrl().modify(|w| w.set_trigger(true));
    loop {
        cortex_m::asm::nop();
    }
}

/// Starts the watchdog, which stops while a debugger halts a core.
pub fn watchdog(timer: Peri<'static, peripherals::WATCHDOG>) -> impl Feed {
    let mut watchdog = Watchdog::new(timer);
    watchdog.pause_on_debug(true);
    watchdog.start(WATCHDOG);
    move || watchdog.feed(WATCHDOG)
}

#[interrupt]
unsafe fn SWI_IRQ_1() {
    // SAFETY: this is the interrupt that the executor is started with.
    unsafe { SENSOR.on_interrupt() }
}

/// The executor of the sensor's task, in an interrupt above the loop and below the HAL's own.
pub fn sensor_executor() -> SendSpawner {
    interrupt::SWI_IRQ_1.set_priority(Priority::P3);
    // The HAL gives DMA the same, and all else the highest.
    interrupt::DMA_IRQ_0.set_priority(Priority::P2);
    SENSOR.start(interrupt::SWI_IRQ_1)
}

type Usb = Driver<'static, peripherals::USB>;

/// Longest packet of a full-speed bulk endpoint.
const PACKET: u16 = 64;
/// Of pid.codes, for tests and what is not sold: a product has its own.
const IDS: (u16, u16) = (0x1209, 0x0001);

/// What USB works with.
struct UsbMemory {
    configuration: [u8; 128],
    strings: [u8; 16],
    control: [u8; 64],
    packet: [u8; PACKET as usize],
}

/// Starts the board's USB as a serial port.
pub fn serial(spawner: SendSpawner, usb: Peri<'static, peripherals::USB>, product: &'static str) -> &'static Serial {
    spawner.spawn(attach(usb, product).expect("once"));
    &SERIAL
}

/// Makes the device where its tasks run: its parts may not change executors.
#[embassy_executor::task]
async fn attach(usb: Peri<'static, peripherals::USB>, product: &'static str) {
    static USB: ConstStaticCell<UsbMemory> = ConstStaticCell::new(UsbMemory {
        configuration: [0; 128],
        strings: [0; 16],
        control: [0; 64],
        packet: [0; PACKET as usize],
    });
    static STATE: StaticCell<State<'_>> = StaticCell::new();
    // SAFETY: this runs in an embassy executor, which nothing but embassy's wakers is used with.
    let spawner = unsafe { Spawner::for_current_executor() }.await;
    let UsbMemory { configuration, strings, control, packet } = USB.take();
    let mut config = embassy_usb::Config::new(IDS.0, IDS.1);
    (config.manufacturer, config.product) = (Some("neji"), Some(product));
    let mut builder = Builder::new(Driver::new(usb, Irqs), config, configuration, strings, &mut [], control);
    let class = CdcAcmClass::new(&mut builder, STATE.init(State::new()), PACKET);
    let (sender, receiver) = class.split();
    spawner.spawn(enumerate(builder.build()).expect("once"));
    spawner.spawn(send(sender).expect("once"));
    spawner.spawn(receive(receiver.into_buffered(packet)).expect("once"));
}

#[embassy_executor::task]
async fn enumerate(mut device: UsbDevice<'static, Usb>) {
    device.run().await;
}

#[embassy_executor::task]
async fn send(port: Sender<'static, Usb>) {
    SERIAL.send(port).await;
}

#[embassy_executor::task]
async fn receive(port: BufferedReceiver<'static, Usb>) {
    SERIAL.receive(port).await;
}

/// An I2S microphone of 24 bits in slots of 32, such as INMP441 or ICS-43434, that answers on the left: its select pin is low.
pub struct Microphone<'d> {
    machine: StateMachine<'d, peripherals::PIO0, 0>,
    channel: Channel<'d>,
    _common: Common<'d, peripherals::PIO0>,
}

/// Bits that a frame has of both channels.
const FRAME_BITS: u32 = 64;
/// Of 24 bits the highest 16 are heard 18 dB louder: speech at 1 m is some -50 dB of these microphones' full scale.
const GAIN_BITS: u32 = 3;

impl<'d> Microphone<'d> {
    /// Starts it. `select` is the pin behind `clock`.
    pub fn start(
        pio: Peri<'d, peripherals::PIO0>,
        channel: Peri<'d, peripherals::DMA_CH0>,
        clock: Peri<'d, impl PioPin>,
        select: Peri<'d, impl PioPin>,
        data: Peri<'d, impl PioPin>,
        rate: u32,
    ) -> Self {
        let Pio { mut common, sm0: mut machine, .. } = Pio::new(pio, Irqs);
        // Two instructions a bit; bit 0 of the side set is the clock, bit 1 the select line, low on the left. The line changes
        // with the falling clock a bit before a slot's first, so the first of the 32 bits read is the right slot's last.
        let program = pio_asm!(
            ".side_set 2"
            ".wrap_target"
            "    set x, 30        side 0b01"
            "left:"
            "    in pins, 1       side 0b00"
            "    jmp x-- left     side 0b01"
            "    in pins, 1       side 0b10"
            "    set x, 30        side 0b11"
            "right:"
            "    nop              side 0b10"
            "    jmp x-- right    side 0b11"
            "    nop              side 0b00"
            ".wrap"
        );
        let program = common.load_program(&program.program);
        let [clock, select, data] =
            [common.make_pio_pin(clock), common.make_pio_pin(select), common.make_pio_pin(data)];
        let mut config = pio::Config::default();
        config.use_program(&program, &[&clock, &select]);
        config.set_in_pins(&[&data]);
        config.clock_divider = calculate_pio_clock_divider(rate * FRAME_BITS * 2);
        config.shift_in = ShiftConfig { threshold: 32, direction: ShiftDirection::Left, auto_fill: true };
        // Eight samples wait while the next transfer is set up.
        config.fifo_join = FifoJoin::RxOnly;
        machine.set_config(&config);
        machine.set_pin_dirs(Direction::In, &[&data]);
        machine.set_pin_dirs(Direction::Out, &[&clock, &select]);
        machine.set_enable(true);
        Self { machine, channel: Channel::new(channel, Irqs), _common: common }
    }

    /// Fills `samples` for ever.
    pub async fn listen(&mut self, samples: &Samples) -> ! {
        let (mut filled, mut next) = (&mut [0u32; 128], &mut [0u32; 128]);
        self.machine.rx().dma_pull(&mut self.channel, filled, false).await;
        loop {
            // The next begins before these are looked at, since little waits in the FIFO.
            let transfer = self.machine.rx().dma_pull(&mut self.channel, next, false);
            let sounds = filled.iter().map(|&word| {
                let sound = (word << 1).cast_signed() >> (16 - GAIN_BITS);
                sound.clamp(i16::MIN.into(), i16::MAX.into()) as i16
            });
            samples.push(sounds.map(i16::to_le_bytes));
            transfer.await;
            // The FIFO was full when somebody waited too long.
            if self.machine.rx().stalled() {
                samples.lose(0);
            }
            core::mem::swap(&mut filled, &mut next);
        }
    }
}
