//! The machine of the measurements.

use std::fs;

use sqlx::PgConnection;

/// The machine in lines of text: processor, cores, memory, kernel, Postgres and its durability settings.
pub(crate) async fn describe(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism()?;
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/version").unwrap_or_default();
    let kernel = kernel.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    let (postgres, settings): (String, String) = sqlx::query_as(
        "select version(),
                (select string_agg(name || ' = ' || current_setting(name), ', ' order by name)
                 from pg_settings
                 where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'wal_sync_method'))",
    )
    .fetch_one(connection)
    .await?;
    let postgres = postgres.split(" on ").next().unwrap_or_default().to_owned();
    Ok(vec![format!("{processor}, {cores} cores, memory {memory}"), kernel, postgres, settings])
}

/// The first value of a name in a file of `name : value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
