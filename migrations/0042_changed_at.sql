-- When an identity got its version. An entity tag names that moment, so that a version of a history that was set back is not
-- taken for another one of the same number. The column is filled by the rebuild that the next start does, because the fold
-- is of a newer version; a table that rests for a rollback needs it, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.identities') is not null then
            execute format('alter table %I.identities add column changed_at timestamptz', generation);
        end if;
    end loop;
end
$$;
