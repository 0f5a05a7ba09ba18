//! Scores in AMX tiles: 32 centroids by 32 points at a time, of which only the best of each 16
//! centroids is kept.
//!
//! A tile holds 16 rows of 64 bytes. Centroids are the rows of the left tiles, 32 bf16 or 64 bytes
//! along the columns of the data each; points are the columns of the right tiles, whose rows hold
//! *pairs* of values, or fours of bytes; so a row of the result is one centroid against 16 points,
//! and the best of 16 centroids is a maximum over whole rows, to each of which its centroid's
//! `−|c|²/2` is added. (Intel SDM, TDPBF16PS: products are exact, sums round to nearest,
//! denormals count as zero. TDPBSSD: signed bytes, sums in i32, which wrap.)

mod tiles;

pub(crate) use tiles::usable;

use super::avx512::{load, store};
use super::{Highest, Lanes, RESIDENT, Tiled, Values};
use std::arch::x86_64::{
    __m512, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cvtepi32_ps, _mm512_max_epi32, _mm512_max_ps, _mm512_mul_ps, _mm512_set1_ps,
};
use tiles::{Block, ROWS, Results, Tiles, finish, least, multiply, prefetched};

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
        keep(
            &scores::<INT8>(maxima, unit),
            &mut best[at..at + 4],
            of_strip,
        );
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
fn maxima<const INT8: bool>(results: &Results, first: &[Lanes; 2]) -> [__m512; 4] {
    let mut maxima = [least::<INT8>(); 4];
    for (at, (tile, maximum)) in results.0.chunks_exact(ROWS).zip(&mut maxima).enumerate() {
        for (row, first) in tile.iter().zip(first[at / 2].0) {
            let score = sum::<INT8>(load(row), _mm512_set1_ps(first));
            *maximum = larger::<INT8>(*maximum, score);
        }
    }
    maxima
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sum<const INT8: bool>(a: __m512, b: __m512) -> __m512 {
    if INT8 {
        let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
        _mm512_castsi512_ps(_mm512_add_epi32(a, b))
    } else {
        _mm512_add_ps(a, b)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn larger<const INT8: bool>(a: __m512, b: __m512) -> __m512 {
    if INT8 {
        let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
        _mm512_castsi512_ps(_mm512_max_epi32(a, b))
    } else {
        _mm512_max_ps(a, b)
    }
}

/// Results as scores.
#[target_feature(enable = "avx512f")]
#[inline]
fn scores<const INT8: bool>(results: [__m512; 4], unit: f32) -> [__m512; 4] {
    if !INT8 {
        return results;
    }
    let unit = _mm512_set1_ps(unit);
    let mut scores = results;
    for score in &mut scores {
        *score = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_castps_si512(*score)), unit);
    }
    scores
}

/// Keeps the maxima of two groups of centroids for two halves of a strip.
#[target_feature(enable = "avx512f")]
#[inline]
fn keep(maxima: &[__m512; 4], best: &mut [Lanes], highest: &mut [Highest]) {
    for (maximum, best) in maxima.iter().zip(best) {
        store(*maximum, best);
    }
    for (half, highest) in highest.iter_mut().enumerate() {
        let of_groups = _mm512_max_ps(maxima[half], maxima[half + 2]);
        let highest = &mut highest.best;
        store(_mm512_max_ps(load(highest), of_groups), highest);
    }
}
