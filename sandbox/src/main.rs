//! The command `oapi-sandbox`: reads its configuration, serves until it is told to stop.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use clap::Parser;
use oapi_sandbox::{
    backend::ns,
    config::{Command, Config},
    server::Sandbox,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    // The first process of a namespace VM is this program too; it must not start any thread.
    ns::run_if_vm_init();
    let config = Config::parse();
    if config.command == Some(Command::Schema) {
        return print(&format!("{:#}", oapi_sandbox::schema()));
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    tokio::runtime::Runtime::new().context("could not start the runtime")?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        stopping.cancel();
    });
    let sandbox = tokio::select! {
        sandbox = Sandbox::build(&config) => sandbox?,
        () = stop.cancelled() => return Ok(()),
    };
    print(&format!("oapi-sandbox listening on {}", sandbox.url()?))?;
    sandbox.serve(stop).await
}

/// One line on standard output, at once: whoever started the sandbox waits for it.
fn print(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("could not write to standard output")
}
