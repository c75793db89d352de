//! What an export does not prove: verification fails, unless `--allow-unproved` is given.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Scene, changed, verify, when};

#[test]
fn what_is_not_proved_fails_unless_it_is_allowed() {
    let scene = Scene::new();
    let (file, key) = (scene.export("export", &[]), scene.verifier_key());
    scene.call(Method::POST, "/identities", &json!({"agent_handle": "third"}));
    let grown = scene.export("grown", &[]);
    let [old, grown] = [file, grown].map(|file| fs::read_to_string(file).unwrap());
    // The trailer and the checkpoint of six events, and one event that was written later.
    let trailer = old.lines().next_back().unwrap().replace(r#""count":6"#, r#""count":7"#);
    let trailer = trailer.replace(r#""last":6"#, r#""last":7"#);
    let lines: Vec<&str> = grown.lines().take(7).chain([trailer.as_str()]).collect();
    let file = scene.place.file("old", &lines.join("\n"));
    let file = file.to_str().unwrap();
    let unproved = "line 7: event 7 is not proved, nor is any after it: the checkpoint covers 6 events";
    assert_eq!(verify(file, &key, &[]).error(), format!("{unproved} (--allow-unproved lets this pass)"));
    let said = verify(file, &key, &["--allow-unproved"]).succeeded().stdout;
    let signed = when(file, &key);
    let expected = format!(
        "6 events verified against the checkpoint of 6 events
events 1 to 6 are what was signed, none between them is missing, and the checkpoint ends with the last
{signed}not verified: {unproved}
"
    );
    assert_eq!(said, expected);
    changed(file, "tea, not", "tea, nou");
    let fault = verify(file, &key, &["--allow-unproved"]);
    assert_eq!(fault.error(), "line 5: event 5 is not the one that was signed");
}

#[test]
fn an_earlier_checkpoint_that_cannot_be_compared_fails_unless_that_is_allowed() {
    let scene = Scene::new();
    let note = scene.checkpoint();
    let previous = ["--previous", note.as_str()];
    scene.call(Method::POST, "/identities", &json!({"agent_handle": "third"}));
    scene.call(Method::POST, "/identities", &json!({"agent_handle": "fourth"}));
    let key = scene.verifier_key();
    let comparable = scene.export("comparable", &["--after", "6"]);
    verify(&comparable, &key, &previous).succeeded();
    let part = scene.export("part", &["--after", "7"]);
    let fault = verify(&part, &key, &previous);
    assert!(fault.error().starts_with("whether this history begins with the earlier checkpoint's 6 events"));
    let said = verify(&part, &key, &[&previous[..], &["--allow-unproved"]].concat()).succeeded().stdout;
    assert!(said.starts_with("1 events verified") && said.contains("not verified: whether"), "{said}");
}

#[test]
fn a_range_without_events_is_said_to_be_one() {
    let scene = Scene::new();
    let page: Value = serde_json::from_str(&scene.read(&scene.admin_key, "/events?limit=5", "*/*")).unwrap();
    let cursor = page["next"].as_str().unwrap();
    let empty = |query: &str| {
        let streamed = scene.read(&scene.admin_key, &format!("/events?{query}"), "application/x-ndjson");
        let file = scene.place.file("empty", &streamed);
        let (file, key) = (file.to_str().unwrap(), scene.verifier_key());
        let refused = verify(file, &key, &[]);
        assert_eq!(
            refused.error(),
            "that there are no events in this range is not proved (--allow-unproved lets this pass)"
        );
        verify(file, &key, &["--allow-unproved"]).succeeded().stdout
    };
    for query in [&format!("after={cursor}&until=2000-01-01T00:00:00Z"), "event_type=identity.exploded"] {
        let said = empty(query);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.first(), Some(&"no events in this range, says whoever wrote this file"));
        let unproved = "not verified: that there are no events in this range is not proved";
        assert_eq!(lines.last(), Some(&unproved));
    }
}
