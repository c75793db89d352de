-- Webhook subscriptions that are not deleted, as clients see them.

create table read_model.webhook_subscriptions (
    id              uuid        not null,
    organization_id text        collate "C" not null,
    identity_id     uuid        not null,
    owner_kind      text        collate "C" not null,
    owner_id        uuid        not null,
    url             text        collate "C" not null,
    event_types     text        collate "C" not null,
    context_config  text        collate "C",
    has_auth_token  boolean     not null,
    status          text        collate "C" not null,
    disabled_reason text        collate "C",
    created_at      timestamptz not null,
    changed_at      timestamptz not null,
    active_after    bigint      not null,
    constraint webhook_subscriptions_pkey primary key (id)
);

create index webhook_subscriptions_newest
    on read_model.webhook_subscriptions (organization_id, created_at desc, id desc);
create index webhook_subscriptions_identity on read_model.webhook_subscriptions (identity_id);

-- Who owns which subscription. Derived from events like any read model, but read before a command is accepted: to count
-- subscriptions, and to end them with their identity or their phone number.
create table webhook_owners (
    subscription_id uuid    not null,
    organization_id text    collate "C" not null,
    identity_id     uuid    not null,
    owner_id        uuid    not null,
    is_active       boolean not null,
    constraint webhook_owners_pkey primary key (subscription_id)
);

create index webhook_owners_identity on webhook_owners (identity_id);
create index webhook_owners_organization on webhook_owners (organization_id);
