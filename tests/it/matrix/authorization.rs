//! Who may do what, what all others are answered, and that a refused write leaves nothing.

use std::thread;

use super::estate::{Estate, PRIVATE, Target, Who};
use super::walk::{self, Named, Operation, Request};
use crate::harness::{Answer, Caller, World, text};

/// An idempotency key that the admin has used before the tests.
const USED: &str = "used-before";

/// An idempotency key that every agent of the organization has used itself.
const OWN: &str = "used-by-itself";

/// Operations that answer a caller whose scope they do not take otherwise than with the usual 403. They find what an agent sees
/// before they refuse the agent, or tell an admin that its key is bound to no identity.
const REFUSED_LATER: [(&str, &str); 3] =
    [("delete_identity", "agent"), ("update_mailbox", "agent"), ("create_own_signing_key", "admin")];

/// Requests that are refused for a reason of their own.
const EXCEPTIONS: [(&str, Who, u16, &str); 6] = [
    ("list_identities", Who::Auditor, 403, "an auditor reads identities as of a moment only"),
    ("get_identity", Who::Auditor, 403, "an auditor reads identities as of a moment only"),
    ("claim_imessage_number", Who::Admin, 503, "there are no such numbers (D24)"),
    (
        "create_own_signing_key",
        Who::Admin,
        409,
        "an admin's key is bound to no identity (contract, section 10.2)",
    ),
    ("delete_identity", Who::Itself, 403, "an agent deletes nobody (D6)"),
    ("update_mailbox", Who::Itself, 403, "an agent sets nothing of its mailbox (contract, section 8)"),
];

/// The expected result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Success,
    Unauthorized,
    Forbidden,
    /// The same answer as for a target that never existed.
    LikeNobody,
    /// A read may show the target. Everything else is refused, and nothing changes.
    AtMostReading,
}

fn expected(operation: &Operation, who: Who, request: &Request) -> Expected {
    let Some(scope) = who.scope() else { return Expected::Unauthorized };
    let is_refused_later = REFUSED_LATER.contains(&(operation.id.as_str(), scope));
    let is_taken = operation.scopes().unwrap().contains(&scope);
    assert!(!(is_taken && is_refused_later), "{} is never carried out for {scope} keys", operation.id);
    if !is_taken && !is_refused_later {
        return Expected::Forbidden;
    }
    match request.named {
        Named::Identity if who.must_not_know_the_target() => Expected::LikeNobody,
        Named::Organization if who.is_of_another_organization() => Expected::LikeNobody,
        Named::Identity if who == Who::Granted => Expected::AtMostReading,
        _ => Expected::Success,
    }
}

/// The numbers of rows that a write could leave, in organizations whose id is like this.
pub(super) fn traces(world: &World, organization: &str) -> String {
    let count = |table| format!("(select count(*) from {table} where organization_id like '{organization}')");
    let tables = ["events", "name_claims", "ciphertexts", "idempotency_records", "webhook_log_endpoints"];
    // Other deliveries are made and erased by the service itself.
    let replays = format!(
        "(select count(*) from webhook_deliveries where is_replay and organization_id like '{organization}')"
    );
    let cursors = format!(
        "(select sum(sequence) from webhook_log_endpoints where organization_id like '{organization}')"
    );
    let counts = tables.map(count).join(", ");
    world.database().text(&format!("select concat_ws(' ', {counts}, {replays}, {cursors})"))
}

/// Sends a request that must be refused. A write is also sent with idempotency keys that somebody else has used, and that the
/// caller has used itself.
fn refused(operation: &Operation, request: &Request, caller: &Caller) -> Answer {
    let answer = request.send(caller);
    for key in [USED, OWN].iter().filter(|_| operation.is_write()) {
        let again = request.of(caller).header("Idempotency-Key", key).send();
        assert_eq!(again.status, answer.status, "an idempotency key that was used before: {again}");
    }
    answer
}

/// Lets an agent use an idempotency key for something that it may do.
fn use_own_key(caller: &Caller) {
    let (scope, listed) = (text(&caller.get("/api/whoami").ok()["scope"]), caller.get("/identities").ok());
    let own = listed.as_array().unwrap().iter().find(|one| scope.ends_with(&text(&one["id"]))).unwrap();
    let path = format!("/identities/{}", text(&own["agent_handle"]));
    let write = caller.call(reqwest::Method::PATCH, &path).header("Idempotency-Key", OWN);
    write.json(&serde_json::json!({ "description": "by itself" })).send().ok();
}

#[track_caller]
fn is_like_nobodys(operation: &Operation, request: &Request, answer: &Answer, nobodys: &Answer) {
    assert_eq!(answer.status, nobodys.status, "{answer}, but {nobodys}");
    assert_eq!(answer.without_request_id(), nobodys.without_request_id());
    // Only admins and auditors read the past, so an agent gets 403 for every target.
    let is_of_the_past = answer.status == 403 && request.target.contains("as_of=");
    assert!(!operation.path.contains('{') || answer.status == 404 || is_of_the_past, "{answer}");
}

/// Checks the answer to a caller that may not do everything.
fn hold(estate: &Estate, operation: &Operation, who: Who, all_parameters: bool) {
    let caller = estate.caller(who);
    let request = operation.request(&estate.target.names, all_parameters);
    let of_nobody = operation.request(&estate.target.names.of_nobody(), all_parameters);
    let refuse = |request| refused(operation, request, caller);
    match expected(operation, who, &request) {
        Expected::Unauthorized => drop(refuse(&request).must_be(401)),
        Expected::Forbidden => {
            let answer = refuse(&request).must_be(403);
            assert_eq!(answer.without_request_id(), refuse(&of_nobody).without_request_id());
        }
        Expected::LikeNobody => is_like_nobodys(operation, &request, &refuse(&request), &refuse(&of_nobody)),
        Expected::AtMostReading => {
            let answer = refuse(&request);
            match answer.status {
                200 if !operation.is_write() => {}
                403 => {}
                _ => is_like_nobodys(operation, &request, &answer, &refuse(&of_nobody)),
            }
        }
        Expected::Success => {}
    }
}

#[test]
fn nobody_does_or_learns_what_is_not_theirs() {
    let world = World::new();
    let estate = Estate::new(&world);
    let first = world.admin().call(reqwest::Method::POST, "/identities").header("Idempotency-Key", USED);
    first.json(&serde_json::json!({ "agent_handle": "written-before" })).send().created();
    let agents = estate.callers.iter().filter(|(who, _)| who.scope() == Some("agent"));
    agents.for_each(|(_, caller)| use_own_key(caller));
    for operation in &walk::operations(&world) {
        let before = traces(&world, "%");
        thread::scope(|scope| {
            for (who, _) in &estate.callers {
                scope.spawn(|| {
                    hold(&estate, operation, *who, false);
                    if !operation.is_write() {
                        hold(&estate, operation, *who, true);
                    }
                });
            }
        });
        assert_eq!(
            traces(&world, "%"),
            before,
            "{} was refused to somebody, and left something",
            operation.id
        );
    }
}

/// Texts that a caller must never see.
fn kept_from(who: Who, target: &Target) -> Vec<String> {
    if who.scope().is_none() || who.must_not_know_the_target() {
        return target.marks.clone();
    }
    match who {
        Who::Granted => ["secret_id", "api_key_id", "subscription_id", "delivery_id", "endpoint_id"]
            .map(|name| target.names.parameters[name].clone())
            .into_iter()
            .chain([PRIVATE, "target-secret"].map(str::to_owned))
            .collect(),
        _ => vec![],
    }
}

/// The expected status for a caller whose scope is admitted.
pub(super) fn due(operation: &Operation, who: Who) -> u16 {
    let exception = EXCEPTIONS.iter().find(|(id, other, ..)| *id == operation.id && *other == who);
    exception.map_or_else(|| operation.success(), |(_, _, status, _)| *status)
}

#[test]
fn a_read_shows_what_its_reader_may_see_and_nothing_else() {
    let world = World::new();
    let estate = Estate::new(&world);
    walk::side_by_side(&walk::reads(&world), |operation| {
        let request = operation.request(&estate.target.names, false);
        for (who, caller) in &estate.callers {
            let answer = request.send(caller);
            let shown = String::from_utf8_lossy(&answer.bytes);
            for mark in kept_from(*who, &estate.target) {
                assert!(!shown.contains(&mark), "{who:?} is shown {mark} by {answer}");
            }
            if expected(operation, *who, &request) == Expected::Success {
                answer.must_be(due(operation, *who));
            }
        }
    });
}

/// The tag that `If-Match` must name; `None` if the operation does not take the header. It is in the answer to a write
/// that expects another version.
pub(super) fn present_tag(operation: &Operation, request: &Request, caller: &Caller) -> Option<String> {
    operation.takes("If-Match").then(|| {
        let refused = request.of(caller).header("If-Match", "\"999\"").send().must_be(412);
        refused.headers["etag"].clone()
    })
}

/// Sends a write in a new organization, in which everything exists but what the write creates. The tag is weak, as if a
/// compressing proxy had passed it on, and the client accepts no uncompressed answer.
fn write_anew(world: &World, operation: &Operation, who: Who) {
    let admin = world.new_admin();
    let viewer = text(&admin.create(&format!("viewer-{}", walk::next()))["id"]);
    let target = Target::new(&admin, &viewer, |code| operation.can_fail_with(code));
    let request = operation.request(&target.names, false);
    if expected(operation, who, &request) != Expected::Success {
        return;
    }
    let due = due(operation, who);
    let caller = if who == Who::Itself { world.holder_of(&target.key) } else { admin };
    let organization = text(&caller.get("/api/whoami").ok()["organization_id"]);
    let before = traces(world, &organization);
    let tag = if due < 300 { present_tag(operation, &request, &caller) } else { None };
    assert_eq!(traces(world, &organization), before, "{} did not heed the version", operation.id);
    let call = request.of(&caller).header("Accept-Encoding", "identity;q=0");
    let call = tag.into_iter().fold(call, |call, tag| call.header("If-Match", &format!("W/{tag}")));
    let answer = call.send().must_be(due);
    assert_eq!(traces(world, &organization) != before, due < 300, "{answer}");
}

#[test]
fn whoever_may_write_does_unless_the_version_is_another() {
    let world = World::new();
    walk::side_by_side(&walk::writes(&world), |operation| {
        for who in [Who::Admin, Who::Itself] {
            write_anew(&world, operation, who);
        }
    });
}

#[test]
fn what_needs_no_key_is_answered_to_everybody() {
    let world = World::new();
    let callers = [world.stranger(), world.holder_of("wrong"), world.admin()];
    for operation in walk::public(&world) {
        for caller in &callers {
            let answer = caller.call_at(operation.method.clone(), &operation.path).open().unwrap();
            assert_eq!(answer.status().as_u16(), operation.success(), "{}", operation.id);
        }
    }
}
