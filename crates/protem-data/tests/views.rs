//! Random views follow from their stream alone, and each recipe does what it says.

use protem_data::{
    Augment, AugmentConfig, Generated, GeneratedSpec, Recipe, Source, Split, Stream,
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
