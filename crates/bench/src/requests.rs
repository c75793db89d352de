//! The requests of the workloads.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng as _;
use rand::distr::{Distribution as _, Uniform};
use rand::rngs::StdRng;
use rand_distr::Zipf;

use crate::load::Requests;
use crate::seed::Seeded;

/// Appends one request to `request`.
pub(crate) fn write(request: &mut Vec<u8>, method: &str, path: &str, key: &str, body: &str) {
    // Writing to memory cannot fail.
    let _ = write!(
        request,
        "{method} /api/v1/identities{path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n"
    );
    if !body.is_empty() {
        let _ = write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    let _ = write!(request, "\r\n{body}");
}

/// The body of a create, with a new handle.
pub(crate) fn birth(handle: &str) -> String {
    format!(
        r#"{{"agent_handle":"{handle}","display_name":"Agent {handle}","description":"Answers letters"}}"#
    )
}

/// Creates, each with a new handle.
pub(crate) struct Creates {
    /// An admin key.
    pub(crate) key: String,
    /// The prefix of the handles.
    pub(crate) prefix: String,
    next: AtomicUsize,
}

impl Creates {
    /// Creates whose handles begin with `prefix`.
    pub(crate) fn new(key: &str, prefix: &str) -> Self {
        Self { key: key.to_owned(), prefix: prefix.to_owned(), next: AtomicUsize::new(0) }
    }

    fn write_one(&self, request: &mut Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(request, "POST", "", &self.key, &birth(&format!("{}-{number}", self.prefix)));
    }
}

impl Requests for Creates {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        self.write_one(request);
        true
    }
}

/// One get of every identity.
pub(crate) struct Walk {
    /// An admin key.
    pub(crate) key: String,
    /// The prefix of the handles.
    pub(crate) prefix: String,
    /// The number of identities.
    pub(crate) count: usize,
    /// How many requests were written.
    pub(crate) next: AtomicUsize,
}

impl Requests for Walk {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(request, "GET", &format!("/{}-{number}", self.prefix), &self.key, "");
        number < self.count
    }
}

/// The distribution of identities over requests.
pub(crate) enum Choice {
    /// Uniform.
    Uniform(Uniform<usize>),
    /// A few identities very often.
    Zipf(Zipf<f64>),
}

impl Choice {
    /// Uniform over `count` identities.
    pub(crate) fn uniform(count: usize) -> anyhow::Result<Self> {
        Ok(Self::Uniform(Uniform::new(0, count)?))
    }

    /// Zipf's law over `count` identities; the first is the most frequent.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer identities than a float can count")]
    pub(crate) fn zipf(count: usize) -> anyhow::Result<Self> {
        Ok(Self::Zipf(Zipf::new(count as f64, 1.0)?))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are whole numbers from 1"
    )]
    fn pick(&self, random: &mut StdRng) -> usize {
        match self {
            Self::Uniform(uniform) => uniform.sample(random),
            Self::Zipf(zipf) => zipf.sample(random) as usize - 1,
        }
    }
}

/// Gets by handle.
pub(crate) struct Gets {
    /// An admin key.
    pub(crate) key: String,
    /// The prefix of the handles.
    pub(crate) prefix: String,
    /// The distribution.
    pub(crate) choice: Choice,
}

impl Requests for Gets {
    fn write(&self, _connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.choice.pick(random);
        write(request, "GET", &format!("/{}-{number}", self.prefix), &self.key, "");
        true
    }
}

/// The same request again and again.
pub(crate) struct Same(pub(crate) Vec<u8>);

impl Requests for Same {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        request.extend_from_slice(&self.0);
        true
    }
}

/// Changes. Each identity is changed once a turn.
pub(crate) struct Changes {
    /// An admin key.
    pub(crate) key: String,
    /// The identities.
    pub(crate) seeded: Seeded,
    /// The kind of change.
    pub(crate) kind: Change,
    next: AtomicUsize,
}

/// The kinds of change that are measured separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new handle.
    Rename,
    /// A grant to one viewer.
    Grant,
    /// A deletion.
    Delete,
}

impl Changes {
    /// Changes of one kind to `seeded`, each identity at most once. Grants continue with the next viewer.
    pub(crate) fn new(key: &str, seeded: Seeded, kind: Change) -> Self {
        Self { key: key.to_owned(), seeded, kind, next: AtomicUsize::new(0) }
    }
}

impl Requests for Changes {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.seeded.ids.len();
        let path = format!("/{}", self.seeded.handle(number % count));
        match self.kind {
            Change::Rename if number < count => {
                let body = format!(r#"{{"agent_handle":"{}-renamed-{number}"}}"#, self.seeded.prefix);
                write(request, "PATCH", &path, &self.key, &body);
            }
            Change::Delete if number < count => write(request, "DELETE", &path, &self.key, ""),
            Change::Rename | Change::Delete => return false,
            Change::Grant => {
                let viewer = (number + 1 + number / count) % count;
                let viewer = self.seeded.ids.get(viewer).copied().unwrap_or_default();
                let body = format!(r#"{{"viewer_identity_id":"{viewer}"}}"#);
                write(request, "POST", &format!("{path}/access"), &self.key, &body);
            }
        }
        true
    }
}

/// 90% gets, 5% changes of the display name, 3% creates, 2% grants.
pub(crate) struct Mixed {
    /// Agent keys, each with the number of its identity. Agents send half of all gets and changes, each for itself.
    pub(crate) agents: Vec<(usize, String)>,
    /// The identities that exist already.
    pub(crate) seeded: Seeded,
    /// Creates, with the admin key.
    pub(crate) creates: Creates,
    /// The number of grants, so that each has another target and viewer.
    pub(crate) grants: AtomicUsize,
}

impl Mixed {
    fn somebody(&self, random: &mut StdRng) -> (usize, &str) {
        let agent = self.agents.get(random.random_range(0..self.agents.len().max(1)));
        match agent {
            Some((number, key)) if random.random() => (*number, key),
            _ => (random.random_range(0..self.seeded.ids.len()), &self.creates.key),
        }
    }

    fn grant(&self, request: &mut Vec<u8>) {
        let number = self.grants.fetch_add(1, Ordering::Relaxed);
        let count = self.seeded.ids.len();
        let viewer = self.seeded.ids.get((number + 1 + number / count) % count).copied().unwrap_or_default();
        let path = format!("/{}/access", self.seeded.handle(number % count));
        let body = format!(r#"{{"viewer_identity_id":"{viewer}"}}"#);
        write(request, "POST", &path, &self.creates.key, &body);
    }
}

impl Requests for Mixed {
    fn write(&self, _connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let dice = random.random_range(0..100);
        if dice < 90 {
            let (number, key) = self.somebody(random);
            write(request, "GET", &format!("/{}", self.seeded.handle(number)), key, "");
        } else if dice < 95 {
            let (number, key) = self.somebody(random);
            let body = format!(r#"{{"display_name":"Agent {}"}}"#, random.random::<u32>());
            write(request, "PATCH", &format!("/{}", self.seeded.handle(number)), key, &body);
        } else if dice < 98 {
            self.creates.write_one(request);
        } else {
            self.grant(request);
        }
        true
    }
}
