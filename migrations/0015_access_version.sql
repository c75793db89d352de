-- The version at which who may see an identity was changed last, so that an answer can tell whether the access rows that it
-- reads are those of its own version. The column is filled by the rebuild that the next start does, because the fold is of
-- a newer version; a table that rests for a rollback needs it, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.identities') is not null then
            execute format('alter table %I.identities add column access_version bigint', generation);
        end if;
    end loop;
end
$$;
