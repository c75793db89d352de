-- Every text of ours is compared byte by byte, whatever the collation of the database is. The order of a collation changes
-- with the C library or ICU: an index that was built in the old order then misses rows that are there, and a name that
-- is taken looks free. The collation "C" never changes. Postgres builds the indexes anew while it changes the columns.

drop index events_handles;

do $$
declare
    ours record;
begin
    for ours in
        select class.oid::regclass as name,
               string_agg(format('alter column %I type text collate "C"', attribute.attname), ', ') as changes
        from pg_attribute as attribute
        join pg_class as class on class.oid = attribute.attrelid
        where class.relkind = 'r'
          and attribute.attnum > 0
          and not attribute.attisdropped
          and attribute.atttypid = 'text'::regtype
          and attribute.attcollation <> 'pg_catalog."C"'::regcollation
          and (class.relnamespace in (select oid
                                      from pg_namespace
                                      where nspname in ('read_model', 'read_model_next', 'read_model_retired',
                                                        'read_model_discarded'))
               or class.oid in ('events'::regclass, 'organization_heads'::regclass, 'name_claims'::regclass,
                                'phone_number_pool'::regclass, 'read_models'::regclass, 'merkle_tiles'::regclass,
                                'checkpoints'::regclass, 'idempotency_records'::regclass))
        group by class.oid
    loop
        execute format('alter table %s %s', ours.name, ours.changes);
    end loop;
end
$$;

create index events_handles on events (organization_id, ((payload ->> 'agent_handle') collate "C"), organization_sequence)
    where aggregate_type = 'identity' and event_type in ('identity.created', 'identity.renamed');
