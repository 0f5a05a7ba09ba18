//! `protem assign`: the nearest of given centroids for points, the rows of a file.

use crate::args::AssignArgs;
use crate::arrays;
use crate::console::say;
use crate::failure::{Failure, explain, of_points};
use crate::outputs;
use protem_cluster::{Assignment, Isa, Matrix, assign};
use protem_em::write_together;
use protem_report::{npy_labels, npy_vector};
use std::time::Instant;

/// Finds labels and distances, and writes them.
pub fn run(args: &AssignArgs) -> Result<(), Failure> {
    let input = arrays::open(&args.input)?;
    let points = arrays::points(&input, &args.input)?;
    let given = arrays::open(&args.centroids)?;
    let centroids = arrays::points(&given, &args.centroids)?;
    if centroids.cols() != points.cols() {
        return Err(Failure::usage(format!(
            "{} has rows of {} values, and {} of {}: centroids must be of points like these",
            args.centroids.display(),
            centroids.cols(),
            args.input.display(),
            points.cols()
        )));
    }
    let [labels, distances] = ["labels.npy", "distances.npy"].map(|name| args.out.join(name));
    outputs::inputs_stay(&[&labels, &distances], &[&args.input, &args.centroids])?;
    outputs::check_room_in(&args.out, 8 * points.rows() as u64)?;
    outputs::check_writable(&args.out)?;
    let begun = Instant::now();
    let (input, of) = (args.input.display(), args.centroids.display());
    let found = assign(points, centroids, args.threads)
        .map_err(|e| of_points(format_args!("{input}, to centroids of {of}"), &e))?;
    let seconds = begun.elapsed().as_secs_f64();
    outputs::make(&args.out)?;
    write_together(&[
        (&labels, &npy_labels(&found.labels)),
        (&distances, &npy_vector(&found.distances)),
    ])
    .map_err(|e| Failure::running(explain(&e)))?;
    tell(args, centroids, &found, seconds)
}

fn tell(
    args: &AssignArgs,
    centroids: Matrix<'_>,
    found: &Assignment,
    seconds: f64,
) -> Result<(), Failure> {
    let isa = Isa::chosen().map_err(|e| Failure::usage(e.to_string()))?;
    let (n, k) = (found.labels.len(), centroids.rows());
    let mut sizes = vec![0usize; k];
    found.labels.iter().for_each(|l| sizes[*l as usize] += 1);
    let empty = sizes.iter().filter(|size| **size == 0).count();
    let objective: f64 = found.distances.iter().map(|d| f64::from(*d)).sum();
    if args.json {
        say(serde_json::json!({
            "k": k,
            "objective": objective,
            "seconds": seconds,
            "isa": isa.name(),
            "points": n,
            "empty": empty,
            "out": args.out.display().to_string(),
            "protocol": {
                "input": args.input.display().to_string(),
                "centroids": args.centroids.display().to_string(),
                "dim": centroids.cols(),
                "version": env!("CARGO_PKG_VERSION"),
            },
        }));
        return Ok(());
    }
    say(format!(
        "{n} points, {k} centroids, {empty} of them without points: objective {objective:.6e}; {seconds:.2} s ({}); written to {}",
        isa.name(),
        args.out.display()
    ));
    Ok(())
}
