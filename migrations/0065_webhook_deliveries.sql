-- What webhooks are still to be sent, and what became of those that were. Nothing here is folded from events, so a rebuild
-- does not touch it: the log says what happened, these tables say how far it was told to others.

-- How far the log has been read for webhooks. Whoever moves it holds the lock of its row, and writes the rows of the queue in
-- the same transaction. An installation begins with what happens from now on.
create table webhook_cursor (
    only_row boolean not null default true,
    position bigint  not null,
    constraint webhook_cursor_pkey primary key (only_row),
    constraint webhook_cursor_is_one_row check (only_row)
) with (fillfactor = 50);

insert into webhook_cursor (position) select position from log_head;

-- What is still to be sent: a row for each event and each subscription that gets it. It is deleted when it was delivered, or
-- when it is given up.
create table webhook_queue (
    id              uuid        not null,
    endpoint_id     uuid        not null,
    organization_id text        collate "C" not null,
    identity_id     uuid        not null,
    shown_id        uuid,
    event_id        text        collate "C" not null,
    event_type      text        collate "C" not null,
    payload         text        not null,
    attempts        integer     not null default 0,
    due_at          timestamptz not null,
    lease_until     timestamptz,
    created_at      timestamptz not null,
    constraint webhook_queue_pkey primary key (id)
) with (autovacuum_vacuum_scale_factor = 0.02);

comment on column webhook_queue.shown_id is 'The identity that the payload shows, if it is not that of the subscription';

create index webhook_queue_due on webhook_queue (endpoint_id, due_at);
create index webhook_queue_leased on webhook_queue (endpoint_id) where lease_until is not null;
create index webhook_queue_oldest on webhook_queue (created_at);
create index webhook_queue_identity on webhook_queue (identity_id);
create index webhook_queue_shown on webhook_queue (shown_id) where shown_id is not null;

-- What each endpoint is like at present. One that works has no row.
create table webhook_endpoints (
    endpoint_id   uuid        not null,
    failing_since timestamptz not null,
    constraint webhook_endpoints_pkey primary key (endpoint_id)
);

-- What became of each attempt.
create table webhook_deliveries (
    id              uuid        not null,
    organization_id text        collate "C" not null,
    endpoint_id     uuid        not null,
    identity_id     uuid        not null,
    shown_id        uuid,
    event_id        text        collate "C" not null,
    event_type      text        collate "C" not null,
    url             text        not null,
    payload         text        not null,
    response_status smallint,
    response_body   text,
    error_detail    text,
    duration_ms     integer     not null,
    is_replay       boolean     not null,
    created_at      timestamptz not null,
    constraint webhook_deliveries_pkey primary key (id)
);

create index webhook_deliveries_newest on webhook_deliveries (organization_id, created_at desc, id desc);
create index webhook_deliveries_endpoint on webhook_deliveries (endpoint_id, created_at desc, id desc);
create index webhook_deliveries_identity on webhook_deliveries (identity_id, created_at desc, id desc);
create index webhook_deliveries_shown on webhook_deliveries (shown_id) where shown_id is not null;
create index webhook_deliveries_oldest on webhook_deliveries (created_at);
