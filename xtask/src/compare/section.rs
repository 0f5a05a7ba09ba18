//! The table in the documentation: read, merged with new rows, written whole or not at all.

use std::io::ErrorKind;
use std::path::Path;

use super::Outcome;

/// What a peer's table is like.
pub struct Table {
    /// The peer, as in the markers around the table.
    pub peer: &'static str,
    pub heading: &'static str,
    pub introduction: &'static str,
    /// The names of the columns and the line below them. The first column has the rows' names,
    /// the last one the numbers of their runs.
    pub columns: &'static str,
    /// The rows' names in order.
    pub order: fn() -> Vec<String>,
}

/// A file of documentation: the table, and the text around it, which stays as it is.
pub struct Document {
    kind: &'static Table,
    before: String,
    rows: Vec<Row>,
    after: String,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// As they stand in the table, the run's number left out.
    pub cells: String,
    /// Machine, versions and command, which the table's lines share by number.
    pub setting: String,
}

impl Table {
    fn begin(&self) -> String {
        format!("<!-- compare {}: begin -->", self.peer)
    }

    fn end(&self) -> String {
        format!("<!-- compare {}: end -->", self.peer)
    }
}

impl Document {
    /// Reads a file; one that has no table, or is not there, gets it at its end.
    pub fn read(file: &Path, kind: &'static Table) -> Outcome<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, kind).map_err(|e| format!("{}: {e}", file.display())),
            Err(e) if e.kind() == ErrorKind::NotFound && has_folder(file) => Self::parse("", kind),
            Err(e) => Err(format!(
                "{}: {e}; name another file with --out FILE",
                file.display()
            )),
        }
    }

    fn parse(text: &str, kind: &'static Table) -> Outcome<Self> {
        let (begin, end) = (kind.begin(), kind.end());
        let counts = [&begin, &end].map(|marker| text.matches(marker.as_str()).count());
        let parts = text
            .split_once(&begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
        match (counts, parts) {
            ([0, 0], _) => {
                let gap = if text.is_empty() { "" } else { "\n\n" };
                Ok(Self {
                    kind,
                    before: format!("{}{gap}{}\n\n", text.trim_end(), kind.heading),
                    rows: Vec::new(),
                    after: "\n".into(),
                })
            }
            ([1, 1], Some((before, (table, after)))) => Ok(Self {
                kind,
                before: before.to_owned(),
                rows: rows(table)?,
                after: after.to_owned(),
            }),
            _ => Err(format!(
                "it should hold `{begin}` and after it `{end}` once each; mend it, or remove both and the table is put at the end"
            )),
        }
    }

    /// Puts new rows in the place of old ones of the same name; the order is that of the cases.
    pub fn merge(&mut self, new: Vec<Row>) {
        let replaced = |row: &Row| new.iter().any(|new| new.name == row.name);
        self.rows.retain(|row| !replaced(row));
        self.rows.extend(new);
        let order = (self.kind.order)();
        let place = |row: &Row| order.iter().position(|name| *name == row.name);
        // A row whose case is gone stays, at the end, until somebody takes it out.
        self.rows
            .sort_by_key(|row| place(row).unwrap_or(usize::MAX));
    }

    /// The table with its markers.
    pub fn section(&self) -> String {
        let mut settings: Vec<&str> = Vec::new();
        let mut table = String::new();
        for row in &self.rows {
            let known = settings.iter().position(|known| *known == row.setting);
            let number = known.unwrap_or_else(|| {
                settings.push(&row.setting);
                settings.len() - 1
            });
            table += &format!("| {} | {} | {} |\n", row.name, row.cells, number + 1);
        }
        let settings: String = (1..)
            .zip(settings)
            .map(|(number, setting)| format!("{number}. {setting}\n"))
            .collect();
        let (begin, end) = (self.kind.begin(), self.kind.end());
        let (introduction, columns) = (self.kind.introduction, self.kind.columns);
        format!("{begin}\n{introduction}\n\n{columns}\n{table}\nRuns:\n\n{settings}{end}")
    }

    /// Writes aside and renames, so that the file is never half written.
    pub fn write(&self, file: &Path) -> Outcome<()> {
        let text = format!("{}{}{}", self.before, self.section(), self.after);
        let mut aside = file.as_os_str().to_owned();
        aside.push(".new");
        std::fs::write(&aside, text)
            .and_then(|()| std::fs::rename(&aside, file))
            .map_err(|e| {
                format!(
                    "{} cannot be written: {e}; name another file with --out FILE",
                    file.display()
                )
            })
    }
}

fn has_folder(file: &Path) -> bool {
    std::path::absolute(file).is_ok_and(|file| file.parent().is_some_and(Path::is_dir))
}

/// The rows of a table as [`Document::section`] writes it.
fn rows(table: &str) -> Outcome<Vec<Row>> {
    let settings: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            let (number, setting) = line.split_once(". ")?;
            number.parse::<usize>().ok().map(|_| setting)
        })
        .collect();
    let lines = table.lines().filter(|line| line.starts_with("| "));
    lines
        .skip(1) // the names of the columns
        .map(|line| row(line, &settings).ok_or_else(|| format!("this row of the table is broken, or its run is not listed; mend or remove it: {line}")))
        .collect()
}

fn row(line: &str, settings: &[&str]) -> Option<Row> {
    let (name, rest) = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split_once(" | ")?;
    let (cells, number) = rest.rsplit_once(" | ")?;
    let number: usize = number.parse().ok()?;
    Some(Row {
        name: name.to_owned(),
        cells: cells.to_owned(),
        setting: (*settings.get(number.checked_sub(1)?)?).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- compare torch: begin -->";
    const END: &str = "<!-- compare torch: end -->";

    static TABLE: Table = Table {
        peer: "torch",
        heading: "## Beside PyTorch",
        introduction: "What it says.",
        columns: "| | protem | run |\n|---|---|---|",
        order,
    };

    fn order() -> Vec<String> {
        (0..6).map(|place| format!("row {place}")).collect()
    }

    fn parse(text: &str) -> Outcome<Document> {
        Document::parse(text, &TABLE)
    }

    fn row_named(place: usize, protem: f64, setting: &str) -> Row {
        Row {
            name: order()[place].clone(),
            cells: format!("{protem} s | 0.2"),
            setting: setting.to_owned(),
        }
    }

    fn names(document: &Document) -> Vec<&str> {
        document.rows.iter().map(|row| row.name.as_str()).collect()
    }

    fn whole(document: &Document) -> String {
        format!(
            "{}{}{}",
            document.before,
            document.section(),
            document.after
        )
    }

    #[test]
    fn a_text_without_a_table_gets_it_at_the_end() {
        let mut document = parse("# Title\n\ntext\n").unwrap();
        document.merge(vec![row_named(0, 0.5, "here")]);
        let text = whole(&document);
        assert!(text.starts_with("# Title\n\ntext\n\n## Beside PyTorch\n\n<!-- compare"));
        assert!(text.ends_with("1. here\n<!-- compare torch: end -->\n"));
    }

    #[test]
    fn the_text_around_the_table_stays_and_so_do_rows_not_measured() {
        let mut document = parse("before\n").unwrap();
        let old = vec![row_named(0, 0.5, "old"), row_named(2, 0.7, "old")];
        document.merge(old.clone());
        let text = format!("{}\n## After | it\n", whole(&document));

        let mut document = parse(&text).unwrap();
        assert_eq!(document.rows, old);
        assert_eq!(whole(&document), text);
        let new = row_named(2, 0.6, "new");
        document.merge(vec![new.clone()]);
        assert_eq!(document.rows, [old[0].clone(), new]);
        let text = whole(&document);
        assert!(text.starts_with("before\n\n## Beside PyTorch"));
        assert!(text.ends_with("1. old\n2. new\n<!-- compare torch: end -->\n\n## After | it\n"));
    }

    #[test]
    fn rows_stand_in_the_order_of_the_cases_and_unknown_ones_last() {
        let mut document = parse("").unwrap();
        let gone = Row {
            name: "of old".into(),
            ..row_named(0, 1.0, "a")
        };
        document.merge(vec![gone, row_named(5, 0.5, "b"), row_named(1, 0.5, "a")]);
        let known = order();
        assert_eq!(names(&document), [&known[1], &known[5], "of old"]);
        let again = parse(&whole(&document)).unwrap();
        assert_eq!(again.rows, document.rows);
    }

    #[test]
    fn a_setting_no_row_has_any_more_is_dropped() {
        let mut document = parse("").unwrap();
        document.merge(vec![row_named(0, 0.5, "old")]);
        document.merge(vec![row_named(0, 0.4, "new")]);
        assert!(document.section().contains("\n1. new\n"));
        assert!(!document.section().contains("old"));
    }

    #[test]
    fn broken_markers_and_rows_are_refused() {
        let mut document = parse("").unwrap();
        document.merge(vec![row_named(0, 0.5, "here")]);
        let text = whole(&document);
        assert!(parse(&text).is_ok());
        for broken in [
            text.replace(END, ""),
            text.replace(BEGIN, ""),
            format!("{END}{BEGIN}"),
            format!("{text}{text}"),
            text.replace("\n1. here", ""),
            text.replace(" | 1 |", " | x |"),
        ] {
            assert!(parse(&broken).is_err(), "{broken}");
        }
    }
}
