//! Every operation against Pillow and torchvision, byte by byte. The expected numbers were written
//! by `tests/fixtures/pillow.py`; the pictures are its formulas.

use image::{Rgb, RgbImage};
use protem_data::ops::{self, Crop};
use protem_data::{Evaluation, ops::resized_crop};

const CASES: &str = include_str!("fixtures/pillow.tsv");
const BYTES: &[u8] = include_bytes!("fixtures/pillow.bin");

/// Bytes of a linear congruential generator.
fn noise(w: u32, h: u32) -> RgbImage {
    let mut state = w * 1000 + h;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    RgbImage::from_fn(w, h, |_, _| Rgb([next(), next(), next()]))
}

fn picture(kind: &str, w: u32, h: u32) -> RgbImage {
    let formula: fn(u32, u32, u32, u32) -> [u32; 3] = match kind {
        "noise" => return noise(w, h),
        "smooth" => |x, y, w, h| {
            let ramp = |at: u32, side: u32| at * 255 / (side - 1).max(1);
            [ramp(x, w), ramp(y, h), (x + y) * 3 % 256]
        },
        "pure" => |x, y, _, _| {
            let block = x / 3 + y / 3 * 5;
            [block % 2, block / 2 % 2, block / 4 % 2].map(|c| c * 255)
        },
        "colours" => |x, y, w, _| {
            let i = y * w + x;
            [i >> 16, (i >> 8) & 255, i & 255]
        },
        _ => panic!("no picture {kind}"),
    };
    RgbImage::from_fn(w, h, |x, y| Rgb(formula(x, y, w, h).map(|c| c as u8)))
}

fn run(operation: &str, image: &mut RgbImage, parameters: &[f64]) {
    let number = |i: usize| parameters[i] as u32;
    match operation {
        "grayscale" => ops::grayscale(image),
        "brightness" => ops::brightness(image, parameters[0] as f32),
        "contrast" => ops::contrast(image, parameters[0] as f32),
        "saturation" => ops::saturation(image, parameters[0] as f32),
        "hue" => ops::hue(image, parameters[0] as f32),
        "blur" => ops::gaussian_blur(image, parameters[0] as f32),
        "flip" => ops::flip(image),
        "solarize" => ops::solarize(image, number(0) as u8),
        "recipe" => {
            let factor = |i: usize| parameters[i] as f32;
            run(
                "resized_crop",
                image,
                &[&parameters[..5], &parameters[4..5]].concat(),
            );
            ops::hue(image, factor(8));
            ops::contrast(image, factor(6));
            ops::brightness(image, factor(5));
            ops::saturation(image, factor(7));
            ops::gaussian_blur(image, factor(9));
            ops::flip(image);
        }
        "resized_crop" => {
            let [left, top, width, height] = std::array::from_fn(number);
            let crop = Crop {
                left,
                top,
                width,
                height,
            };
            *image = resized_crop(image, crop, number(4), number(5));
        }
        "evaluation" => {
            let view = Evaluation {
                resize: number(0),
                crop: number(1),
            };
            *image = view.view(image);
        }
        _ => panic!("no operation {operation}"),
    }
}

/// Where two pictures differ, in words; nothing when they are equal.
fn difference(ours: &RgbImage, theirs: &[u8]) -> Option<String> {
    let pairs = || ours.as_raw().iter().zip(theirs);
    let bytes = pairs().filter(|(a, b)| a != b).count();
    let most = pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    let at = pairs().position(|(a, b)| a != b)?;
    Some(format!(
        "{bytes} of {} bytes differ by up to {most}, first byte {at}",
        theirs.len()
    ))
}

/// Runs the cases of one operation; says of all that differ how they differ.
fn check(operation: &str) {
    let mut stored = BYTES;
    let (mut run_cases, mut wrong) = (0, Vec::new());
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let [name, kind, w, h, parameters, out_w, out_h, known] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("eight columns: {line}");
        };
        let side = |s: &str| s.parse::<u32>().expect("a side");
        let size = (side(out_w), side(out_h));
        let bytes = match known {
            "bytes" => stored.split_off(..(size.0 * size.1 * 3) as usize),
            _ => None,
        };
        if name != operation {
            continue;
        }
        run_cases += 1;
        let numbers: Vec<f64> = parameters
            .split_whitespace()
            .map(|p| p.parse().expect("a number"))
            .collect();
        let mut image = picture(kind, side(w), side(h));
        run(operation, &mut image, &numbers);
        assert_eq!(image.dimensions(), size, "{line}");
        let difference = match bytes {
            Some(bytes) => difference(&image, bytes),
            None => {
                let crc = format!("crc {:08x}", crc32fast::hash(&image));
                (crc != known).then(|| format!("{crc} instead"))
            }
        };
        wrong.extend(difference.map(|d| format!("{line}: {d}")));
    }
    assert!(run_cases > 0, "cases of {operation}");
    assert!(wrong.is_empty(), "of {run_cases}:\n{}", wrong.join("\n"));
}

#[test]
fn grayscale_is_pillows_for_every_colour() {
    check("grayscale");
}

#[test]
fn brightness_is_pillows() {
    check("brightness");
}

#[test]
fn contrast_is_pillows() {
    check("contrast");
}

#[test]
fn saturation_is_pillows() {
    check("saturation");
}

/// Among the cases are all 2²⁴ colours, there and back through 8-bit HSV.
#[test]
fn hue_is_torchvisions_on_a_pillow_image() {
    check("hue");
}

#[test]
fn gaussian_blur_is_pillows() {
    check("blur");
}

#[test]
fn flip_is_pillows() {
    check("flip");
}

#[test]
fn solarize_is_pillows() {
    check("solarize");
}

#[test]
fn a_whole_view_is_that_of_the_same_parameters() {
    check("recipe");
}

#[test]
fn resized_crop_is_torchvisions_on_a_pillow_image() {
    check("resized_crop");
}

#[test]
fn evaluation_is_torchvisions_on_a_pillow_image() {
    check("evaluation");
}
