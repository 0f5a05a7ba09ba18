//! Codes that stand for nothing, put right as libjpeg reads them.
//!
//! Where bits begin no code of a Huffman table, libjpeg (jdhuff.c, `jpeg_huff_decode`) takes 17 of
//! them for symbol 0 and goes on: no difference of a DC coefficient, or the end of a block. The
//! decoder here leaves out the block and the prediction of the next ones. So it gets the file with
//! the code of symbol 0 in the place of those bits.

/// Bits in which libjpeg looks for a code, of which the longest has one less.
const SOUGHT: usize = 17;

/// The file with codes of symbol 0 where bits stand for nothing. None if there are no such bits, if a
/// table has no such code, and for files that are not of Huffman-coded sequential scans or whose
/// markers cannot be followed.
pub(super) fn mended(jpeg: &[u8]) -> Option<Vec<u8>> {
    let mut mended = jpeg.get(..2)?.to_vec();
    let mut found = false;
    let (mut dc, mut ac) = Default::default();
    let (mut frame, mut restart) = (None, 0);
    let mut at = 2;
    loop {
        // Between segments there may be bytes that belong to none.
        let marker = *jpeg.get(at + 1)?;
        if jpeg[at] != 0xff || matches!(marker, 0 | 0xff) {
            mended.push(jpeg[at]);
            at += 1;
            continue;
        }
        if marker == 0xd9 {
            mended.extend_from_slice(&jpeg[at..]);
            return found.then_some(mended);
        }
        let len = usize::from(word(jpeg, at + 2)?);
        let segment = jpeg.get(at..at + 2 + len)?;
        let content = segment.get(4..)?;
        mended.extend_from_slice(segment);
        at += segment.len();
        match marker {
            0xc0 | 0xc1 => frame = Some(Frame::of(content)?),
            0xc4 => define(content, &mut dc, &mut ac)?,
            // Other frames: progressive, lossless, of arithmetic codes.
            0xc2..=0xcf => return None,
            0xdd => restart = word(content, 0)?.into(),
            0xda => {
                let scan = frame.as_ref()?.scan(content, &dc, &ac)?;
                let (end, changed) = scan.mend(jpeg, at, restart, &mut mended)?;
                (at, found) = (end, found | changed);
            }
            _ => {}
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A Huffman table, of codes of 1 to 16 bits.
struct Table {
    /// First code of each length, how many there are, and where their symbols begin.
    lengths: [(usize, usize, usize); SOUGHT - 1],
    symbols: Vec<u8>,
}

/// Those of a kind by their numbers.
type Tables = [Option<Table>; 4];

/// Takes up the tables of a segment.
fn define(mut content: &[u8], dc: &mut Tables, ac: &mut Tables) -> Option<()> {
    while let Some((name, rest)) = content.split_first() {
        let (counts, rest) = rest.split_first_chunk::<{ SOUGHT - 1 }>()?;
        let (mut code, mut begin) = (0, 0);
        let lengths = counts.map(|count| {
            let length = (code, usize::from(count), begin);
            code = (code + length.1) << 1;
            begin += length.1;
            length
        });
        let (symbols, rest) = rest.split_at_checked(begin)?;
        let tables = if name >> 4 == 0 { &mut *dc } else { &mut *ac };
        *tables.get_mut(usize::from(name & 15))? = Some(Table {
            lengths,
            symbols: symbols.to_vec(),
        });
        content = rest;
    }
    Some(())
}

impl Table {
    /// The next symbol, for which bits that stand for nothing are noted; none where the data end.
    fn symbol(&self, bits: &mut Bits<'_>, wrong: &mut Vec<Wrong>) -> Option<u8> {
        let begin = bits.at;
        let mut code = 0;
        for (first, count, symbols) in &self.lengths {
            code = code << 1 | usize::from(bits.next()?);
            if (*first..first + count).contains(&code) {
                return Some(self.symbols[symbols + code - first]);
            }
        }
        bits.next()?;
        wrong.push(Wrong {
            at: begin,
            zero: self.zero()?,
        });
        Some(0)
    }

    /// The code of symbol 0, and its length.
    fn zero(&self) -> Option<(usize, usize)> {
        let at = self.symbols.iter().position(|symbol| *symbol == 0)?;
        let mut lengths = self.lengths.iter().zip(1..);
        lengths.find_map(|((first, count, symbols), length)| {
            let within = at.checked_sub(*symbols).filter(|within| within < count)?;
            Some((first + within, length))
        })
    }
}

/// What a frame says of its components.
struct Frame {
    width: usize,
    height: usize,
    /// Name, and blocks of a unit across and down.
    components: Vec<(u8, usize, usize)>,
}

impl Frame {
    fn of(content: &[u8]) -> Option<Self> {
        let (height, width) = (word(content, 1)?.into(), word(content, 3)?.into());
        let (components, _) = content.get(6..)?.as_chunks::<3>();
        let components = components.iter().map(|[name, blocks, _]| {
            let (across, down) = (usize::from(blocks >> 4), usize::from(blocks & 15));
            (*name, across, down)
        });
        Some(Self {
            width,
            height,
            components: components.collect(),
        })
    }

    /// A scan of some of the components.
    fn scan<'t>(&self, content: &[u8], dc: &'t Tables, ac: &'t Tables) -> Option<Scan<'t>> {
        let (count, content) = content.split_first()?;
        let (chosen, _) = content.as_chunks::<2>();
        let chosen = chosen.get(..usize::from(*count))?;
        let mut blocks = Vec::new();
        // Of one component, blocks are coded one by one, and those that hold none of it are left out.
        let (mut across, mut down) = (1, 1);
        for [name, tables] in chosen {
            let of_name = |(component, ..): &&(u8, usize, usize)| component == name;
            let (_, h, v) = *self.components.iter().find(of_name)?;
            let dc = dc.get(usize::from(tables >> 4))?.as_ref()?;
            let ac = ac.get(usize::from(tables & 15))?.as_ref()?;
            let alone = chosen.len() == 1;
            let each = if alone { 1 } else { h * v };
            blocks.extend(std::iter::repeat_n((dc, ac), each));
            if alone {
                (across, down) = (h, v);
            }
        }
        let most = |of: fn(&(u8, usize, usize)) -> usize| self.components.iter().map(of).max();
        let (most_across, most_down) = (most(|c| c.1)?, most(|c| c.2)?);
        let units = |side: usize, part: usize, most: usize| match chosen.len() {
            1 => (side * part).div_ceil(most.max(1)).div_ceil(8),
            _ => side.div_ceil(8 * most.max(1)),
        };
        Some(Scan {
            blocks,
            units: units(self.width, across, most_across) * units(self.height, down, most_down),
        })
    }
}

/// A scan, unit by unit.
struct Scan<'t> {
    /// The tables of a unit's blocks.
    blocks: Vec<(&'t Table, &'t Table)>,
    units: usize,
}

impl Scan<'_> {
    /// Appends the scan's data, which begin at `at`, with codes of symbol 0 where none are; where the
    /// data end, and whether anything is changed.
    fn mend(
        &self,
        jpeg: &[u8],
        mut at: usize,
        restart: usize,
        mended: &mut Vec<u8>,
    ) -> Option<(usize, bool)> {
        let mut left = self.units;
        let mut found = false;
        for number in (0..8).cycle() {
            let (data, end) = stretch(jpeg, at)?;
            let units = if restart == 0 {
                left
            } else {
                left.min(restart)
            };
            left -= units;
            let wrong = self.wrong(&data, units);
            found |= !wrong.is_empty();
            match wrong.is_empty() {
                true => mended.extend_from_slice(&jpeg[at..end]),
                false => put_right(&data, &wrong, mended),
            }
            let marker = jpeg[end + 1];
            if left == 0 || !(0xd0..=0xd7).contains(&marker) {
                return Some((end, found));
            }
            // Another one is missing before this.
            if marker != 0xd0 + number {
                return None;
            }
            mended.extend_from_slice(&jpeg[end..end + 2]);
            at = end + 2;
        }
        None
    }

    /// The bits of so many units that stand for nothing, up to where the data end.
    fn wrong(&self, data: &[u8], units: usize) -> Vec<Wrong> {
        let mut bits = Bits { data, at: 0 };
        let mut wrong = Vec::new();
        let mut blocks = (0..units).flat_map(|_| &self.blocks);
        while let Some((dc, ac)) = blocks.next()
            && block(dc, ac, &mut bits, &mut wrong).is_some()
        {}
        wrong
    }
}

/// Passes over a block's bits.
fn block(dc: &Table, ac: &Table, bits: &mut Bits<'_>, wrong: &mut Vec<Wrong>) -> Option<()> {
    bits.at += usize::from(dc.symbol(bits, wrong)?);
    let mut coefficient = 1;
    while coefficient < 64 {
        let symbol = ac.symbol(bits, wrong)?;
        let (run, size) = (usize::from(symbol >> 4), usize::from(symbol & 15));
        bits.at += size;
        match (run, size) {
            (0..15, 0) => break,
            _ => coefficient += run + 1,
        }
    }
    Some(())
}

/// Bits that stand for nothing.
struct Wrong {
    at: usize,
    /// The code to be in their place, and its length.
    zero: (usize, usize),
}

/// Data without stuffing, from the highest bit of each byte on.
struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    fn next(&mut self) -> Option<bool> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }
}

/// The data up to the next marker, without stuffing, and where that is.
fn stretch(jpeg: &[u8], begin: usize) -> Option<(Vec<u8>, usize)> {
    let mut data = Vec::new();
    let mut at = begin;
    loop {
        match (*jpeg.get(at)?, *jpeg.get(at + 1)?) {
            (0xff, 0) => {
                data.push(0xff);
                at += 2;
            }
            // Fill before a marker.
            (0xff, 0xff) => at += 1,
            (0xff, _) => return Some((data, at)),
            (byte, _) => {
                data.push(byte);
                at += 1;
            }
        }
    }
}

/// Appends data with the codes in their places, stuffed.
fn put_right(data: &[u8], wrong: &[Wrong], mended: &mut Vec<u8>) {
    let of = |byte: &u8| [7, 6, 5, 4, 3, 2, 1, 0].map(|bit| byte >> bit & 1 == 1);
    let bits: Vec<bool> = data.iter().flat_map(of).collect();
    let mut right = Vec::with_capacity(bits.len());
    let mut begin = 0;
    for Wrong { at, zero } in wrong {
        right.extend_from_slice(&bits[begin..*at]);
        right.extend((0..zero.1).rev().map(|bit| zero.0 >> bit & 1 == 1));
        begin = at + SOUGHT;
    }
    right.extend_from_slice(&bits[begin..]);
    for eight in right.chunks(8) {
        // What is left of the last byte is ones.
        let bits = eight.iter().chain(std::iter::repeat(&true)).take(8);
        let byte = bits.fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        mended.push(byte);
        if byte == 0xff {
            mended.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    /// A gray image of 16 × 8 pixels whose tables hold a code each, `0` for symbol 0, and the data.
    fn file(data: &[u8]) -> Vec<u8> {
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
        jpeg.extend([1; 64]);
        jpeg.extend([0xff, 0xc0, 0, 11, 8, 0, 8, 0, 16, 1, 1, 0x11, 0]);
        for name in [0x00, 0x10] {
            jpeg.extend([0xff, 0xc4, 0, 20, name, 1]);
            jpeg.extend([0; 15 + 1]);
        }
        jpeg.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
        jpeg.extend(data);
        jpeg.extend([0xff, 0xd9]);
        jpeg
    }

    #[test]
    fn bits_that_stand_for_nothing_are_symbol_0() {
        // A block, 17 ones for the second one's DC coefficient, and a zero for its end. Pillow opens
        // the file, to 128 everywhere:
        //   numpy.unique(numpy.asarray(PIL.Image.open(io.BytesIO(jpeg))))  # [128]
        let wrong = file(&[0x3f, 0xff, 0, 0xef]);
        assert_eq!(mended(&wrong), Some(file(&[0x0f])));
        let image = decode(&wrong).expect("opens");
        assert_eq!(image.dimensions(), (16, 8));
        assert!(image.iter().all(|value| *value == 128));
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        assert_eq!(mended(&file(&[0x0f])), None);
        let wrong = file(&[0x3f, 0xff, 0, 0xef]);
        for len in 0..wrong.len() - 1 {
            assert_eq!(mended(&wrong[..len]), None, "{len}");
        }
    }
}
