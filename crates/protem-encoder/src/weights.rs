//! Trained weights from elsewhere: safetensors, and what `torch.save` writes.

mod pickle;
mod stored;
mod torch;

use crate::config::{Arch, EncoderConfig, Head, Stem};
use crate::encoder::Encoder;
use crate::error::{EncoderError, WeightsError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use stored::{Kind, Stored};

/// What the trained one of several encoders is called: by PCL and MoCo, this program, SimSiam and
/// MoCo v3, BYOL, and others beside one that is called so with a word more.
const TRAINED: [&str; 7] = [
    "encoder_q",
    "query",
    "base_encoder",
    "online_encoder",
    "online_network",
    "backbone",
    "encoder",
];

/// Embedding of an encoder that has no head of its own.
const DIM: usize = 128;

/// A ResNet's weights by torchvision's names, as a file has them.
///
/// Files are safetensors, or of `torch.save` (archives, and the older form without one; a state
/// dict, alone or in others, as in the checkpoints of PCL and MoCo). Names may have a prefix, such as
/// `state_dict.module.encoder_q.`. Nothing in a file is run.
///
/// Names and shapes tell what a network is made of, not how: strides, pooling and what is computed
/// between are torchvision's, and a 3×3 stem is the one of [`Stem::Cifar`] (that of solo-learn has
/// another padding).
#[derive(Debug, Clone)]
pub struct Weights {
    config: EncoderConfig,
    has_head: bool,
    metadata: BTreeMap<String, String>,
    prefix: String,
    others: Vec<String>,
    crc32: u32,
    values: Values,
}

/// Values of tensors by torchvision's names.
type Values = HashMap<String, Vec<f32>>;

impl Weights {
    /// Reads a file; see [`Self::from_bytes`].
    ///
    /// # Errors
    /// As there, and what the file system refuses.
    pub fn open(path: &Path, prefix: Option<&str>) -> Result<Self, WeightsError> {
        Self::from_bytes(&std::fs::read(path).map_err(WeightsError::Io)?, prefix)
    }

    /// Finds the encoder in a file's bytes: the one with this prefix, with or without its last dot;
    /// without a prefix the only one, or the one that is called as trained ones are.
    ///
    /// # Errors
    /// Bytes of another format, or damaged ones; no ResNet in them, or none of that prefix, or several
    /// and none plainly the trained one; a structure that [`EncoderConfig`] cannot tell; values that are
    /// not finite.
    pub fn from_bytes(bytes: &[u8], prefix: Option<&str>) -> Result<Self, WeightsError> {
        let (tensors, metadata) = match bytes {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => (torch::archive(bytes)?, BTreeMap::new()),
            _ if torch::is_plain(bytes) => (torch::plain(bytes)?, BTreeMap::new()),
            _ => safetensors(bytes)?,
        };
        let (prefix, others) = chosen(&tensors, prefix)?;
        let named = Named {
            tensors: &tensors,
            prefix: &prefix,
        };
        let mut config = named.structure()?;
        let mut values = HashMap::new();
        for (name, shape) in config.tensors() {
            if !is_of_head(&name) {
                values.insert(name.clone(), named.read(&name, &shape)?);
            }
        }
        let head = named.head(&config);
        let has_head = head.is_some();
        if let Some((with_head, of_head)) = head {
            config = with_head;
            values.extend(of_head);
        }
        Ok(Self {
            config,
            has_head,
            metadata,
            prefix,
            others,
            crc32: crc32fast::hash(bytes),
            values,
        })
    }

    /// What the encoder is made of. Where the file has no projection head, one of PCL v2 stands in
    /// for it.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Whether a projection head is there: `fc`, or `fc.0` and `fc.2`.
    pub fn has_head(&self) -> bool {
        self.has_head
    }

    /// Whether the head of such an encoder is there.
    pub fn has_head_of(&self, config: &EncoderConfig) -> bool {
        self.has_head && (config.head, config.dim) == (self.config.head, self.config.dim)
    }

    /// Side of the images that it was trained on, in pixels, if the file tells.
    pub fn image_size(&self) -> Option<u32> {
        self.metadata.get("image_size")?.parse().ok()
    }

    /// What else a safetensors file tells of itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What precedes torchvision's names in the file.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What precedes those of other encoders in it.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// CRC-32 of the file.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// An encoder with these weights. A head that is not there is an untrained one.
    pub fn encoder(&self) -> Encoder {
        let mut encoder = Encoder::new(self.config, 0);
        self.put(&mut encoder).expect("of the same structure");
        encoder
    }

    /// Whether they are of such an encoder, but for its head.
    ///
    /// # Errors
    /// They are not.
    pub fn fits(&self, config: &EncoderConfig) -> Result<(), EncoderError> {
        let of = |c: &EncoderConfig| (c.arch, c.stem, c.width);
        match of(config) == of(&self.config) {
            true => Ok(()),
            false => Err(EncoderError::Structure {
                found: self.config,
                wanted: *config,
            }),
        }
    }

    /// Gives an encoder these weights; its head only if there is [one like it](Self::has_head_of).
    ///
    /// # Errors
    /// An encoder that they do not [fit](Self::fits); nothing has changed then.
    pub fn put(&self, encoder: &mut Encoder) -> Result<(), EncoderError> {
        self.fits(encoder.config())?;
        let head = self.has_head_of(encoder.config());
        let before: Values = encoder
            .tensors()
            .filter(|tensor| is_of_head(tensor.name))
            .map(|tensor| (tensor.name.to_owned(), tensor.values.to_vec()))
            .collect();
        encoder.load(|name| {
            let from = match is_of_head(name) && !head {
                true => &before,
                false => &self.values,
            };
            from.get(name)
                .map(|values| Cow::Borrowed(values.as_slice()))
        })
    }
}

impl Encoder {
    /// Its weights as a safetensors file that torchvision's ResNets load: names, shapes and
    /// `num_batches_tracked`, of which none is known and all are 0. Without the head, `fc` of such a network is
    /// to be an identity. `metadata` goes into the header.
    pub fn to_safetensors(&self, head: bool, metadata: &BTreeMap<String, String>) -> Vec<u8> {
        const NORM: &str = "running_mean";
        let tensors = self.tensors().filter(|t| head || !is_of_head(t.name));
        let mut views = Vec::new();
        for tensor in tensors {
            if let Some(norm) = tensor.name.strip_suffix(NORM) {
                let counted = TensorView::new(Dtype::I64, Vec::new(), &[0; 8]);
                views.push((format!("{norm}num_batches_tracked"), counted));
            }
            let bytes = bytemuck::cast_slice(tensor.values);
            let view = TensorView::new(Dtype::F32, tensor.shape.to_vec(), bytes);
            views.push((tensor.name.to_owned(), view));
        }
        let views = views
            .into_iter()
            .map(|(name, view)| (name, view.expect("shape and bytes agree")));
        let metadata = metadata.clone().into_iter().collect();
        let file = safetensors::serialize(views, Some(metadata)).expect("names that differ");
        in_order(&file)
    }
}

/// A safetensors file whose header's entries come in the order of their names, so that the same encoder
/// makes the same bytes.
fn in_order(file: &[u8]) -> Vec<u8> {
    type Entries = BTreeMap<String, BTreeMap<String, serde_json::Value>>;
    let (length, rest) = file.split_first_chunk::<8>().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Entries = serde_json::from_slice(header).expect("just written");
    let mut header = serde_json::to_vec(&header).expect("maps of text");
    header.resize(header.len().next_multiple_of(8), b' '); // values are aligned
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, values].concat()
}

/// Whether a tensor is behind the pooled features.
pub(crate) fn is_of_head(name: &str) -> bool {
    name.starts_with("fc.")
}

/// Tensors, and the file's metadata.
type Found<'a> = (BTreeMap<String, Stored<'a>>, BTreeMap<String, String>);

fn safetensors(bytes: &[u8]) -> Result<Found<'_>, WeightsError> {
    let (file, (_, metadata)) = SafeTensors::deserialize(bytes)
        .and_then(|file| Ok((file, SafeTensors::read_metadata(bytes)?)))
        .map_err(|error| WeightsError::Format {
            reason: error.to_string(),
        })?;
    let of = |name: &str, shape: &[usize], dtype, bytes| {
        let mut strides = vec![1usize; shape.len()];
        for i in (1..shape.len()).rev() {
            // Of a tensor without values the others may be anything.
            strides[i - 1] = strides[i].saturating_mul(shape[i]);
        }
        let kind = match dtype {
            Dtype::F16 => Some(Kind::F16),
            Dtype::BF16 => Some(Kind::Bf16),
            Dtype::F32 => Some(Kind::F32),
            Dtype::F64 => Some(Kind::F64),
            _ => None,
        };
        let stored = Stored {
            kind,
            shape: shape.to_vec(),
            strides,
            bytes,
        };
        (name.to_owned(), stored)
    };
    let tensors = file.iter();
    let tensors = tensors.map(|(name, view)| of(name, view.shape(), view.dtype(), view.data()));
    let metadata = metadata.metadata().clone().unwrap_or_default();
    Ok((tensors.collect(), metadata.into_iter().collect()))
}

/// What precedes `conv1.weight` and its like in the names of the ResNet that is meant, and in those of
/// the others.
fn chosen(
    tensors: &BTreeMap<String, Stored>,
    asked: Option<&str>,
) -> Result<(String, Vec<String>), WeightsError> {
    let begins = tensors.keys().filter_map(|name| {
        let prefix = name.strip_suffix("conv1.weight")?;
        let has = |name| tensors.contains_key(&format!("{prefix}{name}"));
        (has("bn1.weight") && has("layer1.0.conv1.weight")).then(|| prefix.to_owned())
    });
    let mut begins: Vec<String> = begins.collect();
    let whole = |prefix: &str| prefix.trim_end_matches('.').to_owned();
    let found = match (asked, &begins[..]) {
        (None, []) => {
            return Err(WeightsError::NoEncoder {
                tensors: tensors.keys().take(3).cloned().collect(),
            });
        }
        (None, [_]) => Some(0),
        (None, _) => TRAINED.iter().find_map(|word| {
            let last = |prefix: &String| whole(prefix).rsplit('.').next() == Some(*word);
            let mut called = (0..begins.len()).filter(|i| last(&begins[*i]));
            called.next().filter(|_| called.next().is_none())
        }),
        (Some(asked), _) => begins.iter().position(|p| whole(p) == whole(asked)),
    };
    match found {
        Some(at) => Ok((begins.remove(at), begins)),
        None => Err(match asked {
            None => WeightsError::SeveralEncoders { prefixes: begins },
            Some(asked) => WeightsError::NoSuchEncoder {
                asked: asked.to_owned(),
                prefixes: begins,
            },
        }),
    }
}

/// The tensors of one encoder.
struct Named<'a> {
    tensors: &'a BTreeMap<String, Stored<'a>>,
    prefix: &'a str,
}

impl Named<'_> {
    fn get(&self, name: &str) -> Option<&Stored<'_>> {
        self.tensors.get(&format!("{}{name}", self.prefix))
    }

    /// What the encoder is made of, with a head that stands in.
    fn structure(&self) -> Result<EncoderConfig, WeightsError> {
        let (stem, width) = self.stem()?;
        let blocks = [1, 2, 3, 4].map(|stage| {
            let is_there = |i: &usize| {
                self.get(&format!("layer{stage}.{i}.conv1.weight"))
                    .is_some()
            };
            (0..).take_while(is_there).count()
        });
        let bottleneck = self.get("layer1.0.conv3.weight").is_some();
        let is_it = |arch: &Arch| arch.blocks() == blocks && (arch.expansion() > 1) == bottleneck;
        let arch = match Arch::ALL.into_iter().find(is_it) {
            Some(arch) => arch,
            None => {
                let kind = match bottleneck {
                    true => "bottleneck",
                    false => "two-convolution",
                };
                let blocks = blocks.map(|count| count.to_string()).join("-");
                return Err(WeightsError::Structure {
                    what: format!(
                        "its {blocks} {kind} blocks are those of none of {}",
                        Arch::ALL.map(Arch::name).join(", ")
                    ),
                });
            }
        };
        let config = EncoderConfig {
            arch,
            stem,
            width,
            head: Head::V2,
            dim: DIM,
            split_bn: 1,
        };
        config.check()?;
        self.check_rest(&config)?;
        Ok(config)
    }

    /// Refuses a network that has more than such an encoder before its head: it computes something else.
    fn check_rest(&self, config: &EncoderConfig) -> Result<(), WeightsError> {
        let known: HashSet<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
        let of_encoder = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(self.prefix));
        let more = of_encoder.into_iter().find(|name| {
            let before = ["conv1.", "bn1.", "layer"]
                .iter()
                .any(|part| name.starts_with(part));
            before && !known.contains(*name) && !name.ends_with("num_batches_tracked")
        });
        match more {
            None => Ok(()),
            Some(name) => Err(WeightsError::Structure {
                what: format!(
                    "its {}{name} has no place in a {}",
                    self.prefix,
                    config.arch.name()
                ),
            }),
        }
    }

    fn stem(&self) -> Result<(Stem, usize), WeightsError> {
        let conv1 = self.get("conv1.weight").expect("found by it");
        match conv1.shape[..] {
            [width, 3, 3, 3] => Ok((Stem::Cifar, width)),
            [width, 3, 7, 7] => Ok((Stem::Imagenet, width)),
            _ => Err(WeightsError::Structure {
                what: format!(
                    "its conv1.weight has the shape {:?}: neither stem, 3×3 or 7×7 on three channels, has it",
                    conv1.shape
                ),
            }),
        }
    }

    /// The encoder with its own head, and that head's values; nothing where there is none of these kinds.
    fn head(&self, without: &EncoderConfig) -> Option<(EncoderConfig, Values)> {
        let features = without.feature_dim();
        // In the order of names, in which tensors are.
        let kinds: [(Head, &str, &[&str]); 2] = [
            (Head::V1, "fc.weight", &["fc.bias", "fc.weight"]),
            (
                Head::V2,
                "fc.2.weight",
                &["fc.0.bias", "fc.0.weight", "fc.2.bias", "fc.2.weight"],
            ),
        ];
        let of_head = self
            .tensors
            .keys()
            .filter_map(|name| name.strip_prefix(self.prefix));
        let of_head: Vec<&str> = of_head.filter(|name| is_of_head(name)).collect();
        let (head, last, _) = kinds.into_iter().find(|(.., names)| *names == of_head)?;
        let dim = match self.get(last)?.shape[..] {
            [dim, inputs] if inputs == features => dim,
            _ => return None,
        };
        let config = EncoderConfig {
            head,
            dim,
            ..*without
        };
        config.check().ok()?;
        let tensors = config
            .tensors()
            .into_iter()
            .filter(|(name, _)| is_of_head(name));
        let values =
            tensors.map(|(name, shape)| Some((name.clone(), self.read(&name, &shape).ok()?)));
        Some((config, values.collect::<Option<Values>>()?))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let stored = self.get(name).ok_or_else(|| EncoderError::Missing {
            name: format!("{}{name}", self.prefix),
        })?;
        if stored.shape != shape {
            return Err(WeightsError::Structure {
                what: format!(
                    "its {}{name} has the shape {:?}, not {shape:?}",
                    self.prefix, stored.shape
                ),
            });
        }
        let values = stored.values(name)?;
        match values.iter().find(|x| !x.is_finite()) {
            None => Ok(values),
            Some(value) => Err(WeightsError::NotFinite {
                name: format!("{}{name}", self.prefix),
                value: *value,
            }),
        }
    }
}
