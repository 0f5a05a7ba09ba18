//! Opens images by any name and reads them all once:
//! `cargo run --release -p protem-data --example open -- NAME [decode] [shuffled]`.

use protem_data::{Encoded, epoch_order};
use rayon::prelude::*;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: open NAME [decode] [shuffled]";
    let name = arguments.next().ok_or(usage)?;
    let (mut decode, mut shuffled) = (false, false);
    for argument in arguments {
        match argument.as_str() {
            "decode" => decode = true,
            "shuffled" => shuffled = true,
            _ => return Err(usage.into()),
        }
    }
    let begun = Instant::now();
    let source = protem_data::open(&name)?;
    let classes = source.classes().len();
    println!(
        "{}: {} images, {classes} classes, opened in {:.3} s",
        source.describe(),
        source.len(),
        begun.elapsed().as_secs_f64()
    );
    let order = match shuffled {
        true => epoch_order(0, 0, source.len()),
        false => (0..source.len() as u32).collect(),
    };
    let begun = Instant::now();
    let sizes = order.par_iter().map(|i| {
        let i = *i as usize;
        if decode {
            return source.read(i).map_or(0, |image| image.len());
        }
        match source.encoded(i) {
            Ok(Encoded::File(bytes)) => bytes.len(),
            Ok(Encoded::Pixels(image)) => image.len(),
            Err(_) => 0,
        }
    });
    let bytes: usize = sizes.sum();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{} MB in {seconds:.3} s: {:.0} images/s, {:.0} MB/s",
        bytes / 1_000_000,
        source.len() as f64 / seconds,
        bytes as f64 / seconds / 1e6
    );
    Ok(())
}
