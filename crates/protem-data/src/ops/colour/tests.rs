//! Every way to compute a change against the others, for every colour.

use super::*;
use crate::ops::tests::colours;

/// One by one, in the compiler's vectors, and as this processor does it.
fn every_way_is_the_same(name: &str, change: impl Change) {
    let all = Planes::of(&colours());
    let (mut plain, mut vectors, mut ours) = (all.clone(), all.clone(), all);
    let [r, g, b] = &mut plain.channels;
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let first = change.first([*r, *g, *b].map(f32::from));
        [*r, *g, *b] = change.of(first).map(byte_of);
    }
    in_vectors(Each {
        planes: &mut vectors,
        change,
    });
    ours.change(change);
    assert!(plain == vectors, "{name}: vectors of the compiler's");
    assert!(plain == ours, "{name}");
}

#[test]
fn every_way_to_change_colours_is_the_same() {
    every_way_is_the_same("grayscale", Grayscale);
    every_way_is_the_same("saturation", Saturation { factor: 1.37 });
    every_way_is_the_same("hue", Hue { shift: 217.0 });
    let (base, factor) = (113.0, 0.62);
    every_way_is_the_same("blend", Blend { base, factor });
    let threshold = 128.0;
    every_way_is_the_same("solarize", Solarize { threshold });
}

#[test]
fn lumas_with_a_fraction_are_exact() {
    for pixel in colours().pixels() {
        assert_eq!(luma_of(pixel.0.map(f32::from)) as u8, luma(pixel.0));
    }
}
