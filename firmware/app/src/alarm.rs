//! The alarm on a pin.

use embedded_hal::digital::OutputPin;

/// Which level of the pin is the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmPolarity {
    /// High is the alarm.
    ActiveHigh,
    /// Low is the alarm: a device without power and a broken wire look like one, so nobody trusts a dead monitor.
    ActiveLow,
}

/// An output that follows the alarm.
#[derive(Debug)]
pub struct AlarmPin<P> {
    pin: P,
    polarity: AlarmPolarity,
    on: bool,
}

impl<P: OutputPin> AlarmPin<P> {
    /// Takes the pin and switches the alarm off.
    ///
    /// # Errors
    /// The pin's.
    pub fn new(pin: P, polarity: AlarmPolarity) -> Result<Self, P::Error> {
        let mut alarm = Self { pin, polarity, on: false };
        alarm.drive(false)?;
        Ok(alarm)
    }

    /// Whether the alarm is on.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Switches the alarm; true where that changed it. The pin is driven each time, so a disturbed pin recovers.
    ///
    /// # Errors
    /// The pin's; the alarm then counts as unchanged.
    pub fn set(&mut self, on: bool) -> Result<bool, P::Error> {
        self.drive(on)?;
        Ok(core::mem::replace(&mut self.on, on) != on)
    }

    fn drive(&mut self, on: bool) -> Result<(), P::Error> {
        self.pin.set_state((on == (self.polarity == AlarmPolarity::ActiveHigh)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use embedded_hal::digital::ErrorType;

    struct Pin<'a>(&'a core::cell::Cell<bool>);
    impl ErrorType for Pin<'_> {
        type Error = Infallible;
    }
    impl OutputPin for Pin<'_> {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.set(false);
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.set(true);
            Ok(())
        }
    }

    #[test]
    fn active_low_is_high_while_all_is_well() {
        let level = core::cell::Cell::new(false);
        let mut alarm = AlarmPin::new(Pin(&level), AlarmPolarity::ActiveLow).unwrap();
        assert!(level.get());
        assert_eq!([true, true, false].map(|on| alarm.set(on).unwrap()), [true, false, true]);
        assert_eq!(alarm.set(true), Ok(true));
        assert!(!level.get() && alarm.is_on());
    }
}
