//! Loaders bring the same batches whatever the workers, the start and the damage.

use image::{Rgb, RgbImage};
use protem_data::{
    Augment, AugmentConfig, ClassNames, DataError, DecodeOptions, Decoded, Evaluation, Folder,
    ReadError, Recipe, Share, Source, StillBatch, StillLoader, Subset, ViewBatch, ViewLoader,
    ViewPlan, draw_share, epoch_order, split_held_out,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pictures of 8 × 8 pixels told apart by their colour; classes take turns in threes, the last
/// image has none.
#[derive(Default)]
struct Pictures {
    images: usize,
    unreadable: BTreeSet<usize>,
    panics: Option<usize>,
    reads: AtomicUsize,
}

impl Pictures {
    fn new(images: usize, unreadable: impl IntoIterator<Item = usize>) -> Self {
        Self {
            images,
            unreadable: unreadable.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Source for Pictures {
    fn len(&self) -> usize {
        self.images
    }
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
    fn label(&self, index: usize) -> Option<u32> {
        (index + 1 < self.images).then_some(index as u32 % 3)
    }
    fn classes(&self) -> &ClassNames {
        const { &ClassNames::numbers(0) }
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        assert_ne!(self.panics, Some(index), "as told");
        if self.unreadable.contains(&index) {
            return Err(ReadError::Truncated);
        }
        let colour = Rgb([index as u8, 100, 200]);
        Ok(RgbImage::from_pixel(8, 8, colour))
    }
    fn describe(&self) -> String {
        "pictures".into()
    }
}

fn plan(source: impl Source + 'static) -> ViewPlan {
    let config = AugmentConfig {
        recipe: Recipe::V2,
        size: 8,
        min_scale: 0.2,
        blur: true,
    };
    ViewPlan {
        source: Arc::new(source),
        augment: Augment::new(config),
        seed: 1,
        epoch: 2,
        batch: 4,
        share: Share::ALL,
        start: 0,
        workers: 2,
    }
}

fn views(plan: ViewPlan) -> Vec<ViewBatch> {
    let batches = ViewLoader::<2>::new(plan).expect("enough images");
    batches.collect::<Result<_, _>>().expect("readable")
}

fn stills(source: impl Source + 'static, batch: usize) -> Vec<StillBatch> {
    StillLoader::new(Arc::new(source), Evaluation::for_size(8), batch, 2).collect()
}

#[test]
fn batches_do_not_depend_on_the_workers() {
    let with = |workers| {
        let plan = plan(Pictures::new(30, [3, 4]));
        views(ViewPlan { workers, ..plan })
    };
    let one = with(1);
    assert_eq!(one.len(), 7); // the last two of 30 do not make a batch
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn one_view_is_the_first_of_two() {
    let plan = || plan(Pictures::new(30, [3, 4]));
    let two = views(plan());
    let one: Vec<ViewBatch<1>> = ViewLoader::new(plan())
        .expect("enough images")
        .collect::<Result<_, _>>()
        .expect("readable");
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.views[0], two.views[0]);
        assert_eq!((&one.indices, &one.skipped), (&two.indices, &two.skipped));
    }
}

#[test]
fn a_later_start_skips_batches_and_changes_none() {
    let all = views(plan(Pictures::new(30, [])));
    for start in [0, 3, 7, 9] {
        let plan = plan(Pictures::new(30, []));
        let rest = views(ViewPlan { start, ..plan });
        assert_eq!(rest[..], all[start.min(7)..]);
    }
}

#[test]
fn rows_follow_the_epochs_order_with_two_different_views() {
    let batches = views(plan(Pictures::new(30, [])));
    let rows: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(rows[..], epoch_order(1, 2, 30)[..28]);
    for batch in batches {
        assert!(batch.views.iter().all(|v| v.len() == 4 * 8 * 8 * 3));
        assert_ne!(batch.views[0], batch.views[1]);
    }
}

#[test]
fn an_epochs_order_is_a_permutation_of_its_own() {
    let order = epoch_order(7, 0, 1000);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..1000));
    assert_eq!(order, epoch_order(7, 0, 1000));
    assert_ne!(order, epoch_order(7, 1, 1000));
    assert_ne!(order, epoch_order(8, 0, 1000));
}

#[test]
fn the_next_readable_image_takes_the_place_of_an_unreadable_one() {
    let order = epoch_order(1, 2, 12);
    let bad = [order[1], order[2]].map(|i| i as usize);
    let batches = views(plan(Pictures::new(12, bad)));
    let expected = [order[0], order[3], order[3], order[3]];
    assert_eq!(batches[0].indices, expected);
    let skipped = batches[0].skipped.iter().map(|bad| bad.index);
    assert_eq!(skipped.collect::<Vec<_>>(), [order[1], order[2]]);
    assert!(batches[1].skipped.is_empty());
}

#[test]
fn a_file_deleted_after_the_scan_is_reported() {
    let root = tempfile::tempdir().expect("a folder");
    for i in 0..8 {
        let path = root.path().join(format!("{i}.png"));
        let image = RgbImage::from_pixel(8, 8, Rgb([i, 0, 0]));
        image.save(path).expect("saved");
    }
    let folder = Folder::open(root.path()).expect("opens");
    std::fs::remove_file(root.path().join("5.png")).expect("removed");
    let skipped: Vec<_> = views(plan(folder.clone()))
        .into_iter()
        .flat_map(|batch| batch.skipped)
        .collect();
    assert!(!skipped.is_empty() && skipped.iter().all(|bad| bad.name == "5.png"));
    let batches = stills(folder, 8);
    assert_eq!(batches[0].unreadable[0].name, "5.png");
}

#[test]
fn a_source_without_a_readable_image_is_an_error_soon() {
    let source = Arc::new(Pictures::new(5000, 0..5000));
    let plan = ViewPlan {
        source: source.clone(),
        ..plan(Pictures::new(1, []))
    };
    let first = ViewLoader::<2>::new(plan).expect("starts").next();
    assert!(matches!(
        first,
        Some(Err(DataError::UnreadableInARow { .. }))
    ));
    assert!(source.reads.load(Ordering::Relaxed) < 5000);
}

#[test]
fn fewer_images_than_a_batch_are_refused() {
    for (images, batch) in [(3, 4), (3, 0)] {
        let plan = plan(Pictures::new(images, []));
        assert!(matches!(
            ViewLoader::<2>::new(ViewPlan { batch, ..plan }).err(),
            Some(DataError::FewerThanBatch { images: 3, .. })
        ));
    }
}

#[test]
fn dropping_a_loader_stops_it() {
    let source = Arc::new(Pictures::new(100_000, []));
    let plan = ViewPlan {
        source: source.clone(),
        ..plan(Pictures::new(1, []))
    };
    let mut loader = ViewLoader::<2>::new(plan).expect("starts");
    loader.next().expect("a batch").expect("readable");
    let begun = Instant::now();
    drop(loader);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The batch taken, those that wait, and one being made.
    assert!(source.reads.load(Ordering::Relaxed) <= 5 * 4);
    assert_eq!(Arc::strong_count(&source), 1);
}

#[test]
#[should_panic(expected = "as told")]
fn a_panic_of_the_source_does_not_pass_for_the_end() {
    let mut source = Pictures::new(30, []);
    source.panics = Some(epoch_order(1, 2, 30)[9] as usize);
    views(plan(source));
}

#[test]
fn stills_come_once_in_order_and_the_last_batch_may_be_short() {
    let batches = stills(Pictures::new(10, [6]), 4);
    let sizes: Vec<usize> = batches.iter().map(|b| b.indices.len()).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let rows: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    assert!(rows.iter().copied().eq(0..10));
    let pixels: Vec<u8> = batches.iter().flat_map(|b| b.images.clone()).collect();
    for (i, image) in pixels.chunks_exact(8 * 8 * 3).enumerate() {
        let expected = if i == 6 {
            [0, 0, 0]
        } else {
            [i as u8, 100, 200]
        };
        assert!(image.chunks(3).all(|pixel| pixel == expected), "image {i}");
    }
    let bad: Vec<u32> = batches
        .iter()
        .flat_map(|b| &b.unreadable)
        .map(|u| u.index)
        .collect();
    assert_eq!(bad, [6]);
}

#[test]
fn held_out_images_are_a_share_of_every_class_and_of_no_other() {
    let source = Pictures::new(61, []);
    let (keep, held_out) = split_held_out(&source, 0.2, 3);
    let all: BTreeSet<u32> = keep.iter().chain(&held_out).copied().collect();
    assert_eq!((all.len(), keep.len(), held_out.len()), (61, 49, 12));
    assert!(keep.is_sorted() && held_out.is_sorted());
    for class in 0..3 {
        let of_class = held_out.iter().filter(|i| *i % 3 == class).count();
        assert_eq!(of_class, 4, "20 images of class {class}");
    }
    assert!(keep.contains(&60), "an image without a class is kept");
    assert_eq!(split_held_out(&source, 0.2, 3), (keep, held_out.clone()));
    assert_ne!(split_held_out(&source, 0.2, 4).1, held_out);
    // One image of a class stays; of two, one is held out.
    let few = Pictures::new(6, []); // classes of 2, 2, 1, and one image without
    assert_eq!(split_held_out(&few, 0.01, 0).1.len(), 2);
    // To learn from, there is one of every class.
    assert_eq!(draw_share(&few, 0.01, 0).len(), 3);
    assert_eq!(draw_share(&few, 1.0, 0).len(), 5);
    assert_eq!(draw_share(&source, 0.2, 3), held_out);
}

#[test]
fn a_subset_reads_its_own_images() {
    let of: Arc<dyn Source> = Arc::new(Pictures::new(9, []));
    let subset = Subset::new(of, vec![7, 2]);
    assert_eq!((subset.len(), subset.label(0)), (2, Some(1)));
    assert_eq!(subset.name(1), "picture 2");
    assert_eq!(subset.read(1).expect("reads").get_pixel(0, 0).0[0], 2);
}

#[test]
fn over_all_ranks_an_image_comes_once_an_epoch() {
    let with = |rank, world| {
        let share = Share { rank, world };
        views(ViewPlan {
            share,
            ..plan(Pictures::new(50, []))
        })
    };
    let alone = views(plan(Pictures::new(50, [])));
    assert_eq!(with(0, 1), alone);
    for world in [2, 3, 5] {
        let ranks: Vec<Vec<ViewBatch>> = (0..world).map(|rank| with(rank, world)).collect();
        let batches = 50 / (4 * world);
        assert!(ranks.iter().all(|rank| rank.len() == batches));
        // In turn they are the batches of one rank, so the order of one is that of all.
        let in_turn = (0..batches).flat_map(|at| ranks.iter().map(move |rank| &rank[at]));
        assert!(in_turn.eq(&alone[..batches * world]));
    }
    let share = Share { rank: 0, world: 13 };
    let refused = ViewLoader::<2>::new(ViewPlan {
        share,
        ..plan(Pictures::new(50, []))
    });
    assert!(matches!(
        refused.err(),
        Some(DataError::FewerThanBatch {
            images: 50,
            batch: 52
        })
    ));
}

#[test]
fn cached_images_are_the_same_and_stay_within_the_budget() {
    const IMAGE: u64 = 8 * 8 * 3;
    let plain = views(plan(Pictures::new(30, [3])));
    for kept in [0, 1, 10, 30] {
        let source = Arc::new(Pictures::new(30, [3]));
        let budget = kept * IMAGE + IMAGE / 2;
        let cached = Arc::new(Decoded::new(
            source.clone(),
            DecodeOptions::default(),
            budget,
        ));
        for pass in 0..3 {
            let plan = ViewPlan {
                source: cached.clone(),
                ..plan(Pictures::new(1, []))
            };
            assert_eq!(views(plan), plain, "{kept} kept, pass {pass}");
            assert!(cached.bytes() <= budget);
        }
        let read: BTreeSet<u32> = plain.iter().flat_map(|b| b.indices.clone()).collect();
        let expected = kept.min(read.len() as u64);
        assert_eq!(cached.bytes(), expected * IMAGE, "{kept} kept");
        if kept == 30 {
            let reads = source.reads.load(Ordering::Relaxed);
            for index in (0..30).filter(|i| *i != 3) {
                let image = cached.read(index).expect("reads");
                assert_eq!(image.get_pixel(0, 0).0[0], index as u8);
            }
            let again = source.reads.load(Ordering::Relaxed) - reads;
            assert_eq!(again, 29 - read.len(), "only those not read yet");
        }
    }
}
