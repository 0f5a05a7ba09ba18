//! Codes that stand for nothing, put right as libjpeg reads them.
//!
//! Where bits begin no code of a Huffman table, libjpeg (jdhuff.c, `jpeg_huff_decode`) takes 17 of
//! them for symbol 0 and goes on: no difference of a DC coefficient, or the end of a block. The
//! decoder here leaves out the block and the prediction of the next ones. So it gets the file with
//! the code of symbol 0 in the place of those bits.

mod codes;

use super::{next_segment, word};
use codes::{Data, Table, Tables, define};

/// The file with codes of symbol 0 where bits stand for nothing, up to where a table has no such code.
/// None if there are no such bits, and for files that are not of Huffman-coded sequential scans or
/// whose markers cannot be followed.
pub(super) fn mended(jpeg: &[u8]) -> Option<Vec<u8>> {
    let mut mended = jpeg.get(..2)?.to_vec();
    let mut found = false;
    let (mut dc, mut ac) = Default::default();
    let (mut frame, mut restart) = (None, 0);
    let mut at = 2;
    loop {
        let (begin, marker, segment) = next_segment(jpeg, at)?;
        mended.extend_from_slice(&jpeg[at..begin]);
        if marker == 0xd9 {
            mended.extend_from_slice(&jpeg[begin..]);
            return found.then_some(mended);
        }
        let content = segment.get(4..)?;
        mended.extend_from_slice(segment);
        at = begin + segment.len();
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
        let chosen = chosen.get(..usize::from(*count))?.iter();
        let chosen = chosen.map(|[name, tables]| {
            let of_name = |(component, ..): &&(u8, usize, usize)| component == name;
            let (_, h, v) = *self.components.iter().find(of_name)?;
            let dc = dc.get(usize::from(tables >> 4))?.as_ref()?;
            let ac = ac.get(usize::from(tables & 15))?.as_ref()?;
            Some((h, v, (dc, ac)))
        });
        let chosen: Vec<_> = chosen.collect::<Option<_>>()?;
        let most = |of: fn(&(u8, usize, usize)) -> usize| {
            let most = self.components.iter().map(of).max();
            most.filter(|most| *most > 0)
        };
        let (across, down) = (most(|c| c.1)?, most(|c| c.2)?);
        let (blocks, across, down) = match &chosen[..] {
            // Block by block, without those that hold none of the component.
            [(h, v, tables)] => {
                let blocks =
                    |side: usize, part: usize, most| (side * part).div_ceil(most).div_ceil(8);
                let down = blocks(self.height, *v, down);
                (vec![*tables], blocks(self.width, *h, across), down)
            }
            several => {
                let blocks = several.iter();
                let blocks = blocks.flat_map(|(h, v, tables)| std::iter::repeat_n(*tables, h * v));
                let units = |side: usize, most| side.div_ceil(8 * most);
                let down = units(self.height, down);
                (blocks.collect(), units(self.width, across), down)
            }
        };
        (!blocks.is_empty()).then_some(Scan {
            blocks,
            units: across * down,
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
            match self.put_right(&data, units) {
                Some(right) => {
                    mended.extend_from_slice(&right);
                    found = true;
                }
                None => mended.extend_from_slice(&jpeg[at..end]),
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

    /// The data of so many units with codes where there were none, stuffed; nothing if there were.
    fn put_right(&self, data: &[u8], units: usize) -> Option<Vec<u8>> {
        let mut data = Data::new(data);
        let mut blocks = (0..units).flat_map(|_| &self.blocks);
        while let Some((dc, ac)) = blocks.next()
            && data.block(dc, ac).is_some()
        {}
        data.right()
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
