//! The kernels on buffers that end where memory ends: whoever reads or writes beyond is killed.

use super::*;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Values that end at a page nobody may touch.
struct Guarded<T> {
    map: *mut std::ffi::c_void,
    bytes: usize,
    values: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    fn new(values: &[T]) -> Self {
        let page = rustix::param::page_size();
        let size = std::mem::size_of_val(values);
        let bytes = size.next_multiple_of(page) + page;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping, whose last page is then closed; the values end where it
        // begins, so they lie inside and, as their size is a multiple of their alignment, aligned.
        unsafe {
            let map = mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE)
                .expect("memory");
            mprotect(map.add(bytes - page), page, MprotectFlags::empty()).expect("a guard");
            let start = map.add(bytes - page - size).cast::<T>();
            start.copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self {
                map,
                bytes,
                values: start,
                len: values.len(),
            }
        }
    }

    fn get(&self) -> &[T] {
        // SAFETY: initialised in `new`, and borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }

    fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `get`, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing borrows any more.
        unsafe { munmap(self.map, self.bytes) }.expect("a mapping of ours");
    }
}

const SIZES: [usize; 8] = [1, 7, 15, 16, 33, 64, 100, 129];

#[test]
fn f32_kernels_stay_inside() {
    for isa in Isa::available().iter().copied() {
        for columns in SIZES {
            for groups in [1, 3] {
                let lines = Guarded::new(&vec![Lanes::all(0.5); groups * columns]);
                let first = Guarded::new(&vec![Lanes::all(-1.0); groups]);
                let rows: Vec<_> = (0..LANES)
                    .map(|i| Guarded::new(&vec![i as f32; columns]))
                    .collect();
                let row = |i: usize| rows[i].get();
                let mut strip = Guarded::new(&vec![Lanes::ZERO; columns * STRIP / LANES]);
                let sixteen: Vec<&[f32]> = (0..LANES).map(row).collect();
                for part in 0..STRIP / LANES {
                    transpose(isa, &sixteen, strip.get_mut(), STRIP / LANES, part);
                }
                let mut best = Guarded::new(&vec![Lanes::ZERO; groups * STRIP / LANES]);
                let (strip, lines) = (strip.get(), lines.get());
                best_of_groups(isa, strip, lines, first.get(), best.get_mut());
                let expected = |i: usize| 0.5 * i as f32 * columns as f32 - 1.0;
                for lines in best.get() {
                    assert_eq!(*lines, Lanes(std::array::from_fn(expected)), "{isa:?}");
                }
                let four = std::array::from_fn(|i| row(i + 3));
                let found = leaders(
                    isa,
                    four,
                    [0.0; TOGETHER],
                    &lines[..columns],
                    &first.get()[0],
                    true,
                );
                let expected = std::array::from_fn(|i| Leaders {
                    best: expected(i + 3),
                    close: u16::MAX,
                    next: f32::NEG_INFINITY,
                });
                assert_eq!(found, expected, "{isa:?}");
                let best = best.get();
                assert_eq!(highest(isa, best, 3, 2).0[4], expected[1].best);
                let mut hits = 0;
                reaching(isa, best, 3, 1, &Lanes::all(-1.0), &mut |_, _| hits += 1);
                assert_eq!(hits, groups);
                let top = top(isa, best, 3, 0);
                assert!(top.score(0, 3) >= expected[0].best && (top.group(0, 3) as usize) < groups);
            }
        }
    }
}

#[test]
fn sums_stay_inside() {
    for isa in Isa::available().iter().copied() {
        for columns in SIZES {
            let (ones, twos) = (vec![1.0f32; columns], vec![2.0f32; columns]);
            let (x, c) = (Guarded::new(&ones), Guarded::new(&twos));
            assert_eq!(distance(isa, x.get(), c.get()), columns as f32);
            assert_eq!(dot(isa, x.get(), c.get()), 2.0 * columns as f32);
            assert_eq!(squares(isa, c.get()), 4.0 * columns as f32);
            assert_eq!(squares64(isa, c.get()), 4.0 * columns as f64);
            assert_eq!(
                moved_sums(isa, c.get(), x.get()).true_square,
                columns as f64
            );
            let mut rounded = Guarded::new(&vec![0u16; columns]);
            let (error, norm) = round_row(isa, c.get(), x.get(), rounded.get_mut());
            let length = (columns as f64).sqrt();
            assert!(error < 1e-6 * length && norm >= length && norm < length * 1.00001);
            let values = Guarded::new(&[ones, twos].concat());
            let rows = crate::Matrix::new(values.get(), 2, columns).expect("the right length");
            let mut sums = Guarded::new(&vec![0.0f64; columns]);
            add_rows(isa, rows, &[1, 0, 1], 3, sums.get_mut());
            assert!(sums.get().iter().all(|s| *s == 5.0));
        }
    }
}

#[test]
fn tiles_stay_inside() {
    let one = crate::bf16::round(1.0);
    let minus_half = -0.5f32;
    let (int8, int16) = (Values::Int8 { unit: 0.5 }, Values::Int16 { unit: 0.5 });
    // Sums of 64 products of 1 each, from −1 on, are half as long; points without a sign as well.
    // Of 32 products they are a quarter.
    let first = |value: i32| f32::from_bits(value as u32);
    let kinds = [
        (Isa::Amx, Values::Bf16, one, minus_half, 32.0),
        (Isa::Amx, int8, 0x0101, first(-1), 32.0),
        (Isa::Avx512, int8, 0x0101, first(-1), 32.0),
        (Isa::Avx2, int16, 0x0001, first(-1), 16.0),
    ];
    for (isa, values, one, begin, of_step) in kinds {
        let there = Isa::available().contains(&isa);
        if !there || values != Values::Bf16 && isa.integers().is_none() {
            println!("no {isa:?} of {values:?} here: not tested");
            continue;
        }
        for steps in [1, 2, 3, 4, 5, 9] {
            for (strips, groups) in [(1, 2), (3, 6), (2, 10), (5, 1)] {
                if isa == Isa::Amx && groups % 2 == 1 {
                    continue;
                }
                let rows = |tiles: usize| vec![Halves([one; 32]); tiles * steps * LANES];
                let (points, centroids) =
                    (Guarded::new(&rows(2 * strips)), Guarded::new(&rows(groups)));
                let first = Guarded::new(&vec![Lanes::all(begin); groups]);
                let mut best = Guarded::new(&vec![Lanes::ZERO; strips * groups * 2]);
                let mut highest = Guarded::new(&vec![Highest::NOTHING; strips * 2]);
                let tiled = Tiled {
                    values,
                    points: points.get(),
                    centroids: centroids.get(),
                    first: first.get(),
                    steps,
                };
                best_of_tiles(isa, &tiled, best.get_mut(), highest.get_mut());
                let expected = of_step * steps as f32 - 0.5;
                let highest = highest.get().iter();
                let all = best.get().iter().chain(highest.clone().map(|h| &h.best));
                let mut scores = all.flat_map(|lanes| lanes.0);
                let what = format!("{isa:?} {values:?} {steps} {strips} {groups}");
                if values == int8 {
                    assert!(scores.all(|score| score == expected), "{what}");
                    assert!(
                        highest
                            .clone()
                            .all(|h| h.second.0 == [f32::INFINITY; LANES])
                    );
                    continue;
                }
                // Of sums that are all the same, the last one has the largest number.
                let near = |score: f32, expected: f32| (score - expected).abs() < 1e-5 * expected;
                let last = |score: f32| Highest::lane(score) == LANES - 1;
                assert!(scores.all(|s| near(s, expected) && last(s)), "{what}");
                let next = if groups == 1 {
                    expected - 0.5
                } else {
                    expected
                };
                let mut seconds = highest.flat_map(|h| h.second.0);
                assert!(seconds.all(|second| near(second, next)), "{what}");
            }
        }
    }
}

#[test]
fn questions_stay_inside() {
    let levels = [Isa::Avx512, Isa::Amx].into_iter();
    for isa in levels.filter(|isa| Isa::available().contains(isa)) {
        for columns in SIZES {
            let (ones, threes) = (
                Guarded::new(&vec![1.0f32; columns]),
                Guarded::new(&vec![3.0f32; columns]),
            );
            let found = rough_distances(isa, [ones.get(); TOGETHER], [threes.get(); TOGETHER]);
            assert_eq!(found, [4.0 * columns as f32; TOGETHER], "{isa:?}");
        }
        if isa.integers().is_none() {
            println!("no {isa:?} of bytes here: not tested");
            continue;
        }
        // Bytes of 1 with a sign, or 128 more without; as many products make sums of as much.
        let one = if isa == Isa::Amx { 0x0101 } else { 0x8181 };
        for steps in [1, 2, 3, 9] {
            let tiles = Guarded::new(&vec![Halves([one; 32]); 2 * steps * LANES]);
            let fours = Guarded::new(&vec![Halves([0x0101; 32]); steps * LANES]);
            let more = -128 * 64 * steps as i32;
            let first = Guarded::new(&[Lanes::all(f32::from_bits(more as u32))]);
            let (points, labels) = (Guarded::new(&[31, 0, 15]), Guarded::new(&[7; 32]));
            let centroids = Guarded::new(&std::array::from_fn::<_, LANES, _>(|i| match i {
                3 => u32::MAX,
                i => i as u32,
            }));
            let group = Group {
                fours: fours.get(),
                first: &first.get()[0],
                unit: 0.5,
                centroids: centroids.get().first_chunk().expect("16"),
            };
            for (least, count) in [(32.0, 14), (32.5, 0)] {
                let least = Guarded::new(&[least * steps as f32; 32]);
                let asking = Asking {
                    tiles: tiles.get(),
                    points: points.get(),
                    labels: labels.get(),
                    least: least.get(),
                };
                let mut pairs = Pairs::default();
                in_question(isa, &asking, &group, &mut pairs);
                assert_eq!(pairs.points().len(), 3 * count, "{isa:?} {steps}");
                let of_last = |(point, _): &(&u32, &u32)| **point == 15;
                let all = pairs.points().iter().zip(pairs.centroids());
                let of_last: Vec<u32> = all.filter(of_last).map(|(_, c)| *c).collect();
                let others = (0..LANES as u32).filter(|c| count > 0 && *c != 3 && *c != 7);
                assert_eq!(of_last, others.collect::<Vec<_>>(), "{isa:?} {steps}");
            }
        }
    }
}

#[test]
fn top_holds_the_best_groups_in_order() {
    // Scores of both signs, one group of nobody, two that share a score.
    let groups = 21;
    let score = |group: usize, lane: usize| match group {
        5 => f32::NEG_INFINITY,
        7 => 3.0,
        _ => ((group * 37 + lane * 11) % 43) as f32 / 7.0 - 3.0,
    };
    for isa in Isa::available().iter().copied() {
        for count in [1, 4, groups] {
            let lines =
                |group: usize| [Lanes::ZERO, Lanes(std::array::from_fn(|l| score(group, l)))];
            let best: Vec<Lanes> = (0..count).flat_map(lines).collect();
            let top = top(isa, &best, 2, 1);
            for lane in 0..LANES {
                let mut order: Vec<usize> = (0..count).filter(|g| *g != 5).collect();
                order.sort_by(|a, b| score(*b, lane).total_cmp(&score(*a, lane)));
                for (place, expected) in order.iter().enumerate().take(TOP) {
                    let (found, expected) = (top.score(place, lane), score(*expected, lane));
                    let near = expected.abs() * 1e-5 + 1e-30;
                    assert!(
                        found >= expected && found - expected <= near,
                        "{isa:?} {place}"
                    );
                    let of_group = score(top.group(place, lane) as usize, lane);
                    assert!((of_group - expected).abs() <= near, "{isa:?} {place}");
                }
                for place in order.len()..TOP {
                    assert!(top.score(place, lane) < -1e38, "{isa:?} {count} {place}");
                }
            }
        }
    }
}
