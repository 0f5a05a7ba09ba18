//! Decoding of odd and damaged files against Pillow: the files are not part of the repository, what
//! Pillow makes of them (`tests/fixtures/odd.py`) is.

mod made;

use image::{DynamicImage, ImageFormat, Rgb};
use protem_data::{DecodeOptions, ReadError, decode, decode_with};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

const PILLOW: &str = include_str!("fixtures/odd.tsv");

/// Files by name; nothing where the archive is not at hand.
fn files() -> Option<BTreeMap<String, Vec<u8>>> {
    let archive = std::fs::File::open(made::real("odd-images/odd.tar")?).expect("an archive");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("a file");
        if entry.header().entry_type().is_file() && name != "MANIFEST.tsv" {
            files.insert(name, bytes);
        }
    }
    Some(files)
}

/// All files that come out differently from Pillow, and how.
const DIFFERENT: [(&str, Difference); 1] = [
    // No decoder in Rust alone that is small enough for it.
    ("other-format/hopper.avif", Difference::RefusedHere),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Difference {
    /// Pillow opens it.
    RefusedHere,
    /// Pillow refuses it.
    OpensHere,
    /// Another width or height.
    Size,
    /// Other bytes; of a WebP file, a mean that is off by more than one (transforms and upsampling may
    /// round differently).
    Pixels,
}

fn difference(name: &str, bytes: &[u8], pillow: &str) -> Option<Difference> {
    let columns: Vec<&str> = pillow.split('\t').collect();
    let (ours, [w, h, crc, mean]) = match (decode(bytes), &columns[..]) {
        (Ok(ours), &[w, h, crc, mean]) => (ours, [w, h, crc, mean]),
        (Ok(_), _) => return Some(Difference::OpensHere),
        (Err(_), ["refused"]) => return None,
        (Err(_), _) => return Some(Difference::RefusedHere),
    };
    if (ours.width().to_string(), ours.height().to_string()) != (w.into(), h.into()) {
        return Some(Difference::Size);
    }
    let lossy = name.ends_with(".webp");
    let same = if lossy {
        let sum: u64 = ours.iter().map(|b| u64::from(*b)).sum();
        let theirs: f64 = mean.parse().expect("a mean");
        (sum as f64 / ours.len() as f64 - theirs).abs() <= 1.0
    } else {
        format!("{:08x}", crc32fast::hash(&ours)) == crc
    };
    (!same).then_some(Difference::Pixels)
}

#[test]
fn a_png_in_an_icon_is_that_png() {
    let png = |side: u32, colour: [u8; 3]| {
        let mut bytes = Cursor::new(Vec::new());
        let image = image::RgbImage::from_pixel(side, side, Rgb(colour));
        image
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("written");
        bytes.into_inner()
    };
    // Of most bits, then the largest.
    let images = [(16, 8, [1, 2, 3]), (4, 32, [4, 5, 6]), (9, 32, [7, 8, 9])];
    let mut icon = vec![0, 0, 1, 0, images.len() as u8, 0];
    let mut held = Vec::new();
    for (side, bits, colour) in images {
        let png = png(side, colour);
        let offset = 6 + 16 * images.len() + held.len();
        icon.extend([side as u8, side as u8, 0, 0, 1, 0, bits, 0]);
        icon.extend((png.len() as u32).to_le_bytes());
        icon.extend((offset as u32).to_le_bytes());
        held.extend(png);
    }
    icon.extend(held);
    let expected = decode(&png(9, [7, 8, 9])).expect("a PNG");
    assert_eq!(decode(&icon).expect("an icon"), expected);
}

#[test]
fn odd_files_come_out_as_from_pillow_but_for_the_known() {
    let Some(files) = files() else { return };
    let lines = PILLOW.lines().filter_map(|line| line.split_once('\t'));
    let pillow: BTreeMap<&str, &str> = lines.collect();
    assert_eq!(files.len(), pillow.len());
    let differ = files.iter().filter_map(|(name, bytes)| {
        let difference = difference(name, bytes, pillow[name.as_str()])?;
        Some((name.as_str(), difference))
    });
    assert_eq!(differ.collect::<Vec<_>>(), DIFFERENT);
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let written = image.into().write_to(&mut bytes, ImageFormat::Png);
    written.expect("encodes");
    bytes.into_inner()
}

#[test]
fn gray_is_copied_transparency_dropped_and_16_bits_are_cut() {
    let (w, h) = (2, 1);
    let gray = image::GrayImage::from_raw(w, h, vec![7, 200]).expect("pixels");
    let alpha = image::GrayAlphaImage::from_raw(w, h, vec![7, 0, 200, 128]).expect("pixels");
    let rgba = [7, 8, 9, 0, 200, 201, 202, 255].to_vec();
    let rgba = image::RgbaImage::from_raw(w, h, rgba).expect("pixels");
    let deep = [0x07ff, 0x0800, 0x09ff, 0xc8ff, 0xc900, 0xca80].to_vec();
    let deep = image::ImageBuffer::<Rgb<u16>, _>::from_raw(w, h, deep).expect("pixels");
    for (file, expected) in [
        (png(gray), [7, 7, 7, 200, 200, 200]),
        (png(alpha), [7, 7, 7, 200, 200, 200]),
        (png(rgba), [7, 8, 9, 200, 201, 202]),
        (png(deep), [7, 8, 9, 200, 201, 202]),
    ] {
        assert_eq!(decode(&file).expect("decodes").as_raw(), &expected);
    }
}

#[test]
fn an_image_without_pixels_is_none() {
    for file in [&b"P4 0 1\n"[..], b"P5 3 0 255\n", b"P6 0 0 255\n"] {
        let refused = decode(file).expect_err("no pixels");
        let expected = matches!(refused, ReadError::Empty { .. } | ReadError::Decode(_));
        assert!(expected, "{refused}");
    }
    let refused = decode(b"P4 0 1\n").expect_err("no pixels");
    assert!(
        matches!(
            refused,
            ReadError::Empty {
                width: 0,
                height: 1
            }
        ),
        "{refused}"
    );
}

/// 58 bytes that declare 30000 × 30000 pixels.
#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut bmp = bmp_header(30_000, 30_000);
    bmp.resize(58, 0);
    let refused = decode(&bmp).expect_err("too large");
    assert!(
        matches!(
            refused,
            ReadError::TooLarge {
                width: 30_000,
                height: 30_000,
                ..
            }
        ),
        "{refused}"
    );
}

/// File and information header of a BMP of 24 bits a pixel.
fn bmp_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"BM".to_vec();
    for word in [58, 0, 54, 40, width, height] {
        header.extend(word.to_le_bytes());
    }
    header.extend([1, 0, 24, 0]);
    header.resize(54, 0);
    header
}

#[test]
fn every_cut_of_a_file_is_refused_or_read_without_a_panic() {
    let whole = png(image::RgbImage::from_fn(9, 7, |x, y| {
        Rgb([x as u8, y as u8, 3])
    }));
    for len in 0..whole.len() - 16 {
        assert!(
            decode(&whole[..len]).is_err(),
            "{len} of {} bytes",
            whole.len()
        );
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let panicked = matches!(decode(&damaged), Err(ReadError::DecoderPanic));
        assert!(!panicked, "byte {at}");
    }
}

/// As Pillow, which turns a TIFF as it opens it.
#[test]
fn a_tiff_is_turned_as_it_says() {
    let tiff = |orientation: u32| {
        let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
        let entries = [
            (256, 2),   // width
            (257, 1),   // height
            (258, 8),   // bits
            (259, 1),   // no compression
            (262, 1),   // gray
            (273, 134), // where the pixels are: behind all this
            (274, orientation),
            (277, 1), // samples
            (278, 1), // rows
            (279, 2), // bytes
        ];
        for (tag, value) in entries {
            let tag: u16 = tag;
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4u16.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0, 0, 0, 0, 10, 200]);
        decode(&bytes).expect("a TIFF").into_raw()
    };
    assert_eq!(tiff(1), [10, 10, 10, 200, 200, 200]);
    assert_eq!(tiff(3), [200, 200, 200, 10, 10, 10]);
}

/// As Pillow: cameras append films and other images, and whole ones are whole.
#[test]
fn what_follows_an_image_is_none_of_it() {
    let Some(files) = files() else { return };
    let whole = &files["exif/Landscape_1.jpg"];
    let expected = decode(whole).expect("decodes");
    let cut = &whole[..whole.len() / 2];
    for behind in [&b"film \xff\xda film"[..], cut] {
        let longer = [whole, behind].concat();
        assert_eq!(decode(&longer).expect("decodes"), expected);
    }
    assert!(matches!(decode(cut), Err(ReadError::Truncated)));
}

/// Sides and the place of the darkest corner tell the eight orientations apart; the files of
/// hopper are one picture, stored in eight ways (`ImageOps.exif_transpose` makes them one).
#[test]
fn an_orientation_is_applied_when_asked_for() {
    let Some(files) = files() else { return };
    let options = DecodeOptions {
        orientation: true,
        ..DecodeOptions::default()
    };
    let name = |n| format!("exif/hopper_orientation_{n}.jpg");
    let upright = |n| decode_with(&files[&name(n)], &options).expect("decodes");
    let off = |a: &image::RgbImage, b: &image::RgbImage| {
        let apart = a
            .iter()
            .zip(b.iter())
            .map(|(a, b)| u64::from(a.abs_diff(*b)));
        apart.sum::<u64>() as f64 / a.len() as f64
    };
    let expected = upright(2);
    for n in 3..=8 {
        let apart = off(&upright(n), &expected);
        assert!(apart < 6.0, "orientation {n}: {apart} a byte");
        let as_stored = decode(&files[&name(n)]).expect("decodes");
        let apart = off(&as_stored, &expected);
        assert!(apart > 20.0, "orientation {n} as stored: {apart} a byte");
    }
}

#[test]
fn limits_are_those_of_the_options() {
    let image = png(image::RgbImage::new(20, 10));
    let with = |max_pixels, max_bytes| {
        let options = DecodeOptions {
            max_pixels,
            max_bytes,
            orientation: false,
            ..DecodeOptions::default()
        };
        decode_with(&image, &options)
    };
    let len = image.len() as u64;
    assert!(with(200, len).is_ok());
    let refused = with(199, len).expect_err("too many pixels");
    assert!(matches!(refused, ReadError::TooLarge { limit: 199, .. }));
    let refused = with(200, len - 1).expect_err("too many bytes");
    assert!(matches!(refused, ReadError::TooManyBytes { .. }));
}

/// What a GIF of one frame comes to where its screen is gigantic.
#[test]
fn a_gif_bomb_is_refused_by_its_header() {
    let mut gif = b"GIF89a".to_vec();
    gif.extend([0xff, 0xff, 0xff, 0xff, 0x80, 0, 0]);
    gif.extend([0; 6]);
    gif.extend([0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b]);
    let refused = decode(&gif).expect_err("too large");
    assert!(matches!(refused, ReadError::TooLarge { .. }), "{refused}");
}

#[test]
fn large_jpegs_are_reduced_as_far_as_is_enough() {
    use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
    let (width, height) = (67, 45);
    let whole = image::RgbImage::from_fn(width, height, |x, y| {
        Rgb([3 * x as u8, 5 * y as u8, (x + y) as u8])
    });
    let of = |image: &image::RgbImage| {
        let (width, height) = (image.width() as usize, image.height() as usize);
        compress(
            image,
            width,
            height,
            PixelFormat::Rgb,
            95,
            Subsampling::S444,
        )
    };
    let jpeg = of(&whole).expect("encodes");
    let with = |file: &[u8], reduce_to| {
        let options = DecodeOptions {
            reduce_to,
            ..DecodeOptions::default()
        };
        decode_with(file, &options).expect("decodes")
    };
    for (least, by) in [
        (46, 1),
        (24, 1),
        (23, 2),
        (13, 2),
        (12, 4),
        (7, 4),
        (6, 8),
        (1, 8),
    ] {
        let reduced = with(&jpeg, Some(least));
        let sides = (width.div_ceil(by), height.div_ceil(by));
        assert_eq!(reduced.dimensions(), sides, "{least}");
        // A pixel is the mean of those it stands for, all of which there are.
        for (x, y) in [(0, 0), (width / by - 1, height / by - 1)] {
            let mean = |at: u32| at as f32 * by as f32 + (by as f32 - 1.0) / 2.0;
            let found = reduced.get_pixel(x, y).0.map(f32::from);
            let expected = [3.0 * mean(x), 5.0 * mean(y), mean(x) + mean(y)];
            let near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 4.0);
            assert!(near, "{least}: {found:?} for {expected:?}");
        }
    }
    assert_eq!(with(&jpeg, None).dimensions(), (width, height));
    assert_eq!(with(&png(whole), Some(1)).dimensions(), (width, height));
}
