//! Writes a contact sheet of the generated set, one row a class:
//! `cargo run --release -p protem-data --example contact_sheet -- sheet.png`.

use image::{RgbImage, imageops};
use protem_data::{Generated, GeneratedSpec, Source, Split};
use std::error::Error;

const COLUMNS: usize = 12;
const SIDE: u32 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: contact_sheet FILE.png")?;
    let classes = 10;
    let set = Generated::new(GeneratedSpec {
        seed: 0,
        images: classes * COLUMNS,
        size: SIDE,
        split: Split::Train,
    });
    let mut sheet = RgbImage::new(SIDE * COLUMNS as u32, SIDE * classes as u32);
    for index in 0..set.len() {
        // Classes take turns, so the class is the remainder.
        let (row, column) = (index % classes, index / classes);
        let (x, y) = (
            column as i64 * i64::from(SIDE),
            row as i64 * i64::from(SIDE),
        );
        imageops::replace(&mut sheet, &set.read(index)?, x, y);
    }
    sheet.save(path)?;
    Ok(())
}
