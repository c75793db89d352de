//! No request opens a connection to a database that is known to be silent. Otherwise a thousand clients that ask again and again
//! would open a thousand connections a second, and a machine that wakes up would find them all.

use identityd::settings::{PostgresLayer, WireLayer};

use super::estate::{Estate, Who};
use super::walk;
use crate::harness::{World, eventually};

#[test]
fn a_database_that_is_known_to_be_silent_is_left_alone() {
    let postgres = PostgresLayer { database_timeout_seconds: Some(2), ..PostgresLayer::default() };
    let (tap, world) = World::tapped_with_postgres(&postgres, WireLayer::default());
    let estate = Estate::new(&world);
    let admin = estate.caller(Who::Admin);
    world.database().wait_until_nobody_is_in_a_transaction();
    tap.hang();
    admin.get("/identities").must_be(503);
    let before = tap.opened();
    let operations = walk::operations(&world);
    let rounds = 5;
    for _ in 0..rounds {
        for operation in &operations {
            operation.request(&estate.target.names, false).send(admin);
            world.stranger().raw("GET", "/readyz", b"").must_be(503);
        }
    }
    let (opened, sent) = (tap.opened() - before, rounds * operations.len());
    assert!(opened < sent / 5, "{opened} connections for {sent} requests");
    tap.carry_new_connections();
    eventually("it is ready", || world.stranger().raw("GET", "/readyz", b"").status == 200);
}
