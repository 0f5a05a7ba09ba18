//! `protem report`: a run as one HTML page.

use crate::args::ReportArgs;
use crate::clustered;
use crate::config;
use crate::console::{say, warn};
use crate::encoder::newest_whole;
use crate::failure::{Failure, explain, explain_em};
use crate::features::start;
use crate::gallery::{Gallery, gallery};
use crate::map_of_run::{MOST, map_of_run};
use crate::outputs;
use crate::system::size;
use protem_data::Source;
use protem_em::{Checkpoint, Clustering, EmError, Settings};
use protem_report::{
    Clusters, Distribution, History, Map, Report, RunFolder, Shown, counted, is_report,
};
use std::path::Path;
use std::sync::Arc;

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<(), Failure> {
    start(args.threads)?;
    if args.clusters == 0 || args.images == 0 || args.clusters > 1000 || args.images > 1000 {
        return Err(Failure::usage(
            "--clusters and --images must lie between 1 and 1000 (--no-images leaves the images out)",
        ));
    }
    if args.map_images > MOST {
        return Err(Failure::usage(format!(
            "--map-images {}: a map has {MOST} at most, and 0 leaves it out",
            args.map_images
        )));
    }
    let root = &args.run;
    if RunFolder::config(root).is_err() && !RunFolder::has_checkpoints(root) {
        return Err(Failure::usage(format!(
            "{} holds no run; name the folder that train has by --out",
            root.display()
        )));
    }
    let out = args.out.clone().unwrap_or_else(|| RunFolder::report(root));
    check_target(&out)?;
    let report = assemble(args)?;
    let page = report.html();
    let parent = outputs::folder_of(&out);
    outputs::make(parent)?;
    protem_em::write_atomically(&out, page.as_bytes())
        .map_err(|e| Failure::running(explain(&e)))?;
    say(format!(
        "{}: {}, {}, {}",
        out.display(),
        size(page.len() as u64),
        told_of_map(&report.map),
        told(&report.clusters)
    ));
    Ok(())
}

/// What is shown of the map, for the command's line.
fn told_of_map(map: &Map) -> String {
    match map {
        Map::None(_) => "no map".into(),
        Map::Shown(plane) => format!("a map of {}", counted(plane.points.len(), "image")),
    }
}

/// What is shown of the clusters, for the command's line.
fn told(clusters: &Clusters) -> String {
    match clusters {
        Clusters::None(_) => "no clusters".into(),
        Clusters::Shown(shown) => {
            let cards = || shown.sections.iter().flat_map(|section| &section.cards);
            let images = cards().map(|card| card.pictures.len()).sum();
            format!(
                "{} shown by {}",
                counted(cards().count(), "cluster"),
                counted(images, "image")
            )
        }
    }
}

/// Whether a report can be written there. An earlier one is replaced; anything else stays.
fn check_target(out: &Path) -> Result<(), Failure> {
    outputs::check_file(out)?;
    if out.extension().is_none_or(|extension| extension != "html") {
        return Err(Failure::usage(format!(
            "--out {}: a report is written as a .html file; name one",
            out.display()
        )));
    }
    if out.exists() && !is_report(out) {
        return Err(Failure::usage(format!(
            "{} is there already and is no report of a run; name another file with --out",
            out.display()
        )));
    }
    outputs::check_folder(out)
}

fn assemble(args: &ReportArgs) -> Result<Report, Failure> {
    let root = &args.run;
    let mut history = History::default();
    let mut note = |event| history.note(event);
    let unread = RunFolder::read_metrics(root, &mut note).map_err(failed)?;
    if history.is_empty() {
        warn(format!(
            "no metrics are left of the run in {}: its report has no figures",
            root.display()
        ));
    }
    let checkpoint = newest(root)?;
    let config = match (RunFolder::config(root), &checkpoint) {
        (Ok(text), _) => text,
        // It is among the checkpoint's settings too.
        (Err(_), Some(checkpoint)) => config::to_text(&checkpoint.origin().settings),
        (Err(error), None) => return Err(failed(error)),
    };
    let settings = config::from_text(&config, "config.toml");
    if let Err(failure) = &settings {
        warn(format!("{failure}; the checkpoint's settings are taken"));
    }
    let own = checkpoint.as_ref().map(|c| c.origin().settings.clone());
    let settings = settings.ok().or_else(|| own.clone());
    let (map, clusters) = match &checkpoint {
        Some(checkpoint) => found(args, checkpoint, settings.as_ref(), &history)?,
        None => (
            Map::None("There is no checkpoint that can be read, and so no map.".into()),
            none(
                args,
                "There is no checkpoint that can be read, and so no clusters.",
            )?,
        ),
    };
    // The checkpoint's: config.toml may have been changed for what is still to come.
    let measured = own.or(settings);
    let protocol = measured.and_then(|settings| history.protocol_now(&settings.eval));
    Ok(Report {
        name: name(root),
        history,
        unread,
        protocol,
        map,
        clusters,
        config: config.trim_end().to_owned(),
        files: files(root, checkpoint.as_ref()),
        written: RunFolder::written(root),
    })
}

fn failed(error: protem_report::ReportError) -> Failure {
    Failure::running(explain(&error))
}

/// What a run is called: its folder's name, however it is named here.
fn name(root: &Path) -> String {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}

fn files(root: &Path, checkpoint: Option<&Checkpoint>) -> Vec<String> {
    let mut files = vec!["config.toml".to_owned(), "metrics.jsonl".to_owned()];
    files.retain(|file| root.join(file).exists());
    let own = checkpoint.and_then(|c| c.path().file_name());
    files.extend(own.map(|name| format!("checkpoints/{}", name.to_string_lossy())));
    files
}

/// The newest whole checkpoint of a run that has one.
fn newest(root: &Path) -> Result<Option<Checkpoint>, Failure> {
    if !RunFolder::has_checkpoints(root) {
        return Ok(None);
    }
    match newest_whole(&RunFolder::checkpoints(root)) {
        Ok(found) => Ok(Some(found)),
        // The metrics can be told all the same.
        Err(error @ EmError::NoCheckpoint { .. }) => {
            warn(explain_em(&error));
            Ok(None)
        }
        Err(error) => Err(Failure::running(explain(&error))),
    }
}

/// No clusters, with why; unless some of them were asked for.
fn none(args: &ReportArgs, why: &str) -> Result<Clusters, Failure> {
    match args.k {
        Some(k) => Err(Failure::usage(format!("--k {k}: {why} Leave --k out"))),
        None => Ok(Clusters::None(why.to_owned())),
    }
}

/// What a checkpoint's encoder makes of the images: a map, and clusters.
fn found(
    args: &ReportArgs,
    checkpoint: &Checkpoint,
    settings: Option<&Settings>,
    history: &History,
) -> Result<(Map, Clusters), Failure> {
    let clusterings = clusterings(args, checkpoint)?;
    let settings = settings.unwrap_or(&checkpoint.origin().settings);
    let images = clustered::images(&args.run, settings, checkpoint);
    let pictures = !args.no_images;
    if let Err(why) = &images
        && (clusterings.is_ok() || pictures && args.map_images > 0)
    {
        let what = if pictures { "images" } else { "classes" };
        warn(format!("the {what} are left out: {why}"));
    }
    let shown = clusterings.as_ref().ok().map(|(all, of)| &all[*of]);
    let map = map_of_run(args, checkpoint, shown, &images)?;
    let clusters = match &clusterings {
        Ok((all, of)) => clusters(args, checkpoint, all, *of, images, history)?,
        Err(why) => none(args, why)?,
    };
    Ok((map, clusters))
}

/// A checkpoint's clusterings, and which of them is shown; or why there is none.
fn clusterings(
    args: &ReportArgs,
    checkpoint: &Checkpoint,
) -> Result<Result<(Vec<Clustering>, usize), String>, Failure> {
    Ok(match clustered::clusterings(checkpoint)? {
        Ok(all) => {
            let of = choose(args.k, &all)?;
            Ok((all, of))
        }
        Err(why) => Err(why),
    })
}

fn clusters(
    args: &ReportArgs,
    checkpoint: &Checkpoint,
    clusterings: &[Clustering],
    of: usize,
    images: Result<Arc<dyn Source>, String>,
    history: &History,
) -> Result<Clusters, Failure> {
    let epoch = clustered::epoch(checkpoint.position());
    let distribution = |(place, clustering): (usize, &Clustering)| Distribution {
        sizes: clustered::sizes(clustering),
        concentration: clustering.concentration.clone(),
        ami_previous: history.agreement(epoch, place),
    };
    let Gallery {
        purity,
        sections,
        notes,
    } = gallery(args, checkpoint, &clusterings[of], images)?;
    Ok(Clusters::Shown(Shown {
        epoch,
        all: clusterings.iter().enumerate().map(distribution).collect(),
        of,
        purity,
        sections,
        notes,
    }))
}

/// Which clustering is shown: the smallest, or the one asked for.
fn choose(k: Option<usize>, clusterings: &[Clustering]) -> Result<usize, Failure> {
    let mut all = clusterings.iter().map(Clustering::k);
    let Some(k) = k else {
        let smallest = all.enumerate().min_by_key(|(_, k)| *k);
        return Ok(smallest.map_or(0, |(i, _)| i));
    };
    all.position(|other| other == k).ok_or_else(|| {
        let all: Vec<usize> = clusterings.iter().map(Clustering::k).collect();
        Failure::usage(format!(
            "--k {k}: the run's clusterings have K {all:?}; name one of these"
        ))
    })
}
