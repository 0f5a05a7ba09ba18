//! What uses a trained encoder: `eval knn` and `embed`.

use crate::args::{EmbedArgs, KnnArgs};
use crate::failure::{Failure, explain};
use protem_data::{Folder, Source};
use protem_em::{Checkpoint, Output, extract};
use protem_eval::{Features, KnnConfig};
use std::path::Path;
use std::sync::Arc;

/// Loader threads of a pass over a folder.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn open_checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let opened = if path.is_dir() {
        let inner = protem_report::RunFolder::checkpoints(path);
        Checkpoint::newest(if inner.is_dir() { &inner } else { path })
            .map(|(checkpoint, _)| checkpoint)
    } else {
        Checkpoint::open(path)
    };
    opened.map_err(|e| {
        Failure::running(format!(
            "{}\nName a file of a run's checkpoints folder, or the run's folder.",
            explain(&e)
        ))
    })
}

/// A folder's features under a checkpoint's encoder. Unreadable images are an error: the rows
/// would no longer be the folder's images.
fn features_of(checkpoint: &Checkpoint, folder: Arc<dyn Source>) -> Result<Features, Failure> {
    let encoder = checkpoint
        .query_encoder()
        .map_err(|e| Failure::running(explain(&e)))?;
    let dim = encoder.config().feature_dim();
    let values = extract(
        &encoder,
        folder,
        checkpoint.image_size(),
        workers(),
        Output::Features,
    )
    .map_err(|e| Failure::running(explain(&e)))?;
    Features::new(values, dim).map_err(|e| Failure::running(explain(&e)))
}

fn labelled(path: &Path) -> Result<(Arc<dyn Source>, Vec<u32>), Failure> {
    let folder = open_folder(path)?;
    let labels: Option<Vec<u32>> = (0..folder.len()).map(|i| folder.label(i)).collect();
    let labels = labels.ok_or_else(|| {
        Failure::usage(format!(
            "{} has no classes: kNN needs at least two folders of images in it",
            path.display()
        ))
    })?;
    Ok((folder, labels))
}

pub fn open_folder(path: &Path) -> Result<Arc<dyn Source>, Failure> {
    Ok(Arc::new(
        Folder::open(path).map_err(|e| Failure::usage(explain(&e)))?,
    ))
}

/// `protem eval knn`.
pub fn knn(args: KnnArgs) -> Result<(), Failure> {
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let ((train, train_labels), (test, test_labels)) =
        (labelled(&args.train)?, labelled(&args.test)?);
    if train.classes() != test.classes() {
        return Err(Failure::usage(format!(
            "the classes differ: {:?} in {}, {:?} in {}",
            train.classes(),
            args.train.display(),
            test.classes(),
            args.test.display()
        )));
    }
    if args.k == 0 || args.temperature <= 0.0 {
        return Err(Failure::usage(
            "--k must be at least 1 and --temperature above 0",
        ));
    }
    let config = KnnConfig {
        k: args.k,
        temperature: args.temperature,
    };
    let (train_features, test_features) = (
        features_of(&checkpoint, train)?,
        features_of(&checkpoint, test)?,
    );
    let result = protem_eval::knn(
        &train_features,
        &train_labels,
        &test_features,
        &test_labels,
        &config,
    )
    .map_err(|e| Failure::running(explain(&e)))?;
    let protocol = serde_json::json!({
        "method": "weighted kNN, cosine similarity",
        "features": "encoder output before the head, evaluation mode",
        "checkpoint": checkpoint.path(),
        "epoch": checkpoint.position().epoch,
        "k": result.k,
        "temperature": args.temperature,
        "image_size": checkpoint.image_size(),
        "train": {"folder": args.train, "images": train_labels.len()},
        "test": {"folder": args.test, "images": test_labels.len()},
    });
    if args.json {
        println!(
            "{}",
            serde_json::json!({"protocol": protocol, "top1": result.top1})
        );
    } else {
        println!(
            "kNN top-1 {:.2} % ({} neighbours, {} training and {} test images)",
            100.0 * result.top1,
            result.k,
            train_labels.len(),
            test_labels.len()
        );
    }
    Ok(())
}

/// `protem embed`.
pub fn embed(args: EmbedArgs) -> Result<(), Failure> {
    let checkpoint = open_checkpoint(&args.checkpoint)?;
    let folder = open_folder(&args.data)?;
    let features = features_of(&checkpoint, folder.clone())?;
    let written = |e: protem_em::EmError| Failure::running(explain(&e));
    protem_report::write_npy(&args.out, features.values(), features.dim()).map_err(written)?;
    let names = args.out.with_extension("txt");
    let list: String = (0..folder.len()).map(|i| folder.name(i) + "\n").collect();
    protem_em::write_atomically(&names, list.as_bytes()).map_err(written)?;
    println!(
        "{} × {} features in {}, names in {}",
        features.rows(),
        features.dim(),
        args.out.display(),
        names.display()
    );
    Ok(())
}
