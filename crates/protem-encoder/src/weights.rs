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
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use stored::{Kind, Stored};

/// Where an encoder is, if a file has several: of a run of PCL or MoCo, of one of this program, of a
/// run of solo-learn.
const PREFERRED: [&str; 3] = ["encoder_q", "query", "backbone"];

/// Embedding of an encoder that has no head of its own.
const DIM: usize = 128;

/// A ResNet's weights by torchvision's names, as a file has them.
///
/// Files are safetensors, or of `torch.save` (archives, and the older form without one; a state
/// dict, alone or in others, as in the checkpoints of PCL and MoCo). Names may have a prefix, such as
/// `state_dict.module.encoder_q.`. Nothing in a file is run.
#[derive(Debug, Clone)]
pub struct Weights {
    config: EncoderConfig,
    has_head: bool,
    image_size: Option<u32>,
    prefix: String,
    values: HashMap<String, Vec<f32>>,
}

impl Weights {
    /// Reads a file.
    ///
    /// # Errors
    /// As [`Self::from_bytes`], and what the file system refuses.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::from_bytes(&std::fs::read(path).map_err(WeightsError::Io)?)
    }

    /// Finds the encoder in a file's bytes.
    ///
    /// # Errors
    /// Bytes of another format, or damaged ones; no ResNet in them, or several and none of them
    /// plainly the trained one; a structure that [`EncoderConfig`] cannot tell; values that are not
    /// finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeightsError> {
        let (tensors, image_size) = match bytes {
            [b'P', b'K', ..] => (torch::archive(bytes)?, None),
            _ if bytes.starts_with(&torch::MAGIC) => (torch::plain(bytes)?, None),
            _ => safetensors(bytes)?,
        };
        let prefix = prefix(&tensors)?;
        let named = Named {
            tensors: &tensors,
            prefix: &prefix,
        };
        let (config, has_head) = named.structure()?;
        let mut values = HashMap::new();
        for (name, shape) in config.tensors() {
            if !has_head && name.starts_with("fc.") {
                continue;
            }
            let read = named.read(&name, &shape)?;
            values.insert(name, read);
        }
        Ok(Self {
            config,
            has_head,
            image_size,
            prefix,
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
        self.image_size
    }

    /// What precedes torchvision's names in the file.
    pub fn prefix(&self) -> &str {
        &self.prefix
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
        let before: HashMap<String, Vec<f32>> = encoder
            .tensors()
            .filter(|tensor| tensor.name.starts_with("fc."))
            .map(|tensor| (tensor.name.to_owned(), tensor.values.to_vec()))
            .collect();
        encoder.load(|name| {
            let from = match name.starts_with("fc.") && !head {
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
        let tensors = self
            .tensors()
            .filter(|t| head || !t.name.starts_with("fc."));
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
        safetensors::serialize(views, Some(metadata)).expect("names that differ")
    }
}

/// Tensors, and the side of images that the file's metadata tell.
type Found<'a> = (BTreeMap<String, Stored<'a>>, Option<u32>);

fn safetensors(bytes: &[u8]) -> Result<Found<'_>, WeightsError> {
    let (file, (_, metadata)) = SafeTensors::deserialize(bytes)
        .and_then(|file| Ok((file, SafeTensors::read_metadata(bytes)?)))
        .map_err(|error| WeightsError::Format {
            reason: error.to_string(),
        })?;
    let of = |name: &str, shape: &[usize], dtype, bytes| {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i];
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
    let image_size = metadata.metadata().as_ref();
    let image_size = image_size.and_then(|entries| entries.get("image_size")?.parse().ok());
    Ok((tensors.collect(), image_size))
}

/// What precedes `conv1.weight` and its like in the names of the one ResNet that is meant.
fn prefix(tensors: &BTreeMap<String, Stored>) -> Result<String, WeightsError> {
    let begins = tensors.keys().filter_map(|name| {
        let prefix = name.strip_suffix("conv1.weight")?;
        let has = |name| tensors.contains_key(&format!("{prefix}{name}"));
        (has("bn1.weight") && has("layer1.0.conv1.weight")).then_some(prefix)
    });
    let begins: Vec<&str> = begins.collect();
    match begins[..] {
        [] => Err(WeightsError::NoEncoder {
            tensors: tensors.keys().take(3).cloned().collect(),
        }),
        [one] => Ok(one.to_owned()),
        _ => {
            let is = |prefix: &&&str, word| {
                prefix.trim_end_matches('.').rsplit('.').next() == Some(word)
            };
            let meant = PREFERRED
                .iter()
                .find_map(|word| begins.iter().find(|p| is(p, word)));
            let several = || WeightsError::SeveralEncoders {
                prefixes: begins.iter().map(|prefix| (*prefix).to_owned()).collect(),
            };
            Ok((*meant.ok_or_else(several)?).to_owned())
        }
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

    /// What the encoder is made of, and whether it has a head.
    fn structure(&self) -> Result<(EncoderConfig, bool), WeightsError> {
        let (stem, width) = self.stem()?;
        let blocks = [1, 2, 3, 4].map(|stage| {
            let is_there = |i: &usize| {
                self.get(&format!("layer{stage}.{i}.conv1.weight"))
                    .is_some()
            };
            (0..).take_while(is_there).count()
        });
        let bottleneck = self.get("layer1.0.conv3.weight").is_some();
        let arch = match (blocks, bottleneck) {
            ([2, 2, 2, 2], false) => Arch::Resnet18,
            ([3, 4, 6, 3], false) => Arch::Resnet34,
            ([3, 4, 6, 3], true) => Arch::Resnet50,
            _ => {
                let kind = if bottleneck {
                    "bottleneck"
                } else {
                    "two-convolution"
                };
                let blocks = blocks.map(|count| count.to_string()).join("-");
                return Err(WeightsError::Structure {
                    what: format!(
                        "its {blocks} {kind} blocks are those of none of resnet18, resnet34 and resnet50"
                    ),
                });
            }
        };
        let mut config = EncoderConfig {
            arch,
            stem,
            width,
            head: Head::V2,
            dim: DIM,
            split_bn: 1,
        };
        config.check()?;
        let Some((head, dim)) = self.head(config.feature_dim()) else {
            return Ok((config, false));
        };
        (config.head, config.dim) = (head, dim);
        config.check()?;
        Ok((config, true))
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

    /// Kind of the head on so many features, and values of the embedding.
    fn head(&self, features: usize) -> Option<(Head, usize)> {
        let shape = |name: &str| Some(self.get(name)?.shape.as_slice());
        if let Some([dim, inputs]) = shape("fc.weight") {
            return (*inputs == features).then_some((Head::V1, *dim));
        }
        let first = shape("fc.0.weight")? == [features, features];
        match shape("fc.2.weight")? {
            [dim, inputs] if first && *inputs == features => Some((Head::V2, *dim)),
            _ => None,
        }
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
