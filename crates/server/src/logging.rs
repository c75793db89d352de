//! The log: structured, on standard error, since standard output is for what a command was asked for. Beside it, traces
//! for whoever collects them.

mod plain_fields;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use identity_log::recorded::timestamp;
use identityd::traces::Traces;
use time::OffsetDateTime;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::plain_fields::PlainFields;

/// How many bytes are written at once, if as many have gathered.
const BUFFER: usize = 64 * 1024;

/// How long lines gather after some were written. A thread that waits for every single one would have to be woken for it,
/// by the request that wrote it.
const REST: Duration = Duration::from_millis(5);

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
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .finish(Resting(BufWriter::with_capacity(BUFFER, io::stderr())));
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    let log = match format {
        Format::Text if io::IsTerminal::is_terminal(&io::stderr()) => log.fmt_fields(PlainFields).boxed(),
        Format::Text => log.with_ansi(false).with_timer(Clock).fmt_fields(PlainFields).boxed(),
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

/// Moments as they are written everywhere, digit by digit and not by a format string.
struct Clock;

impl FormatTime for Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "a line of the log is written when it is written, not when an event was"
    )]
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&timestamp(OffsetDateTime::now_utc()))
    }
}

/// A writer that takes a rest whenever everything is written.
struct Resting<W>(W);

impl<W: Write> Write for Resting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(REST);
        Ok(())
    }
}
