-- A phone number is never given to two identities, whatever the pool says. The number is in the document alone; what clients write does
-- not match, since quotes are escaped there. A database in which two identities have one number already stays without the index, so that
-- it can be served; `identityd doctor` tells of both.

do $$
begin
    if to_regclass('read_model.identities') is not null then
        create unique index identities_number
            on read_model.identities (substring(document, '"number":"([+][0-9]+)"'))
            where phone_number_id is not null;
    end if;
exception
    when unique_violation then
        raise warning 'two identities have one phone number: run identityd doctor';
end
$$;
