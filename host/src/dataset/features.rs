//! Features: what a front end made elsewhere, such as a log-mel spectrogram, one row a frame.

use anyhow::{Context, Result, ensure};

use super::array::Array;

/// Features of one recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Moments, in order of time.
    pub frames: usize,
    /// Values of each.
    pub bands: usize,
    /// `frames * bands` finite values, row-major: the bands of a frame lie side by side.
    pub values: Vec<f32>,
}

impl Features {
    /// The bands of each frame.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.bands.max(1))
    }

    fn checked(bands: usize, values: Vec<f32>) -> Result<Self> {
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            anyhow::bail!(
                "frame {}, band {} is {}; compute the features again, or remove the file",
                index / bands,
                index % bands,
                values[index]
            );
        }
        Ok(Self { frames: values.len() / bands, bands, values })
    }
}

/// Reads raw float32, little-endian, row-major: `frames * bands` values.
///
/// # Errors
/// No number of bands, one that does not divide the file, an empty file, a value that is not finite.
pub fn decode_bin(bytes: &[u8], bands: Option<usize>) -> Result<Features> {
    ensure!(!bytes.is_empty(), "an empty file; compute the features again, or remove it");
    ensure!(bytes.len().is_multiple_of(4), "{} bytes are no whole number of float32; copy it again", bytes.len());
    let count = bytes.len() / 4;
    let bands = bands.with_context(|| {
        format!("{count} float32 values, but a .bin does not say how many a frame has; give the number (--bands 128)")
    })?;
    ensure!(
        bands > 0 && count.is_multiple_of(bands),
        "{count} float32 values are no whole number of frames of {bands} bands; give the right number (--bands), or copy \
         the file again"
    );
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Features::checked(bands, values)
}

/// Features of an array `[frames, bands]` of floats.
///
/// # Errors
/// Other dimensions, another number of bands than `bands`, a value that is not finite.
pub(super) fn from_array(array: Array, bands: Option<usize>) -> Result<Features> {
    let [frames, own] = array.shape[..] else {
        anyhow::bail!("shape {:?}; features are [frames, bands]", array.shape);
    };
    ensure!(frames > 0 && own > 0, "shape {:?} holds nothing; compute the features again", array.shape);
    if let Some(bands) = bands {
        ensure!(own == bands, "{own} bands a frame, not {bands}; change --bands, or compute the features again");
    }
    Features::checked(own, array.values.into_iter().map(|value| value as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn raw_floats_are_rows_and_what_is_wrong_is_placed() {
        let read = decode_bin(&bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), Some(3)).expect("read");
        assert_eq!((read.frames, read.bands), (2, 3));
        assert_eq!(read.rows().nth(1), Some(&[4.0, 5.0, 6.0][..]));
        let refused = |values: &[f32], bands| format!("{:#}", decode_bin(&bytes(values), bands).expect_err("refused"));
        assert!(refused(&[1.0, 2.0, 3.0, 4.0, 5.0, f32::NAN], Some(3)).contains("frame 1, band 2 is NaN"));
        assert!(refused(&[1.0, f32::NEG_INFINITY], Some(2)).contains("frame 0, band 1 is -inf"));
        assert!(refused(&[1.0; 8], None).contains("8 float32 values"));
        assert!(refused(&[1.0; 8], Some(3)).contains("no whole number of frames of 3 bands"));
        assert!(refused(&[1.0; 8], Some(0)).contains("of 0 bands"));
        assert!(refused(&[], Some(3)).contains("an empty file"));
        assert!(format!("{:#}", decode_bin(&[0; 7], Some(1)).expect_err("refused")).contains("7 bytes"));
    }
}
