-- A phone number is never given to two identities, whatever the pool says. The number is in the document alone; what clients write does
-- not match, since quotes are escaped there. A database in which two identities have one number already stays without this index, also
-- when identities are rebuilt, so that it can be served; `identityd doctor` tells of both.

do $$
begin
    if to_regclass('read_model.identities') is not null then
        create unique index identities_number
            on read_model.identities (substring(document, '"number":"([+][0-9]+)"'))
            where phone_number_id is not null;
    end if;
exception
    when unique_violation then
        raise warning 'two identities have one phone number: run identityd doctor';
end
$$;

-- Adds the indexes of the next table, the one of the key first.
create or replace function index_read_model(model text, fold integer) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
declare
    shape     public.read_model_shapes;
    statement text;
begin
    select * into strict shape from public.read_model_shapes where name = model and version = fold;
    foreach statement in array shape.indexes loop
        begin
            execute statement;
        exception
            when unique_violation then
                if statement not like '%identities_number%' then
                    raise;
                end if;
                raise warning 'two identities have one phone number: run identityd doctor';
        end;
    end loop;
end
$$;
