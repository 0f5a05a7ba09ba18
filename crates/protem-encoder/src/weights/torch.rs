//! Files of `torch.save`: a zip archive (since PyTorch 1.6) or pickles with raw numbers behind them.

use super::pickle::{Id, Node, Objects};
use super::stored::{Kind, Stored};
use crate::error::WeightsError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Cursor;

/// Tensors by their names.
type Tensors<'a> = BTreeMap<String, Stored<'a>>;

/// Dictionaries within each other, at most: `state_dict` lies in one, an optimizer's state in three.
const DEPTH: usize = 8;
/// Bytes of a tensor's whole name, at most.
const NAME: usize = 256;

/// Ends the first pickle of a file without an archive, whatever its protocol: a number that only such
/// files have.
const MAGIC: [u8; 13] = *b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether bytes begin as a file without an archive does.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let first = &bytes[..bytes.len().min(32)];
    first.starts_with(b"\x80") && first.windows(MAGIC.len()).any(|at| at == MAGIC)
}

const BIG_ENDIAN: &str = "has its numbers' bytes in big-endian order";

fn damaged(what: impl Into<String>) -> WeightsError {
    WeightsError::Damaged { what: what.into() }
}

fn unsupported(what: impl Into<String>) -> WeightsError {
    WeightsError::Unsupported { what: what.into() }
}

/// The tensors of an archive.
pub(super) fn archive(bytes: &[u8]) -> Result<Tensors<'_>, WeightsError> {
    let of_zip = |error: zip::result::ZipError| damaged(format!("its archive: {error}"));
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(of_zip)?;
    let mut files = BTreeMap::new(); // in order: of two pickles always the same one
    for i in 0..zip.len() {
        // Raw: nothing is decompressed, as nothing is compressed.
        let file = zip.by_index_raw(i).map_err(of_zip)?;
        if file.compression() != zip::CompressionMethod::Stored {
            return Err(unsupported(
                "is a compressed archive, such as one of TorchScript",
            ));
        }
        let start = file.data_start().unwrap_or(u64::MAX);
        let of = range(bytes, start, file.size());
        let of = of.ok_or_else(|| damaged("its archive names bytes beyond its end"))?;
        let name = file.name().map_err(of_zip)?;
        files.insert(name.into_owned(), of);
    }
    let pickle = files.keys().find(|name| name.ends_with("/data.pkl"));
    let Some(pickle) = pickle.cloned() else {
        return Err(unsupported("is an archive, but none of PyTorch's"));
    };
    let folder = pickle.trim_end_matches("data.pkl");
    if files.get(&format!("{folder}byteorder")) == Some(&&b"big"[..]) {
        return Err(unsupported(BIG_ENDIAN));
    }
    let objects = Objects::read(&mut &files[&pickle][..])?;
    tensors(&objects, |storage| {
        files.get(&format!("{folder}data/{}", storage.key)).copied()
    })
}

/// The tensors of a file without an archive: pickles of the magic number, a version, the system, the
/// object and the storages' keys; then of each key the number of values, in 8 bytes, and the values.
pub(super) fn plain(bytes: &[u8]) -> Result<Tensors<'_>, WeightsError> {
    let mut rest = bytes;
    let _magic = Objects::read(&mut rest)?;
    let _version = Objects::read(&mut rest)?;
    let system = Objects::read(&mut rest)?;
    check_system(&system)?;
    let objects = Objects::read(&mut rest)?;
    let keys = Objects::read(&mut rest)?;
    let Node::Sequence(ids) = keys.get(keys.root) else {
        return Err(damaged("it names no storages"));
    };
    let sizes = sizes(&objects);
    let mut storages = HashMap::new();
    for id in ids {
        let Node::Text(key) = keys.get(*id) else {
            return Err(damaged("it has a storage without a name"));
        };
        let size = sizes.get(key.as_str()).copied();
        let size = size.ok_or_else(|| damaged(format!("nothing tells of its storage {key}")))?;
        let size = size.ok_or_else(|| unsupported("has numbers of an unknown kind"))?;
        let (values, behind) = rest
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("it is cut off"))?;
        let length = u64::from_le_bytes(*values).checked_mul(size as u64);
        let of = length.and_then(|length| range(behind, 0, length));
        let of = of.ok_or_else(|| damaged("it is cut off"))?;
        rest = &behind[of.len()..];
        storages.insert(key.clone(), of);
    }
    tensors(&objects, |storage| storages.get(storage.key).copied())
}

fn range(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

/// Whether the system that wrote a file orders a number's bytes as they are read here.
fn check_system(system: &Objects) -> Result<(), WeightsError> {
    let Node::Dict(pairs) = system.get(system.root) else {
        return Err(damaged("it does not tell of its system"));
    };
    let big = |(key, value): &(Id, Id)| {
        let key = matches!(system.get(*key), Node::Text(key) if key == "little_endian");
        key && *system.get(*value) == Node::Bool(false)
    };
    match pairs.iter().any(big) {
        true => Err(unsupported(BIG_ENDIAN)),
        false => Ok(()),
    }
}

/// Numbers outside a pickle.
struct Storage<'a> {
    kind: Option<Kind>,
    key: &'a str,
}

impl<'a> Storage<'a> {
    /// From what stands for one: ("storage", class, key, device, number of values, perhaps None).
    fn of(objects: &'a Objects, id: Id) -> Option<Self> {
        let Node::Sequence(parts) = objects.get(id) else {
            return None;
        };
        let [word, class, key, _, _, ref more @ ..] = parts[..] else {
            return None;
        };
        // A part of another storage, as PyTorch had them before 0.4: its values would be others'.
        if more.iter().any(|id| *objects.get(*id) != Node::Other) {
            return None;
        }
        match (objects.get(word), objects.get(class), objects.get(key)) {
            (Node::Text(word), Node::Global(class), Node::Text(key)) if word == "storage" => {
                let kind = class.strip_prefix("torch ").and_then(Kind::of_storage);
                Some(Self { kind, key })
            }
            _ => None,
        }
    }
}

/// Bytes of a value of each storage; nothing where the kind is unknown.
fn sizes(objects: &Objects) -> HashMap<&str, Option<usize>> {
    let of = objects.all().iter().filter_map(|node| match node {
        Node::Stored(parts) => Storage::of(objects, *parts),
        _ => None,
    });
    of.map(|storage| (storage.key, storage.kind.map(Kind::size)))
        .collect()
}

/// Every tensor in the dictionaries of an object, under the keys that lead to it with dots between.
fn tensors<'a, 'o>(
    objects: &'o Objects,
    find: impl Fn(&Storage<'o>) -> Option<&'a [u8]>,
) -> Result<Tensors<'a>, WeightsError> {
    let mut found = Tensors::new();
    let mut open = vec![(String::new(), objects.root, 0)];
    let mut seen = HashSet::new();
    while let Some((prefix, id, depth)) = open.pop() {
        let Node::Dict(pairs) = objects.get(id) else {
            continue;
        };
        if !seen.insert(id) {
            continue;
        }
        for (key, value) in pairs {
            let Node::Text(key) = objects.get(*key) else {
                continue;
            };
            if prefix.len() + key.len() > NAME {
                continue;
            }
            let name = format!("{prefix}{key}");
            if let Some(tensor) = tensor(objects, *value, &find, &name)? {
                found.insert(name, tensor);
            } else if depth < DEPTH {
                open.push((name + ".", *value, depth + 1));
            }
        }
    }
    Ok(found)
}

/// A tensor, if that is what an object is.
fn tensor<'a, 'o>(
    objects: &'o Objects,
    id: Id,
    find: &impl Fn(&Storage<'o>) -> Option<&'a [u8]>,
    name: &str,
) -> Result<Option<Stored<'a>>, WeightsError> {
    let Some(parts) = rebuilt(objects, id) else {
        return Ok(None);
    };
    let damaged = || damaged(format!("its tensor {name} makes no sense"));
    let [storage, start, shape, strides, ..] = parts[..] else {
        return Err(damaged());
    };
    let Node::Stored(storage) = objects.get(storage) else {
        return Err(damaged());
    };
    let storage = Storage::of(objects, *storage).ok_or_else(damaged)?;
    let bytes = find(&storage).ok_or_else(damaged)?;
    let whole = |id: Id| match objects.get(id) {
        Node::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    let list = |id: Id| match objects.get(id) {
        Node::Sequence(ids) => ids.iter().map(|id| whole(*id)).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let (Some(start), Some(shape), Some(strides)) = (whole(start), list(shape), list(strides))
    else {
        return Err(damaged());
    };
    let size = storage.kind.map_or(1, Kind::size);
    let bytes = start.checked_mul(size).and_then(|at| bytes.get(at..));
    Ok(Some(Stored {
        kind: storage.kind,
        shape,
        strides,
        bytes: bytes.ok_or_else(damaged)?,
    }))
}

/// What a tensor is rebuilt from, if an object is one: storage, first value, shape, strides, ….
fn rebuilt(objects: &Objects, id: Id) -> Option<&[Id]> {
    let Node::Called {
        function,
        arguments,
    } = objects.get(id)
    else {
        return None;
    };
    let (Node::Global(function), Node::Sequence(parts)) =
        (objects.get(*function), objects.get(*arguments))
    else {
        return None;
    };
    match function.as_str() {
        "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor" => Some(parts),
        // Covers of a tensor, none of which can be in a cover itself: a parameter (tensor, …), and one with
        // attributes (function, class, arguments, …).
        "torch._utils _rebuild_parameter" | "torch._utils _rebuild_parameter_with_state" => {
            let Node::Called {
                function,
                arguments,
            } = objects.get(*parts.first()?)
            else {
                return None;
            };
            covered(objects, *function, *arguments)
        }
        "torch._tensor _rebuild_from_type_v2" => match parts[..] {
            [function, _, arguments, ..] => covered(objects, function, arguments),
            _ => None,
        },
        _ => None,
    }
}

/// What a tensor in a cover is rebuilt from.
fn covered(objects: &Objects, function: Id, arguments: Id) -> Option<&[Id]> {
    match (objects.get(function), objects.get(arguments)) {
        (Node::Global(name), Node::Sequence(parts))
            if name == "torch._utils _rebuild_tensor_v2" =>
        {
            Some(parts)
        }
        _ => None,
    }
}
