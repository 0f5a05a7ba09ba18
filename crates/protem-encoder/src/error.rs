//! What can go wrong with weights from outside, and with models for others.

use crate::config::EncoderConfig;

/// Why there is no such encoder, or weights do not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A structure that no encoder can have.
    #[error("an encoder's {key} = {value} must lie between {least} and {most}")]
    Config {
        /// Which part of it.
        key: &'static str,
        /// What it is.
        value: usize,
        /// The least it may be.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A tensor the encoder needs is not there.
    #[error("the weights hold no `{name}`")]
    Missing {
        /// Name of the tensor.
        name: String,
    },
    /// A tensor has another number of values.
    #[error("`{name}` has {found} values, this encoder needs {shape:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// What the encoder needs.
        shape: Vec<usize>,
        /// How many values there are.
        found: usize,
    },
    /// Weights of another network.
    #[error("the weights are of a {}, the encoder is a {}", found.backbone(), wanted.backbone())]
    Structure {
        /// What the weights are of.
        found: EncoderConfig,
        /// What the encoder is.
        wanted: EncoderConfig,
    },
}

/// Why a file gives no encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(std::io::Error),
    /// It is of no format that weights come in.
    #[error("it is neither a safetensors file ({reason}) nor one of torch.save")]
    Format {
        /// What is wrong with it as safetensors.
        reason: String,
    },
    /// It is of such a format, and makes no sense.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// It is of a form that is not read.
    #[error("it {what}, which is not read")]
    Unsupported {
        /// What it has or is.
        what: String,
    },
    /// It holds no ResNet by torchvision's names.
    #[error(
        "there is no ResNet in it by torchvision's names (conv1.weight, bn1.weight, layer1.0.conv1.weight and so on{})",
        match tensors.is_empty() {
            true => "; it has no dictionary of tensors: of a model save its, by torch.save(model.state_dict(), FILE)".into(),
            false => format!("; it has {}, …", tensors.join(", ")),
        }
    )]
    NoEncoder {
        /// Names of some tensors that there are.
        tensors: Vec<String>,
    },
    /// It holds several ResNets, and none is called as the trained one is.
    #[error("there are several ResNets in it, those of {}", conv1(prefixes))]
    SeveralEncoders {
        /// What precedes torchvision's names.
        prefixes: Vec<String>,
    },
    /// It holds none that was asked for.
    #[error("no ResNet in it has the prefix {asked}{}", match prefixes.is_empty() {
        true => String::new(),
        false => format!("; there are {}", conv1(prefixes)),
    })]
    NoSuchEncoder {
        /// What was asked for.
        asked: String,
        /// What precedes torchvision's names.
        prefixes: Vec<String>,
    },
    /// Its ResNet is none that can be built.
    #[error("{what}")]
    Structure {
        /// What is otherwise.
        what: String,
    },
    /// A value that is not a finite number.
    #[error("its {name} holds a value that is no number: {value}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
    },
    /// Its structure or a tensor does not fit.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

/// Why there is no ONNX model of an encoder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// It would be larger than protobuf's messages can be.
    #[error("an ONNX model of it would have {bytes} bytes, the format ends at {most}")]
    TooLarge {
        /// Bytes that it would have, at least.
        bytes: u64,
        /// The most it may have.
        most: u64,
    },
}

/// The first tensor of each encoder, by its whole name.
fn conv1(prefixes: &[String]) -> String {
    let names = prefixes
        .iter()
        .map(|prefix| format!("{prefix}conv1.weight"));
    names.collect::<Vec<_>>().join(", ")
}
