-- Inventory of the pool carrier: numbers an operator loaded. Not derived from events; which number an identity
-- holds is in the events, and claimed_by only keeps a number from being given out twice.

create table phone_number_pool (
    number     text        not null,
    state      text        not null,
    loaded_at  timestamptz not null default now(),
    claimed_by uuid,
    constraint phone_number_pool_pkey primary key (number),
    constraint phone_number_pool_number_is_e164 check (number ~ '^\+[1-9][0-9]{6,14}$'),
    constraint phone_number_pool_state_is_two_letters check (state ~ '^[A-Z]{2}$')
);

create index phone_number_pool_free on phone_number_pool (state, number) where claimed_by is null;
