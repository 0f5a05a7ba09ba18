//! As much of Python's pickle format, protocols 2 to 5, as files of `torch.save` need.
//!
//! Nothing that a pickle names is called: a call stays a node that says what was called with what.
//! (Candle's reader opens archives only, panics on tuples that are too short, and makes a copy at each
//! reference.)

use crate::error::WeightsError;
use std::collections::HashMap;
use std::io::Read;

/// Place of a node among [`Objects`].
pub(super) type Id = usize;

/// An object of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// One that means nothing here: a float, bytes, None.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Module and name, with a blank between them.
    Global(String),
    /// A tuple or list.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What lies outside the pickle under this name.
    Stored(Id),
    Called {
        function: Id,
        arguments: Id,
    },
}

/// All objects of a pickle. They refer to each other by their places, so that neither a deep nor a
/// circular structure can do harm.
#[derive(Debug)]
pub(super) struct Objects {
    nodes: Vec<Node>,
    /// The object that was pickled.
    pub root: Id,
}

impl Objects {
    pub fn get(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    pub fn all(&self) -> &[Node] {
        &self.nodes
    }

    /// Reads a pickle up to its end, and no further.
    pub fn read(input: &mut impl Read) -> Result<Self, WeightsError> {
        let mut machine = Machine {
            input,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        };
        while machine.step()? {
            let held = [
                machine.nodes.len(),
                machine.memo.len(),
                machine.stack.len(),
                machine.marks.len(),
                machine.copied,
            ];
            if held.into_iter().any(|held| held > MOST) {
                return Err(damaged("has more objects than any checkpoint"));
            }
        }
        let root = machine.pop()?;
        Ok(Self {
            nodes: machine.nodes,
            root,
        })
    }
}

/// Objects of a pickle, at most: checkpoints have thousands, and each takes memory that the file need
/// not have.
const MOST: usize = 4 << 20;

/// The machine whose program a pickle is.
struct Machine<'a, R> {
    input: &'a mut R,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Pairs of sequences that dictionaries were made of: a sequence can be named again and again.
    copied: usize,
}

fn damaged(what: impl Into<String>) -> WeightsError {
    WeightsError::Damaged {
        what: format!("its pickle {}", what.into()),
    }
}

impl<R: Read> Machine<'_, R> {
    /// One instruction; false after the last.
    fn step(&mut self) -> Result<bool, WeightsError> {
        let [code] = self.bytes()?;
        match code {
            b'.' => return Ok(false),
            0x80 => _ = self.bytes::<1>()?, // protocol
            0x95 => _ = self.bytes::<8>()?, // length of a frame
            b'(' => self.marks.push(self.stack.len()),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.since_mark()?,
            b'N' => self.push(Node::Other),
            0x88 | 0x89 => self.push(Node::Bool(code == 0x88)),
            b'G' => {
                self.bytes::<8>()?;
                self.push(Node::Other);
            }
            b'J' | b'K' | b'M' | 0x8a | 0x8b => {
                let value = self.integer(code)?;
                self.push(value);
            }
            b'U' | b'T' | b'X' | 0x8c | 0x8d => {
                let text = self.text(code)?;
                self.push(Node::Text(text));
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let length = match code {
                    b'C' => self.number::<1>()?,
                    b'B' => self.number::<4>()?,
                    _ => self.number::<8>()?,
                };
                self.take(length)?;
                self.push(Node::Other);
            }
            b'c' => {
                let name = self.line()? + " " + &self.line()?;
                self.push(Node::Global(name));
            }
            0x93 => self.named()?,
            b'h' | b'j' => {
                let place = self.place(code == b'j')?;
                let found = self.memo.get(&place).copied();
                let id = found.ok_or_else(|| damaged(format!("names no object {place}")))?;
                self.stack.push(id);
            }
            b'q' | b'r' => {
                let place = self.place(code == b'r')?;
                self.memo.insert(place, self.last()?);
            }
            0x94 => _ = self.memo.insert(self.memo.len() as u32, self.last()?),
            _ => self.build(code)?,
        }
        Ok(true)
    }

    /// Instructions that make objects of objects.
    fn build(&mut self, code: u8) -> Result<(), WeightsError> {
        match code {
            b')' | b']' | 0x8f => self.push(Node::Sequence(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x85..=0x87 => {
                let length = usize::from(code - 0x84);
                let first = self.stack.len().checked_sub(length);
                let first = first.ok_or_else(|| damaged("takes an object that is not there"))?;
                let of = self.stack.split_off(first);
                self.push(Node::Sequence(of));
            }
            b't' | 0x91 => {
                let of = self.since_mark()?;
                self.push(Node::Sequence(of));
            }
            b'a' => {
                let one = self.pop()?;
                self.extend(vec![one])?;
            }
            b'e' | 0x90 => {
                let more = self.since_mark()?;
                self.extend(more)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let pairs = self.since_mark()?;
                self.set(&pairs)?;
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments);
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments);
            }
            // The state of an object, which means nothing here; the object stays.
            b'b' => _ = self.pop()?,
            b'Q' => {
                let name = self.pop()?;
                self.push(Node::Stored(name));
            }
            code => return Err(damaged(format!("has an unknown instruction {code:#04x}"))),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<Id, WeightsError> {
        let id = self.last()?;
        self.stack.pop();
        Ok(id)
    }

    /// The top of the stack, above the last mark.
    fn last(&self) -> Result<Id, WeightsError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(id) if self.stack.len() > floor => Ok(*id),
            _ => Err(damaged("takes an object that is not there")),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, WeightsError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(damaged("goes back to a mark that is not there")),
        }
    }

    /// Adds to the sequence on top, if it is one.
    fn extend(&mut self, more: Vec<Id>) -> Result<(), WeightsError> {
        let id = self.last()?;
        if let Node::Sequence(of) = &mut self.nodes[id] {
            of.extend(more);
        }
        Ok(())
    }

    /// Sets keys of the dictionary on top, if it is one.
    fn set(&mut self, pairs: &[Id]) -> Result<(), WeightsError> {
        let id = self.last()?;
        let pairs = pairs.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(damaged("sets a key without a value"));
        }
        if let Node::Dict(of) = &mut self.nodes[id] {
            of.extend(pairs.map(|pair| (pair[0], pair[1])));
        }
        Ok(())
    }

    fn call(&mut self, function: Id, arguments: Id) {
        let of_pairs = matches!(&self.nodes[function], Node::Global(name) if name == "collections OrderedDict");
        let made = match of_pairs {
            true => {
                let pairs = self.pairs(arguments);
                self.copied += pairs.len();
                Node::Dict(pairs)
            }
            false => Node::Called {
                function,
                arguments,
            },
        };
        self.push(made);
    }

    /// What a dictionary is made of at once, as Python 2 does: a sequence of pairs in a sequence. Python 3
    /// sets it later.
    fn pairs(&self, arguments: Id) -> Vec<(Id, Id)> {
        let items = |id: Id| match &self.nodes[id] {
            Node::Sequence(items) => items.as_slice(),
            _ => &[],
        };
        let [pairs] = items(arguments) else {
            return Vec::new();
        };
        let pair = |pair: &Id| match items(*pair) {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        items(*pairs).iter().filter_map(pair).collect()
    }

    /// A global by the module and name on the stack.
    fn named(&mut self) -> Result<(), WeightsError> {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id: Id| match &self.nodes[id] {
            Node::Text(text) => Ok(text.as_str()),
            _ => Err(damaged("names a class by something else than text")),
        };
        let global = format!("{} {}", text(module)?, text(name)?);
        self.push(Node::Global(global));
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(ended)?;
        Ok(bytes)
    }

    /// An unsigned number of `N` bytes, 8 at most.
    fn number<const N: usize>(&mut self) -> Result<u64, WeightsError> {
        let mut whole = [0; 8];
        whole[..N].copy_from_slice(&self.bytes::<N>()?);
        Ok(u64::from_le_bytes(whole))
    }

    /// Memory is taken as bytes come, not as many as are announced.
    fn take(&mut self, length: u64) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = Vec::new();
        let read = self.input.take(length).read_to_end(&mut bytes);
        match read.map_err(WeightsError::Io)? as u64 == length {
            true => Ok(bytes),
            false => Err(damaged("is cut off")),
        }
    }

    fn integer(&mut self, code: u8) -> Result<Node, WeightsError> {
        let length = match code {
            b'K' => return Ok(Node::Int(self.number::<1>()? as i64)),
            b'M' => return Ok(Node::Int(self.number::<2>()? as i64)),
            b'J' => return Ok(Node::Int(i32::from_le_bytes(self.bytes()?).into())),
            0x8a => self.number::<1>()?,
            _ => self.number::<4>()?,
        };
        // Two's complement of any length; beyond 64 bits it is no length or place of anything.
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            return Ok(Node::Other);
        }
        let negative = bytes.last().is_some_and(|high| high & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..bytes.len()].copy_from_slice(&bytes);
        Ok(Node::Int(i64::from_le_bytes(whole)))
    }

    fn text(&mut self, code: u8) -> Result<String, WeightsError> {
        let length = match code {
            b'U' | 0x8c => self.number::<1>()?,
            b'T' | b'X' => self.number::<4>()?,
            _ => self.number::<8>()?,
        };
        let bytes = self.take(length)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn line(&mut self) -> Result<String, WeightsError> {
        const LONGEST: usize = 1000;
        let mut line = Vec::new();
        loop {
            match self.bytes()? {
                [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
                [_] if line.len() == LONGEST => return Err(damaged("has a name without end")),
                [byte] => line.push(byte),
            }
        }
    }

    fn place(&mut self, long: bool) -> Result<u32, WeightsError> {
        Ok(match long {
            true => self.number::<4>()? as u32,
            false => self.number::<1>()? as u32,
        })
    }
}

fn ended(error: std::io::Error) -> WeightsError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("is cut off"),
        _ => WeightsError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Objects, WeightsError> {
        Objects::read(&mut &bytes[..])
    }

    fn texts(of: &Objects, id: Id) -> Vec<String> {
        let Node::Sequence(ids) = of.get(id) else {
            panic!("no sequence: {of:?}");
        };
        ids.iter().map(|id| format!("{:?}", of.get(*id))).collect()
    }

    /// ```python
    /// import pickle, collections
    /// x = [1, -2, 300, 70000, 1 << 40, -(1 << 40), 1 << 80, "é", 1.5, None, True, b"ab"]
    /// print(pickle.dumps(x, 2), pickle.dumps(x, 4))
    /// ```
    #[test]
    fn python_3_11_writes_these() {
        let two = b"\x80\x02]q\x00(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01X\x02\x00\x00\x00\xc3\xa9q\x01G?\xf8\x00\x00\x00\x00\x00\x00N\x88c_codecs\nencode\nq\x02X\x02\x00\x00\x00abq\x03X\x06\x00\x00\x00latin1q\x04\x86q\x05Rq\x06e.";
        let four = b"\x80\x04\x95G\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x8a\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x8c\x02\xc3\xa9\x94G?\xf8\x00\x00\x00\x00\x00\x00N\x88C\x02ab\x94e.";
        for pickle in [&two[..], four] {
            let of = read(pickle).unwrap();
            let all = texts(&of, of.root);
            let expected = [
                "Int(1)",
                "Int(-2)",
                "Int(300)",
                "Int(70000)",
                "Int(1099511627776)",
                "Int(-1099511627776)",
                "Other",
                "Text(\"é\")",
                "Other",
                "Other",
                "Bool(true)",
            ];
            assert_eq!(all[..11], expected);
            for cut in 0..pickle.len() {
                assert!(read(&pickle[..cut]).is_err(), "{cut}");
            }
        }
    }

    /// ```python
    /// import pickle, collections
    /// print(repr(pickle.dumps(collections.OrderedDict([("a", 1), ("b", 2)]), 2)))  # Python 2.7
    /// ```
    #[test]
    fn python_2_fills_a_dictionary_as_it_makes_it() {
        let pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01(]q\x02(U\x01aq\x03K\x01e]q\x04(U\x01bq\x05K\x02ee\x85q\x06Rq\x07.";
        let of = read(pickle).unwrap();
        let Node::Dict(pairs) = of.get(of.root) else {
            panic!("no dictionary: {of:?}");
        };
        let pairs = pairs
            .iter()
            .map(|(key, value)| (of.get(*key), of.get(*value)));
        let expected =
            [("a", 1), ("b", 2)].map(|(key, value)| (Node::Text(key.into()), Node::Int(value)));
        assert!(pairs.eq(expected.iter().map(|(key, value)| (key, value))));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let wrong: [&[u8]; 9] = [
            b"",
            b".",
            b"(.",
            b"\x86.",
            b"N(\x85.",
            b"t.",
            b"h\x05.",
            b"}(Nu.",
            b"X\xff\xff\xff\xffab.",
        ];
        for bytes in wrong {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error, WeightsError::Damaged { .. }), "{error}");
        }
        assert!(read(b"\x42").unwrap_err().to_string().contains("cut off"));
        let unknown = read(b"\xff").unwrap_err().to_string();
        assert!(unknown.contains("0xff"), "{unknown}");
    }

    #[test]
    fn a_list_within_itself_and_a_deep_one_are_read() {
        let of = read(b"]q\x00h\x00a.").unwrap();
        assert_eq!(*of.get(of.root), Node::Sequence(vec![of.root]));
        let deep = |levels| [&[b')'][..], &vec![0x85; levels], b"."].concat();
        assert!(read(&deep(1_000_000)).is_ok());
        let error = read(&deep(5_000_000)).unwrap_err().to_string();
        assert!(error.contains("more objects"), "{error}");
        let marks = [&vec![b'('; 5_000_000][..], b"."].concat();
        let error = read(&marks).unwrap_err().to_string();
        assert!(error.contains("more objects"), "{error}");
        // A sequence of many pairs, of which one dictionary after the other is made.
        let pairs = [
            &b"ccollections\nOrderedDict\nq\x00]((NNtq\x01"[..],
            &b"h\x01".repeat(1000),
            b"e\x85q\x02",
        ];
        let made = b"h\x00h\x02R0".repeat(5000);
        let error = read(&[&pairs.concat()[..], &made, b"."].concat())
            .unwrap_err()
            .to_string();
        assert!(error.contains("more objects"), "{error}");
    }
}
