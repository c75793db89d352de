//! What decides who has a name, a phone number or a webhook subscription: `name_claims`, `phone_number_pool`, `webhook_owners`.
//! Only writers fold these tables, so they are compared with the read models, and what is missing is made again from the events.

use sqlx::{FromRow, PgConnection};

/// What one of the tables and the read models do not agree on.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Disagreement {
    /// How many rows.
    pub rows: i64,
    /// One of them: a name, a number, or the id of a subscription.
    pub example: Option<String>,
}

/// Names that a live identity has and nobody has claimed, and names that are claimed for an identity that does not have them.
const NAMES: &str = "
    with live as (
        select id, agent_handle as name, 'handle' as part from read_model.identities
        union all
        select id, split_part(email_address, '@', 1), 'mail' from read_model.identities
    ), claimed as (
        select identity_id as id, name, 'handle' as part from name_claims where handle_released_at is null
        union all
        select identity_id, name, 'mail' from name_claims where mail_released_at is null
    )
    select count(*) as rows, min(name) as example
    from live full join claimed using (id, name, part)
    where live.id is null or claimed.id is null";

/// Numbers that a live identity has and that the pool would give to another one.
const NUMBERS: &str = "
    select count(*) as rows, min(number) as example
    from (select id, document::json -> 'phone_number' ->> 'number' as number
          from read_model.identities where phone_number_id is not null) as live
    join phone_number_pool as pool using (number)
    where claimed_by is distinct from live.id or released_at is not null";

/// Subscriptions that have another owner than clients see, or none.
const OWNERS: &str = "
    select count(*) as rows, min(id::text) as example
    from (select id, organization_id, identity_id, owner_id, status = 'active' as is_active
          from read_model.webhook_subscriptions) as live
    full join (select subscription_id as id, organization_id, identity_id, owner_id, is_active from webhook_owners) as owned
         using (id, organization_id, identity_id, owner_id, is_active)
    where live.id is null or owned.id is null";

/// Compares each table with the read models, in one statement.
pub async fn compare(
    connection: &mut PgConnection,
) -> Result<Vec<(&'static str, Disagreement)>, sqlx::Error> {
    let mut found = vec![];
    for (table, query) in [("name_claims", NAMES), ("phone_number_pool", NUMBERS), ("webhook_owners", OWNERS)]
    {
        let disagreement: Disagreement = sqlx::query_as(query).fetch_one(&mut *connection).await?;
        if disagreement.rows > 0 {
            found.push((table, disagreement));
        }
    }
    Ok(found)
}

/// The last holder of each name, and since when it does not use the name as its handle and as its mail address. A name that it
/// never used as one of them counts as given up when it took the name. As in `log/write/names.rs`.
const MAKE_NAMES: &str = "
    with touched as (
        select position, recorded_at, organization_id, aggregate_id::uuid as identity_id, name, is_handle, is_taken
        from events
        cross join lateral (values
            (payload ->> 'previous_agent_handle', true, false),
            (payload ->> 'agent_handle', true, event_type <> 'identity.deleted'),
            (split_part(coalesce(payload -> 'mailbox' ->> 'email_address', payload ->> 'email_address'), '@', 1),
             false, event_type = 'identity.created')
        ) as touch (name, is_handle, is_taken)
        where event_type in ('identity.created', 'identity.renamed', 'identity.deleted') and name <> ''
    ), holder as (
        select distinct on (name) name, organization_id, identity_id from touched order by name, position desc
    ), compared as (
        select name, touched.organization_id, touched.identity_id, position, recorded_at, is_handle, is_taken,
               holder.identity_id as holder_id,
               max(position) filter (where touched.identity_id <> holder.identity_id) over (partition by name) as other_until
        from touched join holder using (name)
    ), held as (
        select name, organization_id, identity_id, position, recorded_at, is_handle, is_taken
        from compared
        where identity_id = holder_id and position > coalesce(other_until, 0)
    ), claim as (
        select name, organization_id, identity_id,
               case when bool_or(is_handle) then
                   (array_agg(case when not is_taken then recorded_at end order by position desc) filter (where is_handle))[1]
               else min(recorded_at) end as handle_released_at,
               case when not bool_and(is_handle) then
                   (array_agg(case when not is_taken then recorded_at end order by position desc) filter (where not is_handle))[1]
               else min(recorded_at) end as mail_released_at
        from held
        group by name, organization_id, identity_id
    )
    insert into name_claims as present (name, organization_id, identity_id, handle_released_at, mail_released_at)
    select name, organization_id, identity_id, handle_released_at, mail_released_at from claim
    on conflict on constraint name_claims_pkey do update
    set organization_id = excluded.organization_id, identity_id = excluded.identity_id,
        handle_released_at = excluded.handle_released_at, mail_released_at = excluded.mail_released_at
    where (present.identity_id, present.handle_released_at is null, present.mail_released_at is null)
          is distinct from
          (excluded.identity_id, excluded.handle_released_at is null, excluded.mail_released_at is null)";

/// The last event of each number tells who has it.
const MAKE_NUMBERS: &str = "
    with last as (
        select distinct on (number) number, identity_id, is_taken
        from (select position, aggregate_id::uuid as identity_id, event_type = 'identity.phone_provisioned' as is_taken,
                     coalesce(payload -> 'phone' ->> 'number', payload ->> 'number') as number
              from events where event_type in ('identity.phone_provisioned', 'identity.phone_released')) as touched
        order by number, position desc
    )
    update phone_number_pool as pool
    set claimed_by = identity_id, released_at = null
    from last
    where last.number = pool.number and is_taken
      and (claimed_by is distinct from identity_id or released_at is not null)";

/// Subscriptions that are not deleted, with their owners.
const MAKE_OWNERS: &str = "
    with gone as (
        delete from webhook_owners where subscription_id not in (select id from read_model.webhook_subscriptions)
    )
    insert into webhook_owners as present (subscription_id, organization_id, identity_id, owner_id, is_active)
    select id, organization_id, identity_id, owner_id, status = 'active' from read_model.webhook_subscriptions
    on conflict on constraint webhook_owners_pkey do update
    set organization_id = excluded.organization_id, identity_id = excluded.identity_id,
        owner_id = excluded.owner_id, is_active = excluded.is_active
    where (present.organization_id, present.identity_id, present.owner_id, present.is_active)
          is distinct from (excluded.organization_id, excluded.identity_id, excluded.owner_id, excluded.is_active)";

/// Makes claims again that are missing or wrong, in a transaction that keeps everybody from writing to the log. Returns how many.
/// A number that rests after its release is not looked at.
///
/// The generation moves, so no batch is written that was drafted on the claims of before.
pub async fn make_again(connection: &mut PgConnection) -> Result<[(&'static str, u64); 3], sqlx::Error> {
    sqlx::query("update log_head set generation = generation + 1").execute(&mut *connection).await?;
    let mut made = [("name_claims", 0), ("phone_number_pool", 0), ("webhook_owners", 0)];
    for ((_, rows), statement) in made.iter_mut().zip([MAKE_NAMES, MAKE_NUMBERS, MAKE_OWNERS]) {
        *rows = sqlx::query(statement).execute(&mut *connection).await?.rows_affected();
    }
    Ok(made)
}
