-- Texts are compared byte by byte, whatever the collation of the database is.
alter table signing_key_introductions
    alter column old_key type text collate "C",
    alter column note type text collate "C";
