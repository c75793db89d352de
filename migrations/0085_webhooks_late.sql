-- Organizations for which more was to be queued than fits into their share of a step. Each goes on from its own place when it is its
-- turn, until it has caught up with webhook_cursor.
create table webhook_late (
    organization_id text        collate "C" not null,
    sequence        bigint      not null,
    endpoint_id     uuid,
    served_at       timestamptz not null default clock_timestamp(),
    constraint webhook_late_pkey primary key (organization_id)
);

comment on column webhook_late.sequence is 'All events of the organization up to this one are queued';
comment on column webhook_late.endpoint_id is 'Of the next event, what is for subscriptions up to this one is queued, too';
