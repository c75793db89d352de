-- Whoever reads a key refuses a scope that is unknown. A constraint beside that would be a part of the table which a rebuild
-- cannot make from the columns alone.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.api_keys') is not null then
            execute format('alter table %I.api_keys drop constraint if exists api_keys_scope_is_known', generation);
        end if;
    end loop;
end
$$;
