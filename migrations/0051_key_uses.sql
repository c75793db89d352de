-- When each key was last used. This is no fact of history: it is not derived from events, and is written once a minute.

create table api_key_uses (
    key_id       uuid        not null,
    last_used_at timestamptz not null,
    constraint api_key_uses_pkey primary key (key_id)
);
