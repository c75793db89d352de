//! A database that falls silent, as one on a machine that hangs, or behind a network that drops packets. No connection is closed, and
//! nothing is answered. A command ends all the same and says so, and a service that starts does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use identity_postgres::PrivatePostgres;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Runtime;

use crate::harness::{Finished, Place, Serving, eventually, run_to_end};

/// More than anything has.
const ALL: usize = usize::MAX;

/// What is carried between a command and the Postgres of a place. It runs until the process ends.
struct Relay {
    url: String,
}

impl Relay {
    /// A relay of which the first connections can be opened, and then carry nothing.
    fn with_silent(place: &Place, connections: usize) -> Self {
        Self::start(place, connections, ALL)
    }

    /// A relay that carries this many bytes of answers, and then nothing more over any connection.
    fn silent_after(place: &Place, bytes: usize) -> Self {
        Self::start(place, 0, bytes)
    }

    fn start(place: &Place, silent: usize, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "postgres://identityd_service@{}/identityd?sslmode=disable",
            listener.local_addr().unwrap()
        );
        let socket = place.postgres().join("socket/.s.PGSQL.5432");
        let left = Arc::new(AtomicUsize::new(bytes));
        thread::spawn(move || {
            for number in 0.. {
                let near = listener.accept().unwrap().0;
                let far = UnixStream::connect(&socket).unwrap();
                let (asker, answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                // The threads end when one of the two connections is closed.
                thread::spawn(move || carry_questions(near, far, number < silent));
                let left = Arc::clone(&left);
                thread::spawn(move || carry_answers(answers, asker, &left));
            }
        });
        Self { url }
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command(arguments);
        command.args(["--database-url", &self.url]);
        command
    }
}

/// Carries what the command sends. Over a silent connection that is its first message, with which it opens the connection.
fn carry_questions(mut near: impl Read, mut far: impl Write, is_silent: bool) -> std::io::Result<()> {
    if is_silent {
        let mut length = [0; 4];
        near.read_exact(&mut length)?;
        let mut rest = vec![0; u32::from_be_bytes(length) as usize - length.len()];
        near.read_exact(&mut rest)?;
        far.write_all(&[&length[..], &rest].concat())?;
        std::io::copy(&mut near, &mut std::io::sink())?;
    }
    std::io::copy(&mut near, &mut far).map(drop)
}

/// Carries what Postgres answers, until nothing is left of the bytes that may be carried.
fn carry_answers(mut far: impl Read, mut near: impl Write, left: &AtomicUsize) -> std::io::Result<()> {
    let mut some = [0; 1024];
    loop {
        let count = far.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        let taken = |left: usize| Some(left.saturating_sub(count));
        let before = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, taken).unwrap();
        near.write_all(&some[..count.min(before)])?;
        while left.load(Ordering::SeqCst) == 0 {
            thread::park();
        }
    }
}

/// A place with an organization, and its Postgres, which runs until the result is closed.
fn with_an_organization() -> (Place, PrivatePostgres) {
    let place = Place::served();
    let postgres = PrivatePostgres::open(place.data_dir()).unwrap();
    place.run(&["org", "create", "acme"]).succeeded();
    (place, postgres)
}

/// Runs commands at the same time, each over a relay of its own.
fn run_all(place: &Place, commands: &[(Relay, Vec<String>)]) -> Vec<Finished> {
    thread::scope(|scope| {
        let started: Vec<_> = commands
            .iter()
            .map(|(relay, arguments)| {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                scope.spawn(move || run_to_end(&mut relay.command(place, &arguments)))
            })
            .collect();
        started.into_iter().map(|started| started.join().unwrap()).collect()
    })
}

#[test]
fn a_command_ends_and_says_that_the_database_does_not_answer() {
    let (place, postgres) = with_an_organization();
    let (backup, export) = (place.path("backup"), place.path("export"));
    let (backup, export) = (backup.to_str().unwrap(), export.to_str().unwrap());
    let commands: Vec<(Relay, Vec<String>)> = [
        &["org", "list"][..],
        &["org", "create", "new"],
        &["key", "issue", "--org", "acme", "--label", "another"],
        &["identity", "list", "--org", "acme"],
        &["webhooks", "list", "--org", "acme"],
        &["projections", "status"],
        &["projections", "rebuild", "--all"],
        &["audit", "export", "--org", "acme", "--output", export],
        &["backup", backup],
        &["migrate"],
        &["doctor"],
    ]
    .iter()
    .map(|words| {
        let words = words.iter().map(|word| (*word).to_owned());
        (Relay::with_silent(&place, ALL), words.collect())
    })
    .collect();
    for (finished, (_, arguments)) in run_all(&place, &commands).iter().zip(&commands) {
        let Finished { status, stdout, stderr } = finished;
        assert_eq!(status.code(), Some(1), "{arguments:?}: {stdout}{stderr}");
        let said = format!("{stdout}{stderr}");
        // The check for a pooler has a shorter limit of its own.
        let reasons = ["the database has not answered anything for 12s", "got no answer within 5s"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{arguments:?}: {said}");
    }
    let listed = place.run(&["org", "list"]).succeeded().stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
    postgres.close().unwrap();
}

/// Wherever it falls silent.
#[test]
fn nothing_half_done_looks_whole() {
    let (place, postgres) = with_an_organization();
    let commands: Vec<(Relay, Vec<String>)> = (10..18)
        .flat_map(|power| {
            let path = |kind: &str| place.path(&format!("{kind}-{power}")).to_str().unwrap().to_owned();
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            [
                words(&["backup", &path("backup")]),
                words(&["audit", "export", "--org", "acme", "--output", &path("export")]),
            ]
            .map(|words| (Relay::silent_after(&place, 1 << power), words))
        })
        .collect();
    let finished = run_all(&place, &commands);
    let mut successes = 0;
    for (finished, (_, arguments)) in finished.iter().zip(&commands) {
        let is_there = fs::exists(arguments.last().unwrap()).unwrap();
        assert_eq!(finished.status.success(), is_there, "{arguments:?}: {}", finished.stderr);
        successes += usize::from(is_there);
    }
    assert!(successes > 0 && successes < commands.len(), "{successes} of {}", commands.len());
    let files = fs::read_dir(place.path("")).unwrap().map(|file| file.unwrap().file_name());
    let unfinished = files.filter(|name| name.to_string_lossy().ends_with(".unfinished")).count();
    assert_eq!(unfinished, 0);
    postgres.close().unwrap();
}

fn serve(relay: &Relay, place: &Place) -> Command {
    relay.command(place, &["serve", "--listen", "127.0.0.1:0", "--database-timeout-seconds", "1"])
}

#[test]
fn a_service_whose_first_connections_fall_silent_ends_and_starts_over_others() {
    let (place, postgres) = with_an_organization();
    for silent in 2..5 {
        let relay = Relay::with_silent(&place, silent);
        let ended = run_to_end(&mut serve(&relay, &place));
        assert_eq!(ended.status.code(), Some(1), "{silent}: {}", ended.stderr);
        assert!(ended.stderr.contains("the database has not answered anything for 1s"), "{}", ended.stderr);
        // A supervisor starts it again, until it has used those connections up.
        eventually("it starts", || {
            let mut again = serve(&relay, &place);
            let mut started = again.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut line = [0; 12];
            let listens = started.stdout.take().unwrap().read_exact(&mut line).is_ok();
            let _ = started.kill();
            started.wait().unwrap();
            listens && line == *b"listening on"
        });
    }
    postgres.close().unwrap();
}

/// A statement may take as long as it needs, if the database answers something else meanwhile.
#[test]
fn a_start_waits_for_a_long_statement() {
    let (place, postgres) = with_an_organization();
    let runtime = Runtime::new().unwrap();
    let mut connections = [(); 2].map(|()| runtime.block_on(PgConnection::connect(&postgres.url())).unwrap());
    let [blocking, looking] = &mut connections;
    runtime.block_on(blocking.execute("begin; lock table _sqlx_migrations")).unwrap();
    let relay = Relay::with_silent(&place, 0);
    thread::scope(|scope| {
        let served = scope.spawn(|| Serving::start(serve(&relay, &place).stderr(Stdio::null())));
        let waiting = "select exists (select from pg_stat_activity
                       where wait_event_type = 'Lock' and clock_timestamp() - query_start > interval '3 s')";
        eventually("it has waited for three times its limit", || {
            runtime.block_on(sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut *looking)).unwrap()
        });
        runtime.block_on(blocking.execute("rollback")).unwrap();
        assert!(served.join().unwrap().stop().success());
    });
    drop(connections);
    postgres.close().unwrap();
}
