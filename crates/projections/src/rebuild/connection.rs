//! The connections of jobs.

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

/// The options of a job that is called `what`, for the tables of `schema`.
///
/// Postgres checks twice a second that the client is still connected, so the statements and locks of a killed job end
/// with it. There are no time limits until a swap sets its own.
pub(super) fn options(options: &PgConnectOptions, what: &str, schema: &str) -> PgConnectOptions {
    let search_path = format!("{schema},public");
    options
        .clone()
        .application_name(&format!("identityd {what}, process {}", std::process::id()))
        .options([
            ("search_path", search_path.as_str()),
            ("jit", "off"),
            ("work_mem", "64MB"),
            // The table is read back while its indexes are made. Parallel workers would cost more than they bring.
            ("max_parallel_maintenance_workers", "0"),
            // Enough for a table whose columns are keys. Autovacuum collects better statistics later.
            ("default_statistics_target", "30"),
            ("client_connection_check_interval", "500ms"),
            ("default_transaction_isolation", r"read\ committed"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("idle_session_timeout", "0"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
        ])
        .disable_statement_logging()
}
