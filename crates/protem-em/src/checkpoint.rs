//! A run's state as a safetensors file with a checksum.
//!
//! Tensors: `query.*` and `key.*` by torchvision's names, `velocity`, `queue`, and per clustering
//! `clustering.{m}.{labels,centroids,concentration}`. The header's metadata holds as JSON, under
//! `protem`, position, settings, image set and the encoder's structure, under `clock` the seconds
//! (all that differs between runs of one seed), and a CRC-32 over all of it.

use crate::durable::{partial_of, remove_partial, write_atomically};
use crate::e_step::Clustering;
use crate::error::EmError;
use crate::image_set::ImageSet;
use crate::settings::{Plan, Settings};
use crate::state::{Clock, Position, State};
use protem_encoder::{Encoder, EncoderConfig, EncoderError, MomentumPair};
use protem_loss::Queue;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 2;
/// What the header takes, generously: for each of the encoders' tensors, and for all else.
const HEADER_BYTES: [u64; 2] = [128, 32 * 1024];
/// The longest header that safetensors may have.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a state was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Resolved settings.
    pub settings: Settings,
    /// Training images.
    pub images: ImageSet,
    /// Ranks that had the run between them.
    #[serde(default = "crate::events::one")]
    pub ranks: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    format: u32,
    encoder: EncoderConfig,
    origin: Origin,
    position: Position,
    queue_pointer: usize,
    queue_filled: usize,
    clusterings: usize,
}

/// Writes the state to `path`, whole or not at all.
///
/// # Errors
/// What the file system refuses.
pub(crate) fn save(path: &Path, state: &State, origin: &Origin) -> Result<(), EmError> {
    let (queue, queue_pointer, queue_filled) = state.queue.parts()?;
    let header = Header {
        format: FORMAT,
        encoder: *state.pair.query.config(),
        origin: origin.clone(),
        position: state.position,
        queue_pointer,
        queue_filled,
        clusterings: state.clusterings.len(),
    };
    let tensors = tensors(state, &queue);
    let header = serde_json::to_string(&header).expect("a plain struct");
    let clock = serde_json::to_string(&state.clock).expect("a plain struct");
    let sum = checksum(
        [&header, &clock],
        tensors
            .iter()
            .map(|(name, (_, _, bytes))| (name.as_str(), *bytes)),
    );
    let metadata = HashMap::from([
        ("protem".to_owned(), header),
        ("clock".to_owned(), clock),
        ("crc32".to_owned(), sum),
    ]);
    let views: BTreeMap<String, TensorView> = tensors
        .into_iter()
        .map(|(name, (dtype, shape, bytes))| {
            (
                name,
                TensorView::new(dtype, shape, bytes).expect("shape and bytes agree"),
            )
        })
        .collect();
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| EmError::Checkpoint {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
    write_atomically(path, &bytes)
}

/// Whether a header declares no more than the tensors hold, before memory is taken for it; what is
/// wrong otherwise.
fn declared(header: &Header, views: &BTreeMap<String, TensorView<'_>>) -> Result<(), String> {
    let (trained, running) = header.encoder.values();
    let (found, needed) = (floats_of(views, "query."), trained + running);
    if found != needed {
        return Err(format!(
            "its encoder has {found} values, and one of {} has {needed}",
            header.encoder.backbone()
        ));
    }
    if header.clusterings > views.len() {
        return Err(format!(
            "it has {} tensors, and {} clusterings",
            views.len(),
            header.clusterings
        ));
    }
    Ok(())
}

/// Values of the tensors whose names begin so.
fn floats_of(views: &BTreeMap<String, TensorView<'_>>, prefix: &str) -> usize {
    let of = views.iter().filter(|(name, _)| name.starts_with(prefix));
    of.map(|(_, view)| view.data().len() / size_of::<f32>())
        .sum()
}

/// Type, shape and bytes of tensors by name.
type Tensors<'a> = BTreeMap<String, (Dtype, Vec<usize>, &'a [u8])>;

/// Every tensor of a state, whose queue's values are `queue`.
fn tensors<'a>(state: &'a State, queue: &'a [f32]) -> Tensors<'a> {
    let mut tensors = Tensors::new();
    let mut put = |name: String, dtype, shape: Vec<usize>, bytes| {
        tensors.insert(name, (dtype, shape, bytes));
    };
    for (prefix, encoder) in [("query", &state.pair.query), ("key", &state.pair.key)] {
        for tensor in encoder.tensors() {
            let bytes = bytemuck::cast_slice(tensor.values);
            put(
                format!("{prefix}.{}", tensor.name),
                Dtype::F32,
                tensor.shape.to_vec(),
                bytes,
            );
        }
    }
    let velocity = bytemuck::cast_slice(&state.velocity);
    put(
        "velocity".into(),
        Dtype::F32,
        vec![state.velocity.len()],
        velocity,
    );
    put(
        "queue".into(),
        Dtype::F32,
        state.queue.tensor().dims().to_vec(),
        bytemuck::cast_slice(queue),
    );
    for (m, c) in state.clusterings.iter().enumerate() {
        let name = |part| format!("clustering.{m}.{part}");
        put(
            name("labels"),
            Dtype::U32,
            vec![c.labels.len()],
            bytemuck::cast_slice(&c.labels),
        );
        let shape = vec![c.k(), c.centroids.len() / c.k()];
        put(
            name("centroids"),
            Dtype::F32,
            shape,
            bytemuck::cast_slice(&c.centroids),
        );
        put(
            name("concentration"),
            Dtype::F32,
            vec![c.k()],
            bytemuck::cast_slice(&c.concentration),
        );
    }
    tensors
}

/// A checkpoint read from disk, with its checksum found right.
pub struct Checkpoint {
    path: PathBuf,
    header: Header,
    clock: Clock,
    floats: HashMap<String, Vec<f32>>,
    labels: Vec<Vec<u32>>,
}

impl Checkpoint {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, altered, or of another format.
    pub fn open(path: &Path) -> Result<Self, EmError> {
        let bytes = fs::read(path).map_err(|source| EmError::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        Self::from_bytes(path, &bytes)
    }

    /// Checks the bytes of a file that lies at `path`.
    ///
    /// # Errors
    /// Those that are torn, altered, or of another format.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, EmError> {
        let refuse = |reason: String| EmError::Checkpoint {
            path: path.to_path_buf(),
            reason,
        };
        let file = SafeTensors::deserialize(bytes).map_err(|error| refuse(error.to_string()))?;
        let (_, metadata) =
            SafeTensors::read_metadata(bytes).map_err(|error| refuse(error.to_string()))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let get = |key: &str| {
            metadata
                .get(key)
                .ok_or_else(|| refuse(format!("it has no `{key}` entry")))
        };
        let (header, clock, sum) = (get("protem")?, get("clock")?, get("crc32")?);
        let views: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
        let found = checksum(
            [header, clock],
            views
                .iter()
                .map(|(name, view)| (name.as_str(), view.data())),
        );
        // A fuzzer would never get beyond it.
        if found != *sum && !cfg!(fuzzing) {
            return Err(refuse(format!(
                "its checksum is {found}, not {sum}: it was altered or torn"
            )));
        }
        let header: Header = parse(header).map_err(refuse)?;
        header.encoder.check()?;
        declared(&header, &views).map_err(refuse)?;
        let clock = serde_json::from_str(clock).map_err(|error| refuse(error.to_string()))?;
        let mut floats = HashMap::new();
        let mut labels = vec![Vec::new(); header.clusterings];
        for (name, view) in views {
            match view.dtype() {
                Dtype::F32 => {
                    floats.insert(name, bytemuck::pod_collect_to_vec(view.data()));
                }
                _ => {
                    let m = name.split('.').nth(1).and_then(|m| m.parse::<usize>().ok());
                    if let Some(slot) = m.and_then(|m| labels.get_mut(m)) {
                        *slot = bytemuck::pod_collect_to_vec(view.data());
                    }
                }
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            header,
            clock,
            floats,
            labels,
        })
    }

    /// Whether a file is one, whole or not, by its name or the beginning that safetensors of this program
    /// have.
    pub fn is_at(path: &Path) -> bool {
        let header = || {
            let mut file = fs::File::open(path).ok()?;
            let mut length = [0; 8];
            file.read_exact(&mut length).ok()?;
            let length = u64::from_le_bytes(length);
            let mut header = Vec::new();
            file.take(length.min(LONGEST_HEADER))
                .read_to_end(&mut header)
                .ok()?;
            serde_json::from_slice::<serde_json::Value>(&header).ok()
        };
        is_step(path) || header().is_some_and(|header| header["__metadata__"]["protem"].is_string())
    }

    /// The newest whole checkpoint of a folder, and the newer files that are none, with why.
    ///
    /// # Errors
    /// A folder without a whole checkpoint; a file that cannot be read, for it may be whole.
    pub fn newest(folder: &Path) -> Result<(Self, Vec<(PathBuf, String)>), EmError> {
        let mut refused = Vec::new();
        for path in list(folder)?.into_iter().rev() {
            match Self::open(&path) {
                Ok(checkpoint) => return Ok((checkpoint, refused)),
                Err(error @ EmError::Io { .. }) => return Err(error),
                Err(error) => refused.push((path, error.to_string())),
            }
        }
        Err(EmError::NoCheckpoint {
            folder: folder.to_path_buf(),
            refused,
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Side of the images it was trained on, in pixels.
    pub fn image_size(&self) -> u32 {
        self.header.origin.settings.data.image_size
    }

    /// Settings and images it was trained with.
    pub fn origin(&self) -> &Origin {
        &self.header.origin
    }

    /// How far the run had come.
    pub fn position(&self) -> &Position {
        &self.header.position
    }

    /// What its encoders are made of.
    pub fn encoder(&self) -> &EncoderConfig {
        &self.header.encoder
    }

    /// The trained (query) encoder.
    ///
    /// # Errors
    /// Weights that do not fit the structure.
    pub fn query_encoder(&self) -> Result<Encoder, EmError> {
        self.loaded("query")
    }

    /// The key encoder, which the E-step embeds images with.
    ///
    /// # Errors
    /// As [`Self::query_encoder`].
    pub fn key_encoder(&self) -> Result<Encoder, EmError> {
        self.loaded("key")
    }

    fn loaded(&self, prefix: &str) -> Result<Encoder, EmError> {
        let precision = self.header.origin.settings.precision;
        let mut encoder = Encoder::new(self.header.encoder, 0).with_precision(precision);
        encoder.load(self.finder(prefix))?;
        Ok(encoder)
    }

    /// Clusterings of the last E-step, in the order of the settings' `method.clusters`; none in the
    /// warm-up and without prototypes. Labels are of the training images that could be read when the
    /// run began, in their order.
    ///
    /// # Errors
    /// Parts that do not belong together.
    pub fn clusterings(&self) -> Result<Vec<Clustering>, EmError> {
        let images = self.header.origin.images.images;
        let clustering = |m: usize| {
            let labels = self.labels[m].len();
            if labels != images {
                return Err(EmError::Checkpoint {
                    path: self.path.clone(),
                    reason: format!("clustering {m} has {labels} labels for {images} images"),
                });
            }
            let part = |part| {
                self.floats(&format!("clustering.{m}.{part}"))
                    .map(<[f32]>::to_vec)
            };
            Clustering::new(
                self.labels[m].clone(),
                part("centroids")?,
                part("concentration")?,
                self.header.encoder.dim,
            )
        };
        (0..self.header.clusterings).map(clustering).collect()
    }

    /// The whole state, to go on training. `momentum` is that of the key encoder.
    ///
    /// # Errors
    /// Parts that do not belong together.
    pub fn into_state(self, momentum: f32) -> Result<State, EmError> {
        let precision = self.header.origin.settings.precision;
        let mut pair = MomentumPair::new(self.header.encoder, precision, 0, momentum);
        pair.query.load(self.finder("query"))?;
        pair.key.load(self.finder("key"))?;
        let dim = self.header.encoder.dim;
        let velocity = self.floats("velocity")?.to_vec();
        if velocity.len() != pair.query.parameters().len() {
            return Err(EmError::Encoder(EncoderError::Shape {
                name: "velocity".into(),
                shape: vec![pair.query.parameters().len()],
                found: velocity.len(),
            }));
        }
        let queue = self.floats("queue")?.to_vec();
        let queue = Queue::from_parts(
            queue,
            dim,
            self.header.queue_pointer,
            self.header.queue_filled,
        )?;
        let clusterings = self.clusterings()?;
        Ok(State {
            pair,
            velocity,
            queue,
            clusterings,
            position: self.header.position,
            clock: self.clock,
        })
    }

    fn floats(&self, name: &str) -> Result<&[f32], EmError> {
        self.floats
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| EmError::Checkpoint {
                path: self.path.clone(),
                reason: format!("it has no tensor `{name}`"),
            })
    }

    fn finder<'a>(&'a self, prefix: &'a str) -> impl Fn(&str) -> Option<Cow<'a, [f32]>> {
        move |name| {
            let values = self.floats.get(&format!("{prefix}.{name}"))?;
            Some(Cow::Borrowed(values.as_slice()))
        }
    }
}

/// Checkpoint files of a folder, by their names, the oldest first. What else lies there is somebody
/// else's.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, EmError> {
    let mut files = entries(folder)?;
    files.retain(|path| is_step(path));
    files.sort(); // names are zero-padded steps
    Ok(files)
}

/// File name of the checkpoint of a step; names sort as steps do.
pub fn file_name(step: u64) -> String {
    format!("step-{step:010}.safetensors")
}

/// Removes what writes of checkpoints that a crash cut short have left in a folder.
///
/// # Errors
/// What the file system refuses.
pub fn clean(folder: &Path) -> Result<(), EmError> {
    for path in entries(folder)? {
        if let Some(whole) = partial_of(&path).filter(|whole| is_step(whole)) {
            remove_partial(&whole)?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, EmError> {
    let all = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect()
    });
    all.map_err(|source| EmError::Io {
        action: "list",
        path: folder.to_path_buf(),
        source,
    })
}

/// Whether a file has the name of a step's checkpoint.
fn is_step(path: &Path) -> bool {
    step_of(path).is_some()
}

/// The step whose checkpoint a file is by its name.
pub(crate) fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let step = name.strip_prefix("step-")?.strip_suffix(".safetensors")?;
    let step = step.parse().ok()?;
    (name == file_name(step)).then_some(step)
}

/// Bytes of a checkpoint of a run that has clusterings.
pub fn size(plan: &Plan) -> u64 {
    let (parameters, running) = plan.encoder.values();
    let weights = 2 * (parameters + running);
    let dim = plan.encoder.dim;
    let clusterings = plan.clusters.iter().map(|k| plan.images + k * (dim + 1));
    let values = weights + parameters + plan.queue * dim + clusterings.sum::<usize>();
    let [of_tensor, rest] = HEADER_BYTES;
    let tensors = 2 * plan.encoder.tensors().len() as u64;
    4 * values as u64 + of_tensor * tensors + rest
}

/// The header, or why this program cannot read it; the format is looked at first.
fn parse(header: &str) -> Result<Header, String> {
    let value: serde_json::Value = serde_json::from_str(header).map_err(|e| e.to_string())?;
    let format = value["format"].as_u64().unwrap_or(0);
    if format != u64::from(FORMAT) {
        return Err(format!(
            "it has format {format}, this program reads {FORMAT}"
        ));
    }
    serde_json::from_value(value).map_err(|e| e.to_string())
}

fn checksum<'a>(header: [&str; 2], tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    header
        .iter()
        .for_each(|part| hasher.update(part.as_bytes()));
    for (name, bytes) in tensors {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    format!("{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A run's file (`tests/fuzz/seeds/checkpoint.sh`) with another header, and a sum that is right.
    fn with_header(change: impl Fn(&mut Value)) -> Result<Checkpoint, EmError> {
        const FILE: &[u8] = include_bytes!("../../../tests/fuzz/seeds/checkpoint/tiny.safetensors");
        let file = SafeTensors::deserialize(FILE).expect("a safetensors file");
        let (_, metadata) = SafeTensors::read_metadata(FILE).expect("its metadata");
        let mut metadata = metadata.metadata().clone().expect("of a checkpoint");
        let mut header: Value = serde_json::from_str(&metadata["protem"]).expect("JSON");
        change(&mut header);
        let views: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
        let header = header.to_string();
        let tensors = views
            .iter()
            .map(|(name, view)| (name.as_str(), view.data()));
        let sum = checksum([&header, &metadata["clock"]], tensors);
        metadata.insert("protem".into(), header);
        metadata.insert("crc32".into(), sum);
        let bytes = safetensors::serialize(views, Some(metadata)).expect("tensors");
        Checkpoint::from_bytes(Path::new("tiny"), &bytes)
    }

    #[test]
    fn what_a_header_declares_is_held_against_the_tensors() {
        let whole = with_header(|_| {}).expect("as it was saved");
        assert_eq!(whole.clusterings().expect("clusterings").len(), 1);
        assert!(whole.into_state(0.999).is_ok());
        let refused = |change: &dyn Fn(&mut Value), said: &str| {
            let error = with_header(change).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        refused(&|h| h["encoder"]["width"] = json!(1024), "width 1024 has");
        refused(&|h| h["encoder"]["width"] = json!(1u64 << 40), "width");
        refused(&|h| h["clusterings"] = json!(1u64 << 60), "clusterings");
        let other = with_header(|h| h["origin"]["images"]["images"] = json!(9));
        let error = other
            .expect("a header")
            .clusterings()
            .unwrap_err()
            .to_string();
        assert!(error.contains("8 labels for 9 images"), "{error}");
    }
}
