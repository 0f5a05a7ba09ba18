//! Images that fail between an E-step and the first step behind it.

use image::RgbImage;
use protem_data::{ClassNames, Generated, GeneratedSpec, ReadError, Source, Split};
use protem_em::{Checkpoint, EmError, Event, Outcome, Plan, Settings, Trainer};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Generated images, on a disk that may be gone.
struct OnDisk {
    images: Generated,
    gone: AtomicBool,
}

impl Source for OnDisk {
    fn len(&self) -> usize {
        self.images.len()
    }
    fn name(&self, index: usize) -> String {
        self.images.name(index)
    }
    fn label(&self, _index: usize) -> Option<u32> {
        None
    }
    fn classes(&self) -> &ClassNames {
        self.images.classes()
    }
    fn describe(&self) -> String {
        self.images.describe()
    }
    fn read(&self, index: usize) -> Result<RgbImage, ReadError> {
        match self.gone.load(Ordering::Relaxed) {
            true => Err(ReadError::Io(std::io::ErrorKind::NotFound.into())),
            false => self.images.read(index),
        }
    }
}

fn on_disk() -> Arc<OnDisk> {
    let spec = GeneratedSpec {
        seed: 0,
        images: 96,
        size: 16,
        split: Split::Train,
    };
    Arc::new(OnDisk {
        images: Generated::new(spec),
        gone: AtomicBool::new(false),
    })
}

fn plan() -> Plan {
    let mut settings = Settings::default();
    settings.data.image_size = 16;
    settings.data.max_unreadable = 0.0;
    settings.encoder.width = 4;
    settings.encoder.dim = 16;
    settings.method.queue = Some(64);
    settings.method.clusters = Some(vec![20, 30]);
    settings.method.negatives = Some(16);
    settings.method.warmup_epochs = 1;
    settings.e_step.warm_start = true;
    settings.optim.epochs = 4;
    settings.optim.batch = 16;
    settings.checkpoint.every_epochs = 1000;
    Plan::check(&settings, 96).expect("a plan that works")
}

/// Runs to the end, or until images are gone behind the E-step of this epoch; what is told of E-steps and
/// epochs.
fn run(
    trainer: &mut Trainer,
    disk: &OnDisk,
    gone: usize,
) -> (Result<Outcome, EmError>, Vec<Event>) {
    let mut told = Vec::new();
    let mut hear = |event: &Event| {
        if matches!(event, Event::EStep { epoch, k: 30, .. } if *epoch == gone) {
            disk.gone.store(true, Ordering::Relaxed);
        }
        if let Event::EStep { .. } | Event::Epoch { .. } = event {
            told.push(event.clone());
        }
    };
    let outcome = trainer.run(&mut hear, &AtomicBool::new(false));
    (outcome, told)
}

/// Epochs, losses or objectives, and agreement with the clusters before.
fn figures(told: &[Event]) -> Vec<(usize, f64, Option<f64>)> {
    let of = |event: &Event| match event {
        Event::Epoch {
            epoch,
            loss,
            ami_previous,
            ..
        } => (*epoch, *loss, *ami_previous),
        Event::EStep {
            epoch,
            objective,
            ami_previous,
            ..
        } => (*epoch, *objective, *ami_previous),
        other => panic!("{other:?}"),
    };
    told.iter().map(of).collect()
}

#[test]
fn an_e_step_is_not_made_again_from_its_own_clusters() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |at: &Path| {
        let disk = on_disk();
        let trainer = Trainer::new(plan(), disk.clone(), None, at.to_path_buf());
        (trainer.expect("a run"), disk)
    };
    let (mut whole, disk) = start(&folder.path().join("whole"));
    let (outcome, expected) = run(&mut whole, &disk, usize::MAX);
    assert_eq!(outcome.expect("a whole run"), Outcome::Finished);

    let checkpoints = folder.path().join("torn");
    let (mut torn, disk) = start(&checkpoints);
    let (outcome, mut told) = run(&mut torn, &disk, 3);
    assert!(matches!(outcome, Err(EmError::Data(_))), "{outcome:?}");
    disk.gone.store(false, Ordering::Relaxed);
    let (from, _) = Checkpoint::newest(&checkpoints).expect("a checkpoint");
    assert_eq!((from.position().epoch, from.position().batch), (2, 0));
    // What was told stays told.
    assert!(told.iter().all(|event| event.precedes(from.position())));
    let mut resumed = Trainer::resume(plan(), disk.clone(), None, checkpoints, from).expect("it");
    let (outcome, more) = run(&mut resumed, &disk, usize::MAX);
    assert_eq!(outcome.expect("the rest"), Outcome::Finished);
    told.extend(more);
    assert_eq!(figures(&told), figures(&expected));
    let parameters = |trainer: &Trainer| trainer.state().pair.query.parameters().to_vec();
    assert_eq!(parameters(&resumed), parameters(&whole));
}
