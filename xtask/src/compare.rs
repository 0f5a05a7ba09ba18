//! `cargo xtask compare`: protem and a peer measured in turn, the ratios written into the documentation.
//!
//! Here is what the peers have in common: options, the two programs, the table's file. What is
//! compared with each of them, and the columns of its table, is in a folder of its own.

pub mod faiss;
mod load;
mod machine;
pub mod pcl;
mod program;
mod python;
mod rounds;
mod section;
pub mod torch;
pub mod torchvision;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::target::{root, target_folder};
use section::{Document, Row, Table};

/// What went wrong and what the user can do about it.
type Outcome<T> = Result<T, String>;

/// How to compare.
#[derive(clap::Args)]
pub struct Options {
    /// Only rows whose name contains this; the others keep what the table says
    #[arg(
        long,
        value_name = "SUBSTRING",
        default_value = "",
        hide_default_value = true
    )]
    only: String,
    /// How often each of the two is run, in turn; the table has the median over the rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Timed iterations in each run
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    iters: u32,
    /// A Python interpreter that has the peer; without it one is set up in the target folder
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// A protem binary; without it the release build is brought up to date
    #[arg(long, value_name = "PATH")]
    protem: Option<PathBuf>,
    /// The file that holds the table [default: docs/benchmarks.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the options lead to.
struct Ready {
    protem: PathBuf,
    python: PathBuf,
    /// This repository.
    root: PathBuf,
    /// For what peers need and what is made for them.
    folder: PathBuf,
    book: Book,
}

/// The file with the table.
struct Book {
    file: PathBuf,
    table: &'static Table,
}

impl Options {
    /// Checks the file, then sets up the peer and builds protem.
    fn prepare(
        &self,
        table: &'static Table,
        peer: &python::Peer,
        set_up: impl Fn(&Path) -> Outcome<PathBuf>,
    ) -> Outcome<Ready> {
        if !cfg!(target_os = "linux") {
            return Err("what programs use is read in /proc: run it on Linux".into());
        }
        let root = root().to_path_buf();
        let default_out = || root.join("docs/benchmarks.md");
        let file = self.out.clone().unwrap_or_else(default_out);
        // A file that could not take the table should be found out before an hour of measuring.
        Document::read(&file, table)?;
        let target = target_folder(&root)?;
        let folder = target.join("peers");
        let python = match &self.python {
            Some(path) => path.clone(),
            None => set_up(&folder)?,
        };
        peer.version(&python)
            .map_err(|e| format!("{e}\nleave --python out to have {} set up", peer.name))?;
        let protem = match &self.protem {
            Some(path) => path.clone(),
            None => build(&root, &target)?,
        };
        Ok(Ready {
            protem,
            python,
            root,
            folder,
            book: Book { file, table },
        })
    }

    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Those of all cases, each of one row, whose row is wanted.
    fn chosen<C: Clone>(&self, all: &[C], name: fn(&C) -> String) -> Outcome<Vec<C>> {
        let mut cases = all.to_vec();
        cases.retain(|case| self.wants(&name(case)));
        match cases.is_empty() {
            true => Err(self.none_of(&all.iter().map(name).collect::<Vec<_>>())),
            false => Ok(cases),
        }
    }

    /// What to say when no row is wanted.
    fn none_of(&self, names: &[String]) -> String {
        format!(
            "no row's name contains `{}`; the rows are\n  {}",
            self.only,
            names.join("\n  ")
        )
    }
}

impl Book {
    /// Writes rows down as soon as they are there.
    fn note(&self, rows: Vec<Row>) -> Outcome<()> {
        let mut document = Document::read(&self.file, self.table)?;
        document.merge(rows);
        document.write(&self.file)
    }

    fn print(&self) -> Outcome<()> {
        println!("{}", Document::read(&self.file, self.table)?.section());
        Ok(())
    }
}

fn build(root: &Path, target: &Path) -> Outcome<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "-p", "protem"])
        .current_dir(root)
        .status();
    match status {
        Ok(status) if status.success() => Ok(target.join("release/protem")),
        _ => Err("protem does not build (cargo's words are above); mend it, or name a built one with --protem PATH".into()),
    }
}
