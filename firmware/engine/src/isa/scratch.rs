//! Memory on the stack of which only what is used is written first.
#![expect(unsafe_code, reason = "memory that is not written")]

use core::mem::MaybeUninit;

/// Room for `N` elements.
pub(crate) struct Scratch<T, const N: usize>([MaybeUninit<T>; N]);

impl<T: Copy, const N: usize> Scratch<T, N> {
    /// Nothing is written yet.
    pub(crate) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; N])
    }

    /// The first `len` elements, which all become `value`; none where there are not as many.
    #[inline(always)]
    pub(crate) fn filled(&mut self, len: usize, value: T) -> &mut [T] {
        let elements = self.0.get_mut(..len).unwrap_or(&mut []);
        for element in &mut *elements {
            element.write(value);
        }
        // SAFETY: each of them has just been written.
        unsafe { elements.assume_init_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_written() {
        let mut scratch = Scratch::<i16, 5>::new();
        assert_eq!(scratch.filled(3, 7), [7; 3]);
        assert_eq!(scratch.filled(5, -1), [-1; 5]);
        assert_eq!(scratch.filled(6, 1), []);
    }
}
