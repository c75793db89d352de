//! Ways to break a database.

/// A way to break a database: the checks that find it, whether the service refuses to start, and the statements that
/// break and mend it.
pub(super) struct Case {
    pub(super) check: &'static str,
    pub(super) refuses: bool,
    pub(super) breaks: &'static str,
    pub(super) heals: &'static str,
}

/// Tables and functions in `public` may hide those of Postgres.
pub(super) const SHADOWS: &str = "alter role identityd_service set search_path = public, pg_catalog;";

pub(super) const CASES: [Case; 47] = [
    Case {
        check: "schema",
        // The sessions of the service have a search path of their own.
        refuses: false,
        breaks: "create schema other; grant usage on schema other to identityd_service; alter role identityd_service set search_path = other, public",
        heals: "drop schema other; alter role identityd_service reset search_path",
    },
    Case {
        check: "writable",
        refuses: true,
        breaks: "alter role identityd_service set default_transaction_read_only = on",
        heals: "alter role identityd_service reset default_transaction_read_only",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "create table kept as table log_head; delete from log_head",
        heals: "insert into log_head select * from kept; drop table kept",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "update log_head set position = position - 1",
        heals: "update log_head set position = position + 1",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "update organization_heads set sequence = sequence - 1",
        heals: "update organization_heads set sequence = sequence + 1",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "alter table webhook_cursor rename to lost",
        // The start that is refused revokes all rights of the service on the table with the unknown name.
        heals: "alter table lost rename to webhook_cursor; grant select, update on webhook_cursor to identityd_service",
    },
    Case {
        check: "claims",
        refuses: false,
        breaks: "insert into name_claims (name, organization_id, identity_id) values ('lost', 'nobody', gen_random_uuid())",
        heals: "delete from name_claims where name = 'lost'",
    },
    Case {
        check: "read_models",
        refuses: false,
        breaks: "alter table read_model.visibility rename to lost",
        heals: "alter table read_model.lost rename to visibility",
    },
    Case {
        check: "read_models",
        refuses: false,
        breaks: "alter schema read_model_retired rename to lost",
        heals: "alter schema lost rename to read_model_retired",
    },
    Case {
        check: "read_model_rows",
        refuses: false,
        breaks: "create table kept as table read_model.organizations; truncate read_model.organizations",
        heals: "insert into read_model.organizations select * from kept; drop table kept",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "alter table events disable trigger all",
        heals: "alter table events enable trigger all",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "alter table checkpoints disable trigger checkpoints_keep_signatures",
        heals: "alter table checkpoints enable trigger checkpoints_keep_signatures",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "create table bodies as select prosrc from pg_proc where proname = 'refuse_change_of_history';
                 update pg_proc set prosrc = 'begin return null; end' where proname = 'refuse_change_of_history'",
        heals: "update pg_proc set prosrc = bodies.prosrc from bodies where proname = 'refuse_change_of_history'; drop table bodies",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "drop trigger events_are_immutable on events;
                 create trigger events_are_immutable before delete on events for each statement execute function refuse_change_of_history()",
        heals: "drop trigger events_are_immutable on events;
                create trigger events_are_immutable before update or delete or truncate on events
                for each statement execute function refuse_change_of_history()",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table events drop constraint events_aggregate_key",
        heals: "alter table events add constraint events_aggregate_key unique (aggregate_type, aggregate_id, sequence)",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "drop index read_model.visibility_viewer",
        heals: "create index visibility_viewer on read_model.visibility (viewer_id, target_id) where viewer_id is not null",
    },
    Case {
        check: "tables writes",
        refuses: false,
        breaks: "create function swallow() returns trigger language plpgsql as 'begin return null; end';
                 create trigger swallowing before insert on name_claims for each row execute function swallow()",
        heals: "drop function swallow() cascade",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table read_model.identities enable row level security;
                 create policy all_of_them on read_model.identities using (true)",
        heals: "drop policy all_of_them on read_model.identities; alter table read_model.identities disable row level security",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create rule twice as on delete to events do also select 1",
        heals: "drop rule twice on events",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create table pictures (identity_id uuid references read_model.identities (id))",
        heals: "drop table pictures",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create index reciprocals on events ((1 / length(payload->>'type')))",
        heals: "drop index reciprocals",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create index bodies_of_answers on idempotency_records (body)",
        heals: "drop index bodies_of_answers",
    },
    Case {
        check: "tables writes",
        refuses: false,
        breaks: "alter table organization_heads drop constraint organization_heads_pkey;
                 alter table organization_heads add primary key (organization_id) deferrable",
        heals: "alter table organization_heads drop constraint organization_heads_pkey;
                alter table organization_heads add primary key (organization_id)",
    },
    Case {
        check: "read_models",
        refuses: false,
        breaks: "create table kept as select * from read_models where name = 'visibility'; delete from read_models where name = 'visibility'",
        heals: "insert into read_models select * from kept; drop table kept",
    },
    Case {
        check: "tables writes",
        refuses: false,
        breaks: "alter table events add constraint nothing_more check (position < 0) not valid",
        heals: "alter table events drop constraint nothing_more",
    },
    // Where an owner is known it closes the schema before it serves.
    Case {
        check: "schemas",
        refuses: false,
        breaks: "grant create on schema public to public",
        heals: "revoke create on schema public from public",
    },
    Case {
        check: "settings",
        refuses: false,
        breaks: "alter role identityd_service set statement_timeout = '10min'",
        heals: "alter role identityd_service reset statement_timeout",
    },
    Case {
        check: "settings",
        refuses: false,
        breaks: "alter database identityd set default_transaction_isolation = 'serializable'",
        heals: "alter database identityd reset default_transaction_isolation",
    },
    Case {
        check: "connections",
        refuses: false,
        breaks: "alter role identityd_service connection limit 5",
        heals: "alter role identityd_service connection limit -1",
    },
    Case {
        check: "clock",
        refuses: false,
        breaks: "create function public.clock_timestamp() returns timestamptz language sql as \
                 $$ select pg_catalog.clock_timestamp() + interval '1 hour' $$",
        heals: "drop function public.clock_timestamp()",
    },
    Case {
        check: "event_times",
        refuses: false,
        breaks: "create table kept as table log_head; update log_head set recorded_at = now() + interval '1 day'",
        heals: "update log_head set recorded_at = kept.recorded_at from kept; drop table kept",
    },
    Case {
        check: "transaction_ids",
        refuses: false,
        breaks: "create table kept as select datfrozenxid from pg_database where datname = current_database();
                 update pg_database set datfrozenxid = '2500000000' where datname = current_database()",
        heals: "update pg_database set datfrozenxid = kept.datfrozenxid from kept where datname = current_database();
                drop table kept",
    },
    Case {
        check: "notifications",
        refuses: false,
        breaks: "create function public.pg_notification_queue_usage() returns float8 language sql as 'select 0.8::float8'",
        heals: "drop function public.pg_notification_queue_usage()",
    },
    Case {
        check: "collations",
        refuses: false,
        breaks: "update pg_database set datcollversion = '1' where datname = current_database()",
        heals: "update pg_database set datcollversion = null where datname = current_database()",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "drop trigger events_are_immutable on events;
                create trigger events_are_immutable before update of position or delete or truncate on events
                for each statement execute function refuse_change_of_history()",
        heals: "drop trigger events_are_immutable on events;
                create trigger events_are_immutable before update or delete or truncate on events
                for each statement execute function refuse_change_of_history()",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "drop trigger introductions_keep_notes on signing_key_introductions;
                create trigger introductions_keep_notes before update on signing_key_introductions
                for each row when (false) execute function keep_replaced_introduction()",
        heals: "drop trigger introductions_keep_notes on signing_key_introductions;
                create trigger introductions_keep_notes before update on signing_key_introductions
                for each row when (new.note is distinct from old.note) execute function keep_replaced_introduction()",
    },
    Case {
        check: "triggers",
        refuses: false,
        breaks: "drop trigger checkpoints_keep_signatures on checkpoints;
                create trigger checkpoints_keep_signatures before update of size on checkpoints
                for each row execute function refuse_lost_signature()",
        heals: "drop trigger checkpoints_keep_signatures on checkpoints;
                create trigger checkpoints_keep_signatures before update of note on checkpoints
                for each row execute function refuse_lost_signature()",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "create table kept as table organization_heads; delete from organization_heads",
        heals: "insert into organization_heads select * from kept; drop table kept",
    },
    Case {
        check: "log",
        refuses: true,
        breaks: "create table kept as table webhook_cursor; delete from webhook_cursor",
        heals: "insert into webhook_cursor select * from kept; drop table kept",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table events set unlogged",
        heals: "alter table events set logged",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table webhook_queue drop column attempts",
        heals: "alter table webhook_queue add column attempts integer not null default 0",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table webhook_queue alter column payload type varchar(20)",
        heals: "alter table webhook_queue alter column payload type text collate \"C\"",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table webhook_queue alter column attempts drop default",
        heals: "alter table webhook_queue alter column attempts set default 0",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table webhook_deliveries alter column created_at drop not null",
        heals: "alter table webhook_deliveries alter column created_at set not null",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "alter table name_claims add constraint no_zz check (name !~ 'zz')",
        heals: "alter table name_claims drop constraint no_zz",
    },
    Case {
        check: "tables",
        refuses: false,
        breaks: "create table bodies as select prosrc from pg_proc where proname = 'make_read_model';
                 update pg_proc set prosrc = 'begin end' where proname = 'make_read_model'",
        heals: "update pg_proc set prosrc = bodies.prosrc from bodies where proname = 'make_read_model'; drop table bodies",
    },
    // `serve` does not refuse: if it knows an owner, it grants these rights again when it starts.
    Case {
        check: "role",
        refuses: false,
        breaks: "revoke update on webhook_cursor from identityd_service; revoke insert on webhook_queue from identityd_service",
        heals: "grant update on webhook_cursor to identityd_service; grant insert on webhook_queue to identityd_service",
    },
];
