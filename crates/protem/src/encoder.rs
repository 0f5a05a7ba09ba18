//! A trained encoder by its name: of a run's checkpoint, or of weights from elsewhere.

use crate::args::EncoderArgs;
use crate::console::warn;
use crate::failure::{Failure, explain, explain_em};
use protem_data::{DecodeOptions, Evaluation};
use protem_em::{Checkpoint, DataSettings, EmError, Origin, Output, Precision};
use protem_encoder::{Encoder, EncoderConfig, Head, Stem, Weights, WeightsError};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where the weights are from.
enum From {
    Run(Box<Checkpoint>),
    File { weights: Weights, path: PathBuf },
}

/// An encoder, and how images are brought before it.
pub struct Trained {
    from: From,
    image_size: u32,
    precision: Precision,
}

impl Trained {
    pub fn open(args: &EncoderArgs) -> Result<Self, Failure> {
        let path = &args.checkpoint;
        let weights = path.is_file() && !Checkpoint::is_at(path);
        if let (false, true, Some(prefix)) = (weights, path.exists(), &args.prefix) {
            return Err(Failure::usage(format!(
                "--prefix {prefix} is for a file of weights; {} is a run's",
                path.display()
            )));
        }
        let from = match weights {
            false => From::Run(Box::new(open_checkpoint(path, ADVICE)?)),
            true => From::File {
                weights: open_weights(path, args.prefix.as_deref())?,
                path: path.clone(),
            },
        };
        let (size, precision) = match &from {
            From::Run(checkpoint) => (
                checkpoint.image_size(),
                checkpoint.origin().settings.precision,
            ),
            From::File { weights, .. } => {
                let usual = weights.config().stem.usual_side();
                warn_of_weights(weights);
                let told = weights.image_size().filter(|size| allowed(*size));
                (told.unwrap_or(usual), Precision::F32)
            }
        };
        let image_size = args.image_size.unwrap_or(size);
        if !allowed(image_size) {
            return Err(Failure::usage(format!(
                "--image-size {image_size} must lie between {} and {}",
                SIZES.start(),
                SIZES.end()
            )));
        }
        Ok(Self {
            from,
            image_size,
            precision: args.precision.unwrap_or(precision),
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        match &self.from {
            From::Run(checkpoint) => checkpoint.path(),
            From::File { path, .. } => path,
        }
    }

    /// Its run's checkpoint, if it is of one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.from {
            From::Run(checkpoint) => Some(checkpoint),
            From::File { .. } => None,
        }
    }

    /// Side of the images that it sees.
    pub fn image_size(&self) -> u32 {
        self.image_size
    }

    /// What it is made of.
    pub fn config(&self) -> &EncoderConfig {
        match &self.from {
            From::Run(checkpoint) => checkpoint.encoder(),
            From::File { weights, .. } => weights.config(),
        }
    }

    /// Whether it makes embeddings.
    pub fn has_head(&self) -> bool {
        match &self.from {
            From::Run(_) => true,
            From::File { weights, .. } => weights.has_head(),
        }
    }

    /// Refuses an embedding where there is none, with what to do, and says what it is made by.
    pub fn check_embedding(&self, advice: &str) -> Result<(), Failure> {
        self.check_head("projection head, and so no embedding", advice)?;
        let config = self.config();
        if self.checkpoint().is_none() && config.head == Head::V1 {
            warn(format!(
                "its fc, of {} values, is taken for the projection head",
                config.dim
            ));
        }
        Ok(())
    }

    /// Refuses a classifier where there is none, with what to do.
    pub fn check_classifier(&self, advice: &str) -> Result<(), Failure> {
        self.check_head("classifier, though they name its classes", advice)
    }

    fn check_head(&self, what: &str, advice: &str) -> Result<(), Failure> {
        match self.has_head() {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "the weights of {} have no {what}: {advice}",
                self.path().display()
            ))),
        }
    }

    /// Refuses an output that is not there, and says what it is made by.
    pub fn check(&self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Embedding => self.check_embedding("take --what features"),
            Output::Features => Ok(()),
        }
    }

    /// What a file of its weights tells of it by itself: of the classes that its head may stand for, say.
    pub fn told(&self, key: &str) -> Option<String> {
        match &self.from {
            From::Run(_) => None,
            From::File { weights, .. } => weights.metadata().get(key).cloned(),
        }
    }

    /// Side of images that is known: told, by a run or by the file.
    pub fn known_image_size(&self, args: &EncoderArgs) -> Option<u32> {
        match &self.from {
            From::Run(_) => Some(self.image_size),
            From::File { weights, .. } => args.image_size.or(weights.image_size()),
        }
    }

    /// Values of an output.
    pub fn dim(&self, output: Output) -> usize {
        match output {
            Output::Features => self.config().feature_dim(),
            Output::Embedding => self.config().dim,
        }
    }

    /// The encoder itself.
    pub fn encoder(&self) -> Result<Encoder, Failure> {
        let encoder = match &self.from {
            From::Run(checkpoint) => checkpoint
                .query_encoder()
                .map_err(|e| Failure::running(explain(&e)))?,
            From::File { weights, .. } => weights.encoder(),
        };
        Ok(encoder.with_precision(self.precision))
    }

    /// How its images are decoded.
    pub fn decode_options(&self) -> DecodeOptions {
        let told = |weights: &Weights, key| {
            let told = weights.metadata().get(key);
            told.is_some_and(|value| value == "true")
        };
        let of = match &self.from {
            From::Run(checkpoint) => checkpoint.origin().settings.data.clone(),
            From::File { weights, .. } => DataSettings {
                orientation: told(weights, ORIENTATION),
                reduced_jpegs: told(weights, REDUCED),
                ..DataSettings::default()
            },
        };
        let at_size = DataSettings {
            image_size: self.image_size,
            ..of
        };
        at_size.decode_options()
    }

    /// What is encoded of an image, in words.
    pub fn crop(&self) -> String {
        let Evaluation { resize, crop } = Evaluation::for_size(self.image_size);
        format!("shorter side resized to {resize} pixels, centre crop of {crop}")
    }

    /// Which encoder a figure belongs to.
    pub fn provenance(&self) -> serde_json::Value {
        let (config, decoding) = (self.config(), self.decode_options());
        let mut of = json!({
            "checkpoint": self.path().display().to_string(),
            "arch": config.arch,
            "stem": config.stem,
            "width": config.width,
            "embedding_dim": self.has_head().then_some(config.dim),
            "precision": self.precision,
            "image_size": self.image_size,
            "decoding": {
                ORIENTATION: decoding.orientation,
                REDUCED: decoding.reduce_to.is_some(),
                "max_pixels": decoding.max_pixels,
            },
            "encoded_by": format!("protem {} on {}", env!("CARGO_PKG_VERSION"), protem_ops::Isa::current().name()),
        });
        match &self.from {
            From::File { weights, .. } => {
                of["prefix"] = json!(weights.prefix());
                of["crc32"] = json!(format!("{:08x}", weights.crc32()));
            }
            From::Run(checkpoint) => {
                let Origin {
                    settings, images, ..
                } = checkpoint.origin();
                of["epoch"] = json!(checkpoint.position().epoch);
                of["step"] = json!(checkpoint.position().step);
                of["mode"] = json!(settings.mode);
                of["seed"] = json!(settings.seed);
                of["began_with"] = json!(settings.encoder.weights);
                of["trained_on"] = json!({
                    "folder": settings.data.folder.as_ref().map_or("generated images".into(), |folder| folder.display().to_string()),
                    "images": images.images,
                    "names_crc32": format!("{:08x}", images.names_crc32),
                });
            }
        }
        of
    }
}

/// How images were decoded, in a file's metadata.
pub const ORIENTATION: &str = "orientation";
/// Likewise.
pub const REDUCED: &str = "reduced_jpegs";

/// Sides of images that encoders see.
const SIZES: std::ops::RangeInclusive<u32> = 8..=4096;

fn allowed(size: u32) -> bool {
    SIZES.contains(&size)
}

/// What to name instead.
const ADVICE: &str =
    "Name a file of a run's checkpoints folder, the run's folder, or a file of weights.";

/// The checkpoint of this name: a file, or the newest whole one of a run's folder. `advice` says what else
/// to name.
pub fn open_checkpoint(path: &Path, advice: &str) -> Result<Checkpoint, Failure> {
    if !path.exists() {
        return Err(Failure::usage(format!(
            "there is no checkpoint {}. {advice}",
            path.display()
        )));
    }
    let opened = if path.is_dir() {
        let inner = protem_report::RunFolder::checkpoints(path);
        newest_whole(if inner.is_dir() { &inner } else { path })
    } else {
        Checkpoint::open(path)
    };
    opened.map_err(|e| Failure::running(format!("{}\n{advice}", explain_em(&e))))
}

/// The newest whole checkpoint of a folder; newer ones that are none are told.
pub fn newest_whole(folder: &Path) -> Result<Checkpoint, EmError> {
    let (found, refused) = Checkpoint::newest(folder)?;
    for (_, reason) in refused {
        warn(format!("{reason}; taking the one before"));
    }
    Ok(found)
}

fn open_weights(path: &Path, prefix: Option<&str>) -> Result<Weights, Failure> {
    Weights::open(path, prefix).map_err(|source| {
        let which = matches!(
            source,
            WeightsError::SeveralEncoders { .. } | WeightsError::NoSuchEncoder { .. }
        );
        let path = path.to_path_buf();
        let text = explain(&EmError::Weights { path, source });
        match which {
            true => Failure::usage(text).with("Name one by --prefix, without conv1.weight."),
            false => Failure::running(text).with(ADVICE),
        }
    })
}

/// Says what was chosen or cannot be known.
fn warn_of_weights(weights: &Weights) {
    if !weights.others().is_empty() {
        warn(format!(
            "of the encoders in the file that of {} is taken, not that of {}; --prefix takes another",
            weights.prefix(),
            weights.others().join(", ")
        ));
    }
    if weights.config().stem == Stem::Cifar && weights.image_size().is_none() {
        warn(
            "its 3×3 stem is taken for one of padding 1 without max-pool, which names and shapes do not tell (solo-learn's has padding 2)",
        );
    }
}

/// The file of weights that a name stands for: of a run's folder its newest checkpoint.
pub fn weights_file(path: &Path) -> Result<PathBuf, Failure> {
    if path.as_os_str().is_empty() {
        return Err(Failure::usage(
            "the weights to begin with have an empty name; give one, or leave it out",
        ));
    }
    let file = match path.is_dir() {
        true => open_checkpoint(path, ADVICE)?.path().to_path_buf(),
        false => path.to_path_buf(),
    };
    std::path::absolute(&file).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}
