//! Signals that are no sound files: `.npy` arrays and columns of CSV tables, scaled to 16 bits.

use anyhow::{Context, Result, bail, ensure};

use super::array::{Array, Kind};
use super::sound::{Sound, from_real};

/// A signal and how much of it did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scaled {
    pub(super) sound: Sound,
    /// Values beyond full scale, which were cut to it.
    pub(super) beyond: usize,
}

/// Rows of numbers before they are scaled: `values` of `channels` side by side.
struct Rows {
    channels: u16,
    values: Vec<f64>,
}

/// What the caller says of a signal, since its file does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale<'a> {
    /// Samples a second.
    pub(super) rate: Option<u32>,
    /// The value that becomes full scale.
    pub(super) full_scale: Option<f64>,
    /// Names or indices of a table's columns.
    pub(super) columns: &'a [String],
}

fn scaled(rows: Rows, full_scale: Option<f64>, rate: Option<u32>) -> Result<Scaled> {
    let channels = usize::from(rows.channels);
    if let Some(index) = rows.values.iter().position(|value| !value.is_finite()) {
        bail!(
            "frame {}, channel {} is {}; repair or remove the file",
            index / channels,
            index % channels,
            rows.values[index]
        );
    }
    let largest = rows.values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let full_scale = full_scale.with_context(|| {
        format!(
            "{} frames of values up to {largest:.4}; say which value is full scale in 16 bits (--full-scale {})",
            rows.values.len() / channels,
            round_up(largest)
        )
    })?;
    ensure!(full_scale.is_finite() && full_scale > 0.0, "a full scale of {full_scale}; it must be above 0");
    let rate = rate.context("it does not say how many samples a second it has; say it (--file-rate HZ)")?;
    ensure!(rate > 0, "a rate of 0 samples a second; it must be at least 1 (--file-rate)");
    let beyond = rows.values.iter().filter(|value| value.abs() > full_scale).count();
    let samples = rows.values.iter().map(|value| from_real(value / full_scale)).collect();
    Ok(Scaled { sound: Sound { rate, channels: rows.channels, samples }, beyond })
}

/// The next of 1, 2, 5, 10, ... in either direction.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let decade = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * decade >= value).unwrap_or(10.0);
    step * decade
}

/// A signal of an array `[frames]` or `[frames, channels]`. Integers of 16 bits are taken as they are where no full scale is
/// given.
pub(super) fn from_array(array: Array, scale: Scale<'_>) -> Result<Scaled> {
    let channels = match array.shape[..] {
        [_] => 1,
        [_, channels] => channels,
        _ => bail!("shape {:?}; a signal is [frames] or [frames, channels]", array.shape),
    };
    ensure!(!array.values.is_empty(), "shape {:?} holds nothing; write it again, or remove it", array.shape);
    let channels = u16::try_from(channels)
        .with_context(|| format!("shape {:?}: at most 65,535 channels; [frames, channels] is it", array.shape))?;
    let own = (array.kind == Kind::Int16).then_some(32_768.0);
    scaled(Rows { channels, values: array.values }, scale.full_scale.or(own), scale.rate)
}

/// The sign between the cells of a table: what its first line has most of.
fn delimiter(text: &[u8]) -> u8 {
    let line = text.split(|&b| b == b'\n').next().unwrap_or_default();
    let count = |sign: u8| line.iter().filter(|&&b| b == sign).count();
    // Of equals the last is taken: the comma.
    *b"\t;,".iter().max_by_key(|&&sign| count(sign)).unwrap_or(&b',')
}

fn number(cell: &str) -> Option<f64> {
    cell.trim().parse().ok()
}

/// The columns that are meant, as indices: by the name that the first row gives them, or by number from 0.
fn chosen(first: &[String], columns: &[String]) -> Result<Vec<usize>> {
    let listed = || {
        let names = first.iter().enumerate().map(|(index, name)| format!("{index} ({name})"));
        names.collect::<Vec<_>>().join(", ")
    };
    if columns.is_empty() {
        ensure!(first.len() == 1, "several columns: {}; choose one (--column NAME or its number)", listed());
        return Ok(vec![0]);
    }
    let find = |column: &String| {
        let by_name = first.iter().position(|name| name.trim() == column.trim());
        let by_number = || column.trim().parse().ok().filter(|index| *index < first.len());
        by_name.or_else(by_number).with_context(|| format!("no column {column}; there are {}", listed()))
    };
    columns.iter().map(find).collect()
}

/// A signal of columns of a table, each a channel; a first row without numbers in them is a header.
pub(super) fn from_csv(text: &[u8], scale: Scale<'_>) -> Result<Scaled> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    ensure!(text.iter().any(|b| !b.is_ascii_whitespace()), "an empty file; write it again, or remove it");
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter(text)).from_reader(text);
    let mut columns = Vec::new();
    let mut values = Vec::new();
    for (index, record) in reader.byte_records().enumerate() {
        let record = record.context("not a CSV table that can be read")?;
        let line = record.position().map_or(index as u64 + 1, csv::Position::line);
        let cell = |column: usize| record.get(column).map(String::from_utf8_lossy);
        if index == 0 {
            let first: Vec<String> = record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            columns = chosen(&first, scale.columns)?;
            if columns.iter().all(|&column| cell(column).and_then(|cell| number(&cell)).is_none()) {
                continue;
            }
        }
        for &column in &columns {
            let cell = cell(column).with_context(|| format!("line {line}: no column {column}; complete the row"))?;
            let value = number(&cell).with_context(|| {
                format!("line {line}, column {column}: {cell:?} is no number; repair or remove the row")
            })?;
            ensure!(value.is_finite(), "line {line}, column {column}: {value}; repair or remove the row");
            values.push(value);
        }
    }
    ensure!(!values.is_empty(), "no rows of numbers; write it again, or remove it");
    let channels = u16::try_from(columns.len()).context("more than 65,535 columns")?;
    scaled(Rows { channels, values }, scale.full_scale, scale.rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale<'_> = Scale { rate: Some(100), full_scale: Some(2.0), columns: &[] };

    fn array(kind: Kind, shape: &[usize], values: &[f64]) -> Array {
        Array { kind, shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn arrays_are_scaled_and_what_is_beyond_is_counted() {
        let read = from_array(array(Kind::Float, &[4], &[1.0, -2.0, 2.5, 0.0]), SCALE).expect("read");
        assert_eq!((read.sound.samples, read.beyond), (vec![16384, -32768, 32767, 0], 1));
        let axes = from_array(array(Kind::Float, &[2, 2], &[1.0, 0.5, -1.0, 0.0]), SCALE).expect("read").sound;
        assert_eq!((axes.channels, axes.frames(), axes.rate), (2, 2, 100));
        let raw = Scale { full_scale: None, ..SCALE };
        assert_eq!(
            from_array(array(Kind::Int16, &[2], &[-32768.0, 7.0]), raw).expect("read").sound.samples,
            [-32768, 7]
        );
        let refused = |values: &[f64], scale| {
            format!("{:#}", from_array(array(Kind::Float, &[values.len()], values), scale).expect_err("refused"))
        };
        let message = refused(&[1.0, -3.7], raw);
        assert!(message.contains("up to 3.7000") && message.contains("--full-scale 5"), "{message}");
        assert!(refused(&[1.0, f64::NAN], SCALE).contains("frame 1, channel 0 is NaN"));
        assert!(refused(&[1.0], Scale { rate: None, ..SCALE }).contains("--file-rate"));
        assert!(refused(&[1.0], Scale { full_scale: Some(0.0), ..SCALE }).contains("above 0"));
        assert!(refused(&[], SCALE).contains("holds nothing"));
    }

    #[test]
    fn columns_are_chosen_by_name_or_number() {
        let table = "\"Date\",\"Temp\",x\n\"1981-01-01\",1.0,-1\n\"1981-01-02\",0.5,2\n";
        let read = |text: &str, columns: &[&str]| {
            let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
            from_csv(text.as_bytes(), Scale { columns: &columns, ..SCALE }).map(|read| read.sound)
        };
        assert_eq!(read(table, &["Temp"]).expect("read").samples, [16384, 8192]);
        assert_eq!(read(table, &["1"]).expect("read").samples, [16384, 8192]);
        let two = read(table, &["x", "Temp"]).expect("read");
        assert_eq!((two.channels, two.samples), (2, vec![-16384, 16384, 32767, 8192]));
        assert_eq!(read("1.0\n-1.0\n", &[]).expect("read").samples, [16384, -16384]);
        assert_eq!(read("\u{feff}t;v\r\n0;1e0\r\n", &["v"]).expect("read").samples, [16384]);
        let refused = |text: &str, columns: &[&str]| format!("{:#}", read(text, columns).expect_err("refused"));
        let message = refused(table, &[]);
        assert!(message.contains("0 (Date), 1 (Temp), 2 (x)") && message.contains("--column"), "{message}");
        assert!(refused(table, &["Humidity"]).contains("no column Humidity"));
        assert!(refused(table, &["0"]).contains("line 2, column 0: \"1981-01-01\" is no number"));
        assert!(refused("v\n1\nnan\n", &[]).contains("line 3, column 0: NaN"));
        assert!(refused("a,b\n1,2\n3\n", &["b"]).contains("line 3: no column 1"));
        assert!(refused("v\n", &[]).contains("no rows of numbers"));
        assert!(refused(" \n", &[]).contains("an empty file"));
    }

    #[test]
    fn a_full_scale_is_proposed() {
        assert_eq!([0.0, 0.3, 1.0, 3.7, 51.0].map(round_up), [1.0, 0.5, 1.0, 5.0, 100.0]);
    }
}
