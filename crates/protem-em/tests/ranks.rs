//! A run on several ranks is the run on one, to rounding; and its ranks go together, whatever happens to one.

use image::RgbImage;
use protem_data::{ClassNames, Generated, GeneratedSpec, ReadError, Source, Split};
use protem_em::{
    Checkpoint, EmError, Event, Outcome, Plan, Ranks, Settings, Trainer, checkpoint_name,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const IMAGES: usize = 99;

/// Generated images, some of which cannot be read, and none any more once so many were.
struct Damaged {
    images: Generated,
    bad: Vec<usize>,
    left: AtomicUsize,
}

impl Source for Damaged {
    fn len(&self) -> usize {
        self.images.len()
    }
    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.images.label(index)
    }
    fn classes(&self) -> &ClassNames {
        self.images.classes()
    }
    fn describe(&self) -> String {
        self.images.describe()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        let one_less = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        let readable = self.left.fetch_update(set, fetch, one_less).is_ok();
        match readable && !self.bad.contains(&index) {
            true => self.images.read(index),
            false => Err(ReadError::Io(std::io::ErrorKind::NotFound.into())),
        }
    }
}

fn images(images: usize, split: Split, bad: &[usize]) -> Arc<Damaged> {
    readable(usize::MAX, images, split, bad)
}

/// Images of which so many can be read.
fn readable(left: usize, images: usize, split: Split, bad: &[usize]) -> Arc<Damaged> {
    let spec = GeneratedSpec {
        seed: 0,
        images,
        size: 16,
        split,
    };
    Arc::new(Damaged {
        images: Generated::new(spec),
        bad: bad.to_vec(),
        left: left.into(),
    })
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.data.image_size = 16;
    (settings.encoder.width, settings.encoder.dim) = (4, 16);
    (settings.encoder.split_bn, settings.encoder.shuffle_bn) = (4, true);
    settings.method.queue = Some(64);
    settings.method.clusters = Some(vec![8, 12, 20]);
    settings.method.negatives = Some(10);
    settings.method.warmup_epochs = 1;
    (settings.optim.batch, settings.optim.epochs) = (16, 3);
    settings.eval.knn_k = 5;
    settings
}

fn plan(settings: &Settings, ranks: usize) -> Plan {
    let plan = Plan::check(settings, IMAGES).expect("settings that work");
    plan.among(ranks)
        .expect("ranks among which parts can be divided")
}

/// What came of a rank: its outcome, what it told, and its parameters in the end.
type Ran = (Result<Outcome, EmError>, Vec<Event>, Vec<f32>);

/// Has `each` on as many threads as there are ranks.
fn on_ranks<T: Send>(ranks: usize, each: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let ranks = Ranks::within_process(ranks).expect("ports of this machine");
    thread::scope(|scope| {
        let each = &each;
        let threads = ranks
            .into_iter()
            .map(|ranks| scope.spawn(move || each(ranks)));
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .collect()
    })
}

fn run(settings: &Settings, world: usize, folder: &Path, bad: &[usize]) -> Vec<Ran> {
    on_ranks(world, |ranks| {
        let trainer = Trainer::new(
            plan(settings, world),
            images(IMAGES, Split::Train, bad),
            Some(images(20, Split::Test, &[])),
            folder.to_path_buf(),
        );
        let trainer = trainer.and_then(|trainer| trainer.among(ranks));
        finish(trainer.expect("ranks that agree"), &AtomicBool::new(false))
    })
}

fn finish(mut trainer: Trainer, stop: &AtomicBool) -> Ran {
    let mut told = Vec::new();
    let outcome = trainer.run(&mut |event: &Event| told.push(event.clone()), stop);
    let parameters = trainer.state().pair.query.parameters().to_vec();
    (outcome, told, parameters)
}

/// Steps' losses, and what clusterings and epochs come to; without times.
fn figures(told: &[Event]) -> Vec<Vec<f64>> {
    let of = |event: &Event| match event {
        Event::Step {
            loss_instance,
            loss_prototype,
            ..
        } => Some(vec![*loss_instance, loss_prototype.unwrap_or(0.0)]),
        Event::EStep {
            k,
            objective,
            ami_previous,
            ..
        } => Some(vec![*k as f64, *objective, ami_previous.unwrap_or(0.0)]),
        Event::Epoch {
            loss,
            knn_top1,
            effective_rank,
            ..
        } => {
            let (knn, rank) = (
                knn_top1.expect("measured"),
                effective_rank.expect("measured"),
            );
            Some(vec![*loss, knn, rank])
        }
        _ => None,
    };
    told.iter().filter_map(of).collect()
}

/// How far figures lie from others at most, relative to these.
fn apart(found: &[Vec<f64>], others: &[Vec<f64>]) -> f64 {
    let both = found.iter().flatten().zip(others.iter().flatten());
    assert_eq!(found.len(), others.len());
    both.fold(0.0, |most, (a, b)| {
        ((a - b).abs() / b.abs().max(0.1)).max(most)
    })
}

/// Where a value lies on the edge of a ReLU, rounding decides what is trained from there on; that does not happen with
/// every seed.
#[test]
fn ranks_train_what_one_trains() {
    for (what, change) in [
        (
            "shuffled",
            &(|_: &mut Settings| ()) as &dyn Fn(&mut Settings),
        ),
        ("in order", &|s| s.encoder.shuffle_bn = false),
        ("accumulated", &|s| s.optim.accumulate = 4),
        ("lars", &|s| s.optim.optimizer = protem_em::Optimizer::Lars),
    ] {
        for world in [2, 4] {
            let of_seed = |seed| {
                let mut settings = settings();
                settings.seed = seed;
                (settings.optim.epochs, settings.optim.lr) = (2, 1e-3);
                change(&mut settings);
                let folder = tempfile::tempdir().expect("a folder");
                let (_, told, one) = run(&settings, 1, &folder.path().join("one"), &[]).remove(0);
                let all = run(&settings, world, &folder.path().join("all"), &[]);
                let (_, of_first, parameters) = &all[0];
                for (rank, (outcome, told, others)) in all.iter().enumerate() {
                    assert!(matches!(outcome, Ok(Outcome::Finished)), "{outcome:?}");
                    assert!(told.is_empty() || rank == 0, "rank {rank} tells nothing");
                    assert!(others == parameters, "rank {rank} has the same bits");
                }
                let squares =
                    |values: &[f32]| values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
                let between: Vec<f32> = one.iter().zip(parameters).map(|(a, b)| a - b).collect();
                let of_weights = (squares(&between) / squares(&one)).sqrt();
                apart(&figures(of_first), &figures(&told)).max(of_weights)
            };
            let found = [1, 2, 3].map(of_seed);
            let least = found.into_iter().fold(f64::INFINITY, f64::min);
            assert!(least < 1e-5, "{what}, {world} ranks: {found:?}");
        }
    }
}

#[test]
fn as_many_ranks_again_are_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let of =
        |name: &str| run(&settings(), 2, &folder.path().join(name), &[3, 40, 41, 98]).remove(0);
    let ((_, told, one), (_, again, other)) = (of("one"), of("other"));
    assert!(one == other);
    assert_eq!(figures(&told), figures(&again));
}

/// Damaged images are passed over as on one rank, and told of once.
#[test]
fn unreadable_images_of_any_rank_are_told_by_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = [3, 40, 41, 98];
    let names = |told: &[Event]| {
        let name = |event: &Event| match event {
            Event::Quarantine { name, .. } => Some(name.clone()),
            _ => None,
        };
        let mut names: Vec<String> = told.iter().filter_map(name).collect();
        names.sort();
        names
    };
    let of = |world: usize| {
        let (outcome, told, _) = run(
            &settings(),
            world,
            &folder.path().join(world.to_string()),
            &bad,
        )
        .remove(0);
        assert!(matches!(outcome, Ok(Outcome::Finished)), "{outcome:?}");
        told
    };
    let (one, two) = (of(1), of(2));
    assert_eq!(names(&one), names(&two));
    assert_eq!(names(&one).len(), bad.len());
    let first_steps = |told: &[Event]| figures(told)[..5].to_vec();
    for (one, two) in first_steps(&one)
        .iter()
        .flatten()
        .zip(first_steps(&two).iter().flatten())
    {
        assert!(
            (one - two).abs() < 1e-3 * one.abs().max(0.1),
            "{one} and {two}"
        );
    }
}

/// Asked on any rank, all stop behind the same step; rank 0 has saved, and others go on from there, on another number of
/// ranks too.
#[test]
fn one_that_is_asked_to_stop_stops_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let saved = folder.path().join(checkpoint_name(1));
    let interrupted = on_ranks(2, |ranks| {
        let stop = AtomicBool::new(false);
        let asked = ranks.rank() == 1;
        let source = images(IMAGES, Split::Train, &[]);
        let trainer = Trainer::new(
            plan(&settings(), 2),
            source,
            None,
            folder.path().to_path_buf(),
        );
        let mut trainer = trainer
            .and_then(|t| t.among(ranks))
            .expect("ranks that agree");
        stop.store(asked, Ordering::Relaxed);
        let mut slow = |event: &Event| {
            if matches!(event, Event::Save { .. }) {
                thread::sleep(Duration::from_millis(300));
            }
        };
        let outcome = trainer.run(&mut slow, &stop);
        (outcome, saved.exists())
    });
    for (outcome, saved_before) in interrupted {
        assert!(saved_before, "nobody goes before rank 0 has saved");
        match outcome {
            Ok(Outcome::Interrupted { checkpoint }) => assert_eq!(checkpoint, saved),
            other => panic!("{other:?}"),
        }
    }
    for world in [2, 4, 1] {
        let bytes = std::fs::read(&saved).expect("rank 0 has saved");
        let going_on = on_ranks(world, |ranks| {
            let from = Checkpoint::from_bytes(&saved, &bytes).expect("a whole one");
            let source = images(IMAGES, Split::Train, &[]);
            let at = folder.path().join(world.to_string());
            let trainer = Trainer::resume(plan(&settings(), world), source, None, at, from);
            let trainer = trainer
                .and_then(|t| t.among(ranks))
                .expect("ranks that agree");
            finish(trainer, &AtomicBool::new(false))
        });
        let (outcome, told, _) = &going_on[0];
        assert!(matches!(outcome, Ok(Outcome::Finished)), "{outcome:?}");
        let noted = told
            .iter()
            .any(|e| matches!(e, Event::Note { text } if text.contains("the run had 2 ranks")));
        assert_eq!(noted, world != 2);
    }
}

/// Where one goes, here in the second epoch, the others end too, with what was trained saved.
#[test]
fn one_that_is_lost_ends_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = on_ranks(2, |ranks| {
        // Its part of the batches, and of the images that the epoch is measured by.
        let of_an_epoch = IMAGES / 16 * 8 + IMAGES.div_ceil(2);
        let left = [usize::MAX, of_an_epoch][ranks.rank()];
        let source = readable(left, IMAGES, Split::Train, &[]);
        let mut settings = settings();
        (
            settings.method.warmup_epochs,
            settings.checkpoint.every_epochs,
        ) = (3, 3);
        let trainer = Trainer::new(
            plan(&settings, 2),
            source,
            None,
            folder.path().to_path_buf(),
        );
        let trainer = trainer
            .and_then(|t| t.among(ranks))
            .expect("ranks that agree");
        finish(trainer, &AtomicBool::new(false)).0
    });
    assert!(matches!(ended[1], Err(EmError::Data(_))), "{:?}", ended[1]);
    assert!(matches!(ended[0], Err(EmError::Comm(_))), "{:?}", ended[0]);
    let saved = std::fs::read_dir(folder.path()).expect("a folder");
    let saved: Vec<_> = saved.map(|file| file.expect("a file").path()).collect();
    let [saved] = &saved[..] else {
        panic!("{saved:?}")
    };
    let saved = Checkpoint::open(saved).expect("a whole one");
    assert_eq!(saved.position().step, IMAGES as u64 / 16);
}

#[test]
fn ranks_that_do_not_fit_are_refused() {
    let refused = Plan::check(&settings(), IMAGES)
        .expect("a plan")
        .among(3)
        .expect_err("4 parts");
    assert_eq!(
        refused.to_string(),
        "encoder.split_bn = 4, and there are 3 ranks: each normalises images of its own, so the parts must be a multiple \
         of the ranks; no number of optim.batch = 16 would work"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let found = on_ranks(2, |ranks| {
        let mut settings = settings();
        settings.optim.lr = if ranks.is_first() { 0.03 } else { 0.05 };
        let source = images(IMAGES, Split::Train, &[]);
        let trainer = Trainer::new(
            plan(&settings, 2),
            source,
            None,
            folder.path().to_path_buf(),
        );
        trainer
            .and_then(|t| t.among(ranks))
            .err()
            .map(|e| e.to_string())
    });
    for found in found {
        let found = found.expect("they differ");
        assert!(
            found.starts_with("ranks differ in settings: rank 1 has"),
            "{found}"
        );
    }
}
