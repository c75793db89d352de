-- What is claimed or belongs to others is not read. A number of any state is the first free one, and the numbers of an organization
-- are found without those of all others.
create index phone_number_pool_free_of_any_state on phone_number_pool (number) where claimed_by is null;

do $$
begin
    if to_regclass('read_model.identities') is not null then
        create index identities_with_number on read_model.identities (organization_id) where phone_number_id is not null;
    end if;
end
$$;
