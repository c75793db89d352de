//! Lists that are too long to be kept in memory.

use std::collections::BTreeSet;
use std::io::Read as _;

use reqwest::Method;

use crate::harness::World;

/// A service with this many copies of one identity, which are written into the read model only.
fn crowd(count: u32) -> World {
    let world = World::new();
    world.admin().create("origin");
    world.database().execute(&format!(
        "insert into read_model.identities (id, organization_id, agent_handle, email_address, status, tunnel_id,
                                            created_at, version, tunnel_metadata, document)
         select other, organization_id, handle, replace(email_address, 'origin', handle), status, gen_random_uuid(),
                created_at + number * interval '1 microsecond', version, tunnel_metadata,
                replace(replace(document, id::text, other::text), 'origin', handle)
         from read_model.identities, generate_series(1, {count}) as number,
              lateral (select md5(number::text)::uuid as other, 'crowd-' || number as handle) as names"
    ));
    world
}

#[test]
fn a_long_list_is_written_as_it_is_read_and_is_whole() {
    let world = crowd(1300);
    let answer = world.admin().get("/identities").must_be(200);
    assert!(!answer.headers.contains_key("content-length"), "it is not known how long it becomes");
    let identities = answer.json();
    let identities = identities.as_array().unwrap();
    let handles: BTreeSet<&str> =
        identities.iter().map(|identity| identity["agent_handle"].as_str().unwrap()).collect();
    assert_eq!((identities.len(), handles.len()), (1301, 1301));
    assert_eq!(identities[0]["agent_handle"], "crowd-1300");
    assert_eq!(identities[1300], world.admin().identity("origin"));
    assert_eq!(world.admin().pages("/identities?limit=650").concat().len(), 1301);
}

#[test]
fn a_list_that_ends_with_a_piece_ends_well() {
    for count in [62, 63, 64, 575, 576] {
        assert_eq!(crowd(count).admin().handles().len(), 1 + usize::try_from(count).unwrap());
    }
}

#[test]
fn a_list_that_cannot_be_read_to_its_end_breaks_off() {
    let world = crowd(40_000);
    let open = || world.admin().call(Method::GET, "/identities").open().unwrap();
    let mut response = open();
    assert_eq!(response.status(), 200);
    let mut first = [0; 1000];
    response.read_exact(&mut first).unwrap();
    world.database().execute("alter table read_model.identities rename to gone");
    let mut rest = Vec::new();
    response.read_to_end(&mut rest).expect_err("a list that is cut off does not end well");
    assert_eq!(open().status(), 503, "before the first byte there is a status");
    world.database().execute("alter table read_model.gone rename to identities");
    assert_eq!(open().status(), 200);
}
