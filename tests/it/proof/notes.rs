//! Notes of checkpoints that cannot be read. Only the owner of the database can bring them about.

use reqwest::Method;

use super::{export, grow, refused, sign, signer, verify, with_a_history};
use crate::harness::{World, wait};

/// A signed history whose last checkpoint is one byte too long.
fn with_an_unreadable_note() -> World {
    let world = with_a_history();
    sign(&world);
    grow(&world, ["golf"]);
    sign(&world);
    let mine = format!("organization_id = '{}'", world.organization_id());
    world.restarted_after(|database| {
        database.tamper(&format!("update checkpoints set note = note || 'x' where {mine}"));
    })
}

#[test]
fn an_unreadable_note_is_a_refusal_everywhere() {
    let world = with_an_unreadable_note();
    let expected = "the last checkpoint in the database cannot be read: its note was changed";
    assert_eq!(refused(&world).to_string(), expected);
    let signer = signer(&world);
    wait(signer.sign_all()).unwrap();
    wait(signer.review()).unwrap();
    assert_eq!(signer.counts().0, 1);
    for path in
        ["/log/checkpoint", "/log/inclusion/1", "/log/consistency?from=1", "/log/checkpoint?witness=w"]
    {
        world.admin().get(path).refused_as(503, "log_refused");
    }
    world.admin().get("/log/key").must_be(200);
    world.admin().get("/events").must_be(200);
    let whole =
        world.admin().call(Method::GET, "/events?leaf_hashes=true").header("Accept", "application/x-ndjson");
    let trailer = whole.open().unwrap().error_for_status().unwrap().text().unwrap();
    assert!(trailer.contains(&format!("\"refused\":\"{expected}\"")), "{trailer}");
    // The logs of others are signed.
    world.other_admin().create("abroad");
    wait(signer.sign_all()).unwrap();
    world.other_admin().get("/log/checkpoint").must_be(200);
}

#[test]
fn a_new_epoch_needs_no_readable_note() {
    let world = with_an_unreadable_note();
    let begun = wait(signer(&world).begin_epoch(world.organization_id())).unwrap().unwrap();
    assert_eq!(begun.epoch, 2);
    let key = signer(&world).key().verifier_key(&begun.checkpoint.origin);
    let report = verify(export(&world), &key, None).unwrap();
    assert_eq!((report.proved, report.unproved), (begun.checkpoint.size, vec![]));
}

/// A note that is well signed, but of another checkpoint than its row says.
#[test]
fn a_note_of_another_checkpoint_is_not_read() {
    let world = with_a_history();
    let note = sign(&world).note;
    grow(&world, ["golf"]);
    sign(&world);
    let mine = format!("organization_id = '{}'", world.organization_id());
    let world = world.restarted_after(|database| {
        database.tamper(&format!("update checkpoints set note = '{note}' where {mine}"));
    });
    assert!(refused(&world).to_string().starts_with("the last checkpoint in the database cannot be read"));
}
