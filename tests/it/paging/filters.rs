//! Filters of the list of identities.

use serde_json::json;

use crate::harness::{World, text};

fn world() -> World {
    let world = World::new();
    let admin = world.admin();
    for (handle, name) in
        [("sales-east", "Front Desk"), ("sales-west", "100%_Élan\\"), ("helpline", "Sales Überwachung")]
    {
        admin.try_create(handle, json!({ "display_name": name })).created();
    }
    admin.change("sales-west", &json!({ "status": "paused" })).ok();
    admin.change("helpline", &json!({ "display_name": null })).ok();
    assert!(admin.handles_of("q=berwachung").is_empty(), "a name that was cleared is not found");
    admin.change("helpline", &json!({ "display_name": "Sales Überwachung" })).ok();
    world
}

#[test]
fn by_status() {
    let world = world();
    assert_eq!(world.admin().handles_of("status=active"), ["helpline", "sales-east"]);
    assert_eq!(world.admin().handles_of("status=paused"), ["sales-west"]);
    world.admin().get("/identities?status=deleted").invalid_at(&["query", "status"]);
}

#[test]
fn by_the_beginning_of_the_handle() {
    let world = world();
    let admin = world.admin();
    assert_eq!(admin.handles_of("handle_prefix=sales-"), ["sales-west", "sales-east"]);
    assert_eq!(admin.handles_of("handle_prefix=@SALES-W"), ["sales-west"]);
    assert_eq!(admin.handles_of("handle_prefix="), ["helpline", "sales-west", "sales-east"]);
    for none in ["%25", "_ales", "ales", "sales-%25", "%C3%A9"] {
        assert!(admin.handles_of(&format!("handle_prefix={none}")).is_empty(), "{none}");
    }
}

#[test]
fn by_a_part_of_handle_or_display_name_in_whatever_case() {
    let world = world();
    let admin = world.admin();
    let cases: [(&str, &[&str]); 10] = [
        ("sales", &["helpline", "sales-west", "sales-east"]),
        ("DESK", &["sales-east"]),
        ("%C3%BCBER", &["helpline"]),
        ("%C3%89LAN", &["sales-west"]),
        ("%25", &["sales-west"]),
        ("_", &["sales-west"]),
        ("%5C", &["sales-west"]),
        ("%25%25", &[]),
        ("t+d", &["sales-east"]),
        ("sales-west100", &[]),
    ];
    for (q, found) in cases {
        assert_eq!(admin.handles_of(&format!("q={q}")), found, "{q}");
    }
    admin.get("/identities?q=%00").invalid_at(&["query", "q"]);
}

// The Greek sigma has another form at the end of a word. Both are one letter.
#[test]
fn by_a_part_of_a_word_that_ends_elsewhere() {
    let world = World::new();
    let admin = world.admin();
    let (upper, lower) = ("ΟΔΥΣΣΕΥΣ", "ὀδυσσεύς");
    admin.try_create("upper", json!({ "display_name": upper })).created();
    admin.try_create("lower", json!({ "display_name": lower })).created();
    let cases: [(&str, &[&str]); 6] = [
        ("ΟΔΥΣ", &["upper"]),
        ("οδυς", &["upper"]),
        ("οδυσσευς", &["upper"]),
        ("ΟΔΥΣΣΕΥΣ", &["upper"]),
        ("Σ", &["lower", "upper"]),
        ("ς", &["lower", "upper"]),
    ];
    for (q, found) in cases {
        assert_eq!(admin.handles_of(&format!("q={q}")), found, "{q}");
    }
}

#[test]
fn by_when_it_was_created() {
    let world = world();
    let admin = world.admin();
    let west = text(&admin.identity("sales-west")["created_at"]);
    assert_eq!(admin.handles_of(&format!("created_after={west}")), ["helpline"]);
    assert_eq!(admin.handles_of(&format!("created_before={west}")), ["sales-east"]);
    let between = format!("created_after=2020-01-01T00:00:00%2B02:00&created_before={west}");
    assert_eq!(admin.handles_of(&between), ["sales-east"]);
    for bad in ["created_after=yesterday", "created_before=2020-01-01"] {
        admin.get(&format!("/identities?{bad}")).invalid_at(&["query", bad.split('=').next().unwrap()]);
    }
}

#[test]
fn by_all_of_these_and_page_by_page() {
    let world = world();
    let query = "/identities?q=sales&created_before=2100-01-01T00:00:00Z&status=active&created_after=2020-01-01T00:00:00Z&limit=1";
    assert_eq!(world.admin().pages(query), [["helpline"], ["sales-east"]]);
}

#[test]
fn a_filter_shows_nobody_what_it_may_not_see() {
    let world = world();
    let alpha = world.agent("alpha");
    world.admin().open("helpline");
    assert_eq!(alpha.handles_of("q=e"), ["helpline"]);
    assert!(alpha.handles_of("handle_prefix=sales").is_empty());
}

#[test]
fn a_parameter_that_is_no_text_is_refused() {
    let world = world();
    let admin = world.admin();
    for query in ["q=%ff", "q=a%C3", "handle_prefix=%80", "status=active&q=%ed%a0%80"] {
        let answer = admin.get(&format!("/identities?{query}"));
        assert_eq!(answer.status, 422, "{query}: {answer}");
    }
    admin.get("/events?agent_handle=%ff").invalid_at(&["query", "agent_handle"]);
    // An unknown parameter is ignored, even if its value is no text.
    admin.get("/identities?unknown=%ff").must_be(200);
    assert_eq!(admin.handles_of("q=%C3%9Cberwachung"), ["helpline"]);
}
