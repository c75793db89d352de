//! An answer takes the memory of a piece or of a page, however much there is to answer.

use identityd::settings::QuotaLayer;
use serde_json::json;

use super::estate::Target;
use super::walk;
use crate::harness::{Caller, World, text};

/// What a piece has at most, and a page, before it takes no further row.
const PIECE: usize = 512 * 1024;
const PAGE: usize = 8 * 1024 * 1024;

/// More than a row of these tests has.
const ROW: usize = 256 * 1024;

/// Answers of more than a page that are written piece by piece.
const IN_PIECES: [&str; 4] = ["list_identities", "list_mailboxes", "list_webhook_deliveries", "unlock_vault"];

/// Answers that end with a page.
const IN_PAGES: [&str; 2] = ["list_events", "list_identity_events"];

/// Much of everything: more than a page of identities, of contents of secrets, of events and of deliveries.
fn fill(world: &World, admin: &Caller, target: &Target) {
    let (handle, organization) = (&target.names.parameters["agent_handle"], world.organization_id());
    for number in 0..150 {
        let description = format!("{number}{}", "\u{1}".repeat(9_900));
        admin.change(handle, &json!({ "description": description })).ok();
        let content = json!({ "name": "large", "encrypted_payload": "d29yZHM9".repeat(8_000) });
        admin.post("/vault/secrets", &content).created();
    }
    world.database().execute(&format!(
        "insert into read_model.identities (id, organization_id, agent_handle, email_address, status, tunnel_id, created_at,
                                            version, tunnel_metadata, document, access_version)
         select id, '{organization}', 'large-' || place, 'large-' || place, 'active', gen_random_uuid(),
                created_at - place * interval '1 s', version, tunnel_metadata,
                (document::jsonb || jsonb_build_object(
                    'id', id, 'phone_number', null, 'description', repeat('x', 30000),
                    'mailbox', (document::jsonb -> 'mailbox') || jsonb_build_object('signature_text', repeat('x', 60000))))::text,
                access_version
         from (select *, gen_random_uuid() as id
               from (select created_at, version, tunnel_metadata, document, access_version
                     from read_model.identities where agent_handle = '{handle}') as target,
                    generate_series(1, 200) as place) as copies"
    ));
    world.database().execute(
        "insert into webhook_deliveries (id, organization_id, endpoint_id, identity_id, event_id, event_type, url, payload,
                                         response_body, duration_ms, is_replay, created_at)
         select gen_random_uuid(), organization_id, endpoint_id, identity_id, event_id, event_type, url,
                repeat('\"', 100000), repeat(chr(1), 4096), duration_ms, is_replay, created_at
         from (select * from webhook_deliveries limit 1) as delivery, generate_series(1, 200)",
    );
}

/// The sizes of the parts of an answer, each of which is in memory as a whole.
fn parts(caller: &Caller, target: &str) -> Vec<usize> {
    let mut line = caller.connect();
    line.send(caller.head("GET", target, 0));
    let answer = line.until_closed();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{target}: {head}");
    if !head.contains("transfer-encoding: chunked") {
        return vec![body.len()];
    }
    let (mut parts, mut rest) = (vec![], body);
    loop {
        let (size, behind) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return parts;
        }
        parts.push(size);
        rest = &behind[size + 2..];
    }
}

#[test]
fn an_answer_takes_the_memory_of_a_piece_or_of_a_page() {
    let quotas = QuotaLayer { organization_bulk_bytes_per_second: Some(0), ..QuotaLayer::default() };
    let world = World::with_quotas(&quotas);
    let admin = world.admin();
    let viewer = text(&admin.create("viewer")["id"]);
    let target = Target::new(&admin, &viewer, |_| false);
    fill(&world, &admin, &target);
    let (mut in_pieces, mut in_pages) = (vec![], vec![]);
    for operation in walk::reads(&world) {
        let mut wanted = operation.request(&target.names, false).target;
        if operation.takes("limit") && operation.id != "list_identities" {
            let limit = if operation.id == "list_webhook_deliveries" { 200 } else { 1000 };
            wanted = format!("{wanted}{}limit={limit}", if wanted.contains('?') { '&' } else { '?' });
        }
        let parts = parts(&admin, &wanted);
        let largest = *parts.iter().max().unwrap();
        if parts.len() > 1 {
            assert!(largest <= PIECE, "{}: a piece of {largest} bytes", operation.id);
            in_pieces.extend((parts.iter().sum::<usize>() > PAGE).then(|| operation.id.clone()));
        } else {
            assert!(largest <= PAGE + ROW, "{}: {largest} bytes", operation.id);
            in_pages.extend((largest > PAGE / 2).then(|| operation.id.clone()));
        }
    }
    in_pieces.sort_unstable();
    in_pages.sort_unstable();
    assert_eq!(
        (&*in_pieces, &*in_pages),
        (&IN_PIECES.map(str::to_owned)[..], &IN_PAGES.map(str::to_owned)[..])
    );
}
