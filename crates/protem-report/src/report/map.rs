//! Images laid out in the plane, each a point that shows its image when it is pointed at.
//!
//! The page has no script, so points are the buttons of a group of which one can be chosen: pointed at or
//! chosen, the style shows what belongs to a point, and the arrow keys go through them.

use super::words::counted;
use base64::prelude::{BASE64_STANDARD, Engine};
use maud::{Markup, html};

/// Colours of points.
const COLOURS: usize = 10;
/// Their shapes.
const SHAPES: [&str; 3] = ["", " square", " diamond"];
/// Groups that can be told apart.
const KINDS: usize = COLOURS * SHAPES.len();
/// Side of a shown image, in pixels of the page.
const SHOWN: usize = 96;
/// Widths of a point, in pixels of the page: where there are few, and at least.
const DOT: [f64; 2] = [7.0, 4.0];
/// Points of which the widest leave each other room.
const ROOM: f64 = 2000.0;
/// Of the picture's width, what lies between its edge and the points, on each side.
const MARGIN: f64 = 0.02;

/// The map of a run's images, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Map {
    /// A sentence.
    None(String),
    /// Some of them.
    Shown(Plane),
}

/// Images in the plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// The images.
    pub points: Vec<Point>,
    /// What points are coloured by, such as `class`; their groups have these names.
    pub groups: Groups,
    /// All images, in the order of the points.
    pub sheet: Sheet,
    /// What must be known of it: a sentence each.
    pub notes: Vec<String>,
}

/// What is told of the colours of points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Groups {
    /// What they are, in the plural: `classes`.
    pub what: String,
    /// Their names.
    pub names: Vec<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Where it is, in any units.
    pub place: [f32; 2],
    /// What it is called.
    pub name: String,
    /// Which of the groups it belongs to.
    pub group: Option<usize>,
    /// What else is told of it.
    pub told: String,
}

/// Small images in rows of squares, as one JPEG file.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The bytes of the file.
    pub jpeg: Vec<u8>,
    /// Images of a row.
    pub columns: usize,
    /// Pixels from one to the next.
    pub pitch: u32,
    /// Pixels before the first, and between two.
    pub gap: u32,
}

impl Map {
    pub(super) fn section(&self) -> Markup {
        html! {
            section {
                h2 { "Map" }
                @match self {
                    Self::None(why) => p { (why) },
                    Self::Shown(plane) => (plane.body()),
                }
            }
        }
    }

    /// What the page's style lacks to show the images.
    pub(super) fn style(&self) -> String {
        match self {
            Self::None(_) => String::new(),
            Self::Shown(Plane { sheet, .. }) => {
                // In units of a shown image without the gap beside it.
                let side = SHOWN as f64 / f64::from(sheet.pitch - sheet.gap);
                let [pitch, gap] = [sheet.pitch, sheet.gap].map(|x| f64::from(x) * side);
                let width = sheet.columns as f64 * pitch + gap;
                format!(
                    ".map {{ --pitch: {pitch:.3}px; --gap: {gap:.3}px; --side: {SHOWN}px; }}\n.map i {{ background-size: {width:.3}px auto; background-image: url(data:image/jpeg;base64,{}); }}\n",
                    BASE64_STANDARD.encode(&sheet.jpeg)
                )
            }
        }
    }
}

impl Plane {
    fn body(&self) -> Markup {
        let kinds = Kinds::of(self);
        let frame = Frame::around(&self.points);
        html! {
            @for note in &self.notes { p { (note) } }
            p.note { "Point at an image to see it; the arrow keys go on from it." }
            div.map role="radiogroup" aria-label={ "Map of " (counted(self.points.len(), "image")) } style={ (frame.aspect()) "; " (self.width()) } {
                @for (i, point) in self.points.iter().enumerate() {
                    (self.point(point, i, &kinds, &frame))
                }
            }
            (self.legend(&kinds))
        }
    }

    /// Of points at most: more of them cover no more of the picture, as long as they can be seen.
    fn width(&self) -> String {
        let [most, least] = DOT;
        let width = most * (ROOM / self.points.len().max(1) as f64).sqrt();
        format!("--most:{:.1}px", width.clamp(least, most))
    }

    fn point(&self, point: &Point, i: usize, kinds: &Kinds, frame: &Frame) -> Markup {
        let [x, y] = frame.at(point.place);
        let (row, column) = (i / self.sheet.columns, i % self.sheet.columns);
        let up = if y > 50.0 { " up" } else { "" };
        html! {
            label class=(format!("{}{up}", kinds.class(point.group)))
                style=(format!("--x:{x:.1};--y:{y:.1};--c:{column};--r:{row}")) {
                input type="radio" name="map";
                b { i {} (point.name) br; (point.told) }
            }
        }
    }

    fn legend(&self, kinds: &Kinds) -> Markup {
        let of = |group: usize| {
            self.points
                .iter()
                .filter(move |point| point.group == Some(group))
        };
        let told: usize = kinds.0.iter().map(|group| of(*group).count()).sum();
        let others = self.points.len() - told;
        html! {
            ul.legend {
                @for group in &kinds.0 {
                    li {
                        span class={ "dot " (kinds.class(Some(*group))) } {}
                        bdi { (self.groups.names[*group]) } " " b { (of(*group).count()) }
                    }
                }
                @if others > 0 && !kinds.0.is_empty() {
                    li {
                        span.dot.rest {}
                        @match self.groups.names.len() > kinds.0.len() {
                            true => { "other " (self.groups.what) },
                            false => { "without one of the " (self.groups.what) },
                        }
                        " " b { (others) }
                    }
                }
            }
        }
    }
}

/// The groups that have a colour and a shape of their own: those with most points, in their order.
struct Kinds(Vec<usize>);

impl Kinds {
    fn of(plane: &Plane) -> Self {
        let mut counts = vec![0; plane.groups.names.len()];
        for group in plane.points.iter().filter_map(|point| point.group) {
            counts[group] += 1;
        }
        let mut groups: Vec<usize> = (0..counts.len()).filter(|i| counts[*i] > 0).collect();
        groups.sort_by_key(|i| (std::cmp::Reverse(counts[*i]), *i));
        groups.truncate(KINDS);
        groups.sort_unstable();
        Self(groups)
    }

    fn class(&self, group: Option<usize>) -> String {
        let place = group.and_then(|group| self.0.binary_search(&group).ok());
        match place {
            Some(place) => format!("m{}{}", place % COLOURS, SHAPES[place / COLOURS]),
            None if self.0.is_empty() => "m0".into(),
            None => "rest".into(),
        }
    }
}

/// Where places lie in the picture.
struct Frame {
    low: [f64; 2],
    extent: [f64; 2],
}

impl Frame {
    fn around(points: &[Point]) -> Self {
        let along = |axis: usize| {
            let values = points.iter().map(move |point| f64::from(point.place[axis]));
            let ends = values.fold(None, |ends, value| {
                let (low, high) = ends.unwrap_or((value, value));
                Some((value.min(low), value.max(high)))
            });
            ends.unwrap_or((0.0, 0.0))
        };
        let ends = [along(0), along(1)];
        // One unit is as long in both directions, and no side is less than half of the other.
        let most = ends
            .map(|(low, high)| high - low)
            .into_iter()
            .fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let extent = ends.map(|(low, high)| (high - low).max(most / 2.0) / (1.0 - 2.0 * MARGIN));
        let middle = ends.map(|(low, high)| (low + high) / 2.0);
        Self {
            low: [0, 1].map(|axis| middle[axis] - extent[axis] / 2.0),
            extent,
        }
    }

    /// In hundredths of the picture, from the left and from the top.
    fn at(&self, place: [f32; 2]) -> [f64; 2] {
        let at = |axis: usize| (f64::from(place[axis]) - self.low[axis]) / self.extent[axis];
        [100.0 * at(0), 100.0 * (1.0 - at(1))]
    }

    fn aspect(&self) -> String {
        format!("aspect-ratio: {:.3}", self.extent[0] / self.extent[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(groups: usize, points: &[([f32; 2], Option<usize>)]) -> Plane {
        let point = |(place, group): &([f32; 2], Option<usize>)| Point {
            place: *place,
            name: "a<b>.jpg".into(),
            group: *group,
            told: "\"x\" & y".into(),
        };
        Plane {
            points: points.iter().map(point).collect(),
            groups: Groups {
                what: "classes".into(),
                names: (0..groups).map(|i| format!("<{i}>")).collect(),
            },
            sheet: Sheet {
                jpeg: b"\xff\xd8\xff".to_vec(),
                columns: 2,
                pitch: 48,
                gap: 2,
            },
            notes: vec!["A note.".into()],
        }
    }

    #[test]
    fn points_lie_where_they_should_and_know_their_images() {
        let places = [[-10.0, 0.0], [10.0, 4.0], [0.0, -4.0]];
        let map = Map::Shown(plane(2, &places.map(|place| (place, Some(1)))));
        let text = map.section().into_string();
        for part in [
            "style=\"--x:2.0;--y:50.0;--c:0;--r:0\"",
            "class=\"m0\" style=\"--x:98.0;--y:11.6;--c:1;--r:0\"",
            "class=\"m0 up\" style=\"--x:50.0;--y:88.4;--c:0;--r:1\"",
            "style=\"aspect-ratio: 2.000; --most:7.0px\"",
            "a&lt;b&gt;.jpg<br>&quot;x&quot; &amp; y",
            "<bdi>&lt;1&gt;</bdi> <b>3</b>",
            "Map of 3 images",
            "A note.",
        ] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
        assert!(!text.contains("&lt;0&gt;"), "{text}");
        let style = map.style();
        assert!(
            style.contains("--pitch: 100.174px; --gap: 4.174px; --side: 96px;"),
            "{style}"
        );
        assert!(style.contains("204.522px auto"), "{style}");
        assert!(
            style.contains("url(data:image/jpeg;base64,/9j/)"),
            "{style}"
        );
    }

    #[test]
    fn many_points_are_smaller() {
        for (points, width) in [(0, "7.0"), (2000, "7.0"), (3000, "5.7"), (10_000, "4.0")] {
            let plane = plane(0, &vec![([0.0; 2], None); points]);
            assert_eq!(plane.width(), format!("--most:{width}px"), "{points}");
        }
    }

    #[test]
    fn of_many_groups_the_largest_are_told_apart() {
        let mut points: Vec<([f32; 2], Option<usize>)> = Vec::new();
        for group in 0..40 {
            let times = if group < 5 { 1 } else { 2 };
            points.extend(vec![([group as f32, 0.0], Some(group)); times]);
        }
        points.push(([0.0; 2], None));
        let plane = plane(50, &points);
        let kinds = Kinds::of(&plane);
        assert_eq!(kinds.0, (5..35).collect::<Vec<_>>());
        let classes = [5, 14, 15, 34, 35, 0].map(|group| kinds.class(Some(group)));
        assert_eq!(
            classes,
            ["m0", "m9", "m0 square", "m9 diamond", "rest", "rest"]
        );
        let text = plane.legend(&kinds).into_string();
        assert!(text.contains("other classes <b>16</b>"), "{text}");
        assert_eq!(text.matches("<li>").count(), 31);
    }

    #[test]
    fn without_groups_and_at_one_place_there_is_a_map_too() {
        for points in [
            vec![],
            vec![([3.0, 3.0], None)],
            vec![([0.0, 0.0], None); 3],
        ] {
            let plane = plane(0, &points);
            let text = plane.body().into_string();
            assert_eq!(text.matches("<label class=\"m0").count(), points.len());
            assert_eq!(text.matches("--x:50.0;--y:50.0").count(), points.len());
            assert!(!text.contains("<li>") && !text.contains("NaN"), "{text}");
        }
        let some = plane(1, &[([0.0; 2], None), ([1.0; 2], Some(0))]);
        let text = some.body().into_string();
        assert!(
            text.contains("without one of the classes <b>1</b>"),
            "{text}"
        );
    }
}
