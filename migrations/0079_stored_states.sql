-- A reader of a long history began with the first event. It now begins with the last stored state before what it asks for.
create schema if not exists read_model;

create table read_model.identity_states (
    aggregate_id          text   collate "C" not null,
    sequence              bigint not null,
    organization_id       text   collate "C" not null,
    organization_sequence bigint not null,
    version               bigint not null,
    decision              text   collate "C" not null,
    rows                  text   collate "C",
    constraint identity_states_pkey primary key (aggregate_id, sequence)
);
create table read_model.api_key_states (like read_model.identity_states including all);
create table read_model.vault_states (like read_model.identity_states including all);
create table read_model.vault_secret_states (like read_model.identity_states including all);
create table read_model.webhook_subscription_states (like read_model.identity_states including all);

-- Only of identities the state at a moment is asked for.
create index identity_states_moment on read_model.identity_states (aggregate_id, organization_sequence);

-- The aggregates of which states may be stored: those that have so many events. Without it a rebuild would look for them in the whole log.
create index events_of_long_aggregates on events (aggregate_type, aggregate_id) where sequence = 256;
