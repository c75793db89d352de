-- Lists can be searched by display name, in whatever case. The column is filled by the rebuild that the next start does,
-- because the fold is of a newer version; a table that rests for a rollback needs it, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.identities') is not null then
            execute format('alter table %I.identities add column folded_name text', generation);
        end if;
    end loop;
end
$$;
