//! `protem cluster`: k-means of points, the rows of a file.

use crate::args::{Beginning, ClusterArgs, Switch, WhenEmpty};
use crate::arrays;
use crate::console::{say, warn, word};
use crate::failure::{Failure, explain, of_points};
use crate::outputs;
use protem_cluster::{Empty, Fit, Init, KMeans, Matrix};
use protem_em::write_together;
use protem_report::{npy, npy_labels, npy_vector};
use std::path::{Path, PathBuf};

/// Clusters at every K, printing and writing each as it is done.
pub fn run(args: ClusterArgs) -> Result<(), Failure> {
    let input = arrays::open(&args.input)?;
    let points = arrays::points(&input, &args.input)?;
    if let Some(k) = args.k.iter().find(|k| **k == 0 || **k > points.rows()) {
        return Err(Failure::usage(format!(
            "--k {k}: {} has {} rows; ask for 1 to {} clusters",
            args.input.display(),
            points.rows(),
            points.rows()
        )));
    }
    let twice = args
        .k
        .iter()
        .enumerate()
        .find(|(i, k)| args.k[..*i].contains(k));
    if let Some((_, k)) = twice {
        return Err(Failure::usage(format!(
            "--k names {k} twice: once is enough"
        )));
    }
    if args.spherical {
        warn_of_lengths(points);
    }
    let init = match &args.init {
        Beginning::Random => Init::Random,
        Beginning::PlusPlus => Init::PlusPlus,
        Beginning::Given(path) => Init::Given(centroids(path, &args, points)?),
    };
    check_out(&args, points)?;
    // Before the work, so that it is not lost.
    outputs::check_writable(&args.out)?;
    let all: Result<Vec<KMeans>, _> = args.k.iter().map(|k| kmeans(*k, &args, &init)).collect();
    for (kmeans, &k) in all?.iter().zip(&args.k) {
        let begun = std::time::Instant::now();
        let fit = kmeans.fit(points);
        let fit = fit.map_err(|e| of_points(args.input.display(), &e))?;
        let seconds = begun.elapsed().as_secs_f64();
        fit.warnings.iter().for_each(warn);
        let folder = folder_of(&args, k);
        write(&folder, &fit)?;
        let isa = kmeans.isa().map_err(|e| Failure::usage(e.to_string()))?;
        tell(&args, &fit, seconds, isa.name(), &folder);
    }
    Ok(())
}

/// Says where centroids of length 1 stand for points of other lengths.
fn warn_of_lengths(points: Matrix) {
    const LOOKED_AT: usize = 1000;
    let every = points.rows().div_ceil(LOOKED_AT);
    let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    let odd = (0..points.rows())
        .step_by(every)
        .map(|i| length(points.row(i)))
        .find(|length| (length - 1.0).abs() > 0.01);
    if let Some(length) = odd {
        warn(format!(
            "--spherical makes centroids of length 1, and there is a point of length {length:.3}: distances and objective tell little"
        ));
    }
}

fn kmeans(k: usize, args: &ClusterArgs, init: &Init) -> Result<KMeans, Failure> {
    let settings = KMeans::builder(k)
        .iterations(args.iters)
        .restarts(args.restarts)
        .seed(args.seed)
        .init(init.clone())
        .spherical(args.spherical)
        .max_points_per_centroid(args.max_points_per_centroid)
        .tolerance(args.tolerance)
        .empty(match args.empty {
            WhenEmpty::Split => Empty::Split,
            WhenEmpty::Farthest => Empty::Farthest,
        })
        .prune(args.prune == Switch::On)
        .threads(args.threads);
    settings.build().map_err(|e| Failure::usage(e.to_string()))
}

/// Centroids to begin with: rows of the input's length, no more than the smallest K.
fn centroids(path: &Path, args: &ClusterArgs, points: Matrix) -> Result<Vec<f32>, Failure> {
    let array = arrays::open(path)?;
    let rows = arrays::view(&array, path)?;
    let least = args.k.iter().min().copied().unwrap_or(0);
    if rows.cols() != points.cols() || !(1..=least).contains(&rows.rows()) {
        return Err(Failure::usage(format!(
            "{} is {} × {}; --init needs rows of {} values like those of the input, 1 to {least} of them",
            path.display(),
            rows.rows(),
            rows.cols(),
            points.cols()
        )));
    }
    Ok((0..rows.rows())
        .flat_map(|i| rows.row(i).to_vec())
        .collect())
}

/// With several K, each has a folder of its own.
fn folder_of(args: &ClusterArgs, k: usize) -> PathBuf {
    match args.k.len() {
        1 => args.out.clone(),
        _ => args.out.join(format!("k{k}")),
    }
}

/// What is written must have room, and not be what was read.
fn check_out(args: &ClusterArgs, points: Matrix) -> Result<(), Failure> {
    let values = |k: &usize| (k * points.cols() + 2 * points.rows()) as u64;
    outputs::check_room_in(&args.out, args.k.iter().map(|k| 4 * values(k)).sum())?;
    let folders = args.k.iter().map(|k| folder_of(args, *k));
    let written: Vec<PathBuf> = folders
        .flat_map(|folder| FILES.map(|name| folder.join(name)))
        .collect();
    let written: Vec<&Path> = written.iter().map(PathBuf::as_path).collect();
    let read = [Some(&args.input), args.init.file()];
    let read: Vec<&Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
    outputs::inputs_stay(&written, &read)
}

const FILES: [&str; 3] = ["centroids.npy", "labels.npy", "distances.npy"];

fn write(folder: &Path, fit: &Fit) -> Result<(), Failure> {
    outputs::make(folder)?;
    let [centroids, labels, distances] = FILES.map(|name| folder.join(name));
    write_together(&[
        (&centroids, &npy(&fit.centroids, fit.dim)),
        (&labels, &npy_labels(&fit.labels)),
        (&distances, &npy_vector(&fit.distances)),
    ])
    .map_err(|e| Failure::running(explain(&e)))
}

fn tell(args: &ClusterArgs, fit: &Fit, seconds: f64, isa: &str, folder: &Path) {
    let iterations = fit.iterations.len();
    let iterating: f64 = fit.iterations.iter().map(|i| i.seconds).sum();
    let each = (iterations > 0).then(|| iterating / iterations as f64);
    let points = fit.sampled.unwrap_or(fit.labels.len());
    if args.json {
        say(serde_json::json!({
            "k": fit.k,
            "objective": fit.objective,
            "iterations": iterations,
            "seconds": seconds,
            "seconds_per_iteration": each,
            "isa": isa,
            "points": fit.labels.len(),
            "iterated_points": points,
            "objectives": fit.iterations.iter().map(|i| i.objective).collect::<Vec<_>>(),
            "splits": fit.iterations.iter().map(|i| i.splits).sum::<usize>(),
            "empty": fit.sizes.iter().filter(|size| **size == 0).count(),
            "out": folder.display().to_string(),
            "protocol": {
                "input": args.input.display().to_string(),
                "dim": fit.dim,
                "init": args.init.to_string(),
                "iterations": args.iters,
                "restarts": args.restarts,
                "seed": args.seed,
                "tolerance": args.tolerance,
                "empty": word(args.empty),
                "spherical": args.spherical,
                "max_points_per_centroid": args.max_points_per_centroid,
                "version": env!("CARGO_PKG_VERSION"),
            },
        }));
        return;
    }
    let each = each.map_or(String::new(), |s| format!(", {s:.4} s each"));
    let of_points = match points < fit.labels.len() {
        true => format!(" of {points} drawn points"),
        false => String::new(),
    };
    say(format!(
        "K = {}: objective {:.6e} after {iterations} iterations{of_points}{each}; {seconds:.2} s in all ({isa}); written to {}",
        fit.k,
        fit.objective,
        folder.display()
    ));
}
