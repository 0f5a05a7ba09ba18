//! The concentration φ of a cluster: the temperature of its prototype.

use crate::error::ClusterError;

/// Settings of [`concentration`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConcentrationParams {
    /// Mean of the result (τ).
    pub temperature: f64,
    /// Added to a cluster's size inside the logarithm (α).
    pub smoothing: f64,
    /// Percentiles that values are clipped to.
    pub percentiles: (f64, f64),
}

impl Default for ConcentrationParams {
    fn default() -> Self {
        Self {
            temperature: 0.2,
            smoothing: 10.0,
            percentiles: (10.0, 90.0),
        }
    }
}

/// Concentrations below this share of the mean are raised to it: a cluster of duplicates has
/// distance zero, and a temperature of zero would make its logits infinite.
const FLOOR: f64 = 1e-3;

/// Temperature of each of `k` prototypes from the distances `‖v − c‖` (not squared) of the points
/// to their centroids: PCL eq. 12, `Σ‖v − c‖ / (n·ln(n + α))`, with the reference's handling:
/// clusters of fewer than two points take the maximum, values are clipped to two percentiles and
/// scaled to mean `temperature`.
///
/// Where the reference is undefined: when no cluster has a positive value (all of them single
/// points, or duplicates) every prototype has `temperature`; values below a thousandth of the
/// mean are raised to that.
///
/// # Errors
/// Lengths that differ, a label without a cluster, a distance that is not finite, a setting out
/// of range.
pub fn concentration(
    distances: &[f32],
    labels: &[u32],
    k: usize,
    params: &ConcentrationParams,
) -> Result<Vec<f32>, ClusterError> {
    check(distances, labels, k, params)?;
    let mut sums = vec![0.0f64; k];
    let mut sizes = vec![0usize; k];
    for (distance, label) in distances.iter().zip(labels) {
        sums[*label as usize] += *distance as f64;
        sizes[*label as usize] += 1;
    }
    let density = |sum: f64, n: usize| sum / n as f64 / (n as f64 + params.smoothing).ln();
    let mut phi: Vec<f64> = sums
        .iter()
        .zip(&sizes)
        .map(|(sum, n)| if *n > 1 { density(*sum, *n) } else { 0.0 })
        .collect();
    let largest = phi.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Ok(vec![params.temperature as f32; k]);
    }
    for (value, n) in phi.iter_mut().zip(&sizes) {
        if *n <= 1 {
            *value = largest;
        }
    }
    let mut sorted = phi.clone();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (
        percentile(&sorted, params.percentiles.0),
        percentile(&sorted, params.percentiles.1),
    );
    phi.iter_mut()
        .for_each(|value| *value = value.clamp(low, high));
    let mut mean = phi.iter().sum::<f64>() / k as f64;
    if mean == 0.0 {
        return Ok(vec![params.temperature as f32; k]);
    }
    phi.iter_mut()
        .for_each(|value| *value = value.max(FLOOR * mean));
    mean = phi.iter().sum::<f64>() / k as f64;
    Ok(phi
        .iter()
        .map(|value| (params.temperature * value / mean) as f32)
        .collect())
}

fn check(
    distances: &[f32],
    labels: &[u32],
    k: usize,
    params: &ConcentrationParams,
) -> Result<(), ClusterError> {
    if k == 0 || distances.len() != labels.len() {
        return Err(ClusterError::Length {
            rows: labels.len(),
            cols: 1,
            stride: 1,
            needed: labels.len(),
            found: distances.len(),
        });
    }
    if let Some(row) = labels.iter().position(|l| *l as usize >= k) {
        return Err(ClusterError::Label {
            row,
            label: labels[row],
            k,
        });
    }
    if let Some(row) = distances.iter().position(|d| !d.is_finite()) {
        return Err(ClusterError::NotFinite { row });
    }
    let (low, high) = params.percentiles;
    let settings = [
        (
            "temperature",
            params.temperature,
            params.temperature > 0.0,
            "above 0",
        ),
        (
            "smoothing",
            params.smoothing,
            params.smoothing > 0.0,
            "above 0",
        ),
        (
            "lower percentile",
            low,
            (0.0..=high).contains(&low),
            "between 0 and the upper one",
        ),
        (
            "upper percentile",
            high,
            (low..=100.0).contains(&high),
            "between the lower one and 100",
        ),
    ];
    for (name, value, holds, rule) in settings {
        if !holds {
            return Err(ClusterError::Setting {
                name,
                value: value.to_string(),
                rule,
            });
        }
    }
    Ok(())
}

/// Linear interpolation between order statistics, as numpy's default.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = percent / 100.0 * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_reference_formula() {
        // import numpy as np
        // d = np.array([.5, .7, .2, .9, .4, .1, .3]); l = np.array([0, 0, 0, 1, 1, 2, 3]); k = 5
        // n = np.bincount(l, minlength=k)
        // p = np.array([d[l==c].mean() / np.log(n[c] + 10) if n[c] > 1 else 0 for c in range(k)])
        // p[n <= 1] = p.max(); p = p.clip(np.percentile(p, 10), np.percentile(p, 90))
        // print(.2 * p / p.mean())
        let (d, l) = ([0.5, 0.7, 0.2, 0.9, 0.4, 0.1, 0.3], [0, 0, 0, 1, 1, 2, 3]);
        let phi = concentration(&d, &l, 5, &ConcentrationParams::default()).unwrap();
        let expected = [
            0.163_888_05,
            0.209_027_99,
            0.209_027_99,
            0.209_027_99,
            0.209_027_99,
        ];
        for (got, want) in phi.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{phi:?}");
        }
    }

    #[test]
    fn undefined_cases_are_defined() {
        let params = ConcentrationParams::default();
        assert_eq!(
            concentration(&[0.0; 3], &[0, 1, 2], 3, &params).unwrap(),
            [0.2; 3]
        );
        let duplicates = concentration(
            &[0.0, 0.0, 0.0, 0.0, 0.3, 0.1],
            &[0, 0, 1, 1, 2, 2],
            4,
            &params,
        )
        .unwrap();
        assert!(
            duplicates.iter().all(|p| *p > 0.0 && p.is_finite()),
            "{duplicates:?}"
        );
        assert!((duplicates.iter().sum::<f32>() / 4.0 - 0.2).abs() < 1e-6);
        assert_eq!(
            concentration(&[f32::NAN], &[0], 1, &params),
            Err(ClusterError::NotFinite { row: 0 })
        );
    }
}
