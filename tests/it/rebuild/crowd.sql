-- :identities identities of an organization, each of them created and then changed :turns times, one after the other.
create temporary table start as
select position, sequence, recorded_at
from log_head, organization_heads
where organization_id = :organization;

insert into events (position, organization_id, organization_sequence, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, metadata, recorded_at, leaf_hash)
select start.position + turn * :identities + number, :organization,
       start.sequence + turn * :identities + number, 'identity', md5('identity ' || number)::uuid::text, turn + 1,
       kind, '1',
       case kind
           when 'identity.created' then jsonb_build_object(
               'type', kind, 'id', md5('identity ' || number)::uuid, 'agent_handle', 'crowd-' || number,
               'display_name', 'Number ' || number, 'description', null, 'imessage_enabled', false,
               'mailbox', jsonb_build_object('id', md5('mailbox ' || number)::uuid,
                                             'email_address', 'crowd-' || number || '@agents.localhost'),
               'tunnel', jsonb_build_object('id', md5('tunnel ' || number)::uuid, 'tls_mode', 'passthrough',
                                            'zone', 'tunnels.localhost'))
           when 'identity.description_changed' then jsonb_build_object(
               'type', kind, 'description', repeat('Turn ' || turn || '. ', 8))
           else jsonb_build_object('type', kind, 'display_name', 'Number ' || number || ', turn ' || turn)
       end,
       '{}', start.recorded_at + (turn * :identities + number) * interval '1 microsecond',
       decode(repeat('00', 32), 'hex')
from start,
     generate_series(0, :turns) as turn,
     generate_series(1, :identities) as number,
     lateral (select case
                         when turn = 0 then 'identity.created'
                         when turn % 2 = 1 then 'identity.description_changed'
                         else 'identity.display_name_changed'
                     end as kind) as kinds;

update log_head
set position = (select max(position) from events), recorded_at = (select max(recorded_at) from events);

update organization_heads
set sequence = (select max(organization_sequence) from events where organization_id = :organization)
where organization_id = :organization;
