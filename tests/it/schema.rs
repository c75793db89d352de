//! The tables on a database with another collation, and with columns that a newer version adds.

use identityd::backup::format::TYPES;
use identityd::backup::tables::{TABLES, kept};
use identityd::doctor::tables;
use serde_json::json;

use crate::harness::{Caller, Database, World, text, wait};

/// All tables of the service.
const OURS: &str = "
    pg_class as class
    join pg_namespace as namespace on namespace.oid = class.relnamespace
    where class.relkind = 'r'
      and nspname in ('public', 'read_model', 'read_model_next', 'read_model_retired', 'read_model_discarded')
      and relname <> '_sqlx_migrations'";

// The order of other collations changes with the C library. An index in the old order would miss rows.
#[test]
fn no_text_of_ours_depends_on_the_collation_of_the_database() {
    let database = Database::create();
    let columns = format!(
        "select coalesce(string_agg(concat_ws('.', nspname, relname, attname), ', '), '')
         from (select nspname, relname, attname, attcollation
               from pg_attribute as attribute
               join pg_class as class on class.oid = attribute.attrelid
               join pg_namespace as namespace on namespace.oid = class.relnamespace
               where attnum > 0 and attrelid in (select class.oid from {OURS})) as columns
         where attcollation not in (0, 'pg_catalog.\"C\"'::regcollation)"
    );
    assert_eq!(database.text(&columns), "", "columns that do not compare byte by byte");
    let indexes = format!(
        "select coalesce(string_agg(indexrelid::regclass::text, ', '), '')
         from pg_index, unnest(indcollation) as used
         where indrelid in (select class.oid from {OURS}) and used not in (0, 'pg_catalog.\"C\"'::regcollation)"
    );
    assert_eq!(database.text(&indexes), "", "indexes in an order that can change");
}

#[test]
fn the_doctor_knows_all_that_the_migrations_make() {
    let database = Database::create();
    let present = wait(async {
        let mut connection = database.pool().acquire().await.unwrap();
        tables::present(&mut connection).await.unwrap().join("\n")
    });
    assert_eq!(present, tables::EXPECTED.trim_end(), "see crates/server/src/doctor/tables.txt");
}

// A table that nobody lists would be missing in every backup.
#[test]
fn every_table_is_in_backups_or_is_declared_to_be_derived() {
    let database = Database::create();
    let there = database.text(
        "select string_agg(format('%I.%I', nspname, relname), ' ' order by nspname, relname)
         from pg_class as class
         join pg_namespace as namespace on namespace.oid = class.relnamespace
         where class.relkind in ('r', 'p', 'm') and nspname not in ('pg_catalog', 'information_schema', 'pg_toast')",
    );
    let (ours, read_models): (Vec<&str>, Vec<&str>) =
        there.split(' ').partition(|table| table.starts_with("public."));
    let strange = read_models.iter().find(|table| !table.starts_with("read_model"));
    assert_eq!(strange, None, "which schema is that?");
    let mut declared: Vec<String> = TABLES.iter().map(|table| format!("public.{}", table.name)).collect();
    declared.sort();
    assert_eq!(ours, declared, "see crates/server/src/backup/tables.rs");
    for table in kept() {
        let types = database.text(&format!(
            "select string_agg(distinct format_type(atttypid, atttypmod), ',')
             from pg_attribute where attrelid = '{}'::regclass and attnum > 0 and not attisdropped",
            table.name
        ));
        let unknown = types.split(',').find(|kind| !TYPES.contains(kind));
        assert_eq!(unknown, None, "a backup has no form for this type, which is in {}", table.name);
    }
}

/// Sends reads and writes of every kind. Reads by handle come before anything is cached.
pub(crate) fn use_everything(world: &World, round: &str) -> Vec<u16> {
    let admin = world.admin();
    let handle = format!("desk-{round}");
    let id = text(&admin.create(&handle)["id"]);
    let viewer = text(&admin.create(&format!("viewer-{round}"))["id"]);
    let minted = admin.post("/api-keys", &json!({ "label": "k", "scoped_identity_id": id })).created();
    let agent = world.holder_of(&text(&minted["api_key"]));
    let number = text(&admin.provision(&handle)["id"]);
    let secret = text(&admin.register_secret("s")["id"]);
    let webhook = json!({ "agent_identity_id": id, "url": "https://desk.example/", "event_types": ["identity.updated"] });
    let subscription = text(&admin.post("/webhooks/subscriptions", &webhook).created()["id"]);
    let reads = |caller: &Caller| {
        let paths = [
            "/identities/".to_owned(),
            format!("/identities/{handle}"),
            format!("/identities/{handle}?as_of=sequence:1"),
            format!("/identities/{handle}/access"),
            format!("/identities/{handle}/events"),
            "/identities?limit=1&q=desk".to_owned(),
            "/events".to_owned(),
            "/phone/numbers".to_owned(),
            format!("/phone/numbers/{number}"),
            "/tunnels".to_owned(),
            "/mail/mailboxes".to_owned(),
            format!("/mail/mailboxes/{handle}"),
            "/api-keys".to_owned(),
            "/api-keys/self".to_owned(),
            "/vault/secrets".to_owned(),
            format!("/vault/secrets/{secret}/access"),
            "/webhooks/subscriptions".to_owned(),
            format!("/webhooks/subscriptions/{subscription}"),
            "/api/whoami".to_owned(),
            "/log/checkpoint".to_owned(),
        ];
        paths.map(|path| caller.get(&path).status)
    };
    let mut statuses = Vec::new();
    statuses.push(admin.change(&handle, &json!({ "description": round })).status);
    statuses.push(admin.grant(&handle, &viewer).status);
    let rule = admin.post(&format!("/vault/secrets/{secret}/access"), &json!({ "identity_id": id }));
    statuses.push(rule.status);
    statuses.extend(reads(&admin));
    statuses.extend(reads(&agent));
    statuses.push(admin.post(&format!("/identities/{handle}/access"), &json!({})).status);
    statuses.push(admin.delete(&format!("/identities/{handle}/access/{viewer}")).status);
    statuses.push(admin.delete(&format!("/vault/secrets/{secret}")).status);
    statuses.push(admin.delete(&format!("/phone/numbers/{number}")).status);
    statuses.push(admin.delete(&format!("/identities/{handle}")).status);
    statuses
}

// During a rolling upgrade the older version uses the tables of the newer one.
#[test]
fn a_running_service_does_not_notice_columns_that_a_newer_version_adds() {
    let world = World::new();
    let before = use_everything(&world, "before");
    assert!(before.iter().all(|status| *status < 500), "{before:?}");
    let tables = format!("select string_agg(format('%I.%I', nspname, relname), ' ') from {OURS}");
    for table in world.database().text(&tables).split(' ') {
        world.database().execute(&format!("alter table {table} add column of_a_newer_version text"));
    }
    for round in ["after", "and-again"] {
        assert_eq!(use_everything(&world, round), before);
    }
    let verified = world.admin().get("/identities/").ok();
    assert_eq!(verified.as_array().map(Vec::len), Some(3), "the viewers of three rounds are left");
}
