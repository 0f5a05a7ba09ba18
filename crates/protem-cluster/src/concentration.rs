//! The concentration φ of a cluster: the temperature of its prototype.

use crate::error::ClusterError;

/// Settings of [`concentration`]. Those that are missing where they are deserialised have their
/// defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
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

/// The temperature of each of `k` prototypes, from the distance `‖v − c‖` (L2, **not squared**) of
/// each point to its centroid and the point's label.
///
/// PCL eq. 12, `φ_c = Σ‖v − c‖ / (n_c·ln(n_c + α))`, with the handling of the authors' code:
/// clusters of fewer than two points (empty ones too) take the largest φ, values are clipped to
/// two percentiles (numpy's linear interpolation) and scaled to mean τ = `temperature`.
///
/// Where that is undefined or not positive:
/// - no φ is above zero (each cluster a single point, as with K = N, or duplicates), or none is
///   after clipping: every prototype has `temperature`;
/// - some φ are zero after clipping, because a tenth of the clusters hold duplicates: what is
///   below a thousandth of the mean is raised to that before scaling.
///
/// # Errors
/// [`ClusterError::Unequal`] lengths, no cluster, a [`ClusterError::Label`] not below `k`, a
/// distance that is not finite or negative (each with its row), a [`ClusterError::Setting`] out of
/// its range.
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
    if distances.len() != labels.len() {
        return Err(ClusterError::Unequal {
            distances: distances.len(),
            labels: labels.len(),
        });
    }
    if k == 0 {
        return Err(ClusterError::Clusters {
            k,
            points: labels.len(),
        });
    }
    if let Some(row) = labels.iter().position(|l| *l as usize >= k) {
        let label = labels[row];
        return Err(ClusterError::Label { row, label, k });
    }
    if let Some(row) = distances.iter().position(|d| !d.is_finite()) {
        return Err(ClusterError::NotFinite { row });
    }
    if let Some(row) = distances.iter().position(|d| *d < 0.0) {
        let distance = distances[row];
        return Err(ClusterError::Negative { row, distance });
    }
    params.check()
}

impl ConcentrationParams {
    fn check(&self) -> Result<(), ClusterError> {
        let (low, high) = self.percentiles;
        let settings = [
            (
                "temperature",
                self.temperature,
                // Of which that of each prototype is an f32.
                (1e-30..=1e30).contains(&self.temperature),
                "between 1e-30 and 1e30",
            ),
            (
                "smoothing",
                self.smoothing,
                self.smoothing >= 0.0 && self.smoothing.is_finite(),
                "finite and not negative",
            ),
            (
                "lower percentile",
                low,
                (0.0..=100.0).contains(&low),
                "between 0 and 100",
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
                let value = value.to_string();
                return Err(ClusterError::Setting { name, value, rule });
            }
        }
        Ok(())
    }
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
        // Printed by tests/fixtures/make.py.
        let (d, l) = ([0.5, 0.7, 0.2, 0.9, 0.4, 0.1, 0.3], [0, 0, 0, 1, 1, 2, 3]);
        let phi = concentration(&d, &l, 5, &ConcentrationParams::default()).unwrap();
        let expected = [
            0.169_663_92,
            0.207_584_02,
            0.207_584_02,
            0.207_584_02,
            0.207_584_02,
        ];
        for (got, want) in phi.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{phi:?}");
        }
    }

    #[test]
    fn single_points_have_the_temperature() {
        // K = N: every distance 0, every size 1, 0/0 in the reference.
        let params = ConcentrationParams::default();
        let phi = concentration(&[0.0; 3], &[2, 0, 1], 3, &params).unwrap();
        assert_eq!(phi, [0.2; 3]);
        // Single points away from their centroids, as after subsampling, do not count either.
        let phi = concentration(&[0.5, 0.1], &[0, 1], 2, &params).unwrap();
        assert_eq!(phi, [0.2; 2]);
        assert_eq!(concentration(&[], &[], 4, &params).unwrap(), [0.2; 4]);
    }

    #[test]
    fn duplicates_stay_positive_and_finite() {
        // Three clusters in four are duplicates: the reference's p10 is 0, and so are their φ.
        let params = ConcentrationParams::default();
        let (d, l) = (
            [0.0, 0.0, 0.0, 0.0, 0.3, 0.1, 0.0, 0.0],
            [0, 0, 1, 1, 2, 2, 3, 3],
        );
        let phi = concentration(&d, &l, 4, &params).unwrap();
        assert!(phi.iter().all(|p| *p > 0.0 && p.is_finite()), "{phi:?}");
        assert!((phi.iter().sum::<f32>() / 4.0 - 0.2).abs() < 1e-6);
        // The floor: a thousandth of the mean before it was applied.
        let shares = phi[0] as f64 / phi[2] as f64;
        assert!((shares - 1e-3 / 4.0).abs() < 1e-6, "{phi:?}");
        // All duplicates, and one cluster in forty that the 90th percentile clips to 0.
        assert_eq!(
            concentration(&[0.0; 4], &[0, 0, 1, 1], 2, &params).unwrap(),
            [0.2; 2]
        );
        let labels: Vec<u32> = (0..80).map(|i| i / 2).collect();
        let mut d = vec![0.0; 80];
        d[7] = 0.5;
        assert_eq!(concentration(&d, &labels, 40, &params).unwrap(), [0.2; 40]);
    }

    #[test]
    fn trailing_empty_clusters_have_the_largest() {
        let params = ConcentrationParams::default();
        let phi = concentration(&[0.1, 0.3, 0.5, 0.9], &[0, 0, 1, 1], 5, &params).unwrap();
        assert!(phi[0] < phi[1]);
        assert_eq!(phi[2..], [phi[1]; 3]);
        assert!((phi.iter().sum::<f32>() / 5.0 - 0.2).abs() < 1e-6);
    }

    #[test]
    fn bad_input_is_an_error() {
        let params = ConcentrationParams::default();
        let of = |d: &[f32], l: &[u32], k| concentration(d, l, k, &params).unwrap_err();
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(
                of(&[0.1, bad], &[0, 0], 1),
                ClusterError::NotFinite { row: 1 }
            );
        }
        assert_eq!(
            of(&[-0.5], &[0], 1),
            ClusterError::Negative {
                row: 0,
                distance: -0.5
            }
        );
        assert_eq!(
            of(&[0.1, 0.1], &[0, 3], 3),
            ClusterError::Label {
                row: 1,
                label: 3,
                k: 3
            }
        );
        assert_eq!(
            of(&[0.1], &[0, 0], 1),
            ClusterError::Unequal {
                distances: 1,
                labels: 2
            }
        );
        assert_eq!(of(&[], &[], 0), ClusterError::Clusters { k: 0, points: 0 });
        let changed = |change: fn(&mut ConcentrationParams)| {
            let mut params = params;
            change(&mut params);
            concentration(&[0.1, 0.2], &[0, 0], 1, &params).unwrap_err()
        };
        for error in [
            changed(|p| p.temperature = 0.0),
            changed(|p| p.temperature = 1e39),
            changed(|p| p.temperature = 1e-50),
            changed(|p| p.temperature = f64::NAN),
            changed(|p| p.smoothing = -1.0),
            changed(|p| p.percentiles = (90.0, 10.0)),
            changed(|p| p.percentiles = (f64::NAN, 90.0)),
            changed(|p| p.percentiles = (10.0, 101.0)),
        ] {
            assert!(matches!(error, ClusterError::Setting { .. }), "{error}");
        }
    }
}
