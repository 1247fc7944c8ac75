//! Samples from an interrupt to the loop, over a single-producer single-consumer queue.

use core::convert::Infallible;

use heapless::spsc::Consumer;

use crate::sensor::Sensor;

/// The loop's end of a `heapless::spsc::Queue<u8, N>` whose producer an interrupt owns.
pub struct QueueSensor<'q, W> {
    samples: Consumer<'q, u8>,
    wait: W,
}

impl<'q, W: FnMut() -> bool> QueueSensor<'q, W> {
    /// `wait` is called while the queue is empty, usually to sleep until an interrupt; false means that no more will come.
    pub fn new(samples: Consumer<'q, u8>, wait: W) -> Self {
        Self { samples, wait }
    }
}

impl<W: FnMut() -> bool> Sensor for QueueSensor<'_, W> {
    type Error = Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        while !self.samples.ready() {
            if !(self.wait)() {
                break;
            }
        }
        let mut count = 0;
        for (to, from) in buffer.iter_mut().zip(core::iter::from_fn(|| self.samples.dequeue())) {
            *to = from;
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heapless::spsc::Queue;

    #[test]
    fn reads_what_is_there_then_waits_then_ends() {
        let mut queue = Queue::<u8, 8>::new();
        let (mut interrupt, samples) = queue.split();
        for sample in [1, 2, 3] {
            interrupt.enqueue(sample).unwrap();
        }
        let mut more = [4, 5].into_iter();
        let mut sensor =
            QueueSensor::new(samples, || more.next().is_some_and(|sample| interrupt.enqueue(sample).is_ok()));
        let mut buffer = [0; 2];
        let counts = [0; 5].map(|_| sensor.read(&mut buffer).unwrap());
        assert_eq!((counts, buffer), ([2, 1, 1, 1, 0], [5, 2]));
    }
}
