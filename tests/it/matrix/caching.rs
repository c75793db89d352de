//! No answer is given to another key, and a strong tag stands for certain bytes.
//!
//! The harness checks two rules for every answer of every test: no HTTP cache may store an answer to a key, and two answers
//! of one URL with the same strong tag have the same bytes. So these tests read everything as every caller, before and
//! after every write.

use std::collections::BTreeMap;

use reqwest::Method;

use super::estate::{Estate, Target, Who};
use super::walk::{self, Operation, Request};
use crate::harness::{Answer, Caller, World, text};

/// The readers. Each write has an organization of its own.
const READERS: [Who; 4] = [Who::Hidden, Who::Granted, Who::Itself, Who::Admin];

fn tag(answer: &Answer) -> Option<&str> {
    answer.headers.get("etag").map(String::as_str)
}

fn conditional(request: &Request, caller: &Caller, tags: &str) -> Answer {
    request.of(caller).header("If-None-Match", tags).send()
}

/// Asserts that a reader gets 304 for its own tag, and not for the tag of a body that another reader is shown.
fn hold_tags(operation: &Operation, request: &Request, answers: &[(&Caller, Answer)]) {
    for (caller, answer) in answers {
        let tag = tag(answer).unwrap_or_else(|| panic!("{answer} has no tag"));
        let same = conditional(request, caller, tag).must_be(304);
        assert_eq!(same.headers["etag"], tag, "{same}");
        let others = answers.iter().filter(|(_, other)| other.bytes != answer.bytes);
        let tags: Vec<&str> = others.filter_map(|(_, other)| self::tag(other)).collect();
        let answered = conditional(request, caller, &tags.join(", "));
        assert_eq!(answered.status, 200, "{}: {answered} for a tag of somebody else's body", operation.id);
    }
}

/// The headers of an answer, except its request id and date.
fn described(answer: &Answer) -> BTreeMap<&str, &str> {
    let own = ["x-request-id", "date"];
    let headers = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    headers.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Asserts that HEAD is answered like GET, without the body.
fn hold_head(request: &Request, caller: &Caller, get: &Answer) {
    let head = request.with_method(Method::HEAD).send(caller);
    assert_eq!((head.status, head.bytes.len()), (get.status, 0), "{head}");
    if get.status < 400 {
        assert_eq!(described(&head), described(get), "{head}");
    }
}

/// Asserts that a path with a slash at its end gets the same answer if the document says so, and 404 otherwise.
fn hold_slash(operation: &Operation, request: &Request, caller: &Caller, plain: &Answer) {
    let slashed = request.with_slash().send(caller);
    if operation.has_twin() {
        assert_eq!(slashed.without_request_id(), plain.without_request_id(), "{slashed}");
        assert_eq!(tag(&slashed), tag(plain), "{slashed}");
    } else {
        slashed.must_be(404);
    }
}

#[test]
fn a_read_has_a_tag_of_its_own_a_head_and_one_spelling() {
    let world = World::new();
    let estate = Estate::new(&world);
    walk::side_by_side(&walk::reads(&world), |operation| {
        let request = operation.request(&estate.target.names, false);
        let answers = estate.callers.iter().map(|(_, caller)| (caller, request.send(caller)));
        let answers: Vec<(&Caller, Answer)> = answers.collect();
        for (caller, answer) in &answers {
            hold_head(&request, caller, answer);
            hold_slash(operation, &request, caller, answer);
        }
        let shown: Vec<_> = answers.into_iter().filter(|(_, answer)| answer.status == 200).collect();
        assert!(!shown.is_empty(), "{} is shown to nobody", operation.id);
        if operation.takes("If-None-Match") {
            hold_tags(operation, &request, &shown);
        }
    });
}

#[test]
fn nothing_between_may_keep_a_stream() {
    let world = World::new();
    let estate = Estate::new(&world);
    for operation in walk::streams(&world) {
        let request = operation.request(&estate.target.names, false);
        let stream = request.of(estate.caller(Who::Admin)).header("Accept", walk::STREAM).open().unwrap();
        let header = |name: &str| stream.headers().get(name).and_then(|value| value.to_str().ok());
        let said = ["cache-control", "x-accel-buffering"].map(header);
        assert_eq!(said, [Some("no-store"), Some("no")], "{}", operation.id);
        assert!(header("vary").is_some_and(|vary| vary.contains("x-api-key")), "{}", operation.id);
    }
}

/// A new organization with a target, and its readers.
struct Scene {
    target: Target,
    readers: Vec<(Who, Caller)>,
}

impl Scene {
    fn new(world: &World, written_by: &Operation) -> Self {
        let admin = world.new_admin();
        let [hidden, granted] = ["hidden", "granted"].map(|name| {
            let id = text(&admin.create(&format!("{name}-{}", walk::next()))["id"]);
            let key = text(&admin.mint(name, &id)["api_key"]);
            (id, world.holder_of(&key))
        });
        let target = Target::new(&admin, &granted.0, |code| written_by.can_fail_with(code));
        let itself = world.holder_of(&target.key);
        let callers = [hidden.1, granted.1, itself, admin];
        Self { target, readers: READERS.into_iter().zip(callers).collect() }
    }

    fn admin(&self) -> &Caller {
        &self.readers.last().unwrap().1
    }

    /// Reads everything as every reader. The harness compares each answer with all earlier ones that have the same tag.
    fn read_all(&self, reads: &[Operation]) {
        for operation in reads {
            let request = operation.request(&self.target.names, false);
            for (_, reader) in &self.readers {
                request.send(reader);
            }
        }
    }
}

/// Asserts that the next read of a resource shows what was written.
fn is_seen(scene: &Scene, operation: &Operation, request: &Request, written: &Answer) {
    let get = |path: &str| scene.admin().call_at(Method::GET, path).send();
    match operation.method {
        Method::DELETE => {
            let ended = get(&request.target);
            assert!(matches!(ended.status, 404 | 405), "{ended} after {written}");
        }
        Method::POST => {}
        _ => {
            let read = get(&request.target);
            if read.status == 200 {
                shows_what_was_written(&read, written);
            }
        }
    }
}

/// Only the answer to a change has a notice of it. A read may have more members.
#[track_caller]
fn shows_what_was_written(read: &Answer, written: &Answer) {
    let (shown, made) = (read.json(), written.json());
    for (name, value) in
        made.as_object().unwrap().iter().filter(|(name, _)| *name != "filter_mode_change_notice")
    {
        assert_eq!(shown[name], *value, "{name} of {read} after {written}");
    }
}

#[test]
fn no_tag_outlives_its_bytes_whatever_is_written() {
    let world = World::new();
    let reads: Vec<Operation> =
        walk::reads(&world).into_iter().filter(|operation| operation.takes("If-None-Match")).collect();
    walk::side_by_side(&walk::writes(&world), |operation| {
        let scene = Scene::new(&world, operation);
        scene.read_all(&reads);
        let request = operation.request(&scene.target.names, false);
        let written = request.send(scene.admin());
        scene.read_all(&reads);
        if written.status < 300 {
            is_seen(&scene, operation, &request, &written);
        }
    });
}
