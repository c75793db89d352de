//! The commands for read models, with jobs that are interrupted and killed.

use std::future::Future;
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};

use crate::harness::{DEADLINE, Finished, Place, Serving, eventually, signal};

/// Identities with several events each, so that a rebuild takes some time.
const CROWD: &str = "
    insert into organization_heads values ('org_crowd', 0);
    insert into events
    select position + number, 'org_crowd', number, 'identity', md5('identity ' || number)::uuid::text, 1,
           'identity.created', '1',
           jsonb_build_object(
               'type', 'identity.created', 'id', md5('identity ' || number)::uuid, 'agent_handle', 'crowd-' || number,
               'display_name', 'crowd', 'description', null, 'imessage_enabled', false,
               'mailbox', jsonb_build_object('id', md5('mailbox ' || number)::uuid,
                                             'email_address', 'crowd-' || number || '@agents.localhost'),
               'tunnel', jsonb_build_object('id', md5('tunnel ' || number)::uuid, 'tls_mode', 'passthrough',
                                            'zone', 'tunnels.localhost')),
           '{}', now() + number * interval '1 microsecond', decode(repeat('00', 32), 'hex')
    from log_head, generate_series(1, 2000) as number;
    update log_head set position = position + 2000, recorded_at = now() + interval '1 second';
    update organization_heads set sequence = 2000 where organization_id = 'org_crowd';";

const ROWS: &str = "select count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' order by id)), '') \
                    from read_model.identities as t";

fn wait<F: Future>(work: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap()).block_on(work)
}

/// A running service with many identities in its log, and a connection to its database.
struct Scene {
    database: PgConnection,
    serving: Serving,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let place = Place::served();
        let serving = place.serve();
        let database = wait(PgConnection::connect(&place.database_url())).unwrap();
        let mut scene = Self { database, serving, place };
        wait(scene.database.execute(CROWD)).unwrap();
        scene.run(&["rebuild", "identities"]).succeeded();
        scene
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.place.command(&[&["projections"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        crate::harness::run(&mut self.command(arguments))
    }

    fn rebuilding(&self) -> Child {
        self.command(&["rebuild", "identities"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn text(&mut self, query: &str) -> String {
        wait(sqlx::query_scalar(query).fetch_one(&mut self.database)).unwrap()
    }

    fn status_of_identities(&self) -> Value {
        let all = self.run(&["status", "--json"]).succeeded().json();
        all.as_array().unwrap().iter().find(|entry| entry["name"] == "identities").unwrap().clone()
    }

    fn finish(self) {
        wait(self.database.close()).unwrap();
        assert!(self.serving.stop().success());
    }
}

#[test]
fn operators_rebuild_verify_and_roll_back_beside_the_service() {
    let scene = Scene::new();
    let rebuilt = scene.run(&["rebuild", "--all", "--json"]).succeeded();
    let reports: Vec<Value> =
        rebuilt.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 12);
    assert_eq!((&reports[0]["name"], &reports[0]["events"]), (&"identities".into(), &2000.into()));
    assert!(
        reports.iter().all(|report| report["live"] == true && report["pause_ms"].is_number()),
        "{reports:?}"
    );
    let progress: Value = serde_json::from_str(rebuilt.stderr.lines().last().unwrap()).unwrap();
    assert!(progress["phase"].is_string() && progress["total"].is_number(), "{progress}");
    scene.run(&["verify"]).succeeded();
    scene.run(&["rollback", "identities"]).succeeded();
    let ready = scene.run(&["rebuild", "identities", "--no-cutover", "--json"]).succeeded();
    assert_eq!(ready.json()["live"], false);
    let status = scene.status_of_identities();
    assert_eq!((&status["rows"], &status["job"]["phase"]), (&2000.into(), &"ready".into()));
    assert_eq!(status["job"]["running"], false);
    assert_eq!(status["ready"]["version"], status["version_in_code"]);
    scene.run(&["cutover", "identities"]).succeeded();
    assert!(scene.run(&["cutover", "identities"]).error().contains("ready to go live"));
    scene.run(&["rebuild", "visibility", "--no-cutover"]).succeeded();
    let all = scene.run(&["cutover", "--all", "--json"]).succeeded();
    assert_eq!(all.json()["name"], "visibility");
    assert_eq!(
        scene.run(&["cutover", "--all"]).error(),
        "no read model has a table that is ready to go live"
    );
    assert!(scene.run(&["rebuild", "identity"]).error().starts_with("there is no read model identity"));
    scene.finish();
}

#[test]
fn a_difference_makes_a_verification_fail() {
    let mut scene = Scene::new();
    wait(scene.database.execute("delete from read_model.identities where agent_handle = 'crowd-7'")).unwrap();
    let verified = scene.run(&["verify", "identities"]);
    assert_eq!(verified.error(), "1 rows differ from the log: run `identityd projections rebuild NAME`");
    assert!(verified.stdout.contains("  missing "), "{}", verified.stdout);
    scene.finish();
}

#[test]
fn a_second_reader_holds_what_this_software_reads() {
    let mut scene = Scene::new();
    let all = scene.run(&["verify", "--independent", "--json"]).succeeded().json();
    assert!(all["aggregates"].as_u64().unwrap() >= 2000 && all["differences"] == json!([]), "{all}");
    let sample = scene.run(&["verify", "--independent", "--sample", "50"]).succeeded();
    assert!(sample.stdout.trim_end().ends_with(" aggregates, 0 differences"), "{}", sample.stdout);
    // Our reader does not read the metadata when it folds.
    let torn = "set session_replication_role = replica; update events set metadata = '[]' where position = 7";
    wait(scene.database.execute(torn)).unwrap();
    let verified = scene.run(&["verify", "--independent"]);
    assert_eq!(verified.error(), "1 differences between the log, the second reader and the read models");
    assert!(verified.stdout.contains("postgres-es cannot load it: "), "{}", verified.stdout);
    scene.finish();
}

#[test]
fn the_doctor_compares_a_sample_and_fails_if_something_differs() {
    let mut scene = Scene::new();
    let readers = |scene: &Scene| {
        let checked = scene.place.run(&["doctor"]).stdout;
        checked.lines().find(|line| line.contains(" readers: ")).unwrap().to_owned()
    };
    let same = readers(&scene);
    assert!(same.starts_with("ok      readers: 100 random aggregates are the same"), "{same}");
    let wrong = "set session_replication_role = replica; update read_model.identities set status = 'paused'";
    wait(scene.database.execute(wrong)).unwrap();
    let found = readers(&scene);
    assert!(
        found.starts_with("FAILED  readers: ") && found.contains("identities has another row"),
        "{found}"
    );
    scene.finish();
}

#[test]
fn a_rebuild_that_is_killed_in_its_first_half_leaves_the_live_table() {
    leaves_the_live_table_when_killed_at(1..=10);
}

#[test]
fn a_rebuild_that_is_killed_in_its_second_half_leaves_the_live_table() {
    leaves_the_live_table_when_killed_at(11..=20);
}

/// Divides the length of a rebuild into 21 moments. Kills a rebuild at each of `moments`, and rebuilds after each.
fn leaves_the_live_table_when_killed_at(moments: RangeInclusive<u32>) {
    let mut scene = Scene::new();
    let before = scene.text(ROWS);
    let mut job = scene.rebuilding();
    let mut length = 0;
    let deadline = Instant::now() + DEADLINE;
    while job.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the rebuild does not end");
        scene.text("select count(*)::text from pg_stat_activity");
        length += 1;
    }
    assert!(job.wait().unwrap().success());
    for moment in moments {
        let mut job = scene.rebuilding();
        for _ in 0..length * moment / 21 {
            scene.text("select count(*)::text from pg_stat_activity");
        }
        signal("KILL", &job.id().to_string());
        job.wait().unwrap();
        assert_eq!(scene.text(ROWS), before);
        scene.run(&["rebuild", "identities"]).succeeded();
        assert_eq!(scene.text(ROWS), before);
    }
    scene.run(&["verify"]).succeeded();
    scene.finish();
}

#[test]
fn an_interrupted_rebuild_stops_and_says_what_remains() {
    let mut scene = Scene::new();
    let before = scene.text(ROWS);
    for name in ["INT", "TERM"] {
        let there = "create table if not exists read_model_next.identities ()";
        wait(scene.database.execute(there)).unwrap();
        let hold = "begin; lock table read_model_next.identities in access exclusive mode";
        wait(scene.database.execute(hold)).unwrap();
        let arguments = ["rebuild", "identities", "visibility"];
        let mut command = scene.command(&arguments);
        let job = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let waiting = "select count(*)::text from pg_locks where not granted and relation = 'read_model_next.identities'::regclass";
        eventually("the job waits for us", || scene.text(waiting) == "1");
        signal(name, &job.id().to_string());
        let output = job.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(
            stderr.lines().last(),
            Some(
                "error: identities was not rebuilt; the live table is as it was, and the next run starts over \
                 (reached phase fold, 0 of 2000 events); not begun: visibility: interrupted"
            )
        );
        wait(scene.database.execute("rollback")).unwrap();
        assert_eq!(scene.text(ROWS), before);
        assert_eq!(scene.status_of_identities()["job"]["phase"], "interrupted in phase fold");
    }
    scene.finish();
}

#[test]
fn the_service_shows_what_another_process_does_to_read_models() {
    let scene = Scene::new();
    let has = |line: &str| {
        let seen = reqwest::blocking::get(scene.serving.metrics()).unwrap().text().unwrap();
        assert!(seen.lines().any(|found| found == line), "no {line} in:\n{seen}");
    };
    let of_identities = |series: &str| format!("identityd_read_model_{series}{{read_model=\"identities\"}}");
    has("identityd_read_model_job_phase{read_model=\"identities\",phase=\"done\"} 1");
    has(&format!("{} 2000", of_identities("job_events_done")));
    scene.run(&["verify", "identities"]).succeeded();
    has(&format!("{} 0", of_identities("verified_differences")));
    scene.finish();
}
