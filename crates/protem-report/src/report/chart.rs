//! Line charts and histograms as inline SVG.
//!
//! Written by hand: a plotting library fixes colours in its SVG, where these follow the page's style
//! from light to dark, and knows neither gaps nor titles of points.

use super::scale::{Scale, drawable};
use maud::{Markup, html};
use std::fmt::Write;

/// The picture, in units that are about pixels, on a phone too.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 210.0;
/// Of the plot within it.
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = HEIGHT - 34.0;
/// More points than this are a line without marks.
const MARKED: usize = 60;

/// A line of a chart.
pub struct Series {
    pub name: String,
    /// Ascending by epoch. A value that is absent, or no number, leaves a gap.
    pub points: Vec<(usize, Option<f64>)>,
}

/// A level that lines are held against.
pub struct Guide {
    pub name: String,
    pub value: f64,
}

/// Values over epochs.
pub struct Chart {
    pub title: &'static str,
    pub unit: &'static str,
    /// How a value is told, with its unit where that is a sign.
    pub told: fn(f64) -> String,
    /// What the axis holds besides the values: 0, say.
    pub holds: &'static [f64],
    pub series: Vec<Series>,
    pub guides: Vec<Guide>,
    /// What a reader must know to read it right.
    pub note: Option<String>,
}

impl Series {
    /// The last value there is.
    fn last(&self) -> Option<(usize, f64)> {
        let value = |(epoch, value): &(usize, Option<f64>)| Some((*epoch, (*value)?));
        let mut values = self.points.iter().rev().filter_map(value);
        values.find(|(_, value)| drawable(*value))
    }
}

impl Chart {
    /// As a figure; one that has no value says so.
    pub fn figure(&self) -> Markup {
        let values = self.series.iter().flat_map(|series| &series.points);
        let values = values.filter_map(|(_, value)| *value);
        let values: Vec<f64> = values.filter(|value| drawable(*value)).collect();
        html! {
            figure {
                figcaption { (self.title) }
                @if values.is_empty() {
                    p.note { "Not measured." }
                } @else {
                    (self.plot(&values))
                    (self.legend())
                    @if let Some(note) = &self.note { p.note { (note) } }
                }
            }
        }
    }

    fn plot(&self, values: &[f64]) -> Markup {
        let guides = self.guides.iter().map(|guide| guide.value);
        let all = values.iter().chain(self.holds).copied().chain(guides);
        let epochs = self.series.iter().flat_map(|series| &series.points);
        let epochs = epochs.map(|(epoch, _)| *epoch as f64);
        let (Some(x), Some(y)) = (Scale::whole(epochs, 6), Scale::around(all, 5)) else {
            return html! {};
        };
        let place = Place { x, y };
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.described()) {
                (axes(&place, self.unit, "epoch"))
                @let guides = || self.guides.iter().enumerate().filter(|(_, guide)| drawable(guide.value));
                @for (i, guide) in guides() { (stroke(guide, i, &place)) }
                @for (i, series) in self.series.iter().enumerate() {
                    (self.draw(series, i, &place))
                }
                @for (i, guide) in guides() { (self.name(guide, i, &place)) }
            }
        }
    }

    fn draw(&self, series: &Series, i: usize, place: &Place) -> Markup {
        let (path, alone) = path(&series.points, place);
        let marked = series.points.len() <= MARKED;
        let points = series.points.iter();
        let points = points.filter_map(|(epoch, value)| Some((*epoch, (*value)?)));
        let points =
            points.filter(|(epoch, value)| drawable(*value) && (marked || alone.contains(epoch)));
        html! {
            g class=(format!("series s{}", i % STYLES)) {
                @if !path.is_empty() { path d=(path) {} }
                @for (epoch, value) in points {
                    (mark(i, place.x(epoch as f64), place.y(value), &format!(
                        "{}, epoch {epoch}: {}", series.name, (self.told)(value)
                    )))
                }
            }
        }
    }

    /// Guides near each other would have their names one over the other: each has a place of its own
    /// along the line, on the side where fewer values lie.
    fn name(&self, guide: &Guide, i: usize, place: &Place) -> Markup {
        let (y, third) = (place.y(guide.value), (RIGHT - LEFT) / 3.0);
        let x = RIGHT - third * (i % 3) as f64;
        let points = self.series.iter().flat_map(|series| &series.points);
        let values = points.filter(|(epoch, _)| (x - third..=x).contains(&place.x(*epoch as f64)));
        let (above, below): (Vec<f64>, Vec<f64>) = values
            .filter_map(|(_, value)| *value)
            .partition(|value| *value > guide.value);
        let room_below = y + 12.0 < BOTTOM;
        let down = y < TOP + 12.0 || above.len() > below.len() && room_below;
        let y = if down { y + 11.0 } else { y - 4.0 };
        html! { text.name x=(tenth(x)) y=(tenth(y)) { (guide.name) } }
    }

    /// What the chart shows, for who does not see it.
    fn described(&self) -> String {
        let last = self.series.iter().filter_map(|series| {
            let (epoch, value) = series.last()?;
            Some(format!(
                "{} {} after epoch {epoch}",
                series.name,
                (self.told)(value)
            ))
        });
        format!("{}: {}", self.title, last.collect::<Vec<_>>().join(", "))
    }

    /// Names beside the strokes that they are drawn with, and the last values.
    fn legend(&self) -> Markup {
        html! {
            ul.legend {
                @for (i, series) in self.series.iter().enumerate() {
                    li {
                        (swatch(&format!("series s{}", i % STYLES), Some(i)))
                        (series.name) " "
                        @match series.last() {
                            Some((_, value)) => b { ((self.told)(value)) },
                            None => "not measured",
                        }
                    }
                }
                @for (i, guide) in self.guides.iter().enumerate() {
                    li {
                        (swatch(&format!("guide g{}", i % STYLES), None))
                        (guide.name) " " ((self.told)(guide.value))
                    }
                }
            }
        }
    }
}

/// Strokes that style.css tells apart, by colour and by dashes.
const STYLES: usize = 4;

/// Where values lie in the picture.
struct Place {
    x: Scale,
    y: Scale,
}

impl Place {
    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.at(value) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.at(value) * (BOTTOM - TOP)
    }
}

/// A length in the picture, to a tenth.
fn tenth(length: f64) -> String {
    format!("{length:.1}")
}

fn axes(place: &Place, unit: &str, across: &str) -> Markup {
    html! {
        g.axis {
            @for mark in place.y.marks() {
                @let y = place.y(mark);
                line x1=(LEFT) x2=(RIGHT) y1=(tenth(y)) y2=(tenth(y)) {}
                text.y x=(LEFT - 6.0) y=(tenth(y + 3.5)) { (place.y.text(mark)) }
            }
            @for mark in place.x.marks() {
                text.x x=(tenth(place.x(mark))) y=(BOTTOM + 15.0) { (place.x.text(mark)) }
            }
            text.unit x="4" y="10" { (unit) }
            text.across x=(RIGHT) y=(HEIGHT - 4.0) { (across) }
        }
    }
}

fn stroke(guide: &Guide, i: usize, place: &Place) -> Markup {
    let y = tenth(place.y(guide.value));
    html! {
        g class=(format!("guide g{}", i % STYLES)) {
            line x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
        }
    }
}

/// The line through points, broken where a value is absent, and the epochs of points that have no
/// neighbour to draw a line to.
fn path(points: &[(usize, Option<f64>)], place: &Place) -> (String, Vec<usize>) {
    let (mut path, mut alone) = (String::new(), Vec::new());
    let whole = |point: &(usize, Option<f64>)| point.1.is_some_and(drawable);
    for part in points.split(|point| !whole(point)) {
        if let [(epoch, _)] = part {
            alone.push(*epoch);
            continue;
        }
        for (i, (epoch, value)) in part.iter().enumerate() {
            let step = if i == 0 { 'M' } else { 'L' };
            let (x, y) = (place.x(*epoch as f64), place.y(value.unwrap_or_default()));
            write!(path, "{step}{x:.1} {y:.1}").expect("memory takes it");
        }
    }
    (path, alone)
}

/// A point: each series has a shape of its own. Pointed at, it tells its value.
fn mark(series: usize, x: f64, y: f64, title: &str) -> Markup {
    let r = 2.6;
    let corners = |at: &[(f64, f64)]| {
        let at = at
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx * r, y + dy * r));
        at.collect::<Vec<_>>().join(" ")
    };
    html! {
        @match series % STYLES {
            0 => circle cx=(tenth(x)) cy=(tenth(y)) r=(r) { title { (title) } },
            1 => rect x=(tenth(x - r)) y=(tenth(y - r)) width=(2.0 * r) height=(2.0 * r) { title { (title) } },
            2 => polygon points=(corners(&[(0.0, -1.5), (1.5, 0.0), (0.0, 1.5), (-1.5, 0.0)])) { title { (title) } },
            _ => polygon points=(corners(&[(0.0, -1.4), (1.4, 1.0), (-1.4, 1.0)])) { title { (title) } },
        }
    }
}

/// The stroke of a line, for a legend.
fn swatch(class: &str, marked: Option<usize>) -> Markup {
    html! {
        svg.swatch viewBox="0 0 30 10" aria-hidden="true" {
            g class=(class) {
                line x1="0" x2="30" y1="5" y2="5" {}
                @if let Some(i) = marked { (mark(i, 15.0, 5.0, "")) }
            }
        }
    }
}

/// How often values fall into equal intervals between round numbers; nothing without values.
pub fn histogram(title: &str, across: &str, what: &str, values: &[f64], whole: bool) -> Markup {
    const BINS: usize = 20;
    let Some(scale) = Scale::around(values.iter().copied(), BINS) else {
        return html! {};
    };
    let step = if whole {
        scale.step().max(1.0)
    } else {
        scale.step()
    };
    let counts = counts(values, step);
    let (Some(first), Some(last)) = (counts.first(), counts.last()) else {
        return html! {};
    };
    let ends = [first.0 as f64 * step, (last.0 + 1) as f64 * step];
    let most = counts.iter().map(|(_, count)| *count as f64);
    let (Some(x), Some(y)) = (Scale::around(ends, 6), Scale::around(most.chain([0.0]), 4)) else {
        return html! {};
    };
    let place = Place { x, y };
    let told = |low: f64, count: usize| {
        let (from, to) = (shortest(low, step), shortest(low + step, step));
        match whole {
            true if step == 1.0 => format!("{across} {from}: {count} {what}"),
            _ => format!("{across} from {from} to below {to}: {count} {what}"),
        }
    };
    html! {
        figure {
            figcaption { (title) }
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(title) {
                (axes(&place, what, across))
                g.bars {
                    @for (bin, count) in &counts {
                        @let low = *bin as f64 * step;
                        @let (left, right) = (place.x(low), place.x(low + step));
                        @let top = place.y(*count as f64);
                        rect x=(tenth(left + 0.5)) width=(tenth((right - left - 1.0).max(0.5)))
                            y=(tenth(top)) height=(tenth(BOTTOM - top)) {
                            title { (told(low, *count)) }
                        }
                    }
                }
            }
        }
    }
}

/// Number of values in each interval of length `step` that holds some; interval `i` begins at
/// `i × step`.
fn counts(values: &[f64], step: f64) -> Vec<(i64, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for value in values.iter().filter(|value| drawable(**value)) {
        // A value on an edge belongs to what lies above it, rounding or not.
        let bin = (value / step + 1e-9).floor() as i64;
        *counts.entry(bin).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}

/// A multiple of `step` without digits that rounding has made.
fn shortest(value: f64, step: f64) -> String {
    let digits = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(usize, Option<f64>)>) -> Chart {
        Chart {
            title: "kNN <accuracy>",
            unit: "%",
            told: |value| format!("{value:.1} %"),
            holds: &[0.0],
            series: vec![Series {
                name: "kNN & \"more\"".into(),
                points,
            }],
            guides: vec![Guide {
                name: "chance".into(),
                value: 10.0,
            }],
            note: None,
        }
    }

    fn drawn(points: Vec<(usize, Option<f64>)>) -> String {
        chart(points).figure().into_string()
    }

    fn lines(page: &str) -> Vec<&str> {
        let paths = page.split("<path d=\"").skip(1);
        paths.map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn one_epoch_is_a_point_in_the_middle() {
        let page = drawn(vec![(1, Some(40.0))]);
        assert!(lines(&page).is_empty(), "{page}");
        let middle = (LEFT + RIGHT) / 2.0;
        assert!(
            page.contains(&format!("<circle cx=\"{middle:.1}\"")),
            "{page}"
        );
        assert!(page.contains("<b>40.0 %</b>"), "{page}");
    }

    #[test]
    fn what_is_absent_or_no_number_leaves_a_gap() {
        let values = [
            Some(1.0),
            Some(2.0),
            None,
            Some(4.0),
            Some(f64::NAN),
            Some(5.0),
            Some(6.0),
        ];
        let points: Vec<_> = (1..).zip(values).collect();
        let page = drawn(points.clone());
        let path = lines(&page)[0];
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 2, "{path}");
        assert!(!page.contains("NaN"), "{page}");
        // Where there are too many points for marks, those alone keep theirs.
        let many = (8..200).map(|epoch| (epoch, Some(7.0)));
        let page = drawn(points.into_iter().chain(many).collect());
        assert_eq!(page.matches("<circle").count(), 2, "{page}"); // the other is the legend's
        assert!(page.contains("epoch 4: 4.0 %"), "{page}");
    }

    #[test]
    fn without_a_value_nothing_is_drawn() {
        for points in [vec![], vec![(1, None)], vec![(1, Some(f64::INFINITY))]] {
            let page = drawn(points);
            assert!(
                page.contains("Not measured") && !page.contains("<svg"),
                "{page}"
            );
        }
    }

    #[test]
    fn names_are_escaped() {
        let page = drawn(vec![(1, Some(1.0)), (2, Some(2.0))]);
        assert!(page.contains("kNN &lt;accuracy&gt;"), "{page}");
        assert!(page.contains("kNN &amp; &quot;more&quot;"), "{page}");
        assert!(!page.contains("<accuracy>"), "{page}");
    }

    /// The whole of a chart, to be looked at when it changes.
    #[test]
    fn a_line_chart_is_this_svg() {
        let page = drawn(vec![(1, Some(20.0)), (2, Some(40.0))]);
        let svg = &page[page.find("<svg").unwrap()..page.find("</svg>").unwrap()];
        let lines = svg.replace("><", ">\n<");
        assert_eq!(
            lines.trim_end(),
            include_str!("chart.svg").trim_end(),
            "{lines}"
        );
    }

    #[test]
    fn a_histogram_counts_every_value_once() {
        assert_eq!(counts(&[0.1, 0.3, 0.3, 0.7], 0.1), [(1, 1), (3, 2), (7, 1)]);
        let page = histogram("Sizes", "images", "clusters", &[3.0, 3.0, 4.0], true).into_string();
        assert!(page.contains("images 3: 2 clusters"), "{page}");
        assert!(page.contains("images 4: 1 clusters"), "{page}");
        let one = histogram("φ", "φ", "clusters", &[0.2, 0.2], false).into_string();
        assert_eq!(one.matches("<rect").count(), 1, "{one}");
        let none = histogram("φ", "φ", "clusters", &[f64::NAN], false).into_string();
        assert!(none.is_empty());
    }
}
