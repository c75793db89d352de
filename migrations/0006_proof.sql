-- What proves a history: the Merkle tree over its leaf hashes, and what was signed of it. The tree follows from
-- events.leaf_hash, but is kept as it was when it was signed: an event that is changed afterwards no longer fits it.

-- Tiles of up to 256 hashes, as identity-proof cuts them: a proof reads a few rows, and a new event touches one or two.
create table merkle_tiles (
    organization_id text     not null,
    epoch           bigint   not null,
    level           smallint not null,
    place           bigint   not null,
    hashes          bytea    not null,
    constraint merkle_tiles_pkey primary key (organization_id, epoch, level, place),
    constraint merkle_tiles_are_hashes check (octet_length(hashes) % 32 = 0 and octet_length(hashes) <= 8192)
);

-- Every checkpoint ever signed. An epoch is one history; an operator begins another after a backup was restored.
create table checkpoints (
    organization_id text        not null,
    epoch           bigint      not null,
    size            bigint      not null,
    root            bytea       not null,
    note            text        not null,
    signed_at       timestamptz not null default now(),
    constraint checkpoints_pkey primary key (organization_id, epoch, size)
);
