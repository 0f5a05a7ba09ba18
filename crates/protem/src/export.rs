//! `protem export`: an encoder for other programs, as weights or as a model.

use crate::args::ExportArgs;
use crate::console::say;
use crate::encoder::{ORIENTATION, REDUCED, Trained};
use crate::failure::{Failure, explain};
use crate::outputs;
use protem_data::{IMAGENET_MEAN, IMAGENET_STD};
use protem_em::Checkpoint;
use protem_encoder::{Encoder, EncoderConfig, OnnxHead, Weights, is_own_onnx};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What an encoder is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Onnx,
}

impl Format {
    /// By the extension of a file.
    fn of(out: &Path) -> Option<Self> {
        match out.extension()?.to_str()? {
            "safetensors" => Some(Self::Safetensors),
            "onnx" => Some(Self::Onnx),
            _ => None,
        }
    }

    /// What a file that is there is instead of one that may be written over.
    fn in_the_way(self, out: &Path) -> Option<&'static str> {
        match self {
            _ if Checkpoint::is_at(out) => Some("is a checkpoint of a run"),
            Self::Safetensors if Weights::open(out, None).is_err() => {
                Some("is there already and holds no weights of an encoder")
            }
            Self::Onnx if !holds_own_model(out) => {
                Some("is there already and holds no ONNX model that protem wrote")
            }
            _ => None,
        }
    }
}

/// What to do where there is no head.
const NO_HEAD: &str = "leave --head out";

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    check_target(&args.out, &args.encoder.checkpoint)?;
    if args.encoder.precision.is_some() {
        return Err(Failure::usage(
            "an encoder is written in f32, whatever it was trained in: leave --precision out",
        ));
    }
    let trained = Trained::open(&args.encoder)?;
    // Of a classifier it is told.
    let head = args.head.then(|| match trained.told("classes") {
        Some(_) => OnnxHead::Logits,
        None => OnnxHead::Embedding,
    });
    match head {
        None => {}
        Some(OnnxHead::Logits) => trained.check_classifier(NO_HEAD)?,
        Some(OnnxHead::Embedding) => trained.check_embedding(NO_HEAD)?,
    }
    let mut metadata = metadata(&trained);
    // A model is run as it is: it tells the size that `embed` takes where weights tell none.
    let size = match Format::of(&args.out) {
        Some(Format::Onnx) => Some(trained.image_size()),
        _ => trained.known_image_size(&args.encoder),
    };
    if let Some(size) = size {
        metadata.insert("image_size".into(), size.to_string());
    }
    for key in ["classes", "classifier"].into_iter().filter(|_| args.head) {
        metadata.extend(trained.told(key).map(|told| (key.to_owned(), told)));
    }
    check_size(&args.out, trained.config(), args.head)?;
    write(&args.out, &trained.encoder()?, head, metadata)?;
    say(format!(
        "{}, {}, in {}",
        trained.config().backbone(),
        match head {
            None => "without its head",
            Some(OnnxHead::Embedding) => "with its projection head",
            Some(OnnxHead::Logits) => "with its classifier",
        },
        args.out.display()
    ));
    Ok(())
}

/// Whether an encoder can be written there. An earlier one is written over; anything else stays.
pub fn check_target(out: &Path, checkpoint: &Path) -> Result<(), Failure> {
    outputs::check_file(out)?;
    let Some(format) = Format::of(out) else {
        return Err(Failure::usage(format!(
            "--out {}: an encoder is written as a .safetensors file of its weights, or as an .onnx file; name one",
            out.display()
        )));
    };
    if out.exists()
        && let Some(what) = format.in_the_way(out)
    {
        return Err(Failure::usage(format!(
            "{} {what}; name another file with --out",
            out.display()
        )));
    }
    outputs::inputs_stay(&[out], &[checkpoint])?;
    outputs::check_folder(out)
}

/// Whether a file holds an ONNX model of this program, as its beginning tells.
fn holds_own_model(path: &Path) -> bool {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut bytes));
    read.is_ok() && is_own_onnx(&bytes)
}

/// Whether the format holds an encoder of that size.
pub fn check_size(out: &Path, config: &EncoderConfig, head: bool) -> Result<(), Failure> {
    match Format::of(out) {
        Some(Format::Onnx) => config.check_onnx(head).map_err(|e| {
            Failure::usage(format!(
                "{}: name a .safetensors file with --out",
                explain(&e)
            ))
        }),
        _ => Ok(()),
    }
}

/// Writes an encoder, whole or not at all.
pub fn write(
    out: &Path,
    encoder: &Encoder,
    head: Option<OnnxHead>,
    mut metadata: BTreeMap<String, String>,
) -> Result<(), Failure> {
    let bytes = match Format::of(out) {
        Some(Format::Onnx) => {
            metadata.insert("mean".into(), format!("{IMAGENET_MEAN:?}"));
            metadata.insert("std".into(), format!("{IMAGENET_STD:?}"));
            let doc = doc(encoder.config(), head, &metadata);
            let model = encoder.to_onnx(head, &doc, &metadata);
            model.map_err(|e| Failure::running(explain(&e)))?
        }
        _ => {
            metadata.insert("format".into(), "pt".into()); // torchvision's names and shapes
            encoder.to_safetensors(head.is_some(), &metadata)
        }
    };
    outputs::check_room(out, bytes.len() as u64)?;
    let parent = outputs::folder_of(out);
    outputs::make(parent)?;
    protem_em::write_atomically(out, &bytes).map_err(|e| Failure::running(explain(&e)))
}

/// What a model takes and gives, in words.
fn doc(
    config: &EncoderConfig,
    head: Option<OnnxHead>,
    metadata: &BTreeMap<String, String>,
) -> String {
    let size = metadata.get("image_size");
    let size = size.map(|size| format!(", best of {size} pixels a side"));
    let of_head = match head {
        None => "",
        Some(OnnxHead::Embedding) => "; embedding: that of its head, at length one",
        Some(OnnxHead::Logits) => "; logits: those of its classifier, by class",
    };
    format!(
        "{}. images: RGB{}, (x/255 - mean)/std by channel with the mean {} and the std {}. features: what comes before the head{of_head}.",
        config.backbone(),
        size.unwrap_or_default(),
        metadata["mean"],
        metadata["std"],
    )
}

/// What a reader of the file may want to know.
pub fn metadata(trained: &Trained) -> BTreeMap<String, String> {
    let mut of = BTreeMap::from([(
        "written_by".to_owned(),
        format!("protem {}", env!("CARGO_PKG_VERSION")),
    )]);
    let provenance = trained.provenance();
    for key in [ORIENTATION, REDUCED] {
        of.insert(key.to_owned(), provenance["decoding"][key].to_string());
    }
    // Weights that were exported tell of their run what a checkpoint does.
    let exported = trained
        .told("written_by")
        .is_some_and(|program| program.starts_with("protem "));
    for key in ["arch", "stem", "width", "mode", "seed", "epoch", "step"] {
        match &provenance[key] {
            serde_json::Value::Null if exported => {
                of.extend(trained.told(key).map(|told| (key.to_owned(), told)));
            }
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => _ = of.insert(key.to_owned(), text.clone()),
            value => _ = of.insert(key.to_owned(), value.to_string()),
        }
    }
    of
}
