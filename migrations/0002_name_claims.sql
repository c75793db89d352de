-- Who holds which name. Derived from events like any read model, but consulted under the head lock before a command
-- is accepted, which is what makes handles unique. Names of deleted and renamed identities stay here with the moment
-- they were given up; how long they are held back is a setting, so it is applied when they are read.

create table name_claims (
    namespace       text        not null,
    name            text        not null,
    organization_id text        not null,
    identity_id     uuid        not null,
    released_at     timestamptz,
    constraint name_claims_pkey primary key (namespace, name),
    constraint name_claims_namespace_is_known check (namespace in ('identities', 'tunnels', 'mail'))
);

-- Which identities of an organization are live, for a wildcard that is narrowed to single viewers.
create index name_claims_live on name_claims (organization_id, identity_id)
    where namespace = 'identities' and released_at is null;
