//! `protem export`: an encoder's weights for other programs.

use crate::args::ExportArgs;
use crate::console::say;
use crate::encoder::{ORIENTATION, REDUCED, Trained};
use crate::failure::{Failure, explain};
use crate::outputs;
use protem_em::Checkpoint;
use protem_encoder::{Encoder, Weights};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    check_target(&args.out, &args.encoder.checkpoint)?;
    let trained = Trained::open(&args.encoder)?;
    if args.head {
        trained.check_embedding("leave --head out")?;
    }
    let mut metadata = metadata(&trained);
    if let Some(size) = trained.known_image_size(&args.encoder) {
        metadata.insert("image_size".into(), size.to_string());
    }
    for key in ["classes", "classifier"].into_iter().filter(|_| args.head) {
        metadata.extend(trained.told(key).map(|told| (key.to_owned(), told)));
    }
    write(&args.out, &trained.encoder()?, args.head, metadata)?;
    say(format!(
        "{}, {} projection head, in {}",
        trained.config().backbone(),
        if args.head { "with its" } else { "without" },
        args.out.display()
    ));
    Ok(())
}

/// Whether weights can be written there. Earlier ones are written over; anything else stays.
pub fn check_target(out: &Path, checkpoint: &Path) -> Result<(), Failure> {
    outputs::check_file(out)?;
    if out
        .extension()
        .is_none_or(|extension| extension != "safetensors")
    {
        return Err(Failure::usage(format!(
            "--out {}: weights are written as a .safetensors file; name one",
            out.display()
        )));
    }
    let in_the_way = match () {
        () if !out.exists() => None,
        () if Checkpoint::is_at(out) => Some("is a checkpoint of a run"),
        () if Weights::open(out, None).is_err() => {
            Some("is there already and holds no weights of an encoder")
        }
        () => None,
    };
    if let Some(what) = in_the_way {
        return Err(Failure::usage(format!(
            "{} {what}; name another file with --out",
            out.display()
        )));
    }
    outputs::inputs_stay(&[out], &[checkpoint])?;
    outputs::check_folder(out)
}

/// Writes weights, whole or not at all.
pub fn write(
    out: &Path,
    encoder: &Encoder,
    head: bool,
    metadata: BTreeMap<String, String>,
) -> Result<(), Failure> {
    let bytes = encoder.to_safetensors(head, &metadata);
    outputs::check_room(out, bytes.len() as u64)?;
    let parent = outputs::folder_of(out);
    outputs::make(parent)?;
    protem_em::write_atomically(out, &bytes).map_err(|e| Failure::running(explain(&e)))
}

/// What a reader of the file may want to know.
pub fn metadata(trained: &Trained) -> BTreeMap<String, String> {
    let mut of = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()), // torchvision's names and shapes
        (
            "written_by".to_owned(),
            format!("protem {}", env!("CARGO_PKG_VERSION")),
        ),
    ]);
    let provenance = trained.provenance();
    for key in [ORIENTATION, REDUCED] {
        of.insert(key.to_owned(), provenance["decoding"][key].to_string());
    }
    let told = ["arch", "stem", "width", "mode", "seed", "epoch", "step"];
    for key in told {
        match &provenance[key] {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => _ = of.insert(key.to_owned(), text.clone()),
            value => _ = of.insert(key.to_owned(), value.to_string()),
        }
    }
    of
}
