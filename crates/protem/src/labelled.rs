//! Images with classes, for a measure of an encoder: by their names, or those of its run.

use crate::advice;
use crate::args::PairArgs;
use crate::console::warn;
use crate::encoder::Trained;
use crate::failure::{Failure, explain_em};
use crate::features::{FolderFeatures, features_of};
use crate::images::{Sets, check_apart, class_name, open_images, why_no_classes};
use protem_data::{Labelling, Source};
use protem_em::{Output, Ranks};
use protem_report::RunFolder;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a measure takes of an image's classes.
pub trait Label: Sized {
    /// Whether images may have several.
    const SEVERAL: bool;

    /// Those of an image.
    fn of(source: &dyn Source, image: usize) -> Option<Self>;
}

/// The one class.
impl Label for u32 {
    const SEVERAL: bool = false;

    fn of(source: &dyn Source, image: usize) -> Option<Self> {
        source.label(image)
    }
}

/// All of them, ascending.
impl Label for Vec<u32> {
    const SEVERAL: bool = true;

    fn of(source: &dyn Source, image: usize) -> Option<Self> {
        Some(source.labels(image))
    }
}

/// The folder of the run that a checkpoint lies in, where it is whole: a copy of checkpoints alone tells
/// nothing of what was left out.
pub fn run_of(checkpoint: &Path) -> Option<&Path> {
    let folder = checkpoint.parent()?;
    let run = folder.parent()?;
    let whole = RunFolder::checkpoints(run) == folder && RunFolder::config(run).is_ok();
    whole.then_some(run)
}

/// A labelled set, ready for a measure.
pub struct Labelled {
    /// The images.
    pub folder: Arc<dyn Source>,
    path: PathBuf,
    /// What a run has them for, where it says which they are.
    part: Option<&'static str>,
}

impl Labelled {
    /// By a name: each image must have one class, unless the measure takes several.
    pub fn open<L: Label>(path: &Path) -> Result<Self, Failure> {
        let folder = open_images(path)?;
        match folder.labelling() {
            Labelling::One => {}
            Labelling::None => {
                let why = why_no_classes(path, &*folder);
                return Err(Failure::usage(format!(
                    "{} has no classes: {why}",
                    path.display()
                )));
            }
            Labelling::Several if L::SEVERAL => {}
            Labelling::Several => {
                return Err(Failure::usage(format!(
                    "images of {} have several classes each: this measure takes one, and eval svm any number",
                    path.display()
                )));
            }
        }
        Ok(Self {
            folder,
            path: path.to_path_buf(),
            part: None,
        })
    }

    /// The images that the encoder's run trained on, and those it was measured on.
    pub fn of_run(trained: &Trained) -> Result<[Self; 2], Failure> {
        const ADVICE: &str = "name labelled images with --train and --test";
        let Some(checkpoint) = trained.checkpoint() else {
            return Err(Failure::usage(format!(
                "{} holds weights alone, which are of no run: {ADVICE}",
                trained.path().display()
            )));
        };
        let mut settings = checkpoint.origin().settings.clone();
        settings.data.cache_mib = 0; // features are made of files
        let settings = &settings;
        // What the run left out, where that is written beside its checkpoint; looking again could find
        // others.
        let left_out = run_of(checkpoint.path()).map(RunFolder::left_out);
        let left_out = left_out.transpose().map_err(advice::report)?;
        let images = Sets::list(settings)
            .and_then(|sets| sets.readable(settings, left_out.as_ref(), &mut Ranks::alone()));
        let images = images.map_err(|failure| {
            failure.with(format!("Those are the images of the run; {ADVICE}."))
        })?;
        checkpoint
            .check_images(settings, &*images.train)
            .map_err(|e| Failure::usage(format!("{}: {ADVICE}", explain_em(&e))))?;
        for (_, bad) in &images.unreadable {
            warn(format!("skipped {}: {}", bad.name, bad.reason));
        }
        let Some(test) = images
            .test
            .filter(|test| test.labelling() == Labelling::One)
        else {
            return Err(Failure::usage(format!(
                "the run kept no images with classes out of training: {ADVICE}"
            )));
        };
        let data = &settings.data;
        let name = |path: Option<&PathBuf>| path.map_or("generated images".into(), Clone::clone);
        let whole = name(data.folder.as_ref());
        let (path, part) = match &data.test_folder {
            Some(folder) => (folder.clone(), "measured on"),
            None => (whole.clone(), "kept out of training"),
        };
        let of = |folder, path, part| Self {
            folder,
            path,
            part: Some(part),
        };
        Ok([of(images.train, whole, "trained on"), of(test, path, part)])
    }

    /// Two sets by their names, with the same classes and none of the same images.
    pub fn two<L: Label>(train: &Path, test: &Path) -> Result<[Self; 2], Failure> {
        let sets = [Self::open::<L>(train)?, Self::open::<L>(test)?];
        let [of_train, of_test] = sets.each_ref().map(|set| set.folder.classes());
        if let Some(at) = of_train.differ_at(of_test) {
            return Err(Failure::usage(format!(
                "the classes differ: number {at} is {} in {} and {} in {}; both need the same",
                class_name(of_train, at),
                train.display(),
                class_name(of_test, at),
                test.display()
            )));
        }
        check_apart(train, test)?;
        Ok(sets)
    }

    /// Those that a command names, or those of the encoder's run.
    pub fn pair<L: Label>(args: &PairArgs, trained: &Trained) -> Result<[Self; 2], Failure> {
        match (&args.train, &args.test) {
            (Some(train), Some(test)) => Self::two::<L>(train, test),
            _ => Self::of_run(trained),
        }
    }

    /// What the set was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which images the whole set is.
    pub fn describe_all(&self) -> serde_json::Value {
        let mut described =
            json!({"folder": self.path.display().to_string(), "images": self.folder.len()});
        if let Some(part) = self.part {
            described["part"] = json!(part);
        }
        described
    }

    /// Which images a figure belongs to.
    pub fn describe(&self, found: &FolderFeatures) -> serde_json::Value {
        let mut described = found.describe(&self.path);
        if let Some(part) = self.part {
            described["part"] = json!(part);
        }
        described
    }

    /// Features of those that can be read, and their classes.
    pub fn features<L: Label>(
        &self,
        trained: &Trained,
        output: Output,
    ) -> Result<(FolderFeatures, Vec<L>), Failure> {
        let found = features_of(trained, &self.path, self.folder.clone(), output)?;
        let label = |i: &u32| L::of(&*self.folder, *i as usize);
        let labels = found.indices.iter().filter_map(label).collect();
        Ok((found, labels))
    }
}
