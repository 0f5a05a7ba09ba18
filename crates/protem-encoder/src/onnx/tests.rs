//! Models are computed node by node in f64, as the definitions of the operators have it.

use super::*;
use crate::config::{Arch, Head, Stem};
use std::collections::{BTreeSet, HashMap};

/// Of the encoder's f32, relative to the norm of an output.
const TOLERANCE: f64 = 5e-6;

/// Values of a tensor, row-major.
#[derive(Clone)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f64>,
}

type Arrays = HashMap<String, Array>;

fn array(shape: &[usize], values: Vec<f64>) -> Array {
    assert_eq!(values.len(), shape.iter().product::<usize>());
    let shape = shape.to_vec();
    Array { shape, values }
}

/// Every value of a graph, by its name.
fn computed(graph: &Graph, images: Array) -> Arrays {
    let mut arrays = Arrays::from([("images".to_owned(), images)]);
    for tensor in &graph.initializer {
        let shape: Vec<usize> = tensor.dims.iter().map(|size| *size as usize).collect();
        let (numbers, rest) = tensor.raw_data.as_chunks();
        assert!(rest.is_empty() && tensor.data_type == FLOAT);
        let values = numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes).into());
        arrays.insert(tensor.name.clone(), array(&shape, values.collect()));
    }
    for node in &graph.node {
        let inputs: Vec<&Array> = node.input.iter().map(|name| &arrays[name]).collect();
        let y = result(node, &inputs);
        let [name] = &node.output[..] else {
            panic!("{} has other outputs than one", node.name)
        };
        assert!(arrays.insert(name.clone(), y).is_none(), "{name} twice");
    }
    arrays
}

fn result(node: &Node, inputs: &[&Array]) -> Array {
    let (x, shape) = (inputs[0], &inputs[0].shape);
    let each = |f: &dyn Fn(f64) -> f64| array(shape, x.values.iter().map(|x| f(*x)).collect());
    // The other has the same shape, or one value for each row.
    let with = |f: &dyn Fn(f64, f64) -> f64| {
        let (own, other) = (&x.values, &inputs[1].values);
        let repeated = own.len() / other.len();
        let pairs = own.iter().enumerate();
        array(
            shape,
            pairs.map(|(i, x)| f(*x, other[i / repeated])).collect(),
        )
    };
    match node.op_type.as_str() {
        "Relu" => each(&|x| x.max(0.0)),
        "Add" => {
            assert_eq!(*shape, inputs[1].shape);
            with(&|x, added| x + added)
        }
        "Div" => with(&|x, by| x / by),
        "Max" => each(&|x| x.max(inputs[1].values[0])),
        "Conv" => {
            let [_, weight, bias] = inputs else { panic!() };
            windows(node, x, weight.shape[0], |at, taps| {
                let products = taps.iter().map(|(channel, tap, x)| {
                    let area = weight.shape[2] * weight.shape[3];
                    x * weight.values[(at * shape[1] + channel) * area + tap]
                });
                bias.values[at] + products.sum::<f64>()
            })
        }
        "MaxPool" => windows(node, x, shape[1], |at, taps| {
            let of_channel = taps.iter().filter(|(channel, ..)| *channel == at);
            of_channel.fold(f64::NEG_INFINITY, |most, (.., x)| most.max(*x))
        }),
        "GlobalAveragePool" => {
            let pixels = shape[2] * shape[3];
            let means = x
                .values
                .chunks(pixels)
                .map(|of| of.iter().sum::<f64>() / pixels as f64);
            array(&[shape[0], shape[1], 1, 1], means.collect())
        }
        "Flatten" => array(&[shape[0], x.values.len() / shape[0]], x.values.clone()),
        "ReduceL2" => {
            let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
            array(
                &[shape[0], 1],
                x.values.chunks(shape[1]).map(norm).collect(),
            )
        }
        "Gemm" => {
            let (weight, bias) = (inputs[1], inputs[2]);
            let of_row = |row: &[f64]| {
                let products = weight.values.chunks(shape[1]).map(|w| row.iter().zip(w));
                let sums = products.map(|of| of.map(|(x, w)| x * w).sum::<f64>());
                sums.zip(&bias.values)
                    .map(|(sum, bias)| sum + bias)
                    .collect()
            };
            let rows: Vec<Vec<f64>> = x.values.chunks(shape[1]).map(of_row).collect();
            array(&[shape[0], weight.shape[0]], rows.concat())
        }
        other => panic!("{other} is of no model here"),
    }
}

/// A map of what `f` makes, for each output channel, of the pixels that a window covers: channel, place
/// in the window, value.
fn windows(
    node: &Node,
    x: &Array,
    channels: usize,
    f: impl Fn(usize, &[(usize, usize, f64)]) -> f64,
) -> Array {
    let attribute = |name: &str| {
        let found = node.attribute.iter().find(|of| of.name == name).unwrap();
        found.ints[0] as usize
    };
    let (side, pad, stride) = (
        attribute("kernel_shape"),
        attribute("pads"),
        attribute("strides"),
    );
    let [batch, inputs, height, width] = x.shape[..] else {
        panic!()
    };
    let [rows, columns] = [height, width].map(|size| (size + 2 * pad - side) / stride + 1);
    let mut y = vec![0.0; batch * channels * rows * columns];
    for i in 0..batch * rows * columns {
        let (image, row, column) = (i / columns / rows, i / columns % rows, i % columns);
        let mut taps = Vec::new();
        for tap in 0..inputs * side * side {
            let (channel, tap) = (tap / (side * side), tap % (side * side));
            let (r, c) = (row * stride + tap / side, column * stride + tap % side);
            if (pad..pad + height).contains(&r) && (pad..pad + width).contains(&c) {
                let at = ((image * inputs + channel) * height + r - pad) * width + c - pad;
                taps.push((channel, tap, x.values[at]));
            }
        }
        for channel in 0..channels {
            y[((image * channels + channel) * rows + row) * columns + column] = f(channel, &taps);
        }
    }
    array(&[batch, channels, rows, columns], y)
}

fn encoder(arch: Arch, stem: Stem, head: Head) -> Encoder {
    let config = EncoderConfig {
        arch,
        stem,
        width: 2,
        head,
        dim: 5,
        split_bn: 1,
    };
    let mut encoder = Encoder::new(config, 3);
    // Norms that do something, which those of a new encoder do not.
    let of_norm = |name: &str| name.contains("bn") || name.contains("downsample.1");
    let trained = |name: &str, value: f32, i: usize| match name {
        _ if name.ends_with("running_var") => 0.5 + 0.25 * (i % 3) as f32,
        _ if name.ends_with("running_mean") => 0.125 * (i % 5) as f32 - 0.25,
        _ if of_norm(name) && name.ends_with("bias") => 0.25 - 0.125 * (i % 4) as f32,
        _ if of_norm(name) => 0.75 + 0.125 * (i % 3) as f32,
        _ => value,
    };
    let values: HashMap<String, Vec<f32>> = encoder
        .tensors()
        .map(|t| {
            let values = t.values.iter().enumerate();
            let values = values.map(|(i, value)| trained(t.name, *value, i));
            (t.name.to_owned(), values.collect())
        })
        .collect();
    let find = |name: &str| values.get(name).map(|values| values.as_slice().into());
    encoder.load(find).unwrap();
    encoder
}

fn model(encoder: &Encoder, head: Option<OnnxHead>) -> Model {
    let metadata = BTreeMap::from([("image_size".to_owned(), "32".to_owned())]);
    let bytes = encoder.to_onnx(head, "what it is", &metadata).unwrap();
    assert!(is_own_onnx(&bytes));
    Model::decode(&bytes[..]).unwrap()
}

/// ‖got − want‖ / ‖want‖.
fn difference(got: &[f64], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = got.iter().zip(want);
    let size = norm(&mut want.iter().map(|x| f64::from(*x)));
    assert!(size > 0.1, "nothing to compare: {want:?}");
    norm(&mut pairs.map(|(got, want)| got - f64::from(*want))) / size
}

#[test]
fn a_model_computes_what_the_encoder_does() {
    let sizes = [(1, 33, 33), (3, 20, 47), (2, 16, 9)];
    let archs = [Arch::Resnet18, Arch::Resnet34, Arch::Resnet50];
    for (arch, size) in archs.into_iter().zip(sizes) {
        for (stem, head) in [(Stem::Cifar, Head::V1), (Stem::Imagenet, Head::V2)] {
            let encoder = encoder(arch, stem, head);
            let (batch, height, width) = size;
            let pixels = height * width;
            let bytes: Vec<u8> = (0..batch * pixels * 3)
                .map(|i| (i * i % 251) as u8)
                .collect();
            let images = (0..batch * 3 * pixels).map(|i| {
                let (image, channel, pixel) = (i / pixels / 3, i / pixels % 3, i % pixels);
                (f64::from(bytes[(image * pixels + pixel) * 3 + channel]) / 255.0 - 0.5) / 0.25
            });
            let images = array(&[batch, 3, height, width], images.collect());
            let own = || encoder.images(&bytes, size, [0.5; 3], [0.25; 3]);
            for kind in [OnnxHead::Logits, OnnxHead::Embedding] {
                let found = computed(&model(&encoder, Some(kind)).graph, images.clone());
                let features = difference(&found["features"].values, &encoder.features(own()));
                assert!(features < TOLERANCE, "{arch:?} {stem:?}: {features:e}");
                let mut wanted = encoder.embed(own());
                let name = match kind {
                    OnnxHead::Logits => "logits",
                    OnnxHead::Embedding => {
                        for row in wanted.chunks_mut(5) {
                            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                            row.iter_mut().for_each(|x| *x /= norm);
                        }
                        "embedding"
                    }
                };
                let of_head = difference(&found[name].values, &wanted);
                assert!(of_head < TOLERANCE, "{arch:?} {head:?} {name}: {of_head:e}");
            }
        }
    }
}

#[test]
fn a_row_of_zeros_stays() {
    let mut encoder = encoder(Arch::Resnet18, Stem::Cifar, Head::V1);
    let none = |name: &str, count| name.starts_with("fc.").then(|| vec![0.0; count].into());
    let kept = encoder.clone();
    let values: HashMap<&str, &[f32]> = kept.tensors().map(|t| (t.name, t.values)).collect();
    let find = |name: &str| none(name, values[name].len()).or(Some(values[name].into()));
    encoder.load(find).unwrap();
    let images = array(&[1, 3, 8, 8], vec![1.0; 192]);
    let found = computed(&model(&encoder, Some(OnnxHead::Embedding)).graph, images);
    assert_eq!(found["embedding"].values, [0.0; 5]);
}

#[test]
fn a_graph_is_whole_and_called_as_torchvision_does() {
    for head in [None, Some(OnnxHead::Embedding)] {
        let encoder = encoder(Arch::Resnet50, Stem::Imagenet, Head::V2);
        let model = model(&encoder, head);
        assert_eq!(model.doc_string, "what it is");
        assert_eq!(model.metadata_props[0].value, "32");
        let graph = model.graph;
        let names: BTreeSet<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names.len(), graph.node.len(), "a name twice");
        for name in [
            "conv1",
            "maxpool",
            "layer3.0.downsample.0",
            "layer4.2.conv3",
            "layer4.2.relu_2",
        ] {
            assert!(names.contains(name), "{name}");
        }
        // Every weight is of one node, and nothing is there that is of none.
        let inputs: Vec<&str> = graph
            .node
            .iter()
            .flat_map(|node| &node.input)
            .map(|s| &**s)
            .collect();
        for tensor in &graph.initializer {
            let uses = inputs.iter().filter(|input| **input == tensor.name);
            assert_eq!(uses.count(), 1, "{}", tensor.name);
        }
        let of_head = graph
            .initializer
            .iter()
            .filter(|tensor| is_of_head(&tensor.name));
        assert_eq!(of_head.count(), if head.is_some() { 4 } else { 0 });
        let outputs: Vec<&str> = graph
            .output
            .iter()
            .map(|output| output.name.as_str())
            .collect();
        assert_eq!(
            outputs,
            [&["features"][..], &["embedding"][..head.iter().len()]].concat()
        );
    }
}

#[test]
fn an_encoder_beyond_two_gibibytes_is_refused() {
    let with = |width, head, dim| EncoderConfig {
        arch: Arch::Resnet50,
        stem: Stem::Imagenet,
        width,
        head,
        dim,
        split_bn: 1,
    };
    assert_eq!(with(64, Head::V1, 1000).check_onnx(true), Ok(()));
    // Of torchvision's 25,557,032 parameters those that are left when norms are folded.
    let error = with(1024, Head::V1, 1000).check_onnx(false).unwrap_err();
    let OnnxError::TooLarge { bytes, most } = error;
    assert!(
        bytes > 4 * 5_900_000_000 && most == 2_147_483_647,
        "{error}"
    );
    // A head that is left out counts for nothing.
    assert_eq!(with(256, Head::V1, 65_536).check_onnx(false), Ok(()));
    assert!(with(256, Head::V1, 65_536).check_onnx(true).is_err());
}

#[test]
fn others_models_are_not_own() {
    let other = Model {
        producer_name: "pytorch".into(),
        ..model(&encoder(Arch::Resnet18, Stem::Cifar, Head::V1), None)
    };
    assert!(!is_own_onnx(&other.encode_to_vec()));
    assert!(!is_own_onnx(b""));
    assert!(!is_own_onnx(b"protem"));
}
