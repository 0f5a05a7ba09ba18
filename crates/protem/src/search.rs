//! `protem search`: the images of a set that are most like given ones.

use crate::args::SearchArgs;
use crate::console::{is_unheard, say, warn};
use crate::encoder::Trained;
use crate::eval::whole;
use crate::failure::Failure;
use crate::features::{check_memory, image_bar, none_of, outputs_of_readable, start};
use crate::images::open_images;
use crate::named::{Named, Names};
use protem_data::{Joined, Location, Source, Subset, image_file};
use protem_em::Output;
use protem_eval::{Features, Similar, nearest};
use protem_report::{counted, escape};
use serde_json::json;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Queries of which what is found is printed together.
const TOGETHER: usize = 1024;

/// Finds and prints them.
pub fn run(args: &SearchArgs) -> Result<(), Failure> {
    start(args.threads)?;
    if args.top == 0 {
        return Err(Failure::usage("--top must be at least 1"));
    }
    let trained = Trained::open(&args.encoder)?;
    let output = args.what.output();
    trained.check(output)?;
    let check = |dim| check_dim(args, &trained, output, dim);
    let Named { features, names } = Named::open(&args.features, check)?;
    let queries: Arc<dyn Source> = Arc::new(open_queries(&args.queries)?);
    let images = features.rows();
    let of_each = 4 * trained.dim(output) + 8 * args.top.min(images);
    let together = queries.len().min(TOGETHER);
    check_memory((together * of_each) as u64, "take a smaller --top")?;
    if args.top > images {
        let images = counted(images, "image");
        warn(format!("--top {}: there are {images} to find", args.top));
    }
    let (encoder, features) = (trained.encoder()?, features.normalised());
    let what = Path::new("the images to search for");
    let mut any = false;
    for first in (0..queries.len()).step_by(TOGETHER) {
        let some = first..queries.len().min(first + TOGETHER);
        let some = Arc::new(Subset::new(
            queries.clone(),
            some.map(|i| i as u32).collect(),
        ));
        let asked = outputs_of_readable(&encoder, &trained, what, some.clone(), output)?;
        let Some(asked) = asked else {
            continue;
        };
        any = true;
        let found = find(&features, asked.features, args.top)?;
        for (index, near) in asked.indices.iter().zip(found) {
            tell(args, &some.name(*index as usize), &near, &names);
        }
        if is_unheard() {
            break;
        }
    }
    any.then_some(()).ok_or_else(|| none_of(what))
}

/// The images nearest to each query.
fn find(images: &Features, queries: Features, top: usize) -> Result<Vec<Vec<Similar>>, Failure> {
    let bar = image_bar(queries.rows(), "searching".into());
    let mut progress = |done| {
        bar.set_position(done as u64);
        true
    };
    let found = nearest(images, &queries.normalised(), top, &mut progress);
    whole(&bar, found)
}

/// Features must have as many values as the encoder gives them.
fn check_dim(
    args: &SearchArgs,
    trained: &Trained,
    output: Output,
    dim: usize,
) -> Result<(), Failure> {
    let gives = trained.dim(output);
    if dim == gives {
        return Ok(());
    }
    let (what, other, option) = match output {
        Output::Features => ("features", Output::Embedding, "embedding"),
        Output::Embedding => ("embeddings", Output::Features, "features"),
    };
    let there = other == Output::Features || trained.has_head();
    let advice = match there && dim == trained.dim(other) {
        true => format!("if it was written so, take --what {option}"),
        false => format!(
            "write the file with this encoder: protem embed --checkpoint {} --data FOLDER --out {}",
            args.encoder.checkpoint.display(),
            args.features.display()
        ),
    };
    Err(Failure::usage(format!(
        "{} has rows of {dim} values, and the {what} of {} have {gives}: {advice}",
        args.features.display(),
        trained.path().display()
    )))
}

/// The images that are named: files by their paths, those of other sources by their names there, behind
/// the name of the source.
fn open_queries(queries: &[PathBuf]) -> Result<Joined, Failure> {
    let mut parts = Vec::new();
    for query in queries {
        parts.push(match image_file(query) {
            Some(image) => (String::new(), image),
            None => {
                let source = open_images(query)?;
                (before_names(query, &*source), source)
            }
        });
    }
    Ok(Joined::new(parts))
}

/// What precedes the names of a source's images: its own, or where these begin with that of its file, as
/// those of an archive do, the folder of that.
fn before_names(query: &Path, source: &dyn Source) -> String {
    let location = Location::parse(query);
    let file = location.path.file_name().map(OsStr::to_string_lossy);
    let told = |file: &str| {
        let first = source.name(0);
        let rest = first.strip_prefix(file);
        rest.is_some_and(|rest| rest.starts_with(['/', ':']))
    };
    if location.path.is_file() && !source.is_empty() && file.is_some_and(|file| told(&file)) {
        return location.path.with_file_name("").display().to_string();
    }
    let name = query.display().to_string();
    format!("{}/", name.trim_end_matches('/'))
}

fn tell(args: &SearchArgs, query: &str, near: &[Similar], names: &Names) {
    if args.json {
        say(json!({"query": query, "images": names.json(near)}));
        return;
    }
    say(escape(query));
    for image in near {
        say(format!("  {}", names.say(image)));
    }
}
