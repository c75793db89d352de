//! Requests in raw bytes, for what an HTTP client refuses to send or corrects.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::{Answer, joined};
use super::caller::Caller;

/// A service that does not answer fails the test, instead of blocking it for ever.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(30);

impl Caller {
    /// Sends a request with exactly this target, and with the caller's key.
    pub(crate) fn raw(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let key = self.key().map(|key| format!("X-API-Key: {key}\r\n")).unwrap_or_default();
        self.raw_with(method, target, key.as_bytes(), body)
    }

    /// Sends a request with these header lines instead of the caller's key. They may be any bytes.
    pub(crate) fn raw_with(&self, method: &str, target: &str, headers: &[u8], body: &[u8]) -> Answer {
        let length = format!("Content-Length: {}\r\n", body.len());
        self.exchange(method, target, &[headers, length.as_bytes()].concat(), body)
    }

    /// Sends a body in chunks, without a `Content-Length`.
    pub(crate) fn raw_in_chunks(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let key = self.key().unwrap_or_default();
        let headers = format!("X-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n");
        let mut chunks: Vec<u8> = body
            .chunks(64 * 1024)
            .flat_map(|chunk| [size_line(chunk).as_bytes(), chunk, b"\r\n"].concat())
            .collect();
        chunks.extend_from_slice(b"0\r\n\r\n");
        self.exchange(method, target, headers.as_bytes(), &chunks)
    }

    /// Sends the head of a request, waits until the service asks for the body, calls `happens`, and sends the body. If the
    /// service answers without asking for the body, `happens` is not called.
    pub(crate) fn while_the_body_is_awaited(
        &self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
        happens: impl FnOnce(),
    ) -> Answer {
        let mut stream = TcpStream::connect(self.authority()).unwrap();
        stream.set_read_timeout(Some(SOCKET_TIMEOUT)).unwrap();
        let (host, key, length) = (self.authority(), self.key().unwrap_or_default(), body.len());
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-API-Key: {key}\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut received = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut received).unwrap();
        if received == b"HTTP/1.1 100 Continue\r\n\r\n" {
            received.clear();
            happens();
            stream.write_all(body).unwrap();
        }
        stream.read_to_end(&mut received).unwrap();
        parse(format!("{method} {target} in raw bytes"), &received)
    }

    fn exchange(&self, method: &str, target: &str, headers: &[u8], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.authority()).unwrap();
        stream.set_read_timeout(Some(SOCKET_TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(SOCKET_TIMEOUT)).unwrap();
        let start =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority());
        // The service may refuse the request and close the connection before it has read everything. Its answer can be
        // read all the same.
        let _ = stream.write_all(&[start.as_bytes(), headers, b"\r\n", body].concat());
        let mut received = Vec::new();
        if let Err(error) = stream.read_to_end(&mut received) {
            assert!(!received.is_empty(), "{method} {target} got no answer: {error}");
        }
        parse(format!("{method} {target} in raw bytes"), &received)
    }
}

/// A connection on which a test sends and receives single bytes.
pub(crate) struct Line {
    stream: TcpStream,
}

impl Caller {
    pub(crate) fn connect(&self) -> Line {
        let stream = TcpStream::connect(self.authority()).unwrap();
        stream.set_read_timeout(Some(SOCKET_TIMEOUT)).unwrap();
        Line { stream }
    }

    /// The head of a request with the caller's key and a body of this size. The connection is closed after the answer.
    pub(crate) fn head(&self, method: &str, target: &str, size: usize) -> String {
        self.head_with(method, target, &format!("Content-Length: {size}\r\n"))
    }

    /// The same with these header lines instead of `Content-Length`.
    pub(crate) fn head_with(&self, method: &str, target: &str, lines: &str) -> String {
        let (host, key) = (self.authority(), self.key().unwrap_or_default());
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n{lines}Connection: close\r\n\r\n"
        )
    }
}

impl Line {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes that the service may not want any more.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Receives exactly this many bytes.
    pub(crate) fn receive(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Receives until this text has come. Bytes behind it may be included.
    pub(crate) fn receive_until(&mut self, text: &str) -> String {
        let (mut received, mut piece) = (String::new(), [0; 16 * 1024]);
        // Heartbeats of a stream come for ever.
        let given_up = Instant::now() + SOCKET_TIMEOUT;
        while !received.contains(text) {
            let count = self.stream.read(&mut piece).unwrap();
            assert!(count > 0 && Instant::now() < given_up, "closed, or too late, before {text}: {received}");
            received.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        received
    }

    /// Whether no byte has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let silent = self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        silent
    }

    /// Receives until the service closes the connection.
    pub(crate) fn until_closed(mut self) -> String {
        let mut received = Vec::new();
        match self.stream.read_to_end(&mut received) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("still open: {error}")
            }
            _ => String::from_utf8_lossy(&received).into_owned(),
        }
    }
}

fn size_line(chunk: &[u8]) -> String {
    format!("{:x}\r\n", chunk.len())
}

fn parse(what: String, received: &[u8]) -> Answer {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("the answer has a head");
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    let headers =
        joined(lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())));
    assert!(!headers.contains_key("transfer-encoding"), "answers of this service announce their size");
    Answer::new(what, status, headers, received[end + 4..].to_vec())
}
