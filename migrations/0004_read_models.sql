-- What clients read, folded from events and written in the append's own transaction. Every table folds one
-- aggregate's events alone; what crosses aggregates is joined when it is read, so any table can be rebuilt by itself.

create schema read_model;

-- Live identities. The document is the body that the API answers with, less its access rows.
create table read_model.identities (
    id              uuid        not null,
    organization_id text        not null,
    agent_handle    text        not null,
    email_address   text        not null,
    status          text        not null,
    tunnel_id       uuid        not null,
    phone_number_id uuid,
    created_at      timestamptz not null,
    version         bigint      not null,
    tunnel_metadata text        not null,
    document        text        not null,
    constraint identities_pkey primary key (id)
);

create unique index identities_agent_handle on read_model.identities (agent_handle);
create unique index identities_email_address on read_model.identities (email_address);
create unique index identities_tunnel on read_model.identities (tunnel_id);
create unique index identities_phone_number on read_model.identities (phone_number_id) where phone_number_id is not null;
create index identities_newest on read_model.identities (organization_id, created_at desc, id desc);

-- Who may see a live identity; no viewer means everybody.
create table read_model.visibility (
    target_id       uuid        not null,
    viewer_id       uuid,
    access_id       uuid        not null,
    organization_id text        not null,
    created_at      timestamptz not null,
    document        text        not null,
    constraint visibility_pkey primary key (target_id, access_id)
);

create index visibility_viewer on read_model.visibility (viewer_id, target_id) where viewer_id is not null;
create index visibility_wildcard on read_model.visibility (organization_id, target_id) where viewer_id is null;

-- Which vault secrets a live identity may use.
create table read_model.vault_access (
    identity_id     uuid        not null,
    vault_secret_id uuid        not null,
    created_at      timestamptz not null,
    access_id       uuid        not null,
    constraint vault_access_pkey primary key (identity_id, vault_secret_id)
);

create index vault_access_secret on read_model.vault_access (vault_secret_id);

-- Keys, ended ones included.
create table read_model.api_keys (
    id              uuid        not null,
    organization_id text        not null,
    scope           text        not null,
    identity_id     uuid,
    label           text        not null,
    description     text,
    secret_sha256   bytea       not null,
    last4           text        not null,
    created_by      text        not null,
    created_at      timestamptz not null,
    revoked_at      timestamptz,
    constraint api_keys_pkey primary key (id),
    constraint api_keys_scope_is_known check (scope in ('admin', 'agent', 'auditor'))
);

create index api_keys_newest on read_model.api_keys (organization_id, created_at desc, id desc);

create table read_model.organizations (
    id         text        not null,
    name       text        not null,
    created_at timestamptz not null,
    constraint organizations_pkey primary key (id)
);

-- References to vault secrets that were not deleted.
create table read_model.vault_secrets (
    id              uuid        not null,
    organization_id text        not null,
    name            text        not null,
    secret_type     text        not null,
    description     text,
    created_at      timestamptz not null,
    constraint vault_secrets_pkey primary key (id)
);

create index vault_secrets_newest on read_model.vault_secrets (organization_id, created_at desc, id desc);
