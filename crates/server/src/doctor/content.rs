//! Checks of the content of the database.

use anyhow::Context as _;
use identity_log::proof::ORGANIZATIONS;
use identity_projections::claims;
use identity_projections::lost_ciphertexts::{self, LostCiphertext};
use identity_projections::rebuild::SCHEMAS;
use sqlx::PgConnection;

use super::guards::GUARDS;
use super::{Finding, tables};
use crate::backup::mark;
use crate::backup::tables::TABLES;
use crate::{migrations, roles};

/// What to do if a part of the database is missing.
const RESTORE: &str = "run `identityd migrate` on a new database, or if the check `migrations` names pending ones; otherwise this looks like a part of a backup: restore the whole schema public; the schema read_model is rebuilt from it";

/// What to do if claims and read models do not agree.
const CLAIM: &str = "run `identityd projections verify`, then `identityd projections claims`, which makes claims again from the events. It leaves rows of names that no event has: delete those as the owner of the tables";

/// How many of the last events the doctor looks at for ciphertexts, and for moments that cannot be read.
const EXAMINED_EVENTS: i64 = 100_000;

/// What to do if a read model is missing.
const REBUILD: &str =
    "run `identityd projections rebuild --all`, which builds it from the log, or restart the service";

pub(super) async fn migrations(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let progress = migrations::progress(connection).await?;
    if progress.is_complete() && !migrations::is_up_to_date(connection).await? {
        return Ok(Finding::bad(
            "all are applied, but `read_model_shapes` lacks the statements of this version: run `identityd migrate`",
        ));
    }
    let text = if progress.is_complete() {
        format!("all {} are applied", migrations::known())
    } else {
        let migrations::Progress { pending, damaged, unknown } = &progress;
        format!("pending {pending:?}, damaged {damaged:?}, from a newer identityd {unknown:?}")
    };
    Ok(Finding { passed: progress.is_complete(), text })
}

pub(super) async fn free_numbers(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let query = sqlx::query_scalar("select count(*) from phone_number_pool where claimed_by is null");
    let free: i64 = query.fetch_one(connection).await.context("cannot count them")?;
    Ok(Finding { passed: free > 0, text: format!("{free} are left") })
}

/// Whether events can be appended. That is so even if events before the head are missing: such a log is served, and the
/// signer refuses it.
pub(super) async fn log_can_go_on(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    if let Some(missing) = missing_tables(connection, &TABLES.map(|table| table.name), RESTORE).await? {
        return Ok(missing);
    }
    if let Some(lost) = lost_heads_or_cursor(connection).await? {
        return Ok(lost);
    }
    let query = "select exists (select from log_head
                                where position >= (select coalesce(max(position), 0) from events))";
    let can: bool = sqlx::query_scalar(query).fetch_one(&mut *connection).await?;
    if can { Ok(Finding::good("events can be appended")) } else { log(connection).await }
}

/// What is wrong if the row of an organization in `organization_heads` is missing or behind its events, so that its writes would fail,
/// or if `webhook_cursor` has no row, so that no webhook would be sent.
async fn lost_heads_or_cursor(connection: &mut PgConnection) -> anyhow::Result<Option<Finding>> {
    let query = format!(
        "with recursive {ORGANIZATIONS}
         select (select count(*) from webhook_cursor),
                (select id from organization left join organization_heads as head on head.organization_id = id
                 where id is not null
                   and exists (select from events
                               where organization_id = id and organization_sequence > coalesce(head.sequence, 0))
                 limit 1)"
    );
    let (cursors, behind): (i64, Option<String>) = sqlx::query_as(&query).fetch_one(connection).await?;
    Ok(match (cursors, behind) {
        (_, Some(organization)) => Some(Finding::bad(format!(
            "organization_heads is behind the events of {organization}, so its writes would fail. Perhaps only a part of a backup was \
             restored: restore the whole schema public"
        ))),
        (0, None) => Some(Finding::bad(
            "webhook_cursor has no row, so no webhook would be sent. If you have deleted it, run `insert into webhook_cursor (position) \
             select position from log_head` as the owner of the tables; events that were not queued yet are not sent. Otherwise perhaps \
             only a part of a backup was restored: restore the whole schema public",
        )),
        _ => None,
    })
}

/// One statement, so that all numbers are of one moment while the service writes.
pub(super) async fn log(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    if let Some(missing) = missing_tables(connection, &TABLES.map(|table| table.name), RESTORE).await? {
        return Ok(missing);
    }
    if let Some(lost) = lost_heads_or_cursor(connection).await? {
        return Ok(lost);
    }
    let (head, last, organizations): (Option<i64>, i64, i64) = sqlx::query_as(
        "select (select position from log_head),
                (select coalesce(max(position), 0) from events),
                (select coalesce(sum(sequence), 0)::bigint from organization_heads)",
    )
    .fetch_one(connection)
    .await?;
    let Some(head) = head else {
        return Ok(Finding::bad(format!(
            "log_head has no row, the last event is at position {last}: {RESTORE}"
        )));
    };
    if head == last && head == organizations {
        return Ok(Finding::good(format!("{head} events, as log_head says")));
    }
    Ok(Finding::bad(format!(
        "log_head says {head} events, the last event is at position {last}, organization_heads has {organizations}: \
         {RESTORE}"
    )))
}

pub(super) async fn read_models(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let query = "select name from unnest($1::text[]) as name where to_regnamespace(name) is null";
    let missing: Vec<String> =
        sqlx::query_scalar(query).bind(SCHEMAS.to_vec()).fetch_all(&mut *connection).await?;
    if !missing.is_empty() {
        return Ok(Finding::bad(format!("the schema {} is missing: {REBUILD}", missing.join(", "))));
    }
    let names: Vec<String> =
        identity_projections::tables().iter().map(|table| format!("read_model.{}", table.name())).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(missing) = missing_tables(connection, &names, REBUILD).await? {
        return Ok(missing);
    }
    // The first start of the service adds the rows.
    let query = "select wanted from unnest($1::text[]) as wanted, log_head
                 where position > 0 and not exists (select from read_models where 'read_model.' || name = wanted)";
    let unknown: Vec<String> = sqlx::query_scalar(query).bind(names.clone()).fetch_all(connection).await?;
    Ok(if unknown.is_empty() {
        Finding::good(format!("all {} are there", names.len()))
    } else {
        Finding::bad(format!(
            "read_models has no row for {}, so nobody knows of which version the table is: restart the service, which rebuilds it",
            unknown.join(", ")
        ))
    })
}

/// An organization gets a row with its first event, and never loses it.
pub(super) async fn read_model_rows(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    if let Some(missing) = missing_tables(connection, &["read_model.organizations"], REBUILD).await? {
        return Ok(missing);
    }
    let query = "select exists (select from events where aggregate_type = 'organization')
                        and not exists (select from read_model.organizations)";
    let are_empty: bool = sqlx::query_scalar(query).fetch_one(connection).await?;
    Ok(if are_empty {
        Finding::bad("read models are empty and the log is not: run `identityd projections rebuild --all`")
    } else {
        Finding::good("read models have rows if the log has events")
    })
}

/// Names, numbers and webhook subscriptions are given out by tables that are no read models.
pub(super) async fn claims(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let found = claims::compare(connection).await.context("cannot compare claims and read models")?;
    if found.is_empty() {
        return Ok(Finding::good(
            "names, numbers and webhook subscriptions are claimed by those that have them",
        ));
    }
    let texts = found.iter().map(|(table, disagreement)| {
        let example = disagreement.example.as_deref().unwrap_or_default();
        format!("{table} and the read models disagree on {} rows, such as {example}", disagreement.rows)
    });
    Ok(Finding::bad(format!(
        "{}: what is taken could be given to another one, or what is free be refused: {CLAIM}",
        texts.collect::<Vec<_>>().join("; ")
    )))
}

/// Ciphertexts that were stored by the last events.
pub(super) async fn ciphertexts(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let head: Option<i64> =
        sqlx::query_scalar("select position from log_head").fetch_optional(&mut *connection).await?;
    let after = (head.unwrap_or_default() - EXAMINED_EVENTS).max(0);
    let lost = lost_ciphertexts::find(connection, after).await.context("cannot look up what is missing")?;
    let Some(LostCiphertext { aggregate_type, aggregate_id, name }) = lost.first() else {
        return Ok(Finding::good(format!(
            "what the last {EXAMINED_EVENTS} events have stored is there, and so are all tokens of webhooks"
        )));
    };
    Ok(Finding::bad(format!(
        "{} are missing, such as `{name}` of {aggregate_type} {aggregate_id}, and the log says of none that it was deleted: somebody has \
         deleted rows of `ciphertexts`, whose content is nowhere else: take them from a backup, or create these signing keys, vault \
         secrets, vault keys and tokens again. `identityd projections verify` names all",
        lost.len()
    )))
}

async fn missing_tables(
    connection: &mut PgConnection,
    names: &[&str],
    advice: &str,
) -> anyhow::Result<Option<Finding>> {
    let query = "select name from unnest($1::text[]) as name where to_regclass(name) is null";
    let missing: Vec<String> = sqlx::query_scalar(query).bind(names.to_vec()).fetch_all(connection).await?;
    let text = || format!("the table {} is missing: {advice}", missing.join(", "));
    Ok((!missing.is_empty()).then(|| Finding::bad(text())))
}

/// Whether the guards and their functions are exactly those that the migrations make.
pub(super) async fn triggers(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let present = tables::present(connection).await?;
    let is_as_made = |(table, guard, function): &(&str, &str, &str)| {
        tables::is_as_made(&present, &format!("public.{table} CREATE TRIGGER {guard} "))
            && tables::is_as_made(&present, &format!("function {function}("))
    };
    let off: Vec<&str> =
        GUARDS.iter().filter(|guard| !is_as_made(guard)).map(|(_, guard, _)| *guard).collect();
    if off.is_empty() {
        return Ok(Finding::good("the history is protected"));
    }
    Ok(Finding::bad(format!(
        "{} is off, missing, or does something else, so the history or its signatures can be changed: find out who did it, make it \
         again as the migrations make it, or run `alter table … enable trigger all`, then verify an export against an earlier \
         checkpoint",
        off.join(", ")
    )))
}

/// Whether the role has the rights that it needs, and whether it could switch the triggers off. An installation with one role works
/// all the same, so the latter is no failure.
pub(super) async fn role(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let roles::Standing { role, owner, .. } = roles::refuse_without_rights(&mut *connection).await?;
    let powers = roles::powers::powers(connection).await?;
    let owner = owner.map_or_else(String::new, |owner| format!("; the tables belong to {owner}"));
    Ok(Finding::good(if powers.is_empty() {
        format!("{role} cannot change what protects the history{owner}")
    } else {
        format!(
            "warning: {role} could switch off what protects the history, since it {}: let the service connect as a role that owns \
             nothing, and run `identityd migrate` with the URL of the owner in IDENTITYD_OWNER_URL (docs/operations.md, Two roles)",
            powers.join(", and ")
        )
    }))
}

/// A function in `public` whose parameters fit a call better than those of the function of Postgres is called in its place.
pub(super) async fn schemas(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let statements = roles::openings::to_everybody(connection).await?;
    Ok(if statements.is_empty() {
        Finding::good("only trusted roles may create functions in public")
    } else {
        Finding::bad(format!(
            "any role of this database may make functions that the service would call in place of those of Postgres, or has made \
             some: look at each of these, and run them as a superuser: {}",
            statements.join("; ")
        ))
    })
}

pub(super) async fn event_times(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    if let Some(unreadable) = unreadable_time(connection).await? {
        return Ok(unreadable);
    }
    let query =
        "select recorded_at::text from log_head where recorded_at > clock_timestamp() + interval '1 minute'";
    let ahead: Option<String> = sqlx::query_scalar(query).fetch_optional(connection).await?;
    Ok(match ahead {
        None => Finding::good("no event is dated ahead of the clock"),
        Some(time) => Finding::bad(format!(
            "the last event is dated {time}, ahead of the clock of the database, and no later event gets an earlier time: \
             set the clock right"
        )),
    })
}

/// The first of the last events whose moment nothing can read.
async fn unreadable_time(connection: &mut PgConnection) -> anyhow::Result<Option<Finding>> {
    let found: Option<(i64, String, i64, String)> = sqlx::query_as(
        "select events.position, organization_id, organization_sequence, events.recorded_at::text
         from log_head, events
         where events.position > log_head.position - $1
           and (events.recorded_at < '0001-01-01 00:00+00' or events.recorded_at >= '10000-01-01 00:00+00')
         order by events.position
         limit 1",
    )
    .bind(EXAMINED_EVENTS)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|(position, organization, sequence, time)| {
        Finding::bad(format!(
            "event {sequence} of {organization}, at position {position}, is dated {time}, which the service does not write: somebody has \
             changed the event in the database. Take its moment from a backup or an export"
        ))
    }))
}

pub(super) async fn restore(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let is_under_way = mark::find(connection).await?.is_some();
    Ok(if is_under_way {
        Finding::bad(mark::UNFINISHED_RESTORE)
    } else {
        Finding::good("no restore is under way")
    })
}
