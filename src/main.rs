//! The command line of fournil; all it does is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use fournil::{
    cli::{Cli, Command},
    client::{self, Terminal},
    config::{Config, is_root},
    credentials::{provider::EnvironmentSource, rotation},
    serve, sweep, telemetry,
};

fn main() -> ExitCode {
    // Before there is a second thread: what goes into namespaces has to be alone.
    if let Some(code) = fournil::cell::as_program_of_a_cell() {
        return code;
    }
    let cli = Cli::from_process();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fournil: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("could not start")?;
    match cli.command {
        Command::Serve(arguments) => {
            let environment = EnvironmentSource::of_process().variables;
            let config = Config::load(&arguments.settings(), &environment, is_root())?;
            telemetry::init(config.log_format, environment.get("RUST_LOG").map(String::as_str))?;
            runtime.block_on(serve::run(config, environment))
        }
        Command::Sweep(arguments) => {
            let environment = EnvironmentSource::of_process();
            Ok(runtime.block_on(sweep::run(&arguments, environment, &Terminal::of_process())))
        }
        Command::RotateKey(arguments) => {
            let environment = EnvironmentSource::of_process();
            Ok(runtime.block_on(rotation::run(&arguments, environment, &Terminal::of_process())))
        }
        Command::Openapi => {
            print!("{}", fournil::api::openapi_yaml());
            Ok(ExitCode::SUCCESS)
        }
        Command::Client(command) => Ok(runtime.block_on(async {
            client::run(command, &Terminal::of_process(), client::interrupts()).await.into()
        })),
    }
}
