//! The log: structured, on standard error, since standard output is for what a command was asked for.

use std::io;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts to log, at the levels of `RUST_LOG` or else at this one.
pub(crate) fn start(format: Format, level: LevelFilter) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env();
    // Left out: what Postgres notes at every start, that the table of migrations exists.
    let filter =
        filter.context("RUST_LOG is not valid")?.add_directive("sqlx::postgres::notice=warn".parse()?);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        Format::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
