//! HTTP/2, in single frames.

use crate::harness::{Caller, Line, World};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting of how much may be sent on a stream before the service gives more room.
const INITIAL_WINDOW_SIZE: u16 = 4;

const FRAME_BYTES: usize = 16 * 1024;

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
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", path),
            ("x-api-key", key),
        ];
        let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        // Literals that are neither indexed nor compressed.
        let block: Vec<u8> = fields
            .iter()
            .flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat())
            .collect();
        self.send(HEADERS, END_HEADERS, 1, &block);
    }

    /// Takes the next frame. The service must not break the stream off.
    fn take(&mut self) {
        let head = self.line.receive(9);
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
        let payload = self.line.receive(length);
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
