-- When a vault secret last changed. The column is filled by the rebuild that the next start does, because the fold is of a newer
-- version; a table that rests for a rollback needs it, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.vault_secrets') is not null then
            execute format('alter table %I.vault_secrets add column updated_at timestamptz', generation);
        end if;
    end loop;
end
$$;
