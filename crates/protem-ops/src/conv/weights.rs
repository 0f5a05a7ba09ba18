//! Weights in the order in which the kernels read them, and weight gradients back from it.

use super::Conv;
use crate::buffer::{Buffer, Pool};
use crate::kernel::vectorised;
use crate::kernel::winograd::POINTS;
use rayon::prelude::*;
#[cfg(target_arch = "x86_64")]
use {
    crate::element::Element,
    crate::kernel::blocks::{BLOCK, BLOCK_LEN},
    half::bf16,
};

/// Columns of the result that share one packed panel of weights: two AVX-512 vectors.
pub(super) const PANEL: usize = 32;

/// Channels that a sum in bf16 runs over at least: fewer are filled up with zeros, so that those of
/// a pixel are pairs of their own, and are copied as one number.
#[cfg(target_arch = "x86_64")]
pub(super) const LEAST_DEPTH: usize = 4;

/// Which of a weight's two channels the sum runs over.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// The input's; columns of the result are output channels.
    Forward,
    /// The output's; columns of the result are input channels.
    InputGradient,
}

/// Weights (out, in, row, column), each output channel's times its own factor.
#[derive(Clone, Copy)]
pub(super) struct Scaled<'a> {
    pub conv: Conv,
    pub values: &'a [f32],
    pub scale: Option<&'a [f32]>,
}

/// Weights in a kernel's order.
pub(super) struct Packed<T> {
    pub data: Buffer<T>,
    /// Channels that the sum runs over.
    pub depth: usize,
    /// Channels of the result.
    pub columns: usize,
    pub taps: usize,
}

impl Scaled<'_> {
    /// Panels of `PANEL` columns, each `tap × depth × PANEL`, zero-filled.
    pub fn panels(
        &self,
        pool: &Pool,
        role: Role,
        round: impl Fn(f32) -> f32 + Sync,
    ) -> Packed<f32> {
        let (depth, _, taps) = self.sizes(role);
        self.packed(pool, role, taps, |panel, chunk| {
            self.each_column_block(role, panel, |d, tap, column| {
                let row = &mut chunk[(tap * depth + d) * PANEL..][..PANEL];
                for (value, w) in row.iter_mut().zip(column) {
                    *value = round(*w);
                }
            });
        })
    }

    /// Panels of what tiles of results are multiplied with, a "tap" for each of their points: see
    /// [`super::winograd`]. Of an input gradient the taps are in reverse.
    pub fn points(
        &self,
        pool: &Pool,
        role: Role,
        round: impl Fn(f32) -> f32 + Sync,
    ) -> Packed<f32> {
        let (depth, _, taps) = self.sizes(role);
        self.packed(pool, role, POINTS, |panel, chunk| {
            let mut kernel = [[0.0; PANEL]; 9];
            self.each_column_block(role, panel, |d, tap, column| {
                let at = match role {
                    Role::Forward => tap,
                    Role::InputGradient => taps - 1 - tap,
                };
                kernel[at] = column.map(&round);
                if tap + 1 == taps {
                    let points = points_of(&kernel);
                    for (point, line) in points.iter().enumerate() {
                        let at = (point * depth + d) * PANEL;
                        chunk[at..at + PANEL].copy_from_slice(line);
                    }
                }
            });
        })
    }

    /// Panels of so many taps, each filled by its number, on all threads.
    fn packed(
        &self,
        pool: &Pool,
        role: Role,
        taps: usize,
        fill: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Packed<f32> {
        let (depth, columns, _) = self.sizes(role);
        let panel = taps * depth * PANEL;
        let mut data: Buffer<f32> = pool.take(columns.div_ceil(PANEL) * panel);
        let panels = data.par_chunks_mut(panel.max(1)).enumerate();
        panels.for_each(|(panel, chunk)| fill(panel, chunk));
        Packed {
            data,
            depth,
            columns,
            taps,
        }
    }

    /// The same in the form that blocks of bf16 are multiplied in: panels of `BLOCK` columns, in each
    /// the values along (tap, depth) in blocks of `BLOCK`, the last one filled up with zeros; the
    /// depth is [`LEAST_DEPTH`] at least.
    #[cfg(target_arch = "x86_64")]
    pub fn tiles(&self, pool: &Pool, role: Role) -> Packed<bf16> {
        let (channels, columns, taps) = self.sizes(role);
        let depth = channels.max(LEAST_DEPTH);
        let panel_len = (taps * depth).div_ceil(BLOCK) * BLOCK_LEN;
        let mut data: Buffer<bf16> = pool.take(columns.div_ceil(BLOCK) * panel_len);
        data.par_chunks_mut(panel_len.max(1))
            .enumerate()
            .for_each(|(panel, chunk)| {
                let untouched = match channels < depth {
                    true => 0,
                    false => chunk.len() - BLOCK_LEN,
                };
                chunk[untouched..].fill(bf16::ZERO);
                self.each_column_block(role, panel, |d, tap, column| {
                    let k = tap * depth + d;
                    let block = &mut chunk[k / BLOCK * BLOCK_LEN..][..BLOCK_LEN];
                    for (tile, half) in block.chunks_exact_mut(BLOCK_LEN / 2).zip(column.chunks(16))
                    {
                        let row = &mut tile[k % BLOCK / 2 * BLOCK..][..BLOCK];
                        for (pair, w) in row.chunks_exact_mut(2).zip(half) {
                            pair[k % 2] = bf16::narrow(*w);
                        }
                    }
                });
            });
        Packed {
            data,
            depth,
            columns,
            taps,
        }
    }

    fn sizes(&self, role: Role) -> (usize, usize, usize) {
        let conv = &self.conv;
        match role {
            Role::Forward => (conv.inputs, conv.outputs, conv.taps()),
            Role::InputGradient => (conv.outputs, conv.inputs, conv.taps()),
        }
    }

    /// Calls `f` with each depth, each tap, and the panel's `PANEL` values there, zeros beyond the
    /// last column. Weights are read along their rows, a block at a time: their columns lie
    /// powers of two apart and would evict each other from the cache.
    fn each_column_block(
        &self,
        role: Role,
        panel: usize,
        mut f: impl FnMut(usize, usize, &[f32; PANEL]),
    ) {
        let (conv, taps) = (&self.conv, self.conv.taps());
        let (depth, columns, _) = self.sizes(role);
        let first = panel * PANEL;
        let width = PANEL.min(columns - first);
        let mut block = vec![0.0; PANEL * PANEL * taps];
        for from in (0..depth).step_by(PANEL) {
            let rows = PANEL.min(depth - from);
            // `block` is row × column × tap for an input gradient, column × row × tap otherwise.
            let (outs, ins) = match role {
                Role::Forward => (first..first + width, from..from + rows),
                Role::InputGradient => (from..from + rows, first..first + width),
            };
            for (out, line) in outs.zip(block.chunks_exact_mut(PANEL * taps)) {
                let values = &self.values[(out * conv.inputs + ins.start) * taps..];
                let scale = self.scale.map_or(1.0, |scale| scale[out]);
                for (to, from) in line.iter_mut().zip(&values[..ins.len() * taps]) {
                    *to = from * scale;
                }
            }
            let (of_row, of_column) = match role {
                Role::Forward => (taps, PANEL * taps),
                Role::InputGradient => (PANEL * taps, taps),
            };
            for row in 0..rows {
                for tap in 0..taps {
                    let mut column = [0.0; PANEL];
                    for (j, value) in column.iter_mut().enumerate().take(width) {
                        *value = block[row * of_row + j * of_column + tap];
                    }
                    f(from + row, tap, &column);
                }
            }
        }
    }
}

vectorised! {
    /// `G·w·Gᵀ` of the 3×3 weights of each column.
    fn points_of(kernel: &[[f32; PANEL]; 9]) -> [[f32; PANEL]; POINTS] {
        let mut rows = [[[0.0; PANEL]; 3]; 4];
        for column in 0..3 {
            for at in 0..PANEL {
                let [a, b, c] = [0, 1, 2].map(|row| kernel[3 * row + column][at]);
                let (outer, inner) = ((a + c) / 2.0, b / 2.0);
                rows[0][column][at] = a;
                rows[1][column][at] = outer + inner;
                rows[2][column][at] = outer - inner;
                rows[3][column][at] = c;
            }
        }
        let mut points = [[0.0; PANEL]; POINTS];
        for (row, points) in rows.iter().zip(points.chunks_exact_mut(4)) {
            for at in 0..PANEL {
                let [a, b, c] = [0, 1, 2].map(|column| row[column][at]);
                let (outer, inner) = ((a + c) / 2.0, b / 2.0);
                points[0][at] = a;
                points[1][at] = outer + inner;
                points[2][at] = outer - inner;
                points[3][at] = c;
            }
        }
        points
    }
}

/// Writes `gradient` (out, in, row, column) from `read(in, tap, outs)`, which fills a slice with the
/// values of neighbouring output channels from `outs` on.
pub(super) fn unpack_gradient(
    conv: &Conv,
    gradient: &mut [f32],
    read: impl Fn(usize, usize, usize, &mut [f32]) + Sync,
) {
    let taps = conv.taps();
    let row = conv.inputs * taps;
    gradient
        .par_chunks_mut((PANEL * row).max(1))
        .enumerate()
        .for_each(|(panel, rows)| {
            let outs = rows.len() / row;
            let mut block = vec![0.0; PANEL * PANEL * taps]; // out × in × tap
            for first in (0..conv.inputs).step_by(PANEL) {
                let ins = PANEL.min(conv.inputs - first);
                let mut values = [0.0; PANEL];
                for i in 0..ins {
                    for tap in 0..taps {
                        read(first + i, tap, panel * PANEL, &mut values[..outs]);
                        for (o, value) in values.iter().enumerate().take(outs) {
                            block[(o * PANEL + i) * taps + tap] = *value;
                        }
                    }
                }
                for (to, from) in rows
                    .chunks_exact_mut(row)
                    .zip(block.chunks_exact(PANEL * taps))
                {
                    to[first * taps..(first + ins) * taps].copy_from_slice(&from[..ins * taps]);
                }
            }
        });
}
