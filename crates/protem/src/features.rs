//! Features of images by a trained encoder, and `embed`, which writes them.

use crate::args::{EmbedArgs, EmbedKind};
use crate::console::{say, warn};
use crate::encoder::Trained;
use crate::failure::{Failure, explain};
use crate::images::open_images;
use crate::outputs;
use crate::progress::style;
use crate::system::{memory_bytes, size, start_threads};
use indicatif::ProgressBar;
use protem_cluster::Npy;
use protem_data::{Decoded, FeatureTable, Labelling, Location, Source, Unreadable};
use protem_em::{EmError, Extracted, Output, extract};
use protem_encoder::Encoder;
use protem_eval::Features;
use protem_report::{counted, escape, npy, npy_labels, parquet_features};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Starts the threads asked for; otherwise there are as many as the machine has.
pub fn start(threads: Option<usize>) -> Result<(), Failure> {
    start_threads("--threads", threads)
}

/// Features of the images of a folder that can be read, and which those are. The others are said
/// on standard error.
pub struct FolderFeatures {
    pub features: Features,
    pub indices: Vec<u32>,
    skipped: usize,
}

impl FolderFeatures {
    /// Which images a figure belongs to.
    pub fn describe(&self, folder: &Path) -> serde_json::Value {
        serde_json::json!({"folder": folder.display().to_string(), "images": self.indices.len(), "unreadable": self.skipped})
    }
}

pub fn features_of(
    trained: &Trained,
    path: &Path,
    folder: Arc<dyn Source>,
    output: Output,
) -> Result<FolderFeatures, Failure> {
    outputs_of(&trained.encoder()?, trained, path, folder, output)
}

/// The same of an encoder that `trained` has become.
pub fn outputs_of(
    encoder: &Encoder,
    trained: &Trained,
    path: &Path,
    folder: Arc<dyn Source>,
    output: Output,
) -> Result<FolderFeatures, Failure> {
    outputs_of_readable(encoder, trained, path, folder, output)?.ok_or_else(|| none_of(path))
}

/// That there are no features of any of the images.
pub fn none_of(path: &Path) -> Failure {
    Failure::running(format!("no image of {} can be read", path.display()))
}

/// The same, or none where no image can be read.
pub fn outputs_of_readable(
    encoder: &Encoder,
    trained: &Trained,
    path: &Path,
    folder: Arc<dyn Source>,
    output: Output,
) -> Result<Option<FolderFeatures>, Failure> {
    let folder = Arc::new(Decoded::new(folder, trained.decode_options(), 0));
    let dim = match output {
        Output::Features => encoder.config().feature_dim(),
        Output::Embedding => encoder.config().dim,
    };
    let what = path.display().to_string();
    let extracted = embedded(encoder, folder, trained.image_size(), output, what)?;
    let skipped = extracted.unreadable.len();
    let (values, indices) = extracted.readable(dim);
    if values.is_empty() {
        return Ok(None);
    }
    let features = Features::new(values, dim).map_err(|e| Failure::running(explain(&e)))?;
    Ok(Some(FolderFeatures {
        features,
        indices,
        skipped,
    }))
}

impl EmbedKind {
    /// Which output of an encoder that is.
    pub fn output(self) -> Output {
        match self {
            Self::Features => Output::Features,
            Self::Embedding => Output::Embedding,
        }
    }
}

/// A bar of images done.
pub fn image_bar(images: usize, what: String) -> ProgressBar {
    ProgressBar::new(images as u64)
        .with_style(style("{msg} [{bar:30}] {pos}/{len} images, {eta} left"))
        .with_message(what)
}

/// Outputs of an encoder for images, with a bar of `what` while they are computed; what cannot be read is told.
pub fn embedded(
    encoder: &Encoder,
    images: Arc<dyn Source>,
    image_size: u32,
    output: Output,
    what: String,
) -> Result<Extracted, Failure> {
    let bar = image_bar(images.len(), what);
    let workers = rayon::current_num_threads();
    let extracted = extract(encoder, images, image_size, workers, output, &mut |done| {
        bar.set_position(done as u64);
        true
    });
    bar.finish_and_clear();
    let extracted = extracted.map_err(|e| Failure::running(explain(&e)))?;
    let extracted = extracted.expect("never asked to stop");
    for Unreadable { name, reason, .. } in &extracted.unreadable {
        warn(format!("skipped {name}: {reason}"));
    }
    Ok(extracted)
}

/// Where features go, and what belongs to them.
struct Targets<'a> {
    features: &'a Path,
    /// Of `.npy`; Parquet has all in one file.
    beside: Option<Beside>,
}

struct Beside {
    names: PathBuf,
    labels: PathBuf,
}

impl<'a> Targets<'a> {
    fn of(features: &'a Path) -> Self {
        let beside = || Beside {
            names: features.with_extension("txt"),
            labels: features.with_extension("labels.npy"),
        };
        let parquet = features.extension().is_some_and(|e| e == "parquet");
        Self {
            features,
            beside: (!parquet).then(beside),
        }
    }

    /// Whether features of this form are there already.
    fn are_there(&self) -> bool {
        match self.beside {
            Some(_) => Npy::open(self.features).is_ok(),
            None => FeatureTable::open(self.features).is_ok(),
        }
    }

    /// Writes features, the images' names and, `with_labels`, their classes.
    fn write(
        &self,
        found: &FolderFeatures,
        folder: &dyn Source,
        with_labels: bool,
    ) -> Result<(), Failure> {
        outputs::make(outputs::folder_of(self.features))?;
        let written = match &self.beside {
            Some(beside) => beside.write(self.features, found, folder, with_labels),
            None => {
                let (values, dim) = (found.features.values(), found.features.dim());
                let table = parquet_features(values, dim, folder, &found.indices);
                let table = table.map_err(|e| Failure::running(explain(&e)))?;
                protem_em::write_atomically(self.features, &table)
            }
        };
        written.map_err(|e| Failure::running(explain(&e)))
    }
}

impl Beside {
    /// Writes an array of features, and what goes beside it.
    fn write(
        &self,
        features: &Path,
        found: &FolderFeatures,
        folder: &dyn Source,
        with_labels: bool,
    ) -> Result<(), EmError> {
        // One line each, whatever a name has in it.
        let name = |i: &u32| escape(&folder.name(*i as usize)) + "\n";
        let names: String = found.indices.iter().map(name).collect();
        let label = |i: &u32| folder.label(*i as usize);
        let labels: Option<Vec<u32>> = match with_labels {
            true => found.indices.iter().map(label).collect(),
            false => None,
        };
        let labels = labels.map(|labels| npy_labels(&labels));
        let array = npy(found.features.values(), found.features.dim());
        let mut files = vec![(features, &array[..]), (&*self.names, names.as_bytes())];
        files.extend(labels.as_ref().map(|labels| (&*self.labels, &labels[..])));
        protem_em::write_together(&files)
    }
}

/// What to do where features take too much memory.
pub const FEWER_FEATURES: &str = "embed parts of the images, or --what embedding";

/// Whether memory holds so many bytes of features and what is made of them.
pub fn check_memory(bytes: u64, advice: &str) -> Result<(), Failure> {
    match memory_bytes() {
        Some(memory) if bytes > memory => Err(Failure::usage(format!(
            "the features of all images take {} of memory, and there are {}: {advice}",
            size(bytes),
            size(memory)
        ))),
        _ => Ok(()),
    }
}

/// Whether all can take their places. Earlier features are written over, with what belongs to them; anything
/// else stays.
fn check_targets(args: &EmbedArgs, targets: &Targets<'_>) -> Result<(), Failure> {
    let features = targets.features;
    outputs::check_file(features)?;
    let beside: Vec<(&Path, &str)> = match &targets.beside {
        Some(Beside { names, labels }) => vec![(names, "names"), (labels, "classes")],
        None => Vec::new(),
    };
    if beside.iter().any(|(path, _)| *path == features) {
        return Err(Failure::usage(
            "--out must not end in .txt: the images' names go to a file of that name",
        ));
    }
    if features.exists() && !targets.are_there() {
        let ending = if beside.is_empty() { "Parquet" } else { ".npy" };
        return Err(Failure::usage(format!(
            "{} is there already and is no {ending} file of features; name another file with --out",
            features.display()
        )));
    }
    for (beside, what) in &beside {
        outputs::check_file(beside)?;
        if beside.exists() && !features.exists() {
            return Err(Failure::usage(format!(
                "{} is there already, and no features beside it: the images' {what} would take its place; name another file with --out",
                beside.display()
            )));
        }
    }
    let data = Location::parse(&args.data).path;
    let mut written = vec![features];
    written.extend(beside.iter().map(|(path, _)| *path));
    outputs::inputs_stay(&written, &[&args.encoder.checkpoint, &data])?;
    if targets.beside.is_none() && outputs::lies_in(features, &data) {
        return Err(Failure::usage(format!(
            "--out {}: a .parquet file in {} would be taken for images of it from then on; name one elsewhere, or a .npy",
            features.display(),
            data.display()
        )));
    }
    let extension = features.extension();
    if let Some(extension) = extension.filter(|e| *e != "npy" && *e != "parquet") {
        return Err(Failure::usage(format!(
            "--out {}: features are written as a .npy or a .parquet file, not .{}; name one",
            features.display(),
            extension.display()
        )));
    }
    outputs::check_folder(features)
}

/// `protem embed`.
pub fn embed(args: EmbedArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let targets = Targets::of(&args.out);
    check_targets(&args, &targets)?; // before the work, so that it is not lost
    let trained = Trained::open(&args.encoder)?;
    let output = args.what.output();
    trained.check(output)?;
    let folder = open_images(&args.data)?;
    let with_labels = folder.labelling() == Labelling::One;
    let labels = targets.beside.as_ref().map(|beside| &beside.labels);
    if let Some(labels) = labels.filter(|labels| labels.exists() && !with_labels) {
        return Err(Failure::usage(format!(
            "{} has the classes of earlier features, and {} has none to take their place; remove it, or name another file with --out",
            labels.display(),
            args.data.display()
        )));
    }
    let bytes = 4 * (folder.len() * trained.dim(output)) as u64;
    outputs::check_room(&args.out, bytes)?;
    // And the file made of them.
    check_memory(2 * bytes, FEWER_FEATURES)?;
    let mut found = features_of(&trained, &args.data, folder.clone(), output)?;
    if output == Output::Embedding {
        found.features = found.features.normalised();
    }
    targets.write(&found, &*folder, with_labels)?;
    let skipped = match found.skipped {
        0 => String::new(),
        n => format!(", {} left out", counted(n, "unreadable image")),
    };
    let beside = match (&targets.beside, with_labels) {
        (None, false) => ", with names".into(),
        (None, true) => ", with names and classes".into(),
        (Some(Beside { names, .. }), false) => format!(", names in {}", names.display()),
        (Some(Beside { names, labels }), true) => format!(
            ", names in {}, classes in {}",
            names.display(),
            labels.display()
        ),
    };
    say(format!(
        "{} × {} {} in {}{beside}{skipped}",
        found.features.rows(),
        found.features.dim(),
        match args.what {
            EmbedKind::Features => "features",
            EmbedKind::Embedding => "embeddings",
        },
        args.out.display()
    ));
    Ok(())
}
