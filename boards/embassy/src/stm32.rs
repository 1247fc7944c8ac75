//! What the boards of the STM32 share: start, watchdog, low supply, an I2S microphone.

use embassy_executor::{InterruptExecutor, SendSpawner};
use embassy_stm32::i2s::{self, I2S};
use embassy_stm32::interrupt::{InterruptExt as _, Priority};
use embassy_stm32::time::Hertz;
use embassy_stm32::usart::{self, BufferedUart, BufferedUartRx, BufferedUartTx, RxPin, TxPin};
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Config, Peri, Peripherals, bind_interrupts, interrupt, pac, peripherals};
use neji_app::{Cause, Restart, Why};
use static_cell::ConstStaticCell;

use crate::restart;
use crate::samples::Samples;
use crate::serial::{BAUD, Serial};
use crate::station::{Feed, WATCHDOG};

static SENSOR: InterruptExecutor = InterruptExecutor::new();
static SERIAL: Serial = Serial::new();
static BYTES: ConstStaticCell<[[u8; 128]; 2]> = ConstStaticCell::new([[0; 128]; 2]);

/// The port that the board's ST-LINK hands to the PC (UM1724, 6.8; UM2407, 6.9).
#[cfg(feature = "stm32f446")]
type Port = peripherals::USART2;
#[cfg(feature = "stm32h753")]
type Port = peripherals::USART3;

#[cfg(feature = "stm32f446")]
bind_interrupts!(struct Irqs {
    USART2 => usart::BufferedInterruptHandler<Port>;
});
#[cfg(feature = "stm32h753")]
bind_interrupts!(struct Irqs {
    USART3 => usart::BufferedInterruptHandler<Port>;
});

/// Starts the chip with these clocks. A supply below 2.8 V is a reason to restart; the brown-out reset itself is a matter of the
/// option bytes.
pub fn start(config: Config) -> (Peripherals, Restart) {
    #[cfg(feature = "stm32f446")]
    let cause = Cause::of_stm32f4(pac::RCC.csr().read().0);
    #[cfg(feature = "stm32h753")]
    let cause = Cause::of_stm32h7(pac::RCC.rsr().read().0);
    #[cfg(feature = "stm32f446")]
    pac::RCC.csr().modify(|w| w.set_rmvf(true));
    #[cfg(feature = "stm32h753")]
    pac::RCC.rsr().modify(|w| w.set_rmvf(true));
    let start = restart::begin(cause, None);
    let peripherals = embassy_stm32::init(config);
    watch_supply();
    (peripherals, start)
}

/// The programmable voltage detector's line of the interrupt controller (RM0390, 10.2.5; RM0433, 20.4).
const LINE: usize = 16;
/// 2.8 V of both families (RM0390, 5.4.1; RM0433, 6.8.1).
const LEVEL: u8 = 6;

fn watch_supply() {
    #[cfg(feature = "stm32f446")]
    let (detector, lines) = (pac::PWR.cr1(), pac::EXTI);
    #[cfg(feature = "stm32h753")]
    let (detector, lines) = (pac::PWR.cr1(), pac::EXTI);
    detector.modify(|w| {
        w.set_pls(LEVEL);
        w.set_pvde(true);
    });
    // The output rises where the supply falls.
    lines.rtsr(0).modify(|w| w.set_line(LINE, true));
    lines.imr(0).modify(|w| w.set_line(LINE, true));
    // SAFETY: the handler is below, and needs nothing.
    unsafe { SUPPLY.enable() };
}

#[cfg(feature = "stm32f446")]
const SUPPLY: interrupt::Interrupt = interrupt::PVD;
#[cfg(feature = "stm32h753")]
const SUPPLY: interrupt::Interrupt = interrupt::PVD_AVD;

#[cfg(feature = "stm32f446")]
#[interrupt]
fn PVD() {
    restart::restart(Why::SupplyLow)
}

#[cfg(feature = "stm32h753")]
#[interrupt]
fn PVD_AVD() {
    restart::restart(Why::SupplyLow)
}

/// The independent watchdog of the chip.
#[cfg(feature = "stm32f446")]
type Timer = peripherals::IWDG;
#[cfg(feature = "stm32h753")]
type Timer = peripherals::IWDG1;

/// Starts the watchdog, on its own oscillator.
pub fn watchdog(timer: Peri<'static, Timer>) -> impl Feed {
    let mut watchdog = IndependentWatchdog::new(timer, WATCHDOG.as_micros() as u32);
    watchdog.unleash();
    move || watchdog.pet()
}

#[interrupt]
unsafe fn UART5() {
    // SAFETY: this is the interrupt that the executor is started with.
    unsafe { SENSOR.on_interrupt() }
}

/// The executor of the sensor's task, in the interrupt of a UART that no board uses: above the loop, below the HAL's own.
pub fn sensor_executor() -> SendSpawner {
    interrupt::UART5.set_priority(Priority::P12);
    SENSOR.start(interrupt::UART5)
}

/// Of an I2S microphone of 24 bits in slots of 32, such as INMP441 or ICS-43434: the highest 16 bits.
pub fn microphone(rate: u32) -> i2s::Config {
    let mut config = i2s::Config::default();
    config.frequency = Hertz(rate);
    config.format = i2s::Format::Data16Channel32;
    config.master_clock = false;
    config
}

/// Fills `samples` for ever with the left channel: the microphone's select pin is low.
pub async fn listen(line: &mut I2S<'_, u16>, samples: &Samples) -> ! {
    let mut frames = [0; 256];
    line.start();
    loop {
        match line.read(&mut frames).await {
            Ok(()) => samples.push(frames.as_chunks::<2>().0.iter().map(|[left, _]| left.to_le_bytes())),
            Err(_) => samples.lose(0),
        }
    }
}

/// Starts the serial port, which the board's ST-LINK hands to the PC over USB.
pub fn serial(
    spawner: SendSpawner,
    port: Peri<'static, Port>,
    rx: Peri<'static, impl RxPin<Port>>,
    tx: Peri<'static, impl TxPin<Port>>,
) -> &'static Serial {
    let [heard, said] = BYTES.take();
    let mut config = usart::Config::default();
    config.baudrate = BAUD;
    let port = BufferedUart::new(port, rx, tx, said, heard, Irqs, config).expect("a rate that the clock divides to");
    let (tx, rx) = port.split();
    spawner.spawn(receive(rx).expect("once"));
    spawner.spawn(send(tx).expect("once"));
    &SERIAL
}

#[embassy_executor::task]
async fn receive(port: BufferedUartRx<'static>) {
    SERIAL.receive(port).await;
}

#[embassy_executor::task]
async fn send(port: BufferedUartTx<'static>) {
    SERIAL.send(port).await;
}
