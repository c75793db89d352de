-- A tunnel is always named like its identity, and nobody but the holder of a handle ever had a right to the mail address of
-- the same name. So one row a name says who holds it, where there were three: creates spent a sixth of their time on those.
-- A name that never was a mail address counts as one that was given up when its holder took it, or before.

create table claims (
    name               text        not null,
    organization_id    text        not null,
    identity_id        uuid        not null,
    handle_released_at timestamptz,
    mail_released_at   timestamptz,
    constraint claims_pkey primary key (name)
);

insert into claims (name, organization_id, identity_id, handle_released_at, mail_released_at)
select name,
       coalesce(handle.organization_id, mail.organization_id),
       coalesce(handle.identity_id, mail.identity_id),
       case when handle.name is null then to_timestamp(0) else handle.released_at end,
       case when mail.name is null then to_timestamp(0) else mail.released_at end
from (select * from name_claims where namespace = 'identities') as handle
full join (select * from name_claims where namespace = 'mail') as mail using (name);

drop table name_claims;
alter table claims rename to name_claims;
alter table name_claims rename constraint claims_pkey to name_claims_pkey;

-- Which identities of an organization are live, for a wildcard that is narrowed to single viewers.
create index name_claims_live on name_claims (organization_id, identity_id) where handle_released_at is null;
