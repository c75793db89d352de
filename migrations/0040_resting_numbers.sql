-- A phone number that was released rests for as long as a name does, and returns to the pool then. Numbers that were
-- released before this migration stay where they are: nobody recorded when that was.

alter table phone_number_pool add column released_at timestamptz;

create index phone_number_pool_resting on phone_number_pool (released_at) where released_at is not null;

-- An identity holds back only the last few names that it gave up, so those of one identity are counted.
create index name_claims_given_up on name_claims (identity_id) where handle_released_at is not null;
