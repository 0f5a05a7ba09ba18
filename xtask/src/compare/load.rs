//! How busy other programs keep the machine meanwhile: threads that wait for each other suffer from it out of all proportion.

use std::time::Instant;

/// Linux tells CPU time in hundredths of a second.
const TICKS: f64 = 100.0;

/// Since when, and what had been used up to then.
pub struct Meter {
    start: Instant,
    all: f64,
    own: f64,
}

impl Meter {
    /// Starts to count.
    pub fn start() -> Self {
        let (all, own) = used();
        let start = Instant::now();
        Self { start, all, own }
    }

    /// CPUs that programs other than this one and its children have kept busy since the start.
    pub fn others(&self) -> f64 {
        let (all, own) = used();
        let ticks = (all - self.all) - (own - self.own);
        (ticks / TICKS / self.start.elapsed().as_secs_f64()).max(0.0)
    }
}

/// Ticks that the whole machine has used, and this process with the children that have ended.
fn used() -> (f64, f64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    (all(&read("/proc/stat")), own(&read("/proc/self/stat")))
}

/// All but idling and waiting (`cpu user nice system idle iowait irq softirq steal …`).
fn all(stat: &str) -> f64 {
    let numbers: Vec<f64> = numbers(stat.lines().next().unwrap_or_default());
    let busy = [0, 1, 2, 5, 6, 7].iter();
    busy.filter_map(|place| numbers.get(*place)).sum()
}

/// User and system time, its own and its children's: the 14th to 17th field, of which the second,
/// the program's name in parentheses, may hold blanks, and the third is a letter.
fn own(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    numbers(after_name).iter().skip(10).take(4).sum()
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_fields_are_added() {
        assert_eq!(
            all("cpu  1 2 4 1000 1000 8 16 32 500 0\ncpu0 9 9 9\n"),
            63.0
        );
        let stat = "7 (a b) c) S 4 5 6 7 8 9 10 11 12 13 100 200 400 800 20 0";
        assert_eq!(own(stat), 1500.0);
    }
}
