//! The palette of a photo: `cargo run --release -p protem-cluster --example colors -- PHOTO.jpg [K]`.
//!
//! Colours are clustered in OKLab, where distances are those the eye sees; each distinct colour is
//! one point, weighted by its pixels.

use protem_cluster::{Init, KMeans, Matrix};
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("colors PHOTO.jpg [K]")?;
    let k = arguments.next().map_or(Ok(8), |k| k.parse())?;

    let photo = image::open(&path)?.to_rgb8();
    let mut pixels: BTreeMap<[u8; 3], f32> = BTreeMap::new();
    photo
        .pixels()
        .for_each(|p| *pixels.entry(p.0).or_default() += 1.0);
    let points: Vec<f32> = pixels.keys().flat_map(|rgb| to_oklab(*rgb)).collect();
    let matrix = Matrix::new(&points, pixels.len(), 3)?;

    let fit = KMeans::builder(k.min(pixels.len()))
        .init(Init::PlusPlus)
        .restarts(3)
        .iterations(50)
        .max_points_per_centroid(100_000)
        .weights(pixels.values().copied().collect())
        .build()?
        .fit(matrix)?;

    let mut shares = vec![0.0; fit.k];
    for (label, count) in fit.labels.iter().zip(pixels.values()) {
        shares[*label as usize] += count / (photo.width() * photo.height()) as f32;
    }
    let mut order: Vec<usize> = (0..fit.k).collect();
    order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    println!(
        "{path}: {} pixels, {} colours",
        photo.width() * photo.height(),
        pixels.len()
    );
    for c in order {
        let lab = &fit.centroids[c * 3..][..3];
        let [r, g, b] = to_rgb([lab[0], lab[1], lab[2]]);
        let swatch = format!("\x1b[48;2;{r};{g};{b}m      \x1b[0m");
        println!(
            "{swatch} #{r:02x}{g:02x}{b:02x} {:5.1} %",
            shares[c] * 100.0
        );
    }
    Ok(())
}

/// sRGB to OKLab (Björn Ottosson, "A perceptual color space for image processing").
fn to_oklab(rgb: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = rgb.map(|v| {
        let v = f32::from(v) / 255.0;
        if v <= 0.04045 {
            v / 12.92
        } else {
            ((v + 0.055) / 1.055).powf(2.4)
        }
    });
    let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

/// OKLab to sRGB, cut to what sRGB can show.
fn to_rgb([l, a, b]: [f32; 3]) -> [u8; 3] {
    let long = (l + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let middle = (l - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let short = (l - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * long - 3.307_711_6 * middle + 0.230_969_94 * short,
        -1.268_438 * long + 2.609_757_4 * middle - 0.341_319_38 * short,
        -0.004_196_086 * long - 0.703_418_6 * middle + 1.707_614_7 * short,
    ];
    linear.map(|v| {
        let v = if v <= 0.003_130_8 {
            12.92 * v
        } else {
            1.055 * v.powf(1.0 / 2.4) - 0.055
        };
        (v * 255.0).round().clamp(0.0, 255.0) as u8
    })
}
