//! A private Postgres that hangs, as on a disk that does not answer: whatever uses it ends all the same when it is told to.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use crate::harness::{Place, Serving, eventually, run_to_end, signal};
use crate::starts::{ends_in_time, has_open, slow_to_start};

/// All processes of a Postgres, which are stopped and go on when this is dropped.
struct Hung(Vec<String>);

impl Hung {
    fn of(place: &Place) -> Self {
        let postmaster = place.postmaster().unwrap().to_string();
        // Stopped first, it makes no other process.
        signal("STOP", &postmaster);
        let mut hung = Self(vec![postmaster]);
        let sessions = Command::new("ps").args(["-o", "pid=", "--ppid", &hung.0[0]]).output().unwrap();
        for session in String::from_utf8(sessions.stdout).unwrap().split_whitespace() {
            signal("STOP", session);
            hung.0.push(session.to_owned());
        }
        hung
    }

    /// Lets the server go on, which was told to stop meanwhile.
    fn goes_on(self, place: &Place) {
        drop(self);
        eventually("Postgres has stopped", || place.postmaster().is_none());
        place.run(&["migrate"]).succeeded();
        assert_eq!(place.postmaster(), None);
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Those that were ended meanwhile cannot go on.
        for process in &self.0 {
            let _ = Command::new("kill").args(["-CONT", process]).stderr(Stdio::null()).status();
        }
    }
}

/// Starts a command on a server that hangs, and returns when it waits for that server.
fn waiting(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the command waits for Postgres", || has_open(&child, "users.lock"));
    child
}

fn left_running(place: &Place) -> String {
    let postmaster = place.postmaster().unwrap();
    format!("Postgres has not stopped and is left running (process {postmaster})")
}

#[test]
fn a_service_stops_in_time() {
    let place = Place::served();
    let log = place.path("log");
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let serving = Serving::start(command.stderr(File::create(&log).unwrap()));
    let hung = Hung::of(&place);
    assert!(serving.stop().success());
    let logged = fs::read_to_string(log).unwrap();
    assert!(logged.contains(&left_running(&place)), "{logged}");
    hung.goes_on(&place);
}

#[test]
fn a_command_ends_when_it_is_told_to_or_gets_no_answer() {
    let place = Place::served();
    place.serve().kill();
    let hung = Hung::of(&place);
    let mut told = waiting(&place, &["org", "list"]);
    signal("INT", &told.id().to_string());
    ends_in_time(&mut told);
    let output = told.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&left_running(&place)) && said.ends_with("error: interrupted\n"), "{said}");

    let unanswered = run_to_end(&mut place.command(&["org", "list"]));
    assert!(unanswered.stderr.contains(&left_running(&place)), "{}", unanswered.stderr);
    assert!(unanswered.stderr.contains("error: cannot connect to Postgres"), "{}", unanswered.stderr);
    hung.goes_on(&place);
}

#[test]
fn a_start_is_given_up_in_time() {
    let place = slow_to_start();
    let mut starting = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut starting = starting.stderr(Stdio::null()).spawn().unwrap();
    eventually("Postgres is starting", || place.postmaster().is_some());
    let hung = Hung::of(&place);
    signal("TERM", &starting.id().to_string());
    ends_in_time(&mut starting);
    drop(hung);
    eventually("Postgres has stopped", || place.postmaster().is_none());
}
