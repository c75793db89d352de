//! The committer: the one task of a process that writes to the log.

use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::connection::Connector;
use super::deps::Deps;
use super::metrics::Metrics;
use super::notifier::Notifier;
use super::pipeline::Pipeline;
use super::queue::Job;
use super::trial::Trial;
use crate::read_model::{Observer, ReadModel};
use crate::settings::Settings;

/// The one task of a process that writes to the log. Run it with [`Committer::run`].
pub struct Committer {
    connector: Connector,
    jobs: mpsc::Receiver<Job>,
    deps: Deps,
    news: watch::Receiver<()>,
}

impl std::fmt::Debug for Committer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Committer").finish_non_exhaustive()
    }
}

impl Committer {
    pub(crate) fn new(
        process: Uuid,
        options: PgConnectOptions,
        jobs: mpsc::Receiver<Job>,
        read_models: Vec<Arc<dyn ReadModel>>,
        settings: Settings,
        trial: &Trial,
    ) -> Self {
        let (observers, metrics) = (vec![], Metrics::default());
        let (last_commit, clock_guard) = (trial.last_commit().clone(), trial.clock_guard().clone());
        let (committed, news) = watch::channel(());
        let deps =
            Deps { process, read_models, settings, observers, metrics, last_commit, clock_guard, committed };
        Self { connector: Connector::new(options), jobs, deps, news }
    }

    /// Adds an observer. It is told of every batch when the batch is sent, and of the outcome before the callers are answered.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn Observer>) -> Self {
        self.deps.observers.push(observer);
        self
    }

    /// Counts commits with these metrics.
    #[must_use]
    pub fn counted_by(mut self, metrics: Metrics) -> Self {
        self.deps.metrics = metrics;
        self
    }

    /// Takes a connection from the readers if Postgres has none left: writes come before reads.
    #[must_use]
    pub fn before_readers(mut self, readers: PgPool) -> Self {
        self.connector = self.connector.before(readers);
        self
    }

    /// Commits until the last [`Log`](crate::Log) is dropped and every waiting command has its answer.
    pub async fn run(self) {
        let Self { connector, mut jobs, deps, news } = self;
        let notifying = tokio::spawn(Notifier::new(connector.clone(), news).run());
        let mut pipeline = Pipeline::new(connector, deps);
        pipeline.connect().await;
        let mut last_batch_size = 0;
        loop {
            let batch = pipeline.gather(&mut jobs, last_batch_size).await;
            if batch.is_empty() {
                break;
            }
            last_batch_size = batch.len();
            pipeline.commit(batch).await;
        }
        pipeline.finish().await;
        drop(pipeline);
        if let Err(panicked) = notifying.await {
            tracing::error!(
                error = &panicked as &dyn std::error::Error,
                "the task that notifies followers panicked"
            );
        }
    }
}
