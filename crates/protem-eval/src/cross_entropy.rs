//! Cross-entropy of a softmax.

/// Of an image's scores, over which their derivatives are written: the probabilities, less 1 at the
/// image's own class.
pub(crate) fn cross_entropy(scores: &mut [f64], target: usize) -> f64 {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let right = scores[target] - most;
    scores.iter_mut().for_each(|s| *s = (*s - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
    scores[target] -= 1.0;
    sum.ln() - right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_differences() {
        let scores = [2.0, -1.0, 1.0, 0.0];
        let mut derivatives = scores;
        let loss = cross_entropy(&mut derivatives, 0);
        // By hand: the first is e²/(e² + e⁻¹ + e + 1).
        let sum: f64 = scores.map(f64::exp).iter().sum();
        assert!((loss - (sum.ln() - 2.0)).abs() < 1e-12, "{loss}");
        for i in 0..4 {
            let at = |step: f64| {
                let mut there = scores;
                there[i] += step;
                cross_entropy(&mut there, 0)
            };
            let difference = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!(
                (derivatives[i] - difference).abs() < 1e-6,
                "{i}: {derivatives:?}"
            );
        }
        // Scores beyond what e may be raised to.
        let mut far = [1e300, -1e300];
        assert_eq!(cross_entropy(&mut far, 0), 0.0);
        assert_eq!(far, [0.0, 0.0]);
    }
}
