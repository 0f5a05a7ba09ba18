//! Average precision of a ranking.

use crate::EvalError;

/// Average precision of images ranked by their scores: the area under the envelope of precision over
/// recall, which is at each recall the best precision there or beyond (PASCAL VOC from 2010 on; PCL's and
/// FAIR's evaluations take it for VOC 2007 too, whose own is over eleven recalls). Images of equal scores
/// come into the ranking together, so that their order in the set does not count; nothing without a
/// positive.
///
/// # Errors
/// Scores and answers that are not of the same images; a score that is not finite.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> Result<Option<f64>, EvalError> {
    EvalError::counted("scores", scores.len(), positive.len())?;
    if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
        return Err(EvalError::NotFinite { row });
    }
    let mut ranked: Vec<(f64, bool)> = scores
        .iter()
        .copied()
        .zip(positive.iter().copied())
        .collect();
    ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives_of = |images: &[(f64, bool)]| images.iter().filter(|(_, is)| *is).count();
    let positives = positives_of(&ranked);
    if positives == 0 {
        return Ok(None);
    }
    // From the whole ranking to its head: all that is beyond has been seen.
    let (mut images, mut found) = (ranked.len(), positives);
    let (mut envelope, mut area) = (0.0, 0.0);
    for equal in ranked.chunk_by(|a, b| a.0 == b.0) {
        let precision = found as f64 / images as f64;
        envelope = f64::max(envelope, precision);
        let gained = positives_of(equal);
        area += gained as f64 * envelope;
        images -= equal.len();
        found -= gained;
    }
    Ok(Some(area / positives as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import numpy as np
    /// def ap(scores, positive):
    ///     order = np.argsort(-scores, kind="stable"); tp = np.cumsum(positive[order])
    ///     precision, recall = tp / np.arange(1, len(tp) + 1), tp / tp[-1]
    ///     envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ///     return (np.diff(recall, prepend=0) * envelope).sum()
    /// i = np.arange(101)
    /// for m in (2, 7, 60): print(ap(np.sin(i * 1.7), i * i % 97 % m == 1))
    /// ```
    #[test]
    fn it_is_the_area_under_the_envelope() {
        let scores: Vec<f64> = (0..101).map(|i| (f64::from(i) * 1.7).sin()).collect();
        for (m, expected) in [
            (2, 0.5433124915098004),
            (7, 0.2222701558341697),
            (60, 0.08574787484174352),
        ] {
            let positive: Vec<bool> = (0..101).map(|i| i * i % 97 % m == 1).collect();
            let found = average_precision(&scores, &positive).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-12, "{m}: {found}");
        }
    }

    #[test]
    fn small_rankings_by_hand() {
        let ap = |scores: &[f64], positive: &[u8]| {
            let positive: Vec<bool> = positive.iter().map(|p| *p == 1).collect();
            average_precision(scores, &positive).unwrap()
        };
        // Precisions 1, 1/2, 2/3, 2/4, 3/5: the envelope is 1 to recall 1/3, then 2/3, then 3/5.
        let five = ap(&[5.0, 4.0, 3.0, 2.0, 1.0], &[1, 0, 1, 0, 1]);
        assert!((five.unwrap() - (1.0 + 2.0 / 3.0 + 3.0 / 5.0) / 3.0).abs() < 1e-15);
        // Below 1/3 at the head, 2/4 further on, which is taken for both.
        assert_eq!(ap(&[4.0, 3.0, 2.0, 1.0], &[0, 0, 1, 1]), Some(0.5));
        // Equal scores are one step, in whatever order the images come; zero has no sign.
        for positive in [[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]] {
            assert_eq!(ap(&[0.0, -0.0, 0.0, -0.0], &positive), Some(0.5));
        }
        assert_eq!(ap(&[2.0, 2.0, 1.0], &[0, 1, 1]), Some(2.0 / 3.0));
        assert_eq!(ap(&[1.0, 2.0], &[1, 1]), Some(1.0));
        assert_eq!((ap(&[1.0, 2.0], &[0, 0]), ap(&[], &[])), (None, None));
    }

    #[test]
    fn what_is_no_ranking_is_refused() {
        let found = average_precision(&[1.0, f64::NAN], &[true, false]);
        assert_eq!(found, Err(EvalError::NotFinite { row: 1 }));
        let found = average_precision(&[1.0], &[true, false]);
        assert!(matches!(found, Err(EvalError::Count { .. })));
    }
}
