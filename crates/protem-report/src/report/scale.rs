//! Where values lie along an axis, and which are written beside it.

/// Values farther from zero are none that a run measures, and none that can be drawn.
const LARGEST: f64 = 1e15;

/// What rounding may take from a whole number of steps.
const NEARLY: f64 = 1e-9;

/// Whether a value can be drawn.
pub fn drawable(value: f64) -> bool {
    value.abs() < LARGEST
}

/// An axis from `low` to `high`, with a mark at each multiple of `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    step: f64,
}

impl Scale {
    /// Around all values that can be drawn, from mark to mark, with `marks` of them or about as many;
    /// none without a value.
    pub fn around(values: impl IntoIterator<Item = f64>, marks: usize) -> Option<Self> {
        let (least, most) = extent(values)?;
        // One value alone lies in the middle.
        let (least, most) = match most - least {
            span if span > NEARLY * most.abs() => (least, most),
            _ if most == 0.0 => (0.0, 1.0),
            _ => (least - 0.1 * least.abs(), most + 0.1 * most.abs()),
        };
        let step = round_step((most - least) / marks.max(1) as f64);
        Some(Self {
            low: (least / step + NEARLY).floor() * step,
            high: (most / step - NEARLY).ceil() * step,
            step,
        })
    }

    /// From the least of whole numbers to the greatest, with marks at whole numbers; none without one.
    pub fn whole(values: impl IntoIterator<Item = f64>, marks: usize) -> Option<Self> {
        let (least, most) = extent(values)?;
        let step = round_step((most - least) / marks.max(1) as f64).max(1.0);
        // One number alone lies in the middle.
        let beside = if least == most { 1.0 } else { 0.0 };
        Some(Self {
            low: least - beside,
            high: most + beside,
            step,
        })
    }

    /// Where the marks are, ascending.
    pub fn marks(&self) -> impl Iterator<Item = f64> + use<> {
        let Self { low, high, step } = *self;
        // Rounding must not cost the last one.
        let (first, last) = (
            (low / step - NEARLY).ceil() as i64,
            (high / step + NEARLY).floor() as i64,
        );
        (first..=last).map(move |i| i as f64 * step)
    }

    /// Distance between marks.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Where a value lies: 0 at the low end, 1 at the high one.
    pub fn at(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// A mark as it is written, with no more digits than marks differ in.
    pub fn text(&self, mark: f64) -> String {
        if self.step < 1e-4 || self.high.abs() >= 1e6 {
            return match mark {
                0.0 => "0".into(),
                mark => format!("{mark:.1e}").replace(".0e", "e"),
            };
        }
        let digits = (-self.step.log10() - NEARLY).ceil().max(0.0) as usize;
        format!("{:.digits$}", mark + 0.0) // no −0
    }
}

/// The least and the greatest of the values that can be drawn.
fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let values = values.into_iter().filter(|value| drawable(*value));
    values.fold(None, |extent, value| {
        let (least, most) = extent.unwrap_or((value, value));
        Some((value.min(least), value.max(most)))
    })
}

/// The least of 1, 2 or 5 times a power of ten that is not below `raw`.
fn round_step(raw: f64) -> f64 {
    if raw <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let enough = |times: &f64| times * power >= raw * (1.0 - NEARLY);
    power * times.into_iter().find(enough).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(scale: Scale) -> Vec<String> {
        scale.marks().map(|mark| scale.text(mark)).collect()
    }

    #[test]
    fn marks_are_round_and_hold_every_value() {
        let around = |values: &[f64]| written(Scale::around(values.iter().copied(), 5).unwrap());
        assert_eq!(around(&[3.5, 7.63]), ["3", "4", "5", "6", "7", "8"]);
        assert_eq!(around(&[0.0, 0.06]), ["0.00", "0.02", "0.04", "0.06"]);
        assert_eq!(around(&[0.0, 0.00003]), ["0", "1e-5", "2e-5", "3e-5"]);
        assert_eq!(around(&[0.0, 2e6]), ["0", "5e5", "1e6", "1.5e6", "2e6"]);
        assert_eq!(
            around(&[-0.5, 0.5]),
            ["-0.6", "-0.4", "-0.2", "0.0", "0.2", "0.4", "0.6"]
        );
        assert_eq!(
            around(&[5.0]),
            ["4.4", "4.6", "4.8", "5.0", "5.2", "5.4", "5.6"]
        );
        assert_eq!(around(&[0.0, f64::NAN, f64::INFINITY, 1e300]).len(), 6);
        assert!(Scale::around([f64::NAN], 5).is_none());
    }

    #[test]
    fn epochs_are_whole() {
        let whole = |least, most| written(Scale::whole([least, most], 6).unwrap());
        assert_eq!(whole(1.0, 1.0), ["0", "1", "2"]);
        assert_eq!(whole(1.0, 3.0), ["1", "2", "3"]);
        assert_eq!(whole(1.0, 40.0), ["10", "20", "30", "40"]);
        assert_eq!(whole(1.0, 800.0), ["200", "400", "600", "800"]);
        assert!(Scale::whole([], 6).is_none());
    }

    #[test]
    fn places_are_shares_of_the_axis() {
        let scale = Scale::around([0.0, 10.0], 5).unwrap();
        assert_eq!([0.0, 5.0, 10.0].map(|v| scale.at(v)), [0.0, 0.5, 1.0]);
    }
}
