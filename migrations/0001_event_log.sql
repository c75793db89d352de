-- The event log: the only thing that is not derived from anything else.
-- A superset of the columns that postgres-es reads, so that its stock repository can load our aggregates.

create table events (
    position              bigint      not null,
    organization_id       text        not null,
    organization_sequence bigint      not null,
    aggregate_type        text        not null,
    aggregate_id          text        not null,
    sequence              bigint      not null,
    event_type            text        not null,
    event_version         text        not null,
    payload               jsonb       not null,
    metadata              jsonb       not null,
    recorded_at           timestamptz not null,
    leaf_hash             bytea       not null,
    constraint events_pkey primary key (position),
    constraint events_aggregate_key unique (aggregate_type, aggregate_id, sequence),
    constraint events_organization_key unique (organization_id, organization_sequence),
    constraint events_leaf_hash_is_sha256 check (octet_length(leaf_hash) = 32)
);

-- One row. Whoever appends holds its lock for the whole transaction, so commits are serial, positions are dense,
-- and what is checked inside the transaction cannot change before it commits.
create table log_head (
    only_row    boolean     not null default true,
    position    bigint      not null default 0,
    recorded_at timestamptz not null default '-infinity',
    constraint log_head_pkey primary key (only_row),
    constraint log_head_is_one_row check (only_row)
) with (fillfactor = 50);

insert into log_head default values;

-- How many events each organization has: the next organization_sequence, without an aggregate over the log.
create table organization_heads (
    organization_id text   not null,
    sequence        bigint not null,
    constraint organization_heads_pkey primary key (organization_id)
) with (fillfactor = 50);

-- History is not up for debate, not even for whoever holds the database password by mistake.
create function refuse_change_of_history() returns trigger
    language plpgsql as
$$
begin
    raise exception 'events are immutable: % refused', tg_op using errcode = 'restrict_violation';
end
$$;

create trigger events_are_immutable
    before update or delete or truncate on events
    for each statement execute function refuse_change_of_history();

-- Which identities ever had which handle, so that history is found by names that were given up.
create index events_handles on events (organization_id, (payload ->> 'agent_handle'), organization_sequence)
    where aggregate_type = 'identity' and event_type in ('identity.created', 'identity.renamed');

-- Which vault secrets an organization ever registered, for `"vault_secret_ids": "*"`.
create index events_vault_secrets on events (organization_id, aggregate_id)
    where aggregate_type = 'vault_secret' and sequence = 1;
