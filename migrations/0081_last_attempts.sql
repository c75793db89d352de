-- When the last attempt at an address that fails was made. It is kept here, since the log of deliveries is pruned, and has replays, too.
alter table webhook_endpoints add column last_attempt_at timestamptz;

update webhook_endpoints as endpoint
set last_attempt_at = coalesce((select max(created_at) from webhook_deliveries
                                where endpoint_id = endpoint.endpoint_id and not is_replay), failing_since);

alter table webhook_endpoints alter column last_attempt_at set not null;
