-- The process that answers from memory without asking for new events. While there is one, no other process commits (crates/log/src/sole.rs).
alter table log_head
    add column sole_process uuid,
    -- Counts the processes that were the sole one, so that nobody takes the place of a later one for that of an earlier one.
    add column sole_term bigint not null default 0,
    -- Whether another process wants to commit, so the sole one is to give its place up.
    add column sole_recalled boolean not null default false;
