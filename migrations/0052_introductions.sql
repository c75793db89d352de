-- The notes in which a signing key introduced its successor. Each is signed by both keys, so nobody can make one here who can only
-- write to the database.
create table signing_key_introductions (
    number        bigint      not null generated always as identity,
    -- The verifier key of the key that was replaced, under the name of the installation.
    old_key       text        not null,
    note          text        not null,
    introduced_at timestamptz not null default now(),
    constraint signing_key_introductions_pkey primary key (number),
    constraint signing_key_introductions_old_key_key unique (old_key)
);
