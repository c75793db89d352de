-- The seal of an event: HMAC-SHA-256 over its leaf hash, keyed by the signing key, which is not in the database. Whoever
-- can write to the database alone cannot make one. Events of before this migration have none.
alter table events add column seal bytea;
