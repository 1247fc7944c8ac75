//! ArduCAM Mega over SPI: a camera that keeps a whole picture until it is read, so that the reader need not keep pace.
//!
//! Registers, commands and the timing of a read are of Arducam's "MEGA SPI Camera Application Note": a register is read
//! with a byte between address and value, and the first burst of a picture begins with one that means nothing. The camera's own
//! controller sets up the image sensor; it is told format and size, and asked whether it is done. SPI mode 0, 8 MHz at most.

use embedded_hal::spi::{Operation, SpiDevice};
use neji_format::Size;

const FIFO: u8 = 0x04;
const FIFO_CLEAR: u8 = 0x01;
const FIFO_START: u8 = 0x02;
const SENSOR_RESET: u8 = 0x07;
const RESET_ENABLE: u8 = 0x40;
const DEVICE_ADDRESS: u8 = 0x0a;
/// The image sensor's address on the camera's own bus.
const ADDRESS: u8 = 0x78;
const FORMAT: u8 = 0x20;
const RGB565: u8 = 2;
const RESOLUTION: u8 = 0x21;
const SENSOR_ID: u8 = 0x40;
/// State of the controller and, of the same register, that a picture is there.
const STATE: u8 = 0x44;
const STATE_MASK: u8 = 0x03;
const STATE_IDLE: u8 = 0x02;
const CAPTURED: u8 = 0x04;
const FIFO_SIZE: [u8; 3] = [0x45, 0x46, 0x47];
const BURST: u8 = 0x3c;
const WRITE: u8 = 0x80;

/// Bytes of a pixel in the camera.
const PIXEL_BYTES: u32 = 2;

/// Sizes of pictures that both kinds of the camera take without a crop of their own, with the controller's number.
const SIZES: [(Size, u8); 4] = [
    (Size { width: 96, height: 96 }, 0x0a),
    (Size { width: 128, height: 128 }, 0x0b),
    (Size { width: 320, height: 240 }, 0x01),
    (Size { width: 640, height: 480 }, 0x02),
];

/// Why there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraError<E> {
    /// The bus.
    Bus(E),
    /// What answers is no such camera, or nothing answers.
    Absent {
        /// The number in its place.
        id: u8,
    },
    /// It keeps a picture of another length than its size has.
    Length {
        /// Bytes that it has.
        found: u32,
    },
    /// It has no pictures of this size.
    Size,
}

impl<E> From<E> for CameraError<E> {
    fn from(error: E) -> Self {
        Self::Bus(error)
    }
}

/// A camera, with what is left of the picture that it was told to take.
#[derive(Debug)]
pub struct ArduCam<S> {
    bus: S,
    size: Size,
    rgb: bool,
    /// Pixels to come.
    left: u32,
    is_first: bool,
}

/// Whether there are pictures of this size.
pub fn has(size: Size) -> bool {
    SIZES.iter().any(|&(known, _)| known == size)
}

impl<S: SpiDevice> ArduCam<S> {
    /// Takes the bus; nothing is sent. Pictures have three bytes a pixel, or one of luma, as the front end takes both.
    pub fn new(bus: S, size: Size, rgb: bool) -> Self {
        Self { bus, size, rgb, left: 0, is_first: false }
    }

    /// The first step of starting it. Between the steps [`ArduCam::is_idle`] has to come true.
    ///
    /// # Errors
    /// The bus's.
    pub fn reset(&mut self) -> Result<(), CameraError<S::Error>> {
        self.write(SENSOR_RESET, RESET_ENABLE)
    }

    /// The second step: who is it?
    ///
    /// # Errors
    /// It is not there.
    pub fn identify(&mut self) -> Result<(), CameraError<S::Error>> {
        match self.read_register(SENSOR_ID)? {
            0 | 0xff => Err(CameraError::Absent { id: 0 }),
            id if id & 0xf0 != 0x80 => Err(CameraError::Absent { id }),
            _ => self.write(DEVICE_ADDRESS, ADDRESS),
        }
    }

    /// The third step.
    ///
    /// # Errors
    /// The bus's.
    pub fn set_format(&mut self) -> Result<(), CameraError<S::Error>> {
        self.write(FORMAT, RGB565)
    }

    /// The last step.
    ///
    /// # Errors
    /// There are no pictures of this size.
    pub fn set_size(&mut self) -> Result<(), CameraError<S::Error>> {
        let (_, number) = SIZES.iter().find(|(size, _)| *size == self.size).ok_or(CameraError::Size)?;
        self.write(RESOLUTION, *number)
    }

    /// Whether the controller has done what it was told last.
    ///
    /// # Errors
    /// The bus's.
    pub fn is_idle(&mut self) -> Result<bool, CameraError<S::Error>> {
        Ok(self.read_register(STATE)? & STATE_MASK == STATE_IDLE)
    }

    /// Begins a picture.
    ///
    /// # Errors
    /// The bus's.
    pub fn take(&mut self) -> Result<(), CameraError<S::Error>> {
        self.left = 0;
        self.write(FIFO, FIFO_CLEAR)?;
        self.write(FIFO, FIFO_START)
    }

    /// Whether the picture is there, and ready to be read.
    ///
    /// # Errors
    /// It is not as long as it should be.
    pub fn is_taken(&mut self) -> Result<bool, CameraError<S::Error>> {
        if self.read_register(STATE)? & CAPTURED == 0 {
            return Ok(false);
        }
        let mut found = 0u32;
        for register in FIFO_SIZE.into_iter().rev() {
            found = found << 8 | u32::from(self.read_register(register)?);
        }
        let pixels = u32::from(self.size.width) * u32::from(self.size.height);
        // It rounds up, by a few bytes.
        if found < pixels * PIXEL_BYTES || found > pixels * PIXEL_BYTES + 64 {
            return Err(CameraError::Length { found });
        }
        (self.left, self.is_first) = (pixels, true);
        Ok(true)
    }

    /// The next pixels of the picture, as many as have room; returns their bytes, 0 at the end.
    ///
    /// # Errors
    /// The bus's.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, CameraError<S::Error>> {
        let pixel_bytes = if self.rgb { 3 } else { 1 };
        let mut raw = [0; 256];
        let room = (buffer.len() / pixel_bytes).min(raw.len() / PIXEL_BYTES as usize);
        let pixels = room.min(self.left as usize);
        let Some(raw) = raw.get_mut(..pixels * PIXEL_BYTES as usize) else { return Ok(0) };
        if pixels == 0 {
            return Ok(0);
        }
        let command: &[u8] = if self.is_first { &[BURST, 0] } else { &[BURST] };
        self.bus.transaction(&mut [Operation::Write(command), Operation::Read(raw)])?;
        self.is_first = false;
        self.left = self.left.saturating_sub(pixels as u32);
        let (colours, _) = raw.as_chunks::<2>();
        for (to, &colour) in buffer.chunks_exact_mut(pixel_bytes).zip(colours) {
            let [red, green, blue] = widen(u16::from_be_bytes(colour));
            match to {
                [grey] => *grey = luma(red, green, blue),
                to => to.copy_from_slice(&[red, green, blue]),
            }
        }
        Ok(pixels * pixel_bytes)
    }

    fn write(&mut self, register: u8, value: u8) -> Result<(), CameraError<S::Error>> {
        Ok(self.bus.write(&[register | WRITE, value])?)
    }

    fn read_register(&mut self, register: u8) -> Result<u8, CameraError<S::Error>> {
        let mut bytes = [register, 0, 0];
        self.bus.transfer_in_place(&mut bytes)?;
        Ok(bytes[2])
    }
}

/// RGB565 to eight bits each: the highest bits are repeated as the lowest, so that white stays white.
fn widen(pixel: u16) -> [u8; 3] {
    let (red, green, blue) = ((pixel >> 11) as u8, (pixel >> 5 & 0x3f) as u8, (pixel & 0x1f) as u8);
    [red << 3 | red >> 2, green << 2 | green >> 4, blue << 3 | blue >> 2]
}

/// As the image front end takes it of three bytes.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue) + 128) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// A camera on the other end of the wires: what a selected chip sees, byte by byte.
    struct Fake {
        registers: [u8; 128],
        picture: Vec<u8>,
        read: usize,
        /// A read without the byte that means nothing has come.
        is_burst: bool,
    }

    impl Fake {
        fn new(picture: Vec<u8>) -> Self {
            let mut registers = [0; 128];
            registers[usize::from(SENSOR_ID)] = 0x82;
            registers[usize::from(STATE)] = STATE_IDLE;
            Self { registers, picture, read: 0, is_burst: false }
        }

        /// A selection: `out` goes in, what comes out is returned.
        fn select(&mut self, out: &[u8]) -> Vec<u8> {
            let mut back = vec![0xee; out.len()];
            match out {
                [first, value, ..] if first & WRITE != 0 => {
                    self.registers[usize::from(first & !WRITE)] = *value;
                    if (first & !WRITE, *value) == (FIFO, FIFO_START) {
                        self.registers[usize::from(STATE)] |= CAPTURED;
                        (self.read, self.is_burst) = (0, false);
                        let length = self.picture.len().to_le_bytes();
                        self.registers[0x45..0x48].copy_from_slice(&length[..3]);
                    }
                }
                [BURST, ..] => {
                    let skip = if self.is_burst { 1 } else { 2 };
                    self.is_burst = true;
                    for to in &mut back[skip..] {
                        *to = self.picture.get(self.read).copied().unwrap_or(0xdd);
                        self.read += 1;
                    }
                }
                [register, _, _] => back[2] = self.registers[usize::from(*register)],
                _ => panic!("{out:?}"),
            }
            back
        }
    }

    impl embedded_hal::spi::ErrorType for Fake {
        type Error = Infallible;
    }

    impl SpiDevice for Fake {
        fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
            let mut out = Vec::new();
            for operation in operations.iter() {
                match operation {
                    Operation::Write(bytes) => out.extend_from_slice(bytes),
                    Operation::Read(bytes) => out.extend(vec![0; bytes.len()]),
                    Operation::TransferInPlace(bytes) => out.extend_from_slice(bytes),
                    _ => panic!("not used"),
                }
            }
            let back = self.select(&out);
            let mut begin = 0;
            for operation in operations {
                match operation {
                    Operation::Write(bytes) => begin += bytes.len(),
                    Operation::Read(bytes) | Operation::TransferInPlace(bytes) => {
                        bytes.copy_from_slice(&back[begin..begin + bytes.len()]);
                        begin += bytes.len();
                    }
                    _ => panic!("not used"),
                }
            }
            Ok(())
        }
    }

    const SIZE: Size = Size { width: 96, height: 96 };

    fn started(fake: Fake, rgb: bool) -> ArduCam<Fake> {
        let mut camera = ArduCam::new(fake, SIZE, rgb);
        camera.reset().unwrap();
        assert!(camera.is_idle().unwrap());
        camera.identify().unwrap();
        camera.set_format().unwrap();
        camera.set_size().unwrap();
        camera
    }

    /// Every colour in turn, big-endian.
    fn picture() -> Vec<u8> {
        (0..96u32 * 96).flat_map(|pixel| ((pixel * 7919) as u16).to_be_bytes()).collect()
    }

    #[test]
    fn a_picture_comes_whole_in_pieces_of_any_size() {
        for (rgb, piece) in [(true, 256), (true, 100), (false, 7), (false, 1000)] {
            let mut camera = started(Fake::new([picture(), vec![0; 8]].concat()), rgb);
            for _ in 0..2 {
                camera.take().unwrap();
                assert!(camera.is_taken().unwrap());
                let (mut bytes, mut buffer) = (Vec::new(), vec![0; piece]);
                loop {
                    let count = camera.read(&mut buffer).unwrap();
                    if count == 0 {
                        break;
                    }
                    bytes.extend_from_slice(&buffer[..count]);
                }
                let expected: Vec<u8> = picture()
                    .chunks(2)
                    .flat_map(|pair| {
                        let pixel = u16::from_be_bytes([pair[0], pair[1]]);
                        let scaled = |bits: u16, most: u32| (u32::from(bits) * 255 + most / 2) / most;
                        let [r, g, b] = [scaled(pixel >> 11, 31), scaled(pixel >> 5 & 63, 63), scaled(pixel & 31, 31)];
                        let grey = (77 * r + 150 * g + 29 * b + 128) >> 8;
                        if rgb { vec![r as u8, g as u8, b as u8] } else { vec![grey as u8] }
                    })
                    .collect();
                // Repeated bits and a rounded quotient differ by one at most.
                assert_eq!(bytes.len(), expected.len());
                assert!(bytes.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1));
            }
        }
    }

    #[test]
    fn black_and_white_stay_so() {
        assert_eq!((widen(0), widen(u16::MAX)), ([0; 3], [255; 3]));
        assert_eq!((luma(0, 0, 0), luma(255, 255, 255)), (0, 255));
    }

    #[test]
    fn what_is_no_camera_is_told() {
        for id in [0, 0xff, 0x12] {
            let mut fake = Fake::new(Vec::new());
            fake.registers[usize::from(SENSOR_ID)] = id;
            let error = ArduCam::new(fake, SIZE, true).identify().unwrap_err();
            assert!(matches!(error, CameraError::Absent { .. }), "{id}");
        }
        let mut camera = ArduCam::new(Fake::new(Vec::new()), Size { width: 100, height: 100 }, true);
        assert_eq!(camera.set_size(), Err(CameraError::Size));
    }

    #[test]
    fn a_picture_of_another_length_is_an_error() {
        let mut camera = started(Fake::new(vec![0; 1000]), true);
        assert_eq!(camera.read(&mut [0; 30]), Ok(0));
        camera.take().unwrap();
        assert_eq!(camera.is_taken(), Err(CameraError::Length { found: 1000 }));
    }
}
