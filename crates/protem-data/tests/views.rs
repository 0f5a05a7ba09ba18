//! Random views follow from their stream alone, and each recipe does what it says.

use protem_data::{
    Augment, AugmentConfig, CropConfig, Evaluation, Generated, GeneratedSpec, InvalidView, Part,
    Recipe, Source, Split, Stream, ViewConfig,
};

const STREAM: Stream = Stream {
    seed: 1,
    epoch: 2,
    index: 3,
    view: 0,
};

fn picture() -> image::RgbImage {
    let spec = GeneratedSpec {
        seed: 0,
        images: 1,
        size: 48,
        split: Split::Train,
    };
    Generated::new(spec).read(0).expect("generated")
}

fn augment(recipe: Recipe, blur: bool) -> Augment {
    Augment::new(AugmentConfig {
        recipe,
        size: 32,
        min_scale: 0.2,
        blur,
    })
}

#[test]
fn a_view_follows_from_its_stream_alone() {
    let (image, augment) = (picture(), augment(Recipe::V2, true));
    let view = augment.view(&image, STREAM);
    assert_eq!(view.dimensions(), (32, 32));
    assert_eq!(view, augment.view(&image, STREAM));
    for other in [
        Stream { seed: 2, ..STREAM },
        Stream { epoch: 3, ..STREAM },
        Stream { index: 4, ..STREAM },
        Stream { view: 1, ..STREAM },
    ] {
        assert_ne!(view, augment.view(&image, other), "{other:?}");
    }
}

/// Share of 2000 views that are gray. Of v1 the jitter follows the grayscale and leaves gray gray.
#[test]
fn a_fifth_of_the_views_is_gray() {
    let image = picture();
    for recipe in [Recipe::V1, Recipe::V2] {
        let augment = augment(recipe, true);
        let gray = |index: &u64| {
            let stream = Stream {
                index: *index,
                ..STREAM
            };
            let view = augment.view(&image, stream);
            view.pixels().all(|p| p[0] == p[1] && p[1] == p[2])
        };
        let share = (0..2000).filter(gray).count() as f64 / 2000.0;
        // Four standard errors: 4·√(0.2·0.8/2000) = 0.036.
        assert!((share - 0.2).abs() < 0.036, "{recipe:?}: {share}");
    }
}

#[test]
fn only_v2_blurs() {
    let image = picture();
    let changed = |recipe| {
        let differs = |index: &u64| {
            let stream = Stream {
                index: *index,
                ..STREAM
            };
            let view = |blur| augment(recipe, blur).view(&image, stream);
            // The blur draws from the stream before the flip does.
            let sharp = view(false);
            let mut flipped = sharp.clone();
            protem_data::ops::flip(&mut flipped);
            let blurred = view(true);
            blurred != sharp && blurred != flipped
        };
        (0..200).filter(differs).count()
    };
    assert_eq!(changed(Recipe::V1), 0);
    assert!((70..=130).contains(&changed(Recipe::V2)));
}

/// Runs that go on draw what they would have drawn: views of the crate's first recipes stay.
#[test]
fn views_of_known_streams_stay_as_they_were() {
    let spec = GeneratedSpec {
        seed: 0,
        images: 10,
        size: 48,
        split: Split::Train,
    };
    let images = Generated::new(spec);
    for (recipe, known) in [(Recipe::V1, 0xc50d_5117), (Recipe::V2, 0x1e74_722c)] {
        let augment = Augment::new(AugmentConfig {
            recipe,
            size: 33,
            min_scale: 0.2,
            blur: true,
        });
        let mut hasher = crc32fast::Hasher::new();
        for index in 0..10 {
            let image = images.read(index as usize).expect("generated");
            for view in 0..2 {
                let stream = Stream {
                    index,
                    view,
                    ..STREAM
                };
                let stream = Stream { epoch: 2, ..stream };
                hasher.update(&augment.view(&image, stream));
            }
        }
        assert_eq!(hasher.finalize(), known, "{recipe:?}");
    }
}

/// The parts as a config file has them.
#[test]
fn parts_are_read_from_toml_and_checked() {
    let text = r#"
        size = 32
        [[parts]]
        part = "solarize"
        threshold = 128
        p = 0.2
        [[parts]]
        part = "colour-jitter"
        hue = 0.1
        [[parts]]
        part = "gaussian-blur"
        sigma = [0.1, 2.0]
    "#;
    let read: ViewConfig = toml::from_str(text).expect("parses");
    let parts = [
        Part::Solarize {
            p: 0.2,
            threshold: 128,
        },
        Part::ColourJitter {
            p: 1.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.1,
        },
        Part::GaussianBlur {
            p: 1.0,
            sigma: [0.1, 2.0],
        },
    ];
    let expected = ViewConfig {
        size: 32,
        crop: CropConfig::default(),
        parts: parts.to_vec(),
    };
    assert_eq!(read, expected);
    assert!(Augment::of_parts(read).is_ok());
    assert!(toml::from_str::<ViewConfig>("size = 32\nsides = 3").is_err());
    let with = |part| {
        Augment::of_parts(ViewConfig {
            parts: vec![part],
            ..expected.clone()
        })
    };
    for (part, what) in [
        (Part::Flip { p: 1.5 }, "p"),
        (Part::Grayscale { p: f64::NAN }, "p"),
        (
            Part::GaussianBlur {
                p: 1.0,
                sigma: [2.0, 1.0],
            },
            "sigma",
        ),
        (
            Part::ColourJitter {
                p: 1.0,
                brightness: -1.0,
                contrast: 0.0,
                saturation: 0.0,
                hue: 0.0,
            },
            "brightness",
        ),
    ] {
        let refused = with(part).expect_err("cannot be").to_string();
        assert!(refused.starts_with(&format!("{what} = ")), "{refused}");
    }
    let nothing = ViewConfig {
        size: 0,
        ..expected
    };
    assert_eq!(Augment::of_parts(nothing), Err(InvalidView::Size(0)));
}

#[test]
fn jitter_of_no_strength_changes_nothing() {
    let still = ViewConfig {
        size: 40,
        crop: CropConfig {
            scale: [1.0, 1.0],
            ratio: [1.0, 1.0],
        },
        parts: Vec::new(),
    };
    let nothing = Part::ColourJitter {
        p: 1.0,
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
        hue: 0.0,
    };
    let stream = Stream {
        seed: 0,
        epoch: 0,
        index: 0,
        view: 0,
    };
    let of = |config| Augment::of_parts(config).unwrap().view(&picture(), stream);
    let jittered = ViewConfig {
        parts: vec![nothing],
        ..still.clone()
    };
    assert_eq!(of(jittered), of(still));
}

#[test]
fn lines_of_pixels_have_a_centre() {
    for (width, height) in [(1 << 24, 1), (1, 1 << 24)] {
        let line = image::RgbImage::new(width, height);
        let view = Evaluation::for_size(280).view(&line);
        assert_eq!(view.dimensions(), (280, 280));
    }
}

#[test]
fn a_linear_probes_views_are_crops_and_half_of_them_mirrored() {
    // A ramp from left to right: a view of it rises, or falls.
    let image = image::RgbImage::from_fn(64, 64, |x, _| image::Rgb([x as u8 * 4; 3]));
    let augment = Augment::of_parts(ViewConfig::linear(16)).expect("can be");
    let mut falls = 0;
    for index in 0..400 {
        let view = augment.view(&image, Stream { index, ..STREAM });
        let row: Vec<u8> = (0..16).map(|x| view.get_pixel(x, 8)[0]).collect();
        assert!(row.is_sorted() || row.iter().rev().is_sorted());
        falls += u32::from(row[0] > row[15]);
    }
    assert!((160..=240).contains(&falls), "{falls} of 400"); // four standard errors are 40
}
