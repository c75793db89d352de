-- Copies rows of each table 3,000 times each, so that another organization has very much of everything. :differs says which columns of
-- unique indexes differ in the copies, and :first is the number of the first copy.
do $$
declare
    named  record;
    listed text;
    copied text;
begin
    -- Neither triggers nor constraints look at the copies.
    set local session_replication_role = replica;
    for named in
        select conrelid::regclass as name, conname
        from pg_constraint
        where contype = 'c' and connamespace in ('public'::regnamespace, 'read_model'::regnamespace)
    loop
        execute format('alter table %s drop constraint %I', named.name, named.conname);
    end loop;
    for named in
        select oid, oid::regclass as name
        from pg_class
        where relkind = 'r' and relnamespace in ('public'::regnamespace, 'read_model'::regnamespace)
          and relname not in ('_sqlx_migrations', 'read_models', 'read_model_shapes')
    loop
        select string_agg(quote_ident(attname), ', '),
               string_agg(
                   case
                       when differs and type = 'text' then format('%I || copy_number', attname)
                       when differs and type = 'uuid' then 'gen_random_uuid()'
                       when differs and type in ('bigint', 'integer') then format('%I + 1000000 + copy_number', attname)
                       when differs and type = 'bytea' then 'sha256(copy_number::text::bytea)'
                       when attname = 'organization_id' then quote_literal('org_crowded')
                       else quote_ident(attname)
                   end,
                   ', ')
        into listed, copied
        from pg_attribute
        cross join lateral (
            select format_type(atttypid, null) as type,
                   exists (select from pg_index where indrelid = attrelid and indisunique and :differs) as differs
        ) as described
        where attrelid = named.oid and attnum > 0 and not attisdropped;
        execute format(
            'insert into %s (%s)
             select %s
             from (select *, row_number() over () as row_to_copy from %1$s limit 10) as rows_to_copy,
                  lateral (select :first + row_to_copy * 3000 + step as copy_number from generate_series(1, 3000) as steps (step)) as copies
             on conflict do nothing',
            named.name, listed, copied);
        execute format('analyze %s', named.name);
    end loop;
end
$$
