//! Huffman tables, and data on their way through them.

/// Bits in which libjpeg looks for a code, of which the longest has one less.
const SOUGHT: usize = 17;

/// A Huffman table, of codes of 1 to 16 bits.
pub(super) struct Table {
    /// First code of each length, how many there are, and where their symbols begin.
    lengths: [(usize, usize, usize); SOUGHT - 1],
    symbols: Vec<u8>,
}

/// Those of a kind by their numbers.
pub(super) type Tables = [Option<Table>; 4];

/// Takes up the tables of a segment.
pub(super) fn define(mut content: &[u8], dc: &mut Tables, ac: &mut Tables) -> Option<()> {
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

/// Bits without stuffing, from the highest of each byte on, and what becomes of them.
pub(super) struct Data<'d> {
    bytes: &'d [u8],
    /// Bits read, and how many of them are taken over.
    at: usize,
    taken: usize,
    /// Stuffed.
    right: Vec<u8>,
    /// The last bits of it, below a one.
    last: u16,
}

impl<'d> Data<'d> {
    pub fn new(bytes: &'d [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            taken: 0,
            right: Vec::new(),
            last: 1,
        }
    }

    /// None where the data end.
    fn bit(&self, at: usize) -> Option<bool> {
        let byte = self.bytes.get(at / 8)?;
        Some(byte >> (7 - at % 8) & 1 == 1)
    }

    fn next(&mut self) -> Option<bool> {
        let bit = self.bit(self.at);
        self.at += 1;
        bit
    }

    /// Passes over a block; not where the data end.
    pub fn block(&mut self, dc: &Table, ac: &Table) -> Option<()> {
        self.at += usize::from(self.symbol(dc)?);
        let mut coefficient = 1;
        while coefficient < 64 {
            let symbol = self.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), usize::from(symbol & 15));
            self.at += size;
            match (run, size) {
                (0..15, 0) => break,
                _ => coefficient += run + 1,
            }
        }
        Some(())
    }

    /// The next symbol: 0 for bits that stand for nothing, in whose place its code comes.
    fn symbol(&mut self, table: &Table) -> Option<u8> {
        let begin = self.at;
        let mut code = 0;
        for (first, count, symbols) in &table.lengths {
            code = code << 1 | usize::from(self.next()?);
            if (*first..first + count).contains(&code) {
                return Some(table.symbols[symbols + code - first]);
            }
        }
        self.next()?;
        let (zero, length) = table.zero()?;
        self.take(begin);
        (0..length)
            .rev()
            .for_each(|bit| self.put(zero >> bit & 1 == 1));
        self.taken = self.at;
        Some(0)
    }

    /// Takes over what is not yet, up to a bit or to the end.
    fn take(&mut self, end: usize) {
        while self.taken < end
            && let Some(bit) = self.bit(self.taken)
        {
            self.put(bit);
            self.taken += 1;
        }
    }

    fn put(&mut self, bit: bool) {
        self.last = self.last << 1 | u16::from(bit);
        if self.last > 0xff {
            let byte = self.last as u8;
            self.right.push(byte);
            if byte == 0xff {
                self.right.push(0);
            }
            self.last = 1;
        }
    }

    /// All, if there is a code in the place of others; what is left of the last byte is ones.
    pub fn right(mut self) -> Option<Vec<u8>> {
        if self.taken == 0 {
            return None;
        }
        self.take(usize::MAX);
        while self.last > 1 {
            self.put(true);
        }
        Some(self.right)
    }
}
