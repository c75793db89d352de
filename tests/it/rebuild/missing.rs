//! Missing read models, after a part of a backup was restored or a table was dropped. All of them are rebuilt from the
//! log.

use serde_json::json;

use super::words::{LIVE, names, optional};
use crate::harness::{World, eventually, wait};

/// A service with a row in every read model.
fn of_everything() -> World {
    let world = World::new();
    let admin = world.admin();
    let secret = admin.register_secret("token");
    let alpha = json!({ "agent_handle": "alpha", "vault_secret_ids": [secret["id"]] });
    admin.post("/identities/", &alpha).created();
    let bravo = admin.create("bravo");
    admin.grant("alpha", bravo["id"].as_str().unwrap()).created();
    let subscription = json!({ "agent_identity_id": bravo["id"], "url": "https://bravo.example/", "event_types": ["identity.updated"] });
    admin.post("/webhooks/subscriptions", &subscription).created();
    world
}

/// The columns of a live table with their types, collations, and whether they can be null.
fn columns(world: &World, name: &str) -> Vec<String> {
    let query = format!(
        "select concat_ws(' ', attname, format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull)
         from pg_attribute
         where attrelid = 'read_model.{name}'::regclass and attnum > 0 and not attisdropped
         order by attname"
    );
    wait(sqlx::query_scalar(&query).fetch_all(world.database().pool())).expect(&query)
}

fn constraints(world: &World, name: &str) -> Vec<String> {
    let query = format!(
        "select conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
         where conrelid = 'read_model.{name}'::regclass and contype <> 'n' order by 1"
    );
    wait(sqlx::query_scalar(&query).fetch_all(world.database().pool())).expect(&query)
}

#[test]
fn a_rebuilt_table_has_the_shape_that_the_migrations_make() {
    let world = World::new();
    for name in names() {
        let shape = || (columns(&world, name), world.indexes("read_model", name), constraints(&world, name));
        let migrated = shape();
        world.rebuild(name, LIVE).unwrap();
        assert_eq!(shape(), migrated, "{name}");
    }
}

#[test]
fn a_table_that_is_missing_is_told_of_and_a_rebuild_makes_it() {
    let world = of_everything();
    let admin = world.admin();
    for name in names().into_iter().filter(|name| !optional().contains(name)) {
        let rows = world.rows("read_model", name);
        assert!(!rows.is_empty(), "{name}");
        world.behind_our_back(&format!("drop table read_model.{name}"));
        let told = world.stranger().raw("GET", "/readyz", b"").must_be(503).detail().to_string();
        assert!(told.contains(&format!("The read model {name} is missing")), "{told}");
        for answer in [admin.get("/identities/"), admin.get("/vault/secrets"), admin.get("/api-keys")] {
            assert!([200, 503].contains(&answer.status), "{name}: {answer}");
        }
        world.rebuild(name, LIVE).unwrap();
        assert_eq!(world.rows("read_model", name), rows, "{name}");
        world.stranger().raw("GET", "/readyz", b"").must_be(200);
        assert_eq!(world.entry(name).retired_version, None, "there is nothing to roll back to");
    }
    admin.create("charlie");
    world.is_clean();
}

#[test]
fn without_stored_states_everything_is_answered() {
    let world = of_everything();
    let admin = world.admin();
    for name in optional() {
        world.behind_our_back(&format!("drop table read_model.{name}"));
    }
    world.stranger().raw("GET", "/readyz", b"").must_be(200);
    for number in 0..300 {
        admin.change("alpha", &json!({ "description": number.to_string() })).ok();
    }
    admin.get("/identities/alpha?as_of=sequence:290").ok();
    for name in optional() {
        world.rebuild(name, LIVE).unwrap();
    }
    assert_eq!(world.rows("read_model", "identity_states").len(), 1);
    world.is_clean();
}

#[test]
fn a_service_that_starts_without_any_read_model_makes_them_all() {
    let world = of_everything();
    let handles = world.admin().handles();
    let world = world.restarted_after(|database| {
        for schema in ["read_model", "read_model_next", "read_model_retired", "read_model_discarded"] {
            database.execute(&format!("drop schema {schema} cascade"));
        }
    });
    assert_eq!(world.admin().handles(), handles);
    world.admin().create("charlie");
    eventually("the last table is there", || names().iter().all(|name| world.entry(name).is_there));
    world.is_clean();
}

#[test]
fn a_table_that_a_cut_over_left_ready_is_live_after_the_next_start() {
    let world = of_everything();
    world.rebuild("identities", super::words::BESIDE).unwrap();
    world.admin().create("charlie");
    let world = world.restarted_after(|database| {
        database.execute("update read_models set version = 0 where name = 'identities'");
    });
    assert_eq!(world.admin().handles(), ["charlie", "bravo", "alpha"]);
    assert_eq!(world.entry("identities").job_total, Some(5), "no event was folded for another table");
    world.is_clean();
}
