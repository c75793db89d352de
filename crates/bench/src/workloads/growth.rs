//! Creates and gets while the data grows, and the memory of the service with a million identities.
//!
//! The requests are for the same identities at every size, so only the amount of other data differs. The other
//! identities are written into the log in bulk, and the read model is rebuilt from it.

use std::sync::Arc;

use anyhow::Context as _;
use sqlx::Executor as _;
use tokio::try_join;

use crate::arena::{Arena, tidy};
use crate::ours::Ours;
use crate::requests::{Choice, Creates, Gets};
use crate::results::{Bound, Results};
use crate::scale::Scale;
use crate::turns::{Contestant, take};

/// The number of connections.
const CONNECTIONS: usize = 32;

pub(super) async fn run(arena: &Arena, scale: Scale, results: &mut Results) -> anyhow::Result<()> {
    let [first, middle, last] = scale.growth;
    let mut ours = Ours::start(arena, "growth").await?;
    ours.seed(PREFIX, first).await?;
    measure(arena, scale, results, &ours, first).await?;
    grow(&ours, first, middle).await?;
    measure(arena, scale, results, &ours, middle).await?;
    ours = footprint(arena, scale, results, ours, middle).await?;
    grow(&ours, middle, last).await?;
    measure(arena, scale, results, &ours, last).await?;
    for size in [middle, last] {
        for kind in ["create", "get"] {
            let rate = |size: usize| {
                let series = results.find(&format!("{kind} of {size}"), CONNECTIONS, "ours");
                series.map_or(0.0, |series| series.median(|round| round.per_second))
            };
            let claim = format!("{kind} beside {size} identities by {kind} beside {first}");
            results.judge(claim, rate(size) / rate(first), Bound::AtLeast(0.75));
        }
    }
    ours.stop().await
}

/// The prefix of the handles.
const PREFIX: &str = "agent";

async fn measure(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    ours: &Ours,
    size: usize,
) -> anyhow::Result<()> {
    let turns = (scale.rounds, scale.turn);
    let asked = |of: usize| -> anyhow::Result<Arc<Gets>> {
        let choice = Choice::uniform(of)?;
        Ok(Arc::new(Gets { key: ours.key.clone(), prefix: PREFIX.to_owned(), choice }))
    };
    let address = ours.server.address;
    let [first, ..] = scale.growth;
    let creates = Arc::new(Creates::new(&ours.key, &format!("beside-{size}")));
    for (workload, contestant) in [
        (format!("get of {size}"), Contestant::http("ours", address, asked(first)?)),
        (format!("get of {size}, any of them"), Contestant::http("ours", address, asked(size)?)),
        (format!("create of {size}"), Contestant::http("ours", address, creates)),
    ] {
        take(arena, results, (&workload, CONNECTIONS), turns, &[contestant]).await?;
    }
    Ok(())
}

/// Increases the number of identities from `from` to `to`.
async fn grow(ours: &Ours, from: usize, to: usize) -> anyhow::Result<()> {
    let run = async |statement: String| -> anyhow::Result<()> {
        let mut connection = ours.pool.acquire().await?;
        connection.execute(statement.as_str()).await.context("cannot grow")?;
        Ok(())
    };
    let fill = |statement: &str| {
        statement
            .replace(":organization", &format!("'{}'", ours.organization_id))
            .replace(":from", &from.to_string())
            .replace(":to", &to.to_string())
    };
    let events = fill(EVENTS);
    try_join!(write_events(ours, &events, from, to), run(fill(CLAIMS)))?;
    run(fill(HEADS)).await?;
    super::rebuild::rebuild(&ours.pool, super::rebuild::WORKERS).await?;
    ours.sign_as_it_is().await?;
    tidy(&ours.pool).await
}

/// How many events one statement inserts.
const EVENTS_PER_STATEMENT: usize = 100_000;

/// Inserts events in several statements. They have no seals, since Postgres does not have the key.
async fn write_events(ours: &Ours, statement: &str, from: usize, to: usize) -> anyhow::Result<()> {
    for first in (from..to).step_by(EVENTS_PER_STATEMENT) {
        let last = to.min(first + EVENTS_PER_STATEMENT) - 1;
        let query = sqlx::query(statement).bind(i64::try_from(first)?).bind(i64::try_from(last)?);
        query.execute(&ours.pool).await.context("cannot grow")?;
    }
    Ok(())
}

/// Inserts the events of creates, one for each identity, from the number `$1` to `$2`. The ids ascend,
/// like minted ids.
const EVENTS: &str = r#"
    insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                        event_type, event_version, payload, metadata, recorded_at, leaf_hash)
    select log_head.position + number - :from + 1, :organization, heads.sequence + number - :from + 1, 'identity',
           id, 1, 'identity.created', '1',
           format('{"type":"identity.created","id":"%1$s","agent_handle":"agent-%2$s","display_name":"Agent agent-%2$s",
                    "description":"Answers letters","imessage_enabled":false,
                    "mailbox":{"id":"%3$s","email_address":"agent-%2$s@agents.localhost"},
                    "tunnel":{"id":"%4$s","tls_mode":"edge","zone":"tunnels.localhost"}}',
                  id, number, mailbox, tunnel)::jsonb,
           '{"actor":"operator","actor_kind":"operator","request_id":"growth","software":"identity-bench"}',
           log_head.recorded_at + (number - :from + 1) * interval '1 microsecond', sha256(id::bytea)
    from log_head
    join organization_heads as heads on heads.organization_id = :organization
    cross join generate_series($1::bigint, $2::bigint) as number
    cross join lateral (
        select format('01a00000-0000-7000-8000-%s', lpad(to_hex(number), 12, '0')) as id,
               format('01a00000-0000-7000-9000-%s', lpad(to_hex(number), 12, '0')) as mailbox,
               format('01a00000-0000-7000-a000-%s', lpad(to_hex(number), 12, '0')) as tunnel
    ) as ids"#;

const CLAIMS: &str = "
    insert into name_claims (name, organization_id, identity_id)
    select 'agent-' || number, :organization,
           format('01a00000-0000-7000-8000-%s', lpad(to_hex(number), 12, '0'))::uuid
    from generate_series(:from, :to - 1) as number";

const HEADS: &str = "
    update log_head
    set position = position + :to - :from,
        recorded_at = recorded_at + (:to - :from) * interval '1 microsecond';
    update organization_heads set sequence = sequence + :to - :from where organization_id = :organization;";

/// Memory after the start and under load, and the time until the service answers.
async fn footprint(
    arena: &Arena,
    scale: Scale,
    results: &mut Results,
    mut ours: Ours,
    size: usize,
) -> anyhow::Result<Ours> {
    let loaded = ours.server.resident()?;
    let (mut ready, mut idle) = (vec![], vec![]);
    for _ in 0..scale.rounds {
        ours = ours.restart(arena).await?;
        ready.push(ours.server.ready_after.as_secs_f64() * 1000.0);
        idle.push(ours.server.resident()?);
    }
    let most = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
    let with = format!("with {size} identities");
    results.judge(format!("resident MiB {with}, idle"), most(idle), Bound::AtMost(150.0));
    results.judge(format!("resident MiB {with}, after the load"), loaded, Bound::AtMost(150.0));
    results.judge(format!("milliseconds from start to ready {with}"), most(ready), Bound::AtMost(300.0));
    Ok(ours)
}
