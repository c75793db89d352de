-- Encrypted content that belongs to an aggregate and is no event, so that it can be deleted: signing keys of identities,
-- vault keys, the content of vault secrets.
-- It is written in the transaction of the events that tell of it, and deleted in that of the event that ends its aggregate.
-- It cannot be derived from events, so a backup without this table has lost it.

create table ciphertexts (
    aggregate_type  text        collate "C" not null,
    aggregate_id    text        collate "C" not null,
    name            text        collate "C" not null,
    organization_id text        collate "C" not null,
    ciphertext      bytea       not null,
    recorded_at     timestamptz not null,
    constraint ciphertexts_pkey primary key (aggregate_type, aggregate_id, name)
);

create index ciphertexts_organization on ciphertexts (organization_id, aggregate_type, name);
