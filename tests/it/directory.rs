//! The directory, in which newer published clients look for other identities. Contract, section 4.5.

use serde_json::{Value, json};

use crate::harness::{Caller, World, text};

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
