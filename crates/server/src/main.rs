//! The command line of identityd.

mod cli;
mod logging;

use std::process::ExitCode;

use identity_terminal::command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // The future is boxed because it contains those of all commands.
    command::exit_code(Box::pin(cli::run(command::parse())).await)
}
