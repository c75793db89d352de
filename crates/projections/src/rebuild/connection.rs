//! How jobs connect.

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

/// Options of a job that is called `what`, for tables of `schema`.
///
/// Postgres looks every now and then whether we are still there: what a killed job was doing in the database ends with
/// it, and with that its lock. Limits that are meant for short statements do not apply until a swap sets its own.
pub(super) fn options(options: &PgConnectOptions, what: &str, schema: &str) -> PgConnectOptions {
    let search_path = format!("{schema},public");
    options
        .clone()
        .application_name(&format!("identityd {what}, process {}", std::process::id()))
        .options([
            ("search_path", search_path.as_str()),
            ("jit", "off"),
            ("work_mem", "64MB"),
            // Indexes are made while the table is read back as it is: helpers that come and go cost more than they give.
            ("max_parallel_maintenance_workers", "0"),
            // Enough for a table whose columns are keys; autovacuum looks closer, by and by.
            ("default_statistics_target", "30"),
            ("client_connection_check_interval", "500ms"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
        ])
        .disable_statement_logging()
}
