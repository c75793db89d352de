-- How often a read model was made anew. Whoever keeps rows in memory to fold them on forgets them when this has changed.
alter table log_head add column generation bigint not null default 0;
