//! The directory, in which newer published clients look for other identities. Contract, section 4.5.

use identityd::settings::PostgresLayer;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Caller, World, eventually, text, wait};

const PATH: &str = "/identities/a2a/directory";

fn names(caller: &Caller, query: &str) -> Vec<String> {
    let page = caller.get(&format!("{PATH}{query}")).ok();
    page["items"].as_array().unwrap().iter().map(|item| text(&item["card"]["name"])).collect()
}

#[test]
fn it_has_whom_the_key_may_see() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, bravo, carol] = world.agents(["alpha", "bravo", "carol"]);
    admin.grant("alpha", &bravo.id).created();
    admin.change("alpha", &json!({"display_name": "First", "description": "Answers"})).ok();
    world.other_admin().create("foreigner");
    assert_eq!(names(&admin, ""), ["carol", "bravo", "First"]);
    assert_eq!(names(&alpha, ""), ["First"]);
    assert_eq!(names(&bravo, ""), ["bravo", "First"]);
    assert_eq!(names(&carol, ""), ["carol"]);
    world.auditor().get(PATH).refused(403);
    let item = bravo.get(PATH).ok()["items"][1].clone();
    let card = json!({
        "name": "First", "description": "Answers", "identity_id": alpha.id, "agent_handle": "alpha",
        "email_address": "alpha@agents.localhost",
    });
    let url = "/api/v1/identities/alpha/a2a/card";
    assert_eq!(item, json!({"card_url": url, "card": card, "visibility": "organization"}));
    assert_eq!(bravo.get(url).ok(), card);
    carol.get(url).refused(404);
    admin.change("alpha", &json!({"display_name": null})).ok();
    assert_eq!(bravo.get(url).ok()["name"], "alpha", "the handle stands in for a name");
}

#[test]
fn it_is_read_page_by_page_and_searched() {
    let world = World::new();
    let admin = world.admin();
    for number in 0..5 {
        admin.create(&format!("agent-{number}"));
    }
    admin.create("other");
    let mut seen = vec![];
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("{PATH}?q=AGENT&limit=2{cursor}")).ok();
        let items = page["items"].as_array().unwrap();
        assert!(!items.is_empty() && items.len() <= 2 && seen.len() < 5);
        seen.extend(items.iter().map(|item| text(&item["card"]["agent_handle"])));
        if page["next_cursor"] == Value::Null {
            break;
        }
        cursor = format!("&cursor={}", text(&page["next_cursor"]));
    }
    assert_eq!(seen, ["agent-4", "agent-3", "agent-2", "agent-1", "agent-0"]);
    admin.get(&format!("{PATH}?limit=2{cursor}")).invalid_at(&["query", "cursor"]);
    admin.get(&format!("{PATH}?limit=0")).invalid_at(&["query", "limit"]);
    admin.get(&format!("{PATH}?colour=red")).invalid_at(&["query", "colour"]);
    assert_eq!(names(&admin, "").len(), 6);
}

/// Requests of the service that wait for a lock of a table.
fn waiting(world: &World, read: &str) -> i64 {
    world.database().number(&format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'identityd' and wait_event_type = 'Lock'
           and query like '%{read}%'"
    ))
}

/// Of 8 connections a key uses 2, and 1 of them for large reads.
#[test]
fn a_page_is_a_large_read_and_leaves_the_key_another_connection() {
    let postgres = PostgresLayer { database_connections: Some(8), ..PostgresLayer::default() };
    let world = World::with_server_of_its_own(&postgres);
    let admin = world.admin();
    admin.create("alpha");
    // The key is in the cache from now on. It would be looked for in the table that is locked.
    admin.get(PATH).ok();
    let mut elsewhere = wait(PgConnection::connect(world.database().owner_url())).unwrap();
    wait(elsewhere.execute("begin; lock table read_model.identities in access exclusive mode")).unwrap();
    let send = |target: &str| {
        let mut line = admin.connect();
        line.send(admin.head("GET", target, 0));
        line
    };
    let pages = [(); 3].map(|()| send(&format!("/api/v1{PATH}")));
    eventually("a page waits", || waiting(&world, "") > 0);
    let other = send("/api/v1/phone/numbers");
    eventually("another read waits for the table, too", || waiting(&world, "phone_number") == 1);
    assert_eq!(waiting(&world, ""), 2);
    wait(elsewhere.close()).unwrap();
    for line in pages.into_iter().chain([other]) {
        assert!(line.until_closed().starts_with("HTTP/1.1 200"));
    }
}
