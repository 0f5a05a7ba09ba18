//! Scores in AMX tiles: 32 centroids by 32 points at a time, of which only the best of each 16
//! centroids is kept, and of bf16 the second best of all.
//!
//! A tile holds 16 rows of 64 bytes. Centroids are the rows of the left tiles, 32 bf16 or 64 bytes
//! along the columns of the data each; points are the columns of the right tiles, whose rows hold
//! *pairs* of values, or fours of bytes; so a row of the result is one centroid against 16 points,
//! and the best of 16 centroids is a maximum over whole rows, to each of which its centroid's
//! `−|c|²/2` is added; of bf16, the row's number takes the last bits of a score, and so tells which
//! centroid is best. (Intel SDM, TDPBF16PS: products are exact, sums round to nearest,
//! denormals count as zero. TDPBSSD: signed bytes, sums in i32, which wrap.)

#[cfg_attr(feature = "emulated-tiles", path = "amx/emulated.rs")]
mod tiles;

pub(crate) use tiles::usable;

use super::avx512::{load, store};
use super::{Halves, Highest, Lanes, NUMBER, RESIDENT, Tiled, Values};
use std::arch::x86_64::{
    __m512, _mm512_add_epi32, _mm512_add_ps, _mm512_and_epi32, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_max_epi32, _mm512_max_ps, _mm512_min_ps,
    _mm512_mul_ps, _mm512_or_epi32, _mm512_set1_epi32, _mm512_set1_ps,
};
use tiles::{Tiles, finish, multiply, prefetched};

/// Rows of a tile.
const ROWS: usize = 16;

/// What a block of 32 centroids by 32 points reads.
struct Block {
    /// Two groups of 16 centroids, `steps` tiles each.
    centroids: *const Halves,
    /// Two blocks of 16 points, `steps` tiles each.
    points: *const Halves,
    /// Where [`prefetched`] lines are soon to be read; only a hint.
    next: *const Halves,
}

/// The sums of products of a block: centroids 0–15 against points 0–15 and 16–31, then centroids
/// 16–31.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Results([Lanes; 4 * ROWS]);

/// Over the 16 rows of each of four tiles.
#[derive(Clone, Copy)]
struct Maxima {
    best: [__m512; 4],
    /// What all rows but one hold at most; of bf16.
    second: [__m512; 4],
}

impl Maxima {
    /// Of no rows: what every result is at least, f32 or the bits of i32.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn nothing<const INT8: bool>() -> Self {
        let least = match INT8 {
            true => _mm512_castsi512_ps(_mm512_set1_epi32(i32::MIN)),
            false => _mm512_set1_ps(f32::MIN),
        };
        Self {
            best: [least; 4],
            second: [least; 4],
        }
    }
}

/// As [`super::best_of_tiles`], which checks the sizes and that there is something to do.
pub(super) fn best_of_tiles(tiled: &Tiled<'_>, best: &mut [Lanes], highest: &mut [Highest]) {
    assert!(tiled.first.len().is_multiple_of(2), "groups in pairs");
    let tiles = &mut Tiles::new();
    // SAFETY: AMX is usable, which includes AVX-512 F; the caller has checked what `sweep` asks for.
    unsafe {
        match tiled.values {
            Values::Bf16 => sweep::<false>(tiles, tiled, 1.0, best, highest),
            Values::Int8 { unit } => sweep::<true>(tiles, tiled, unit, best, highest),
            Values::Int16 { .. } => unreachable!("no tiles of these"),
        }
    }
}

/// # Safety
/// AVX-512 F, and the sizes that [`super::best_of_tiles`] asserts, none of them zero, with groups in
/// pairs.
#[target_feature(enable = "avx512f")]
unsafe fn sweep<const INT8: bool>(
    tiles: &mut Tiles,
    tiled: &Tiled<'_>,
    unit: f32,
    best: &mut [Lanes],
    highest: &mut [Highest],
) {
    let Tiled {
        points,
        centroids,
        first,
        steps,
        ..
    } = *tiled;
    let of_block = steps * ROWS;
    let (groups, strips) = (first.len(), tiled.strips());
    let resident = (RESIDENT / steps).max(2) / 2 * 2;
    let mut take = |(strip, group): (usize, usize), maxima| {
        let at = (strip * groups + group) * 2;
        let of_strip = &mut highest[2 * strip..2 * strip + 2];
        keep::<INT8>(&maxima, unit, &mut best[at..at + 4], of_strip);
    };
    let first_of = |(_, group): (usize, usize)| -> &[Lanes; 2] {
        first[group..].first_chunk().expect("groups in pairs")
    };
    let mut buffers = [const { Results([Lanes::ZERO; 4 * ROWS]) }; 2];
    let [mut before, mut free] = buffers.each_mut();
    // Strip and group of the block whose results are in `before`, and of the one in the tiles.
    let (mut stored, mut in_tiles) = (None, None);
    for begin in (0..groups).step_by(resident) {
        let end = groups.min(begin + resident);
        for strip in 0..strips {
            for group in (begin..end).step_by(2) {
                // SAFETY: `group + 1 < groups` and `strip < strips`: both blocks lie inside.
                let block = unsafe {
                    Block {
                        centroids: centroids.as_ptr().add(group * of_block),
                        points: points.as_ptr().add(2 * strip * of_block),
                        next: points.as_ptr().wrapping_add(
                            2 * ((strip + 1) % strips) * of_block
                                + (group - begin) / 2 * prefetched(steps),
                        ),
                    }
                };
                let first = first_of(stored.unwrap_or_default());
                // SAFETY: the block holds what `multiply` reads, AVX-512 F is the caller's word.
                let maxima = unsafe { multiply::<INT8>(tiles, &block, steps, free, before, first) };
                if let Some(place) = stored {
                    take(place, maxima);
                }
                std::mem::swap(&mut before, &mut free);
                (stored, in_tiles) = (in_tiles, Some((strip, group)));
            }
        }
    }
    finish(tiles, free);
    for (place, results) in [(stored, before), (in_tiles, free)] {
        if let Some(place) = place {
            take(place, maxima::<INT8>(results, first_of(place)));
        }
    }
}

/// What [`multiply`] does with the block before.
#[target_feature(enable = "avx512f")]
fn maxima<const INT8: bool>(results: &Results, first: &[Lanes; 2]) -> Maxima {
    let mut maxima = Maxima::nothing::<INT8>();
    for (at, tile) in results.0.chunks_exact(ROWS).enumerate() {
        let (best, second) = (&mut maxima.best[at], &mut maxima.second[at]);
        for (number, (row, first)) in tile.iter().zip(first[at / 2].0).enumerate() {
            let (sums, first) = (load(row), _mm512_set1_ps(first));
            if INT8 {
                let sum = _mm512_add_epi32(_mm512_castps_si512(sums), _mm512_castps_si512(first));
                let larger = _mm512_max_epi32(_mm512_castps_si512(*best), sum);
                *best = _mm512_castsi512_ps(larger);
            } else {
                let score = numbered(_mm512_add_ps(sums, first), number as i32);
                *second = _mm512_max_ps(*second, _mm512_min_ps(*best, score));
                *best = _mm512_max_ps(*best, score);
            }
        }
    }
    maxima
}

#[target_feature(enable = "avx512f")]
#[inline]
fn numbered(score: __m512, number: i32) -> __m512 {
    let kept = _mm512_and_epi32(
        _mm512_castps_si512(score),
        _mm512_set1_epi32(!NUMBER as i32),
    );
    _mm512_castsi512_ps(_mm512_or_epi32(kept, _mm512_set1_epi32(number)))
}

/// Keeps the maxima of two groups of centroids for two halves of a strip, with the second best if they
/// are of bf16; a sum of 1 stands for `unit`.
#[target_feature(enable = "avx512f")]
#[inline]
fn keep<const INT8: bool>(maxima: &Maxima, unit: f32, best: &mut [Lanes], highest: &mut [Highest]) {
    let mut scores = maxima.best;
    if INT8 {
        for score in &mut scores {
            let sum = _mm512_cvtepi32_ps(_mm512_castps_si512(*score));
            *score = _mm512_mul_ps(sum, _mm512_set1_ps(unit));
        }
    }
    for (score, best) in scores.iter().zip(best) {
        store(*score, best);
    }
    for (half, highest) in highest.iter_mut().enumerate() {
        let (one, other) = (scores[half], scores[half + 2]);
        let (of_groups, before) = (_mm512_max_ps(one, other), load(&highest.best));
        store(_mm512_max_ps(before, of_groups), &mut highest.best);
        if !INT8 {
            let seconds = _mm512_max_ps(maxima.second[half], maxima.second[half + 2]);
            let less = _mm512_max_ps(_mm512_min_ps(one, other), _mm512_min_ps(before, of_groups));
            let second = _mm512_max_ps(load(&highest.second), _mm512_max_ps(seconds, less));
            store(second, &mut highest.second);
        }
    }
}
