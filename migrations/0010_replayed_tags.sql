-- What is answered again carries the entity tag of the first answer. Records from before have none.

alter table idempotency_records add column entity_tag text;
