//! Several committers, in several processes, write to one log.

use std::collections::HashMap;
use std::process::{Command as Process, Stdio};

use identity_log::follow::{Follower, Head};
use sqlx::PgPool;
use tokio::sync::watch;

use super::*;

/// The environment variable with the URL for the helper process. Without it the helper does nothing.
const APPEND_TO: &str = "IDENTITYD_TEST_APPEND_TO";
/// The environment variable with the identity that all tasks change.
const SHARED: &str = "IDENTITYD_TEST_SHARED_IDENTITY";

/// The tasks of each log. Two logs here and one in the other process have sixteen together.
const TASKS_HERE: usize = 4;
const TASKS_THERE: usize = 8;
const ROUNDS: usize = 12;
/// One round: a create, two changes, and a change of the identity that all tasks share.
const EVENTS_OF_A_ROUND: usize = 4;

/// How long a test waits for a state before it fails.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Appends the events of one task: identities of its own in an organization that it shares with other tasks, and
/// changes of an identity that all tasks of all processes share.
async fn task(log: Log, process: &str, number: usize, shared: Uuid) -> Vec<Recorded> {
    let organization = format!("org_{}", number % 3);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let own = ids::mint();
        let wish = Update {
            display_name: Some(Some(format!("{process} {number}"))),
            imessage_enabled: Some(true),
            ..Update::default()
        };
        let metadata = format!(r#"{{"{process}": [{number}, {round}]}}"#);
        for append in [
            of_organization(&organization, create(own, &format!("{process}-{number}-{round}"))),
            of_organization(&organization, at_version(1, update(own, wish))),
            ask_identity(shared, IdentityCommand::ReplaceTunnelMetadata { metadata }),
        ] {
            acknowledged.extend(log.append(append).await.expect("the command is accepted").events);
        }
    }
    acknowledged
}

/// Runs all tasks of one log.
async fn tasks(
    (log, committer): (Log, Committer),
    count: usize,
    process: &str,
    shared: Uuid,
) -> Vec<Recorded> {
    let tasks = (0..count).map(|number| task(log.clone(), process, number, shared)).collect::<Vec<_>>();
    drop(log);
    let committer = tokio::spawn(committer.run());
    let acknowledged = futures::future::join_all(tasks).await;
    committer.await.unwrap();
    acknowledged.concat()
}

/// Reads after its own position whenever it is notified, until it has seen this many events.
async fn follow(pool: &PgPool, mut news: watch::Receiver<Head>, count: usize) -> Vec<Recorded> {
    let mut seen: Vec<Recorded> = Vec::new();
    while seen.len() < count {
        let position = seen.last().map_or(0, |recorded| recorded.position);
        news.wait_for(|head| head.position > position).await.expect("the follower goes on");
        seen.extend(read::page(pool, position, 50).await.unwrap());
    }
    seen
}

/// The other process of the test below. It is no test itself.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent process passes it on")]
fn appends_when_told_where() {
    let (Some(url), Some(shared)) = (std::env::var_os(APPEND_TO), std::env::var_os(SHARED)) else { return };
    let options: PgConnectOptions = url.to_str().unwrap().parse().unwrap();
    let shared = shared.to_str().unwrap().parse().unwrap();
    let acknowledged = wait(tasks(open(options, Duration::ZERO), TASKS_THERE, "there", shared));
    assert_eq!(acknowledged.len(), TASKS_THERE * ROUNDS * EVENTS_OF_A_ROUND);
}

/// Starts this program again, with nothing but the helper.
fn other_process(database: &Database, shared: Uuid) -> Process {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "log::processes::appends_when_told_where", "--nocapture"])
        .env(APPEND_TO, database.url())
        .env(SHARED, shared.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process
}

#[track_caller]
fn dense<K: std::hash::Hash + Eq + std::fmt::Debug>(places: impl Iterator<Item = (K, i64)>) {
    let mut last: HashMap<K, i64> = HashMap::new();
    for (whose, sequence) in places {
        let last = last.entry(whose).or_insert(0);
        assert_eq!(sequence, *last + 1);
        *last = sequence;
    }
}

#[test]
fn a_follower_sees_what_sixteen_tasks_of_two_processes_append_once_and_in_order() {
    let history = History::new();
    let shared = ids::mint();
    let birth = history.append(create(shared, "shared-desk")).events;
    let total = 1 + (2 * TASKS_HERE + TASKS_THERE) * ROUNDS * EVENTS_OF_A_ROUND;
    let child = other_process(&history.database, shared).spawn().unwrap();
    let (follower, news) = wait(Follower::connect(history.database.pool().clone())).unwrap().unwrap();
    let work = async {
        let following = tokio::spawn(follower.run());
        let (seen, here, also_here) = futures::join!(
            follow(history.database.pool(), news, total),
            tasks(history.open(), TASKS_HERE, "here", shared),
            tasks(history.open(), TASKS_HERE, "also-here", shared),
        );
        following.await.unwrap();
        (seen, [here, also_here].concat())
    };
    let (seen, acknowledged) =
        wait(async { tokio::time::timeout(TEST_TIMEOUT, work).await }).expect("all is seen in time");
    let child = child.wait_with_output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));

    dense(seen.iter().map(|recorded| ((), recorded.position)));
    dense(seen.iter().map(|recorded| (&recorded.organization_id, recorded.organization_sequence)));
    dense(seen.iter().map(|recorded| (&recorded.aggregate_id, recorded.sequence)));
    assert_eq!(seen, history.events());
    for recorded in birth.iter().chain(&acknowledged) {
        assert_eq!(&seen[usize::try_from(recorded.position).unwrap() - 1], recorded);
    }
}
