-- The role that serves need not own tables. A rebuild makes, moves and drops tables of read models, so it calls functions that do
-- this with the rights of the owner. They take names alone and touch nothing outside of the schemas of read models.

-- The statements that make a read model, by the version of its fold. The owner writes them when it migrates: a statement that
-- came from the role that serves would be carried out with rights that this role does not have.
create table read_model_shapes (
    name       text    collate "C" not null,
    version    integer not null,
    make_table text    collate "C" not null,
    indexes    text[]  collate "C" not null,
    constraint read_model_shapes_pkey primary key (name, version)
);
revoke all on read_model_shapes from public;

-- Makes the next table of a read model, without key and indexes, in place of one that is there. Whoever may move the head of the
-- log may write its rows.
create function make_read_model(model text, fold integer) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
declare
    statement text;
    folder    text;
    writer    regrole;
begin
    select make_table into strict statement from public.read_model_shapes where name = model and version = fold;
    foreach folder in array array['read_model', 'read_model_next', 'read_model_retired', 'read_model_discarded'] loop
        continue when to_regnamespace(folder) is not null;
        execute format('create schema if not exists %I', folder);
        for writer in select grantee from public.log_writers() as grantee loop
            execute format('grant usage on schema %I to %s', folder, writer);
        end loop;
    end loop;
    execute format('drop table if exists read_model_next.%I', model);
    execute statement;
    for writer in select grantee from public.log_writers() as grantee loop
        execute format('grant select, insert, update, delete on read_model_next.%I to %s', model, writer);
    end loop;
end
$$;

-- The roles that may move the head of the log, besides its owner.
create function log_writers() returns setof regrole
    language sql stable set search_path = pg_catalog, pg_temp as
$$
    select distinct grantee::regrole
    from pg_class, aclexplode(relacl)
    where oid = 'public.log_head'::regclass and privilege_type = 'UPDATE' and grantee not in (0, relowner)
$$;

-- Adds the indexes of the next table, the one of the key first.
create function index_read_model(model text, fold integer) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
declare
    shape     public.read_model_shapes;
    statement text;
begin
    select * into strict shape from public.read_model_shapes where name = model and version = fold;
    foreach statement in array shape.indexes loop
        execute statement;
    end loop;
end
$$;

-- Makes the index of the key the primary key of the next table, and collects statistics for the planner.
create function finish_read_model(model text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
begin
    execute format(
        'alter table read_model_next.%1$I add constraint %2$I primary key using index %2$I',
        model,
        model || '_pkey'
    );
    execute format('analyze read_model_next.%I', model);
end
$$;

-- Moves the table of a read model, if it is there.
create function move_read_model(model text, origin text, target text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
begin
    if (origin, target) not in (
        ('read_model', 'read_model_retired'),
        ('read_model_next', 'read_model'),
        ('read_model_retired', 'read_model_discarded'),
        ('read_model_retired', 'read_model_next')
    ) then
        raise exception 'no table is moved from % to %', origin, target;
    end if;
    execute format('alter table if exists %I.%I set schema %I', origin, model, target);
end
$$;

-- Drops the table of a read model that is not live and does not rest for a rollback.
create function drop_read_model(model text, origin text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as
$$
begin
    if origin not in ('read_model_next', 'read_model_discarded') then
        raise exception 'no table is dropped from %', origin;
    end if;
    execute format('drop table if exists %I.%I', origin, model);
end
$$;

revoke execute on function
    make_read_model(text, integer), index_read_model(text, integer), finish_read_model(text),
    move_read_model(text, text, text), drop_read_model(text, text)
    from public;
