//! Lists that are larger than the memory that the service may use for them.

use std::io::Read as _;

use reqwest::blocking::Client;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{Place, Serving};

/// Copies of one identity with a long description, of more than 200 MB together.
const CROWD: &str = "
    insert into read_model.identities (id, organization_id, agent_handle, email_address, status, tunnel_id, created_at,
                                       version, tunnel_metadata, document)
    select other, organization_id, handle, replace(email_address, 'origin', handle), status, gen_random_uuid(),
           created_at + number * interval '1 microsecond', version, tunnel_metadata,
           replace(replace(document, id::text, other::text), 'origin', handle)
    from read_model.identities, generate_series(1, 20000) as number,
         lateral (select md5(number::text)::uuid as other, 'crowd-' || number as handle) as names
    where agent_handle = 'origin'";

/// The peak memory of the service, in MiB.
fn most_held(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_list_of_any_length_takes_the_memory_of_a_piece() {
    let place = Place::served();
    let serving = place.serve();
    let made = place.run(&["org", "create", "long", "--json"]).succeeded().json();
    let key = made["api_key"].as_str().unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v1/identities", serving.base());
    let origin = serde_json::json!({ "agent_handle": "origin", "description": "x".repeat(10_000) });
    assert_eq!(client.post(&url).header("X-API-Key", key).json(&origin).send().unwrap().status(), 201);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut database = PgConnection::connect(&place.database_url()).await.unwrap();
        database.execute(CROWD).await.unwrap();
    });
    let before = most_held(&serving);
    let mut list = client.get(&url).header("X-API-Key", key).send().unwrap();
    let (mut length, mut piece) = (0, vec![0; 1024 * 1024]);
    while let Ok(read @ 1..) = list.read(&mut piece) {
        length += read;
    }
    assert!(length > 200_000_000, "{length}");
    let more = most_held(&serving) - before;
    // A piece has several MiB, and the allocator keeps some memory. The whole list would take more than 200 MB.
    assert!(more < 128, "{more} MiB more were held");
    assert!(serving.stop().success());
}
