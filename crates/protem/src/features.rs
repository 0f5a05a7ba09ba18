//! What uses a trained encoder: `eval knn`, `eval ami` and `embed`.

use crate::args::{AmiArgs, EmbedArgs, KnnArgs};
use crate::console::{counted, say, warn};
use crate::failure::{Failure, explain, explain_em};
use crate::images::{beside_folders, check_apart, class_name, open_images};
use crate::outputs;
use crate::system::{free_bytes, size, start_threads};
use indicatif::{ProgressBar, ProgressStyle};
use protem_cluster::Npy;
use protem_data::{Decoded, Labelling, Location, Source};
use protem_em::{Checkpoint, Origin, Output, extract};
use protem_eval::{ClusterConfig, Features, KnnConfig};
use protem_report::escape;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Starts the threads asked for; otherwise there are as many as the machine has.
fn start(threads: Option<usize>) -> Result<(), Failure> {
    threads.map_or(Ok(()), |threads| start_threads("--threads", threads))
}

fn open_checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    const ADVICE: &str = "Name a file of a run's checkpoints folder, or the run's folder.";
    if !path.exists() {
        return Err(Failure::usage(format!(
            "there is no checkpoint {}. {ADVICE}",
            path.display()
        )));
    }
    let opened = if path.is_dir() {
        let inner = protem_report::RunFolder::checkpoints(path);
        Checkpoint::newest(if inner.is_dir() { &inner } else { path }).map(|(found, refused)| {
            for (_, reason) in refused {
                warn(format!("{reason}; taking the one before"));
            }
            found
        })
    } else {
        Checkpoint::open(path)
    };
    opened.map_err(|e| Failure::running(format!("{}\n{ADVICE}", explain_em(&e))))
}

/// Features of the images of a folder that can be read, and which those are. The others are said
/// on standard error.
struct FolderFeatures {
    features: Features,
    indices: Vec<u32>,
    skipped: usize,
}

impl FolderFeatures {
    /// Which images a figure belongs to.
    fn describe(&self, folder: &Path) -> serde_json::Value {
        serde_json::json!({"folder": folder.display().to_string(), "images": self.indices.len(), "unreadable": self.skipped})
    }
}

fn features_of(
    checkpoint: &Checkpoint,
    path: &Path,
    folder: Arc<dyn Source>,
    output: Output,
) -> Result<FolderFeatures, Failure> {
    let decoding = checkpoint.origin().settings.data.decode_options();
    let folder = Arc::new(Decoded::new(folder, decoding, 0));
    let encoder = checkpoint
        .query_encoder()
        .map_err(|e| Failure::running(explain(&e)))?;
    let dim = match output {
        Output::Features => encoder.config().feature_dim(),
        Output::Embedding => encoder.config().dim,
    };
    let bar = image_bar(folder.len(), path.display().to_string());
    let extracted = extract(
        &encoder,
        folder,
        checkpoint.image_size(),
        rayon::current_num_threads(),
        output,
        &mut |done| {
            bar.set_position(done as u64);
            true
        },
    );
    bar.finish_and_clear();
    let extracted = extracted.map_err(|e| Failure::running(explain(&e)))?;
    let extracted = extracted.expect("never asked to stop");
    for bad in &extracted.unreadable {
        warn(format!("skipped {}: {}", bad.name, bad.reason));
    }
    let skipped = extracted.unreadable.len();
    let (values, indices) = extracted.readable(dim);
    if values.is_empty() {
        return Err(Failure::running(format!(
            "no image of {} can be read",
            path.display()
        )));
    }
    let features = Features::new(values, dim).map_err(|e| Failure::running(explain(&e)))?;
    Ok(FolderFeatures {
        features,
        indices,
        skipped,
    })
}

/// A bar of images done.
fn image_bar(images: usize, what: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} images, {eta} left");
    ProgressBar::new(images as u64)
        .with_style(style.expect("a fixed template").progress_chars("=> "))
        .with_message(what)
}

/// A labelled set, ready for kNN.
struct Labelled {
    folder: Arc<dyn Source>,
    path: PathBuf,
}

impl Labelled {
    fn open(path: &Path) -> Result<Self, Failure> {
        let folder = open_images(path)?;
        match folder.labelling() {
            Labelling::One => {}
            Labelling::None => {
                let why = beside_folders(path, &*folder).unwrap_or_else(|| {
                    "of a folder, there must be at least two folders of images in it".into()
                });
                return Err(Failure::usage(format!(
                    "{} has no classes: {why}",
                    path.display()
                )));
            }
            Labelling::Several => {
                return Err(Failure::usage(format!(
                    "images of {} have several classes each: this measure takes one",
                    path.display()
                )));
            }
        }
        Ok(Self {
            folder,
            path: path.to_path_buf(),
        })
    }

    fn features(
        &self,
        checkpoint: &Checkpoint,
        output: Output,
    ) -> Result<(FolderFeatures, Vec<u32>), Failure> {
        let found = features_of(checkpoint, &self.path, self.folder.clone(), output)?;
        let label = |i: &u32| self.folder.label(*i as usize);
        let labels = found.indices.iter().filter_map(label).collect();
        Ok((found, labels))
    }
}

/// `protem eval knn`.
pub fn knn(args: KnnArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let positive = args.temperature.is_finite() && args.temperature > 0.0;
    if args.k == 0 || !positive {
        return Err(Failure::usage(
            "--k must be at least 1 and --temperature above 0",
        ));
    }
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let (train, test) = (Labelled::open(&args.train)?, Labelled::open(&args.test)?);
    let (of_train, of_test) = (train.folder.classes(), test.folder.classes());
    if let Some(at) = of_train.differ_at(of_test) {
        return Err(Failure::usage(format!(
            "the classes differ: number {at} is {} in {} and {} in {}; both need the same",
            class_name(of_train, at),
            args.train.display(),
            class_name(of_test, at),
            args.test.display()
        )));
    }
    check_apart(&args.train, &args.test)?;
    let config = KnnConfig {
        k: args.k,
        temperature: args.temperature,
    };
    let (train, train_labels) = train.features(&checkpoint, Output::Features)?;
    let (test, test_labels) = test.features(&checkpoint, Output::Features)?;
    let (of_train, of_test) = (train.describe(&args.train), test.describe(&args.test));
    let bar = image_bar(test_labels.len(), "kNN".into());
    let result = protem_eval::knn(
        train.features,
        &train_labels,
        test.features,
        &test_labels,
        &config,
        &mut |done| {
            bar.set_position(done as u64);
            true
        },
    );
    bar.finish_and_clear();
    let result = result.map_err(|e| Failure::running(explain(&e)))?;
    let result = result.expect("never asked to stop");
    if !args.json {
        say(format!(
            "kNN top-1 {:.2} % ({}, cosine, temperature {}; {} training and {} test images)",
            100.0 * result.top1,
            counted(result.k, "neighbour"),
            args.temperature,
            train_labels.len(),
            test_labels.len()
        ));
        return Ok(());
    }
    let protocol = serde_json::json!({
        "method": "weighted kNN, cosine similarity",
        "features": "encoder output before the head, evaluation mode, centre crop",
        "encoder": provenance(&checkpoint),
        "k": result.k,
        "temperature": args.temperature,
        "train": of_train,
        "test": of_test,
    });
    say(serde_json::json!({"protocol": protocol, "top1": result.top1}));
    Ok(())
}

/// `protem eval ami`.
pub fn cluster_agreement(args: AmiArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let data = Labelled::open(&args.data)?;
    let images = data.folder.len();
    if args.k < 2 || args.k > images {
        return Err(Failure::usage(format!(
            "--k {} must lie between 2 and the {images} images",
            args.k
        )));
    }
    let config = ClusterConfig::new(args.k, args.seed);
    let (found, labels) = data.features(&checkpoint, Output::Embedding)?;
    if args.k > labels.len() {
        return Err(Failure::running(format!(
            "{} of the {images} images can be read, fewer than --k {}: ask for fewer clusters",
            labels.len(),
            args.k
        )));
    }
    let ami = protem_eval::cluster_ami(&found.features, &labels, &config)
        .map_err(|e| Failure::running(explain(&e)))?;
    if !args.json {
        say(format!(
            "AMI {ami:.4} of {} clusters (k-means of normalised embeddings, {}, seed {}) with {} classes ({} images)",
            args.k,
            counted(config.restarts, "restart"),
            args.seed,
            data.folder.classes().len(),
            labels.len()
        ));
        return Ok(());
    }
    let protocol = serde_json::json!({
        "method": "AMI (arithmetic mean) of k-means clusters with the classes",
        "features": "L2-normalised embedding, evaluation mode, centre crop",
        "encoder": provenance(&checkpoint),
        "k": args.k,
        "iterations": config.iterations,
        "restarts": config.restarts,
        "seed": args.seed,
        "data": found.describe(&args.data),
    });
    say(serde_json::json!({"protocol": protocol, "ami": ami}));
    Ok(())
}

/// Which encoder a figure belongs to.
fn provenance(checkpoint: &Checkpoint) -> serde_json::Value {
    let Origin { settings, images } = checkpoint.origin();
    serde_json::json!({
        "checkpoint": checkpoint.path().display().to_string(),
        "epoch": checkpoint.position().epoch,
        "mode": settings.mode,
        "arch": settings.encoder.arch,
        "stem": settings.encoder.stem,
        "width": settings.encoder.width,
        "dim": settings.encoder.dim,
        "seed": settings.seed,
        "precision": settings.precision,
        "image_size": checkpoint.image_size(),
        "trained_on": {
            "folder": settings.data.folder,
            "images": images.images,
            "names_crc32": format!("{:08x}", images.names_crc32),
        },
    })
}

/// Whether features and names can take their places. Earlier features are written over; anything else
/// stays.
fn check_targets(args: &EmbedArgs, names: &Path) -> Result<(), Failure> {
    let features = &args.out;
    outputs::check_file(features)?;
    if names == features {
        return Err(Failure::usage(
            "--out must not end in .txt: the images' names go to a file of that name",
        ));
    }
    outputs::check_file(names)?;
    if features.exists() && Npy::open(features).is_err() {
        return Err(Failure::usage(format!(
            "{} is there already and is no .npy file of features; name another file with --out",
            features.display()
        )));
    }
    if names.exists() && !features.exists() {
        return Err(Failure::usage(format!(
            "{} is there already, and no features beside it: the images' names would take its place; name another file with --out",
            names.display()
        )));
    }
    let data = Location::parse(&args.data).path;
    outputs::inputs_stay(&[features, names], &[&args.checkpoint, &data])?;
    let extension = features.extension().filter(|e| *e != "npy");
    if let Some(extension) = extension {
        return Err(Failure::usage(format!(
            "--out {}: features are written as a .npy file, not .{}; name one",
            features.display(),
            extension.display()
        )));
    }
    outputs::check_folder(features)
}

/// Whether the disk holds the features of so many images.
fn check_room(parent: &Path, images: usize, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let dim = checkpoint.encoder().feature_dim();
    let need = (images * dim * 4) as u64;
    match free_bytes(parent) {
        Some(free) if free < need => Err(Failure::running(format!(
            "{} has {} free, and the features take {}: make room, or name another file with --out",
            parent.display(),
            size(free),
            size(need)
        ))),
        _ => Ok(()),
    }
}

/// `protem embed`.
pub fn embed(args: EmbedArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let names = args.out.with_extension("txt");
    check_targets(&args, &names)?; // before the work, so that it is not lost
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let folder = open_images(&args.data)?;
    let parent = outputs::folder_of(&args.out);
    check_room(parent, folder.len(), &checkpoint)?;
    let found = features_of(&checkpoint, &args.data, folder.clone(), Output::Features)?;
    std::fs::create_dir_all(parent)
        .map_err(|e| Failure::running(format!("cannot create {}: {e}", parent.display())))?;
    let features = &found.features;
    // One line each, whatever a name has in it.
    let name = |i: &u32| escape(&folder.name(*i as usize)) + "\n";
    let list: String = found.indices.iter().map(name).collect();
    let array = protem_report::npy(features.values(), features.dim());
    protem_em::write_together(&[(&args.out, &array), (&names, list.as_bytes())])
        .map_err(|e| Failure::running(explain(&e)))?;
    let skipped = match found.skipped {
        0 => String::new(),
        n => format!(", {} left out", counted(n, "unreadable image")),
    };
    say(format!(
        "{} × {} features in {}, names in {}{skipped}",
        features.rows(),
        features.dim(),
        args.out.display(),
        names.display()
    ));
    Ok(())
}
