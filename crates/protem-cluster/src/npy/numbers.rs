//! Values of other kinds than `f32`, and arrays with columns first, as rows of `f32`.

use super::header::Header;
use super::{Wrong, wrong};
use half::f16;

/// A kind of values, and the order of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    number: Number,
    big: bool,
}

/// What numpy calls `b`, `u`, `i` and `f`, with their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    B1,
    U1,
    I1,
    U2,
    I2,
    U4,
    I4,
    U8,
    I8,
    F2,
    F4,
    F8,
}

impl Kind {
    /// What a header calls its values by; nothing for values that are no real numbers, and for the
    /// extended floats, which differ between machines.
    pub fn named(descr: &str) -> Option<Self> {
        let (order, name) = descr.split_at_checked(1)?;
        let number = match name {
            "b1" => Number::B1,
            "u1" => Number::U1,
            "i1" => Number::I1,
            "u2" => Number::U2,
            "i2" => Number::I2,
            "u4" => Number::U4,
            "i4" => Number::I4,
            "u8" => Number::U8,
            "i8" => Number::I8,
            "f2" => Number::F2,
            "f4" => Number::F4,
            "f8" => Number::F8,
            _ => return None,
        };
        let kind = |big| Self { number, big };
        match order {
            "<" => Some(kind(false)),
            ">" => Some(kind(true)),
            "|" if kind(false).size() == 1 => Some(kind(false)),
            _ => None,
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self.number {
            Number::B1 | Number::U1 | Number::I1 => 1,
            Number::U2 | Number::I2 | Number::F2 => 2,
            Number::U4 | Number::I4 | Number::F4 => 4,
            Number::U8 | Number::I8 | Number::F8 => 8,
        }
    }

    /// Whether values are this machine's `f32`, byte for byte.
    pub fn is_single(self) -> bool {
        self.number == Number::F4 && self.big == cfg!(target_endian = "big")
    }
}

/// A value, and whether it had to be rounded.
type Single = (f32, bool);

fn exact(value: f32) -> Single {
    (value, false)
}

// Back from a float, the largest whole numbers stand for what is above them too.

fn unsigned(value: u64) -> Single {
    let single = value as f32;
    let above = single == 2f32.powi(64);
    (single, above || single as u64 != value)
}

fn signed(value: i64) -> Single {
    let single = value as f32;
    let above = single == 2f32.powi(63);
    (single, above || single as i64 != value)
}

fn rounded(value: f64) -> Single {
    let single = value as f32;
    (single, f64::from(single) != value && !value.is_nan())
}

/// Rows that are gathered from all columns at a time.
const GATHERED: usize = 64;

impl Header {
    /// The nearest `f32` of every one of the `values` of its file, row by row, and whether one is not
    /// equal to it.
    ///
    /// # Errors
    /// For a finite value beyond all `f32`.
    pub fn convert(&self, values: &[u8], out: &mut [f32]) -> Result<bool, Wrong> {
        match self.kind.number {
            // numpy reads any byte but 0 as true.
            Number::B1 => self.each(values, |[x]: [u8; 1]| exact(f32::from(x != 0)), out),
            Number::U1 => self.each(values, |x| exact(u8::from_le_bytes(x).into()), out),
            Number::I1 => self.each(values, |x| exact(i8::from_le_bytes(x).into()), out),
            Number::U2 => self.each(values, |x| exact(u16::from_le_bytes(x).into()), out),
            Number::I2 => self.each(values, |x| exact(i16::from_le_bytes(x).into()), out),
            Number::U4 => self.each(values, |x| rounded(u32::from_le_bytes(x).into()), out),
            Number::I4 => self.each(values, |x| rounded(i32::from_le_bytes(x).into()), out),
            Number::U8 => self.each(values, |x| unsigned(u64::from_le_bytes(x)), out),
            Number::I8 => self.each(values, |x| signed(i64::from_le_bytes(x)), out),
            Number::F2 => self.each(values, |x| exact(f16::from_le_bytes(x).into()), out),
            Number::F4 => self.each(values, |x| exact(f32::from_le_bytes(x)), out),
            Number::F8 => self.each(values, |x| rounded(f64::from_le_bytes(x)), out),
        }
    }

    /// Every value by `single`, which takes bytes of which the first is the lowest.
    fn each<const SIZE: usize>(
        &self,
        values: &[u8],
        single: impl Fn([u8; SIZE]) -> Single,
        out: &mut [f32],
    ) -> Result<bool, Wrong> {
        let (values, _) = values.as_chunks::<SIZE>();
        let value = |mut bytes: [u8; SIZE]| {
            if self.kind.big {
                bytes.reverse();
            }
            single(bytes)
        };
        let mut any = false;
        let mut put = |place: &mut f32, bytes: &[u8; SIZE]| {
            let (single, rounded) = value(*bytes);
            *place = single;
            any |= rounded;
        };
        if self.columns_first {
            // There is a column: without any, nothing is converted.
            for (block, out) in out.chunks_mut(GATHERED * self.cols).enumerate() {
                let begin = block * GATHERED;
                for column in 0..self.cols {
                    let values = values[column * self.rows + begin..].iter();
                    let places = out[column..].iter_mut().step_by(self.cols);
                    places.zip(values).for_each(|(to, bytes)| put(to, bytes));
                }
            }
        } else {
            let places = out.iter_mut().zip(values);
            places.for_each(|(place, bytes)| put(place, bytes));
        }
        // An infinite value of the file is not rounded, and is for who uses it to refuse.
        let beyond = |place: &usize| out[*place].is_infinite() && value(values[self.at(*place)]).1;
        match any.then(|| (0..out.len()).find(beyond)).flatten() {
            Some(place) => Err(wrong(format!(
                "row {} holds a value beyond 32-bit floats",
                place / self.cols
            ))),
            None => Ok(any),
        }
    }

    /// Where in the file the value of a place is.
    fn at(&self, place: usize) -> usize {
        match self.columns_first {
            true => place % self.cols * self.rows + place / self.cols,
            false => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(kind: Kind, columns_first: bool, (rows, cols): (usize, usize)) -> Header {
        Header {
            kind,
            columns_first,
            rows,
            cols,
            begin: 0,
        }
    }

    /// Values of a file of one row.
    fn row(descr: &str, bytes: &[u8]) -> Result<(Vec<f32>, bool), String> {
        let kind = Kind::named(descr).ok_or("no kind")?;
        let cols = bytes.len() / kind.size();
        let mut out = vec![0.0; cols];
        let rounded = array(kind, false, (1, cols)).convert(bytes, &mut out);
        rounded.map(|r| (out, r)).map_err(|e| e.0)
    }

    #[test]
    fn each_kind_is_read_in_both_orders() {
        macro_rules! check {
            ($($name:literal $kind:ty, $values:expr, $singles:expr, $rounded:expr;)*) => {$(
                let values: &[$kind] = &$values;
                let little: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
                let expected = Ok(($singles.to_vec(), $rounded));
                assert_eq!(row(concat!("<", $name), &little), expected);
                assert_eq!(row(concat!(">", $name), &big), expected);
            )*};
        }
        check! {
            "u1" u8, [0, 255], [0.0, 255.0], false;
            "i1" i8, [-128, 127], [-128.0, 127.0], false;
            "u2" u16, [1, 65535], [1.0, 65535.0], false;
            "i2" i16, [-32768, 258], [-32768.0, 258.0], false;
            "u4" u32, [1 << 31, 258], [2147483648.0, 258.0], false;
            "u4" u32, [16_777_217], [16777216.0], true;
            "i4" i32, [-16_777_217], [-16777216.0], true;
            "u8" u64, [u64::MAX], [18446744073709551616.0], true;
            "u8" u64, [1 << 63, 1 << 40], [9223372036854775808.0, 1099511627776.0], false;
            "i8" i64, [i64::MAX], [9223372036854775808.0], true;
            "i8" i64, [i64::MIN, 0x0102], [-9223372036854775808.0, 258.0], false;
            "i8" i64, [(1 << 53) + 1], [9007199254740992.0], true;
            "f2" f16, [f16::MAX, f16::from_bits(1), f16::NEG_INFINITY],
                [65504.0, 5.9604645e-8, f32::NEG_INFINITY], false;
            "f4" f32, [1.5e-40, -0.1], [1.5e-40, -0.1], false;
            "f8" f64, [0.1], [0.1], true;
            "f8" f64, [0.5, f64::INFINITY], [0.5, f32::INFINITY], false;
            "f8" f64, [1e-60], [0.0], true;
        }
        assert_eq!(row("|b1", &[0, 1, 7]), Ok((vec![0.0, 1.0, 1.0], false)));
        let (nan, rounded) = row("<f8", &f64::NAN.to_le_bytes()).unwrap();
        assert!(nan[0].is_nan() && !rounded);
        let error = row("<f8", &1e39f64.to_le_bytes()).unwrap_err();
        assert!(error.contains("row 0"), "{error}");
    }

    #[test]
    fn what_is_no_number_has_no_kind() {
        for descr in [
            "", "<", "|f4", "=f4", "<f16", "<c8", "<U3", "|S3", "<M8[s]", "größe",
        ] {
            assert_eq!(Kind::named(descr), None, "{descr}");
        }
    }

    #[test]
    fn columns_become_rows() {
        for (rows, cols) in [
            (1, 1),
            (1, 70),
            (70, 1),
            (63, 5),
            (64, 5),
            (65, 5),
            (200, 129),
            (0, 3),
        ] {
            let value = |row: usize, col: usize| (row * 1000 + col) as f64;
            let by_columns = (0..cols).flat_map(|col| (0..rows).map(move |row| value(row, col)));
            let bytes: Vec<u8> = by_columns.flat_map(f64::to_le_bytes).collect();
            let mut out = vec![0.0; rows * cols];
            let kind = Kind::named("<f8").unwrap();
            let header = array(kind, true, (rows, cols));
            assert!(!header.convert(&bytes, &mut out).unwrap());
            let expected =
                (0..rows).flat_map(|row| (0..cols).map(move |col| value(row, col) as f32));
            assert!(out.iter().copied().eq(expected), "{rows} × {cols}");
        }
        let values = [1.0, 2.0, 3.0, 4.0, 1e300, 6.0f64];
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let kind = Kind::named("<f8").unwrap();
        let header = array(kind, true, (3, 2));
        let error = header.convert(&bytes, &mut [0.0; 6]).unwrap_err();
        assert!(error.0.contains("row 1"), "{error:?}");
    }
}
