//! An encoder as an ONNX model: graph and weights, for runtimes that know nothing of this crate.

mod proto;
#[cfg(test)]
mod tests;

use crate::config::EncoderConfig;
use crate::encoder::Encoder;
use crate::error::OnnxError;
use crate::layers::{ConvNorm, Dense, Weights};
use crate::resnet::{Block, ResNet};
use crate::weights::is_of_head;
use prost::Message;
use proto::{Attribute, Dimension, FLOAT, Graph, Model, Node, Tensor, ValueInfo};
use std::collections::BTreeMap;

/// The oldest operators that the nodes are of, and the format they came with: those of ONNX 1.8.
const OPSET: i64 = 13;
/// Likewise.
const IR_VERSION: i64 = 7;
/// Who wrote a model, in it.
const PRODUCER: &str = "protem";
/// Bytes of a message of protobuf, at the most.
const LARGEST: u64 = i32::MAX as u64;

/// What a model makes of the features by the encoder's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnnxHead {
    /// `embedding`, the projection at length one; a row of zeros stays.
    Embedding,
    /// `logits`: what comes out of the head, which is a classifier.
    Logits,
}

impl EncoderConfig {
    /// Whether an ONNX model can hold such an encoder, with its head or without; takes no memory for it.
    ///
    /// # Errors
    /// Weights of more than 2 GiB.
    pub fn check_onnx(&self, head: bool) -> Result<(), OnnxError> {
        let tensors = self.tensors();
        // What is left of a norm is a bias.
        let values = tensors.iter().filter(|(name, shape)| {
            (head || !is_of_head(name)) && (shape.len() > 1 || name.ends_with(".bias"))
        });
        let values: usize = values
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        check_size(4 * values as u64)
    }
}

fn check_size(bytes: u64) -> Result<(), OnnxError> {
    match bytes <= LARGEST {
        true => Ok(()),
        false => Err(OnnxError::TooLarge {
            bytes,
            most: LARGEST,
        }),
    }
}

impl Encoder {
    /// An ONNX model (opset 13) of what it computes in evaluation mode, in f32, with its batch norms
    /// folded into the convolutions before them.
    ///
    /// The input `images` (f32, batch × 3 × height × width, of any such size) is normalised as those the
    /// encoder was trained on; the outputs are `features` (batch × [`EncoderConfig::feature_dim`]), and
    /// what `head` says (batch × [`EncoderConfig::dim`]). Nodes have the names that torchvision's
    /// feature extraction gives them. `doc` and `metadata` are for who reads the model. The same encoder
    /// makes the same bytes.
    ///
    /// # Errors
    /// A model of more than 2 GiB.
    pub fn to_onnx(
        &self,
        head: Option<OnnxHead>,
        doc: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, OnnxError> {
        self.config().check_onnx(head.is_some())?;
        let entry = |(key, value): (&String, &String)| proto::StringStringEntry {
            key: key.clone(),
            value: value.clone(),
        };
        let model = Model {
            ir_version: IR_VERSION,
            producer_name: PRODUCER.to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            doc_string: doc.to_owned(),
            graph: self.graph(head),
            opset_import: vec![proto::OperatorSetId {
                domain: String::new(),
                version: OPSET,
            }],
            metadata_props: metadata.iter().map(entry).collect(),
        };
        check_size(model.encoded_len() as u64)?;
        Ok(model.encode_to_vec())
    }

    fn graph(&self, head: Option<OnnxHead>) -> Graph {
        let config = self.config();
        let mut writer = Writer {
            weights: &self.weights(),
            graph: Graph {
                name: config.arch.name().to_owned(),
                input: vec![value(
                    "images",
                    [named("batch"), fixed(3), named("height"), named("width")],
                )],
                ..Graph::default()
            },
        };
        writer.features(self.net(), "images");
        writer.output("features", config.feature_dim());
        match head {
            None => {}
            Some(OnnxHead::Logits) => {
                writer.project(self.net(), "features");
                writer.output("logits", config.dim);
            }
            Some(OnnxHead::Embedding) => {
                let projection = writer.project(self.net(), "features");
                writer.normalise(&projection);
                writer.output("embedding", config.dim);
            }
        }
        writer.graph
    }
}

/// Whether bytes are an ONNX model that [`Encoder::to_onnx`] wrote, or the beginning of one (4 KiB will
/// do), by the name of its producer.
pub fn is_own_onnx(bytes: &[u8]) -> bool {
    let mut model = proto::Producer::default();
    // The name comes before what may be cut off.
    let _ = model.merge(bytes);
    model.producer_name == PRODUCER
}

/// A graph that grows. A node's output has the node's name.
struct Writer<'a> {
    weights: &'a Weights<'a>,
    graph: Graph,
}

impl Writer<'_> {
    fn features(&mut self, net: &ResNet, images: &str) {
        let y = self.conv(&net.stem, images);
        let mut y = self.relu("relu", &y);
        if net.max_pool {
            y = self.node("MaxPool", "maxpool", &[&y], window(3, 2, 1));
        }
        for block in &net.blocks {
            y = self.block(block, &y);
        }
        let y = self.node("GlobalAveragePool", "avgpool", &[&y], Vec::new());
        self.node("Flatten", "flatten", &[&y], vec![Attribute::int("axis", 1)]);
    }

    fn block(&mut self, block: &Block, x: &str) -> String {
        let name = &block.name;
        let mut y = x.to_owned();
        for (i, unit) in block.main.iter().enumerate() {
            y = self.conv(unit, &y);
            if i + 1 == block.main.len() {
                let added = match &block.shortcut {
                    Some(unit) => self.conv(unit, x),
                    None => x.to_owned(),
                };
                y = self.node("Add", &format!("{name}.add"), &[&y, &added], Vec::new());
            }
            let relu = match i {
                0 => format!("{name}.relu"),
                _ => format!("{name}.relu_{i}"),
            };
            y = self.relu(&relu, &y);
        }
        y
    }

    /// What the head makes of features.
    fn project(&mut self, net: &ResNet, features: &str) -> String {
        let mut y = features.to_owned();
        for (i, dense) in net.head.iter().enumerate() {
            if i > 0 {
                y = self.relu("fc.1", &y);
            }
            y = self.dense(dense, &y);
        }
        y
    }

    /// Rows at length one; those of zeros stay.
    fn normalise(&mut self, rows: &str) {
        let of_row = vec![Attribute::ints("axes", &[1]), Attribute::int("keepdims", 1)];
        let norm = self.node("ReduceL2", "norm", &[rows], of_row);
        let least = self.tensor("least_norm".into(), &[1], &[f32::MIN_POSITIVE]);
        let norm = self.node("Max", "clamp_min", &[&norm, &least], Vec::new());
        self.node("Div", "div", &[rows, &norm], Vec::new());
    }

    fn conv(&mut self, unit: &ConvNorm, x: &str) -> String {
        let (conv, (weight, bias)) = (&unit.conv, unit.folded(self.weights));
        let shape = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
        let weight = self.tensor(format!("{}.weight", unit.name), &shape, &weight);
        let bias = self.tensor(format!("{}.bias", unit.name), &[conv.outputs], &bias);
        let window = window(conv.kernel, conv.stride, conv.padding);
        self.node("Conv", &unit.name, &[x, &weight, &bias], window)
    }

    fn dense(&mut self, dense: &Dense, x: &str) -> String {
        let (linear, (weight, bias)) = (&dense.linear, dense.values(self.weights.parameters));
        let shape = [linear.outputs, linear.inputs];
        let weight = self.tensor(format!("{}.weight", dense.name), &shape, weight);
        let bias = self.tensor(format!("{}.bias", dense.name), &[linear.outputs], bias);
        let transposed = vec![Attribute::int("transB", 1)];
        self.node("Gemm", &dense.name, &[x, &weight, &bias], transposed)
    }

    fn relu(&mut self, name: &str, x: &str) -> String {
        self.node("Relu", name, &[x], Vec::new())
    }

    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        self.graph.node.push(Node {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
        name.to_owned()
    }

    fn tensor(&mut self, name: String, shape: &[usize], values: &[f32]) -> String {
        self.graph.initializer.push(Tensor {
            dims: shape.iter().map(|size| *size as i64).collect(),
            data_type: FLOAT,
            name: name.clone(),
            raw_data: bytemuck::cast_slice(values).to_vec(),
        });
        name
    }

    /// Makes what the last node gives, so many values an image, an output of the graph by this name.
    fn output(&mut self, name: &str, values: usize) {
        let last = self.graph.node.last_mut().expect("a node");
        last.output = vec![name.to_owned()];
        let rows = value(name, [named("batch"), fixed(values)]);
        self.graph.output.push(rows);
    }
}

/// A square window that moves over a map.
fn window(side: usize, stride: usize, padding: usize) -> Vec<Attribute> {
    vec![
        Attribute::ints("kernel_shape", &[side; 2]),
        Attribute::ints("pads", &[padding; 4]),
        Attribute::ints("strides", &[stride; 2]),
    ]
}

fn value<const N: usize>(name: &str, dim: [Dimension; N]) -> ValueInfo {
    let tensor_type = proto::TensorType {
        elem_type: FLOAT,
        shape: proto::TensorShape { dim: dim.into() },
    };
    ValueInfo {
        name: name.to_owned(),
        r#type: proto::Type { tensor_type },
    }
}

/// A size that is known.
fn fixed(size: usize) -> Dimension {
    Dimension {
        dim_value: Some(size as i64),
        dim_param: None,
    }
}

/// One that is not, the same wherever it has this name.
fn named(name: &str) -> Dimension {
    Dimension {
        dim_value: None,
        dim_param: Some(name.to_owned()),
    }
}
