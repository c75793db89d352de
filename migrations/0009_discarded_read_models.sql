-- Where a swap leaves the table that was retired before the present one, until it is dropped: to remove the files of a
-- large table takes long, and writers would wait for it.
create schema read_model_discarded;
