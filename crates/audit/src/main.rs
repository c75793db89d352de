//! `identity-audit`: what an auditor needs and nothing else. It has the commands of `identityd audit` that need neither the
//! service nor its database.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use identity_audit::command::VerifyFlags;
use identity_terminal::progress::ProgressLines;
use identity_terminal::{Output, command};

/// Verifies the history of an organization from a file, without the service and without a database.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Print JSON, one value a line
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verify an export
    Verify(VerifyFlags),
}

fn main() -> ExitCode {
    command::exit_code(run(command::parse()))
}

fn run(Arguments { json, command: Command::Verify(flags) }: Arguments) -> anyhow::Result<()> {
    let mut progress = ProgressLines::start("verify");
    let report = flags.verify(|done| progress.reached(done, None))?;
    flags.print(&report, Output { json })
}
