-- A checkpoint that readers cannot read ends signing until an operator begins a new epoch, and one of the last epoch that fits into a
-- bigint would end it for good. So the text of a note is the one that its row says, what is added to it are whole signature lines,
-- and an epoch is one more than the last one, or at most the present second, as a restore numbers them. Whether a signature is right,
-- only readers can tell.
create function refuse_unreadable_checkpoint() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as
$$
declare
    signed text := 'identityd/' || new.organization_id || case when new.epoch > 1 then '/' || new.epoch else '' end
                   || E'\n' || new.size || E'\n' || encode(new.root, 'base64') || E'\n\n';
    -- The text behind the last line feed is empty.
    lines  text[] := string_to_array(substr(new.note, length(signed) + 1), E'\n');
    line   text;
begin
    -- A restore puts back what the backup has, and says itself what is wrong with it.
    if exists (select from public.restore_under_way) then
        return new;
    end if;
    if new.size < 1 or new.epoch < 1 or tg_op = 'INSERT' and new.epoch - 1 > greatest(
        (select max(epoch) from public.checkpoints where organization_id = new.organization_id),
        floor(extract(epoch from clock_timestamp()))::bigint
    ) then
        raise exception 'a checkpoint has events, and no epoch of the future' using errcode = 'insufficient_privilege';
    end if;
    -- Readers accept 100 signatures.
    if not starts_with(new.note, signed) or cardinality(lines) not between 2 and 65 or lines[cardinality(lines)] <> '' then
        raise exception 'a checkpoint has the text that its row says, and 1 to 64 signature lines'
            using errcode = 'insufficient_privilege';
    end if;
    -- A name has no space, no control character and no plus. A signature has 4 + 64 bytes, a cosignature 4 + 8 + 64.
    foreach line in array lines[1:cardinality(lines) - 1] loop
        if octet_length(line) > 512 or line !~ (
            '^— [^\x01-\x20+\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+ '
            '([A-Za-z0-9+/]{90}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{101}[AQgw]==)$'
        ) then
            raise exception 'a checkpoint has a line that is no signature' using errcode = 'insufficient_privilege';
        end if;
    end loop;
    return new;
end
$$;

create trigger checkpoints_stay_readable before insert or update on checkpoints
    for each row execute function refuse_unreadable_checkpoint();
