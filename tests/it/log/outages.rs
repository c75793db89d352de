//! The connection of the committer is cut, and no acknowledged event is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use identity_log::{Fold, ReadModel};
use sqlx::PgPool;
use tokio::sync::watch;

use super::*;

/// How often the connection is cut while tasks append.
const CUTS: usize = 10;

/// How long a test waits for a state before it fails.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Cuts the connections of all committers of this database, and returns their number.
async fn cut(pool: &PgPool) -> i64 {
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where datname = current_database() and application_name = 'identityd committer'";
    sqlx::query_scalar(cut).fetch_one(pool).await.unwrap()
}

/// The events of a command that succeeded, or `None` if its outcome is unknown or the log was unavailable. A cut has no
/// other result.
fn acknowledged(answer: Answer) -> Option<Vec<Recorded>> {
    match answer {
        Ok(committed) => Some(committed.events),
        Err(AppendError::Unavailable(_) | AppendError::OutcomeUnknown(_)) => None,
        Err(other) => panic!("{other:?} is no outage"),
    }
}

#[test]
fn after_its_connection_was_cut_the_committer_goes_on() {
    let history = History::new();
    let desk = ids::mint();
    let (log, committer) = history.open();
    let pool = history.database.pool();
    wait(async {
        let work = async move {
            log.append(create(desk, "harbor-desk")).await.unwrap();
            assert_ne!(cut(pool).await, 0);
            let during = acknowledged(log.append(describe(desk, "during")).await);
            let after = log.append(describe(desk, "after")).await.unwrap();
            let expected = 1 + during.map_or(0, |_| 1) + 1;
            assert_eq!(after.version, expected, "what was answered is what stands");
        };
        futures::join!(work, committer.run());
    });
}

/// A read model with a defect.
struct Defective;

#[async_trait]
impl ReadModel for Defective {
    fn name(&self) -> &'static str {
        "defective"
    }

    fn begin(&self) -> Box<dyn Fold> {
        panic!("a defect of a read model");
    }
}

#[test]
fn a_committer_that_panics_writes_nothing_and_takes_no_further_command() {
    let history = History::new();
    let seal_key = SigningKey::from_seed(&[7; 32]).seal_key();
    let settings = Settings::new(Duration::from_hours(1), seal_key);
    let options = connect_options(history.database.pool());
    let (log, committer) = Log::open(options, vec![Arc::new(Defective)], settings);
    wait(async {
        let committing = tokio::spawn(committer.run());
        let lost = log.append(create(ids::mint(), "harbor-desk")).await;
        assert!(matches!(lost, Err(AppendError::OutcomeUnknown(_))), "{lost:?}");
        assert!(committing.await.unwrap_err().is_panic());
        let later = log.append(create(ids::mint(), "night-desk")).await;
        assert!(matches!(later, Err(AppendError::Unavailable(_))), "{later:?}");
        assert!(!log.has_committer());
    });
    assert_eq!(history.head(), 0);
}

/// How many commands were acknowledged, and whether the tasks may stop.
struct Course {
    acknowledged: watch::Sender<usize>,
    done: AtomicBool,
}

/// Creates identities until it may stop, and returns the acknowledged events.
async fn create_on(course: &Course, log: Log, number: usize) -> Vec<Recorded> {
    let mut kept = Vec::new();
    for round in 0.. {
        if course.done.load(Ordering::Relaxed) {
            break;
        }
        let answer = log.append(create(ids::mint(), &format!("desk-{number}-{round}"))).await;
        if let Some(events) = acknowledged(answer) {
            kept.extend(events);
            course.acknowledged.send_modify(|count| *count += 1);
        }
    }
    kept
}

/// Cuts the connection each time that something was acknowledged since the last cut.
async fn cut_again_and_again(course: &Course, pool: &PgPool) {
    let mut news = course.acknowledged.subscribe();
    for _ in 0..CUTS {
        news.changed().await.unwrap();
        cut(pool).await;
    }
    course.done.store(true, Ordering::Relaxed);
}

#[test]
fn nothing_acknowledged_is_missing_however_often_the_connection_is_cut() {
    let history = History::new();
    let (log, committer) = history.open();
    let course = Course { acknowledged: watch::Sender::new(0), done: AtomicBool::new(false) };
    let kept = wait(async {
        let tasks: Vec<_> = (0..4).map(|number| create_on(&course, log.clone(), number)).collect();
        drop(log);
        let work = async {
            futures::join!(
                futures::future::join_all(tasks),
                committer.run(),
                cut_again_and_again(&course, history.database.pool()),
            )
        };
        tokio::time::timeout(TEST_TIMEOUT, work).await.expect("all tasks end").0.concat()
    });
    assert!(kept.len() >= CUTS, "something was acknowledged between the cuts");
    let events = history.events();
    for recorded in &kept {
        assert_eq!(&events[usize::try_from(recorded.position).unwrap() - 1], recorded);
    }
    let positions: Vec<i64> = events.iter().map(|recorded| recorded.position).collect();
    assert_eq!(positions, (1..).take(positions.len()).collect::<Vec<i64>>());
    let half_made = "select count(*) from events where event_type = 'identity.created'
                     and aggregate_id::uuid not in (select id from read_model.identities)";
    assert_eq!(history.database.number(half_made), 0, "an event without what was derived from it");
    history.append(create(ids::mint(), "after-all"));
}
