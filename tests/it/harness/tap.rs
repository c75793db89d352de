//! A proxy between a service and its Postgres that records the statements of the service, and that can stop to carry them.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read as _, Result, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

/// The statements that were sent: the text, and the message with the values.
type Statements = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// How many connections were accepted, and how many of them, from the first one on, carry nothing more.
#[derive(Debug, Default)]
struct Connections {
    accepted: AtomicUsize,
    hanging: AtomicUsize,
    /// A part of the statements whose answers are kept back, if they are sent from now on, and the number of this hold.
    held: Mutex<Option<(&'static str, usize)>>,
    /// The number of the last hold that has caught a statement.
    caught: AtomicUsize,
    /// Whether the clock of the database seems to be years ahead.
    clock_is_ahead: AtomicBool,
}

/// How statements read the clock, and what reads one that is ahead. Both have the same length, as the length of a message is sent
/// first.
const CLOCKS: [&str; 2] = ["clock_timestamp()", "now()+'9 years'  "];

/// A part of the statement that writes and commits a batch.
pub(crate) const BATCH: &str = "for update skip locked";

/// The proxy. It runs until the process ends.
#[derive(Debug)]
pub(crate) struct Tap {
    url: String,
    sent: Statements,
    connections: Arc<Connections>,
    _folder: TempDir,
}

impl Tap {
    /// A proxy to this database.
    pub(crate) fn to(database_url: &str) -> Self {
        let options: PgConnectOptions = database_url.parse().unwrap();
        let (folder, sent) = (TempDir::new().unwrap(), Statements::default());
        let connections = Arc::<Connections>::default();
        let tapped = (Arc::clone(&sent), Arc::clone(&connections));
        let url = if let Some(socket) = options.get_socket() {
            let name = format!(".s.PGSQL.{}", options.get_port());
            over_a_socket(&folder.path().join(&name), socket.join(&name), tapped);
            database_url.replace(&socket.display().to_string(), &folder.path().display().to_string())
        } else {
            let far = format!("{}:{}", options.get_host(), options.get_port());
            database_url.replace(&far, &over_the_network(far.clone(), tapped))
        };
        Self { url, sent, connections, _folder: folder }
    }

    /// The URL of the database through the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many connections the service has opened.
    pub(crate) fn opened(&self) -> usize {
        self.connections.accepted.load(Ordering::SeqCst)
    }

    /// Carries nothing any more, over no connection, and closes none: the database is as silent as a machine that hangs.
    pub(crate) fn hang(&self) {
        self.connections.hanging.store(usize::MAX, Ordering::SeqCst);
    }

    /// Carries again what is sent over new connections. The present ones hang for ever: another machine answers now.
    pub(crate) fn carry_new_connections(&self) {
        self.connections.hanging.store(self.connections.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Sets the clock of the database ahead, or right again, for statements that are sent from now on.
    pub(crate) fn set_clock_ahead(&self, ahead: bool) {
        self.connections.clock_is_ahead.store(ahead, Ordering::SeqCst);
    }

    /// Keeps back what Postgres answers to statements with this part, until the result is dropped.
    pub(crate) fn hold(&self, part: &'static str) -> Held<'_> {
        static HOLDS: AtomicUsize = AtomicUsize::new(1);
        let number = HOLDS.fetch_add(1, Ordering::SeqCst);
        *self.connections.held.lock().unwrap() = Some((part, number));
        Held { connections: &self.connections, number }
    }

    /// The texts of the statements, each of them once.
    pub(crate) fn statements(&self) -> BTreeSet<String> {
        self.sent.lock().unwrap().iter().map(|(text, _)| text.clone()).collect()
    }

    /// How many of the statements satisfy `is_meant`, which gets text and values.
    pub(crate) fn count(&self, is_meant: impl Fn(&str, &[u8]) -> bool) -> usize {
        self.sent.lock().unwrap().iter().filter(|(text, values)| is_meant(text, values)).count()
    }
}

/// Answers are kept back. They are carried when this is dropped, also if the test fails.
pub(crate) struct Held<'a> {
    connections: &'a Connections,
    number: usize,
}

impl Held<'_> {
    /// Whether such a statement was sent.
    pub(crate) fn has_caught_one(&self) -> bool {
        self.connections.caught.load(Ordering::SeqCst) == self.number
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.connections.held.lock().unwrap() = None;
    }
}

type Tapped = (Statements, Arc<Connections>);

fn over_a_socket(near: &Path, far: PathBuf, tapped: Tapped) {
    let listener = UnixListener::bind(near).unwrap();
    carry_all(move || Ok((listener.accept()?.0.into(), UnixStream::connect(&far)?.into())), tapped);
}

/// Returns the address on which the proxy listens.
fn over_the_network(far: String, tapped: Tapped) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = listener.local_addr().unwrap().to_string();
    carry_all(move || Ok((listener.accept()?.0.into(), TcpStream::connect(&far)?.into())), tapped);
    near
}

/// Accepts connections, and carries each to Postgres.
fn carry_all(accept: impl Fn() -> Result<(OwnedFd, OwnedFd)> + Send + 'static, (sent, connections): Tapped) {
    thread::spawn(move || {
        while let Ok((near, far)) = accept() {
            let (near, far) = (File::from(near), File::from(far));
            let (answers, asker) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            // The number of the hold to which the last statement belongs, or 0.
            let last_held = Arc::<AtomicUsize>::default();
            let (shared, sends_held) = (Arc::clone(&connections), Arc::clone(&last_held));
            let is_held = move || {
                let held = *shared.held.lock().unwrap();
                held.is_some_and(|(_, number)| number == last_held.load(Ordering::SeqCst))
            };
            thread::spawn(move || carry_back(answers, asker, is_held));
            let (sent, connections) = (Arc::clone(&sent), Arc::clone(&connections));
            let number = connections.accepted.fetch_add(1, Ordering::SeqCst);
            // The thread ends when one of the two connections is closed.
            thread::spawn(move || {
                let hangs = || number < connections.hanging.load(Ordering::SeqCst);
                let note = |statement: (String, Vec<u8>)| {
                    let held = *connections.held.lock().unwrap();
                    let held = held.filter(|(part, _)| statement.0.contains(part));
                    sends_held.store(held.map_or(0, |(_, number)| number), Ordering::SeqCst);
                    if let Some((_, number)) = held {
                        connections.caught.store(number, Ordering::SeqCst);
                    }
                    sent.lock().unwrap().push(statement);
                };
                let set_clock = |message: &mut [u8]| {
                    if connections.clock_is_ahead.load(Ordering::SeqCst) {
                        set_ahead(message);
                    }
                };
                let end = UnixStream::from(OwnedFd::from(far.try_clone().unwrap()));
                let carried = carry(near, far, note, hangs, set_clock);
                // Postgres learns that the service has closed the connection, also while the other thread waits for Postgres.
                end.shutdown(Shutdown::Both).and(carried)
            });
        }
    });
}

/// Carries the answers of Postgres.
fn carry_back(mut far: File, mut near: File, is_held: impl Fn() -> bool) -> Result<()> {
    let mut some = vec![0; 64 * 1024];
    loop {
        let count = far.read(&mut some)?;
        if count == 0 {
            return Ok(());
        }
        while is_held() {
            thread::yield_now();
        }
        near.write_all(&some[..count])?;
    }
}

/// Carries the messages of the service. The first messages of a connection have no type byte.
fn carry(
    mut near: File,
    mut far: File,
    note: impl Fn((String, Vec<u8>)),
    hangs: impl Fn() -> bool,
    set_clock: impl Fn(&mut [u8]),
) -> Result<()> {
    let mut statements = HashMap::new();
    let mut is_opened = false;
    loop {
        let mut kind = [0; 1];
        if is_opened {
            near.read_exact(&mut kind)?;
        }
        let mut length = [0; 4];
        near.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_be_bytes(length) as usize - length.len()];
        near.read_exact(&mut body)?;
        // Once a connection hangs, it hangs for ever.
        while hangs() {
            thread::park();
        }
        if let Some(statement) = statement(kind[0], &body, &mut statements) {
            note(statement);
        }
        set_clock(&mut body);
        let kind_sent = if is_opened { &kind[..] } else { &[] };
        far.write_all(&[kind_sent, &length[..], &body].concat())?;
        // A request for TLS has no type byte either. It comes before the startup message, and is shorter.
        is_opened = is_opened || body.len() > length.len();
    }
}

fn set_ahead(message: &mut [u8]) {
    let [clock, ahead] = CLOCKS.map(str::as_bytes);
    let starts: Vec<usize> = message
        .windows(clock.len())
        .enumerate()
        .filter(|(_, part)| *part == clock)
        .map(|(at, _)| at)
        .collect();
    for start in starts {
        message[start..start + ahead.len()].copy_from_slice(ahead);
    }
}

/// The statement of a message, with its values. It gets a name when it is prepared (`P`), and is executed by that name with values
/// (`B`). A simple query (`Q`) has the text itself.
fn statement(kind: u8, body: &[u8], statements: &mut HashMap<Vec<u8>, String>) -> Option<(String, Vec<u8>)> {
    let mut texts = body.split(|byte| *byte == 0);
    let (first, second) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let named = match kind {
        b'P' => {
            statements.insert(first.to_vec(), text(second));
            None
        }
        b'B' => statements.get(second).cloned(),
        b'Q' => Some(text(first)),
        _ => None,
    };
    Some((named?, body.to_vec()))
}
