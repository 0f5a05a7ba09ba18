//! `protem train`: from arguments to a finished run.

use crate::advice::{self, em, report, warn_of_size, warn_of_speed};
use crate::args::{LogFormat, TrainArgs};
use crate::console::{say, warn};
use crate::encoder;
use crate::failure::{Failure, explain, explain_em};
use crate::images::{Images, Sets};
use crate::progress::Progress;
use crate::ranks::{self, Brief, before_training, lost};
use crate::room::{check_disk, check_memory};
use crate::system::{start_threads, stop_flag};
use crate::{config, dry_run};
use protem_data::Location;
use protem_em::{Checkpoint, EmError, Event, Note, Outcome, Plan, Ranks, Settings, Trainer};
use protem_report::{History, ReportError, RunFolder, percent};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Runs the command.
pub fn train(args: TrainArgs) -> Result<(), Failure> {
    let mut ranks = ranks::join()?;
    if !ranks.is_first() {
        return ranks::follow(ranks);
    }
    let machine = ranks::machine(&mut ranks)?;
    check_names(&args)?;
    let settings = settings(&args)?;
    start_threads("threads", settings.threads.or(machine.threads))?;
    check_out(&args)?;
    // Only the images that the checkpoint knows of: looking again could find others unreadable.
    let goes_on = args.resume && RunFolder::has_checkpoints(&args.out);
    if goes_on {
        ranks::check_parts(&settings, ranks.world())?;
    }
    let left_out = goes_on.then(|| RunFolder::left_out(&args.out)).transpose();
    let left_out = left_out.map_err(report)?;
    let sets = Sets::list(&settings).map_err(|failure| of_config(&args, &settings, failure))?;
    let mut of_weights = Vec::new();
    if !goes_on {
        // Before all images are decoded: with fewer of them, what is wrong stays wrong.
        let plan = config::plan(&settings, sets.most(&settings), ranks.world())?;
        let weights = plan.weights().map_err(advice::weights)?;
        let notes = weights.map(|weights| Note::of_weights(&weights, &plan.encoder));
        of_weights = notes.unwrap_or_default();
    }
    let brief = Brief {
        settings: settings.clone(),
        left_out: left_out.clone(),
        dry_run: args.dry_run,
    };
    ranks.broadcast_data(0, Some(brief)).map_err(lost)?;
    let images = sets.readable(&settings, left_out.as_ref(), &mut ranks)?;
    let from = goes_on.then(|| newest(&args.out)).transpose()?;
    if let Some(from) = &from {
        // Before the settings, of which some follow from the images.
        from.check_images(&settings, &*images.train).map_err(em)?;
    }
    let mut plan = config::plan(&settings, images.train.len(), ranks.world())?;
    check_memory(&plan, &images, machine.ranks)?;
    warn_of_speed(&plan);
    match &from {
        Some(from) => say_what_is_new(&args, &mut plan, from),
        None => {
            warn_of_size(&plan, &*images.train);
            images.warn_without_knn(&settings);
        }
    }
    if args.dry_run {
        plan.notes.extend(of_weights);
        if let Some(from) = &from {
            plan.notes
                .extend(from.check_plan(&plan, &*images.train).map_err(em)?);
        }
        return dry_run::print(&args, &plan, &images, from.as_ref());
    }
    check_disk(&args, &plan)?;
    ranks::send(&mut ranks, from.as_ref())?;
    let (run, trainer) = begin(&args, plan, &images, from, ranks)?;
    drive(&args, &settings, run, trainer, &images)
}

/// Where the images of a run that goes on are looked for, if they are not found.
fn of_config(args: &TrainArgs, settings: &Settings, failure: Failure) -> Failure {
    let told = [
        args.folder.is_some() || args.data.is_some(),
        args.test.is_some(),
    ];
    let named = [&settings.data.folder, &settings.data.test_folder].map(Option::is_some);
    let moved: Vec<&str> = ["FOLDER", "--test FOLDER"]
        .into_iter()
        .zip(named.into_iter().zip(told))
        .filter_map(|(how, (named, told))| (named && !told).then_some(how))
        .collect();
    if !args.resume || moved.is_empty() {
        return failure;
    }
    let either = match moved.len() {
        1 => "",
        _ => " (without the one that has not)",
    };
    failure.with(format!(
        "That is what {} names; if the images have moved, name their new place: {} train {} --resume --out {}{either}",
        args.out.join("config.toml").display(),
        program(),
        moved.join(" "),
        quoted(&args.out)
    ))
}

/// Leaves out what was said when the run began, and says where there is nothing left to do.
fn say_what_is_new(args: &TrainArgs, plan: &mut Plan, from: &Checkpoint) {
    if let Ok(begun) = Plan::check(&from.origin().settings, plan.images) {
        plan.notes.retain(|note| !begun.notes.contains(note));
    }
    let done = from.position().epoch;
    if done >= plan.optim.epochs {
        warn(format!(
            "{done} of {} epochs are done: raise optim.epochs in {} to train on",
            plan.optim.epochs,
            args.out.join("config.toml").display()
        ));
    }
}

/// The newest checkpoint of a run's folder that is whole.
fn newest(out: &Path) -> Result<Checkpoint, Failure> {
    encoder::newest_whole(&RunFolder::checkpoints(out)).map_err(|error| match error {
        EmError::Io { .. } => Failure::running(format!(
            "{}. Mend that; or move the file away, to go on from the one before.",
            explain_em(&error)
        )),
        error => em(error),
    })
}

/// A new run's settings from their layers, a resumed run's from its folder; the folders named on
/// the command line in either case.
fn settings(args: &TrainArgs) -> Result<Settings, Failure> {
    let folder = args.folder.as_deref().or(args.data.as_deref());
    let mut settings = match args.resume {
        true => of_run(args)?,
        false => config::for_training(args.config.as_deref(), folder, &args.set)?,
    };
    if !args.resume
        && folder.is_some()
        && let Some(pair) = args.set.iter().find(|pair| is_of_images(pair))
    {
        warn(format!(
            "--set {pair} is not used: images are named by the folder"
        ));
    }
    let data = &mut settings.data;
    for (setting, argument) in [
        (&mut data.folder, folder),
        (&mut data.test_folder, args.test.as_deref()),
    ] {
        if let Some(path) = argument.or(setting.as_deref()) {
            let path = absolute(path)?;
            utf8(&path)?; // it may lie in a folder of another name
            *setting = Some(path);
        }
    }
    if data.test_folder.is_some() && data.folder.is_none() {
        return Err(Failure::usage(
            "a test folder needs a training folder: name it, as in protem train FOLDER --test FOLDER",
        ));
    }
    let weights = &mut settings.encoder.weights;
    if let (false, Some(path)) = (args.resume, args.weights.as_deref().or(weights.as_deref())) {
        let file = encoder::weights_file(path)?;
        utf8(&file)?;
        check_stays(args, &file)?;
        *weights = Some(file);
    }
    Ok(settings)
}

/// The settings of the run in the folder, which alone are those of a run that goes on.
fn of_run(args: &TrainArgs) -> Result<Settings, Failure> {
    let file = args.out.join("config.toml");
    if let Some(pair) = args.set.first() {
        return Err(Failure::usage(format!(
            "--set {pair}: a run that goes on has its settings in {}; change them there",
            file.display()
        )));
    }
    for (name, ..) in config::in_environment()? {
        warn(format!(
            "{name} is not used: a run that goes on has its settings in {}",
            file.display()
        ));
    }
    let text = RunFolder::config(&args.out).map_err(report)?;
    let settings = config::from_text(&text, &file.display().to_string())?;
    if args.test.is_some() && settings.data.test_folder.is_none() {
        return Err(Failure::usage(
            "--test: the run was begun without a test set and keeps to what it measures; leave --test out, or begin another run with --out",
        ));
    }
    Ok(settings)
}

/// A name of images that holds wherever the program is called from.
fn absolute(name: &Path) -> Result<PathBuf, Failure> {
    if name.as_os_str().is_empty() {
        return Err(Failure::usage(
            "a folder of images has an empty name; give it one, or leave it out",
        ));
    }
    let absolute = Location::parse(name).absolute();
    let absolute = absolute.map(|location| PathBuf::from(location.name()));
    absolute.map_err(|e| Failure::usage(format!("{}: {e}", name.display())))
}

/// Weights to begin with must not be what the run takes the place of.
fn check_stays(args: &TrainArgs, weights: &Path) -> Result<(), Failure> {
    let whole = |path: &Path| path.canonicalize().ok();
    match (whole(&args.out), whole(weights)) {
        (Some(out), Some(file)) if args.overwrite && file.starts_with(&out) => {
            Err(Failure::usage(format!(
                "--overwrite would remove {}, which training is to begin with; name another folder with --out",
                weights.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Whether a setting tells images that a folder on the command line takes the place of.
fn is_of_images(pair: &str) -> bool {
    ["data.folder=", "data.generated_images="]
        .iter()
        .any(|key| pair.starts_with(key))
}

/// Names go to config.toml and metrics.jsonl, which are text.
fn check_names(args: &TrainArgs) -> Result<(), Failure> {
    let named = [&args.folder, &args.data, &args.test, &args.weights];
    let named = named.into_iter().flatten();
    named.chain([&args.out]).try_for_each(|path| utf8(path))
}

fn utf8(path: &Path) -> Result<(), Failure> {
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!(
            "{} is no name in UTF-8; rename it, or name a link to it",
            path.display()
        ))),
    }
}

/// Whether a new run can take the folder.
pub fn is_free(args: &TrainArgs) -> Result<(), ReportError> {
    match args.overwrite {
        true => RunFolder::replaceable(&args.out),
        false => RunFolder::free(&args.out),
    }
}

/// What can be known of the run's folder before the images are looked at.
fn check_out(args: &TrainArgs) -> Result<(), Failure> {
    if !args.resume && !args.dry_run {
        is_free(args).map_err(report)?;
    }
    RunFolder::probe(&args.out).map_err(report)?;
    RunFolder::probe(&RunFolder::checkpoints(&args.out)).map_err(report)
}

/// Everything is checked before anything in the run's folder changes.
fn begin(
    args: &TrainArgs,
    plan: Plan,
    images: &Images,
    from: Option<Checkpoint>,
    ranks: Ranks,
) -> Result<(RunFolder, Trainer), Failure> {
    let checkpoints = RunFolder::checkpoints(&args.out);
    let (train, test) = (images.train.clone(), images.test.clone());
    let settings = plan.settings.clone();
    if let Some(checkpoint) = from {
        let position = *checkpoint.position();
        let trainer = Trainer::resume(plan, train, test, checkpoints, checkpoint);
        let trainer = trainer
            .and_then(|t| t.among(ranks))
            .map_err(before_training)?;
        let run = RunFolder::resume(&args.out, &position).map_err(report)?;
        keep_folders(args, &settings, &run)?;
        return Ok((run, trainer));
    }
    let trainer = Trainer::new(plan, train, test, checkpoints);
    let trainer = trainer
        .and_then(|t| t.among(ranks))
        .map_err(before_training)?;
    if args.resume {
        let run = RunFolder::begin_again(&args.out).map_err(report)?;
        warn("there is no checkpoint yet: the run begins again");
        keep_folders(args, &settings, &run)?;
        return Ok((run, trainer));
    }
    let text = config::to_text(&settings);
    let run = RunFolder::create(&args.out, &text, args.overwrite).map_err(report)?;
    Ok((run, trainer))
}

/// Writes folders named to a run that goes on to its config.toml, so that it can go on again without.
fn keep_folders(args: &TrainArgs, settings: &Settings, run: &RunFolder) -> Result<(), Failure> {
    if args.folder.is_none() && args.data.is_none() && args.test.is_none() {
        return Ok(());
    }
    let file = args.out.join("config.toml").display().to_string();
    let before = config::from_text(&RunFolder::config(&args.out).map_err(report)?, &file)?;
    let folders = |settings: &Settings| {
        let data = &settings.data;
        (data.folder.clone(), data.test_folder.clone())
    };
    if folders(&before) != folders(settings) {
        run.set_config(&config::to_text(settings)).map_err(report)?;
        warn(format!("{file} names the images' new place from here on"));
    }
    Ok(())
}

/// Runs the trainer with everything that listens to it.
fn drive(
    args: &TrainArgs,
    settings: &Settings,
    mut run: RunFolder,
    mut trainer: Trainer,
    images: &Images,
) -> Result<(), Failure> {
    let stop = stop_flag(Some(
        "stopping behind the step or pass under way, and saving; asked again, the run ends without saving",
    ))?;
    let mut progress = Progress::new(args.log_format);
    let mut history = History::default();
    RunFolder::read_metrics(&args.out, &mut |event| history.note(event)).map_err(report)?;
    let (mut failed, mut unwritten) = (None, Vec::new());
    let mut listener = |event: &Event| {
        history.note(event.clone());
        progress.tell(event);
        if failed.is_none() {
            failed = run.record(event).err();
        }
        if failed.is_some() {
            stop.store(true, Ordering::Relaxed); // no hours of training without its metrics
            unwritten.push(event.clone());
        }
    };
    images.quarantined().for_each(|event| listener(&event));
    let outcome = trainer.run(&mut listener, &stop);
    drop(progress);
    // Checkpoints that were removed meanwhile may have made room.
    let written = unwritten.iter().take_while(|e| run.record(e).is_ok());
    let lost = unwritten.len() - written.count();
    match (outcome, failed) {
        (Err(error), _) => Err(em(error).with(match trainer.checkpoint() {
            Some(path) => format!("The last checkpoint is {}.", path.display()),
            None => "There is no checkpoint yet: --resume begins again.".into(),
        })),
        (Ok(_), Some(error)) => Err(Failure::running(format!(
            "{}. The training itself is saved{}; go on with:\n  {}",
            explain(&error),
            match unwritten[unwritten.len() - lost..]
                .iter()
                .filter(|e| e.is_metric())
                .count()
            {
                0 => String::new(),
                lines => format!(", but {lines} lines of metrics are lost"),
            },
            resume_command(&args.out)
        ))),
        (Ok(Outcome::Interrupted { checkpoint }), None) => Err(Failure::interrupted(format!(
            "stopped; everything is in {}. Go on with:\n  {}",
            checkpoint.display(),
            resume_command(&args.out)
        ))),
        (Ok(Outcome::Finished), None) => {
            if args.log_format == LogFormat::Text {
                finish(args, settings, &trainer, &history);
            }
            Ok(())
        }
    }
}

fn resume_command(out: &Path) -> String {
    format!("{} train --resume --out {}", program(), quoted(out))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let mut text = path.display().to_string();
    if text.starts_with('-') {
        text.insert_str(0, "./"); // it would be taken for an option
    }
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn finish(args: &TrainArgs, settings: &Settings, trainer: &Trainer, history: &History) {
    let (out, folder) = (&args.out, settings.data.folder.as_deref());
    let position = &trainer.state().position;
    if let Some(knn) = position.knn_top1 {
        let known = history.held_against();
        let known: Vec<String> = known
            .map(|(what, top1)| format!("{what} {}", percent(top1)))
            .collect();
        let against = if known.is_empty() {
            String::new()
        } else {
            format!(" ({})", known.join(", "))
        };
        say(format!("\nkNN accuracy {}{against}", percent(knn)));
    }
    if let (true, Some(best)) = (settings.checkpoint.keep_best, position.best) {
        let file = RunFolder::checkpoints(out).join(protem_em::checkpoint_name(best.step));
        let (knn, epoch) = (percent(best.knn_top1), best.epoch);
        if file.exists() {
            let file = quoted(&file);
            say(format!("Best {knn} behind epoch {epoch}: {file}"));
        }
    }
    let out = quoted(out);
    say(format!("Run folder: {out}"));
    let protem = program();
    say(format!("As a page: {protem} report {out}"));
    say(match folder {
        Some(folder) => format!(
            "Next, its features: {protem} embed --checkpoint {out} --data {} --out features.npy",
            quoted(folder)
        ),
        None => {
            format!("Next, your own images: {protem} train FOLDER --config photos --out runs/mine")
        }
    });
}

/// How this program is called: as it was, so that a command can be pasted.
fn program() -> String {
    if std::env::var_os("CARGO_PKG_NAME").is_some() {
        return "cargo run --release --".into(); // cargo tells what it runs
    }
    std::env::args_os()
        .next()
        .map_or("protem".into(), |name| quoted(Path::new(&name)))
}
