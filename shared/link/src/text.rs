//! Text that must fit a frame.

/// The longest beginning of `text` of at most `bytes` bytes that ends at a character.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    loop {
        match text.get(..end) {
            Some(cut) => return cut,
            None => end = end.saturating_sub(1),
        }
    }
}

/// What is formatted, cut at a character where it is longer than `N` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// What `value` says of itself.
    pub fn of(value: impl core::fmt::Display) -> Self {
        let mut text = Self { bytes: [0; N], length: 0 };
        // Failing means that it was cut, which is wanted.
        let _ = core::fmt::write(&mut text, format_args!("{value}"));
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Whole characters alone were written.
        core::str::from_utf8(self.bytes.get(..self.length).unwrap_or(&[])).unwrap_or("")
    }
}

impl<const N: usize> core::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let rest = self.bytes.get_mut(self.length..).unwrap_or(&mut []);
        let fits = cut(text, rest.len());
        for (to, from) in rest.iter_mut().zip(fits.bytes()) {
            *to = from;
        }
        self.length = self.length.saturating_add(fits.len());
        if fits.len() == text.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!((cut("Büro", 2), cut("Büro", 3), cut("Büro", 9), cut("ü", 0)), ("B", "Bü", "Büro", ""));
        assert_eq!(Text::<6>::of(format_args!("{} {}", 12, "über")).as_str(), "12 üb");
        assert_eq!(Text::<4>::of(12_345).as_str(), "1234");
    }
}
