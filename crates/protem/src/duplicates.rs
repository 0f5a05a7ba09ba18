//! `protem duplicates`: groups of images that are much alike.

use crate::args::DuplicatesArgs;
use crate::console::say;
use crate::eval::whole;
use crate::failure::Failure;
use crate::features::{image_bar, start};
use crate::named::{Named, Names};
use protem_eval::{Group, duplicates};
use protem_report::counted;
use serde_json::json;

/// Finds and prints them.
pub fn run(args: &DuplicatesArgs) -> Result<(), Failure> {
    start(args.threads)?;
    if args.top == Some(0) {
        return Err(Failure::usage("--top must be at least 1"));
    }
    let threshold = args.threshold as f32;
    if !(threshold > 0.0 && threshold < 1.0) {
        return Err(Failure::usage(format!(
            "--threshold {} must lie above 0 and below 1, in 32 bits (equal features have 1 to rounding: 0.99999 finds them)",
            args.threshold
        )));
    }
    let Named { features, names } = Named::open(&args.features, |_| Ok(()))?;
    let images = features.rows();
    let bar = image_bar(images, "comparing".into());
    let mut progress = |done| {
        bar.set_position(done as u64);
        true
    };
    let groups = whole(&bar, duplicates(features, threshold, &mut progress))?;
    let chains = groups.iter().filter(|group| group.is_chain(threshold));
    let chains = chains.count();
    let shown = args.top.unwrap_or(groups.len()).min(groups.len());
    for group in &groups[..shown] {
        tell(args, group, &names);
    }
    if !args.json {
        say(summary(args, images, &groups, (shown, chains)));
    }
    Ok(())
}

fn tell(args: &DuplicatesArgs, Group { images, least }: &Group, names: &Names) {
    if args.json {
        say(json!({"images": names.json(images), "least": least}));
        return;
    }
    images.iter().for_each(|image| say(names.say(image)));
    say(format!("any two: {least:.4} or more\n"));
}

/// What was found, in a line.
fn summary(
    args: &DuplicatesArgs,
    images: usize,
    groups: &[Group],
    (shown, chains): (usize, usize),
) -> String {
    let members: usize = groups.iter().map(|group| group.images.len()).sum();
    let more = match groups.len() - shown {
        0 => String::new(),
        more => format!(" ({more} not shown)"),
    };
    let chains = match chains {
        0 => String::new(),
        chains => format!("; in {} some are less alike", counted(chains, "group")),
    };
    format!(
        "{}{more} of {} among {}, similarity {} or more{chains}",
        counted(groups.len(), "group"),
        counted(members, "image"),
        counted(images, "image"),
        args.threshold
    )
}
