//! A backup that is verified in threads of its own, while its rows are written.

use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context as _, bail};
use rayon::ThreadPoolBuilder;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::format::Section;
use super::reader::Reader;
use super::verify::{self, BackupPart, Verified};

/// How many parts of the backup wait until they are written.
const MAX_WAITING_PARTS: usize = 4;

/// A backup that is to be restored.
#[derive(Debug, Clone, Copy)]
pub struct Backup<'a> {
    /// The file.
    pub path: &'a Path,
    /// The verifier key of the installation, under any name; without it signatures are not checked.
    pub key: Option<&'a str>,
}

/// How many threads verify: one core is left to Postgres, which is as busy.
fn threads() -> usize {
    available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// A verification that is under way. If it is dropped, the threads end.
pub(super) struct Verifying {
    parts: mpsc::Receiver<BackupPart>,
    verification: JoinHandle<anyhow::Result<Verified>>,
    /// How many rows were handed over.
    pub(super) rows: u64,
    /// How many rows the backup has.
    pub(super) all_rows: u64,
}

impl Verifying {
    pub(super) fn begin(reader: Reader, key: Option<&str>) -> anyhow::Result<Self> {
        let (sender, parts) = mpsc::channel(MAX_WAITING_PARTS);
        let (key, all_rows) = (key.map(str::to_owned), reader.head().all_rows());
        let threads = ThreadPoolBuilder::new().num_threads(threads()).build()?;
        let read = move || {
            verify::read(reader, key.as_deref(), |part| {
                sender.blocking_send(part).context("the restore has ended before the verification")
            })
        };
        Ok(Self { parts, verification: spawn_blocking(move || threads.install(read)), rows: 0, all_rows })
    }

    /// The next table; `None` at the end of the backup.
    pub(super) async fn next_section(&mut self) -> anyhow::Result<Option<Section>> {
        match self.parts.recv().await {
            Some(BackupPart::Section(section)) => Ok(Some(section)),
            Some(BackupPart::Rows(..) | BackupPart::SectionEnd) => bail!("rows of the backup were left over"),
            None => Ok(None),
        }
    }

    /// The next rows of the table; `None` at their end. Fails if the verification does.
    pub(super) async fn next_rows(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        match self.parts.recv().await {
            Some(BackupPart::Rows(block, rows)) => {
                self.rows += rows;
                Ok(Some(block))
            }
            Some(BackupPart::SectionEnd) => Ok(None),
            Some(BackupPart::Section(_)) => bail!("the rows of a table of the backup have no end"),
            None => self.fail().await,
        }
    }

    /// Verifies the rest without writing it. `progress` hears how many rows are read, and how many there are.
    pub(super) async fn skip(mut self, mut progress: impl FnMut(u64, u64)) -> anyhow::Result<Verified> {
        while let Some(part) = self.parts.recv().await {
            if let BackupPart::Rows(_, rows) = part {
                self.rows += rows;
                progress(self.rows, self.all_rows);
            }
        }
        self.finish().await
    }

    /// The result. Fails if a byte of the backup is not the one that was written.
    pub(super) async fn finish(self) -> anyhow::Result<Verified> {
        drop(self.parts);
        self.verification.await?
    }

    /// Why the verification has ended early.
    async fn fail<T>(&mut self) -> anyhow::Result<T> {
        (&mut self.verification).await??;
        bail!("the verification of the backup has ended before the backup")
    }
}
