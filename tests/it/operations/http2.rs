//! HTTP/2, in single frames.

use crate::harness::{Caller, Line, World, eventually};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting of how much may be sent on a stream before the service gives more room.
const INITIAL_WINDOW_SIZE: u16 = 4;

const FRAME_BYTES: usize = 16 * 1024;

/// How `:status` 200 and 431 begin the head of an answer: by its place in the table of RFC 7541, and as a literal.
const STATUS_200: &[u8] = &[0x88];
const STATUS_431: &[u8] = &[0x48, 0x83, 0x69, 0x90, 0xff];

/// A connection with one request on its stream 1.
struct Exchange {
    line: Line,
    /// How many bytes may be sent on the connection and on the stream.
    room: [i64; 2],
    received: Vec<u8>,
    is_answered: bool,
}

impl Exchange {
    fn begin(caller: &Caller) -> Self {
        let mut line = caller.connect();
        line.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut exchange = Self { line, room: [65_535; 2], received: vec![], is_answered: false };
        exchange.send(SETTINGS, 0, 0, &[]);
        exchange
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.line.send([&head, payload].concat());
    }

    /// Sends the headers of a request that has a body.
    fn post(&mut self, path: &str, key: &str) {
        self.send(HEADERS, END_HEADERS, 1, &head("POST", path, &[("x-api-key", key)]));
    }

    /// Sends a request without a body, whose head may take several frames, and returns the beginning of the head of the answer.
    fn get(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let block = head("GET", "/healthz", fields);
        let mut frames = block.chunks(FRAME_BYTES).peekable();
        let mut kind = HEADERS;
        while let Some(frame) = frames.next() {
            let end_headers = if frames.peek().is_none() { END_HEADERS } else { 0 };
            let end_stream = if kind == HEADERS { END_STREAM } else { 0 };
            self.send(kind, end_headers | end_stream, 1, frame);
            kind = CONTINUATION;
        }
        loop {
            let (head, payload) = self.frame();
            if head[3] == HEADERS {
                return payload;
            }
            assert_ne!(head[3], GOAWAY, "{payload:?}");
        }
    }

    /// The head and the payload of the next frame.
    fn frame(&mut self) -> (Vec<u8>, Vec<u8>) {
        let head = self.line.receive(9);
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let payload = self.line.receive(length);
        (head, payload)
    }

    /// Takes the next frame. The service must not break the stream off.
    fn take(&mut self) {
        let (head, payload) = self.frame();
        let stream = usize::from(head[8]);
        match head[3] {
            DATA => {
                self.received.extend(payload);
                self.is_answered |= head[4] & END_STREAM != 0;
            }
            SETTINGS if head[4] & ACK == 0 => {
                self.send(SETTINGS, ACK, 0, &[]);
                for setting in
                    payload.chunks(6).filter(|setting| setting[..2] == INITIAL_WINDOW_SIZE.to_be_bytes())
                {
                    self.room[1] += number(&setting[2..]) - 65_535;
                }
            }
            WINDOW_UPDATE => self.room[stream] += number(&payload),
            RST_STREAM | GOAWAY => {
                panic!("{head:?} {payload:?} after {}", String::from_utf8_lossy(&self.received))
            }
            _ => {}
        }
    }

    /// Sends a body of this size to its end, also after the answer.
    fn upload(&mut self, mut size: usize) {
        while size > 0 {
            let frame = size.min(FRAME_BYTES);
            while self.room.iter().any(|room| *room < i64::try_from(frame).unwrap()) {
                self.take();
            }
            size -= frame;
            self.room = self.room.map(|room| room - i64::try_from(frame).unwrap());
            let flags = if size == 0 { END_STREAM } else { 0 };
            self.send(DATA, flags, 1, &vec![b' '; frame]);
        }
        while !self.is_answered {
            self.take();
        }
    }
}

/// The head of a request, in literals that are neither indexed nor compressed.
fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let request = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    let literal = |text: &str| [length(text.len()), text.as_bytes().to_vec()].concat();
    let fields = request.iter().chain(fields);
    fields.flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat()).collect()
}

/// The length of a text. RFC 7541, section 5.1.
fn length(bytes: usize) -> Vec<u8> {
    let Some(mut rest) = bytes.checked_sub(127) else { return vec![u8::try_from(bytes).unwrap()] };
    let mut digits = vec![127];
    while rest >= 128 {
        digits.push(u8::try_from(rest % 128 + 128).unwrap());
        rest /= 128;
    }
    digits.push(u8::try_from(rest).unwrap());
    digits
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

#[test]
fn an_upload_that_is_too_large_is_told_so_to_its_end_in_http_2() {
    let world = World::new();
    for (key, code) in [(world.admin_key(), "body_too_large"), ("wrong", "unauthorized")] {
        for mebibytes in [2, 8, 20] {
            let mut exchange = Exchange::begin(&world.stranger());
            exchange.post("/api/v1/identities/", key);
            exchange.upload(mebibytes << 20);
            let answer = String::from_utf8(exchange.received).unwrap();
            assert!(answer.contains(code), "{mebibytes}: {answer}");
        }
    }
}

#[test]
fn a_head_may_be_as_large_in_http_2_as_in_http_1() {
    let world = World::new();
    let status = |fields: &[(&str, &str)]| Exchange::begin(&world.stranger()).get(fields);
    let large = |kibibytes: usize| "x".repeat(kibibytes * 1024);
    assert!(status(&[("x-large", &large(60))]).starts_with(STATUS_200));
    assert!(status(&[("x-large", &large(70))]).starts_with(STATUS_431));
    // The authority is the `Host` line of HTTP/1.1.
    assert!(status(&[("x-many", "x"); 99]).starts_with(STATUS_200));
    assert!(status(&[("x-many", "x"); 101]).starts_with(STATUS_431));
}

#[test]
fn a_head_without_an_end_is_broken_off() {
    let world = World::new();
    for size in [0, 1, FRAME_BYTES] {
        let mut exchange = Exchange::begin(&world.stranger());
        exchange.send(HEADERS, END_STREAM, 1, &head("GET", "/healthz", &[]));
        let literal = [vec![0], length(1), b"x".to_vec(), length(usize::MAX / 2)].concat();
        exchange.send(CONTINUATION, 0, 1, &literal);
        let frame =
            [&u32::try_from(size).unwrap().to_be_bytes()[1..], &[CONTINUATION, 0, 0, 0, 0, 1]].concat();
        let frame = [frame, vec![b'x'; size]].concat();
        eventually("the service has enough of it", || exchange.line.try_send(&frame).is_err());
    }
    world.admin().get("/identities/").ok();
}

#[test]
fn requests_that_are_taken_back_at_once_cost_nobody_else_an_answer() {
    let world = World::new();
    let admin = world.admin();
    let key = world.admin_key();
    let mut exchange = Exchange::begin(&world.stranger());
    let block = head("GET", "/api/v1/identities/", &[("x-api-key", key)]);
    for stream in (1..20_000).step_by(2) {
        let length = u32::try_from(block.len()).unwrap().to_be_bytes();
        let stream = u32::to_be_bytes(stream);
        let request = [&length[1..], &[HEADERS, END_HEADERS | END_STREAM], &stream, &block].concat();
        let cancel = [&[0, 0, 4, RST_STREAM, 0][..], &stream, &[0, 0, 0, 8]].concat();
        if exchange.line.try_send([request, cancel].concat()).is_err() {
            break;
        }
    }
    admin.get("/identities/").ok();
    let in_flight = || world.stranger().metrics().value("identityd_http_requests_in_flight");
    eventually("nothing is left of them", || in_flight() == Some(0.0));
    admin.create("alpha");
}
