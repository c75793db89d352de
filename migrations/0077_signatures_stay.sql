-- What was signed once stays. A checkpoint's note is signed again by adding a line to it, so its text can become longer alone: otherwise
-- whoever may sign could erase the signatures that there are.
create function refuse_lost_signature() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as
$$
begin
    if not starts_with(new.note, old.note) then
        raise exception 'a signature of a checkpoint is never taken away' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;

create trigger checkpoints_keep_signatures before update of note on checkpoints
    for each row execute function refuse_lost_signature();

-- The note of an introduction is replaced if the old key has not signed it, which Postgres cannot check. So what was there is kept.
alter table signing_key_introductions add column replaced text[] collate "C" not null default '{}';

create function keep_replaced_introduction() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as
$$
begin
    new.replaced = old.replaced || old.note;
    return new;
end
$$;

create trigger introductions_keep_notes before update on signing_key_introductions
    for each row when (new.note is distinct from old.note) execute function keep_replaced_introduction();
