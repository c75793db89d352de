//! What waits to be sent: for a name that is not resolved yet, for a receiver that is not there, and not for ever.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use identity_webhooks::Settings;
use identity_webhooks::address::{Resolver, Turn};
use identity_webhooks::schedule::Schedule;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::deliveries::{deliveries, eventually_delivered, listen, sent, settings};
use super::receiver::{Reaction, Received, Receiver};
use super::{of_identity, path_of, subscribe};
use crate::harness::{World, eventually, text, wait};

/// What fails is not sent again while a test runs.
fn patient() -> Settings {
    Settings {
        schedule: Schedule { delays: vec![Duration::from_hours(1)], ..Schedule::default() },
        ..settings()
    }
}

/// Has no turn for anybody while it is full. Every name is this machine.
#[derive(Debug)]
struct Names {
    are_full: AtomicBool,
}

#[async_trait]
impl Resolver for Names {
    async fn turn(&self) -> Option<Turn> {
        (!self.are_full.load(Ordering::SeqCst)).then(Turn::default)
    }

    async fn addresses(&self, _: &str, _: Turn) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

const ALL_DUE: [&str; 2] =
    ["update webhook_queue set due_at = now()", "update webhook_log_endpoints set due_at = now()"];

/// Makes everything due.
fn become_due(world: &World) {
    for statement in ALL_DUE {
        world.database().execute(statement);
    }
}

fn endpoint(world: &World) -> Value {
    world.admin().get("/webhooks/log-endpoints").ok()["log_endpoints"][0].clone()
}

#[test]
fn what_waits_for_its_name_to_be_resolved_is_no_failure_and_is_sent_later() {
    let names = Arc::new(Names { are_full: AtomicBool::new(true) });
    let resolver: Arc<dyn Resolver> = Arc::<Names>::clone(&names);
    let (world, receiver) = (World::with_webhooks(Settings { resolver, ..settings() }), Receiver::new());
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let body = json!({ "agent_identity_id": alpha.id, "url": url, "event_types": ["identity.updated"] });
    subscribe(&alpha, &body);
    admin.post("/webhooks/log-endpoints", &json!({ "url": url, "after": 0 })).created();
    let waits = "due_at > now() + interval '10 seconds' and lease_until is null and attempts = 0";
    for table in ["webhook_queue", "webhook_log_endpoints"] {
        let count = format!("select count(*) from {table} where {waits}");
        eventually(&format!("{table} has a row that waits"), || world.database().number(&count) == 1);
    }
    assert_eq!(deliveries(&alpha, ""), Vec::<Value>::new());
    let shown = endpoint(&world);
    assert_eq!((&shown["failing_since"], &shown["last_attempt_at"]), (&Value::Null, &Value::Null));
    names.are_full.store(false, Ordering::SeqCst);
    become_due(&world);
    sent(&world);
    eventually("the history is delivered", || endpoint(&world)["delivered_upto"] == world.events());
    assert_eq!(eventually_delivered(&alpha, 1)[0]["response_status"], 200);
}

/// A receiver that is down: nobody listens at its port, and nobody else gets it.
struct Down {
    socket: TcpSocket,
    url: String,
}

impl Down {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/in", socket.local_addr().unwrap());
        Self { socket, url }
    }

    fn comes_up(self) -> Receiver {
        let listener = wait(async { self.socket.listen(128).unwrap().into_std().unwrap() });
        listener.set_nonblocking(false).unwrap();
        Receiver::at(listener, |_, _| Reaction::Status(200))
    }
}

#[test]
fn a_receiver_that_refuses_connections_for_a_while_gets_everything_later() {
    let world = World::with_webhooks(patient());
    let down = Down::new();
    let (admin, alpha) = (world.admin(), world.agent("alpha"));
    let url = &down.url;
    let body = json!({ "agent_identity_id": alpha.id, "url": url, "event_types": ["identity.updated"] });
    subscribe(&alpha, &body);
    admin.post("/webhooks/log-endpoints", &json!({ "url": url, "after": 0 })).created();
    let refused = eventually_delivered(&alpha, 1).swap_remove(0);
    assert_eq!(refused["response_status"], Value::Null);
    let reason = text(&refused["error_detail"]);
    assert!(reason.contains("refused"), "{reason}");
    eventually("the log endpoint has failed", || endpoint(&world)["failing_since"].is_string());
    assert!(text(&endpoint(&world)["last_error"]).contains("refused"));
    world.stranger().metrics().has("identityd_log_endpoints_behind", 1.0);
    let receiver = down.comes_up();
    become_due(&world);
    sent(&world);
    eventually("the history is delivered", || endpoint(&world)["delivered_upto"] == world.events());
    assert_eq!(endpoint(&world)["failing_since"], Value::Null);
    let both = eventually_delivered(&alpha, 2);
    assert_eq!((&both[0]["event_id"], &both[0]["response_status"]), (&refused["event_id"], &json!(200)));
    let arrived = receiver.received();
    assert_eq!(arrived.iter().filter(|one| one.json()["data"].is_object()).count(), 1);
    world.stranger().metrics().has("identityd_log_endpoints_behind", 0.0);
}

/// How long the only delivery waits after its attempt with this number, in seconds.
fn wait_after(world: &World, attempt: usize) -> f64 {
    let has_failed =
        format!("select count(*) from webhook_queue where lease_until is null and attempts = {attempt}");
    eventually("the attempt has failed", || world.database().number(&has_failed) == 1);
    let waited = "select extract(epoch from due_at - ended)::text from webhook_queue,
                  (select max(created_at + duration_ms * interval '1 ms') as ended from webhook_deliveries) as last";
    world.database().text(waited).parse().unwrap()
}

/// Moves all that is stored of webhooks into the past, as if time had passed until the delivery is due.
fn time_passes(world: &World) {
    let passed = world.database().text("select (due_at - now())::text from webhook_queue");
    for (table, columns) in [
        ("webhook_deliveries", &["created_at"][..]),
        ("webhook_endpoints", &["failing_since", "last_attempt_at"]),
        ("webhook_queue", &["created_at", "due_at"]),
    ] {
        let moved = columns.iter().map(|column| format!("{column} = {column} - interval '{passed}'"));
        let moved = moved.collect::<Vec<_>>().join(", ");
        world.database().execute(&format!("update {table} set {moved}"));
    }
}

// Scenario 59.
#[test]
fn a_receiver_that_is_down_for_an_hour_gets_what_waits_once_and_with_its_id() {
    let world = World::with_webhooks(Settings { schedule: Schedule::default(), ..settings() });
    let (alpha, down) = (world.agent("alpha"), Down::new());
    let mut body = of_identity(&alpha.id);
    body["url"] = json!(down.url);
    let subscription = subscribe(&alpha, &body);
    for (attempt, seconds) in (1..).zip([5.0, 30.0, 120.0, 600.0]) {
        let waited = wait_after(&world, attempt);
        assert!((seconds * 0.79..seconds * 1.21).contains(&waited), "after attempt {attempt}: {waited}");
        time_passes(&world);
    }
    let waited = wait_after(&world, 5);
    assert!((2_880.0..4_330.0).contains(&waited), "{waited}");
    let receiver = down.comes_up();
    time_passes(&world);
    sent(&world);
    let listed = eventually_delivered(&alpha, 6);
    let statuses: Vec<&Value> = listed.iter().map(|one| &one["response_status"]).collect();
    assert_eq!(statuses, [&json!(200), &Value::Null, &Value::Null, &Value::Null, &Value::Null, &Value::Null]);
    let arrived = receiver.received();
    let ids: Vec<String> = arrived.iter().map(Received::id).collect();
    assert_eq!(ids, [text(&listed[0]["event_id"])]);
    assert!(listed.iter().all(|one| one["event_id"] == ids[0]), "{listed:?}");
    let was_down =
        "select (extract(epoch from max(created_at) - min(created_at)))::bigint from webhook_deliveries";
    assert!(world.database().number(was_down) > 3_600 * 4 / 5);
    assert_eq!(alpha.get(&path_of(&subscription)).ok()["disabled_reason"], Value::Null);
    assert_eq!(world.database().number("select count(*) from webhook_endpoints"), 0);
}

#[test]
fn a_receiver_says_when_it_wants_to_be_asked_again() {
    let world = World::with_webhooks(Settings { schedule: Schedule::default(), ..settings() });
    let receiver = Receiver::reacting(|number, _| match number {
        0 => Reaction::Later(429, "900"),
        1 => Reaction::Later(503, "1"),
        2 => Reaction::Later(500, "9000"),
        _ => Reaction::Status(200),
    });
    let alpha = world.agent("alpha");
    listen(&alpha, &alpha.id, &receiver, &["identity.updated"]);
    // A wait that is asked for is never shortened; a shorter one than that of the schedule, and that of another
    // status, count for nothing.
    for (attempt, from, to) in [(1, 899.0, 901.0), (2, 23.9, 36.1), (3, 95.9, 144.1)] {
        let waited = wait_after(&world, attempt);
        assert!((from..to).contains(&waited), "after attempt {attempt}: {waited}");
        time_passes(&world);
    }
    sent(&world);
    assert_eq!(receiver.received().len(), 4);
}

#[test]
fn what_waits_for_longer_than_deliveries_are_kept_is_deleted_and_nothing_else() {
    let world = World::with_webhooks(Settings { retention: Duration::from_hours(24), ..patient() });
    let failing = Receiver::reacting(|_, _| Reaction::Status(500));
    let [alpha, bravo] = world.agents(["alpha", "bravo"]);
    for agent in [&alpha, &bravo] {
        listen(agent, &agent.id, &failing, &["identity.updated"]);
        eventually_delivered(agent, 1);
    }
    for table in ["webhook_queue", "webhook_deliveries"] {
        for (agent, hours) in [(&alpha, 25), (&bravo, 23)] {
            world.database().execute(&format!(
                "update {table} set created_at = now() - interval '{hours} hours' where identity_id = '{}'",
                agent.id
            ));
        }
    }
    let world = world.restarted();
    for table in ["webhook_queue", "webhook_deliveries"] {
        let count = |agent: &str| {
            let rows = format!("select count(*) from {table} where identity_id = '{agent}'");
            world.database().number(&rows)
        };
        eventually(&format!("what is old in {table} is deleted"), || count(&alpha.id) == 0);
        assert_eq!(count(&bravo.id), 1, "{table}");
    }
}
