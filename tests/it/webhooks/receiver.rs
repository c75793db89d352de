//! A receiver of webhooks on this machine, which answers as a test wants it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::harness::eventually;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        let Some((_, value)) = found else { panic!("{name} is not in {:?}", self.headers) };
        value
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The id of the event.
    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }
}

/// What the receiver does with a request.
pub(crate) enum Reaction {
    /// It answers with this status.
    Status(u16),
    /// The same, with a body.
    Answer(u16, String),
    /// It answers with this status, and with `Retry-After`.
    Later(u16, &'static str),
    /// It answers with nothing, and stays connected.
    Silence,
}

type Requests = Arc<Mutex<Vec<Received>>>;

/// The receiver, for as long as the process lives.
pub(crate) struct Receiver {
    base: String,
    requests: Requests,
}

impl Receiver {
    /// A receiver that answers 200.
    pub(crate) fn new() -> Self {
        Self::reacting(|_, _| Reaction::Status(200))
    }

    /// A receiver that is asked how to react, with the number of the request and the request.
    pub(crate) fn reacting(react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), react)
    }

    /// The same at an address that the test has chosen.
    pub(crate) fn at(
        listener: TcpListener,
        react: impl Fn(usize, &Received) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (requests, react) = (Requests::default(), Arc::new(react));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, react) = (Arc::clone(&seen), Arc::clone(&react));
                thread::spawn(move || while serve(&stream, &seen, &*react).is_some() {});
            }
        });
        Self { base, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/in", self.base)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits for so many requests, and returns all.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests arrive"), || self.requests.lock().unwrap().len() >= count);
        self.received()
    }
}

fn serve(
    stream: &TcpStream,
    seen: &Mutex<Vec<Received>>,
    react: &(dyn Fn(usize, &Received) -> Reaction + Sync),
) -> Option<()> {
    let request = read(stream)?;
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    match react(number, &request) {
        Reaction::Status(status) => answer(stream, status, "", "said"),
        Reaction::Answer(status, body) => answer(stream, status, "", &body),
        Reaction::Later(status, wait) => answer(stream, status, &format!("retry-after: {wait}\r\n"), "said"),
        Reaction::Silence => {
            // Until the sender has enough of it.
            (&*stream).read_exact(&mut [0]).ok()?;
            None
        }
    }
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &str) -> Option<()> {
    let answer = format!("HTTP/1.1 {status} Said\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).ok()
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        let read = reader.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    line()?;
    let mut headers = vec![];
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { headers, body })
}
