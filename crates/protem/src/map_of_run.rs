//! Images of a run laid out by their features, for its report.

use crate::args::ReportArgs;
use crate::console::warn;
use crate::failure::{Failure, explain};
use crate::features::{embedded, image_bar};
use crate::gallery::{class_name, sample};
use crate::map::laid_out;
use protem_data::{Labelling, RgbImage, Source, Subset, contact_sheet, fitted, sheet_jpeg};
use protem_em::{Checkpoint, Clustering, Output};
use protem_eval::{Features, Tsne, TsneConfig};
use protem_report::{Groups, Map, Plane, Point, Sheet};
use rayon::prelude::*;
use std::sync::Arc;

/// Pixels from one image of the sheet to the next, in which JPEG's blocks end, and between two.
const PITCH: u32 = 48;
const GAP: u32 = 2;
/// Images of a map at most: each is an element of the page.
pub const MOST: usize = 10_000;

/// The images of a map, all of which can be read.
struct Shown {
    source: Arc<dyn Source>,
    /// Where they are in the source.
    images: Vec<u32>,
    thumbnails: Vec<RgbImage>,
    features: Features,
}

/// The map of a run's `images`, coloured by classes or, without them, by clusters.
pub fn map_of_run(
    args: &ReportArgs,
    checkpoint: &Checkpoint,
    clustering: Option<&Clustering>,
    images: &Result<Arc<dyn Source>, String>,
) -> Result<Map, Failure> {
    let source = match images {
        _ if args.no_images || args.map_images == 0 => {
            return Ok(Map::None("Without a map, as was asked for.".into()));
        }
        Err(why) => {
            let why = format!("Without a map, as the images are not to be found: {why}.");
            return Ok(Map::None(why));
        }
        Ok(source) => source,
    };
    let Some(shown) = Shown::of(args, checkpoint, source)? else {
        return Ok(Map::None("Without a map: no image can be read.".into()));
    };
    let config = TsneConfig {
        seed: checkpoint.origin().settings.seed,
        ..TsneConfig::default()
    };
    let map = laid_out(shown.features.clone(), &config)?;
    // Labels of other images tell nothing of these.
    let clustering = clustering.filter(|found| found.labels.len() == source.len());
    let (groups, told) = shown.groups(clustering);
    let notes = shown.notes(checkpoint, &groups, &config, &map);
    let points = shown.points(&map, clustering, &told);
    Ok(Map::Shown(Plane {
        points,
        groups,
        sheet: shown.sheet(),
        notes,
    }))
}

impl Shown {
    /// A sample of the images, with features by the key encoder; none if no image can be read.
    fn of(
        args: &ReportArgs,
        checkpoint: &Checkpoint,
        source: &Arc<dyn Source>,
    ) -> Result<Option<Self>, Failure> {
        let all: Vec<u32> = (0..source.len() as u32).collect();
        let (images, thumbnails) = thumbnails(&**source, sample(&all, args.map_images));
        if images.is_empty() {
            return Ok(None);
        }
        let encoder = checkpoint
            .key_encoder()
            .map_err(|e| Failure::running(explain(&e)))?;
        let some = Arc::new(Subset::new(source.clone(), images.clone()));
        let (size, what) = (checkpoint.image_size(), "embedding images of the map");
        let extracted = embedded(&encoder, some, size, Output::Features, what.into())?;
        let dim = encoder.config().feature_dim();
        let (values, rows) = extracted.readable(dim);
        if rows.is_empty() {
            return Ok(None);
        }
        let features = Features::new(values, dim).map_err(|e| Failure::running(explain(&e)))?;
        let mut thumbnails: Vec<Option<RgbImage>> = thumbnails.into_iter().map(Some).collect();
        let thumbnails = rows
            .iter()
            .filter_map(|row| thumbnails[*row as usize].take());
        Ok(Some(Self {
            source: source.clone(),
            images: rows.iter().map(|row| images[*row as usize]).collect(),
            thumbnails: thumbnails.collect(),
            features,
        }))
    }

    /// What the points are coloured by, and the group of each image in that.
    fn groups(&self, clustering: Option<&Clustering>) -> (Groups, Vec<Option<usize>>) {
        let classes = self.source.classes();
        if !classes.is_empty() {
            let first = |i: &u32| self.source.labels(*i as usize).first().map(|c| *c as usize);
            let groups = Groups {
                what: "classes".into(),
                names: classes.iter().map(|name| name.to_string()).collect(),
            };
            return (groups, self.images.iter().map(first).collect());
        }
        let Some(clustering) = clustering else {
            return (Groups::default(), vec![None; self.images.len()]);
        };
        let cluster = |i: &u32| Some(clustering.labels[*i as usize] as usize);
        let groups = Groups {
            what: "clusters".into(),
            names: (0..clustering.k())
                .map(|i| format!("cluster {i}"))
                .collect(),
        };
        (groups, self.images.iter().map(cluster).collect())
    }

    fn points(
        &self,
        map: &Tsne,
        clustering: Option<&Clustering>,
        groups: &[Option<usize>],
    ) -> Vec<Point> {
        let all = self.images.iter().zip(&map.places).zip(groups);
        let point = |((image, place), group): ((&u32, &[f32; 2]), &Option<usize>)| {
            let index = *image as usize;
            let cluster = clustering.map(|found| format!("cluster {}", found.labels[index]));
            let classes = self.source.labels(index).into_iter();
            let classes = classes.map(|class| class_name(&*self.source, class));
            let told = classes.chain(cluster);
            Point {
                place: *place,
                name: self.source.name(index),
                group: *group,
                told: told.collect::<Vec<_>>().join(", "),
            }
        };
        all.map(point).collect()
    }

    fn notes(
        &self,
        checkpoint: &Checkpoint,
        groups: &Groups,
        config: &TsneConfig,
        map: &Tsne,
    ) -> Vec<String> {
        let (shown, all) = (self.images.len(), self.source.len());
        let of = match shown == all {
            true => format!("All {all} images"),
            false => format!("{shown} of the {all} images, evenly spread over them,"),
        };
        let colours = match self.source.labelling() {
            _ if groups.names.is_empty() => String::new(),
            Labelling::Several => " Colours are classes, of several the first.".into(),
            _ => format!(" Colours are {}.", groups.what),
        };
        let perplexity = config.perplexity_of(shown);
        vec![format!(
            "{of} by their features, from the key encoder of step {} under the centre crop: what is alike by these lies together.{colours} The map is by t-SNE (perplexity {perplexity:.0}, {:.2} nats from the features' affinities): how far groups are from each other, and how large they are drawn, tells little.",
            checkpoint.position().step,
            map.divergence
        )]
    }

    fn sheet(&self) -> Sheet {
        let columns = self.thumbnails.len().isqrt().max(1);
        let rows: Vec<Vec<RgbImage>> = self.thumbnails.chunks(columns).map(<[_]>::to_vec).collect();
        Sheet {
            jpeg: sheet_jpeg(&contact_sheet(&rows, PITCH - GAP)),
            columns,
            pitch: PITCH,
            gap: GAP,
        }
    }
}

/// Those of the images that can be read, and small ones of them.
fn thumbnails(source: &dyn Source, images: Vec<u32>) -> (Vec<u32>, Vec<RgbImage>) {
    let bar = image_bar(images.len(), "thumbnails of the map".into());
    let read = |i: &u32| {
        let read = source.read(*i as usize);
        bar.inc(1);
        read.map(|image| fitted(&image, PITCH - GAP))
            .map_err(|e| e.to_string())
    };
    let read: Vec<Result<RgbImage, String>> = images.par_iter().map(read).collect();
    bar.finish_and_clear();
    let (mut readable, mut thumbnails) = (Vec::new(), Vec::new());
    for (image, read) in images.into_iter().zip(read) {
        match read {
            Ok(thumbnail) => {
                readable.push(image);
                thumbnails.push(thumbnail);
            }
            Err(reason) => warn(format!("skipped {}: {reason}", source.name(image as usize))),
        }
    }
    (readable, thumbnails)
}
