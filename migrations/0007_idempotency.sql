-- What was answered to writes that carried an Idempotency-Key, written in the transaction of the write itself, so that
-- a repetition finds the answer if and only if the write happened. Not derived from events; old records are pruned.

create table idempotency_records (
    organization_id text        not null,
    idempotency_key text        not null,
    fingerprint     bytea       not null,
    status          smallint    not null,
    body            text        not null,
    recorded_at     timestamptz not null default now(),
    constraint idempotency_records_pkey primary key (organization_id, idempotency_key)
);

create index idempotency_records_oldest on idempotency_records (recorded_at);
