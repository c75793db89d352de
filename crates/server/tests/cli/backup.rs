//! A backup of a running service, verified offline and restored into a new data directory: everything is as it was.

mod crafted;
mod cut_off;
mod estate;
mod refusals;
mod versions;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Place, bare, run};
use estate::{Answer, Estate, RENAME, asked, call, error, execute, text};

/// What clients read, for each key.
fn read_everything(base: &str, keys: [&str; 2]) -> Vec<(String, Answer)> {
    let paths = [
        "/identities",
        "/identities/front-desk",
        "/identities/front-desk?as_of=sequence:4",
        "/identities/front-desk/access",
        "/identities/front-desk/events",
        "/identities/front-desk/signing-key",
        "/identities/night-watch",
        "/identities/short-lived",
        "/events",
        "/phone/numbers",
        "/tunnels",
        "/mail/mailboxes",
        "/vault/secrets",
        "/webhooks/subscriptions",
        "/log/key",
    ];
    let read = |key: &str, path: &str| {
        let mut answer = call(base, key, &Method::GET, path, &json!(null));
        // An error names its request. The tag of a list names the tables that it was read from.
        let error = answer.body.split(",\"request_id\"").next().map(str::to_owned);
        answer.body = error.unwrap_or_default();
        answer.entity_tag = answer.entity_tag.filter(|tag| tag.contains('-'));
        (path.to_owned(), answer)
    };
    keys.into_iter().flat_map(|key| paths.map(|path| read(key, path))).collect()
}

#[test]
fn a_restored_service_answers_as_the_one_that_was_backed_up() {
    let estate = Estate::new();
    let keys = [estate.admin.as_str(), estate.agent.as_str()];
    let page =
        call(&estate.service.base(), &estate.admin, &Method::GET, "/events?limit=5", &json!(null)).body;
    let cursor = serde_json::from_str::<Value>(&page).unwrap()["next"].as_str().unwrap().to_owned();
    let rest = format!("/events?after={cursor}");
    let rest_before = call(&estate.service.base(), &estate.admin, &Method::GET, &rest, &json!(null));
    let before = read_everything(&estate.service.base(), keys);
    let note = estate.place.file("before.note", &estate.wait_until_signed());
    let verifier_key = before.iter().find(|(path, _)| path == "/log/key").unwrap().1.body.trim().to_owned();
    let file = estate.backup("backup");

    let verified = run(&mut bare(&["backup", "verify", text(&file), "--key", &verifier_key])).succeeded();
    assert!(verified.stdout.contains("none is missing; signatures are checked"), "{}", verified.stdout);
    let target = estate.successor();
    let restored = target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert!(restored.stdout.contains("of 1 organizations, as they were at"), "{}", restored.stdout);
    assert!(
        restored.stdout.contains("signing keys of 1 identities and 1 log endpoints, tokens of 1"),
        "{}",
        restored.stdout
    );
    assert!(!restored.stdout.contains("epoch"), "{}", restored.stdout);

    assert_eq!(shape(&target), shape(&estate.place));

    let service = target.serve();
    for (now, before) in read_everything(&service.base(), keys).iter().zip(&before) {
        assert_eq!(now, before);
    }
    assert_eq!(call(&service.base(), &estate.admin, &Method::GET, &rest, &json!(null)), rest_before);
    let rename: Value = serde_json::from_str(RENAME).unwrap();
    let repeated = call(&service.base(), &estate.admin, &Method::PATCH, "/identities/harbor-desk", &rename);
    assert!(repeated.is_replayed && repeated.status == 200, "{repeated:?}");
    let held = json!({ "agent_handle": "short-lived", "display_name": "somebody else" });
    assert_eq!(call(&service.base(), &estate.admin, &Method::POST, "/identities", &held).status, 409);
    let new = json!({ "agent_handle": "day-watch" });
    assert_eq!(call(&service.base(), &estate.admin, &Method::POST, "/identities", &new).status, 201);

    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let arguments = ["audit", "verify", text(&export), "--key", &verifier_key, "--previous", text(&note)];
    run(&mut bare(&arguments)).succeeded();
    target.run(&["projections", "verify"]).succeeded();
    target.run(&["projections", "verify", "--independent"]).succeeded();
    let checked = target.run(&["doctor", "--listen", "127.0.0.1:0"]);
    assert!(checked.status.success(), "{}", checked.stdout);
}

// As large as the stored answer to a write of an identity with 500,000 viewers.
#[test]
fn a_stored_answer_of_any_size_is_in_a_backup() {
    let estate = Estate::new();
    let larger = "update idempotency_records set body = repeat(body, 100 * 1024 * 1024 / length(body))
                  where ctid = (select min(ctid) from idempotency_records)";
    execute(&estate.place, larger);
    let answers = "select string_agg(md5(body), ' ' order by body) || max(length(body)) / 1024 / 1024 from idempotency_records";
    let file = estate.backup("backup");
    run(&mut bare(&["backup", "verify", text(&file)])).succeeded();
    let target = estate.successor();
    target.run(&["restore", text(&file), "--nothing-lost"]).succeeded();
    assert_eq!(asked(&target, answers), asked(&estate.place, answers));
    assert!(asked(&target, answers).ends_with("99"));
}

/// Every ciphertext of the estate that somebody deletes by hand is named.
#[test]
fn a_ciphertext_that_was_deleted_by_hand_is_named() {
    let estate = Estate::new();
    estate.place.run(&["doctor", "--listen", "127.0.0.1:0"]).succeeded();
    estate.place.run(&["projections", "verify"]).succeeded();
    let all = "select string_agg(concat_ws(' ', aggregate_type, aggregate_id, name), ',') from ciphertexts";
    let all = asked(&estate.place, all);
    assert_eq!(all.split(',').count(), 3, "{all}");
    for ciphertext in all.split(',') {
        let [kind, id, name] = ciphertext.split(' ').collect::<Vec<_>>()[..] else { panic!("{ciphertext}") };
        execute(&estate.place, "create table kept as table ciphertexts");
        execute(&estate.place, &format!("delete from ciphertexts where aggregate_id = '{id}'"));
        let checked = estate.place.run(&["doctor", "--listen", "127.0.0.1:0"]);
        let named = format!("1 are missing, such as `{name}` of {kind} {id}");
        assert!(checked.stdout.contains(&named), "{ciphertext}: {}", checked.stdout);
        let verified = estate.place.run(&["projections", "verify"]);
        assert!(error(&verified).starts_with("1 ciphertexts are missing"), "{}", verified.stderr);
        assert!(verified.stdout.contains(&format!("missing {ciphertext}")), "{}", verified.stdout);
        execute(&estate.place, "insert into ciphertexts select * from kept on conflict do nothing");
        execute(&estate.place, "drop table kept");
    }
    estate.write(&Method::DELETE, "/identities/front-desk", &json!({}), 204);
    estate.place.run(&["projections", "verify"]).succeeded();
}

#[test]
fn a_log_begins_a_new_epoch_unless_nothing_was_lost() {
    let estate = Estate::new();
    let file = estate.backup("backup");
    // The memory beside the key learns of an event that the backup does not have.
    estate.made("/identities", &json!({ "agent_handle": "after-the-backup" }));
    let note = estate.place.file("before.note", &estate.wait_until_signed());
    let target = estate.successor();

    let began: u64 = asked(&estate.place, "select floor(extract(epoch from now()))::text").parse().unwrap();
    let said = target.run(&["restore", text(&file)]).succeeded().stdout;
    assert!(said.contains("1 logs begin a new epoch"), "{said}");
    let service = target.serve();
    let checkpoint = call(&service.base(), &estate.admin, &Method::GET, "/log/checkpoint", &json!(null)).body;
    let epoch = checkpoint.lines().next().unwrap().rsplit('/').next().unwrap();
    // Another restore of this backup with the same memory begins another epoch.
    assert!(epoch.parse::<u64>().unwrap() >= began, "{checkpoint}");
    let export = target.path("export");
    target.run(&["audit", "export", "--org", "acme", "--output", text(&export)]).succeeded();
    let key = call(&service.base(), &estate.admin, &Method::GET, "/log/key", &json!(null)).body;
    let arguments = ["audit", "verify", text(&export), "--key", key.trim(), "--previous", text(&note)];
    let lost = run(&mut bare(&arguments));
    assert!(error(&lost).contains("was signed in the earlier checkpoint and is missing"), "{}", lost.stderr);

    // Whoever says that nothing was lost is told what the memory knows, and nothing is signed.
    let other = estate.successor();
    let said = other.run(&["restore", text(&file), "--nothing-lost"]).succeeded().stdout;
    assert!(said.contains("the restore has not signed the log of org_"), "{said}");
    assert!(said.contains("identityd audit new-epoch --org org_"), "{said}");
}

/// The indexes and constraints of the tables.
fn shape(place: &Place) -> String {
    asked(
        place,
        "select string_agg(definition, E'\\n' order by definition)
         from (select indexdef as definition from pg_indexes where schemaname = 'public'
               union all
               select concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
               from pg_constraint where connamespace = 'public'::regnamespace) as definitions",
    )
}
