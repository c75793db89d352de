-- Idempotency keys were one namespace for an organization: an agent could find out which keys an admin had used, and use up a
-- predictable one. Now admins share one namespace, and each identity has its own. Records from before have no scope and
-- count for every scope until they are pruned.

alter table idempotency_records add column scope text not null default '';
alter table idempotency_records drop constraint idempotency_records_pkey;
alter table idempotency_records
    add constraint idempotency_records_pkey primary key (organization_id, scope, idempotency_key);
