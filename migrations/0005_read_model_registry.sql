-- What is known of every read model: which version of its fold built the live table, what may be rolled back to, and
-- how its last job and its last verification went. A table is at the head of the log by construction, so where it
-- stands is not written here.

create table read_models (
    name                text        not null,
    version             integer     not null,
    built_at            timestamptz not null,
    built_position      bigint      not null,
    retired_version     integer,
    retired_at          timestamptz,
    retired_position    bigint,
    job_phase           text,
    job_done            bigint,
    job_total           bigint,
    job_updated_at      timestamptz,
    verified_at         timestamptz,
    verified_position   bigint,
    differences         bigint,
    constraint read_models_pkey primary key (name)
);

-- Where the next generation of a table is built, and where the last one rests.
create schema read_model_next;
create schema read_model_retired;
