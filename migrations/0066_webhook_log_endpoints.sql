-- To which addresses the history of an organization is sent, event by event and in order, and how far each has it. Nothing here is
-- folded from events.

create table webhook_log_endpoints (
    id              uuid        not null,
    organization_id text        collate "C" not null,
    url             text        not null,
    event_types     text[]      collate "C",
    signing_key     bytea       not null,
    sequence        bigint      not null,
    disabled_reason text        collate "C",
    attempts        integer     not null default 0,
    failing_since   timestamptz,
    last_attempt_at timestamptz,
    last_status     smallint,
    last_error      text,
    due_at          timestamptz not null default now(),
    lease_until     timestamptz,
    created_by      text        collate "C" not null,
    created_at      timestamptz not null default now(),
    constraint webhook_log_endpoints_pkey primary key (id)
) with (fillfactor = 50);

comment on column webhook_log_endpoints.sequence is 'The organization_sequence of the last event that was delivered';

create index webhook_log_endpoints_organization on webhook_log_endpoints (organization_id, created_at);
