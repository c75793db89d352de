-- Failures belong to an address: a subscription that was given another address has not failed there yet. A row that was written
-- without an address counts for none.
alter table webhook_endpoints add column url text collate "C" not null default '';
