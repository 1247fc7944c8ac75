//! Numbers of NumPy's `.npy` files.

use std::io::Cursor;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ndarray::ArrayD;
use ndarray_npy::ReadNpyExt;
use ndarray_npy::npy::header::Header;

/// What an element was in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// float32 or float64.
    Float,
    /// int16.
    Int16,
}

/// An array of any number of dimensions, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// Reads an `.npy` file of float32, float64 or int16.
///
/// # Errors
/// Not such a file, other elements, or not as long as its header says.
pub(super) fn decode_npy(bytes: &[u8]) -> Result<Array> {
    ensure!(!bytes.is_empty(), "an empty file; write it again, or remove it");
    let mut cursor = Cursor::new(bytes);
    let header =
        Header::from_reader(&mut cursor).map_err(|error| anyhow!("not an .npy file that can be read: {error}"))?;
    let described = header.type_descriptor.to_string();
    let element = described.trim_matches('\'').to_owned();
    let (kind, width) = match element.as_str() {
        "<f4" | ">f4" => (Kind::Float, 4),
        "<f8" | ">f8" => (Kind::Float, 8),
        "<i2" | ">i2" => (Kind::Int16, 2),
        _ => bail!("elements of {described}; float32, float64 and int16 are read: convert with .astype('float32')"),
    };
    // Checked before anything is allocated by what the header says.
    let wanted = header.shape.iter().try_fold(width, |product: usize, &n| product.checked_mul(n));
    let held = bytes.len() as u64 - cursor.position();
    ensure!(
        wanted.is_some_and(|wanted| wanted as u64 == held),
        "its header says {described} of shape {:?}, but {held} bytes follow; write or copy it again",
        header.shape
    );
    let what = "reading the array";
    let values = match (kind, width) {
        (Kind::Int16, _) => ArrayD::<i16>::read_npy(bytes).context(what)?.iter().map(|&x| x.into()).collect(),
        (_, 4) => ArrayD::<f32>::read_npy(bytes).context(what)?.iter().map(|&x| x.into()).collect(),
        _ => ArrayD::<f64>::read_npy(bytes).context(what)?.iter().copied().collect(),
    };
    Ok(Array { kind, shape: header.shape, values })
}

#[cfg(test)]
pub(super) mod tests {
    use ndarray::{Array2, ShapeBuilder};
    use ndarray_npy::{WritableElement, WriteNpyExt};

    use super::*;

    /// An `.npy` file.
    pub(in crate::dataset) fn npy<T: WritableElement + Clone>(shape: &[usize], values: &[T]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let array = ArrayD::from_shape_vec(shape.to_vec(), values.to_vec()).expect("as many values as the shape says");
        array.write_npy(&mut bytes).expect("written");
        bytes.into_inner()
    }

    #[test]
    fn three_kinds_of_elements_in_either_order() {
        let read = |bytes: &[u8]| decode_npy(bytes).expect("read");
        assert_eq!(read(&npy(&[3], &[0.5f32, -1.0, 2.0])).values, [0.5, -1.0, 2.0]);
        assert_eq!(read(&npy(&[2, 1], &[1e-3f64, 2.0])).shape, [2, 1]);
        let ints = read(&npy(&[2], &[-32768i16, 7]));
        assert_eq!((ints.kind, ints.values), (Kind::Int16, vec![-32768.0, 7.0]));
        // Column-major in the file, row-major here.
        let columns = Array2::from_shape_vec((2, 2).f(), vec![1.0f32, 2.0, 3.0, 4.0]).expect("four values");
        let mut bytes = Cursor::new(Vec::new());
        columns.write_npy(&mut bytes).expect("written");
        assert_eq!(read(bytes.get_ref()).values, [1.0, 3.0, 2.0, 4.0]);
    }

    #[test]
    fn a_header_that_lies_and_other_elements_are_refused() {
        let refused = |bytes: &[u8]| format!("{:#}", decode_npy(bytes).expect_err("refused"));
        let good = npy(&[4], &[1.0f32; 4]);
        assert!(refused(&good[..good.len() - 2]).contains("shape [4], but 14 bytes follow"));
        assert!(refused(&good[..20]).contains("not an .npy file"));
        assert!(refused(b"RIFF").contains("not an .npy file"));
        assert!(refused(&[]).contains("an empty file"));
        assert!(refused(&npy(&[2], &[1i32, 2])).contains("<i4"));
        // As much as no memory holds.
        let header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999,), }\n";
        let huge = [b"\x93NUMPY\x01\0", &[header.len() as u8, 0][..], header, &[0; 16]].concat();
        assert!(refused(&huge).contains("[999999999999], but 16 bytes follow"), "{}", refused(&huge));
    }
}
