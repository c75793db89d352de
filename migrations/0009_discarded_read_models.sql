-- Where a swap leaves the table that was retired before the present one, until it is dropped: to remove the files of a
-- large table takes long, and writers would wait for it.
create schema read_model_discarded;

-- A table that is ready to go live and waits for its operator: the version of its fold, and up to where it was caught
-- up. Nothing is ready where these are null.
alter table read_models
    add column next_version integer,
    add column next_position bigint;
