//! `protem encoders`: which encoders there are, and what they take.

use crate::args::EncodersArgs;
use crate::console::say;
use crate::failure::Failure;
use protem_em::{Arch, EncoderConfig, Head, Stem};
use serde_json::{Value, json};

/// Prints a line for each.
pub fn list(args: &EncodersArgs) -> Result<(), Failure> {
    let all = Arch::ALL.map(|arch| Stem::ALL.map(|stem| config(args, arch, stem)));
    let all = all.as_flattened();
    for config in all {
        config.check().map_err(|e| Failure::usage(e.to_string()))?;
    }
    if args.json {
        say(all
            .iter()
            .map(|config| as_json(args, config))
            .collect::<Value>());
        return Ok(());
    }
    say("encoder.arch  encoder.stem  features  parameters  multiply-adds of an image");
    for config in all {
        let side = side(args, config.stem);
        say(format!(
            "{:12}  {:12}  {:8}  {:8.2} M  {:.3} G at {side} × {side} pixels",
            config.arch.name(),
            config.stem.name(),
            config.feature_dim(),
            config.trained_before_head() as f64 / 1e6,
            config.multiply_adds(side) as f64 / 1e9,
        ));
    }
    Ok(())
}

fn as_json(args: &EncodersArgs, config: &EncoderConfig) -> Value {
    let side = side(args, config.stem);
    json!({
        "arch": config.arch,
        "stem": config.stem,
        "width": config.width,
        "features": config.feature_dim(),
        "parameters": config.trained_before_head(),
        "image_size": side,
        "multiply_adds": config.multiply_adds(side),
    })
}

fn config(args: &EncodersArgs, arch: Arch, stem: Stem) -> EncoderConfig {
    EncoderConfig {
        arch,
        stem,
        width: args.width,
        // What is told is what comes before it.
        head: Head::V2,
        dim: 128,
        split_bn: 1,
    }
}

/// What a stem is for, unless another size is asked for.
fn side(args: &EncodersArgs, stem: Stem) -> usize {
    args.image_size.unwrap_or(stem.usual_side()) as usize
}
