//! The floor of a create: pgbench with one statement, which inserts one event and one row of the same sizes as ours.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::{Executor as _, PgPool};
use tokio::process::Command;

use crate::arena::Arena;
use crate::load::Measured;

/// The private Postgres accepts 100 connections, and the other contestants use about 30.
const MAX_CLIENTS: usize = 64;

const TABLES: &str = "
    create table floor_events (
        position     bigserial   primary key,
        aggregate_id uuid        not null,
        event_type   text        not null,
        payload      jsonb       not null,
        metadata     jsonb       not null,
        recorded_at  timestamptz not null
    );
    create table floor_rows (id uuid primary key, document text not null);";

/// The database of the floor, and its statement.
pub(crate) struct Floor {
    url: String,
    script: String,
}

impl Floor {
    /// Prepares the floor with an event and a document from `ours`.
    pub(crate) async fn prepare(arena: &Arena, ours: &PgPool) -> anyhow::Result<Self> {
        let pool = arena.database("floor").await?;
        pool.execute(TABLES).await?;
        let (payload, metadata, document): (String, String, String) = sqlx::query_as(
            "select payload::text, metadata::text, document
             from events
             join read_model.identities on id::text = aggregate_id
             order by position desc
             limit 1",
        )
        .fetch_one(ours)
        .await?;
        let [payload, metadata, document] =
            [payload, metadata, document].map(|text| text.replace('\'', "''"));
        let script = format!(
            "with event as (
                insert into floor_events (aggregate_id, event_type, payload, metadata, recorded_at)
                values (gen_random_uuid(), 'identity.created', '{payload}', '{metadata}', now())
                returning aggregate_id
            )
            insert into floor_rows select aggregate_id, '{document}' from event;"
        );
        // pgbench reads a colon before a letter as a variable, and JSON text has a colon before every unquoted word.
        let script = [":null", ":true", ":false"]
            .iter()
            .fold(script, |script, word| script.replace(word, &word.replace(':', ": ")));
        let path = arena.file("floor.sql");
        fs::write(&path, script.replace('\n', " "))?;
        Ok(Self { url: arena.url("floor"), script: path.to_string_lossy().into_owned() })
    }

    /// Runs the statement with this many clients for a time.
    pub(crate) async fn run(
        &self,
        arena: &Arena,
        clients: usize,
        time: Duration,
    ) -> anyhow::Result<Measured> {
        let clients = clients.min(MAX_CLIENTS).to_string();
        let seconds = time.as_secs().max(1).to_string();
        let logs = arena.file("pgbench");
        fs::create_dir_all(&logs)?;
        let output = Command::new("pgbench")
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--log", "--log-prefix=run"])
            .args(["--client", &clients, "--time", &seconds, "--file", &self.script, &self.url])
            .current_dir(&logs)
            .output()
            .await
            .context("cannot run pgbench")?;
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut measured = Measured { elapsed: time.max(Duration::from_secs(1)), ..Measured::default() };
        for entry in fs::read_dir(&logs)? {
            let text = fs::read_to_string(entry?.path())?;
            // The third field is the time of a transaction in microseconds.
            measured
                .latencies
                .extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok()));
        }
        fs::remove_dir_all(&logs)?;
        measured.latencies.sort_unstable();
        Ok(measured)
    }
}
