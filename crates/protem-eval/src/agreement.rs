//! How far two labellings of the same images agree.

use crate::EvalError;
use std::collections::HashMap;

/// How far two labellings agree, by three measures that are 1 for equal partitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// [`ami`].
    pub ami: f64,
    /// Mutual information over the arithmetic mean of the entropies, as scikit-learn's default: 0 for
    /// independent labellings, but above it by chance, the more the more clusters there are.
    pub nmi: f64,
    /// Adjusted Rand index (Hubert and Arabie 1985): of pairs of images, about 0 for independent
    /// labellings.
    pub ari: f64,
}

impl Agreement {
    /// Of two labellings of the same images; labels may be any numbers.
    ///
    /// # Errors
    /// Labellings of different lengths, or empty ones.
    pub fn of(a: &[u32], b: &[u32]) -> Result<Self, EvalError> {
        Ok(Self {
            ami: ami(a, b)?,
            nmi: normalised_information(a, b),
            ari: adjusted_rand(a, b),
        })
    }
}

fn normalised_information(a: &[u32], b: &[u32]) -> f64 {
    let scale = (entropy(&sizes(a), a.len()) + entropy(&sizes(b), b.len())) / 2.0;
    if scale == 0.0 {
        return 1.0; // one cluster on both sides
    }
    (mutual_information(a, b) / scale).clamp(0.0, 1.0) // rounding passes both
}

fn adjusted_rand(a: &[u32], b: &[u32]) -> f64 {
    let pairs = |count: usize| count as f64 * (count as f64 - 1.0) / 2.0;
    let both: f64 = cells(a, b).into_iter().map(|(_, count)| pairs(count)).sum();
    let [of_a, of_b] = [a, b].map(|labels| sizes(labels).into_iter().map(pairs).sum::<f64>());
    // There may be no pair at all, of a single image.
    let expected = of_a * of_b / pairs(a.len()).max(1.0);
    let most = (of_a + of_b) / 2.0;
    match most > expected {
        true => (both - expected) / (most - expected),
        false => 1.0, // all images in one cluster, or each in its own, on both sides
    }
}

/// Adjusted mutual information (Vinh, Epps, Bailey 2010) with the arithmetic mean of the entropies
/// as its scale, as scikit-learn's default: 1 for equal partitions, about 0 for independent ones.
///
/// # Errors
/// Labellings of different lengths, or empty ones.
pub fn ami(a: &[u32], b: &[u32]) -> Result<f64, EvalError> {
    if a.len() != b.len() || a.is_empty() {
        return Err(EvalError::Count {
            what: "labels",
            left: a.len(),
            right: b.len(),
        });
    }
    let n = a.len();
    let (rows, columns) = (sizes(a), sizes(b));
    if rows.len() == columns.len() && (rows.len() == 1 || rows.len() == n) {
        return Ok(1.0);
    }
    let (entropy_a, entropy_b) = (entropy(&rows, n), entropy(&columns, n));
    let information = mutual_information(a, b);
    let expected = expected_information(&rows, &columns, n);
    let mut scale = (entropy_a + entropy_b) / 2.0 - expected;
    // As scikit-learn: keep the sign, but never divide by zero.
    scale = if scale < 0.0 {
        scale.min(-f64::EPSILON)
    } else {
        scale.max(f64::EPSILON)
    };
    Ok((information - expected) / scale)
}

/// How often each label is there; labels may be any numbers.
fn sizes(labels: &[u32]) -> Vec<usize> {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(<[u32]>::len).collect()
}

fn entropy(sizes: &[usize], n: usize) -> f64 {
    sizes
        .iter()
        .map(|s| *s as f64 / n as f64)
        .map(|p| -p * p.ln())
        .sum()
}

/// How many images have each pair of labels, in the labels' order.
fn cells(a: &[u32], b: &[u32]) -> Vec<((u32, u32), usize)> {
    let mut joint: HashMap<(u32, u32), usize> = HashMap::new();
    for (a, b) in a.iter().zip(b) {
        *joint.entry((*a, *b)).or_default() += 1;
    }
    let mut cells: Vec<((u32, u32), usize)> = joint.into_iter().collect();
    cells.sort_unstable(); // one order of summation, whatever the hash
    cells
}

fn mutual_information(a: &[u32], b: &[u32]) -> f64 {
    let (mut of_a, mut of_b): (HashMap<u32, usize>, HashMap<u32, usize>) = Default::default();
    for (a, b) in a.iter().zip(b) {
        *of_a.entry(*a).or_default() += 1;
        *of_b.entry(*b).or_default() += 1;
    }
    let n = a.len() as f64;
    let term = |((a, b), count): ((u32, u32), usize)| {
        let count = count as f64;
        count / n * (n * count / (of_a[&a] as f64 * of_b[&b] as f64)).ln()
    };
    cells(a, b).into_iter().map(term).sum()
}

/// Mutual information expected of random labellings with these cluster sizes: a sum over the
/// hypergeometric distribution of each cell. Cells of equal sizes have equal terms.
fn expected_information(a: &[usize], b: &[usize], n: usize) -> f64 {
    let log_factorial: Vec<f64> = std::iter::once(0.0)
        .chain((1..=n).scan(0.0, |sum, i| {
            *sum += (i as f64).ln();
            Some(*sum)
        }))
        .collect();
    let f = |i: usize| log_factorial[i];
    let total = n as f64;
    let mut sum = 0.0;
    for (x, times_x) in multiplicities(a) {
        for (y, times_y) in multiplicities(b) {
            let fixed = f(x) + f(y) + f(n - x) + f(n - y) - f(n);
            let mut cell = 0.0;
            for c in (x + y).saturating_sub(n).max(1)..=x.min(y) {
                let probability = (fixed - f(c) - f(x - c) - f(y - c) - f(n + c - x - y)).exp();
                cell += c as f64 / total
                    * (total * c as f64 / (x as f64 * y as f64)).ln()
                    * probability;
            }
            sum += cell * (times_x * times_y) as f64;
        }
    }
    sum
}

fn multiplicities(sizes: &[usize]) -> Vec<(usize, usize)> {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    sorted
        .chunk_by(|a, b| a == b)
        .map(|run| (run[0], run.len()))
        .collect()
}
