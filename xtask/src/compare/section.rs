//! The table in the documentation: read, merged with new rows, written whole or not at all.

use std::io::ErrorKind;
use std::path::Path;

use super::Outcome;
use super::cases::{self, Metric};
use super::measure::{Pair, Rounds};

const HEADING: &str = "## Beside PyTorch";
const BEGIN: &str = "<!-- compare torch: begin -->";
const END: &str = "<!-- compare torch: end -->";
const INTRODUCTION: &str = "\
protem and PyTorch run in turn; each figure is the median over the rounds of a run's median, \
the ratio is protem's over PyTorch's (lower is better), and beside it are the lowest and highest ratio of one round. \
In brackets stands the instruction set that protem chose. \
Times on one thread are process CPU time, on more wall time. \
\"Others\" are the CPUs that other programs kept busy meanwhile: beside them a wall time says little. \
Memory is the resident peak above what is resident before the network is there. \
A step is forward, backward and SGD; features are all layers before the last, in evaluation mode. \
PyTorch runs channels-last, bf16 by autocast. \
AVX2 rows: `PROTEM_ISA=avx2` against `ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`.";
const COLUMNS: &str = "\
| | protem | PyTorch | ratio | of one round | others | run |
|---|---|---|---|---|---|---|";

/// A file of documentation: the table, and the text around it, which stays as it is.
pub struct Document {
    before: String,
    rows: Vec<Row>,
    after: String,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    name: String,
    /// As they stand in the table, the run's number left out.
    cells: String,
    /// Machine, versions and command, which the table's lines share by number.
    setting: String,
}

impl Row {
    /// A row from all rounds of its case.
    pub fn new(name: String, metric: Metric, rounds: &Rounds, setting: &str) -> Self {
        let pairs = &rounds.pairs;
        let median_of = |value: fn(&Pair, Metric) -> f64| {
            median(pairs.iter().map(|pair| value(pair, metric)).collect())
        };
        let protem = median_of(|pair, metric| pair.protem.value(metric));
        let torch = median_of(|pair, metric| pair.torch.value(metric));
        let ratios = pairs
            .iter()
            .map(|pair| pair.protem.value(metric) / pair.torch.value(metric));
        let (lowest, highest) = ratios.fold((f64::INFINITY, 0.0_f64), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        let show = match metric {
            Metric::Time => seconds,
            Metric::Memory => bytes,
        };
        let isa = pairs.first().and_then(|pair| pair.protem.isa.as_deref());
        let isa = match (metric, isa) {
            (Metric::Time, Some(isa)) => format!(" ({isa})"),
            _ => String::new(),
        };
        let cells = format!(
            "{}{isa} | {} | {:.2} | {lowest:.2} to {highest:.2} | {:.1}",
            show(protem),
            show(torch),
            protem / torch,
            rounds.others
        );
        Self {
            name,
            cells,
            setting: setting.to_owned(),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = (values.len() - 1) / 2;
    (values[lower] + values[upper]) / 2.0
}

fn seconds(seconds: f64) -> String {
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.3} s")
    }
}

fn bytes(bytes: f64) -> String {
    let mebibytes = bytes / f64::from(1 << 20);
    if mebibytes < 1000.0 {
        format!("{mebibytes:.0} MiB")
    } else {
        format!("{:.2} GiB", mebibytes / 1024.0)
    }
}

impl Document {
    /// Reads a file; one that has no table, or is not there, gets it at its end.
    pub fn read(file: &Path) -> Outcome<Self> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text).map_err(|e| format!("{}: {e}", file.display())),
            Err(e) if e.kind() == ErrorKind::NotFound && has_folder(file) => Self::parse(""),
            Err(e) => Err(format!(
                "{}: {e}; name another file with --out FILE",
                file.display()
            )),
        }
    }

    fn parse(text: &str) -> Outcome<Self> {
        let counts = [BEGIN, END].map(|marker| text.matches(marker).count());
        let parts = text
            .split_once(BEGIN)
            .and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
        match (counts, parts) {
            ([0, 0], _) => {
                let gap = if text.is_empty() { "" } else { "\n\n" };
                Ok(Self {
                    before: format!("{}{gap}{HEADING}\n\n", text.trim_end()),
                    rows: Vec::new(),
                    after: "\n".into(),
                })
            }
            ([1, 1], Some((before, (table, after)))) => Ok(Self {
                before: before.to_owned(),
                rows: rows(table)?,
                after: after.to_owned(),
            }),
            _ => Err(format!(
                "it should hold `{BEGIN}` and after it `{END}` once each; mend it, or remove both and the table is put at the end"
            )),
        }
    }

    /// Puts new rows in the place of old ones of the same name; the order is that of the cases.
    pub fn merge(&mut self, new: Vec<Row>) {
        let replaced = |row: &Row| new.iter().any(|new| new.name == row.name);
        self.rows.retain(|row| !replaced(row));
        self.rows.extend(new);
        let order = cases::row_names();
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
        format!("{BEGIN}\n{INTRODUCTION}\n\n{COLUMNS}\n{table}\nRuns:\n\n{settings}{END}")
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
    use super::super::measure::Sample;
    use super::*;

    fn pair(protem: f64, torch: f64) -> Pair {
        let sample = |seconds: f64| Sample {
            seconds,
            peak_bytes: seconds * 1e9,
            isa: Some("amx".into()),
        };
        Pair {
            protem: sample(protem),
            torch: sample(torch),
        }
    }

    fn rounds<const N: usize>(pairs: [Pair; N]) -> Rounds {
        Rounds {
            pairs: pairs.into(),
            others: 0.25,
        }
    }

    fn row_named(place: usize, protem: f64, setting: &str) -> Row {
        let name = cases::row_names()[place].clone();
        Row::new(name, Metric::Time, &rounds([pair(protem, 1.0)]), setting)
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
    fn a_row_has_medians_over_rounds_and_the_range_of_ratios() {
        let three = rounds([pair(1.0, 2.0), pair(3.0, 2.0), pair(2.0, 4.0)]);
        let two = rounds([pair(1.0, 2.0), pair(3.0, 2.0)]);
        let time = Row::new("row".into(), Metric::Time, &three, "s");
        assert_eq!(
            time.cells,
            "2.000 s (amx) | 2.000 s | 1.00 | 0.50 to 1.50 | 0.2"
        );
        let memory = Row::new("row".into(), Metric::Memory, &two, "s");
        assert_eq!(
            memory.cells,
            "1.86 GiB | 1.86 GiB | 1.00 | 0.50 to 1.50 | 0.2"
        );
        assert_eq!(seconds(0.0123), "12.3 ms");
        assert_eq!(bytes(5e7), "48 MiB");
    }

    #[test]
    fn a_text_without_a_table_gets_it_at_the_end() {
        let mut document = Document::parse("# Title\n\ntext\n").unwrap();
        document.merge(vec![row_named(0, 0.5, "here")]);
        let text = whole(&document);
        assert!(text.starts_with("# Title\n\ntext\n\n## Beside PyTorch\n\n<!-- compare"));
        assert!(text.ends_with("1. here\n<!-- compare torch: end -->\n"));
    }

    #[test]
    fn the_text_around_the_table_stays_and_so_do_rows_not_measured() {
        let mut document = Document::parse("before\n").unwrap();
        let old = vec![row_named(0, 0.5, "old"), row_named(2, 0.7, "old")];
        document.merge(old.clone());
        let text = format!("{}\n## After | it\n", whole(&document));

        let mut document = Document::parse(&text).unwrap();
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
        let mut document = Document::parse("").unwrap();
        let gone = Row {
            name: "of old".into(),
            ..row_named(0, 1.0, "a")
        };
        document.merge(vec![gone, row_named(5, 0.5, "b"), row_named(1, 0.5, "a")]);
        let known = cases::row_names();
        assert_eq!(names(&document), [&known[1], &known[5], "of old"]);
        let again = Document::parse(&whole(&document)).unwrap();
        assert_eq!(again.rows, document.rows);
    }

    #[test]
    fn a_setting_no_row_has_any_more_is_dropped() {
        let mut document = Document::parse("").unwrap();
        document.merge(vec![row_named(0, 0.5, "old")]);
        document.merge(vec![row_named(0, 0.4, "new")]);
        assert!(document.section().contains("\n1. new\n"));
        assert!(!document.section().contains("old"));
    }

    #[test]
    fn broken_markers_and_rows_are_refused() {
        let mut document = Document::parse("").unwrap();
        document.merge(vec![row_named(0, 0.5, "here")]);
        let text = whole(&document);
        assert!(Document::parse(&text).is_ok());
        for broken in [
            text.replace(END, ""),
            text.replace(BEGIN, ""),
            format!("{END}{BEGIN}"),
            format!("{text}{text}"),
            text.replace("\n1. here", ""),
            text.replace(" | 1 |", " | x |"),
        ] {
            assert!(Document::parse(&broken).is_err(), "{broken}");
        }
    }
}
