//! Pages of the list of identities, each with a link to the next.

use reqwest::Method;
use serde_json::json;

use super::next;
use crate::harness::World;

#[test]
fn pages_together_are_the_whole_list() {
    let world = World::new();
    let admin = world.admin();
    let agents = world.agents(["alpha", "bravo", "carol", "delta", "echo"]);
    admin.grant("alpha", &agents[1].id).created();
    assert_eq!(
        admin.pages("/identities?limit=2"),
        [vec!["echo", "delta"], vec!["carol", "bravo"], vec!["alpha"]]
    );
    assert_eq!(admin.pages("/identities/?limit=5"), [["echo", "delta", "carol", "bravo", "alpha"]]);
    assert_eq!(admin.pages("/identities?limit=1000").len(), 1);
    let last = admin.get(&next(&admin.get("/identities?limit=4")).unwrap()).ok();
    assert_eq!(last[0], admin.identity("alpha"), "an element of a page is the single answer");
}

#[test]
fn an_empty_list_is_one_empty_page() {
    let world = World::new();
    assert_eq!(world.admin().pages("/identities?limit=1"), [Vec::<String>::new()]);
}

#[test]
fn an_agent_pages_through_what_it_sees() {
    let world = World::new();
    let admin = world.admin();
    let [alpha, ..] = world.agents(["alpha", "bravo", "carol", "delta"]);
    admin.open("bravo");
    admin.grant("delta", &alpha.id).created();
    assert_eq!(alpha.pages("/identities?limit=2"), [vec!["delta", "bravo"], vec!["alpha"]]);
    let body = alpha.get("/identities?limit=1").ok();
    assert_eq!(body[0]["access"], json!([]), "who sees whom is for admins");
}

#[test]
fn a_cursor_without_a_limit_has_pages_of_the_usual_size() {
    let world = World::new();
    world.agents(["alpha", "bravo"]);
    let next = next(&world.admin().get("/identities?limit=1")).unwrap();
    let without_limit = next.replace("limit=1&", "");
    assert_eq!(world.admin().pages(&without_limit), [["alpha"]]);
}

#[test]
fn a_cursor_belongs_to_one_list_and_is_nobody_elses() {
    let world = World::new();
    let admin = world.admin();
    world.agents(["alpha", "bravo", "carol"]);
    let next = next(&admin.get("/identities?limit=1&status=active")).unwrap();
    admin.get(&next).ok();
    let cursor = next.split("cursor=").nth(1).unwrap();
    let mangled = format!("B{}", &cursor[1..]);
    for query in [
        format!("cursor={cursor}"),
        format!("status=paused&cursor={cursor}"),
        format!("status=active&q=a&cursor={cursor}"),
        format!("status=active&cursor={mangled}"),
        format!("status=active&cursor={cursor}&cursor={cursor}"),
        "cursor=".to_owned(),
        "cursor=77".to_owned(),
        "cursor=%00".to_owned(),
    ] {
        admin.get(&format!("/identities?{query}")).invalid_at(&["query", "cursor"]);
    }
    let foreign = world.other_admin().get(&next);
    foreign.invalid_at(&["query", "cursor"]);
}

#[test]
fn a_cursor_survives_a_restart() {
    let world = World::new();
    world.agents(["alpha", "bravo"]);
    let next = next(&world.admin().get("/identities?limit=1")).unwrap();
    let world = world.restarted();
    assert_eq!(world.admin().pages(&next), [["alpha"]]);
}

#[test]
fn what_is_no_limit_is_refused() {
    let world = World::new();
    for limit in ["0", "1001", "-1", "x", "", "1.5"] {
        world.admin().get(&format!("/identities?limit={limit}")).invalid_at(&["query", "limit"]);
    }
    world.admin().get("/identities?limit=1&limit=1").invalid_at(&["query", "limit"]);
}

#[test]
fn the_past_is_neither_paged_nor_filtered() {
    let world = World::new();
    for query in ["limit=1", "q=a", "cursor=x"] {
        let answer = world.admin().get(&format!("/identities?as_of=2020-01-01T00:00:00Z&{query}"));
        answer.invalid_at(&["query", query.split('=').next().unwrap()]);
    }
}

#[test]
fn pages_have_entity_tags_that_tell_callers_apart() {
    let world = World::new();
    let [alpha, _] = world.agents(["alpha", "bravo"]);
    let tag = world.admin().get("/identities?limit=1").headers["etag"].clone();
    let again = |caller: &crate::harness::Caller| {
        caller.call(Method::GET, "/identities?limit=1").header("If-None-Match", &tag).send().status
    };
    assert_eq!(again(&world.admin()), 304);
    assert_eq!(again(&alpha), 200, "another's view is another list");
    world.admin().create("carol");
    assert_eq!(again(&world.admin()), 200);
}
