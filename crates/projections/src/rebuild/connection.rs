//! The connections of jobs.

use identity_log::session::{self, Setting};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

/// The settings of a job, besides its search path.
///
/// Postgres checks twice a second that the client is still connected, so the statements and locks of a killed job end
/// with it. There are no time limits until a swap sets its own.
const SETTINGS: [Setting<'static>; 13] = [
    ("jit", "off"),
    ("work_mem", "64MB"),
    // `Job::index` sets 1 if the job has several workers.
    ("max_parallel_maintenance_workers", "0"),
    // Enough for a table whose columns are keys. Autovacuum collects better statistics later.
    ("default_statistics_target", "30"),
    ("client_connection_check_interval", "500ms"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// Opens the connections of a job.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    options: PgConnectOptions,
    search_path: String,
}

impl Connector {
    /// The connector of a job that is called `what`, for the tables of `schema`.
    pub(super) fn new(options: &PgConnectOptions, what: &str, schema: &str) -> Self {
        let name = format!("identityd {what}, process {}", std::process::id());
        let options = options.clone().application_name(&name).disable_statement_logging();
        let search_path = format!("{schema},public");
        Self { options: session::beginning_with(options, &settings(&search_path)), search_path }
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        session::set(&mut connection, &settings(&self.search_path)).await?;
        Ok(connection)
    }
}

fn settings(search_path: &str) -> Vec<Setting<'_>> {
    [&SETTINGS[..], &[("search_path", search_path)]].concat()
}
