//! `protem map`: features of a file as places in the plane.

use crate::args::MapArgs;
use crate::arrays;
use crate::console::{say, warn};
use crate::eval::whole;
use crate::failure::{Failure, explain};
use crate::features::{check_memory, start};
use crate::named;
use crate::outputs;
use crate::progress::style;
use indicatif::ProgressBar;
use protem_cluster::Npy;
use protem_eval::{Features, Tsne, TsneConfig, TsneProgress, tsne};
use protem_report::{counted, npy};
use std::path::Path;
use std::time::Instant;

/// More rows than this take long: they are compared with each other.
const MANY: usize = 200_000;

/// Makes and writes it.
pub fn run(args: &MapArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let config = TsneConfig {
        perplexity: args.perplexity,
        seed: args.seed,
    };
    config
        .check()
        .map_err(|e| Failure::usage(format!("--perplexity: {}", explain(&e))))?;
    check_target(args)?;
    let array = arrays::open(&args.features)?;
    let rows = arrays::points(&array, &args.features)?;
    let (count, dim) = (rows.rows(), rows.cols());
    let perplexity = config.perplexity_of(count);
    // Lists of neighbours, twice, and the matrix made of them, while the array is there too.
    let of_row = 8 * dim as u64 + 64 * (3.0 * perplexity + 2.0) as u64;
    check_memory(
        count as u64 * of_row,
        "map some of the rows, or lower --perplexity",
    )?;
    outputs::check_room(&args.out, 8 * count as u64)?;
    if perplexity < args.perplexity {
        warn(format!(
            "--perplexity {}: taken is {perplexity:.2}, the most for {}",
            args.perplexity,
            counted(count, "row")
        ));
    }
    if count > MANY {
        warn(format!(
            "all {count} rows are compared with each other: time grows with the square of their number, and some of them may show as much"
        ));
    }
    let features = named::features(array, dim, &args.features)?;
    let begun = Instant::now();
    let map = laid_out(features, &config)?;
    let seconds = begun.elapsed().as_secs_f64();
    outputs::make(outputs::folder_of(&args.out))?;
    protem_em::write_atomically(&args.out, &npy(map.places.as_flattened(), 2))
        .map_err(|e| Failure::running(explain(&e)))?;
    tell(args, dim, perplexity, &map, seconds);
    Ok(())
}

/// Whether a map can be written there. An earlier array is replaced; anything else stays.
fn check_target(args: &MapArgs) -> Result<(), Failure> {
    let out: &Path = &args.out;
    outputs::check_file(out)?;
    if let Some(extension) = out.extension().filter(|e| *e != "npy") {
        return Err(Failure::usage(format!(
            "--out {}: a map is written as a .npy file, not .{}; name one",
            out.display(),
            extension.display()
        )));
    }
    outputs::inputs_stay(&[out], &[&args.features])?;
    if out.exists()
        && !Npy::open(out).is_ok_and(|earlier| earlier.view().is_ok_and(|m| m.cols() == 2))
    {
        return Err(Failure::usage(format!(
            "{} is there already and is no map; name another file with --out",
            out.display()
        )));
    }
    outputs::check_folder(out)
}

/// A map, with bars while it is made.
pub fn laid_out(features: Features, config: &TsneConfig) -> Result<Tsne, Failure> {
    let bar = ProgressBar::new(features.rows() as u64)
        .with_style(style("{msg} [{bar:30}] {pos}/{len} {prefix}"))
        .with_message("comparing")
        .with_prefix("images");
    let mut progress = |at| {
        match at {
            TsneProgress::Compared(images) => bar.set_position(images as u64),
            TsneProgress::Moved(done, of) => {
                if done == 0 {
                    bar.set_message("laying out");
                    bar.set_prefix("steps");
                    bar.set_length(of as u64);
                }
                bar.set_position(done as u64);
            }
        }
        true
    };
    whole(&bar, tsne(features, config, &mut progress))
}

fn tell(args: &MapArgs, dim: usize, perplexity: f64, map: &Tsne, seconds: f64) {
    let (rows, divergence) = (map.places.len(), map.divergence);
    if args.json {
        say(serde_json::json!({
            "rows": rows,
            "divergence": divergence,
            "seconds": seconds,
            "out": args.out.display().to_string(),
            "protocol": {
                "features": args.features.display().to_string(),
                "dim": dim,
                "perplexity": perplexity,
                "seed": args.seed,
                "version": env!("CARGO_PKG_VERSION"),
            },
        }));
        return;
    }
    say(format!(
        "{rows} × 2 in {}: a map by t-SNE, {divergence:.4} nats from the rows' affinities; {seconds:.2} s",
        args.out.display()
    ));
}
