//! Text of other people on a terminal: whichever command prints it, it contains no control characters.

use std::process::{Command, Stdio};

use reqwest::Method;
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::harness::{Finished, Place, Serving, bare, run};

/// Clears the screen, begins a new line, and reverses the direction of text.
const HOSTILE: &str = "a\u{1b}[2J\tb\r\n999 events verified\u{7f}\u{9b}31m\u{202e}\u{2066}\u{2028}";

/// Whether a terminal would execute this character. Line feeds and tabs come from the commands themselves.
fn is_obeyed(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn assert_harmless(what: &str, finished: &Finished) {
    for text in [&finished.stdout, &finished.stderr] {
        assert!(!text.contains(is_obeyed), "{what}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("999 events verified")), "{what}: {text:?}");
    }
}

/// An organization, a key and an identity with hostile names.
struct Scene {
    place: Place,
    service: Serving,
    organization: String,
}

impl Scene {
    fn new() -> Self {
        let place = Place::served();
        let service = place.serve();
        let made = place.run(&["org", "create", HOSTILE, "--json"]).succeeded().json();
        let organization = made["organization_id"].as_str().unwrap().to_owned();
        place.run(&["key", "issue", "--org", &organization, "--label", HOSTILE]).succeeded();
        let scene = Self { place, service, organization };
        let key = made["api_key"].as_str().unwrap();
        for (handle, name) in [("night-watch", HOSTILE), ("day-watch", "day")] {
            let body = json!({ "agent_handle": handle, "display_name": name, "description": HOSTILE });
            let url = format!("{}/api/v1/identities", scene.service.base());
            let request = Client::new().request(Method::POST, url).header("X-API-Key", key).json(&body);
            request.send().unwrap().error_for_status().unwrap();
        }
        scene
    }

    /// Every command that prints text from the database.
    fn commands(&self) -> Vec<Vec<&str>> {
        let org = self.organization.as_str();
        vec![
            vec!["org", "list"],
            vec!["key", "list", "--org", org],
            vec!["identity", "list", "--org", org],
            vec!["identity", "show", "night-watch", "--org", org],
            vec!["access", "list", "night-watch", "--org", org],
            vec!["audit", "replay", "--org", org, "--identity", "night-watch"],
            vec!["projections", "status"],
            vec!["projections", "verify"],
            vec!["doctor"],
            vec!["key", "list", "--org", HOSTILE],
            vec!["identity", "show", HOSTILE, "--org", org],
            vec!["access", "grant", "night-watch", "--org", HOSTILE, "--viewer", HOSTILE],
        ]
    }
}

#[test]
fn names_of_tenants_are_harmless_in_every_command() {
    let scene = Scene::new();
    for arguments in scene.commands() {
        let printed = scene.place.run(&arguments);
        assert_harmless(&format!("{arguments:?}"), &printed);
        let machine = scene.place.run(&[&arguments[..], &["--json"]].concat());
        assert!(!machine.stdout.contains(|character| is_obeyed(character) || character == '\t'));
        assert_harmless(&format!("{arguments:?} --json"), &machine);
    }
    let listed = scene.place.run(&["org", "list"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 1, "{listed:?}");
    assert_eq!(listed.matches('\t').count(), 2, "{listed:?}");
    assert!(
        listed.contains("a\\u{1b}[2J\\tb\\r\\n999 events verified\\u{7f}\\u{9b}31m\\u{202e}"),
        "{listed:?}"
    );
    let json = scene.place.run(&["org", "list", "--json"]).succeeded().json();
    assert_eq!(json[0]["name"], HOSTILE, "JSON has the same content");
    assert!(scene.service.stop().success());
    let demo = Serving::start(
        scene.place.command(&["serve", "--listen", "127.0.0.1:0", "--demo"]).stderr(Stdio::null()),
    );
    let reminded = demo.printed_until("another admin key");
    assert!(!reminded.contains(is_obeyed), "{reminded:?}");
}

#[test]
fn people_get_tables_with_headings_and_colours_only_if_they_want_them() {
    let scene = Scene::new();
    for arguments in scene.commands() {
        let shown = on_terminal(&scene.place, &arguments, "NO_COLOR=1");
        assert!(
            !shown.contains(|character| is_obeyed(character) || character == '\t'),
            "{arguments:?}: {shown:?}"
        );
    }
    let keys = on_terminal(&scene.place, &["key", "list", "--org", &scene.organization], "NO_COLOR=1");
    assert!(keys.lines().next().unwrap().contains("LABEL"), "{keys}");
    assert!(keys.contains("just now") || keys.contains("minute"), "{keys}");
    let coloured = on_terminal(&scene.place, &["doctor"], "TERM=xterm");
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    let status = on_terminal(&scene.place, &["projections", "status"], "NO_COLOR=1");
    assert!(status.lines().next().unwrap().contains("READ MODEL"), "{status}");
    assert!(scene.service.stop().success());
}

#[test]
fn a_table_keeps_ids_undivided_and_says_that_it_is_empty() {
    let scene = Scene::new();
    let org = scene.organization.as_str();
    let issue =
        ["key", "issue", "--org", org, "--label", "a label of many words that wants much room", "--json"];
    let issued = scene.place.run(&issue).succeeded().json();
    let id = issued["key_id"].as_str().unwrap();
    for width in [60, 110, 200] {
        let keys = on_terminal_of(width, &scene.place, &["key", "list", "--org", org], "NO_COLOR=1");
        assert!(keys.lines().any(|line| line.trim_start().starts_with(id)), "{width}: {keys}");
        let longest = keys.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(width < 110 || longest <= width, "{width}: {keys}");
    }
    let none = on_terminal(&scene.place, &["webhooks", "list", "--org", org], "NO_COLOR=1");
    assert_eq!(none.trim(), "no webhooks");
    let none = scene.place.run(&["webhooks", "list", "--org", org]).succeeded();
    assert_eq!(none.stdout, "", "programs read lines");
    assert!(scene.service.stop().success());
}

fn on_terminal(place: &Place, arguments: &[&str], environment: &str) -> String {
    on_terminal_of(200, place, arguments, environment)
}

/// Runs a command on a pseudo-terminal of this width, and returns what it prints, without the carriage returns that the
/// terminal adds.
fn on_terminal_of(width: usize, place: &Place, arguments: &[&str], environment: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    let line = format!(
        "stty cols {width}; {environment} {} {} --data-dir {}",
        env!("CARGO_BIN_EXE_identityd"),
        words.join(" "),
        quoted(place.data_dir().to_str().unwrap())
    );
    let mut command = Command::new("script");
    run(command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null())).stdout.replace("\r\n", "\n")
}

#[test]
fn files_of_others_are_harmless() {
    let scene = Scene::new();
    let org = scene.organization.as_str();
    let export = scene.place.run(&["audit", "export", "--org", org]).succeeded().stdout;
    let lines: Vec<&str> = export.lines().collect();
    let hostile = json!(HOSTILE).to_string();
    let hostile = hostile.trim_matches('"');
    let with_first = |line: String| {
        let rest = lines[1..].iter().map(|line| (*line).to_owned());
        [line].into_iter().chain(rest).collect::<Vec<_>>().join("\n") + "\n"
    };
    let mut trailer: Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    trailer["trailer"]["refused"] = json!(HOSTILE);
    let refused = [&lines[..lines.len() - 1], &[trailer.to_string().as_str()]].concat().join("\n") + "\n";
    let forgeries = [
        with_first(lines[0].replace(org, hostile)),
        with_first(lines[0].replacen('{', &format!("{{\"{hostile}\":1,"), 1)),
        with_first(
            lines[0].replace("\"payload\":{", &format!("\"payload\":{{\"{hostile}\":1,\"{hostile}\":2,")),
        ),
        with_first(HOSTILE.replace('\n', "")),
        export.replace("operator", hostile),
        export.replace("identity.created", hostile),
        refused,
        HOSTILE.to_owned(),
    ];
    let url = format!("{}/api/v1/log/key", scene.service.base());
    let made = scene.place.run(&["key", "issue", "--org", org, "--label", "k", "--json"]).succeeded().json();
    let request = Client::new().get(url).header("X-API-Key", made["api_key"].as_str().unwrap());
    let key = request.send().unwrap().text().unwrap();
    for forged in forgeries {
        let file = scene.place.file("forged", &forged);
        let file = file.to_str().unwrap();
        for flags in [&[][..], &["--json"]] {
            let verify = ["audit", "verify", file, "--key", key.trim_end(), "--allow-unproved"];
            assert_harmless(&forged, &run(&mut bare(&[&verify, flags].concat())));
            let replay = ["audit", "replay", file, "--identity", "night-watch"];
            assert_harmless(&forged, &run(&mut bare(&[&replay, flags].concat())));
        }
    }
    let numbers = scene.place.file("numbers", &format!("+1 {HOSTILE}"));
    assert_harmless("numbers", &scene.place.run(&["numbers", "load", numbers.to_str().unwrap()]));
    let settings = scene.place.file("settings", &format!("\"{hostile}\" = 1"));
    assert_harmless("settings", &scene.place.run(&["doctor", "--config", settings.to_str().unwrap()]));
    assert_harmless("a missing file", &run(&mut bare(&["audit", "verify", HOSTILE, "--key", HOSTILE])));
    assert_harmless("a mistake", &run(&mut bare(&[HOSTILE])));
    let url = "postgres://u@a%1B%5B2J%0A999 events verified/x";
    assert_harmless("an address", &run(&mut bare(&["doctor", "--database-url", url])));
    assert!(scene.service.stop().success());
}

#[test]
fn operators_let_identities_see_each_other() {
    let scene = Scene::new();
    let org = scene.organization.as_str();
    let access = |arguments: &[&str]| scene.place.run(&[&["access"], arguments, &["--org", org]].concat());
    let listed = || {
        let listed = access(&["list", "night-watch"]).succeeded().stdout;
        let viewers = listed.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned());
        viewers.collect::<Vec<_>>()
    };
    assert!(listed().is_empty());
    let grant = ["grant", "night-watch", "--viewer", "day-watch"];
    assert_eq!(access(&grant).succeeded().stdout, "day-watch may see night-watch\n");
    assert_eq!(listed(), ["day-watch"]);
    assert_eq!(access(&grant).error(), "access already granted");
    let everyone = access(&["grant-everyone", "night-watch", "--json"]).succeeded().json();
    assert_eq!(everyone["status"], "granted");
    let again = access(&["grant-everyone", "night-watch", "--json"]).succeeded().json();
    assert_eq!(again["status"], "unchanged");
    assert_eq!(listed(), ["everyone"]);
    access(&["revoke", "night-watch", "--viewer", "day-watch"]).succeeded();
    assert!(listed().is_empty());
    let error = access(&["revoke", "night-watch", "--viewer", "day-watch"]);
    assert_eq!(error.error(), "access not found");
    let shown =
        scene.place.run(&["identity", "show", "day-watch", "--org", org, "--json"]).succeeded().json();
    assert_eq!((&shown["agent_handle"], &shown["access"]), (&json!("day-watch"), &json!([])));
    let identities = scene.place.run(&["identity", "list", "--org", org, "--json"]).succeeded().json();
    let handles: Vec<&Value> = identities.as_array().unwrap().iter().map(|it| &it["agent_handle"]).collect();
    assert_eq!(handles, ["day-watch", "night-watch"]);
    scene.place.run(&["projections", "verify"]).succeeded();
    assert!(scene.service.stop().success());
}
