-- With which key the log goes on: the name of the signing key that replaced another one, null as long as none was replaced. Whoever
-- has another key writes nothing.
alter table log_head add column sealing_key text collate "C";
