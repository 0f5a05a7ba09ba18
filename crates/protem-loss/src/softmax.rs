//! The stable softmax of rows, which both losses take nearly all of their time for, products apart.

use std::sync::OnceLock;

use candle_core::{CpuStorage, D, InplaceOp1, Layout, Tensor};
use rayon::prelude::*;

use crate::Result;

/// How a logit follows from a product of vectors.
#[derive(Debug, Clone)]
pub(crate) enum Temperature {
    /// One for all: divided by this.
    Shared(f64),
    /// Of each column (`1 × n`): divided by its own.
    OfColumns(Tensor),
}

/// Softmax of rows by way of their maximum, so that no exponential overflows and the largest is 1.
pub(crate) struct RowSoftmax {
    /// `B × n` probabilities of the columns.
    pub columns: Tensor,
    /// `B × 1`: the probability of the candidate that each row has for itself, where it has one.
    pub own: Option<Tensor>,
    /// `B × 1`: ln Σ exp of each row. A loss taken as `log_sum_exp − logit` stays exact where a probability underflows to 0.
    pub log_sum_exp: Tensor,
}

/// The softmax of `products` (`B × n`, none of them 0, which nobody else may hold: on the CPU they are overwritten) over temperatures, with one more
/// candidate a row (`own`, `B × 1` products) where each has one.
pub(crate) fn row_softmax(
    products: Tensor,
    own: Option<&Tensor>,
    temperature: &Temperature,
) -> Result<RowSoftmax> {
    if products.device().is_cpu() {
        in_place(products, own, temperature)
    } else {
        by_tensors(&products, own, temperature)
    }
}

/// By the tensor's own operations, on any device.
fn by_tensors(
    products: &Tensor,
    own: Option<&Tensor>,
    temperature: &Temperature,
) -> Result<RowSoftmax> {
    let candidates = match own {
        Some(own) => Tensor::cat(&[own, products], 1)?,
        None => products.clone(),
    };
    let logits = match temperature {
        Temperature::Shared(by) => (candidates / *by)?,
        Temperature::OfColumns(by) => candidates.broadcast_div(by)?,
    };
    let maximum = logits.max_keepdim(D::Minus1)?;
    let exponentials = logits.broadcast_sub(&maximum)?.exp()?;
    let sum = exponentials.sum_keepdim(D::Minus1)?;
    let probabilities = exponentials.broadcast_div(&sum)?;
    let columns = products.dim(1)?;
    let others = probabilities.dim(1)? - columns;
    Ok(RowSoftmax {
        columns: probabilities.narrow(1, others, columns)?.contiguous()?,
        own: own
            .map(|_| probabilities.narrow(1, 0, others))
            .transpose()?,
        log_sum_exp: (maximum + sum.log()?)?,
    })
}

/// The same in one pass over each row, in the cache, by all threads. Sums are over whole rows, so threads change no bit.
fn in_place(
    products: Tensor,
    own: Option<&Tensor>,
    temperature: &Temperature,
) -> Result<RowSoftmax> {
    let rows = products.dim(0)?;
    let device = products.device().clone();
    let softmax = InPlace {
        own: own.map(values).transpose()?,
        scale: match temperature {
            Temperature::Shared(by) => Scale::Times((1.0 / by) as f32),
            Temperature::OfColumns(by) => Scale::Over(values(by)?),
        },
        done: OnceLock::new(),
    };
    products.inplace_op1(&softmax)?;
    let done = softmax.done.into_inner().unwrap_or_default();
    let column = |of: fn(&Row) -> f32| {
        let values: Vec<f32> = done.iter().map(of).collect();
        Tensor::from_vec(values, (rows, 1), &device)
    };
    Ok(RowSoftmax {
        columns: products,
        own: own.map(|_| column(|row| row.own)).transpose()?,
        log_sum_exp: column(|row| row.log_sum_exp)?,
    })
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

enum Scale {
    Times(f32),
    Over(Vec<f32>),
}

/// What is told of a row beside the probabilities of its columns.
#[derive(Clone, Copy, Default)]
struct Row {
    own: f32,
    log_sum_exp: f32,
}

struct InPlace {
    own: Option<Vec<f32>>,
    scale: Scale,
    done: OnceLock<Vec<Row>>,
}

impl InplaceOp1 for InPlace {
    fn name(&self) -> &'static str {
        "softmax of rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        /// Values a thread is to have at least: some microseconds of work.
        const LEAST: usize = 1 << 12;
        let (_, columns) = layout.shape().dims2()?;
        let (CpuStorage::F32(all), Some((from, to))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("{}: products must be f32 and contiguous", self.name());
        };
        let done = all[from..to]
            .par_chunks_exact_mut(columns)
            .with_min_len(LEAST.div_ceil(columns))
            .enumerate()
            .map_init(Vec::new, |candidates, (i, row)| {
                let own = self.own.as_ref().map(|own| own[i]);
                self.row(own, row, candidates)
            })
            .collect();
        _ = self.done.set(done);
        Ok(())
    }
}

impl InPlace {
    /// Products of a row become probabilities. `candidates` is where it is computed.
    fn row(&self, own: Option<f32>, row: &mut [f32], candidates: &mut Vec<f32>) -> Row {
        candidates.clear();
        match &self.scale {
            Scale::Times(by) => candidates.extend(own.iter().chain(&*row).map(|x| x * by)),
            Scale::Over(by) => candidates.extend(row.iter().zip(by).map(|(x, by)| x / by)),
        }
        let maximum = candidates.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in &mut *candidates {
            *x = (*x - maximum).exp();
        }
        let sum = sum(candidates);
        let columns = &candidates[candidates.len() - row.len()..];
        for (p, exponential) in row.iter_mut().zip(columns) {
            *p = exponential / sum;
        }
        Row {
            own: candidates[0] / sum,
            log_sum_exp: maximum + sum.ln(),
        }
    }
}

/// In the order in which candle sums a row with AVX2, on every processor.
fn sum(values: &[f32]) -> f32 {
    let (whole, rest) = values.as_chunks::<32>();
    let mut lanes = [0.0f32; 32];
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    let eighth = |i| (lanes[i] + lanes[i + 8]) + (lanes[i + 16] + lanes[i + 24]);
    let quarter = |i| eighth(i) + eighth(i + 4);
    let sum = (quarter(0) + quarter(1)) + (quarter(2) + quarter(3));
    rest.iter().fold(sum, |sum, x| sum + x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Queue;

    fn rows(n: usize, d: usize, seed: u64) -> Tensor {
        let queue = Queue::new(n, d, 1, seed).expect("sizes are positive");
        queue.tensor().copy().expect("a copy")
    }

    /// Equal to rounding; to the bit where candle sums in the same order.
    fn assert_same(one: &Tensor, other: &Tensor, what: &str) {
        assert_eq!(one.dims(), other.dims(), "{what}");
        let (one, other) = (values(one).unwrap(), values(other).unwrap());
        for (one, other) in one.into_iter().zip(other) {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                assert_eq!(one.to_bits(), other.to_bits(), "{what}: {one} and {other}");
            }
            assert!(
                (one - other).abs() <= 1e-5 * other.abs(),
                "{what}: {one} and {other}"
            );
        }
    }

    #[test]
    fn one_pass_computes_what_the_tensors_operations_do() {
        for (batch, columns) in [(1, 1), (3, 31), (5, 32), (64, 577), (7, 4099)] {
            let of_columns = rows(1, columns, 3).abs().unwrap();
            let own = rows(batch, 1, 2);
            for (own, temperature) in [
                (Some(&own), Temperature::Shared(0.2)),
                (None, Temperature::Shared(0.07)),
                (None, Temperature::OfColumns(of_columns)),
            ] {
                let what = format!("{batch} by {columns}, {temperature:?}");
                let products = rows(batch, columns, 1);
                let slow = by_tensors(&products, own, &temperature).unwrap();
                let fast = in_place(products, own, &temperature).unwrap();
                assert_same(&fast.columns, &slow.columns, &what);
                assert_same(&fast.log_sum_exp, &slow.log_sum_exp, &what);
                assert_eq!(fast.own.is_some(), slow.own.is_some(), "{what}");
                if let (Some(fast), Some(slow)) = (fast.own, slow.own) {
                    assert_same(&fast, &slow, &what);
                }
            }
        }
    }

    #[test]
    fn a_product_that_is_no_number_makes_its_row_none() {
        let products = Tensor::new(
            &[[0.5f32, f32::NAN, 0.1], [0.5, 0.2, 0.1]],
            &candle_core::Device::Cpu,
        );
        let softmax = in_place(products.unwrap(), None, &Temperature::Shared(0.2)).unwrap();
        let sums = values(&softmax.log_sum_exp).unwrap();
        assert!(sums[0].is_nan() && sums[1].is_finite(), "{sums:?}");
    }
}
