//! A key that ends while its request is being answered: nothing more is done or shown for it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::thread;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::authorization::{due, traces};
use super::estate::{Target, Who};
use super::walk::{self, Operation, Request, STREAM, next};
use crate::harness::{Caller, World, eventually, text, wait};

/// More lines than the buffers of two sockets take. A stream may have filled these before its key ended.
const MANY_SIGNS_OF_LIFE: usize = 5_000_000;

/// More bytes than the buffers of two sockets take, so that the rest of an answer that nobody reads waits in the
/// service.
const LONG: usize = 8 << 20;

/// The ways in which a key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    AdminKeyRevoked,
    AuditorKeyRevoked,
    AgentKeyRevoked,
    IdentityDeleted,
}

impl Ending {
    const ALL: [Self; 4] =
        [Self::AdminKeyRevoked, Self::AuditorKeyRevoked, Self::AgentKeyRevoked, Self::IdentityDeleted];

    /// The kind of caller that holds the key.
    const fn of(self) -> Who {
        match self {
            Self::AdminKeyRevoked => Who::Admin,
            Self::AuditorKeyRevoked => Who::Auditor,
            Self::AgentKeyRevoked | Self::IdentityDeleted => Who::Itself,
        }
    }

    /// The ways in which the keys that an operation takes can end.
    fn for_operation(operation: &Operation) -> Vec<Self> {
        let is_admitted = |ending: &Self| {
            ending.of().scope().is_some_and(|scope| operation.scopes().unwrap().contains(&scope))
        };
        Self::ALL.into_iter().filter(is_admitted).collect()
    }
}

/// An organization with a target. Keys are issued in it, and then end.
struct Scene<'a> {
    world: &'a World,
    admin: Caller,
    organization_id: String,
    viewer_id: String,
    target: Target,
}

/// The holder of a key, and the path to delete so that the key ends.
struct Holder {
    caller: Caller,
    request: Request,
    ended_by_deleting: String,
}

impl<'a> Scene<'a> {
    fn new(world: &'a World, operation: &Operation) -> Self {
        let admin = world.new_admin();
        let organization_id = text(&admin.get("/api/whoami").ok()["organization_id"]);
        let viewer_id = text(&admin.create(&format!("viewer-{}", next()))["id"]);
        let target = Target::new(&admin, &viewer_id, |code| operation.can_fail_with(code));
        Self { world, admin, organization_id, viewer_id, target }
    }

    fn holder(&self, ending: Ending, operation: &Operation) -> Holder {
        let request = operation.request(&self.target.names, false);
        let of_key = |minted: serde_json::Value| Holder {
            caller: self.world.holder_of(&text(&minted["api_key"])),
            ended_by_deleting: format!("/api-keys/{}", text(&minted["record"]["id"])),
            request: request.clone(),
        };
        match ending {
            Ending::AdminKeyRevoked => {
                let key = self.world.another_admin(&self.organization_id);
                let caller = self.world.holder_of(key.api_key.expose_secret());
                Holder { caller, request, ended_by_deleting: format!("/api-keys/{}", key.key_id) }
            }
            Ending::AuditorKeyRevoked => of_key(self.admin.mint_auditor()),
            Ending::AgentKeyRevoked => of_key(self.admin.mint("to be revoked", &self.target.id)),
            Ending::IdentityDeleted => self.mortal(operation),
        }
    }

    /// The holder of the key of another target, which is deleted.
    fn mortal(&self, operation: &Operation) -> Holder {
        let is_left_out = |code: &str| code == "vault_exists" || operation.can_fail_with(code);
        let target = Target::new(&self.admin, &self.viewer_id, is_left_out);
        Holder {
            caller: self.world.holder_of(&target.key),
            request: operation.request(&target.names, false),
            ended_by_deleting: format!("/identities/{}", target.names.parameters["agent_handle"]),
        }
    }

    fn end(&self, holder: &Holder) {
        self.admin.delete(&holder.ended_by_deleting).no_content();
    }
}

/// Sends the head of a write, ends its key, and sends the body. The service also waits for the body of a write that
/// takes none if it has an idempotency key.
fn write_with_a_key_that_ends(scene: &Scene<'_>, ending: Ending, operation: &Operation, headers: &str) {
    let holder = scene.holder(ending, operation);
    let body =
        holder.request.body.as_ref().map_or_else(|| b"{}".to_vec(), |body| body.to_string().into_bytes());
    let mut before = traces(scene.world, &scene.organization_id);
    let mut is_ended = false;
    let answer = holder.caller.while_the_body_is_awaited(
        operation.method.as_str(),
        &holder.request.target,
        headers,
        &body,
        || {
            scene.end(&holder);
            before = traces(scene.world, &scene.organization_id);
            is_ended = true;
        },
    );
    assert_eq!(
        traces(scene.world, &scene.organization_id),
        before,
        "{ending:?} {headers:?} {answer}: something was done for a key that had ended"
    );
    // A write that an agent may not do is refused before the body is read.
    let is_refused_anyway = answer.status == 403 && due(operation, ending.of()) == 403;
    assert!(is_ended && answer.status == 401 || is_refused_anyway, "{ending:?} {headers:?} {answer}");
}

#[test]
fn no_write_is_carried_out_for_a_key_that_ended_while_the_body_was_awaited() {
    let world = World::new();
    walk::side_by_side(&walk::writes(&world), |operation| {
        let scene = Scene::new(&world, operation);
        for ending in Ending::for_operation(operation) {
            let once = format!("Idempotency-Key: key-{}\r\n", next());
            write_with_a_key_that_ends(&scene, ending, operation, &once);
            if operation.takes_body() {
                write_with_a_key_that_ends(&scene, ending, operation, "");
            }
        }
    });
}

/// What holds up a write that is not in the log after its key was checked: a lock on a table, and the beginning of the statement
/// that waits for it. The lock holds up no write to the log.
fn obstacle(operation: &Operation) -> Option<(&'static str, &'static str)> {
    if operation.path.contains("/log-endpoints") {
        return Some(("idempotency_records in share mode", "insert into idempotency_records"));
    }
    operation
        .path
        .contains("/deliveries/")
        .then_some(("webhook_deliveries in access exclusive mode", "select delivery.*"))
}

/// Sends a write, waits until it waits for the lock, ends its key, and lets go of the lock.
fn hold_up_a_key_that_ends(scene: &Scene<'_>, ending: Ending, operation: &Operation) {
    let (lock, statement) = obstacle(operation).unwrap();
    let (holder, database) = (scene.holder(ending, operation), scene.world.database());
    let before = traces(scene.world, &scene.organization_id);
    let mut barrier = wait(PgConnection::connect(database.owner_url())).unwrap();
    wait(barrier.execute(format!("begin; lock table {lock}").as_str())).unwrap();
    let answer = thread::scope(|scope| {
        let once = format!("key-{}", next());
        let request = holder.request.of(&holder.caller).header("Idempotency-Key", &once);
        let answer = scope.spawn(move || request.send());
        let waiting = format!(
            "select count(*) from pg_stat_activity
             where datname = current_database() and wait_event_type = 'Lock' and query like '{statement}%'"
        );
        eventually("the write waits", || database.number(&waiting) > 0);
        scene.end(&holder);
        wait(barrier.execute("commit")).unwrap();
        answer.join().unwrap()
    });
    assert_eq!(answer.status, 401, "{ending:?} {answer}");
    // The end of the key is an event, and the end of an identity also ends what it had.
    let (before, after) = (before.split(' '), traces(scene.world, &scene.organization_id));
    let of_webhooks = |traces: Vec<String>| traces[traces.len() - 3..].to_vec();
    let [before, after] =
        [before.map(str::to_owned).collect(), after.split(' ').map(str::to_owned).collect()];
    assert_eq!(of_webhooks(after), of_webhooks(before), "{ending:?} {answer}: something was done");
}

#[test]
fn no_write_outside_the_log_is_carried_out_for_a_key_that_ended_after_its_body_had_arrived() {
    let world = World::new();
    let mut seen = 0;
    for operation in walk::writes(&world).iter().filter(|operation| obstacle(operation).is_some()) {
        let scene = Scene::new(&world, operation);
        for ending in Ending::for_operation(operation) {
            hold_up_a_key_that_ends(&scene, ending, operation);
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} keys ended");
}

/// Opens a live stream, reads an event, ends its key, and causes an event that the stream must not show.
fn follow_with_a_key_that_ends(scene: &Scene<'_>, ending: Ending, operation: &Operation) {
    let holder = scene.holder(ending, operation);
    let handle = &scene.target.names.parameters["agent_handle"];
    let happens = |description: &str| scene.admin.change(handle, &json!({ "description": description })).ok();
    let [before, after] = ["before", "after"].map(|moment| format!("{moment}-the-end-{}", next()));
    happens(&before);
    let stream = holder.request.of(&holder.caller).header("Accept", STREAM).open().unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let seen = lines.by_ref().take(MANY_SIGNS_OF_LIFE).any(|line| line.contains(&before));
    assert!(seen, "{}: the stream does not tell what happened", operation.id);
    scene.end(&holder);
    happens(&after);
    for (number, line) in lines.enumerate() {
        assert!(!line.contains(&after), "{} {ending:?}: {line}", operation.id);
        assert!(number < MANY_SIGNS_OF_LIFE, "{} {ending:?}: it would go on for ever", operation.id);
    }
}

#[test]
fn no_stream_goes_on_for_a_key_that_ended() {
    let world = World::with_heartbeat(Duration::ZERO);
    for operation in &walk::streams(&world) {
        let scene = Scene::new(&world, operation);
        for ending in Ending::for_operation(operation) {
            follow_with_a_key_that_ends(&scene, ending, operation);
        }
    }
}

/// Creates 300 identities and 300 secrets with content, each with a description of 40,000 bytes, so that neither the history nor
/// the vault fits into the buffers of sockets.
fn a_long_history(admin: &Caller) {
    let description = "🗄".repeat(10_000);
    thread::scope(|scope| {
        for part in 0..4 {
            let description = &description;
            scope.spawn(move || {
                for number in 0..75 {
                    let handle = format!("crowd-{part}-{number}");
                    admin.try_create(&handle, json!({ "description": description })).created();
                    let secret = json!({ "name": handle, "description": description, "encrypted_payload": "A".repeat(65_536) });
                    admin.post("/vault/secrets", &secret).created();
                }
            });
        }
    });
}

/// The answers, in every media type, that are longer than the buffers of sockets, with their length if they end.
fn long_answers(scene: &Scene<'_>, operation: &Operation) -> Vec<(Request, String, Option<usize>)> {
    let forms = operation.media_types().into_iter().flat_map(|form| [false, true].map(|all| (form, all)));
    let requests = forms.map(|(form, all)| (operation.request(&scene.target.names, all), form.to_owned()));
    let requests = requests.filter(|(request, _)| !request.target.contains("agent_handle="));
    let measured = requests.map(|(request, form)| {
        let length =
            (form != STREAM).then(|| request.of(&scene.admin).header("Accept", &form).send().bytes.len());
        (request, form, length)
    });
    measured
        .filter(|(_, form, length)| form == STREAM || length.is_some_and(|length| length > LONG))
        .collect()
}

#[test]
fn no_long_answer_goes_on_for_a_key_that_ended() {
    let world = World::new();
    let operations = walk::reads(&world);
    let scene = Scene::new(&world, &operations[0]);
    a_long_history(&scene.admin);
    let mut seen = 0;
    for operation in &operations {
        for (request, form, length) in long_answers(&scene, operation) {
            let holder = scene.holder(Ending::AdminKeyRevoked, operation);
            let mut answer = request.of(&holder.caller).header("Accept", &form).open().unwrap();
            assert_eq!(answer.status(), 200);
            scene.end(&holder);
            let mut received = Vec::new();
            let ended = answer.read_to_end(&mut received);
            let is_broken_off = ended.is_err() && length.is_none_or(|length| received.len() < length);
            assert!(is_broken_off, "{} {form}: {} of {length:?} bytes", request.target, received.len());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} answers were long");
}
