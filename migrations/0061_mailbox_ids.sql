-- Mailboxes can be looked up by their ids. The column is filled by the rebuild that the next start does, because the fold is of a
-- newer version; a table that rests for a rollback needs it, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.identities') is not null then
            execute format('alter table %I.identities add column mailbox_id uuid', generation);
        end if;
    end loop;
    if to_regclass('read_model.identities') is not null then
        create index identities_mailbox on read_model.identities (mailbox_id);
    end if;
end
$$;
