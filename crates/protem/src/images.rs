//! The images of a run: which are trained on, which kNN is measured on, which cannot be read.

use crate::console::{is_quiet, warn};
use crate::failure::{Failure, explain};
use crate::progress::style;
use crate::ranks::lost;
use indicatif::ProgressBar;
use protem_data::{
    ClassNames, DataError, Decoded, Generated, GeneratedSpec, Kind, Labelling, Location, Source,
    Split, Subset, Unreadable, scan, split_held_out,
};
use protem_em::{DataSettings, Event, ImageSet, Ranks, Set, Settings, unreadable_limit};
use protem_report::Listed;
use std::path::Path;
use std::sync::Arc;

/// The images of a run, with the unreadable ones left out.
pub struct Images {
    /// Trained on.
    pub train: Arc<dyn Source>,
    /// Measured on.
    pub test: Option<Arc<dyn Source>>,
    /// Found unreadable just now.
    pub unreadable: Vec<(Set, Unreadable)>,
}

/// The sets that a run's settings name, listed; nothing is decoded yet.
pub struct Sets {
    /// Trained on, and what is held out of it.
    train: Arc<dyn Source>,
    test: Option<Arc<dyn Source>>,
    /// They are made, not read.
    generated: bool,
}

impl Sets {
    /// Opens them.
    pub fn list(settings: &Settings) -> Result<Self, Failure> {
        let data = &settings.data;
        let Some(folder) = &data.folder else {
            return Ok(Self::generated(settings));
        };
        let open = |folder: &Path, kept| {
            let source = Decoded::new(open_images(folder)?, data.decode_options(), kept);
            Ok::<_, Failure>(Arc::new(source) as Arc<dyn Source>)
        };
        let train = open(folder, data.cache_bytes())?;
        // What is measured on is read seldom.
        let test = data.test_folder.as_ref().map(|test| open(test, 0));
        let test = test.transpose()?;
        if let (Some(test), Some(name)) = (&test, &data.test_folder) {
            check_classes((folder, &*train), (name, &**test))?;
            check_apart(folder, name)?;
        }
        Ok(Self {
            train,
            test,
            generated: false,
        })
    }

    /// The generated set, and a fifth as many images of its test stream.
    fn generated(settings: &Settings) -> Self {
        let make = |images, split| {
            let spec = GeneratedSpec {
                seed: settings.seed,
                images,
                size: settings.data.image_size,
                split,
            };
            Arc::new(Generated::new(spec)) as Arc<dyn Source>
        };
        let images = settings.data.generated_images;
        Self {
            train: make(images, Split::Train),
            test: Some(make((images / 5).max(10), Split::Test)),
            generated: true,
        }
    }

    /// Images that a run can train on at most.
    pub fn most(&self, settings: &Settings) -> usize {
        match self.holds_out(&settings.data) {
            true => split_held_out(&*self.train, settings.data.held_out, settings.seed)
                .0
                .len(),
            false => self.train.len(),
        }
    }

    /// Whether a part of the images is held out to measure on.
    fn holds_out(&self, data: &DataSettings) -> bool {
        let one = self.train.labelling() == Labelling::One;
        self.test.is_none() && one && data.held_out > 0.0
    }

    /// The images that can be read. Every one is decoded once, unless a run that goes on already
    /// knows which to leave out. Ranks do it together; all of them must have the same images.
    pub fn readable(
        self,
        settings: &Settings,
        known: Option<&Listed>,
        ranks: &mut Ranks,
    ) -> Result<Images, Failure> {
        let data = &settings.data;
        if self.generated {
            return Ok(Images {
                train: self.train,
                test: self.test,
                unreadable: Vec::new(),
            });
        }
        let holds_out = self.holds_out(data);
        let mut unreadable = Vec::new();
        let mut readable = |source: Arc<dyn Source>, set| {
            agree(&*source, set, ranks)?;
            let (source, bad) = readable(source, set, known, data.max_unreadable, ranks)?;
            unreadable.extend(bad.into_iter().map(|bad| (set, bad)));
            Ok::<_, Failure>(source)
        };
        let all = readable(self.train, Set::Training)?;
        let test = self.test.map(|test| readable(test, Set::Test));
        let test = test.transpose()?;
        if !holds_out {
            return Ok(Images {
                train: all,
                test,
                unreadable,
            });
        }
        let (keep, held_out) = split_held_out(&*all, data.held_out, settings.seed);
        let part = |keep| Arc::new(Subset::new(all.clone(), keep)) as Arc<dyn Source>;
        Ok(Images {
            train: part(keep),
            test: (!held_out.is_empty()).then(|| part(held_out)),
            unreadable,
        })
    }
}

impl Images {
    /// Says where no kNN is measured though the settings ask for it and images have no classes, or none
    /// to spare; or where images are kept out for none.
    pub fn warn_without_knn(&self, settings: &Settings) {
        let data = &settings.data;
        if settings.eval.knn_every == 0 {
            if data.folder.is_some() && data.test_folder.is_none() && self.test.is_some() {
                warn(
                    "eval.knn_every = 0: nothing is measured on the images that data.held_out keeps from training; data.held_out = 0 trains on them",
                );
            }
            return;
        }
        if self.test.is_some() {
            return;
        }
        let why = match (self.train.labelling(), &data.folder) {
            (Labelling::None, Some(folder)) => {
                let why = why_no_classes(folder, &*self.train);
                format!("no classes, and so no kNN: {why}")
            }
            (Labelling::One, _) if data.held_out > 0.0 => {
                "no kNN: no class has two images, of which one could be kept out of training; name others with --test".into()
            }
            _ => return,
        };
        warn(why);
    }

    /// What was found unreadable, as events.
    pub fn quarantined(&self) -> impl Iterator<Item = Event> {
        self.unreadable.iter().map(|(set, bad)| Event::Quarantine {
            set: *set,
            name: bad.name.clone(),
            reason: bad.reason.clone(),
            at_start: true,
        })
    }
}

/// What is measured on must have the classes of what is trained on, one an image. Each set with its name.
fn check_classes(
    (train_name, train): (&Path, &dyn Source),
    (test_name, test): (&Path, &dyn Source),
) -> Result<(), Failure> {
    let sets = [("training", train_name, train), ("test", test_name, test)];
    let without = sets
        .into_iter()
        .find(|(_, _, set)| set.labelling() == Labelling::None);
    let (of_train, of_test) = (train.classes(), test.classes());
    let wrong = match (without, of_train.differ_at(of_test)) {
        _ if train.labelling() == Labelling::Several => {
            "takes one class an image: these have several; name others".into()
        }
        (Some((set, name, source)), _) => format!(
            "needs classes: the {set} images have none ({}); name others",
            why_no_classes(name, source)
        ),
        (None, Some(at)) => format!(
            "needs the same classes in both sets: number {at} is {} in training and {} in the test; \
             name another test set",
            class_name(of_train, at),
            class_name(of_test, at)
        ),
        (None, None) => return Ok(()),
    };
    Err(Failure::usage(format!(
        "--test measures kNN, which {wrong}, or leave --test out"
    )))
}

/// Why images that were opened by this name have no classes.
pub fn why_no_classes(name: &Path, source: &dyn Source) -> String {
    beside_folders(name, source)
        .unwrap_or_else(|| "of a folder, there must be at least two folders of images in it".into())
}

/// Images to measure on must be others than those trained on.
pub fn check_apart(train: &Path, test: &Path) -> Result<(), Failure> {
    let place = |name: &Path| {
        let location = Location::parse(name);
        // A link to a folder is that folder.
        let path = location.path.canonicalize().unwrap_or(location.path);
        let mut options = location.options;
        if location.kind == Some(Kind::Generated) {
            // Fewer of them, or smaller ones, are the same images.
            let given = |name: &str, or: &str| {
                let option = options.iter().find(|(option, _)| option == name);
                option.map_or(or.to_owned(), |(_, value)| value.clone())
            };
            options = vec![
                ("seed".into(), given("seed", "0")),
                ("split".into(), given("split", "train")),
            ];
        }
        options.sort();
        (path, options)
    };
    if place(train) != place(test) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} has images of the training set too: each would find itself there, and what is measured say \
         nothing of others; name another test set",
        test.display()
    )))
}

/// What a message calls a class that may not be there.
pub fn class_name(names: &ClassNames, index: usize) -> String {
    let name = names.get(index);
    name.map_or("missing".into(), |name| format!("{name:?}"))
}

/// Images by a name: a folder, shards, a published set, `KIND:PATH?OPTION=VALUE`.
pub fn open_images(name: &Path) -> Result<Arc<dyn Source>, Failure> {
    let listing = match is_quiet() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new_spinner().with_message(format!("listing {}", name.display())),
    };
    listing.enable_steady_tick(std::time::Duration::from_millis(200));
    let opened = protem_data::open(name);
    listing.finish_and_clear();
    opened.map_err(|error| {
        let text = explain(&error);
        match error {
            DataError::NoFolder(_) | DataError::Missing(_) | DataError::NoImages { .. } => {
                Failure::usage(format!(
                    "{text}; name images by the folder they lie in or below, or by a file of them"
                ))
            }
            DataError::Damaged { .. } => {
                Failure::running(format!("{text}; fetch or write the file again"))
            }
            DataError::Read { .. } | DataError::Decompress { .. } => Failure::running(text),
            _ => Failure::usage(text),
        }
    })
}

/// Why images of a folder have no classes, if it is one that lies beside the folders in it.
fn beside_folders(path: &Path, source: &dyn Source) -> Option<String> {
    if !path.is_dir() {
        return None; // paths in a list are no classes
    }
    let in_folder = |index: &usize| source.name(*index).contains('/');
    let beside = (0..source.len()).find(|index| !in_folder(index))?;
    (0..source.len()).find(in_folder)?;
    Some(format!(
        "{} lies beside the folders of the others; in a folder of its own or elsewhere, each folder would be a class",
        source.name(beside)
    ))
}

/// Images whose check is told of where there is no bar.
const MANY: usize = 10_000;

/// Decodes everything once and leaves out what cannot be read; or leaves out what is `known`.
fn readable(
    source: Arc<dyn Source>,
    set: Set,
    known: Option<&Listed>,
    limit: f64,
    ranks: &mut Ranks,
) -> Result<(Arc<dyn Source>, Vec<Unreadable>), Failure> {
    let all = source.len();
    if let Some(known) = known {
        let keep: Vec<u32> = (0..all as u32)
            .filter(|i| !known.contains(set, &source.name(*i as usize)))
            .collect();
        if keep.len() == all {
            return Ok((source, Vec::new()));
        }
        return Ok((Arc::new(Subset::new(source, keep)), Vec::new()));
    }
    let bar = match is_quiet() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(all as u64),
    };
    let bar = bar.with_style(style("checking images [{bar:30}] {pos}/{len}, {eta} left"));
    if bar.is_hidden() && all >= MANY && !is_quiet() {
        warn(format!(
            "checking {all} images, each of which is decoded once"
        ));
    }
    let unreadable = unreadable_of(&source, ranks, &bar)?;
    bar.finish_and_clear();
    let bad = unreadable.len();
    if bad == 0 {
        return Ok((source, Vec::new()));
    }
    if bad == all || bad > unreadable_limit(all, limit) {
        return Err(Failure::running(format!(
            "{bad} of {all} images cannot be read, more than data.max_unreadable = {limit} allows:\n{}\nRemove them, or raise data.max_unreadable.",
            list(&unreadable)
        )));
    }
    let is_bad = |i: &u32| unreadable.binary_search_by_key(i, |bad| bad.index).is_ok();
    let readable = (0..all as u32).filter(|i| !is_bad(i)).collect();
    Ok((Arc::new(Subset::new(source, readable)), unreadable))
}

/// What cannot be read, in the source's order. Each rank looks at a part.
fn unreadable_of(
    source: &Arc<dyn Source>,
    ranks: &mut Ranks,
    bar: &ProgressBar,
) -> Result<Vec<Unreadable>, Failure> {
    let part = ranks.share(source.len());
    let own = Subset::new(source.clone(), part.clone().map(|i| i as u32).collect());
    bar.set_length(part.len() as u64);
    let mut own = scan(&own, &|done| bar.set_position(done as u64)).unreadable;
    for bad in &mut own {
        bad.index += part.start as u32;
    }
    let all = ranks.gather_data(own).map_err(lost)?;
    Ok(all.into_iter().flatten().collect())
}

/// Makes sure that all ranks have the same images, by their names.
fn agree(source: &dyn Source, set: Set, ranks: &mut Ranks) -> Result<(), Failure> {
    if ranks.world() == 1 {
        return Ok(());
    }
    let what = match set {
        Set::Training => "the training images",
        Set::Test => "the test images",
    };
    let own = ImageSet::of(source).to_string();
    ranks.agree(what, &own).map_err(lost)
}

/// The first of the unreadable images, one a line.
pub fn list(unreadable: &[Unreadable]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<String> = unreadable
        .iter()
        .take(SHOWN)
        .map(|u| format!("  {}: {}", u.name, u.reason))
        .collect();
    if unreadable.len() > SHOWN {
        lines.push(format!("  … and {} more", unreadable.len() - SHOWN));
    }
    lines.join("\n")
}
