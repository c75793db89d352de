-- When a key expires, and the secret that it had before its last rotation. The columns are filled by the rebuild that the next start
-- does, because the fold is of a newer version; a table that rests for a rollback needs them, too, to be written again.

do $$
declare
    generation text;
begin
    foreach generation in array array['read_model', 'read_model_next', 'read_model_retired'] loop
        if to_regclass(generation || '.api_keys') is not null then
            execute format(
                'alter table %I.api_keys
                     add column expires_at timestamptz,
                     add column previous_sha256 bytea,
                     add column previous_valid_until timestamptz,
                     add column rotated_at timestamptz',
                generation
            );
        end if;
    end loop;
end
$$;
