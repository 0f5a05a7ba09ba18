//! The protem command: parse, resolve, assemble, run.

mod args;
mod config;
mod failure;
mod features;
mod progress;
mod train;

use args::{Cli, Command, Config, Eval};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("protem: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Train(args) => train::train(args),
        Command::Eval(Eval::Knn(args)) => features::knn(args),
        Command::Embed(args) => features::embed(args),
        Command::Config(Config::Schema) => {
            let schema = schemars::schema_for!(protem_em::Settings);
            println!(
                "{}",
                serde_json::to_string_pretty(&schema).expect("a schema is JSON")
            );
            Ok(())
        }
        Command::Config(Config::Show { config, set }) => {
            let settings = config::load(config.as_deref(), false, &set)?;
            print!(
                "{}",
                toml::to_string_pretty(&settings).expect("settings are TOML")
            );
            Ok(())
        }
    }
}
