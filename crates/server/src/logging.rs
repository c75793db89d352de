//! The log: structured, on standard error, since standard output is for what a command was asked for. Beside it, traces
//! for whoever collects them.

mod plain_fields;

use std::io::{self, BufWriter};

use anyhow::Context as _;
use clap::ValueEnum;
use identityd::traces::Traces;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::plain_fields::PlainFields;

/// How many bytes are written at once, if as many have gathered.
const BUFFER: usize = 64 * 1024;

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts to log, at the levels of `RUST_LOG` or else at this one; and to trace, if there is somewhere to send traces.
///
/// Requests do not wait for their lines to be written: a thread writes what has gathered, and keeps everything. When what
/// is returned is dropped, all of it is written.
pub(crate) fn start(
    format: Format,
    level: LevelFilter,
    traces: Option<&Traces>,
) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env();
    // Left out: what Postgres notes at every start, that the table of migrations exists.
    let filter =
        filter.context("RUST_LOG is not valid")?.add_directive("sqlx::postgres::notice=warn".parse()?);
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(false).finish(BufWriter::with_capacity(BUFFER, io::stderr()));
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    let log = match format {
        Format::Text if io::IsTerminal::is_terminal(&io::stderr()) => log.boxed(),
        Format::Text => log.with_ansi(false).fmt_fields(PlainFields).boxed(),
        Format::Json => log.json().flatten_event(true).boxed(),
    };
    // Spans are for traces. Without them nobody is interested in spans, and none is made.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is of one lifetime alone"
    )]
    let only_events = filter_fn(|metadata| metadata.is_event());
    let log = log.with_filter(filter.and(only_events));
    let registry = tracing_subscriber::registry().with(log).with(traces.map(Traces::layer));
    registry.try_init().context("cannot start the log")?;
    Ok(guard)
}
