//! Headers of Parquet files, looked through before the reader of the format believes them.
//!
//! They are Thrift structures in the compact form. The reader passes over a field it does not know by
//! passing over what is in it, and booleans in a list it takes to need no bytes: ten bytes keep it busy
//! with 2³¹ of them, and a header has room for many such lists. Of a field it does know it does not look
//! at the type, so that what is a string by its type, with anything in it, may be read as other fields.
//! So here a header is passed over byte for byte: a list or map with booleans is refused, for the
//! format has none in what is read, and so is a field of another type than the format's. What is left
//! takes the reader time in proportion to its bytes.
//!
//! Of the schema the reader makes a tree, taking memory for as many children as a group declares, and a
//! call of a function within another for each level; and it keeps a path of all levels for each column.

use Type::{Byte, Bytes, Double, Element, Integer, Kept, List, Other, Struct};
use std::io::{self, BufRead};

/// Structures, lists and maps within one another; the format has ten.
const DEPTH: usize = 64;
/// Groups of columns within one another; a list within a list takes four.
const GROUPS: usize = 32;
/// Columns and groups of columns.
const ELEMENTS: u64 = 100_000;

/// What a field is to be.
#[derive(Clone, Copy)]
enum Type {
    /// What the reader passes over, and what lies in the field's type itself.
    Other,
    Byte,
    /// Of any width: they are written alike.
    Integer,
    Double,
    Bytes,
    List(&'static Type),
    /// Of fields that are numbered from 1 on.
    Struct(&'static [Type]),
    /// A column or a group of columns, before its children.
    Element,
    /// An integer that is needed here; the last one if it is there again.
    Kept(usize),
}

/// The header of a page. What is kept is its size once it is decompressed, and as it is, and how many
/// values a dictionary has.
const PAGE: &[Type] = &[
    Integer,
    Kept(0),
    Kept(1),
    Integer,
    Struct(&[Integer; 4]),
    Struct(&[]),
    Struct(&[Kept(2), Integer]),
    Struct(&[Integer; 6]),
];

/// The metadata of a file.
const FILE: &[Type] = &[
    Integer,
    List(&Element),
    Integer,
    List(&Struct(ROW_GROUP)),
    List(&KEY_VALUE),
    Bytes,
    List(&Struct(&[Struct(&[]); 3])),
];
const SCHEMA_ELEMENT: &[Type] = &[
    Integer,
    Integer,
    Integer,
    Bytes,
    // Children.
    Kept(0),
    Integer,
    Integer,
    Integer,
    Integer,
    Struct(LOGICAL_TYPE),
];
const LOGICAL_TYPE: &[Type] = &[
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[Integer; 2]),
    Struct(&[]),
    TIME,
    TIME,
    Other,
    Struct(&[Byte]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[]),
    Struct(&[Byte]),
    Struct(&[Bytes]),
    Struct(&[Bytes, Integer]),
    Struct(&[]),
];
/// Whether it is of one zone, and its unit.
const TIME: Type = Struct(&[Other, Struct(&[Struct(&[]); 3])]);
const KEY_VALUE: Type = Struct(&[Bytes; 2]);
const ROW_GROUP: &[Type] = &[
    List(&Struct(COLUMN)),
    Integer,
    Integer,
    List(&Struct(&[Integer])),
    Integer,
    Other,
    Integer,
];
const COLUMN: &[Type] = &[
    Bytes,
    Integer,
    Struct(COLUMN_METADATA),
    Integer,
    Integer,
    Integer,
    Integer,
];
const COLUMN_METADATA: &[Type] = &[
    Integer,
    List(&Integer),
    Other,
    Integer,
    Integer,
    Integer,
    Integer,
    Other,
    Integer,
    Integer,
    Integer,
    // Statistics.
    Struct(&[
        Bytes, Bytes, Integer, Integer, Bytes, Bytes, Other, Other, Integer,
    ]),
    // Numbers of pages in an encoding.
    List(&Struct(&[Integer; 3])),
    Integer,
    Integer,
    // Sizes, by level too.
    Struct(&[Integer, List(&Integer), List(&Integer)]),
    // Places on the earth.
    Struct(&[Struct(&[Double; 8]), List(&Integer)]),
];

/// What the header of a page tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageSizes {
    /// Its bytes once it is decompressed.
    pub(super) whole: u64,
    /// Its bytes as it is.
    pub(super) held: u64,
    /// The values of a dictionary; 0 of other pages.
    pub(super) values: u64,
}

/// Looks through the header of a page that begins here.
///
/// # Errors
/// One without them, one that the reader must not be given, or that ends early; [`io::Error`] of reading.
pub(super) fn check_page(header: impl BufRead) -> io::Result<PageSizes> {
    let mut walk = Walk::new(header);
    walk.fields(PAGE, DEPTH)?;
    match walk.kept {
        [Some(whole), Some(held), values] => Ok(PageSizes {
            whole,
            held,
            values: values.unwrap_or(0),
        }),
        _ => Err(refused("a page's header without its sizes")),
    }
}

/// Looks through the metadata of a file.
///
/// # Errors
/// As of [`check_page`].
pub(super) fn check_file(metadata: &[u8]) -> io::Result<()> {
    Walk::new(metadata).fields(FILE, DEPTH)
}

fn refused(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn ended() -> io::Error {
    refused("a header that ends within a field")
}

/// Passes over Thrift in its compact form.
struct Walk<R> {
    bytes: R,
    kept: [Option<u64>; 3],
    schema: Schema,
}

/// Where in the tree of a schema the next element stands.
#[derive(Default)]
struct Schema {
    /// Elements that are still to come.
    left: u64,
    /// Of the groups that the next element is within, children that are still to come.
    groups: Vec<u64>,
}

impl Schema {
    fn begin(elements: u64) -> io::Result<Self> {
        if elements > ELEMENTS {
            return Err(refused(format!(
                "a schema of {elements} columns and groups, the limit is {ELEMENTS}"
            )));
        }
        Ok(Self {
            left: elements,
            ..Self::default()
        })
    }

    /// An element was passed over.
    fn end_of_element(&mut self, children: u64) -> io::Result<()> {
        self.left = self.left.saturating_sub(1);
        while self.groups.last() == Some(&0) {
            self.groups.pop();
        }
        if let Some(left) = self.groups.last_mut() {
            *left -= 1;
        }
        if children > self.left {
            let left = self.left;
            return Err(refused(format!(
                "a schema with a group of {children} where {left} columns and groups follow"
            )));
        }
        if children > 0 {
            self.groups.push(children);
        }
        if self.groups.len() > GROUPS {
            return Err(refused(format!("a schema of more than {GROUPS} levels")));
        }
        Ok(())
    }
}

/// Types as they are numbered in a file.
mod code {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BYTES: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl Type {
    fn is(self, written: u8) -> bool {
        match self {
            Other => true,
            Byte => written == code::BYTE,
            Integer | Kept(_) => (code::I16..=code::I64).contains(&written),
            Double => written == code::DOUBLE,
            Bytes => written == code::BYTES,
            List(_) => written == code::LIST,
            Struct(_) | Element => written == code::STRUCT,
        }
    }
}

impl<R: BufRead> Walk<R> {
    fn new(bytes: R) -> Self {
        Self {
            bytes,
            kept: [None; 3],
            schema: Schema::default(),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = *self.bytes.fill_buf()?.first().ok_or_else(ended)?;
        self.bytes.consume(1);
        Ok(byte)
    }

    fn pass(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let there = self.bytes.fill_buf()?.len();
            if there == 0 {
                return Err(ended());
            }
            let passed = there.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.bytes.consume(passed);
            count -= passed as u64;
        }
        Ok(())
    }

    /// A number of seven bits a byte.
    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(refused("a header with a number of more than 64 bits"))
    }

    /// The fields of a structure.
    fn fields(&mut self, known: &[Type], depth: usize) -> io::Result<()> {
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let (step, written) = (head >> 4, head & 15);
            if written == 0 {
                return Ok(());
            }
            let next = if step > 0 {
                id.checked_add(i16::from(step))
            } else {
                let coded = self.number()?;
                let magnitude = i16::try_from(coded >> 1).ok();
                magnitude.map(|m| if coded & 1 == 0 { m } else { !m })
            };
            id = next.ok_or_else(|| refused("a header with a field numbered beyond 32767"))?;
            let place = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
            let known = place.and_then(|place| known.get(place)).copied();
            let known = known.unwrap_or(Other);
            if !known.is(written) {
                return Err(refused(format!(
                    "a header with a field {id} of type {written}, which the format has of another"
                )));
            }
            self.value(known, written, depth)?;
        }
    }

    /// What a field or an element holds.
    fn value(&mut self, known: Type, written: u8, depth: usize) -> io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(refused(format!("a header of more than {DEPTH} levels")));
        };
        match written {
            // That of a field lies in its type.
            code::TRUE | code::FALSE => Ok(()),
            code::BYTE => self.pass(1),
            code::I16..=code::I64 => {
                let number = self.number()?;
                if let Kept(place) = known {
                    // Even ones are not negative.
                    let value = if number % 2 == 0 {
                        number / 2
                    } else {
                        u64::MAX
                    };
                    self.kept[place] = Some(value);
                }
                Ok(())
            }
            code::DOUBLE => self.pass(8),
            code::BYTES => {
                let length = self.number()?;
                self.pass(length)
            }
            code::LIST | code::SET => self.list(known, depth),
            code::MAP => self.map(depth),
            code::STRUCT => match known {
                Struct(known) => self.fields(known, depth),
                Element => {
                    self.fields(SCHEMA_ELEMENT, depth)?;
                    let children = self.kept[0].take().unwrap_or(0);
                    self.schema.end_of_element(children)
                }
                _ => self.fields(&[], depth),
            },
            code::UUID => self.pass(16),
            _ => Err(refused(format!("a header with a value of type {written}"))),
        }
    }

    fn list(&mut self, known: Type, depth: usize) -> io::Result<()> {
        let head = self.byte()?;
        let (count, written) = (head >> 4, head & 15);
        let count = match count {
            15 => self.number()?,
            count => u64::from(count),
        };
        let known = match known {
            List(element) if element.is(written) => *element,
            // The reader refuses elements of another type, and some writers give an empty list none.
            _ => Other,
        };
        if count > 0 {
            no_booleans(written)?;
        }
        if let Element = known {
            self.schema = Schema::begin(count)?;
        }
        for _ in 0..count {
            self.value(known, written, depth)?;
        }
        Ok(())
    }

    fn map(&mut self, depth: usize) -> io::Result<()> {
        let count = self.number()?;
        if count == 0 {
            return Ok(());
        }
        let written = self.byte()?;
        let (key, value) = (written >> 4, written & 15);
        no_booleans(key)?;
        no_booleans(value)?;
        for _ in 0..count {
            self.value(Other, key, depth)?;
            self.value(Other, value, depth)?;
        }
        Ok(())
    }
}

/// Refuses booleans as elements.
fn no_booleans(written: u8) -> io::Result<()> {
    match written {
        code::TRUE | code::FALSE => Err(refused(
            "a header with a list of booleans, which the format has none of",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of 300 bytes that become 1000, 7 values, and what `more` is behind them.
    fn page(more: &[u8]) -> Vec<u8> {
        let known = [0x15, 0, 0x15, 0xd0, 0x0f, 0x15, 0xd8, 4, 0x2c];
        let data = [0x15, 14, 0x15, 0, 0x15, 6, 0x15, 6];
        [&known[..], &data, more, &[0, 0]].concat()
    }

    fn of(whole: u64, held: u64) -> PageSizes {
        PageSizes {
            whole,
            held,
            values: 0,
        }
    }

    fn refusal(header: &[u8]) -> String {
        let error = check_page(header).expect_err("it is refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        error.to_string()
    }

    #[test]
    fn unknown_fields_are_passed_over_and_no_byte_behind_them_is_read() {
        let fields: [&[u8]; 13] = [
            &[],
            &[0x51],                            // true
            &[0x53, 9],                         // a byte
            &[0x54, 0x80, 1],                   // 16 bits
            &[0x57, 1, 2, 3, 4, 5, 6, 7, 8],    // a double
            &[0x58, 3, 0xf1, 0xff, 0xff],       // bytes
            &[0x59, 0],                         // an empty list
            &[0x59, 0x38, 1, 7, 0, 2, 7, 7],    // a list of bytes
            &[0x5a, 0xf5, 2, 0x80, 1, 4],       // a set of integers
            &[0x5b, 0],                         // an empty map
            &[0x5b, 2, 0x3c, 1, 0x11, 0, 2, 0], // a map from a byte to structures
            &[0x5c, 0x16, 2, 0],                // a structure
            &[
                0x0d, 0xc8, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
            ], // number 100
        ];
        for field in fields {
            let header = page(field);
            let mut bytes = &[&header[..], &[0xff; 3]].concat()[..];
            let sizes = check_page(&mut bytes).unwrap_or_else(|e| panic!("{field:?}: {e}"));
            assert_eq!(sizes, of(1000, 300), "{field:?}");
            assert_eq!(bytes, [0xff; 3], "{field:?}");
            for cut in 0..header.len() {
                let error = refusal(&header[..cut]);
                assert!(
                    error.contains("ends within"),
                    "{field:?} cut at {cut}: {error}"
                );
            }
        }
    }

    #[test]
    fn sizes_are_there_and_not_below_zero() {
        let bomb = [0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 60, 0];
        assert_eq!(check_page(&bomb[..]).unwrap(), of(2_147_483_647, 30));
        let negative = [0x15, 0, 0x15, 1, 0x15, 60, 0];
        assert_eq!(check_page(&negative[..]).unwrap(), of(u64::MAX, 30));
        // Of a dictionary.
        let dictionary = [0x15, 4, 0x15, 16, 0x15, 16, 0x4c, 0x15, 6, 0x15, 0, 0, 0];
        let values = check_page(&dictionary[..]).unwrap().values;
        assert_eq!(values, 3);
        assert!(refusal(&[0x15, 0, 0x15, 60, 0]).contains("without its sizes"));
        assert!(refusal(&[0x15, 0, 0x25, 60, 0]).contains("without its sizes"));
        let endless = [&[0x15, 0, 0x15][..], &[0xff; 12], &[0x15, 60, 0]].concat();
        assert!(refusal(&endless).contains("64 bits"));
    }

    #[test]
    fn booleans_in_a_row_are_refused_wherever_they_are() {
        let lists: [&[u8]; 6] = [
            &[0x59, 0xf1, 0xff, 0xff, 0xff, 0xff, 7],
            &[0x59, 0xf2, 0xff, 0xff, 0xff, 0xff, 7],
            &[0x5a, 0x11],
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 7, 0x11],
            &[0x5b, 1, 0x32, 5],
            // In a list of lists, behind an empty one.
            &[0x59, 0x29, 0x01, 0xf1, 0xff, 0xff, 0xff, 0xff, 7],
        ];
        for list in lists {
            assert!(refusal(&page(list)).contains("booleans"), "{list:?}");
        }
        // Told to be a string, the number of values would be read as one byte, and the list found.
        let hidden = [0x18, 7, 0x59, 0xf1, 0xff, 0xff, 0xff, 0xff, 7];
        let error = refusal(&[&[0x15, 0, 0x15, 2, 0x15, 2, 0x2c][..], &hidden, &[0, 0]].concat());
        assert!(error.contains("field 1 of type 8"), "{error}");
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let deep = [&[0x59][..], &[0x19; 200]].concat();
        assert!(refusal(&page(&deep)).contains("levels"));
        let structures = [0x5c; 200];
        assert!(refusal(&page(&structures)).contains("levels"));
        let number = [&[0x56][..], &[0xff; 10]].concat();
        assert!(refusal(&page(&number)).contains("64 bits"));
        // The first field is number 5, each of those behind it 15 more.
        assert!(refusal(&page(&[0xf1; 3000])).contains("beyond 32767"));
        assert!(refusal(&page(&[0x5e])).contains("type 14"));
        assert!(refusal(&page(&[0x59, 0x1f])).contains("type 15"));
    }

    /// The metadata of a file of version 1 with a schema of these elements.
    fn file(elements: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        let mut count = elements.len();
        while count > 127 {
            bytes.push(count as u8 | 0x80);
            count >>= 7;
        }
        bytes.push(count as u8);
        for element in elements {
            bytes.extend([element, &[0][..]].concat());
        }
        bytes.extend([0x16, 2, 0x19, 0x0c, 0]);
        bytes
    }

    /// Fields 4 and 5 of an element: a name and a number of children.
    fn group(children: u8) -> [u8; 5] {
        [0x48, 1, b'a', 0x15, 2 * children]
    }

    const LEAF: &[u8] = &[0x15, 2, 0x38, 1, b'a'];

    #[test]
    fn a_schema_is_a_tree_of_few_levels() {
        let tree = [&group(3)[..], LEAF, &group(1), LEAF, &group(2), LEAF, LEAF];
        check_file(&file(&tree)).unwrap();
        // A chain of groups, with a leaf at its end, beside another.
        let chain = |levels: usize| {
            let one = group(1);
            let mut elements = vec![&one[..]; levels];
            elements.push(LEAF);
            file(&elements)
        };
        check_file(&chain(GROUPS)).unwrap();
        let refusal = |file: Vec<u8>| check_file(&file).unwrap_err().to_string();
        assert!(refusal(chain(GROUPS + 1)).contains("more than 32 levels"));
        assert!(refusal(file(&[&group(2), LEAF])).contains("a group of 2 where 1"));
        assert!(refusal(file(&[&[0x55, 3], LEAF])).contains("a group of 18446744073709551615"));
        let many = vec![LEAF; 100_001];
        assert!(refusal(file(&many)).contains("the limit is 100000"));
    }

    #[test]
    fn a_variant_without_fields_is_a_structure() {
        // The last of the logical types, as it is and told to be true, which takes no byte.
        for (variant, sound) in [(0x0c, true), (0x01, false)] {
            let logical: &[u8] = &[LEAF, &[0x6c, variant, 38, 0, 0]].concat();
            let told = check_file(&file(&[&group(1), logical]));
            assert_eq!(told.is_ok(), sound, "{told:?}");
        }
    }
}
