//! `protem data`: looks at sets of images, and writes them as shards.

use crate::args::{InspectArgs, PackArgs, ShowArgs};
use crate::config;
use crate::console::{say, warn};
use crate::failure::{Failure, explain};
use crate::features::image_bar;
use crate::images::{list, open_images};
use crate::outputs;
use crate::system::{size, stop_flag};
use protem_data::{
    Decoded, Inspection, Location, PackConfig, PackError, Range, RgbImage, Source, Stream,
    contact_sheet, fitted, pack, png,
};
use protem_em::Plan;
use protem_report::counted;
use std::sync::atomic::Ordering;

/// `protem data inspect`.
pub fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let source = open_images(&args.data)?;
    let bar = image_bar(source.len(), "reading".into());
    let found = protem_data::inspect(&*source, &|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    if args.json {
        let mut told = serde_json::to_value(&found).expect("plain data");
        let names = |group: &Vec<u32>| names(&*source, group);
        told["duplicates"] = found.duplicates.iter().map(names).collect();
        told["source"] = source.describe().into();
        say(told);
        return Ok(());
    }
    say(source.describe());
    lines(&*source, &found).into_iter().for_each(say);
    Ok(())
}

fn names(source: &dyn Source, group: &[u32]) -> Vec<String> {
    group.iter().map(|i| source.name(*i as usize)).collect()
}

fn lines(source: &dyn Source, found: &Inspection) -> Vec<String> {
    const SHOWN: usize = 20;
    let numbers = |three: [f64; 3]| three.map(|x| format!("{x:.4}")).join(" ");
    let side = |range: Range| match range {
        Range { least, most, .. } if least == most => least.to_string(),
        Range {
            least,
            median,
            most,
        } => format!("{least} to {most} (median {median})"),
    };
    let formats = found.formats.iter().map(|(name, n)| format!("{n} {name}"));
    let formats: Vec<String> = formats.collect();
    let mut lines = vec![format!(
        "images      {} ({} unreadable), {}",
        found.images,
        found.unreadable.len(),
        size(found.bytes)
    )];
    let of_readable = [
        (
            "formats",
            Some(formats.join(", ")).filter(|f| !f.is_empty()),
        ),
        ("width", found.width.map(side)),
        ("height", found.height.map(side)),
        ("mean", found.mean.map(numbers)),
        ("deviation", found.std.map(numbers)),
    ];
    for (what, said) in of_readable {
        lines.extend(said.map(|said| format!("{what:<12}{said}")));
    }
    let classes = found.classes.iter().take(SHOWN);
    let mut classes: Vec<String> = classes
        .map(|c| format!("{} {}", c.name, c.images))
        .collect();
    if found.classes.len() > SHOWN {
        classes.push(format!("… and {} more", found.classes.len() - SHOWN));
    }
    lines.push(match found.classes.len() {
        0 => "classes     none".into(),
        n => format!("classes     {n}: {}", classes.join(", ")),
    });
    if found.unlabelled > 0 && !found.classes.is_empty() {
        lines.push(format!("            {} without a class", found.unlabelled));
    }
    let copies: usize = found.duplicates.iter().map(|group| group.len() - 1).sum();
    let are = if copies == 1 { "is" } else { "are" };
    lines.push(format!(
        "duplicates  {} {are} byte for byte another",
        counted(copies, "image")
    ));
    for group in found.duplicates.iter().take(SHOWN) {
        lines.push(format!("  {}", names(source, group).join(" = ")));
    }
    if found.duplicates.len() > SHOWN {
        lines.push(format!("  … and {} more", found.duplicates.len() - SHOWN));
    }
    if !found.unreadable.is_empty() {
        lines.push(format!("unreadable\n{}", list(&found.unreadable)));
    }
    lines
}

/// `protem data pack`.
pub fn pack_shards(args: &PackArgs) -> Result<(), Failure> {
    if args.images_per_shard == 0 {
        return Err(Failure::usage("--images-per-shard must be at least 1"));
    }
    let config = PackConfig {
        images: args.images_per_shard,
        bytes: args.shard_size,
        leave_out: args.leave_out,
    };
    outputs::check_writable(&args.out)?;
    let source = open_images(&args.data)?;
    let bar = image_bar(source.len(), "packing".into());
    let stop = stop_flag(Some("stopping, and writing nothing"))?;
    let packed = pack(&*source, &args.out, config, &|done| {
        bar.set_position(done as u64);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let packed = packed.map_err(|error| match error {
        PackError::Occupied(_) => Failure::usage(format!(
            "{}: name an empty folder, or one that is not there yet, with --out",
            explain(&error)
        )),
        PackError::Image { .. } => Failure::running(format!(
            "{}. Nothing was written; remove the image, mend it, or leave all such out with --leave-out",
            explain(&error)
        )),
        PackError::Stopped => Failure::interrupted("stopped; nothing was written"),
        PackError::Write { .. } => Failure::running(format!(
            "{}; make room there, or name another folder with --out",
            explain(&error)
        )),
    })?;
    if !packed.left_out.is_empty() {
        warn(format!("left out:\n{}", list(&packed.left_out)));
    }
    if !packed.labelled && !source.classes().is_empty() {
        warn("the classes are left out: an image has several, and shards tell one");
    }
    say(format!(
        "{} in {}, {}: {}",
        counted(packed.images, "image"),
        counted(packed.shards, "shard"),
        size(packed.bytes),
        args.out.display()
    ));
    Ok(())
}

/// Whether the sheet can be written where `--out` says. Among the images it would be one of them.
fn check_sheet(args: &ShowArgs) -> Result<(), Failure> {
    outputs::check_file(&args.out)?;
    if outputs::lies_in(&args.out, &Location::parse(&args.data).path) {
        return Err(Failure::usage(format!(
            "{} would lie among the images; name a file elsewhere with --out",
            args.out.display()
        )));
    }
    outputs::check_folder(&args.out)
}

/// `protem data show`.
pub fn show(args: &ShowArgs) -> Result<(), Failure> {
    /// Enough for any config: how many images there are does not matter to views.
    const IMAGES: usize = 1_300_000;
    /// Pixels of a sheet, about: more views are shown smaller.
    const LARGEST: usize = 64 << 20;
    if args.images == 0 || args.views == 0 || args.images > 256 || args.views > 64 {
        return Err(Failure::usage(
            "--images must lie between 1 and 256, --views between 1 and 64",
        ));
    }
    if !args
        .out
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("png"))
    {
        return Err(Failure::usage("--out must end in .png: the sheet is one"));
    }
    check_sheet(args)?;
    let settings = config::load(args.config.as_deref(), &args.set)?;
    let plan = config::plan(&settings, IMAGES, 1)?;
    let decoding = plan.settings.data.decode_options();
    let source = Decoded::new(open_images(&args.data)?, decoding, 0);
    let count = args.images.min(source.len());
    let squares = count * (args.views + 1);
    let side = plan.image_size.min((LARGEST / squares).isqrt() as u32);
    // Spread over the set, so that several classes are seen.
    let indices = (0..count).map(|row| row * source.len() / count);
    let rows = indices.filter_map(|index| row(&source, &plan, index, (args.views, side)));
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Err(Failure::running("none of the images can be read"));
    }
    let sheet = contact_sheet(&rows, side);
    let folder = outputs::folder_of(&args.out);
    outputs::make(folder)?;
    let written = protem_em::write_atomically(&args.out, &png(&sheet));
    written.map_err(|e| Failure::running(explain(&e)))?;
    say(format!(
        "{}: {}, each with {} as training draws them, two an epoch",
        args.out.display(),
        counted(rows.len(), "image"),
        counted(args.views, "view")
    ));
    Ok(())
}

/// An image and so many views of it, fitted to a square; nothing if it cannot be read, which is said.
fn row(
    source: &dyn Source,
    plan: &Plan,
    index: usize,
    (views, side): (usize, u32),
) -> Option<Vec<RgbImage>> {
    let image = source
        .read(index)
        .inspect_err(|error| warn(format!("skipped {}: {error}", source.name(index))))
        .ok()?;
    let view = |view: u64| {
        let stream = Stream {
            seed: plan.seed,
            epoch: view / 2,
            index: index as u64,
            view: view % 2,
        };
        fitted(&plan.augment.view(&image, stream), side)
    };
    // No more is kept than is shown: photographs are large.
    let shown = std::iter::once(fitted(&image, side));
    Some(shown.chain((0..views as u64).map(view)).collect())
}
