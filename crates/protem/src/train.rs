//! `protem train`: from arguments to a finished run.

use crate::args::TrainArgs;
use crate::config;
use crate::failure::{Failure, explain};
use crate::features::open_folder;
use crate::progress::Progress;
use protem_data::{
    Generated, GeneratedSpec, Source, Split, Subset, Unreadable, scan, split_held_out,
};
use protem_em::{Checkpoint, EmError, Evaluated, Event, Outcome, Plan, Settings, Trainer};
use protem_report::{ReportError, RunFolder};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Runs the command.
pub fn train(args: TrainArgs) -> Result<(), Failure> {
    let folder = args.folder.as_deref().or(args.data.as_deref());
    let settings = if args.resume {
        let text = RunFolder::config(&args.out).map_err(report)?;
        config::from_text(&text, "the run's config.toml")?
    } else {
        config::load(args.config.as_deref(), folder.is_none(), &args.set)?
    };
    if let Some(threads) = settings.threads {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
        pool.map_err(|e| Failure::running(format!("cannot start {threads} threads: {e}")))?;
    }
    let images = Images::open(folder, args.test.as_deref(), &settings)?;
    let plan = Plan::check(&settings, images.train.len()).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(|v| format!("  {v}")).collect();
        Failure::usage(format!("these settings cannot work:\n{}", lines.join("\n")))
    })?;
    if args.dry_run {
        print_plan(&plan, &images);
        return Ok(());
    }
    let (mut run, mut trainer) = begin(&args, plan, &images)?;
    let mut progress = Progress::new(args.log_format);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|e| Failure::running(format!("cannot listen for signals: {e}")))?;
    }
    let mut baseline = Baseline::default();
    let mut failed = None;
    let mut listener = |event: &Event| {
        baseline.note(event);
        progress.tell(event);
        if failed.is_none() {
            failed = run.record(event).err();
        }
    };
    if !args.resume {
        images.unreadable.iter().for_each(|bad| {
            listener(&Event::Quarantine {
                name: bad.name.clone(),
                reason: bad.reason.clone(),
            });
        });
    }
    let outcome = trainer.run(&mut listener, &stop);
    drop(progress);
    if let Some(error) = failed {
        return Err(report(error));
    }
    finish(outcome, &args, folder, &baseline)
}

/// The images of a run, with the unreadable ones left out.
struct Images {
    train: Arc<dyn Source>,
    test: Option<Arc<dyn Source>>,
    unreadable: Vec<Unreadable>,
}

impl Images {
    fn open(
        folder: Option<&Path>,
        test: Option<&Path>,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let Some(folder) = folder else {
            return Ok(Self::generated(settings));
        };
        let limit = settings.data.max_unreadable;
        let (all, unreadable) = readable(open_folder(folder)?, limit)?;
        if let Some(test) = test {
            let (test, more) = readable(open_folder(test)?, limit)?;
            if all.classes() != test.classes() || all.classes().is_empty() {
                return Err(Failure::usage(format!(
                    "--test measures kNN: both folders must hold the same class folders (training {:?}, test {:?})",
                    all.classes(),
                    test.classes()
                )));
            }
            let unreadable = unreadable.into_iter().chain(more).collect();
            return Ok(Self {
                train: all,
                test: Some(test),
                unreadable,
            });
        }
        if all.classes().is_empty() || settings.data.held_out == 0.0 {
            return Ok(Self {
                train: all,
                test: None,
                unreadable,
            });
        }
        let (keep, held_out) = split_held_out(&*all, settings.data.held_out, settings.seed);
        let part = |keep| Arc::new(Subset::new(all.clone(), keep)) as Arc<dyn Source>;
        Ok(Self {
            train: part(keep),
            test: Some(part(held_out)),
            unreadable,
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
            unreadable: Vec::new(),
        }
    }
}

/// Decodes everything once and leaves out what cannot be read.
fn readable(
    source: Arc<dyn Source>,
    limit: f64,
) -> Result<(Arc<dyn Source>, Vec<Unreadable>), Failure> {
    let found = scan(&*source, &|_| {});
    if found.unreadable.is_empty() {
        return Ok((source, Vec::new()));
    }
    let (bad, all) = (found.unreadable.len(), source.len());
    if found.readable.is_empty() || bad as f64 > limit * all as f64 {
        let lines: Vec<String> = found
            .unreadable
            .iter()
            .take(20)
            .map(|u| format!("  {}: {}", u.name, u.reason))
            .collect();
        return Err(Failure::running(format!(
            "{bad} of {all} images cannot be read, more than data.max_unreadable = {limit} allows:\n{}\nRemove them, or raise data.max_unreadable.",
            lines.join("\n")
        )));
    }
    Ok((
        Arc::new(Subset::new(source, found.readable)),
        found.unreadable,
    ))
}

fn begin(args: &TrainArgs, plan: Plan, images: &Images) -> Result<(RunFolder, Trainer), Failure> {
    let checkpoints = RunFolder::checkpoints(&args.out);
    let (train, test) = (images.train.clone(), images.test.clone());
    if args.resume {
        let (checkpoint, refused) = Checkpoint::newest(&checkpoints).map_err(em)?;
        for (_, reason) in refused {
            eprintln!("protem: {reason}; taking the one before");
        }
        let run = RunFolder::resume(&args.out, checkpoint.position().step).map_err(report)?;
        let trainer = Trainer::resume(plan, train, test, checkpoints, checkpoint).map_err(em)?;
        return Ok((run, trainer));
    }
    let text = toml::to_string_pretty(&plan.settings).expect("settings are TOML");
    let run = RunFolder::create(&args.out, &text, args.overwrite).map_err(report)?;
    Ok((
        run,
        Trainer::new(plan, train, test, checkpoints).map_err(em)?,
    ))
}

fn print_plan(plan: &Plan, images: &Images) {
    print!(
        "{}",
        toml::to_string_pretty(&plan.settings).expect("settings are TOML")
    );
    println!(
        "\n# {} training images, {} unreadable",
        plan.images,
        images.unreadable.len()
    );
    println!(
        "# {} test images for kNN",
        images.test.as_ref().map_or(0, |t| t.len())
    );
    println!(
        "# {} steps an epoch, {} in all",
        plan.steps_per_epoch(),
        plan.steps_per_epoch() * plan.optim.epochs
    );
    plan.notes.iter().for_each(|note| println!("# {note}"));
}

/// What the end of a run is held against.
#[derive(Default)]
struct Baseline {
    chance: Option<f64>,
    raw_pixels: Option<f64>,
    untrained: Option<f64>,
    knn: Option<f64>,
}

impl Baseline {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Eval {
                features: Evaluated::RawPixels,
                top1,
                chance,
                ..
            } => {
                (self.raw_pixels, self.chance) = (Some(*top1), Some(*chance));
            }
            Event::Eval {
                features: Evaluated::Untrained,
                top1,
                ..
            } => self.untrained = Some(*top1),
            Event::Done { knn_top1, .. } => self.knn = *knn_top1,
            _ => {}
        }
    }
}

fn finish(
    outcome: Result<Outcome, EmError>,
    args: &TrainArgs,
    folder: Option<&Path>,
    b: &Baseline,
) -> Result<(), Failure> {
    let out = args.out.display();
    let data = folder
        .map(|f| format!("{} ", f.display()))
        .unwrap_or_default();
    match outcome.map_err(em)? {
        Outcome::Interrupted { checkpoint } => Err(Failure::interrupted(format!(
            "stopped; everything is in {}. Go on with:\n  protem train {data}--resume --out {out}",
            checkpoint.display()
        ))),
        Outcome::Finished => {
            let percent =
                |x: Option<f64>| x.map_or("–".into(), |x| format!("{:.1} %", 100.0 * x));
            if b.knn.is_some() {
                println!(
                    "\nkNN accuracy {} (chance {}, raw pixels {}, untrained encoder {})",
                    percent(b.knn),
                    percent(b.chance),
                    percent(b.raw_pixels),
                    percent(b.untrained)
                );
            }
            println!("Run folder: {out}");
            let next = folder.map_or("FOLDER".into(), |f| f.display().to_string());
            println!("Next: protem embed --checkpoint {out} --data {next} --out features.npy");
            Ok(())
        }
    }
}

/// What the user can do about a run folder.
fn report(error: ReportError) -> Failure {
    let text = explain(&error);
    match error {
        ReportError::Occupied(_) => Failure::usage(format!(
            "{text}: go on with it by --resume, replace it by --overwrite, or name another with --out"
        )),
        ReportError::NoRun(_) => Failure::usage(format!(
            "{text}: name the run's folder with --out, or leave --resume out"
        )),
        _ => Failure::running(text),
    }
}

/// What the user can do about a failed run.
fn em(error: EmError) -> Failure {
    let text = explain(&error);
    match error {
        EmError::NotFinite { .. } => Failure::running(format!(
            "{text}. The last checkpoint is kept; try a lower learning rate (--set optim.lr=…)"
        )),
        EmError::NoCheckpoint { refused, .. } => {
            let reasons: Vec<String> = refused
                .into_iter()
                .map(|(_, reason)| format!("  {reason}"))
                .collect();
            Failure::running(format!("{text}\n{}", reasons.join("\n")))
        }
        EmError::Mismatch { .. } => Failure::usage(format!(
            "{text}: resume with the images and settings the run was begun with"
        )),
        _ => Failure::running(text),
    }
}
