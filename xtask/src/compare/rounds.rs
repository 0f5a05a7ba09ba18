//! Two programs run in turn, round after round, and the figures over the rounds.

use super::Outcome;
use super::load::Meter;

/// One round: protem's run and the other's right after it.
pub struct Pair<S> {
    pub protem: S,
    pub peer: S,
}

/// All rounds of one job.
pub struct Rounds<S> {
    pub pairs: Vec<Pair<S>>,
    /// CPUs that other programs kept busy meanwhile.
    pub others: f64,
}

/// Both programs in turn, as often as asked; `tell` says a round's outcome, or why its two runs are
/// no comparison.
pub fn in_turn<S>(
    name: &str,
    rounds: u32,
    mut protem: impl FnMut() -> Outcome<S>,
    mut peer: impl FnMut() -> Outcome<S>,
    tell: impl Fn(&Pair<S>) -> Outcome<String>,
) -> Outcome<Rounds<S>> {
    let meter = Meter::start();
    let mut pairs = Vec::new();
    for round in 1..=rounds {
        eprintln!("{name}, round {round} of {rounds}");
        let pair = Pair {
            protem: protem()?,
            peer: peer()?,
        };
        eprintln!("    {}", tell(&pair)?);
        pairs.push(pair);
    }
    let others = meter.others();
    Ok(Rounds { pairs, others })
}

impl<S> Rounds<S> {
    /// Says so where other programs make wall times doubtful.
    pub fn warn_of_others(&self) {
        let others = self.others;
        if others > 0.1 {
            eprintln!(
                "    other programs kept {others:.1} CPUs busy: wall times beside them say little, measure again on a quiet machine"
            );
        }
    }

    /// The middle one, or the mean of the two in the middle.
    pub fn median(&self, value: impl Fn(&Pair<S>) -> f64) -> f64 {
        let mut values: Vec<f64> = self.pairs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        (values[lower] + values[upper]) / 2.0
    }

    /// The lowest and the highest one.
    pub fn range(&self, value: impl Fn(&Pair<S>) -> f64) -> (f64, f64) {
        let values = self.pairs.iter().map(value);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    }
}

/// Seconds as a cell shows them.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.3} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_run_in_turn() {
        let order = std::cell::RefCell::new(Vec::new());
        let note = |who| {
            order.borrow_mut().push(who);
            Ok(who)
        };
        let rounds = in_turn("job", 2, || note(1), || note(2), |_| Ok(String::new())).unwrap();
        assert_eq!(*order.borrow(), [1, 2, 1, 2]);
        assert_eq!(rounds.pairs.len(), 2);
        let refused = in_turn("job", 2, || Ok(1), || Ok(2), |_| Err("other work".into()));
        assert_eq!(
            refused.map(|rounds| rounds.pairs.len()),
            Err("other work".into())
        );
    }

    #[test]
    fn figures_over_an_odd_and_an_even_number_of_rounds() {
        let rounds = |values: &[f64]| Rounds {
            pairs: values
                .iter()
                .map(|value| Pair {
                    protem: *value,
                    peer: 1.0,
                })
                .collect(),
            others: 0.0,
        };
        let value = |pair: &Pair<f64>| pair.protem / pair.peer;
        assert_eq!(rounds(&[1.0, 3.0, 2.0]).median(value), 2.0);
        assert_eq!(rounds(&[4.0, 1.0, 3.0, 2.0]).median(value), 2.5);
        assert_eq!(rounds(&[3.0, 1.0, 2.0]).range(value), (1.0, 3.0));
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(seconds(1.5), "1.500 s");
    }
}
