//! The log: structured, on standard error, since standard output is for the results of commands. Traces are set up here,
//! too, if there is a collector.

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
use tracing_subscriber::filter::{FilterExt as _, dynamic_filter_fn, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::plain_fields::PlainFields;

/// How many bytes are written at once, if as many have gathered.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the writing thread sleeps after each write, so that lines gather. Without the sleep, each request would have
/// to wake the thread for its own line.
const GATHER_TIME: Duration = Duration::from_millis(5);

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
/// Requests do not wait for their lines to be written: a thread writes the lines that have gathered, and loses none. When
/// the returned guard is dropped, the remaining lines are written.
pub(crate) fn start(
    format: Format,
    level: LevelFilter,
    traces: Option<&Traces>,
) -> anyhow::Result<WorkerGuard> {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env();
    // At every start Postgres notes that the table of migrations exists. That notice is left out.
    let filter =
        filter.context("RUST_LOG is not valid")?.add_directive("sqlx::postgres::notice=warn".parse()?);
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .finish(Gathering(BufWriter::with_capacity(BUFFER_BYTES, io::stderr())));
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    let log = match format {
        Format::Text if io::IsTerminal::is_terminal(&io::stderr()) => log.fmt_fields(PlainFields).boxed(),
        Format::Text => log.with_ansi(false).with_timer(Clock).fmt_fields(PlainFields).boxed(),
        Format::Json => log.json().flatten_event(true).boxed(),
    };
    // Spans are for traces alone.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is of one lifetime alone"
    )]
    let only_events = filter_fn(|metadata| metadata.is_event());
    // `log_enabled!`, which sqlx calls for each notice of Postgres, stores the answer of the filter for this thread. If the
    // answer was no and the filter is not asked again, the next event of the thread is lost. A dynamic filter is asked for every
    // event.
    let asked_each_time = dynamic_filter_fn(|_, _| true);
    let log = log.with_filter(filter.and(only_events).and(asked_each_time));
    let registry = tracing_subscriber::registry().with(log);
    // A layer that is none would be interested in spans, so without traces there is no second layer, and no span is made.
    let started = match traces {
        Some(traces) => registry.with(traces.layer()).try_init(),
        None => registry.try_init(),
    };
    started.context("cannot start the log")?;
    Ok(guard)
}

/// Timestamps in the format of events, written without a format string.
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

/// A writer that sleeps for `GATHER_TIME` after each flush.
struct Gathering<W>(W);

impl<W: Write> Write for Gathering<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(GATHER_TIME);
        Ok(())
    }
}
