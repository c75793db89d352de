use std::io;
use std::sync::{Arc, Mutex};

use anyhow::anyhow;
use tracing_subscriber::fmt::format::DefaultFields;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

use super::PlainFields;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn logged(fields: impl for<'writer> FormatFields<'writer> + Send + Sync + 'static) -> String {
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(lines.clone());
    tracing::subscriber::with_default(log.fmt_fields(fields).finish(), || {
        let error = anyhow!("no such file").context("cannot read it");
        let (text, odd, none) = ("plain text", "a \"quoted\"\nline \u{1b}[31m \\", None::<u64>);
        tracing::info!(text, odd, none, number = 7, negative = -7, yes = true, shown = %"x y", "request");
        tracing::error!(error = &*error as &dyn std::error::Error, "failed {}", 1);
        tracing::warn!("only a message");
    });
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn lines_read_as_tracing_itself_writes_them() {
    let lines = logged(PlainFields);
    assert_eq!(lines, logged(DefaultFields::new()));
    assert!(lines.contains("error=cannot read it error.sources=[no such file]"), "{lines}");
}
