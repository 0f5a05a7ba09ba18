//! Some clusters of a clustering, with the images nearest to their prototypes.

use crate::args::ReportArgs;
use crate::console::warn;
use crate::failure::{Failure, explain};
use crate::features::{embedded, image_bar};
use protem_data::{Source, Subset, thumbnail};
use protem_em::{Checkpoint, Clustering, Output, normalise_rows};
use protem_report::{Card, ClassShare, Picture, Section, counted};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longer side of a picture, in pixels.
const SIDE: u32 = 96;
/// Members that are embedded for each picture: enough for the nearest of them to be near.
const EMBEDDED: usize = 8;

/// Cards of clusters, and what is to be known of them.
pub struct Gallery {
    /// Share of images that are of the commonest class of their cluster, if there are classes.
    pub purity: Option<f64>,
    pub sections: Vec<Section>,
    /// Sentences about the pictures.
    pub notes: Vec<String>,
}

/// A cluster that is shown, and where its images are in the source.
struct Chosen {
    number: usize,
    members: Vec<u32>,
}

/// Pictures of clusters, by the cluster's number.
type Pictures = BTreeMap<usize, Vec<Picture>>;

/// Images that were passed over, by their index.
type Skipped = BTreeSet<u32>;

/// Chooses clusters, and pictures unless there are no `images` or they are not wanted.
pub fn gallery(
    args: &ReportArgs,
    checkpoint: &Checkpoint,
    clustering: &Clustering,
    images: Result<Arc<dyn Source>, String>,
) -> Result<Gallery, Failure> {
    let members = members(clustering);
    let sections = choose(&members, &clustering.concentration, args.clusters);
    let images = images.and_then(|images| match images.len() == clustering.labels.len() {
        true => Ok(images),
        false => Err("the checkpoint's labels are of another number of images".into()),
    });
    let chosen = |number: &usize| Chosen {
        number: *number,
        members: members[*number].clone(),
    };
    let numbers = sections.iter().flat_map(|(_, numbers)| numbers);
    let chosen: Vec<Chosen> = numbers.map(chosen).collect();
    let without = |why: String| (Pictures::new(), vec![why]);
    let (mut pictures, notes) = match &images {
        _ if args.no_images => without("Without images, as was asked for.".into()),
        Err(why) => without(format!("Without images, which are not to be found: {why}.")),
        Ok(images) => pictures(args.images, checkpoint, clustering, images, &chosen)?,
    };
    let source = images
        .as_ref()
        .ok()
        .filter(|images| !images.classes().is_empty());
    let mut card = |number: usize| Card {
        number,
        size: members[number].len(),
        concentration: clustering.concentration[number],
        class: source.and_then(|source| commonest(&**source, &members[number])),
        pictures: pictures.remove(&number).unwrap_or_default(),
    };
    let sections = sections.into_iter().map(|(title, numbers)| Section {
        title: title.to_owned(),
        cards: numbers.into_iter().map(&mut card).collect(),
    });
    let sections = sections.collect();
    Ok(Gallery {
        purity: source.map(|source| purity(&**source, &members)),
        sections,
        notes,
    })
}

/// The images of each cluster, ascending.
fn members(clustering: &Clustering) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); clustering.k()];
    for (image, label) in clustering.labels.iter().enumerate() {
        members[*label as usize].push(image as u32);
    }
    members
}

/// `count` clusters with images, each once: all of them by size, or the largest, the tightest and the
/// loosest, a third each. Equals come by size, then by number.
fn choose(
    members: &[Vec<u32>],
    concentration: &[f32],
    count: usize,
) -> Vec<(&'static str, Vec<usize>)> {
    let size = |i: &usize| members[*i].len();
    let mut left: Vec<usize> = (0..members.len()).filter(|i| size(i) > 0).collect();
    left.sort_by_key(|i| (std::cmp::Reverse(size(i)), *i));
    if left.len() <= count {
        return vec![("All, the largest first", left)];
    }
    let third = count.div_ceil(3);
    let mut sections = vec![("The largest", left.drain(..third.min(count)).collect())];
    // φ is clipped to percentiles, so that several have the least and the greatest.
    left.sort_by(|a, b| concentration[*a].total_cmp(&concentration[*b]));
    let tightest = third.min(count - third);
    sections.push((
        "The tightest of the others: least φ",
        left.drain(..tightest).collect(),
    ));
    left.sort_by(|a, b| concentration[*b].total_cmp(&concentration[*a]));
    left.truncate(count - third - tightest);
    sections.push(("The loosest of the others: greatest φ", left));
    sections.retain(|(_, numbers): &(_, Vec<usize>)| !numbers.is_empty());
    sections
}

/// How many of the images each class has.
fn of_classes(source: &dyn Source, images: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for class in images.iter().flat_map(|i| source.labels(*i as usize)) {
        *counts.entry(class).or_insert(0) += 1;
    }
    counts
}

/// The class that most of the images have; of equals the first.
fn commonest(source: &dyn Source, images: &[u32]) -> Option<ClassShare> {
    let counts = of_classes(source, images);
    let (class, count) = counts.iter().rev().max_by_key(|(_, count)| **count)?;
    Some(ClassShare {
        name: class_name(source, *class),
        share: *count as f64 / images.len() as f64,
    })
}

/// What a class is called.
pub fn class_name(source: &dyn Source, class: u32) -> String {
    let name = source.classes().get(class as usize);
    name.map_or_else(|| class.to_string(), |name| name.to_string())
}

/// Share of all images that have the commonest class of their cluster.
fn purity(source: &dyn Source, members: &[Vec<u32>]) -> f64 {
    let most = |images: &Vec<u32>| of_classes(source, images).into_values().max();
    let of: usize = members.iter().filter_map(most).sum();
    of as f64 / source.len().max(1) as f64
}

/// Up to `images` pictures of each chosen cluster by its number, and sentences about them.
fn pictures(
    images: usize,
    checkpoint: &Checkpoint,
    clustering: &Clustering,
    source: &Arc<dyn Source>,
    chosen: &[Chosen],
) -> Result<(Pictures, Vec<String>), Failure> {
    let samples: Vec<Vec<u32>> = chosen
        .iter()
        .map(|of| sample(&of.members, images * EMBEDDED))
        .collect();
    let (nearest, mut skipped) = nearest(checkpoint, clustering, source, chosen, &samples)?;
    let wanted = nearest.iter().map(|near| near.len().min(images)).sum();
    let bar = image_bar(wanted, "thumbnails".into());
    let mut pictures = Pictures::new();
    for (of, near) in chosen.iter().zip(&nearest) {
        let near = &near[..near.len().min(images)];
        let read = |i: &u32| {
            let read = source.read(*i as usize);
            bar.inc(1);
            read.map(|image| thumbnail(&image, SIDE))
                .map_err(|e| e.to_string())
        };
        let read: Vec<Result<Vec<u8>, String>> = near.par_iter().map(read).collect();
        let mut shown = Vec::new();
        for (i, jpeg) in near.iter().zip(read) {
            let name = source.name(*i as usize);
            match jpeg {
                Ok(jpeg) => shown.push(Picture { name, jpeg }),
                Err(reason) => {
                    warn(format!("skipped {name}: {reason}"));
                    skipped.insert(*i);
                }
            }
        }
        pictures.insert(of.number, shown);
    }
    bar.finish_and_clear();
    Ok((pictures, notes(&samples, chosen, checkpoint, &skipped)))
}

/// `count` of the images, spread evenly over them; all if there are no more.
pub fn sample(images: &[u32], count: usize) -> Vec<u32> {
    let taken = count.min(images.len());
    (0..taken)
        .map(|i| images[i * images.len() / taken])
        .collect()
}

/// The images of each sample that can be read, the nearest to its cluster's prototype first, and those
/// that cannot.
fn nearest(
    checkpoint: &Checkpoint,
    clustering: &Clustering,
    source: &Arc<dyn Source>,
    chosen: &[Chosen],
    samples: &[Vec<u32>],
) -> Result<(Vec<Vec<u32>>, Skipped), Failure> {
    let encoder = checkpoint
        .key_encoder()
        .map_err(|e| Failure::running(explain(&e)))?;
    let dim = encoder.config().dim;
    let all = Arc::new(Subset::new(source.clone(), samples.concat()));
    let (size, what) = (checkpoint.image_size(), "embedding images of the clusters");
    let mut extracted = embedded(&encoder, all, size, Output::Embedding, what.into())?;
    let bad: BTreeSet<u32> = extracted.unreadable.iter().map(|bad| bad.index).collect();
    normalise_rows(&mut extracted.values, dim);
    let mut prototypes = clustering.centroids.clone();
    normalise_rows(&mut prototypes, dim);
    let mut rows = (0u32..).zip(extracted.values.chunks_exact(dim));
    let mut skipped = Skipped::new();
    let nearest = chosen.iter().zip(samples).map(|(of, sample)| {
        let prototype = &prototypes[of.number * dim..][..dim];
        let mut near = Vec::new();
        for (image, (row, embedding)) in sample.iter().zip(&mut rows) {
            match bad.contains(&row) {
                true => _ = skipped.insert(*image),
                false => near.push((*image, dot(embedding, prototype))),
            }
        }
        near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        near.into_iter().map(|(image, _)| image).collect()
    });
    let nearest = nearest.collect();
    Ok((nearest, skipped))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

fn notes(
    samples: &[Vec<u32>],
    chosen: &[Chosen],
    checkpoint: &Checkpoint,
    skipped: &Skipped,
) -> Vec<String> {
    let sampled = samples.iter().zip(chosen);
    let whole = sampled
        .clone()
        .all(|(sample, of)| sample.len() == of.members.len());
    let most = samples.iter().map(Vec::len).max().unwrap_or(0);
    let of = match whole {
        true => "all images of a cluster".to_owned(),
        false => format!("up to {most} images of a cluster, evenly spread over them"),
    };
    let mut notes = vec![format!(
        "The images shown are those nearest to the prototype, by the key encoder of step {} under the centre crop, of {of}.",
        checkpoint.position().step
    )];
    if !skipped.is_empty() {
        notes.push(format!(
            "{} cannot be read and {} left out.",
            counted(skipped.len(), "image"),
            if skipped.len() == 1 { "is" } else { "are" }
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clusters(sizes: &[usize]) -> Vec<Vec<u32>> {
        sizes.iter().map(|size| vec![0; *size]).collect()
    }

    #[test]
    fn few_clusters_are_all_shown_but_for_empty_ones() {
        let chosen = choose(&clusters(&[2, 0, 5, 2]), &[0.1; 4], 3);
        assert_eq!(chosen, [("All, the largest first", vec![2, 0, 3])]);
    }

    #[test]
    fn of_many_each_is_shown_once() {
        let members = clusters(&[9, 1, 8, 3, 4, 5, 2]);
        let phi = [0.1, 0.5, 0.2, 0.1, 0.5, 0.3, 0.2];
        let numbers = |count| {
            let chosen = choose(&members, &phi, count);
            chosen
                .into_iter()
                .map(|(_, numbers)| numbers)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(6), [vec![0, 2], vec![3, 6], vec![4, 1]]);
        assert_eq!(numbers(4), [vec![0, 2], vec![3, 6]]);
        assert_eq!(numbers(1), [vec![0]]);
    }

    #[test]
    fn samples_are_spread_evenly() {
        let images: Vec<u32> = (0..10).collect();
        assert_eq!(sample(&images, 4), [0, 2, 5, 7]);
        assert_eq!(sample(&images, 12), images);
        assert!(sample(&[], 4).is_empty());
    }
}
