//! `protem bench augment`: what views cost, from encoded files in memory to what an encoder takes.

use super::{ITERS, in_range};
use crate::args::{AugmentArgs, Switch, ViewKind};
use crate::console::say;
use crate::failure::{Failure, explain};
use crate::images::open_images;
use crate::system::{THREADS, processor_seconds};
use protem_data::{
    Augment, AugmentConfig, Encoded, Evaluation, IMAGENET_MEAN, IMAGENET_STD, ReadError, Recipe,
    RgbImage, Stream, decode,
};
use protem_ops::{Activation, Pool, Precision};
use protem_report::counted;
use rayon::prelude::*;
use std::time::Instant;

/// An image to make views of.
enum Picture {
    Encoded(Vec<u8>),
    Decoded(RgbImage),
}

enum Maker {
    Views(Augment),
    Evaluation(Evaluation),
}

/// `protem bench augment`.
pub fn augment(args: &AugmentArgs) -> Result<(), Failure> {
    in_range("--iters", args.iters, ITERS)?;
    in_range("--images", args.images, 1..=usize::MAX)?;
    in_range("--size", args.size as usize, 1..=4096)?;
    in_range("--threads", args.threads, THREADS)?;
    if !(args.min_scale > 0.0 && args.min_scale <= 1.0) {
        return Err(Failure::usage("--min-scale must be above 0 and at most 1"));
    }
    let views = match args.what {
        ViewKind::Random => args.views,
        ViewKind::Evaluation => 1,
    };
    if views == 0 {
        return Err(Failure::usage("--views must be at least 1"));
    }
    let pictures = pictures(args)?;
    let workers = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .map_err(|e| Failure::running(format!("cannot start {} threads: {e}", args.threads)))?;
    let maker = match args.what {
        ViewKind::Random => Maker::Views(Augment::new(AugmentConfig {
            recipe: args.recipe,
            size: args.size,
            min_scale: args.min_scale,
            blur: args.blur == Switch::On,
        })),
        ViewKind::Evaluation => Maker::Evaluation(Evaluation::for_size(args.size)),
    };
    let (pool, side) = (Pool::default(), args.size as usize);
    let mut seconds = Vec::with_capacity(args.iters);
    // The first epoch fills what is kept from one image to the next, and is not timed.
    for epoch in 0..=args.iters as u64 {
        let (begun, used) = (Instant::now(), processor_seconds());
        workers
            .install(|| all(&pictures, &maker, epoch, (views, side), &pool))
            .map_err(|e| Failure::running(explain(&e)))?;
        seconds.push(match args.threads {
            1 => processor_seconds() - used,
            _ => begun.elapsed().as_secs_f64(),
        });
    }
    let mut seconds = seconds.split_off(1);
    seconds.sort_by(f64::total_cmp);
    tell(args, pictures.len(), views, seconds[seconds.len() / 2]);
    Ok(())
}

/// The first images of the source.
fn pictures(args: &AugmentArgs) -> Result<Vec<Picture>, Failure> {
    let source = open_images(&args.data)?;
    let count = source.len().min(args.images);
    (0..count)
        .map(|i| {
            let unreadable = |error: &dyn std::error::Error| {
                let name = source.name(i);
                Failure::running(format!(
                    "{name}: {}; leave it out of --data",
                    explain(error)
                ))
            };
            let encoded = match source.encoded(i).map_err(|e| unreadable(&e))? {
                Encoded::File(bytes) => bytes,
                Encoded::Pixels(image) if args.decoded => return Ok(Picture::Decoded(image)),
                Encoded::Pixels(_) => {
                    return Err(Failure::usage(format!(
                        "{} has pixels and no files to decode; add --decoded",
                        source.describe()
                    )));
                }
            };
            let decoded = decode(&encoded).map_err(|e| unreadable(&e))?;
            Ok(if args.decoded {
                Picture::Decoded(decoded)
            } else {
                Picture::Encoded(encoded)
            })
        })
        .collect()
}

/// The views of all images, each scaled to what an encoder takes.
fn all(
    pictures: &[Picture],
    maker: &Maker,
    epoch: u64,
    (views, side): (usize, usize),
    pool: &Pool,
) -> Result<(), ReadError> {
    // One by one: what is handed out in larger parts leaves threads without work at the end.
    let numbered = pictures.par_iter().enumerate().with_max_len(1);
    numbered.try_for_each(|(index, picture)| {
        let mut bytes = vec![0; side * side * 3];
        let decoded = match picture {
            Picture::Encoded(encoded) => &decode(encoded)?,
            Picture::Decoded(decoded) => decoded,
        };
        for view in 0..views as u64 {
            let stream = Stream {
                seed: 0,
                epoch,
                index: index as u64,
                view,
            };
            match maker {
                Maker::Views(augment) => augment.view_into(decoded, stream, &mut bytes),
                Maker::Evaluation(evaluation) => evaluation.view_into(decoded, &mut bytes),
            }
            std::hint::black_box(Activation::from_images(
                pool,
                Precision::F32,
                &bytes,
                (1, side, side),
                IMAGENET_MEAN,
                IMAGENET_STD,
            ));
        }
        Ok(())
    })
}

fn tell(args: &AugmentArgs, images: usize, views: usize, seconds: f64) {
    let clock = if args.threads == 1 { "cpu" } else { "wall" };
    // Evaluation has none of the settings of random views.
    let random = args.what == ViewKind::Random;
    let images_per_second = images as f64 / seconds;
    let views_per_second = images_per_second * views as f64;
    if args.json {
        say(serde_json::json!({
            "images_per_second": images_per_second,
            "views_per_second": views_per_second,
            "median_seconds": seconds,
            "images": images,
            "what": args.what,
            "recipe": random.then_some(args.recipe),
            "blur": random.then_some(args.recipe == Recipe::V2 && args.blur == Switch::On),
            "min_scale": random.then_some(args.min_scale),
            "size": args.size,
            "views": views,
            "decoded": args.decoded,
            "threads": args.threads,
            "iters": args.iters,
            "clock": clock,
        }));
        return;
    }
    say(format!(
        "{images_per_second:.0} images/s, {views_per_second:.0} views/s ({clock} time, {}, {})",
        counted(images, "image"),
        counted(args.threads, "thread")
    ));
}
