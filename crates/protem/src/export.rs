//! `protem export`: an encoder's weights for other programs.

use crate::args::{EncoderArgs, ExportArgs};
use crate::console::say;
use crate::encoder::Trained;
use crate::failure::{Failure, explain};
use crate::outputs;
use protem_em::{Checkpoint, Output};
use protem_encoder::Weights;
use std::collections::BTreeMap;

/// Runs the command.
pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let out = &args.out;
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
        _ if !out.exists() => None,
        _ if Checkpoint::is_at(out) => Some("is a checkpoint of a run"),
        _ if Weights::open(out).is_err() => {
            Some("is there already and holds no weights of an encoder")
        }
        _ => None,
    };
    if let Some(what) = in_the_way {
        return Err(Failure::usage(format!(
            "{} {what}; name another file with --out",
            out.display()
        )));
    }
    outputs::inputs_stay(&[out], &[&args.checkpoint])?;
    outputs::check_folder(out)?;
    let trained = Trained::open(&EncoderArgs {
        checkpoint: args.checkpoint.clone(),
        image_size: None,
        precision: None,
    })?;
    if args.head {
        trained.check(Output::Embedding)?;
    }
    let encoder = trained.encoder()?;
    let bytes = encoder.to_safetensors(args.head, &metadata(&trained));
    let parent = outputs::folder_of(out);
    std::fs::create_dir_all(parent)
        .map_err(|e| Failure::running(format!("cannot create {}: {e}", parent.display())))?;
    protem_em::write_atomically(out, &bytes).map_err(|e| Failure::running(explain(&e)))?;
    say(format!(
        "{}, {} projection head, in {}",
        trained.config().backbone(),
        if args.head { "with its" } else { "without" },
        out.display()
    ));
    Ok(())
}

/// What a reader of the file may want to know.
fn metadata(trained: &Trained) -> BTreeMap<String, String> {
    let mut of = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()), // torchvision's names and shapes
        ("image_size".to_owned(), trained.image_size().to_string()),
        (
            "written_by".to_owned(),
            format!("protem {}", env!("CARGO_PKG_VERSION")),
        ),
    ]);
    let provenance = trained.provenance();
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
