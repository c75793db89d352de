-- A pause of an identity deletes what its subscriptions would be told of others, also what shows no document of them.
alter table webhook_queue add column subject_id uuid;

comment on column webhook_queue.subject_id is 'The identity that the event is about; null in rows of older versions';
