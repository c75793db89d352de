//! Clients that ask for long answers and do not read them.

use identityd::settings::WireLayer;
use secrecy::ExposeSecret as _;

use super::refused_for_now;
use crate::harness::{Caller, Line, World, eventually, text};

/// A key has one stream, and a client must read within a second.
fn impatient() -> World {
    bulky(WireLayer { max_streams_per_key: Some(1), write_timeout_seconds: Some(1), ..WireLayer::default() })
}

fn bulky(layer: WireLayer) -> World {
    let world = World::with_wire(layer);
    // More than the socket buffers take. The documents are written as they are stored.
    world.database().execute(&format!(
        "insert into read_model.identities (id, organization_id, agent_handle, email_address, status, tunnel_id,
                                            created_at, version, tunnel_metadata, document, access_version)
         select gen_random_uuid(), '{}', 'bulk-' || place, 'bulk-' || place, 'active', gen_random_uuid(),
                now(), 1, '{{}}', '{{\"filler\":\"' || repeat('x', 20000) || '\"}}', 0
         from generate_series(1, 2000) as place",
        world.organization_id()
    ));
    world
}

/// A page is in memory as a whole until it is sent.
#[test]
fn large_pages_that_nobody_reads_are_few() {
    let world = bulky(WireLayer::default());
    let admin = world.admin();
    let other = world.holder_of(world.another_admin(world.organization_id()).api_key.expose_secret());
    let target = "/api/v1/identities?limit=400";
    let mut lines: Vec<Line> = (0..20)
        .map(|_| {
            let mut line = admin.connect();
            line.send(admin.head("GET", target, 0));
            line
        })
        .collect();
    let statuses: Vec<Vec<u8>> = lines.iter_mut().map(|line| line.receive(12)).collect();
    let count = |status: &[u8]| statuses.iter().filter(|answer| answer.as_slice() == status).count();
    assert_eq!((count(b"HTTP/1.1 200"), count(b"HTTP/1.1 429")), (16, 4));
    let status =
        |caller: &Caller, path: &str| caller.call(reqwest::Method::GET, path).open().unwrap().status();
    assert_eq!(status(&admin, "/identities?limit=2"), 200);
    assert_eq!(status(&other, "/identities?limit=400"), 200);
    drop(lines);
    eventually("the shares are free again", || status(&admin, "/identities?limit=400") == 200);
}

/// Connections that have asked for something, each for its own, and read nothing but the status.
fn unread(caller: &Caller, count: usize, request: impl Fn(usize) -> String) -> Vec<(Line, String)> {
    let mut lines: Vec<Line> = (0..count).map(|_| caller.connect()).collect();
    for (number, line) in lines.iter_mut().enumerate() {
        line.send(request(number));
    }
    let status = |mut line: Line| {
        let status = String::from_utf8(line.receive(12)).unwrap();
        (line, status)
    };
    lines.into_iter().map(status).collect()
}

/// An identity with access rows of 9 MiB.
fn with_a_huge_identity() -> World {
    with_access_rows_of(9 * 1024 * 1024)
}

/// An identity `alpha` with access rows of so many bytes.
fn with_access_rows_of(bytes: usize) -> World {
    let world = World::new();
    let admin = world.admin();
    let viewer = text(&admin.create("viewer")["id"]);
    admin.create("alpha");
    admin.grant("alpha", &viewer).created();
    world.database().execute(&format!(
        "update read_model.visibility set document = '{{\"filler\":\"' || repeat('x', {bytes}) || '\"}}'"
    ));
    world.restarted()
}

// Nobody who has changed something is left without the answer. So the write itself is refused while there is no room for its answer.
#[test]
fn writes_with_large_answers_that_nobody_reads_are_few() {
    let world = with_a_huge_identity();
    let admin = world.admin();
    let before = world.events();
    let lines = unread(&admin, 20, |number| {
        let body = format!(r#"{{"description":"{number}"}}"#);
        admin.head("PATCH", "/api/v1/identities/alpha", body.len()) + &body
    });
    let count = |wanted: &str| lines.iter().filter(|(_, status)| status == wanted).count();
    // 14 of them have 126 MiB.
    assert_eq!((count("HTTP/1.1 200"), count("HTTP/1.1 429")), (14, 6));
    assert_eq!(world.events(), before + 14, "the others have changed nothing");
    drop(lines);
    eventually("the shares are free again", || is_answered(&admin, "/identities/alpha"));
}

#[test]
fn large_pieces_that_nobody_reads_have_few_bytes() {
    let world = with_a_huge_identity();
    let admin = world.admin();
    let lines = unread(&admin, 14, |_| admin.head("GET", "/api/v1/identities", 0));
    assert!(lines.iter().all(|(_, status)| status == "HTTP/1.1 200"));
    assert!(!is_answered(&admin, "/identities/alpha"), "there is no room for 9 MiB more");
    assert!(is_answered(&admin, "/identities/viewer"));
    drop(lines);
    eventually("the bytes are free again", || is_answered(&admin, "/identities/alpha"));
}

/// Whether a read is answered 200. Its body is not read.
fn is_answered(caller: &Caller, path: &str) -> bool {
    caller.call(reqwest::Method::GET, path).open().unwrap().status() == 200
}

fn is_free(caller: &Caller) -> bool {
    is_answered(caller, "/identities/")
}

#[track_caller]
fn is_cut_off(world: &World, _stalled: &Line) {
    let admin = world.admin();
    refused_for_now(admin.get("/identities/"), "share_used_up");
    eventually("the stalled client was cut off", || is_free(&admin));
}

#[test]
fn who_takes_nothing_is_cut_off() {
    let world = impatient();
    let admin = world.admin();
    let mut stalled = admin.connect();
    stalled.send(admin.head("GET", "/api/v1/identities/", 0));
    assert_eq!(stalled.receive(12), b"HTTP/1.1 200");
    is_cut_off(&world, &stalled);
}

// On HTTP/2 the service writes nothing while the client grants no window, so no write can time out, and the client
// still answers pings.
#[test]
fn who_grants_no_window_is_cut_off() {
    let world = impatient();
    let mut stalled = with_window(&world, 0);
    stalled.send(headers(1, "/api/v1/identities/", world.admin_key()));
    while frame(&mut stalled).0 != HEADERS {}
    is_cut_off(&world, &stalled);
}

#[test]
fn who_grants_hardly_any_window_is_cut_off_however_small_the_answer() {
    let world = impatient();
    for path in ["/healthz", "/openapi.json", "/api/v1/identities/nobody"] {
        for window in [0, 1] {
            let mut stalled = with_window(&world, window);
            stalled.send(headers(1, path, world.admin_key()));
            stalled.until_closed();
        }
    }
}

/// An answer of more than 256 KiB is large. There may be many smaller ones, so their bytes are counted, too.
#[test]
fn answers_that_nobody_reads_have_few_bytes() {
    for window in [0, 1] {
        unread_answers_have_few_bytes(window);
    }
}

fn unread_answers_have_few_bytes(window: u8) {
    let world = with_access_rows_of(250 * 1024);
    let statuses = (0..2).map(|_| {
        let mut line = with_window(&world, window);
        for stream in (1..256).step_by(2) {
            line.send(headers(stream, "/api/v1/identities/alpha", world.admin_key()));
        }
        let mut answered = 0;
        let mut served = 0;
        while answered < 128 {
            let (kind, payload) = frame(&mut line);
            answered += usize::from(kind == HEADERS);
            served += usize::from(kind == HEADERS && payload.starts_with(STATUS_200));
        }
        (line, served)
    });
    let (lines, served): (Vec<Line>, Vec<usize>) = statuses.unzip();
    let served: usize = served.iter().sum();
    assert!((120..132).contains(&served), "{served} of 256 answers with 250 KiB fit into 32 MiB");
    drop(lines);
    eventually("the bytes are free again", || is_answered(&world.admin(), "/identities/alpha"));
}

/// A connection of HTTP/2 whose client wants to read so many bytes of each answer.
fn with_window(world: &World, bytes: u8) -> Line {
    let mut line = world.admin().connect();
    line.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    line.send([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, bytes]);
    line
}

/// The type of the frame that begins an answer.
const HEADERS: u8 = 1;

/// How the head of an answer with the status 200 begins: by its place in the table of RFC 7541.
const STATUS_200: &[u8] = &[0x88];

/// The type and the payload of the next frame.
fn frame(line: &mut Line) -> (u8, Vec<u8>) {
    let head = line.receive(9);
    let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    (head[3], line.receive(size as usize))
}

/// A HEADERS frame that asks for this path. Its fields are written without compression.
fn headers(stream: u32, path: &str, key: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
    let mut block = Vec::new();
    for (name, value) in fields.into_iter().chain([("x-api-key", key)]) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, 1, 5], stream.to_be_bytes().as_slice(), block.as_slice()].concat()
}
