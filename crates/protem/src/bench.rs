//! `protem bench`: what a step costs on this machine.

mod augment;

pub use augment::augment;

use crate::args::{BenchArgs, StepKind};
use crate::config;
use crate::console::{say, word};
use crate::failure::{Failure, explain};
use crate::system::{
    forget_peak, memory_bytes, own_memory, page_faults, processor_seconds, size, start_threads,
    time,
};
use protem_em::{EmError, EncoderConfig, EncoderStep, Head, Plan, PlanStep, Settings, Stem};
use protem_report::counted;
use std::ops::RangeInclusive;
use std::time::Instant;

/// Steps before those that are timed: they fill the stores of buffers.
const UNTIMED: usize = 3;
/// Steps that may be timed.
const ITERS: RangeInclusive<usize> = 1..=1_000_000;
/// Images that the queue, the clusterings and the learning rate of a whole step are made for.
const IMAGES: usize = 50_000;

/// `protem bench step`.
pub fn step(what: StepKind, args: &BenchArgs) -> Result<(), Failure> {
    check(args, |side| encoder_config(args).kept_values(side))?;
    let halvings = match args.stem {
        Stem::Cifar => 3,
        Stem::Imagenet => 5,
    };
    if args.batch == 1 && image_size(args) <= 1 << halvings {
        return Err(Failure::usage(
            "batch norm has no statistics of one pixel of one image: raise --batch or --image-size",
        ));
    }
    match what {
        StepKind::Encoder => encoder(args, "encoder step", |bench| bench.step().map(drop)),
        StepKind::Pcl => {
            let plan = plan(args)?;
            timed(args, "pcl step", || {
                let mut bench = PlanStep::new(plan)?;
                Ok(move || bench.step().map(drop))
            })
        }
    }
}

/// `protem bench features`.
pub fn features(args: &BenchArgs) -> Result<(), Failure> {
    check(args, |_| 0)?;
    encoder(args, "features", |bench| {
        std::hint::black_box(bench.features());
        Ok(())
    })
}

fn encoder(
    args: &BenchArgs,
    what: &str,
    work: impl Fn(&mut EncoderStep) -> Result<(), EmError>,
) -> Result<(), Failure> {
    let config = encoder_config(args);
    timed(args, what, || {
        let side = image_size(args) as usize;
        let mut bench = EncoderStep::new(config, args.precision, args.batch, side)?;
        Ok(move || work(&mut bench))
    })
}

fn encoder_config(args: &BenchArgs) -> EncoderConfig {
    EncoderConfig {
        arch: args.encoder,
        stem: args.stem,
        width: args.width,
        head: Head::V1,
        dim: 128,
        split_bn: 1,
    }
}

fn image_size(args: &BenchArgs) -> u32 {
    args.image_size.unwrap_or(args.stem.usual_side())
}

fn plan(args: &BenchArgs) -> Result<Plan, Failure> {
    let mut settings = Settings {
        precision: args.precision,
        ..Settings::default()
    };
    settings.data.image_size = image_size(args);
    settings.encoder.arch = args.encoder;
    settings.encoder.stem = args.stem;
    settings.encoder.width = args.width;
    settings.optim.batch = args.batch;
    settings.method.warmup_epochs = 0;
    config::plan(&settings, IMAGES, 1)
}

fn in_range(what: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), Failure> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    Err(Failure::usage(match most {
        usize::MAX => format!("{what} must be at least {least}"),
        most => format!("{what} {value} must lie between {least} and {most}"),
    }))
}

/// Whether the arguments lie in their ranges, and memory holds the images and the values `kept` of each
/// (by the side of an image), in 16 bits at least.
fn check(args: &BenchArgs, kept: impl Fn(usize) -> usize) -> Result<(), Failure> {
    // Those of the settings.
    in_range("--iters", args.iters, ITERS)?;
    in_range("--batch", args.batch, 1..=1 << 20)?;
    in_range("--width", args.width, 1..=1024)?;
    let side = image_size(args) as usize;
    in_range("--image-size", side, 8..=4096)?;
    let values = kept(side) + side * side * 3;
    let needed = (2 * args.batch as u64).saturating_mul(values as u64);
    match memory_bytes() {
        Some(memory) if needed > memory => Err(Failure::usage(format!(
            "{} take {} at least, and there are {}: lower --batch, --width or --image-size",
            counted(args.batch, "image"),
            size(needed),
            size(memory)
        ))),
        _ => Ok(()),
    }
}

/// Times what `build` builds, and prints the result.
fn timed<W: FnMut() -> Result<(), EmError>>(
    args: &BenchArgs,
    what: &str,
    build: impl FnOnce() -> Result<W, EmError>,
) -> Result<(), Failure> {
    let machine = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = args.threads.unwrap_or_else(machine);
    start_threads("--threads", Some(threads))?;
    let failed = |e: EmError| Failure::running(explain(&e));
    forget_peak();
    let before = own_memory();
    let mut work = build().map_err(failed)?;
    for _ in 0..UNTIMED {
        work().map_err(failed)?;
    }
    let faults = page_faults();
    let mut seconds = Vec::with_capacity(args.iters);
    for _ in 0..args.iters {
        let (begun, used) = (Instant::now(), processor_seconds());
        work().map_err(failed)?;
        seconds.push(match threads {
            1 => processor_seconds() - used,
            _ => begun.elapsed().as_secs_f64(),
        });
    }
    seconds.sort_by(f64::total_cmp);
    let faults = faults.zip(page_faults());
    let peak = before.zip(own_memory());
    let found = Timed {
        seconds,
        threads,
        faults: faults.map(|(before, after)| (after - before) as f64 / args.iters as f64),
        peak: peak.map(|((before, _), (_, peak))| peak.saturating_sub(before)),
    };
    found.tell(args, what);
    Ok(())
}

/// What was found of some work.
struct Timed {
    /// In ascending order; of one thread the processor's.
    seconds: Vec<f64>,
    threads: usize,
    /// Page faults of one.
    faults: Option<f64>,
    /// Bytes of memory at most, above the loaded program.
    peak: Option<u64>,
}

impl Timed {
    fn tell(&self, args: &BenchArgs, what: &str) {
        let (threads, peak, faults) = (self.threads, self.peak, self.faults);
        let median = self.seconds[self.seconds.len() / 2];
        let isa = protem_ops::Isa::current().name();
        let clock = if threads == 1 { "cpu" } else { "wall" };
        if args.json {
            say(serde_json::json!({
                "what": what,
                "encoder": args.encoder,
                "stem": args.stem,
                "width": args.width,
                "batch": args.batch,
                "image_size": image_size(args),
                "precision": args.precision,
                "threads": threads,
                "iters": args.iters,
                "clock": clock,
                "isa": isa,
                "median_seconds": median,
                "least_seconds": self.seconds[0],
                "images_per_second": args.batch as f64 / median,
                "peak_bytes": peak,
                "page_faults": faults,
            }));
            return;
        }
        let unknown = || "unknown".to_owned();
        say(format!(
            "{what} of {} (stem {}, width {}, {}), {} images of {} pixels: {}, {:.1} images/s ({clock} time, {}, {isa}), {} above the loaded program, {} page faults a step",
            word(args.encoder),
            word(args.stem),
            args.width,
            word(args.precision),
            args.batch,
            image_size(args),
            time(median),
            args.batch as f64 / median,
            counted(threads, "thread"),
            peak.map_or_else(unknown, size),
            faults.map_or_else(unknown, |n| format!("{n:.0}")),
        ));
    }
}
