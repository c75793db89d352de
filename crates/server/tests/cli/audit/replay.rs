//! Replays of an identity and of an organization.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::Scene;
use crate::harness::{Finished, bare, run};

#[test]
fn an_identity_is_replayed_from_the_database_and_from_a_file_alike() {
    let scene = Scene::new();
    let file = scene.export("export", &[]);
    let from_database = |flags: &[&str]| {
        scene.place.run(&[&["audit", "replay", "--org", "acme"], flags].concat()).succeeded()
    };
    let from_file =
        |flags: &[&str]| run(&mut bare(&[&["audit", "replay", file.as_str()], flags].concat())).succeeded();
    let asked = ["--identity", "harbor-desk"];
    let text = from_database(&asked).stdout;
    assert_eq!(from_file(&asked).stdout, text);
    let heads: Vec<&str> = text.lines().filter(|line| line.contains(" identity.")).collect();
    assert_eq!(heads.len(), 3, "{text}");
    assert!(heads[1].starts_with("5 ") && heads[1].contains("description_changed by ApiKey_"), "{text}");
    let described =
        text.lines().skip_while(|line| *line != heads[1]).skip(1).take_while(|line| *line != heads[2]);
    let marked: Vec<&str> = described.filter(|line| line.starts_with('*')).collect();
    assert_eq!(marked[0], "* description: \"tea, not coffee\"");
    assert!(marked.len() == 2 && marked[1].starts_with("* updated_at: "), "{marked:?}");

    let parsed = |finished: Finished| -> Vec<Value> {
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let steps = parsed(from_file(&["--identity", "front-desk", "--json"]));
    assert_eq!(parsed(from_database(&["--identity", "front-desk", "--json"])), steps);
    assert_eq!(steps[1]["changed"], json!(["/description", "/updated_at"]));
    assert_eq!(steps[2]["state"]["agent_handle"], "front-desk");
    let until = steps[1]["event"]["recorded_at"].as_str().unwrap();
    let early = from_database(&["--identity", "front-desk", "--json", "--until", until]);
    assert_eq!(parsed(early), steps[..2]);
    let since = ["--identity", "front-desk", "--json", "--since", until];
    assert_eq!(parsed(from_file(&since)), steps[1..]);
    assert_eq!(parsed(from_database(&since)), steps[1..]);
    assert_eq!(parsed(from_database(&[&since[..], &["--from-first-event"]].concat())), steps[1..]);
    let id = steps[0]["event"]["aggregate_id"].as_str().unwrap();
    assert_eq!(parsed(from_file(&["--identity", id, "--json"])), steps);
}

#[test]
fn an_organization_is_replayed_and_compared_with_what_a_second_reader_loads() {
    let scene = Scene::new();
    let replay = || scene.place.run(&["audit", "replay", "--org", "acme"]);
    assert_eq!(replay().succeeded().stdout, "6 events of 4 aggregates, 0 differences\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = PgConnection::connect(&scene.place.database_url()).await.unwrap();
        let change = "set session_replication_role = replica;
                      update events set payload = replace(payload::text, 'tea, not', 'tea, nou')::jsonb
                      where organization_sequence = 5;
                      delete from events where organization_sequence = 4";
        database.execute(change).await.unwrap();
    });
    let found = replay();
    assert_eq!(found.error(), "3 differences between the log, the second reader and the read models");
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["5 events of 3 aggregates, 3 differences", "  organization_sequence 4: no event is there",]
    );
    assert!(lines[2].contains("identities has another row"), "{lines:?}");
    assert!(lines[3].ends_with("identities has a row of it, the log has no event"), "{lines:?}");
    let asked = ["audit", "replay", "--org", "acme", "--until", "2026-01-01T00:00:00Z"];
    assert_eq!(scene.place.run(&asked).status.code(), Some(2), "--until needs --identity");
}

#[test]
fn a_replay_shows_who_may_see_and_says_what_it_does_not_know() {
    let scene = Scene::new();
    scene.call(Method::POST, "/identities/front-desk/access", &json!({"viewer_identity_id": null}));
    let replay = |flags: &[&str], identity: &str| {
        run(&mut bare(&[&["audit", "replay"], flags, &["--identity", identity]].concat())).succeeded()
    };
    let whole = replay(&[&scene.export("whole", &[])], "front-desk");
    assert_eq!(whole.stderr, "");
    let marked: Vec<&str> = whole.stdout.lines().rev().filter(|line| line.starts_with('*')).collect();
    assert!(
        marked[0].starts_with("* access: [{") && marked[0].contains("\"viewer_identity_id\":null"),
        "{marked:?}"
    );
    let part = replay(&[&scene.export("part", &["--after", "4"])], "front-desk");
    assert!(part.stdout.contains("visibility_opened by ApiKey_") && !part.stdout.contains("(gone)"));
    assert!(part.stdout.contains("  (unknown: its birth is not in this file)\n"), "{}", part.stdout);
    let doubt = "this may not be the whole life: the events of this file begin with event 5 of the history\n";
    assert_eq!(part.stderr, doubt);
}
