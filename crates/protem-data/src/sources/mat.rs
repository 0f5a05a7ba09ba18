//! MATLAB's files of level 5 (MathWorks, "MAT-File Format"), as far as a table is one: an array of
//! structs whose fields are numbers and words.

use flate2::read::ZlibDecoder;
use std::io::Read;

/// Text and version before the first element.
const HEADER: usize = 128;
/// Bytes that the compressed variables of a file may become.
const LARGEST: u64 = 16 << 20;
/// Rows of a table, and fields of a row.
const MOST_ROWS: u64 = 100_000;
const MOST_FIELDS: usize = 1000;

/// Kinds of elements (`miUINT32` and so on).
const INT8: u32 = 1;
const UINT8: u32 = 2;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
const UTF16: u32 = 17;

/// Classes of arrays (`mxSTRUCT_CLASS` and so on).
const STRUCT: u32 = 2;
const CHAR: u32 = 4;
const NUMBERS: std::ops::RangeInclusive<u32> = 6..=15;

/// A field of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Text(String),
    /// What is neither: nothing, several numbers, lines of text, structs, cells.
    Other,
}

/// The fields `fields` of all structs of the array that is called `name`, in their order.
///
/// # Errors
/// In words: a file of another level, one that is damaged or larger than such tables are, no such array,
/// or one without such fields.
pub(super) fn table<const N: usize>(
    file: &[u8],
    name: &str,
    fields: [&str; N],
) -> Result<Vec<[Value; N]>, String> {
    let mut elements = Elements {
        order: Order::of(file)?,
        bytes: &file[HEADER..],
    };
    let mut left = LARGEST;
    while let Some(element) = elements.next()? {
        let (bytes, mut inside);
        let element = if element.kind == COMPRESSED {
            bytes = inflated(element.bytes, &mut left)?;
            inside = Elements {
                bytes: &bytes,
                ..elements
            };
            inside.must()?
        } else {
            element
        };
        if element.kind == MATRIX
            && let Some(array) = Array::of(element.bytes, elements.order)?
            && array.name == name.as_bytes()
        {
            return array.rows(fields);
        }
    }
    Err(format!("it holds nothing called {name}"))
}

fn inflated(bytes: &[u8], left: &mut u64) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = ZlibDecoder::new(bytes)
        .take(*left + 1)
        .read_to_end(&mut out);
    let size = read.map_err(|e| format!("a variable cannot be decompressed: {e}"))? as u64;
    *left = left
        .checked_sub(size)
        .ok_or_else(|| format!("its variables have more than {LARGEST} bytes"))?;
    Ok(out)
}

/// The order of a number's bytes.
#[derive(Debug, Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    /// By the header's last bytes, the letters `MI` as a number.
    fn of(file: &[u8]) -> Result<Self, String> {
        match file.get(HEADER - 4..HEADER) {
            Some([_, 1, b'I', b'M']) => Ok(Self::Little),
            Some([1, _, b'M', b'I']) => Ok(Self::Big),
            _ => Err("it is no MATLAB file of level 5 (as save -v6 and -v7 write them)".into()),
        }
    }

    /// A number's bytes, the lowest first.
    fn little<const S: usize>(self, mut bytes: [u8; S]) -> [u8; S] {
        if let Self::Big = self {
            bytes.reverse();
        }
        bytes
    }

    /// The only number of an element of this kind.
    fn number(self, kind: u32, bytes: &[u8]) -> Option<f64> {
        macro_rules! one {
            ($number:ty) => {
                <$number>::from_le_bytes(self.little(bytes.try_into().ok()?)) as f64
            };
        }
        Some(match kind {
            INT8 => one!(i8),
            UINT8 => one!(u8),
            3 => one!(i16),
            UINT16 => one!(u16),
            INT32 => one!(i32),
            UINT32 => one!(u32),
            7 => one!(f32),
            9 => one!(f64),
            12 => one!(i64),
            13 => one!(u64),
            _ => return None,
        })
    }
}

/// A piece of a file, with what it is of.
#[derive(Debug, Clone, Copy)]
struct Element<'a> {
    kind: u32,
    bytes: &'a [u8],
}

/// Elements one behind another.
#[derive(Debug, Clone, Copy)]
struct Elements<'a> {
    bytes: &'a [u8],
    order: Order,
}

impl<'a> Elements<'a> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.bytes.split_first_chunk::<4>()?;
        self.bytes = rest;
        Some(u32::from_le_bytes(self.order.little(*word)))
    }

    fn take(&mut self, len: u32, room: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(..len as usize)?;
        // What fills the last element may be missing.
        self.bytes = self.bytes.get(room..).unwrap_or_default();
        Some(bytes)
    }

    /// The next one; none at the end.
    fn next(&mut self) -> Result<Option<Element<'a>>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let element = self.whole().ok_or("an element of it is cut")?;
        Ok(Some(element))
    }

    fn whole(&mut self) -> Option<Element<'a>> {
        let word = self.word()?;
        // Up to four bytes lie in the tag itself.
        let (kind, small) = (word & 0xffff, word >> 16);
        let bytes = if small > 0 {
            (small <= 4).then(|| self.take(small, 4))??
        } else {
            let len = self.word()?;
            let filled = match kind {
                COMPRESSED => len as usize,
                _ => (len as usize).next_multiple_of(8),
            };
            self.take(len, filled)?
        };
        Some(Element { kind, bytes })
    }

    /// The next one, which must be there.
    fn must(&mut self) -> Result<Element<'a>, String> {
        let next = self.next()?;
        next.ok_or_else(|| "an array of it is cut".into())
    }

    /// The bytes of the next one, which must be of that kind.
    fn of_kind(&mut self, kind: u32) -> Result<&'a [u8], String> {
        let element = self.must()?;
        if element.kind != kind {
            let found = element.kind;
            return Err(format!("an element of kind {found} where one of {kind} is"));
        }
        Ok(element.bytes)
    }
}

/// An array, with its values still to be read.
struct Array<'a> {
    class: u32,
    sides: Vec<u32>,
    name: &'a [u8],
    values: Elements<'a>,
}

impl<'a> Array<'a> {
    /// None of an array without anything, which may have no bytes at all.
    fn of(bytes: &'a [u8], order: Order) -> Result<Option<Self>, String> {
        let mut values = Elements { bytes, order };
        if bytes.is_empty() {
            return Ok(None);
        }
        let numbers = |bytes: &[u8]| -> Vec<u32> {
            let (words, _) = bytes.as_chunks::<4>();
            words
                .iter()
                .map(|w| u32::from_le_bytes(order.little(*w)))
                .collect()
        };
        let flags = numbers(values.of_kind(UINT32)?);
        let class = flags.first().ok_or("an array has no class")? & 0xff;
        let sides = numbers(values.of_kind(INT32)?);
        let name = values.of_kind(INT8)?;
        Ok(Some(Self {
            class,
            sides,
            name,
            values,
        }))
    }

    fn count(&self) -> u64 {
        let sides = self.sides.iter().map(|side| u64::from(*side));
        sides.fold(1, u64::saturating_mul)
    }

    fn rows<const N: usize>(mut self, fields: [&str; N]) -> Result<Vec<[Value; N]>, String> {
        let name = self.name.escape_ascii();
        if self.class != STRUCT {
            return Err(format!("{name} is no array of structs"));
        }
        let count = self.count();
        if count > MOST_ROWS {
            return Err(format!("{name} has {count} rows, and {MOST_ROWS} may be"));
        }
        let order = self.values.order;
        let length = order.number(INT32, self.values.of_kind(INT32)?);
        let length = length.filter(|l| *l >= 1.0);
        let length = length.ok_or("names of fields have no length")? as usize;
        let names = self.values.of_kind(INT8)?.chunks(length);
        if names.len() > MOST_FIELDS {
            let count = names.len();
            return Err(format!(
                "{name} has {count} fields, and {MOST_FIELDS} may be"
            ));
        }
        let names: Vec<&[u8]> = names
            .map(|n| n.split(|b| *b == 0).next().unwrap_or(n))
            .collect();
        let mut places = [0; N];
        for (place, field) in places.iter_mut().zip(fields) {
            let found = names.iter().position(|name| *name == field.as_bytes());
            *place = found.ok_or_else(|| format!("{name} has no field {field}"))?;
        }
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut row = [const { Value::Other }; N];
            for at in 0..names.len() {
                let bytes = self.values.of_kind(MATRIX)?;
                if let Some(i) = places.iter().position(|place| *place == at) {
                    row[i] = Value::of(bytes, order)?;
                }
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Value {
    fn of(bytes: &[u8], order: Order) -> Result<Self, String> {
        let Some(mut array) = Array::of(bytes, order)? else {
            return Ok(Self::Other);
        };
        if array.class == CHAR && array.sides.first() == Some(&1) {
            let Element { kind, bytes } = array.values.must()?;
            let text = text(kind, bytes, order);
            return Ok(text.map_or(Self::Other, Self::Text));
        }
        if NUMBERS.contains(&array.class) && array.count() == 1 {
            let Element { kind, bytes } = array.values.must()?;
            let number = order.number(kind, bytes);
            return Ok(number.map_or(Self::Other, Self::Number));
        }
        Ok(Self::Other)
    }
}

fn text(kind: u32, bytes: &[u8], order: Order) -> Option<String> {
    match kind {
        UINT16 | UTF16 => {
            let (units, _) = bytes.as_chunks::<2>();
            let units = units.iter().map(|u| u16::from_le_bytes(order.little(*u)));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        INT8 | UINT8 | UTF8 => String::from_utf8(bytes.to_vec()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = include_bytes!("../../tests/fixtures/devkit/plain.mat");
    const COMPRESSED: &[u8] = include_bytes!("../../tests/fixtures/devkit/compressed.mat");
    const BIG_ENDIAN: &[u8] = include_bytes!("../../tests/fixtures/devkit/big-endian.mat");

    fn synsets(file: &[u8]) -> Result<Vec<[Value; 3]>, String> {
        table(file, "synsets", ["ILSVRC2012_ID", "WNID", "num_children"])
    }

    /// As scipy reads them (`tests/fixtures/devkit.py` prints that).
    #[test]
    fn a_table_has_the_values_that_scipy_reads() {
        let expected = [
            (1.0, "n00000004", 0.0),
            (2.0, "n00000003", 0.0),
            (3.0, "n00000002", 0.0),
            (4.0, "n00000001", 0.0),
            (5.0, "n00000005", 2.0),
            (6.0, "n00000006", 3.0),
        ];
        let expected = expected.map(|(number, wnid, children)| {
            [
                Value::Number(number),
                Value::Text(wnid.into()),
                Value::Number(children),
            ]
        });
        for file in [PLAIN, COMPRESSED, BIG_ENDIAN] {
            assert_eq!(synsets(file).unwrap(), expected);
            let [words, children] = &table(file, "synsets", ["words", "children"]).unwrap()[1];
            assert_eq!(*words, Value::Text("word 2, déjà 2".into()));
            assert_eq!(*children, Value::Other);
        }
    }

    #[test]
    fn what_is_no_such_table_is_refused_in_words() {
        let refused = |file: &[u8], name, field| table(file, name, [field]).unwrap_err();
        for (name, field, word) in [
            ("synset", "WNID", "nothing called synset"),
            ("version", "WNID", "no array of structs"),
            ("synsets", "wnid", "no field wnid"),
        ] {
            let error = refused(COMPRESSED, name, field);
            assert!(error.contains(word), "{error}");
        }
        // Of level 7.3, which is HDF5.
        let mut newer = PLAIN.to_vec();
        newer[125] = 2;
        for file in [&newer, &PLAIN[..127], b""] {
            assert!(refused(file, "synsets", "WNID").contains("level 5"));
        }
        assert!(refused(&PLAIN[..PLAIN.len() / 2], "synsets", "WNID").contains("cut"));
        let cut = &COMPRESSED[..COMPRESSED.len() - 20];
        assert!(refused(cut, "synsets", "WNID").contains("cut"));
    }

    /// Variables of zeros, of which a small file could have gigabytes.
    #[test]
    fn what_variables_become_is_bounded() {
        let mut zeros = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(9 << 20), &mut zeros).unwrap();
        let zeros = zeros.finish().unwrap();
        let mut file = PLAIN[..HEADER].to_vec();
        for _ in 0..2 {
            file.extend(super::COMPRESSED.to_le_bytes());
            file.extend((zeros.len() as u32).to_le_bytes());
            file.extend(&zeros);
        }
        let error = synsets(&file).unwrap_err();
        assert!(error.contains("16777216 bytes"), "{error}");
    }

    /// Fixed pseudo-random changes, of what is compressed before it is.
    #[test]
    fn damaged_tables_are_refused_or_read() {
        let mut random = 1u64;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005);
            random = random.wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % bound
        };
        let mut read = 0;
        for round in 0..20_000 {
            let mut file = [PLAIN, COMPRESSED, BIG_ENDIAN][round % 3].to_vec();
            for _ in 0..1 + below(4) {
                let (at, bit) = (below(file.len()), below(8));
                match below(2) {
                    0 => file[at] = below(256) as u8,
                    _ => file[at] ^= 1 << bit,
                }
            }
            if below(8) == 0 {
                file.truncate(below(file.len() + 1));
            }
            read += usize::from(synsets(&file).is_ok());
        }
        assert!((1000..19_000).contains(&read), "{read} were read");
    }
}
