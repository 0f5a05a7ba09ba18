//! Nearest images and near duplicates against loops in f64.

use proptest::prelude::*;
use protem_eval::{EvalError, Features, Group, Similar, duplicates, nearest};
use std::collections::BTreeSet;

/// How far a similarity may be from that of `f64`.
const ROUNDING: f64 = 4e-6;

fn search(images: &Features, queries: &Features, k: usize) -> Vec<Vec<Similar>> {
    let [images, queries] = [images, queries].map(|some| some.clone().normalised());
    let found = nearest(&images, &queries, k, &mut |_| true);
    found.unwrap().expect("never asked to stop")
}

fn groups(features: &Features, threshold: f32) -> Vec<Group> {
    let found = duplicates(features.clone(), threshold, &mut |_| true);
    found.unwrap().expect("never asked to stop")
}

fn numbers(group: &Group) -> Vec<u32> {
    group.images.iter().map(|similar| similar.image).collect()
}

fn row(features: &Features, i: usize) -> &[f32] {
    &features.values()[i * features.dim()..][..features.dim()]
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    match dot(a, a) * dot(b, b) {
        0.0 => 0.0,
        squares => dot(a, b) / squares.sqrt(),
    }
}

/// Rows around a few directions, so that some are near each other; every 50th is zero, every 17th equals
/// the one before.
fn clumps(rows: usize, dim: usize, spread: f64) -> Features {
    let mut values: Vec<f32> = Vec::new();
    for i in 0..rows {
        let row: Vec<f32> = match i {
            _ if i % 50 == 49 => vec![0.0; dim],
            _ if i % 17 == 16 => values[(i - 1) * dim..].to_vec(),
            _ => {
                let centre = (i * i % 23) as f64;
                let value = |d: usize| {
                    let noise = ((i * dim + d) as f64 * 12.9898).sin();
                    (centre * 7.1 + d as f64 * 1.7).sin() + spread * noise
                };
                (0..dim).map(|d| (3.0 * value(d)) as f32).collect()
            }
        };
        values.extend(row);
    }
    Features::new(values, dim).unwrap()
}

/// The obvious groups: those of all pairs of at least so much.
fn obvious(features: &Features, threshold: f64) -> BTreeSet<Vec<u32>> {
    let images = features.rows();
    let mut group: Vec<usize> = (0..images).collect();
    for a in 0..images {
        for b in 0..a {
            if cosine(row(features, a), row(features, b)) >= threshold {
                let (keep, other) = (group[b], group[a]);
                if keep != other {
                    let of_other = group.iter_mut().filter(|of| **of == other);
                    of_other.for_each(|of| *of = keep);
                }
            }
        }
    }
    let members = |of: usize| (0..images).filter(|i| group[*i] == of).collect::<Vec<_>>();
    let all = (0..images).map(members).filter(|group| group.len() > 1);
    all.map(|group| group.into_iter().map(|i| i as u32).collect())
        .collect()
}

/// The similarity of the two of a group that are least alike.
fn least(features: &Features, group: &[u32]) -> f64 {
    let of = |a: u32, b: u32| cosine(row(features, a as usize), row(features, b as usize));
    let pairs = group.iter().flat_map(|a| group.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| of(*a, *b)).fold(f64::MAX, f64::min)
}

/// A threshold with no pair so near it that rounding decides.
fn between(features: &Features, about: f64) -> f64 {
    let mut all = Vec::new();
    for a in 0..features.rows() {
        all.extend((0..a).map(|b| cosine(row(features, a), row(features, b))));
    }
    let clear = |t: &f64| all.iter().all(|s| (s - t).abs() > 2.0 * ROUNDING);
    let mut tried = (0..10_000).map(|i| about - f64::from(i) * 1e-6);
    let found = tried.find(|t| clear(&f64::from(*t as f32)));
    f64::from(found.expect("a gap") as f32)
}

#[test]
fn the_nearest_are_those_of_a_loop() {
    for (rows, dim, queries) in [(1, 1, 1), (2049, 3, 65), (131, 33, 1), (4101, 17, 130)] {
        let images = clumps(rows, dim, 0.3);
        let asked = clumps(queries, dim, 0.5);
        for k in [1, 7, rows, rows + 5] {
            let found = search(&images, &asked, k);
            assert_eq!(found.len(), queries);
            for (q, near) in found.iter().enumerate() {
                let of = |i: usize| cosine(row(&images, i), row(&asked, q));
                assert_eq!(near.len(), k.min(rows));
                let different: BTreeSet<u32> = near.iter().map(|s| s.image).collect();
                assert_eq!(different.len(), near.len());
                let mut all: Vec<f64> = (0..rows).map(of).collect();
                all.sort_by(|a, b| b.total_cmp(a));
                for (similar, expected) in near.iter().zip(&all) {
                    let exact = of(similar.image as usize);
                    assert!((f64::from(similar.similarity) - exact).abs() < ROUNDING);
                    assert!(
                        (exact - expected).abs() < 2.0 * ROUNDING,
                        "{rows} {dim} {k}"
                    );
                }
                let in_order = |pair: &[Similar]| {
                    let (a, b) = (pair[0], pair[1]);
                    a.similarity > b.similarity || a.similarity == b.similarity && a.image < b.image
                };
                assert!(near.windows(2).all(in_order));
            }
        }
    }
}

/// Wherever an image lies in what is compared at a time: of equal ones the first are nearest.
#[test]
fn equal_images_are_equally_near() {
    for rows in [5, 130, 2049, 2051, 4097] {
        for dim in [1, 7, 512, 1000] {
            let wave = |step: f32| (0..dim).map(move |d| (d as f32 * step).sin() + 0.3);
            let one: Vec<f32> = wave(0.7).collect();
            let images = Features::new(one.repeat(rows), dim).unwrap();
            for queries in [1, 2, 65] {
                let waves = (1..=queries).flat_map(|q| wave(q as f32 * 0.7));
                let asked = Features::new(waves.collect(), dim).unwrap();
                for k in [1, 3, rows] {
                    let found = search(&images, &asked, k);
                    assert!(found[0].iter().all(|s| s.similarity == 1.0), "{rows} {dim}");
                    for near in found {
                        let first = near.iter().map(|s| s.image).eq(0..k as u32);
                        assert!(first, "{rows} {dim} {queries} {k}");
                    }
                }
            }
            let found = groups(&images, 0.99999);
            assert_eq!(found.len(), 1);
            assert!(found[0].images.iter().map(|s| s.image).eq(0..rows as u32));
        }
    }
}

#[test]
fn duplicates_are_those_of_a_loop() {
    for (rows, dim) in [
        (1, 5),
        (2, 1),
        (63, 3),
        (64, 4),
        (65, 5),
        (517, 19),
        (2301, 6),
    ] {
        let features = clumps(rows, dim, 0.05);
        for about in [0.9, 0.99, 0.9999] {
            let threshold = between(&features, about);
            let found = groups(&features, threshold as f32);
            let sets: BTreeSet<Vec<u32>> = found.iter().map(numbers).collect();
            assert_eq!(sets.len(), found.len());
            assert_eq!(
                sets,
                obvious(&features, threshold),
                "{rows} × {dim}, {threshold}"
            );
            for group in &found {
                let least = least(&features, &numbers(group));
                assert!((f64::from(group.least) - least).abs() < ROUNDING);
                assert_eq!(group.is_chain(threshold as f32), least < threshold);
            }
            for similar in found.iter().flat_map(|group| &group.images) {
                let image = similar.image as usize;
                let others = (0..rows).filter(|other| *other != image);
                let of = |other| cosine(row(&features, image), row(&features, other));
                let most = others.map(of).fold(f64::MIN, f64::max);
                assert!((f64::from(similar.similarity) - most).abs() < ROUNDING);
            }
            let most = |group: &Group| {
                let all = group.images.iter().map(|s| s.similarity);
                all.fold(f32::MIN, f32::max)
            };
            let in_order = |pair: &[Group]| {
                let (a, b) = (most(&pair[0]), most(&pair[1]));
                a > b || a == b && numbers(&pair[0])[0] < numbers(&pair[1])[0]
            };
            assert!(found.windows(2).all(in_order));
        }
    }
}

#[test]
fn images_between_others_join_them() {
    // Steps of 10°: neighbours have 0.985, those beyond 0.940; far behind another two.
    let angle = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
    let degrees = [20.0, 200.0, 0.0, 40.0, 10.0, 209.0, 30.0, 120.0];
    let features = Features::new(degrees.into_iter().flat_map(angle).collect(), 2).unwrap();
    let found = groups(&features, 0.98);
    let images: Vec<Vec<u32>> = found.iter().map(numbers).collect();
    assert_eq!(images, [vec![1, 5], vec![0, 2, 3, 4, 6]]);
    assert_eq!([0, 1].map(|i| found[i].is_chain(0.98)), [false, true]);
    // The ends are 40° apart.
    assert!((f64::from(found[1].least) - 40f64.to_radians().cos()).abs() < ROUNDING);
    assert!(groups(&features, 0.99).is_empty());
}

#[test]
fn a_chain_of_any_length_tells_how_far_apart_its_ends_are() {
    // All around within 60°, in an order that brings the ends into the middle.
    for images in [3, 64, 65, 2048, 2049, 4101] {
        let angle =
            |i: usize| (60.0 * ((i * 7919 + images / 2) % images) as f64) / (images - 1) as f64;
        let place = |i| [angle(i).to_radians().cos(), angle(i).to_radians().sin()];
        let values = (0..images).flat_map(place).map(|x| x as f32).collect();
        let found = groups(&Features::new(values, 2).unwrap(), 0.8);
        assert_eq!((found.len(), found[0].images.len()), (1, images));
        assert!(
            (f64::from(found[0].least) - 0.5).abs() < ROUNDING,
            "{images}"
        );
    }
}

#[test]
fn threads_change_nothing() {
    let features = clumps(1531, 29, 0.2);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build()
            .unwrap()
            .install(|| (search(&features, &features, 9), groups(&features, 0.97)))
    };
    let one = with(1);
    assert!(one.1.len() > 3);
    assert_eq!(one, with(3));
    assert_eq!(one, with(8));
}

#[test]
fn what_cannot_be_is_refused_and_a_search_can_be_stopped() {
    let (three, two) = (clumps(9, 3, 0.1), clumps(9, 2, 0.1));
    assert_eq!(
        nearest(&three, &two, 1, &mut |_| true),
        Err(EvalError::Count {
            what: "dimensions of queries",
            left: 2,
            right: 3
        })
    );
    for threshold in [0.0, 1.0, -0.5, 1.5, f32::NAN] {
        let refused = duplicates(three.clone(), threshold, &mut |_| true);
        assert!(matches!(refused, Err(EvalError::Threshold { .. })));
    }
    let mut told = Vec::new();
    let mut stop = |done| {
        told.push(done);
        false
    };
    assert_eq!(nearest(&three, &three, 1, &mut stop), Ok(None));
    assert_eq!(duplicates(three, 0.5, &mut stop), Ok(None));
    assert_eq!(told, [9, 9]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whole numbers in few dimensions have many equal directions, and none nearly equal: each is one
    /// group, and is found whole.
    #[test]
    fn equal_directions_are_groups(
        points in prop::collection::vec(prop::array::uniform3(-3i8..=3), 1..300),
        scales in prop::collection::vec(0.001f32..1000.0, 300),
    ) {
        let direction = |p: &[i8; 3]| {
            let gcd = p.iter().fold(0u8, |a, b| gcd(a, b.unsigned_abs()));
            p.map(|x| x / gcd.max(1) as i8)
        };
        let scaled = points.iter().zip(&scales).flat_map(|(p, s)| p.map(|x| f32::from(x) * s));
        let features = Features::new(scaled.collect(), 3).unwrap();
        let mut expected = BTreeSet::new();
        for point in &points {
            let of = |(i, p): (usize, &[i8; 3])| (direction(p) == direction(point)).then_some(i as u32);
            let same: Vec<u32> = points.iter().enumerate().filter_map(of).collect();
            if same.len() > 1 && *point != [0; 3] {
                expected.insert(same);
            }
        }
        let found = groups(&features, 0.9999);
        prop_assert!(found.iter().all(|group| group.least == 1.0));
        prop_assert_eq!(found.iter().map(numbers).collect::<BTreeSet<_>>(), expected);
    }
}

fn gcd(a: u8, b: u8) -> u8 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}
