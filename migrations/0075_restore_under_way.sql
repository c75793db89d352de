-- The mark of a restore that is not finished: the rows of a backup are here, but read models and proofs are not ready. There is one
-- row as long as it lasts. Nobody serves or changes such a database; the same restore, begun again, finishes it.

create table restore_under_way (
    only_row boolean     not null default true,
    -- SHA-256 of the backup, as its last line has it.
    backup   text        collate "C" not null,
    begun_at timestamptz not null default now(),
    constraint restore_under_way_pkey primary key (only_row),
    constraint restore_under_way_is_one_row check (only_row)
);
