//! What shells and `man` tell of the commands: made of the arguments themselves.

use crate::args::Cli;
use crate::console::say;
use crate::failure::Failure;
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;

/// Completions for a shell.
pub fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "protem", &mut text);
    String::from_utf8(text).expect("made of text")
}

/// `protem man`.
pub fn manual(out: &Path) -> Result<(), Failure> {
    let refused = |error| Failure::usage(format!("cannot write to {}: {error}", out.display()));
    std::fs::create_dir_all(out).map_err(refused)?;
    clap_mangen::generate_to(Cli::command(), out).map_err(refused)?;
    say(format!(
        "manual pages in {}; man finds them where its path has the folder above",
        out.display()
    ));
    Ok(())
}
