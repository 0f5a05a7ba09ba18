//! `protem duplicates`: groups of images that are much alike.

use crate::args::DuplicatesArgs;
use crate::console::say;
use crate::eval::whole;
use crate::failure::Failure;
use crate::features::{image_bar, start};
use crate::named::{Named, Names};
use protem_eval::{Similar, duplicates};
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
    let shown = args.top.unwrap_or(groups.len()).min(groups.len());
    for group in &groups[..shown] {
        tell(args, group, &names);
    }
    if !args.json {
        say(summary(args, images, &groups, shown));
    }
    Ok(())
}

fn tell(args: &DuplicatesArgs, group: &[Similar], names: &Names) {
    if args.json {
        say(json!({"images": names.json(group)}));
        return;
    }
    group.iter().for_each(|image| say(names.say(image)));
    say("");
}

/// What was found, in a line.
fn summary(args: &DuplicatesArgs, images: usize, groups: &[Vec<Similar>], shown: usize) -> String {
    let members: usize = groups.iter().map(Vec::len).sum();
    let more = match groups.len() - shown {
        0 => String::new(),
        more => format!(" ({more} not shown)"),
    };
    format!(
        "{}{more} of {} among {}, similarity {} or more",
        counted(groups.len(), "group"),
        counted(members, "image"),
        counted(images, "image"),
        args.threshold
    )
}
