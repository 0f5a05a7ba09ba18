//! The protem command: parse, resolve, assemble, run.

mod advice;
mod allocator;
mod args;
mod arrays;
mod assign;
mod bench;
mod cluster;
mod clustered;
mod config;
mod console;
mod data;
mod doctor;
mod dry_run;
mod duplicates;
mod encoder;
mod encoders;
mod eval;
mod export;
mod failure;
mod features;
mod finetune;
mod gallery;
mod images;
mod labelled;
mod map;
mod map_of_run;
mod named;
mod outputs;
mod process;
mod progress;
mod prototypes;
mod ranks;
mod report;
mod room;
mod search;
mod serve;
mod shell_help;
mod svm;
mod system;
mod train;

use args::{Bench, Cli, Command, Config, Data, Eval};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use console::{say, warn};
use failure::Failure;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    process::keep_pages();
    let arguments = Cli::parsed().unwrap_or_else(|error| refused(&error));
    // Diagnostics only: what a run has to say is printed or in its folder.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
    system::fail_at_limits();
    match run(arguments.command) {
        Ok(()) => match console::lost() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                warn(format!("standard output cannot be written: {error}"));
                ExitCode::FAILURE
            }
        },
        Err(failure) => {
            warn(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// Ends as clap does; and where `train` is given a setting as an option, says how it is given.
fn refused(error: &clap::Error) -> ! {
    let training = std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "train");
    let option = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if training => config::as_setting(option),
        _ => None,
    };
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(setting) = option
    {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        warn(format!(
            "{}: write {setting}",
            first.trim_start_matches("error: ")
        ));
        std::process::exit(2);
    }
    error.exit()
}

fn run(command: Command) -> Result<(), Failure> {
    // A level that is not there would otherwise be passed over in silence.
    protem_ops::Isa::chosen().map_err(|e| Failure::usage(e.to_string()))?;
    match command {
        Command::Train(args) => train::train(args),
        Command::Eval(Eval::Knn(args)) => eval::knn(args),
        Command::Eval(Eval::Linear(args)) => eval::linear(args),
        Command::Eval(Eval::Svm(args)) => svm::run(args),
        Command::Eval(Eval::Probe(args)) => finetune::probe(args),
        Command::Eval(Eval::Finetune(args)) => finetune::finetune(args),
        Command::Eval(Eval::Ami(args)) => eval::cluster_agreement(args),
        Command::Embed(args) => features::embed(args),
        Command::Search(args) => search::run(&args),
        Command::Duplicates(args) => duplicates::run(&args),
        Command::Map(args) => map::run(&args),
        Command::Prototypes(args) => prototypes::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Cluster(args) => cluster::run(args),
        Command::Assign(args) => assign::run(&args),
        Command::Bench(Bench::Step { what, bench }) => bench::step(what, &bench),
        Command::Bench(Bench::Augment(args)) => bench::augment(&args),
        Command::Bench(Bench::Features { bench }) => bench::features(&bench),
        Command::Data(Data::Inspect(args)) => data::inspect(&args),
        Command::Data(Data::Pack(args)) => data::pack_shards(&args),
        Command::Data(Data::Show(args)) => data::show(&args),
        Command::Encoders(args) => encoders::list(&args),
        Command::Doctor { json } => doctor::report(json),
        Command::Completions { shell } => {
            say(shell_help::completions(shell).trim_end());
            Ok(())
        }
        Command::Man { out } => shell_help::manual(&out),
        Command::Config(Config::Schema) => {
            let schema = schemars::schema_for!(protem_em::Settings);
            say(serde_json::to_string_pretty(&schema).expect("a schema is JSON"));
            Ok(())
        }
        Command::Config(Config::Show { config, set }) => {
            let settings = config::load(config.as_deref(), &set)?;
            say(config::to_text(&settings).trim_end());
            Ok(())
        }
    }
}
